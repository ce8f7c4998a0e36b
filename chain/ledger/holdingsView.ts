/** What holders read of the ledger: a part of `LedgerView` (view.ts). */
import { delegationIdOf, nameIdOf } from "#chain/codec/holderOperations.ts";
import { type Parameters, type VotableName, votableOf } from "#chain/constants.ts";
import type { LockHeld, NameHeld, ProposalHeld } from "#chain/ledger/holdings.ts";
import { isFree } from "#chain/ledger/names.ts";
import { EMPTY_POOL, unitsFor } from "#chain/ledger/pools.ts";
import { type State, parseId } from "#chain/ledger/state.ts";
import type { Page, PageRequest } from "#chain/ledger/view.ts";
import type { Address, Digest } from "#chain/types.ts";

export type LockView = Omit<LockHeld, "kind">;
/** What an account has behind a validator, and what its shares are worth now. */
export type DelegationView = {
  readonly id: Address;
  readonly validator: Address;
  readonly delegator: Address;
  readonly shares: bigint;
  readonly amount: bigint;
  readonly leaving: readonly { readonly amount: bigint; readonly releaseMs: bigint; readonly releaseEpoch: number }[];
};
export type NameView = Omit<NameHeld, "kind" | "id">;
export type ProposalView = { readonly id: Address; readonly parameter: VotableName; readonly value: bigint; readonly validator: Address; readonly epoch: number; readonly votes: readonly Address[] };
export type HoldingsView = {
  /** As they are for the next block. */
  parameters(): Parameters;
  /** What votes have decided and is not in effect yet. */
  scheduled(): readonly { readonly parameter: VotableName; readonly value: bigint; readonly epoch: number }[];
  /** One for each validator at most. */
  proposals(): readonly ProposalView[];
  /** Also when its time is over, as long as only its owner may renew it; null when it is anybody's. */
  name(name: string): NameView | null;
  namesOf(owner: Address, page?: PageRequest): Page<NameView>;
  /** Names that point to a deployment and whose time is not over: sixteen at most. */
  namesTo(deployment: Address): readonly string[];
  delegation(validator: Address, delegator: Address): DelegationView | null;
  delegationsOf(delegator: Address, page?: PageRequest): Page<DelegationView>;
  delegationsTo(validator: Address, page?: PageRequest): Page<DelegationView>;
  lock(id: Address): LockView | null;
  /** Those that an account made, and those that are for it. */
  locksOf(account: Address, page?: PageRequest): Page<LockView>;
};

/** Things of holders that a block did. */
export type HoldingEvent =
  | { readonly kind: "proposed"; readonly proposal: Address; readonly validator: Address; readonly parameter: VotableName; readonly value: bigint }
  | { readonly kind: "voted"; readonly proposal: Address; readonly validator: Address }
  | { readonly kind: "decided"; readonly proposal: Address; readonly parameter: VotableName; readonly value: bigint; readonly passed: boolean }
  | { readonly kind: "parameterChanged"; readonly parameter: VotableName; readonly value: bigint }
  | { readonly kind: "nameRegistered"; readonly name: string; readonly owner: Address; readonly deployment: Address | null; readonly expiryMs: bigint }
  | { readonly kind: "nameRenewed"; readonly name: string; readonly owner: Address; readonly expiryMs: bigint }
  | { readonly kind: "namePointed"; readonly name: string; readonly owner: Address; readonly deployment: Address | null }
  | { readonly kind: "nameTransferred"; readonly name: string; readonly sender: Address; readonly owner: Address }
  | { readonly kind: "nameReleased"; readonly name: string; readonly owner: Address }
  | { readonly kind: "delegated"; readonly validator: Address; readonly delegator: Address; readonly amount: bigint; readonly shares: bigint }
  | { readonly kind: "undelegated"; readonly validator: Address; readonly delegator: Address; readonly amount: bigint; readonly releaseMs: bigint }
  | { readonly kind: "delegationPaid"; readonly validator: Address; readonly delegator: Address; readonly amount: bigint }
  | { readonly kind: "commission"; readonly validator: Address; readonly operator: Address; readonly bps: number }
  | { readonly kind: "locked"; readonly lock: Address; readonly sender: Address; readonly recipient: Address; readonly amount: bigint; readonly hash: Digest; readonly expiryMs: bigint }
  /** The secret is everybody's from now on: who waits for it on another chain reads it here. */
  | { readonly kind: "lockClaimed"; readonly lock: Address; readonly recipient: Address; readonly amount: bigint; readonly preimage: Uint8Array }
  | { readonly kind: "lockRefunded"; readonly lock: Address; readonly sender: Address; readonly amount: bigint };

type PageOf = <T>(prefix: string, page: PageRequest, read: (id: Address) => T) => Page<T>;
export const holdingsView = (state: State, pageOf: PageOf): HoldingsView => ({
  delegation: (validator, delegator) => delegationView(state, delegationIdOf(validator, delegator)),
  delegationsOf: (delegator, page = {}) => pageOf(`D${delegator.toHex()}`, page, (id) => delegationView(state, id) as DelegationView),
  delegationsTo: (validator, page = {}) => pageOf(`W${validator.toHex()}`, page, (id) => delegationView(state, id) as DelegationView),
  parameters: () => state.rules,
  scheduled: () => (state.settings?.scheduled ?? []).map(({ parameter, value, epoch }) => ({ parameter: votableOf(parameter) as VotableName, value, epoch })),
  proposals: () => state.listed("Q").map((rest) => {
    const { id, parameter, value, validator, epoch, votes } = state.proposal(parseId(rest)) as ProposalHeld;
    return { id, parameter: votableOf(parameter) as VotableName, value, validator, epoch, votes };
  }),
  name: (name) => {
    const held = state.named(nameIdOf(name));
    return held === undefined || isFree(held, state.totals.timeMs) ? null : nameView(held);
  },
  namesOf: (owner, page = {}) => pageOf(`O${owner.toHex()}`, page, (id) => nameView(state.named(id) as NameHeld)),
  namesTo: (deployment) => state.listed(`N${deployment.toHex()}`).map((id) => state.named(parseId(id)) as NameHeld)
    .filter(({ expiryMs }) => state.totals.timeMs < expiryMs).map(({ name }) => name),
  lock: (id) => lockView(state.lock(id)),
  locksOf: (account, page = {}) => pageOf(`L${account.toHex()}`, page, (id) => lockView(state.lock(id)) as LockView),
});

function lockView(held: LockHeld | undefined): LockView | null {
  if (held === undefined) return null;
  const { id, sender, recipient, amount, hash, expiryMs } = held;
  return { id, sender, recipient, amount, hash, expiryMs };
}

function delegationView(state: State, id: Address): DelegationView | null {
  const held = state.delegation(id);
  if (held === undefined) return null;
  const { validator, delegator, shares } = held;
  const { delegated, leaving } = state.validator(validator) ?? { delegated: EMPTY_POOL, leaving: EMPTY_POOL };
  return {
    id, validator, delegator, shares, amount: unitsFor(delegated, shares),
    leaving: held.leaving.map((one) => ({ amount: unitsFor(leaving, one.shares), releaseMs: one.releaseMs, releaseEpoch: one.releaseEpoch })),
  };
}

const nameView = ({ name, owner, deployment, expiryMs }: NameHeld): NameView => ({ name, owner, deployment, expiryMs });
