import assert from "node:assert";
import { test } from "node:test";
import { HEADER } from "#tests/golden/consensus.ts";
import { EVIDENCE_BYTES_MAX, VALIDATORS_MAX } from "../constants.ts";
import { generateKey } from "../crypto.ts";
import { chainId, digest, epoch, signature, timeMs, view } from "../types.ts";
import { encode } from "./cbor.ts";
import { signProposal, signVote, validatorSet } from "./certificate.ts";
import { epochAfter, epochOf, isSeal, lastHeightOf } from "./epoch.ts";
import { accusedOf, decodeEvidence, encodeEvidence, evidenceBetween, verifyEvidence, votesConflict, votesIn } from "./evidence.ts";
import type { Evidence } from "./evidence.ts";
import { bitmapOf, quorumOf } from "./quorum.ts";
import { encodeSignedVote, headerId, signedVoteItems } from "./schema.ts";
import type { BlockHeader, Certificate, SignedVote, VoteKind } from "./schema.ts";

const CHAIN = chainId(new Uint8Array(8).fill(1));
const KEYS = [1, 1, 1, 1].map((weight) => ({ ...generateKey(), weight }));
const SET = validatorSet(CHAIN, epoch(2), KEYS);
const [A, B] = [digest(new Uint8Array(32).fill(7)), digest(new Uint8Array(32).fill(8))];

const vote = (kind: VoteKind, id: Uint8Array | null, validator: number = 1, of: number = 9, from = CHAIN): SignedVote =>
  signVote(KEYS[validator]!.privateKey, { kind, chainId: from, epoch: epoch(2), view: view(of), id: id as typeof A | null }, validator);

const certificate = (kind: VoteKind, id: Uint8Array | null, signers: readonly number[]): Certificate => {
  const votes = signers.map((index) => vote(kind, id, index));
  const signatures = new Uint8Array(64 * votes.length);
  for (const [at, one] of votes.entries()) signatures.set(one.signature, 64 * at);
  return { kind, epoch: epoch(2), view: view(9), id: id as typeof A | null, bitmap: bitmapOf(signers, 4), signatures };
};

test("R13: two notarizations, two finalizations, a finalization and a nullification or another's notarization contradict; nothing else does", () => {
  const votes = [vote("notarize", A), vote("notarize", B), vote("nullify", null), vote("finalize", A), vote("finalize", B)];
  const conflicts = votes.map((a) => votes.map((b) => (votesConflict(a, b) ? 1 : 0)));
  assert.deepStrictEqual(conflicts, [[0, 1, 0, 0, 1], [1, 0, 0, 1, 0], [0, 0, 0, 1, 1], [0, 1, 1, 0, 1], [1, 0, 1, 1, 0]]);
  for (const [i, a] of votes.entries()) {
    for (const [j, b] of votes.entries()) assert.strictEqual(verifyEvidence(SET, { kind: "votes", a, b }).ok, conflicts[i]![j] === 1);
  }
});

test("evidence has one form, names its validator, epoch and view, and fits its limit", () => {
  const evidence: Evidence = { kind: "votes", a: vote("finalize", A), b: vote("nullify", null) };
  const encoded = encodeEvidence(evidence);
  assert.deepStrictEqual(encodeEvidence({ kind: "votes", a: evidence.b, b: evidence.a }), encoded);
  assert.deepStrictEqual(accusedOf(decodeEvidence(encoded)), { epoch: 2, validator: 1, view: 9 });
  const [a, b] = [evidence.a, evidence.b].toSorted((x, y) => Buffer.compare(encodeSignedVote(y), encodeSignedVote(x)));
  assert.throws(() => decodeEvidence(encode([1, 0, signedVoteItems(a!), signedVoteItems(b!)])), { code: "codec_value" });
  assert.throws(() => decodeEvidence(encode([1, 0, signedVoteItems(vote("notarize", A)), signedVoteItems(vote("nullify", null))])), { code: "codec_value" });
  const widest: BlockHeader = { ...HEADER, parentBitmap: new Uint8Array(25), proposer: VALIDATORS_MAX - 1, timeMs: timeMs(2n ** 63n) };
  const proposals = encodeEvidence({ kind: "proposals", a: { header: widest, signature: signature(new Uint8Array(64)) }, b: { header: { ...widest, height: 0 as never }, signature: signature(new Uint8Array(64)) } });
  assert(proposals.length + 64 < EVIDENCE_BYTES_MAX);
});

test("evidence holds only with both signatures, of one validator, view, chain and the epoch of the set", () => {
  const good = { kind: "votes", a: vote("notarize", A), b: vote("notarize", B) } as const;
  assert.deepStrictEqual(verifyEvidence(SET, good), { ok: true, accused: { epoch: 2, validator: 1, view: 9 } });
  const wrong: Evidence[] = [
    { ...good, b: { ...good.b, signature: signature(new Uint8Array(64).fill(1)) } }, { ...good, b: vote("notarize", B, 2) },
    { ...good, b: vote("notarize", B, 1, 10) }, { ...good, b: vote("notarize", B, 1, 9, chainId(new Uint8Array(8))) }, { ...good, b: good.a },
  ];
  for (const evidence of wrong) assert.strictEqual(verifyEvidence(SET, evidence).ok, false);
  assert.strictEqual(verifyEvidence(validatorSet(CHAIN, epoch(3), KEYS), good).ok, false);

  const header = (of: number): BlockHeader => ({ ...HEADER, chainId: CHAIN, epoch: epoch(2), view: view(of), proposer: 1 });
  const proposal = (h: BlockHeader, seed: Uint8Array = KEYS[1]!.privateKey): { header: BlockHeader; signature: ReturnType<typeof signProposal> } => ({ header: h, signature: signProposal(seed, headerId(h)) });
  const two = { ...header(9), timeMs: timeMs(5n) };
  assert.strictEqual(verifyEvidence(SET, { kind: "proposals", a: proposal(header(9)), b: proposal(two) }).ok, true);
  assert.strictEqual(verifyEvidence(SET, { kind: "proposals", a: proposal(header(9)), b: proposal(two, KEYS[2]!.privateKey) }).ok, false);
  assert.strictEqual(verifyEvidence(SET, { kind: "proposals", a: proposal(header(9)), b: proposal(header(9)) }).ok, false);
  assert.strictEqual(verifyEvidence(SET, { kind: "proposals", a: proposal(header(9)), b: proposal(header(10)) }).ok, false);
});

test("two certificates that contradict each other prove more than a third of the weight at fault", () => {
  const proofs = evidenceBetween(SET, certificate("notarize", A, [0, 1, 2]), certificate("notarize", B, [1, 2, 3]));
  assert.deepStrictEqual(proofs.map((one) => accusedOf(one).validator), [1, 2]);
  assert(proofs.every((one) => verifyEvidence(SET, decodeEvidence(encodeEvidence(one))).ok));
  assert.strictEqual(evidenceBetween(SET, certificate("finalize", A, [0, 1, 2]), certificate("nullify", null, [0, 1, 3])).length, 2);
  assert.deepStrictEqual(evidenceBetween(SET, certificate("notarize", A, [0, 1, 2]), certificate("nullify", null, [0, 1, 3])), []);
  assert.deepStrictEqual(votesIn(SET, certificate("notarize", A, [0, 2])).map((one) => one.validator), [0, 2]);
  for (let sum = 4; sum < 500; sum++) assert(3 * (2 * quorumOf(sum) - sum) > sum);
});

test("an epoch is a span of heights, and what is above its last height is a seal", () => {
  assert.deepStrictEqual([0, 1, 600, 601, 1200, 1201].map((at) => epochOf(at, 600)), [0, 0, 0, 1, 1, 2]);
  assert.deepStrictEqual([epochAfter(0, 600), epochAfter(599, 600), epochAfter(600, 600)], [0, 0, 1]);
  assert.deepStrictEqual([lastHeightOf(0, 600), lastHeightOf(2, 600)], [600, 1800]);
  assert.deepStrictEqual([600, 601].map((at) => isSeal({ height: at as never, epoch: epoch(0) }, 600)), [false, true]);
  assert.strictEqual(isSeal({ height: 601 as never, epoch: epoch(1) }, 600), false);
});
