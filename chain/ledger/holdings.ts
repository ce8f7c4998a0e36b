/**
 * What holders of tokens have in the state, kind by kind: the key, the layout of the leaf, the lists it is found by, the money in it. One
 * table, so that a kind is one entry; `model.ts` and `snapshot.ts` ask it for all kinds that they do not know.
 *
 * Lists, in the one ordered set of the state (model.ts), by their first letter:
 *   L account lock      locks that an account made or that are for it
 *   D account id, W validator id        delegations of an account, and to a validator
 *   O account id, N deployment id       names of an account, and those that point to a deployment
 *   P validator id, Q id                proposals that are open, by who made them, and all
 *   B time id           delegations of which something leaves, by when the first of it is paid
 */
import type { Cbor } from "#chain/codec/cbor.ts";
import { HOST_NAME_BYTES_MAX } from "#chain/codec/holderOperations.ts";
import { stateKey } from "#chain/codec/proof.ts";
import { bytes, id20, list, text, tuple, u32, u64 } from "#chain/codec/schema.ts";
import { UNBONDINGS_MAX } from "#chain/ledger/limits.ts";
import { SCALING_KIND, type ScalingHeld } from "#chain/ledger/scalingHeld.ts";
import { TASK_ROW, type TaskHeld } from "#chain/ledger/taskState.ts";
import { type Address, type Digest, digest } from "#chain/types.ts";

/** Money for who shows the preimage of a hash in time. */
export type LockHeld = {
  readonly kind: "lock";
  readonly id: Address;
  readonly sender: Address;
  readonly recipient: Address;
  readonly amount: bigint;
  readonly hash: Digest;
  /** Header time from which it is the sender's again. */
  readonly expiryMs: bigint;
};
/** Shares of a validator's pool that are on their way back, in shares of what leaves it. */
export type Leaving = { readonly shares: bigint; readonly releaseMs: bigint; readonly releaseEpoch: number };
/** What an account has behind a validator. The money is in the validator's leaf. */
export type DelegationHeld = {
  readonly kind: "delegation";
  readonly id: Address;
  readonly validator: Address;
  readonly delegator: Address;
  readonly shares: bigint;
  readonly leaving: readonly Leaving[];
};
/** A host by which machines answer for a deployment of its owner. */
export type NameHeld = {
  readonly kind: "name";
  readonly id: Address;
  readonly name: string;
  readonly owner: Address;
  /** null: nowhere. It may be gone since. */
  readonly deployment: Address | null;
  readonly expiryMs: bigint;
};
/** One leaf: parameters that votes have changed, and those that they will. */
export type SettingsHeld = {
  readonly kind: "settings";
  readonly values: readonly { readonly parameter: number; readonly value: bigint }[];
  readonly scheduled: readonly { readonly parameter: number; readonly value: bigint; readonly epoch: number }[];
};
export type ProposalHeld = {
  readonly kind: "proposal";
  readonly id: Address;
  readonly parameter: number;
  readonly value: bigint;
  /** Who proposed it, in which epoch, and the validators that voted for it. */
  readonly validator: Address;
  readonly epoch: number;
  readonly votes: readonly Address[];
};
export type Holding = LockHeld | DelegationHeld | NameHeld | SettingsHeld | ProposalHeld | TaskHeld | ScalingHeld;
export type HoldingKind = Holding["kind"];

/** Entries of one leaf: of a proposal the validators of all the sets it is open in. */
const SETTINGS_MAX = 65_536;

type Kind<E extends Holding> = {
  readonly key: (entity: E) => string;
  /** Changing a layout changes every root. */
  readonly leaf: (entity: E) => Cbor;
  readonly from: (leaf: Cbor | undefined) => E;
  readonly lists: (entity: E) => readonly string[];
  readonly money: (entity: E) => bigint;
};

export const delegationKey = (id: Address): string => stateKey("delegation", id);
export const nameKey = (id: Address): string => stateKey("name", id);
export const SETTINGS_KEY: string = stateKey("settings");
export const proposalKey = (id: Address): string => stateKey("proposal", id);
export const lockKey = (id: Address): string => stateKey("lock", id);

const KINDS: { readonly [K in HoldingKind]: Kind<Extract<Holding, { kind: K }>> } = {
  lock: {
    key: ({ id }) => lockKey(id),
    leaf: ({ id, sender, recipient, amount, hash, expiryMs }) => [id, sender, recipient, amount, hash, expiryMs],
    from: (leaf) => {
      const [id, sender, recipient, amount, hash, expiryMs] = tuple(leaf as Cbor, 6);
      return { kind: "lock", id: id20(id), sender: id20(sender), recipient: id20(recipient), amount: u64(amount), hash: digest(bytes(hash, 32)), expiryMs: u64(expiryMs) };
    },
    lists: ({ id, sender, recipient }) => [...new Set([sender, recipient].map((who) => `L${who.toHex()}${id.toHex()}`))],
    money: ({ amount }) => amount,
  },
  delegation: {
    key: ({ id }) => delegationKey(id),
    leaf: ({ id, validator, delegator, shares, leaving }) => [id, validator, delegator, shares, leaving.map((one) => [one.shares, one.releaseMs, one.releaseEpoch])],
    from: (leaf) => {
      const [id, validator, delegator, shares, leaving] = tuple(leaf as Cbor, 5);
      return { kind: "delegation", id: id20(id), validator: id20(validator), delegator: id20(delegator), shares: u64(shares), leaving: list(leaving, UNBONDINGS_MAX).map(leavingFrom) };
    },
    lists: ({ id, validator, delegator, leaving: [first] }) =>
      [`D${delegator.toHex()}${id.toHex()}`, `W${validator.toHex()}${id.toHex()}`, ...(first ? [`B${first.releaseMs.toString(16).padStart(20, "0")}${id.toHex()}`] : [])],
    money: () => 0n,
  },
  settings: {
    key: () => SETTINGS_KEY,
    leaf: ({ values, scheduled }) => [values.map(({ parameter, value }) => [parameter, value]), scheduled.map(({ parameter, value, epoch }) => [parameter, value, epoch])],
    from: (leaf) => {
      const [values, scheduled] = tuple(leaf as Cbor, 2);
      return {
        kind: "settings", values: list(values, SETTINGS_MAX).map((item) => ({ parameter: u32(tuple(item, 2)[0]), value: u64(tuple(item, 2)[1]) })),
        scheduled: list(scheduled, SETTINGS_MAX).map((item) => ({ parameter: u32(tuple(item, 3)[0]), value: u64(tuple(item, 3)[1]), epoch: u32(tuple(item, 3)[2]) })),
      };
    },
    lists: () => [],
    money: () => 0n,
  },
  proposal: {
    key: ({ id }) => proposalKey(id),
    leaf: ({ id, parameter, value, validator, epoch, votes }) => [id, parameter, value, validator, epoch, votes],
    from: (leaf) => {
      const [id, parameter, value, validator, epoch, votes] = tuple(leaf as Cbor, 6);
      return { kind: "proposal", id: id20(id), parameter: u32(parameter), value: u64(value), validator: id20(validator), epoch: u32(epoch), votes: list(votes, SETTINGS_MAX).map(id20) };
    },
    lists: ({ id, validator }) => [`P${validator.toHex()}${id.toHex()}`, `Q${id.toHex()}`],
    money: () => 0n,
  },
  task: TASK_ROW,
  name: {
    key: ({ id }) => nameKey(id),
    leaf: ({ id, name, owner, deployment, expiryMs }) => [id, name, owner, deployment ?? new Uint8Array(0), expiryMs],
    from: (leaf) => {
      const [id, name, owner, deployment, expiryMs] = tuple(leaf as Cbor, 5);
      return { kind: "name", id: id20(id), name: text(name, HOST_NAME_BYTES_MAX), owner: id20(owner), deployment: bytes(deployment).length === 0 ? null : id20(deployment), expiryMs: u64(expiryMs) };
    },
    lists: ({ id, owner, deployment }) => [`O${owner.toHex()}${id.toHex()}`, ...(deployment ? [`N${deployment.toHex()}${id.toHex()}`] : [])],
    money: () => 0n,
  },
  scaling: SCALING_KIND,
};
const kindOf = (kind: HoldingKind): Kind<Holding> => KINDS[kind] as unknown as Kind<Holding>;

export const isHolding = (entity: { readonly kind: string }): entity is Holding => Object.hasOwn(KINDS, entity.kind);
export const isHoldingKind = (kind: string): kind is HoldingKind => Object.hasOwn(KINDS, kind);
export const keyOfHolding = (entity: Holding): string => kindOf(entity.kind).key(entity);
export const leafOfHolding = (entity: Holding): Cbor => kindOf(entity.kind).leaf(entity);
export const holdingFrom = (kind: HoldingKind, leaf: Cbor | undefined): Holding => kindOf(kind).from(leaf);
export const listsOfHolding = (entity: Holding): readonly string[] => kindOf(entity.kind).lists(entity);
export const moneyOfHolding = (entity: Holding): bigint => kindOf(entity.kind).money(entity);

function leavingFrom(item: Cbor): Leaving {
  const [shares, releaseMs, releaseEpoch] = tuple(item, 3);
  return { shares: u64(shares), releaseMs: u64(releaseMs), releaseEpoch: u32(releaseEpoch) };
}
