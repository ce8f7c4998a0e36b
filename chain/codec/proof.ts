/**
 * Proofs against a state root: that a key has a value, or that there is no such key. The node makes them, light clients check them.
 *
 *   leaf = H(leaf, key ‖ nextKey ‖ H(value))      node = H(node, left ‖ right)      root = H(state, depth ‖ top)
 *   proof  [1, slot, key, nextKey, value or h'', H(value) or h'', [sibling…]]        siblings from the leaf's up
 *   answer [1, header, finalization, proof]                                          the state is that after the header's block
 *   epoch  [1, header, finalization, [[key, weight]…]]                               the validators of the epoch after the header's
 *
 * A proof of presence has the key that was asked for, and the value. A proof of absence has the leaf before it, whose link skips
 * the key: of that leaf only the hash of its value is there. Slot 0 is the head of the list, key 0; the last leaf links to it.
 */
import { type Cbor, CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { type Validator, type ValidatorSet, finalizes, validatorSet, validatorsHash, verifyCertificate } from "#chain/codec/certificate.ts";
import { type BlockHeader, type Certificate, bytes, bytesUpTo, certificateFrom, certificateItems, headerFrom, headerId, headerItems, list, tuple, u32, version } from "#chain/codec/schema.ts";
import { VALIDATORS_MAX } from "#chain/constants.ts";
import { hashWithDomain, sha256 } from "#chain/crypto.ts";
import { type Digest, type Refusal, epoch, hex, publicKey, refuse } from "#chain/types.ts";

/** Kind, 20 bytes of id, index. */
export const KEY_BYTES = 25;
export const HEAD_KEY: string = "00".repeat(KEY_BYTES);
/** 2^31 slots are more than a u32 of them. */
export const DEPTH_MAX = 31;
/** A deployment with the longest texts there are. */
const VALUE_BYTES_MAX = 16_384;

export const STATE_KINDS = { account: 1, deployment: 2, lease: 3, machine: 4, totals: 5, validator: 6, sets: 7, presence: 8, span: 9, clocks: 10, lock: 30, delegation: 31, name: 32, settings: 33, proposal: 34, task: 70, scaling: 80 } as const;
export type StateKind = keyof typeof STATE_KINDS;

/** The key of a leaf, as hex. */
export const stateKey = (kind: StateKind, id: Uint8Array = NO_ID, index: number = 0): string =>
  KIND_TEXTS[kind] + id.toHex() + (index === 0 ? "00000000" : index.toString(16).padStart(8, "0"));
const NO_ID = new Uint8Array(20);
const KIND_TEXTS = Object.fromEntries(Object.entries(STATE_KINDS).map(([kind, number]) => [kind, number.toString(16).padStart(2, "0")])) as Readonly<Record<StateKind, string>>;

export type Proof = {
  readonly slot: number;
  readonly key: string;
  readonly nextKey: string;
  /** null in a proof of absence. */
  readonly value: Uint8Array | null;
  readonly valueHash: Uint8Array;
  readonly siblings: readonly Uint8Array[];
};
export type Answer = { readonly header: BlockHeader; readonly finalization: Certificate; readonly proof: Proof };
export type EpochAnswer = { readonly header: BlockHeader; readonly finalization: Certificate; readonly next: readonly Validator[] };
export type Proven = { readonly ok: true; /** null: there is no such key. */ readonly value: Uint8Array | null } | Refusal;

export function leafHash(key: string, nextKey: string, valueHash: Uint8Array): Digest {
  const leaf = new Uint8Array(2 * KEY_BYTES + 32);
  leaf.setFromHex(key + nextKey);
  leaf.set(valueHash, 2 * KEY_BYTES);
  return hashWithDomain("leaf", leaf);
}

export const nodeHash = (left: Uint8Array, right: Uint8Array): Digest => {
  const both = new Uint8Array(64);
  both.set(left);
  both.set(right, 32);
  return hashWithDomain("node", both);
};

export function stateRootOf(depth: number, top: Uint8Array): Digest {
  const parts = new Uint8Array(33);
  parts[0] = depth;
  parts.set(top, 1);
  return hashWithDomain("state", parts);
}

/** The node that lies above `node`, `siblings.length` levels up. */
export function climb(node: Uint8Array, index: number, siblings: readonly Uint8Array[]): Uint8Array {
  let at = index;
  for (const sibling of siblings) {
    node = (at & 1) === 0 ? nodeHash(node, sibling) : nodeHash(sibling, node);
    at >>>= 1;
  }
  return node;
}

/** Whether the proof holds against the root, and what it says of the key. */
export function verifyProof(root: Uint8Array, key: string, proof: Proof): Proven {
  const no = (why: string): Refusal => refuse("proof_invalid", `Cannot take a proof of ${key}: ${why}`);
  const depth = proof.siblings.length;
  if (depth > DEPTH_MAX || proof.slot >= 2 ** depth) return no("its slot lies outside the tree");
  const top = climb(leafHash(proof.key, proof.nextKey, proof.valueHash), proof.slot, proof.siblings);
  if (hex(stateRootOf(depth, top)) !== hex(root)) return no("it leads to another root");
  if (proof.key === key) {
    if (proof.value === null || hex(sha256(proof.value)) !== hex(proof.valueHash)) return no("it has not the value");
    return { ok: true, value: proof.value };
  }
  if (proof.value !== null) return no("it is of another key");
  const isSkipped = proof.key < key && (proof.nextKey === HEAD_KEY || proof.nextKey > key);
  return isSkipped ? { ok: true, value: null } : no("the key may lie elsewhere");
}

/** A finalized header's state, by the validators of its epoch, whom the caller trusts. */
export function verifyAnswer(set: ValidatorSet, key: string, { header, finalization, proof }: Answer): Proven {
  const refusal = refusalOfFinal(set, header, finalization);
  return refusal ?? verifyProof(header.stateRoot, key, proof);
}

/** The validators of the next epoch, on the word of those of this one. Any finalized header of an epoch names them. */
export function verifyEpoch(set: ValidatorSet, { header, finalization, next }: EpochAnswer): { readonly ok: true; readonly next: ValidatorSet } | Refusal {
  const refusal = refusalOfFinal(set, header, finalization);
  if (refusal) return refusal;
  if (hex(validatorsHash(next)) !== hex(header.nextValidatorsHash)) return refuse("answer_invalid", `Cannot take the validators of epoch ${set.epoch + 1}: block ${header.height} names others`);
  return { ok: true, next: validatorSet(set.chainId, epoch(set.epoch + 1), next) };
}

function refusalOfFinal(set: ValidatorSet, header: BlockHeader, finalization: Certificate): Refusal | null {
  const no = (why: string): Refusal => refuse("answer_invalid", `Cannot take an answer about block ${header.height}: ${why}`);
  if (hex(header.chainId) !== hex(set.chainId) || header.epoch !== set.epoch) return no("it is of another chain or epoch");
  if (hex(header.validatorsHash) !== hex(validatorsHash(set.validators))) return no("it is of other validators");
  if (!finalizes(finalization, headerId(header)) || finalization.view !== header.view) return no("its certificate does not finalize it");
  const verdict = verifyCertificate(set, finalization);
  return verdict.ok ? null : verdict;
}

const NONE = new Uint8Array(0);
const proofItems = ({ slot, key, nextKey, value, valueHash, siblings }: Proof): Cbor =>
  [1, slot, Uint8Array.fromHex(key), Uint8Array.fromHex(nextKey), value ?? NONE, value === null ? valueHash : NONE, siblings];

function proofFrom(item: Cbor | undefined): Proof {
  const [first, slot, key, nextKey, value, valueHash, siblings] = tuple(item, 7);
  version(first);
  const found = bytesUpTo(value, VALUE_BYTES_MAX);
  const isPresent = found.length > 0;
  bytes(valueHash, isPresent ? 0 : 32);
  return {
    slot: u32(slot), key: hex(bytes(key, KEY_BYTES)), nextKey: hex(bytes(nextKey, KEY_BYTES)), value: isPresent ? found : null,
    valueHash: isPresent ? sha256(found) : bytes(valueHash), siblings: list(siblings, DEPTH_MAX).map((one) => bytes(one, 32)),
  };
}

export const encodeProof = (proof: Proof): Uint8Array => encode(proofItems(proof));
export const decodeProof = (input: Uint8Array): Proof => proofFrom(decode(input));
export const encodeAnswer = ({ header, finalization, proof }: Answer): Uint8Array => encode([1, headerItems(header), certificateItems(finalization), proofItems(proof)]);

export function decodeAnswer(input: Uint8Array): Answer {
  if (input.length > ANSWER_BYTES_MAX) throw new CodecError("codec_length", `Cannot read an answer of ${input.length} bytes as ${ANSWER_BYTES_MAX} is the limit`);
  const [first, header, finalization, proof] = tuple(decode(input), 4);
  version(first);
  return { header: headerFrom(header), finalization: certificateFrom(finalization), proof: proofFrom(proof) };
}
export const encodeEpochAnswer = ({ header, finalization, next }: EpochAnswer): Uint8Array =>
  encode([1, headerItems(header), certificateItems(finalization), next.map(({ publicKey: key, weight }): Cbor => [key, weight])]);

export function decodeEpochAnswer(input: Uint8Array): EpochAnswer {
  if (input.length > ANSWER_BYTES_MAX) throw new CodecError("codec_length", `Cannot read an answer of ${input.length} bytes as ${ANSWER_BYTES_MAX} is the limit`);
  const [first, header, finalization, next] = tuple(decode(input), 4);
  version(first);
  const members = list(next, VALIDATORS_MAX).map((item): Validator => {
    const [key, weight] = tuple(item, 2);
    return { publicKey: publicKey(bytes(key, 32)), weight: u32(weight) };
  });
  if (members.length === 0 || members.some(({ weight }) => weight === 0)) throw new CodecError("codec_value", "Cannot read a set without validators, or with one without weight");
  return { header: headerFrom(header), finalization: certificateFrom(finalization), next: members };
}
/** With the signatures of 200 validators. */
const ANSWER_BYTES_MAX: number = 32 * 1024;
