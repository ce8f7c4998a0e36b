/** What holders read of the ledger: a part of `LedgerView` (view.ts). */
import type { LockHeld } from "#chain/ledger/holdings.ts";
import type { State } from "#chain/ledger/state.ts";
import type { Page, PageRequest } from "#chain/ledger/view.ts";
import type { Address, Digest } from "#chain/types.ts";

export type LockView = Omit<LockHeld, "kind">;
export type HoldingsView = {
  lock(id: Address): LockView | null;
  /** Those that an account made, and those that are for it. */
  locksOf(account: Address, page?: PageRequest): Page<LockView>;
};

/** Things of holders that a block did. */
export type HoldingEvent =
  | { readonly kind: "locked"; readonly lock: Address; readonly sender: Address; readonly recipient: Address; readonly amount: bigint; readonly hash: Digest; readonly expiryMs: bigint }
  /** The secret is everybody's from now on: who waits for it on another chain reads it here. */
  | { readonly kind: "lockClaimed"; readonly lock: Address; readonly recipient: Address; readonly amount: bigint; readonly preimage: Uint8Array }
  | { readonly kind: "lockRefunded"; readonly lock: Address; readonly sender: Address; readonly amount: bigint };

type PageOf = <T>(prefix: string, page: PageRequest, read: (id: Address) => T) => Page<T>;
export const holdingsView = (state: State, pageOf: PageOf): HoldingsView => ({
  lock: (id) => lockView(state.lock(id)),
  locksOf: (account, page = {}) => pageOf(`L${account.toHex()}`, page, (id) => lockView(state.lock(id)) as LockView),
});

function lockView(held: LockHeld | undefined): LockView | null {
  if (held === undefined) return null;
  const { id, sender, recipient, amount, hash, expiryMs } = held;
  return { id, sender, recipient, amount, hash, expiryMs };
}
