/**
 * What the steps of one block share: the state, the two clocks, and what is noted on the way.
 */
import type { Parameters } from "#chain/constants.ts";
import type { KeysBefore } from "#chain/ledger/keys.ts";
import type { Account } from "#chain/ledger/model.ts";
import type { State } from "#chain/ledger/state.ts";
import type { LedgerEvent } from "#chain/ledger/view.ts";
import { type Address, type ChainId, type Hex, type Refusal, hex, refuse } from "#chain/types.ts";

export type BlockContext = {
  readonly state: State;
  readonly rules: Parameters;
  readonly chainId: ChainId;
  readonly height: number;
  readonly timeMs: bigint;
  /** The block's money second, and its parent's. */
  readonly second: bigint;
  readonly parentSecond: bigint;
  readonly previousId: Uint8Array;
  readonly events: LedgerEvent[];
  /** Deployments that ran dry in this block: what is still `dry` of their leases at its placement step gives its capacity up. */
  readonly dry: Set<Hex>;
  /** Free operations of each machine in this block. */
  readonly freeOperations: Map<Hex, number>;
  readonly keysBefore: KeysBefore;
};

/** Where an operation stands: who sent it, and what names what it makes. */
export type Origin = { readonly sender: Address; readonly nonce: bigint; readonly opIndex: number };
export const OK = { ok: true } as const;
export type Result = typeof OK | Refusal;

export const accountOf = (state: State, id: Address): Account =>
  state.account(id) ?? { kind: "account", address: id, balance: 0n, nonce: 0n, keys: [], threshold: 1 };

export function credit(state: State, id: Address, amount: bigint): void {
  if (amount === 0n) return;
  const account = accountOf(state, id);
  state.put({ ...account, balance: account.balance + amount });
}

/** False, and no change, when the account has less. */
export function debit(state: State, id: Address, amount: bigint): boolean {
  const account = accountOf(state, id);
  if (account.balance < amount) return false;
  if (amount > 0n) state.put({ ...account, balance: account.balance - amount });
  return true;
}

/** Notes a machine's free operations; false when it has had its share of this block. */
export function takeFreeShare(context: BlockContext, machine: Address, count: number, countMax: number): boolean {
  const key = hex(machine);
  const used = context.freeOperations.get(key) ?? 0;
  if (used + count > countMax) return false;
  context.freeOperations.set(key, used + count);
  return true;
}

export function sameBytes(a: Uint8Array | null, b: Uint8Array | null): boolean {
  if (a === null || b === null || a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export const unfunded = (what: string): Refusal => refuse("insufficient_funds", `Cannot ${what} as the account has less`);
