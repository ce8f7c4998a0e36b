/**
 * Operations of who holds tokens, numbers 30 to 49: money that is locked until a secret is shown, tokens behind validators, names. Their fields in the order of the bytes,
 * and the ids of what they make.
 */
import { encode } from "#chain/codec/cbor.ts";
import { ADDRESS, ADDRESS_OR_NONE, DIGEST, type Layout, U32, U64, bytesOf, textOf } from "#chain/codec/fields.ts";
import { hashWithDomain } from "#chain/crypto.ts";
import { type Address, type Digest, address } from "#chain/types.ts";

/** All secrets have one length: with two chains that take different ones, one side of a swap could be claimed and the other not. */
export const PREIMAGE_BYTES = 32;
/** The longest that DNS has. */
export const HOST_NAME_BYTES_MAX = 253;

/** Money for `to` when somebody shows what hashes (sha256) to `hash` before `expiryMs`; the sender's again afterwards. */
export type Lock = { readonly kind: "lock"; readonly to: Address; readonly amount: bigint; readonly hash: Digest; readonly expiryMs: bigint };
/** By anybody: the money goes to who it was locked for. */
export type ClaimLock = { readonly kind: "claimLock"; readonly lock: Address; readonly preimage: Uint8Array };
/** By anybody: the money goes back to who locked it. */
export type RefundLock = { readonly kind: "refundLock"; readonly lock: Address };
/** Tokens behind a validator, unless its commission is above `commissionMax` (in 1/10,000) by the time. */
export type Delegate = { readonly kind: "delegate"; readonly validator: Address; readonly amount: bigint; readonly commissionMax: number };
/** Takes shares back. */
export type Undelegate = { readonly kind: "undelegate"; readonly validator: Address; readonly shares: bigint };
/** Sender = operator. In 1/10,000 of what delegators earn. */
export type SetCommission = { readonly kind: "setCommission"; readonly validator: Address; readonly bps: number };
/** The first who asks has it, for so many years. It points to a deployment of the owner's, or nowhere. */
export type RegisterName = { readonly kind: "registerName"; readonly name: string; readonly deployment: Address | null; readonly years: number };
export type RenewName = { readonly kind: "renewName"; readonly name: string; readonly years: number };
export type PointName = { readonly kind: "pointName"; readonly name: string; readonly deployment: Address | null };
export type TransferName = { readonly kind: "transferName"; readonly name: string; readonly to: Address };
export type ReleaseName = { readonly kind: "releaseName"; readonly name: string };
/** Sender = the operator of a validator in the set, which votes for it by that. */
export type Propose = { readonly kind: "propose"; readonly validator: Address; readonly parameter: number; readonly value: bigint };
export type Vote = { readonly kind: "vote"; readonly validator: Address; readonly proposal: Address };
export type HolderOperation = Propose | Vote | RegisterName | RenewName | PointName | TransferName | ReleaseName | Lock | ClaimLock | RefundLock | Delegate | Undelegate | SetCommission;

const HOST_NAME = textOf(HOST_NAME_BYTES_MAX);
export const HOLDER_LAYOUTS: { readonly [K in HolderOperation["kind"]]: Layout<Extract<HolderOperation, { kind: K }>> } = {
  lock: { number: 30, fields: { to: ADDRESS, amount: U64, hash: DIGEST, expiryMs: U64 } },
  claimLock: { number: 31, fields: { lock: ADDRESS, preimage: bytesOf(PREIMAGE_BYTES) } },
  refundLock: { number: 32, fields: { lock: ADDRESS } },
  delegate: { number: 33, fields: { validator: ADDRESS, amount: U64, commissionMax: U32 } },
  undelegate: { number: 34, fields: { validator: ADDRESS, shares: U64 } },
  setCommission: { number: 35, fields: { validator: ADDRESS, bps: U32 } },
  registerName: { number: 36, fields: { name: HOST_NAME, deployment: ADDRESS_OR_NONE, years: U32 } },
  renewName: { number: 37, fields: { name: HOST_NAME, years: U32 } },
  pointName: { number: 38, fields: { name: HOST_NAME, deployment: ADDRESS_OR_NONE } },
  transferName: { number: 39, fields: { name: HOST_NAME, to: ADDRESS } },
  releaseName: { number: 40, fields: { name: HOST_NAME } },
  propose: { number: 41, fields: { validator: ADDRESS, parameter: U32, value: U64 } },
  vote: { number: 42, fields: { validator: ADDRESS, proposal: ADDRESS } },
};

/** The id of the lock that operation `opIndex` of a transaction makes: known before it is sent. */
export const lockIdOf = (sender: Address, nonce: bigint, opIndex: number): Address => address(hashWithDomain("lock", encode([sender, nonce, opIndex])).slice(0, 20));

/** What an account has delegated to a validator has an id of its own. */
export const delegationIdOf = (validator: Address, delegator: Address): Address => address(hashWithDomain("delegation", encode([validator, delegator])).slice(0, 20));

export const nameIdOf = (name: string): Address => address(hashWithDomain("name", encode(name)).slice(0, 20));

export const proposalIdOf = (sender: Address, nonce: bigint, opIndex: number): Address => address(hashWithDomain("parameters", encode([sender, nonce, opIndex])).slice(0, 20));
