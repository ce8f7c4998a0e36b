/**
 * What holders of tokens have in the state, kind by kind: the key, the layout of the leaf, the lists it is found by, the money in it. One
 * table, so that a kind is one entry; `model.ts` and `snapshot.ts` ask it for all kinds that they do not know.
 *
 * Lists, in the one ordered set of the state (model.ts), by their first letter:
 *   L account lock      locks that an account made or that are for it
 */
import type { Cbor } from "#chain/codec/cbor.ts";
import { stateKey } from "#chain/codec/proof.ts";
import { bytes, tuple, u64 } from "#chain/codec/schema.ts";
import { type Address, type Digest, address, digest } from "#chain/types.ts";

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
export type Holding = LockHeld;
export type HoldingKind = Holding["kind"];

type Kind<E extends Holding> = {
  readonly key: (entity: E) => string;
  /** Changing a layout changes every root. */
  readonly leaf: (entity: E) => Cbor;
  readonly from: (leaf: Cbor | undefined) => E;
  readonly lists: (entity: E) => readonly string[];
  readonly money: (entity: E) => bigint;
};

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
};
const kindOf = (kind: HoldingKind): Kind<Holding> => KINDS[kind] as unknown as Kind<Holding>;

export const isHolding = (entity: { readonly kind: string }): entity is Holding => Object.hasOwn(KINDS, entity.kind);
export const isHoldingKind = (kind: string): kind is HoldingKind => Object.hasOwn(KINDS, kind);
export const keyOfHolding = (entity: Holding): string => kindOf(entity.kind).key(entity);
export const leafOfHolding = (entity: Holding): Cbor => kindOf(entity.kind).leaf(entity);
export const holdingFrom = (kind: HoldingKind, leaf: Cbor | undefined): Holding => kindOf(kind).from(leaf);
export const listsOfHolding = (entity: Holding): readonly string[] => kindOf(entity.kind).lists(entity);
export const moneyOfHolding = (entity: Holding): bigint => kindOf(entity.kind).money(entity);

const id20 = (value: Cbor | undefined): Address => address(bytes(value, 20));
