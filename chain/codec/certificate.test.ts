import assert from "node:assert";
import { test } from "node:test";
import { BODY, HEADER, PROPOSAL } from "#tests/golden/consensus.ts";
import {
  BITMAP_BYTES_MAX, BLOCK_BYTES_MAX, JUSTIFICATION_CERTIFICATES_MAX, MESSAGE_BYTES_MAX, TRANSACTION_BYTES_MAX, VALIDATORS_MAX,
} from "../constants.ts";
import { generateKey } from "../crypto.ts";
import { chainId, digest, epoch, view } from "../types.ts";
import { CERTIFICATE_BYTES_MAX, signProposal, signVote, validatorSet, verifyCertificate, verifyCertificateAsync, verifyProposal, verifyVote, verifyVoteAsync } from "./certificate.ts";
import type { CertificateVerdict } from "./certificate.ts";
import { bitmapOf, quorumOf, signersOf } from "./quorum.ts";
import { bodyRoot, decodeMessage, encodeBlock, encodeCertificate, encodeMessage } from "./schema.ts";
import type { Certificate, Vote, VoteKind } from "./schema.ts";

const CHAIN = chainId(new Uint8Array(8).fill(1));
const KEYS = [3, 1, 1, 1, 1].map((weight) => ({ ...generateKey(), weight }));
const SET = validatorSet(CHAIN, epoch(2), KEYS);
const ID = digest(new Uint8Array(32).fill(7));

function certificate(signers: readonly number[], kind: VoteKind = "notarize", change: Partial<Vote> = {}): Certificate {
  const vote: Vote = { kind, chainId: CHAIN, epoch: epoch(2), view: view(9), id: kind === "nullify" ? null : ID, ...change };
  const signatures = new Uint8Array(64 * signers.length);
  for (const [at, index] of signers.entries()) signatures.set(signVote(KEYS[index]!.privateKey, vote, index).signature, 64 * at);
  return { kind, epoch: epoch(2), view: view(9), id: kind === "nullify" ? null : ID, bitmap: bitmapOf(signers, KEYS.length), signatures };
}

const codeOf = (verdict: CertificateVerdict): string | number => (verdict.ok ? verdict.weight : verdict.code);

test("a quorum is more than two thirds, to the unit", () => {
  for (const [sum, quorum] of [[1, 1], [2, 2], [3, 3], [4, 3], [5, 4], [6, 5], [7, 5], [100, 67], [0x7fff_ffff, 1_431_655_765]] as const) {
    assert.strictEqual(quorumOf(sum), quorum);
  }
  for (let sum = 1; sum < 2000; sum++) assert(3 * quorumOf(sum) > 2 * sum && 3 * (quorumOf(sum) - 1) <= 2 * sum);
});

test("verifyCertificate() takes a quorum by weight, in every kind, and says its weight", async () => {
  assert.strictEqual(SET.quorum, 5);
  for (const kind of ["notarize", "nullify", "finalize"] as const) {
    assert.strictEqual(codeOf(verifyCertificate(SET, certificate([0, 1, 2], kind))), 5);
    assert.strictEqual(codeOf(await verifyCertificateAsync(SET, certificate([0, 1, 2, 3, 4], kind), 8)), 7);
  }
});

test("verifyCertificate() refuses too little weight, however many signed", async () => {
  assert.strictEqual(codeOf(verifyCertificate(SET, certificate([0, 4]))), "certificate_weight");
  assert.strictEqual(codeOf(await verifyCertificateAsync(SET, certificate([1, 2, 3, 4]), 8)), "certificate_weight");
});

test("verifyCertificate() refuses one wrong signature among enough right ones", async () => {
  for (const change of [{ view: view(10) }, { epoch: epoch(3) }, { chainId: chainId(new Uint8Array(8)) }, { id: digest(new Uint8Array(32)) }]) {
    const forged = certificate([0, 1, 2, 3]);
    forged.signatures.set(certificate([3], "notarize", change).signatures, 64 * 3);
    assert.strictEqual(codeOf(verifyCertificate(SET, forged)), "certificate_signature");
    assert.strictEqual(codeOf(await verifyCertificateAsync(SET, forged, 8)), "certificate_signature");
  }
  assert.strictEqual(codeOf(verifyCertificate(SET, { ...certificate([0, 1, 2]), kind: "finalize" })), "certificate_signature");
  assert.strictEqual(codeOf(verifyCertificate(SET, { ...certificate([0, 1, 2]), epoch: epoch(3) })), "certificate_epoch");
});

test("verifyCertificate() refuses a bitmap that does not fit the set or its signatures", () => {
  const good = certificate([0, 1, 2]);
  assert.strictEqual(codeOf(verifyCertificate(SET, { ...good, bitmap: new Uint8Array([0b0010_0111]) })), "certificate_bitmap");
  assert.strictEqual(codeOf(verifyCertificate(SET, { ...good, bitmap: new Uint8Array([0b0000_0111, 0]) })), "certificate_bitmap");
  assert.strictEqual(codeOf(verifyCertificate(SET, { ...good, bitmap: new Uint8Array(0) })), "certificate_bitmap");
  assert.strictEqual(codeOf(verifyCertificate(SET, { ...good, bitmap: new Uint8Array([0b0000_1111]) })), "certificate_signatures");
  assert.deepStrictEqual(signersOf(bitmapOf([0, 8, 15], 16), 16), [0, 8, 15]);
});

test("the largest proposal there is fits one message", () => {
  const signatures = new Uint8Array(64 * VALIDATORS_MAX);
  const bitmap = new Uint8Array(BITMAP_BYTES_MAX).fill(0xff);
  const large: Certificate = { kind: "nullify", epoch: epoch(0xffff_ffff), view: view(0xffff_ffff), id: null, bitmap, signatures };
  assert(encodeCertificate(large).length <= CERTIFICATE_BYTES_MAX);
  const justification = Array.from({ length: JUSTIFICATION_CERTIFICATES_MAX }, () => large);
  const body = { ...BODY, parentCertificate: { ...large, kind: "notarize" as const, id: ID }, transactions: [] as Uint8Array[] };
  while (encodeBlock({ header: HEADER, body }).length + TRANSACTION_BYTES_MAX + 4 <= BLOCK_BYTES_MAX) body.transactions.push(new Uint8Array(TRANSACTION_BYTES_MAX));
  const block = { header: { ...HEADER, bodyRoot: bodyRoot(body) }, body };
  const message = encodeMessage({ kind: "proposal", proposal: { ...PROPOSAL, block, justification } });
  assert(message.length <= MESSAGE_BYTES_MAX - TRANSACTION_BYTES_MAX, `${message.length} bytes`);
  assert.strictEqual(decodeMessage(message).kind, "proposal");
});

test("votes and proposals count by their signer, chain and epoch", async () => {
  const vote: Vote = { kind: "notarize", chainId: CHAIN, epoch: epoch(2), view: view(9), id: ID };
  const signed = signVote(KEYS[2]!.privateKey, vote, 2);
  assert.strictEqual(verifyVote(SET, signed), true);
  assert.strictEqual(await verifyVoteAsync(SET, signed), true);
  for (const change of [{ validator: 3 }, { validator: 5 }, { view: view(8) }, { epoch: epoch(1) }, { chainId: chainId(new Uint8Array(8)) }, { kind: "finalize" as const }]) {
    assert.strictEqual(verifyVote(SET, { ...signed, ...change }), false);
    assert.strictEqual(await verifyVoteAsync(SET, { ...signed, ...change }), false);
  }
  const signature = signProposal(KEYS[1]!.privateKey, ID);
  assert.strictEqual(verifyProposal(SET, 1, ID, signature), true);
  assert.strictEqual(verifyProposal(SET, 2, ID, signature), false);
  assert.strictEqual(verifyProposal(SET, 9, ID, signature), false);
});
