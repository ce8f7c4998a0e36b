/**
 * Paid segments as a chain of hashes: the newest stands in the deployment's leaf, so that a bill is proven whole however old its lines are.
 *
 *   d(0) = 32 zeros      d(n) = H(segment, [d(n − 1), machine, operator, index, rate, opened at, end])      in the order in which they are paid
 */
import { type Cbor, encode } from "#chain/codec/cbor.ts";
import { hashWithDomain, sha256 } from "#chain/crypto.ts";
import { type Address, type Digest, digest } from "#chain/types.ts";

export type Line = { readonly machine: Address; readonly operator: Address; readonly index: number; readonly rate: bigint; readonly openedAt: bigint };
export type Unpaid = Line & { readonly paidUntil: bigint; /** null: it runs. */ readonly end: bigint | null };

export const NO_SEGMENT: Digest = digest(new Uint8Array(32));
export const afterSegment = (before: Uint8Array, { machine, operator, index, rate, openedAt }: Line, end: bigint): Digest =>
  hashWithDomain("segment", encode([before, machine, operator, index, rate, openedAt, end]));

/** What is not paid yet, as it stands in the leaf: running ones ascending by index, ended ones in the order in which they ended. */
export const unpaidLeaf = ({ index, machine, operator, rate, openedAt, paidUntil, end }: Unpaid): Cbor[] =>
  [index, machine, operator, rate, openedAt, paidUntil, ...(end === null ? [] : [end])];
export const unpaidHash = (running: Cbor, ended: Cbor): Digest => sha256(encode([running, ended]));
