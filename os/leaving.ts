/**
 * A machine that is about to go (power button, reboot, upgrade) hands its leases over first: it says so on the chain, and waits until other machines have them.
 *
 * Rules: nobody waits where there is nothing to hand over or nobody to take it, and never longer than DRAIN_MS_MAX; what could not be handed over ends with the
 * machine, as after a loss of power. The word holds until this machine comes up again.
 */
import type { Operation } from "#chain/codec/transaction.ts";
import type { LedgerView } from "#chain/ledger/view.ts";
import type { ChainNode } from "#chain/node/node.ts";
import { type Address, hex } from "#chain/types.ts";
import { DRAIN_MS_MAX } from "./limits.ts";

export type Left = { readonly before: number; readonly left: number };
export type LeavingOptions = {
  readonly node: Pick<ChainNode, "view" | "onFinal">;
  readonly machine: Address;
  /** Sends an operation as this machine; resolves when it is final. */
  readonly submit: (operation: Operation) => Promise<void>;
  readonly timeoutMs?: number;
};
const PAGE_ROWS = 100;

/** Resolves with the leases that were here, and those that still are. Throws the code with which the chain refused. */
export async function handLeasesOver({ node, machine, submit, timeoutMs = DRAIN_MS_MAX }: LeavingOptions): Promise<Left> {
  const count = (): number => leasesHere(node.view(), machine);
  const before = count();
  if (before === 0 || !hasOthers(node.view(), machine)) return { before, left: before };
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const unsubscribe = node.onFinal(() => void (count() === 0 && resolve()));
  const timer = setTimeout(resolve, timeoutMs);
  try {
    submit({ kind: "drain", machine, draining: 1 }).catch(reject);
    await promise;
    return { before, left: count() };
  } finally {
    clearTimeout(timer);
    unsubscribe();
  }
}

/** Those that another machine has taken are here until what they have begun is done: the agent's stop sees to that. */
const leasesHere = (view: Pick<LedgerView, "leasesOfMachine">, machine: Address): number => view.leasesOfMachine(machine).filter(({ state }) => state !== "leaving").length;

function hasOthers(view: Pick<LedgerView, "machines">, machine: Address): boolean {
  for (let after: ReturnType<LedgerView["machines"]>["next"] = null; ;) {
    const page = view.machines({ limit: PAGE_ROWS, ...(after === null ? {} : { after }) });
    if (page.items.some(({ id, state, draining }) => state === "up" && !draining && hex(id) !== hex(machine))) return true;
    if (page.next === null) return false;
    after = page.next;
  }
}
