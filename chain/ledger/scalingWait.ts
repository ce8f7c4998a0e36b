/**
 * When a step up that could not be taken is looked at again (scaling.ts): the part that those who change leases and money call. A step that waits for a
 * lease to run, for money or for the end of another revision would else be due every few seconds for ever, for nothing: thousands of those would
 * keep what is due of others waiting.
 */
import type { BlockContext } from "#chain/ledger/block.ts";
import type { Address } from "#chain/types.ts";

/** A lease got ready, money came, or one revision is left: not later than after the time of a step. */
export function lookSooner({ state, second, rules }: BlockContext, id: Address): void {
  const held = state.scaling(id);
  if (held === undefined || held.verdict !== 2 || held.due === null || held.due <= second + rules.scaleUpSeconds) return;
  state.put({ ...held, due: second + rules.scaleUpSeconds });
}
