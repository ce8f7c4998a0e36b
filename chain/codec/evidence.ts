/**
 * Evidence (R13): two statements that one validator signed about one view, and that no honest validator signs both of.
 *
 *   votes      [1, 0, signed vote, signed vote]                     as in `schema.ts`
 *   proposals  [1, 1, header, signature, header, signature]         two blocks of one view by its leader
 *
 * The smaller encoding comes first, so one pair has one form. Evidence is checked against the validators of *its* epoch.
 * Two quorums that cannot both be share more than a third of the weight: `evidenceBetween` gives the proof against each.
 */

import { hashWithDomain, verify } from "../crypto.ts";
import * as types from "../types.ts";
import type { Digest, Epoch, Refusal, Signature, View } from "../types.ts";
import { CodecError, decode, encode } from "./cbor.ts";
import type { Cbor } from "./cbor.ts";
import { verifyVote } from "./certificate.ts";
import type { ValidatorSet } from "./certificate.ts";
import { compareBytes } from "./envelope.ts";
import { signersOf } from "./quorum.ts";
import { bytes, encodeHeader, encodeSignedVote, headerFrom, headerId, headerItems, list, signedVoteFrom, signedVoteItems, u32, version } from "./schema.ts";
import type { BlockHeader, Certificate, SignedVote, Vote } from "./schema.ts";

export type SignedHeader = { readonly header: BlockHeader; readonly signature: Signature };

export type Evidence =
  | { readonly kind: "votes"; readonly a: SignedVote; readonly b: SignedVote }
  | { readonly kind: "proposals"; readonly a: SignedHeader; readonly b: SignedHeader };

/** Who is accused, and of which view: a second proof of the same says nothing new. */
export type Accused = { readonly epoch: Epoch; readonly validator: number; readonly view: View };

export function accusedOf({ kind, a }: Evidence): Accused {
  if (kind === "votes") return { epoch: a.epoch, validator: a.validator, view: a.view };
  return { epoch: a.header.epoch, validator: a.header.proposer, view: a.header.view };
}

export const evidenceId = (encoded: Uint8Array): Digest => hashWithDomain("evidence", encoded);

export function encodeEvidence(evidence: Evidence): Uint8Array {
  if (evidence.kind === "votes") {
    const [a, b] = [evidence.a, evidence.b].toSorted((x, y) => compareBytes(encodeSignedVote(x), encodeSignedVote(y)));
    return encode([1, 0, signedVoteItems(a!), signedVoteItems(b!)]);
  }
  const [a, b] = [evidence.a, evidence.b].toSorted((x, y) => compareBytes(encodeHeader(x.header), encodeHeader(y.header)));
  return encode([1, 1, headerItems(a!.header), a!.signature, headerItems(b!.header), b!.signature]);
}

/** Refuses what is not evidence by its content already, and every form but the one of `encodeEvidence`. */
export function decodeEvidence(input: Uint8Array): Evidence {
  const [first, kind, ...rest] = list(decode(input), 6);
  version(first);
  const evidence = evidenceFrom(u32(kind), rest);
  if (!isConflict(evidence)) throw new CodecError("codec_value", "two statements that do not contradict each other are no evidence");
  if (compareBytes(encodeEvidence(evidence), input) !== 0) throw new CodecError("codec_value", "the two statements are not in order");
  return evidence;
}

function evidenceFrom(kind: number, rest: readonly Cbor[]): Evidence {
  if (kind === 0 && rest.length === 2) return { kind: "votes", a: signedVoteFrom(rest[0]), b: signedVoteFrom(rest[1]) };
  if (kind === 1 && rest.length === 4) return { kind: "proposals", a: signedHeader(rest[0], rest[1]), b: signedHeader(rest[2], rest[3]) };
  throw new CodecError("codec_value", `${kind} is no kind of evidence with ${rest.length} parts`);
}

const signedHeader = (header: Cbor | undefined, signature: Cbor | undefined): SignedHeader => ({ header: headerFrom(header), signature: types.signature(bytes(signature, 64)) });

const same = (a: Uint8Array, b: Uint8Array): boolean => compareBytes(a, b) === 0;

/** R13: notarize twice, finalize twice, finalize and nullify, notarize one block and finalize another, propose two. */
export function isConflict(evidence: Evidence): boolean {
  if (evidence.kind === "votes") {
    const { a, b } = evidence;
    return a.validator === b.validator && a.epoch === b.epoch && a.view === b.view && same(a.chainId, b.chainId) && votesConflict(a, b);
  }
  const { a: { header: a }, b: { header: b } } = evidence;
  return a.proposer === b.proposer && a.epoch === b.epoch && a.view === b.view && same(a.chainId, b.chainId) && !same(encodeHeader(a), encodeHeader(b));
}

/** Of two votes of one validator in one view. A nullification may follow a notarization, and contradicts nothing but a finalization. */
export function votesConflict(a: Pick<Vote, "kind" | "id">, b: Pick<Vote, "kind" | "id">): boolean {
  if (a.id !== null && b.id !== null) return !same(a.id, b.id);
  return a.kind === "finalize" || b.kind === "finalize" ? a.kind !== b.kind : false;
}

/** Whether it proves what it says, by the validators of its epoch. */
export function verifyEvidence(set: ValidatorSet, evidence: Evidence): { readonly ok: true; readonly accused: Accused } | Refusal {
  const accused = accusedOf(evidence);
  const no = (why: string): Refusal => types.refuse("evidence_invalid", `Cannot take evidence against validator ${accused.validator} in view ${accused.view}: ${why}`);
  if (!isConflict(evidence)) return no("its two statements do not contradict each other");
  if (accused.epoch !== set.epoch) return no(`it is of epoch ${accused.epoch}, not ${set.epoch}`);
  if (evidence.kind === "votes") {
    return verifyVote(set, evidence.a) && verifyVote(set, evidence.b) ? { ok: true, accused } : no("a signature does not hold");
  }
  const publicKey = set.validators[accused.validator]?.publicKey;
  const isTheirs = ({ header, signature }: SignedHeader): boolean =>
    publicKey !== undefined && same(header.chainId, set.chainId) && verify("proposal", signature, headerId(header), publicKey);
  return isTheirs(evidence.a) && isTheirs(evidence.b) ? { ok: true, accused } : no("a signature does not hold");
}

/** A signer's vote, as it stands in a certificate. */
export function votesIn(set: ValidatorSet, { kind, epoch, view, id, bitmap, signatures }: Certificate): SignedVote[] {
  return (signersOf(bitmap, set.validators.length) ?? []).map((validator, at): SignedVote => ({
    kind, chainId: set.chainId, epoch, view, id, validator, signature: types.signature(signatures.slice(64 * at, 64 * at + 64)),
  }));
}

/** Against everybody who signed both of two certificates of one view that contradict each other. */
export function evidenceBetween(set: ValidatorSet, one: Certificate, other: Certificate): Evidence[] {
  if (one.epoch !== other.epoch || one.view !== other.view || !votesConflict(one, other)) return [];
  const others = new Map(votesIn(set, other).map((vote) => [vote.validator, vote]));
  return votesIn(set, one).flatMap((a): Evidence[] => {
    const b = others.get(a.validator);
    return b ? [{ kind: "votes", a, b }] : [];
  });
}
