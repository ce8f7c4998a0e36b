/**
 * The layout of every byte that consensus hashes, signs or sends: headers, bodies, blocks, votes, certificates, proposals,
 * messages. One place, so that a field is added in one place and a golden test sees it.
 *
 * Everything is an array in a fixed order (`cbor.ts`); what is hashed or signed begins with the version. A type that is not
 * what the field demands is a CodecError; a decoded u64 is always a bigint and a u32 always a number.
 * Absent ids and certificates are h''. Decoding checks shape and limits, and in messages that a block's body is the one its
 * header names: who signed is `certificate.ts`.
 */

import {
  BITMAP_BYTES_MAX, BLOCK_BYTES_MAX, EVIDENCE_BYTES_MAX, EVIDENCE_PER_BLOCK_MAX, JUSTIFICATION_CERTIFICATES_MAX, MESSAGE_BYTES_MAX,
  STATEMENT_BYTES_MAX, SUSPICIONS_PER_BLOCK_MAX, TRANSACTION_BYTES_MAX, TRANSACTIONS_PER_BLOCK_MAX, VALIDATORS_MAX, WIRE_VERSION,
} from "../constants.ts";
import { hashWithDomain } from "../crypto.ts";
import * as types from "../types.ts";
import type {
  ChainId, Digest, Epoch, Height, MoneySecond, Signature, TimeMs, View,
} from "../types.ts";
import { decode, decodeLent, encode, CodecError } from "./cbor.ts";
import type { Cbor } from "./cbor.ts";

// ---- Types -------------------------------------------------------------------------------------------------------------

export type BlockHeader = {
  readonly chainId: ChainId;
  readonly epoch: Epoch;
  readonly view: View;
  readonly height: Height;
  readonly parentView: View;
  readonly parentId: Digest;
  /** Who signed the parent's certificate in the body: the only one that counts for rewards and jail. Empty in the first block of an epoch. */
  readonly parentBitmap: Uint8Array;
  readonly timeMs: TimeMs;
  readonly moneySecond: MoneySecond;
  readonly bodyRoot: Digest;
  /** Of the state after this block. */
  readonly stateRoot: Digest;
  /** Of the validators of this epoch, and of the next: both are fixed before the epoch begins. */
  readonly validatorsHash: Digest;
  readonly nextValidatorsHash: Digest;
  /** Index into the epoch's validators. */
  readonly proposer: number;
};

export type BlockBody = {
  /** The notarization or finalization of the parent; null when that is the genesis block, or the last one of the epoch before. */
  readonly parentCertificate: Certificate | null;
  /** Whole signed transactions. */
  readonly transactions: readonly Uint8Array[];
  /** Each one encoded (`evidence.ts`): two statements of one validator that no honest one makes (R13). */
  readonly evidence: readonly Uint8Array[];
  /** Each one sealed (`liveness.ts`); together they take machines down, and there is none among them that is not needed for it. */
  readonly suspicions: readonly Uint8Array[];
};

export type Block = { readonly header: BlockHeader; readonly body: BlockBody };

export type VoteKind = "notarize" | "nullify" | "finalize";

export type Vote = {
  readonly kind: VoteKind;
  readonly chainId: ChainId;
  readonly epoch: Epoch;
  readonly view: View;
  /** The block; null for nullify, and only there. */
  readonly id: Digest | null;
};

export type SignedVote = Vote & { readonly validator: number; readonly signature: Signature };

/** A quorum of equal votes: a notarization, a nullification, a finalization. The chain is the verifier's. */
export type Certificate = {
  readonly kind: VoteKind;
  readonly epoch: Epoch;
  readonly view: View;
  readonly id: Digest | null;
  /** Bit i of byte i >> 3, lowest first: validator i signed. */
  readonly bitmap: Uint8Array;
  /** Concatenated, in order of index. */
  readonly signatures: Uint8Array;
};

export type Proposal = {
  readonly block: Block;
  /** By the view's leader, over the id, in the domain `proposal`. */
  readonly signature: Signature;
  /** Nullifications of the views between the parent's and this one. The parent's own certificate is in the body. */
  readonly justification: readonly Certificate[];
};

export type ConsensusMessage =
  | { readonly kind: "proposal"; readonly proposal: Proposal }
  | { readonly kind: "vote"; readonly vote: SignedVote }
  | { readonly kind: "certificate"; readonly certificate: Certificate }
  | { readonly kind: "blockRequest"; readonly id: Digest }
  | { readonly kind: "block"; readonly block: Block }
  | { readonly kind: "certificateRequest"; readonly certificateKind: VoteKind; readonly view: View }
  | { readonly kind: "statusRequest"; readonly nonce: Uint8Array }
  | { readonly kind: "status"; readonly status: Status };

/**
 * R12: where a validator is, for one that has lost its vote log. Not signed: it counts as the word of the peer that the
 * transport has authenticated, and the nonce says that it is fresh.
 */
export type Status = {
  readonly nonce: Uint8Array;
  readonly epoch: Epoch;
  /** The highest view in which the sender may have signed. */
  readonly view: View;
  /** The certificate that let the sender into its view, null in the first; and the newest finalization, null before it. */
  readonly admitting: Certificate | null;
  readonly finalization: Certificate | null;
};

// ---- Readers: one item of decoded CBOR → what the field demands ----------------------------------------------------------

export function u32(value: Cbor | undefined): number {
  if (typeof value !== "number") throw new CodecError("codec_value", `${show(value)} is not a u32`);
  return value;
}

export function u64(value: Cbor | undefined): bigint {
  if (typeof value === "number") return BigInt(value);
  if (typeof value !== "bigint") throw new CodecError("codec_value", `${show(value)} is not a u64`);
  return value;
}

/** Exactly `length` bytes; any number of them when it is left out. */
export function bytes(value: Cbor | undefined, length?: number): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new CodecError("codec_value", `${show(value)} is not a byte string`);
  if (length !== undefined && value.length !== length) throw new CodecError("codec_length", `${value.length} bytes where ${length} belong`);
  return value;
}

/** An account, or what has an id of its own: a deployment, a machine, a validator. */
export const id20 = (value: Cbor | undefined): types.Address => types.address(bytes(value, 20));

export function bytesUpTo(value: Cbor | undefined, lengthMax: number): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new CodecError("codec_value", `${show(value)} is not a byte string`);
  if (value.length > lengthMax) throw new CodecError("codec_length", `${value.length} bytes where at most ${lengthMax} belong`);
  return value;
}

const utf8 = new TextEncoder();

/** At most `bytesMax` bytes of UTF-8. */
export function text(value: Cbor | undefined, bytesMax: number): string {
  if (typeof value !== "string") throw new CodecError("codec_value", `${show(value)} is not a text`);
  const length = utf8.encode(value).length;
  if (length > bytesMax) throw new CodecError("codec_length", `a text of ${length} bytes where at most ${bytesMax} belong`);
  return value;
}

export function list(value: Cbor | undefined, lengthMax: number): readonly Cbor[] {
  if (!Array.isArray(value)) throw new CodecError("codec_value", `${show(value)} is not a list`);
  if (value.length > lengthMax) throw new CodecError("codec_length", `a list of ${value.length} where at most ${lengthMax} belong`);
  return value as readonly Cbor[];
}

/** A list of exactly so many. */
export function tuple(value: Cbor | undefined, length: number): readonly Cbor[] {
  const items = list(value, length);
  if (items.length !== length) throw new CodecError("codec_length", `a list of ${items.length} where ${length} belong`);
  return items;
}

export function version(value: Cbor | undefined): void {
  if (value !== WIRE_VERSION) throw new CodecError("codec_value", `version ${show(value)} is not ${WIRE_VERSION}`);
}

const digestOf = (value: Cbor | undefined): Digest => types.digest(bytes(value, 32));

function show(value: Cbor | undefined): string {
  if (value === undefined) return "nothing";
  if (value instanceof Uint8Array) return `a byte string of ${value.length}`;
  return typeof value === "object" ? `a list of ${value.length}` : `${typeof value} ${String(value).slice(0, 40)}`;
}

// ---- Headers, bodies, blocks -----------------------------------------------------------------------------------------------

export const headerItems = (h: BlockHeader): Cbor => [
  WIRE_VERSION, h.chainId, h.epoch, h.view, h.height, h.parentView, h.parentId, h.parentBitmap, h.timeMs, h.moneySecond,
  h.bodyRoot, h.stateRoot, h.validatorsHash, h.nextValidatorsHash, h.proposer,
];

export function headerFrom(value: Cbor | undefined): BlockHeader {
  const f = tuple(value, 15);
  version(f[0]);
  return {
    chainId: types.chainId(bytes(f[1], 8)), epoch: types.epoch(u32(f[2])), view: types.view(u32(f[3])),
    height: types.height(u32(f[4])), parentView: types.view(u32(f[5])), parentId: digestOf(f[6]),
    parentBitmap: bytesUpTo(f[7], BITMAP_BYTES_MAX), timeMs: types.timeMs(u64(f[8])), moneySecond: types.moneySecond(u64(f[9])),
    bodyRoot: digestOf(f[10]), stateRoot: digestOf(f[11]), validatorsHash: digestOf(f[12]),
    nextValidatorsHash: digestOf(f[13]), proposer: validatorIndex(f[14]),
  };
}

const bodyItems = (b: BlockBody): Cbor => [
  orEmpty(b.parentCertificate), b.transactions, b.evidence, b.suspicions,
];

function bodyFrom(value: Cbor | undefined): BlockBody {
  const f = tuple(value, 4);
  return {
    parentCertificate: orNull(f[0]),
    transactions: list(f[1], TRANSACTIONS_PER_BLOCK_MAX).map((tx) => bytesUpTo(tx, TRANSACTION_BYTES_MAX)),
    evidence: list(f[2], EVIDENCE_PER_BLOCK_MAX).map((one) => bytesUpTo(one, EVIDENCE_BYTES_MAX)),
    suspicions: list(f[3], SUSPICIONS_PER_BLOCK_MAX).map((one) => bytesUpTo(one, STATEMENT_BYTES_MAX)),
  };
}

const blockItems = (b: Block): Cbor => [headerItems(b.header), bodyItems(b.body)];

function blockFrom(value: Cbor | undefined): Block {
  const [header, body] = tuple(value, 2);
  return { header: headerFrom(header), body: bodyFrom(body) };
}

/** From a peer a body that is not its header's makes no block: else who passes one on could change it under its leader's signature. */
function whole(block: Block): Block {
  const { header, body } = block;
  if (types.hex(bodyRoot(body)) !== types.hex(header.bodyRoot)) throw new CodecError("codec_value", `the body is not that of block ${header.height}`);
  return block;
}

export const encodeHeader = (header: BlockHeader): Uint8Array => encode(headerItems(header));
export const decodeHeader = (input: Uint8Array): BlockHeader => headerFrom(decode(input));
export const encodeBody = (body: BlockBody): Uint8Array => encode(bodyItems(body));
export const decodeBody = (input: Uint8Array): BlockBody => bodyFrom(decode(sizedUpTo(input, BLOCK_BYTES_MAX)));
export const encodeBlock = (block: Block): Uint8Array => encode(blockItems(block));
export const decodeBlock = (input: Uint8Array): Block => blockFrom(decode(sizedUpTo(input, BLOCK_BYTES_MAX)));

export const headerId = (header: BlockHeader): Digest => hashWithDomain("block", encodeHeader(header));
/** Remembered as long as the body lives: a block's is asked for where it comes in and where it is checked, and is 256 KiB of work. */
export function bodyRoot(body: BlockBody): Digest {
  const known = bodyRoots.get(body);
  if (known) return known;
  const root = hashWithDomain("body", encodeBody(body));
  bodyRoots.set(body, root);
  return root;
}
const bodyRoots = new WeakMap<BlockBody, Digest>();
/** Block 0 has no header: its id is that of the genesis file. */
export const genesisId = (genesisBytes: Uint8Array): Digest => hashWithDomain("block", genesisBytes);

// ---- Votes and certificates ------------------------------------------------------------------------------------------------

const VOTE_KINDS = ["notarize", "nullify", "finalize"] as const satisfies readonly VoteKind[];
const EMPTY = new Uint8Array(0);
const SIGNATURE_BYTES = 64;

const voteItems = (v: Vote): readonly Cbor[] =>
  [WIRE_VERSION, VOTE_KINDS.indexOf(v.kind), v.chainId, v.epoch, v.view, v.id ?? EMPTY];

/** The bytes that a validator signs, in the domain `vote`. */
export const encodeVote = (vote: Vote): Uint8Array => encode(voteItems(vote));

export function decodeVote(input: Uint8Array): Vote {
  return voteFrom(tuple(decode(input), 6));
}

function voteFrom(f: readonly Cbor[]): Vote {
  version(f[0]);
  const kind = voteKind(f[1]);
  return {
    kind, chainId: types.chainId(bytes(f[2], 8)), epoch: types.epoch(u32(f[3])), view: types.view(u32(f[4])), id: idFor(kind, f[5]),
  };
}

export const signedVoteItems = (v: SignedVote): readonly Cbor[] => [...voteItems(v), v.validator, v.signature];

export function signedVoteFrom(value: Cbor | undefined): SignedVote {
  const f = tuple(value, 8);
  return { ...voteFrom(f), validator: validatorIndex(f[6]), signature: types.signature(bytes(f[7], SIGNATURE_BYTES)) };
}

export const encodeSignedVote = (vote: SignedVote): Uint8Array => encode(signedVoteItems(vote));
export const decodeSignedVote = (input: Uint8Array): SignedVote => signedVoteFrom(decode(input));

export function certificateItems(c: Certificate): Cbor {
  return [WIRE_VERSION, VOTE_KINDS.indexOf(c.kind), c.epoch, c.view, c.id ?? EMPTY, c.bitmap, c.signatures];
}

export function certificateFrom(value: Cbor | undefined): Certificate {
  const f = tuple(value, 7);
  version(f[0]);
  const kind = voteKind(f[1]);
  return {
    kind, epoch: types.epoch(u32(f[2])), view: types.view(u32(f[3])), id: idFor(kind, f[4]),
    // A copy: it outlives the block that it came in.
    bitmap: bytesUpTo(f[5], BITMAP_BYTES_MAX), signatures: bytesUpTo(f[6], VALIDATORS_MAX * SIGNATURE_BYTES).slice(),
  };
}

export const encodeCertificate = (certificate: Certificate): Uint8Array => encode(certificateItems(certificate));
export const decodeCertificate = (input: Uint8Array): Certificate => certificateFrom(decode(input));

function voteKind(value: Cbor | undefined): VoteKind {
  const kind = VOTE_KINDS[u32(value)];
  if (kind === undefined) throw new CodecError("codec_value", `${show(value)} is no kind of vote`);
  return kind;
}

function validatorIndex(value: Cbor | undefined): number {
  const index = u32(value);
  if (index >= VALIDATORS_MAX) throw new CodecError("codec_value", `validator ${index} is not below ${VALIDATORS_MAX}`);
  return index;
}

const idFor = (kind: VoteKind, value: Cbor | undefined): Digest | null =>
  kind === "nullify" ? absent(bytes(value, 0)) : digestOf(value);

function absent(value: Uint8Array): null {
  if (value.length !== 0) throw new CodecError("codec_length", `${value.length} bytes where h'' belongs`);
  return null;
}

// ---- Proposals and messages -------------------------------------------------------------------------------------------------

const proposalItems = (p: Proposal): Cbor =>
  [headerItems(p.block.header), bodyItems(p.block.body), p.signature, p.justification.map(certificateItems)];

function proposalFrom(value: Cbor | undefined): Proposal {
  const f = tuple(value, 4);
  return {
    block: whole({ header: headerFrom(f[0]), body: bodyFrom(f[1]) }), signature: types.signature(bytes(f[2], SIGNATURE_BYTES)),
    justification: list(f[3], JUSTIFICATION_CERTIFICATES_MAX).map(certificateFrom),
  };
}

export const encodeProposal = (proposal: Proposal): Uint8Array => encode(proposalItems(proposal));

/** A nonce must only be fresh. */
export const NONCE_BYTES = 8;

const orEmpty = (c: Certificate | null): Cbor => (c ? certificateItems(c) : EMPTY);
const orNull = (value: Cbor | undefined): Certificate | null => (value instanceof Uint8Array ? absent(value) : certificateFrom(value));
const statusItems = (s: Status): Cbor => [s.nonce, s.epoch, s.view, orEmpty(s.admitting), orEmpty(s.finalization)];

function statusFrom(value: Cbor | undefined): Status {
  const f = tuple(value, 5);
  return { nonce: bytes(f[0], NONCE_BYTES), epoch: types.epoch(u32(f[1])), view: types.view(u32(f[2])), admitting: orNull(f[3]), finalization: orNull(f[4]) };
}

function messageItems(m: ConsensusMessage): Cbor {
  switch (m.kind) {
    case "proposal": return [WIRE_VERSION, 0, proposalItems(m.proposal)];
    case "vote": return [WIRE_VERSION, 1, signedVoteItems(m.vote)];
    case "certificate": return [WIRE_VERSION, 2, certificateItems(m.certificate)];
    case "blockRequest": return [WIRE_VERSION, 3, m.id];
    case "block": return [WIRE_VERSION, 4, blockItems(m.block)];
    case "certificateRequest": return [WIRE_VERSION, 5, [VOTE_KINDS.indexOf(m.certificateKind), m.view]];
    case "statusRequest": return [WIRE_VERSION, 6, m.nonce];
    case "status": return [WIRE_VERSION, 7, statusItems(m.status)];
  }
}

export const encodeMessage = (message: ConsensusMessage): Uint8Array => encode(messageItems(message));

/** The message belongs to what is made of it: a block's transactions lie in it. */
export function decodeMessage(input: Uint8Array): ConsensusMessage {
  const [first, kind, content] = tuple(decodeLent(sizedUpTo(input, MESSAGE_BYTES_MAX)), 3);
  version(first);
  switch (u32(kind)) {
    case 0: return { kind: "proposal", proposal: proposalFrom(content) };
    case 1: return { kind: "vote", vote: signedVoteFrom(content) };
    case 2: return { kind: "certificate", certificate: certificateFrom(content) };
    case 3: return { kind: "blockRequest", id: digestOf(content) };
    case 4: return { kind: "block", block: whole(blockFrom(content)) };
    case 5: {
      const [certificateKind, view] = tuple(content, 2);
      return { kind: "certificateRequest", certificateKind: voteKind(certificateKind), view: types.view(u32(view)) };
    }
    case 6: return { kind: "statusRequest", nonce: bytes(content, NONCE_BYTES) };
    case 7: return { kind: "status", status: statusFrom(content) };
    default: throw new CodecError("codec_value", `${show(kind)} is no kind of message`);
  }
}

function sizedUpTo(input: Uint8Array, lengthMax: number): Uint8Array {
  if (input.length > lengthMax) throw new CodecError("codec_length", `${input.length} bytes where at most ${lengthMax} belong`);
  return input;
}
