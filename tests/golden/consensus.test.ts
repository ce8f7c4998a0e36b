/** Pinned bytes of consensus. A change here is a change of the wire: by hand, and said in the commit and the CHANGELOG. */

import assert from "node:assert";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { decode, encode } from "#chain/codec/cbor.ts";
import type { Cbor } from "#chain/codec/cbor.ts";
import { validatorsHash } from "#chain/codec/certificate.ts";
import { decodeEvidence, encodeEvidence } from "#chain/codec/evidence.ts";
import * as schema from "#chain/codec/schema.ts";
import { fromHex, hex, publicKey } from "#chain/types.ts";
import * as golden from "./consensus.ts";

const run = (byte: string, count: number): string => byte.repeat(count);
const sha256 = (...parts: (string | Uint8Array)[]): string => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest("hex");

const HEADER = `8f0148${run("c1", 8)}0119012c1a0001117019012a5820${run("a1", 32)}4107` + "1b00200000000000011bffffffffffffffff"
  + `5820${run("b1", 32)}5820${run("b2", 32)}5820${run("b3", 32)}5820${run("b4", 32)}03`;
/** The same, with the root of BODY: what is decoded as a block must be whole. */
const OF_BODY = HEADER.replace(run("b1", 32), "8f86ce1adb915d500ec73bcca1f8e5159c05058b1065fbf1ad70eda9325ff976");
const NOTARIZATION = `8701000119012a5820${run("a1", 32)}410758c0${run("52", 192)}`;
const NULLIFICATION = `8701010119012b40410758c0${run("52", 192)}`;
const VOTE = `86010048${run("c1", 8)}0119012c5820${run("a2", 32)}`;
const SIGNED = `88010248${run("c1", 8)}0119012c5820${run("a2", 32)}035840${run("51", 64)}`;
const BODY = `84${NOTARIZATION}82430102034080` + "80";

test("headers, bodies, votes and certificates have these bytes", () => {
  assert.strictEqual(hex(schema.encodeHeader(golden.HEADER)), HEADER);
  assert.strictEqual(hex(schema.encodeBody(golden.BODY)), BODY);
  assert.strictEqual(hex(schema.encodeBody(golden.FIRST_BODY)), "8440808080");
  assert.strictEqual(hex(schema.encodeBlock(golden.BLOCK)), `82${OF_BODY}${BODY}`);
  assert.strictEqual(hex(schema.encodeVote(golden.VOTE)), VOTE);
  assert.strictEqual(hex(schema.encodeVote(golden.NULLIFY)), `86010148${run("c1", 8)}0119012c40`);
  assert.strictEqual(hex(schema.encodeSignedVote(golden.SIGNED)), SIGNED);
  assert.strictEqual(hex(schema.encodeCertificate(golden.NOTARIZATION)), NOTARIZATION);
  assert.strictEqual(hex(schema.encodeCertificate(golden.NULLIFICATION)), NULLIFICATION);
  assert.strictEqual(hex(schema.encodeProposal(golden.PROPOSAL)), `84${OF_BODY}${BODY}5840${run("53", 64)}81${NULLIFICATION}`);
});

test("evidence has these bytes, the smaller half first", () => {
  const second = { ...golden.SIGNED, id: golden.HEADER.parentId };
  const encoded = encodeEvidence({ kind: "votes", a: golden.SIGNED, b: second });
  assert.strictEqual(hex(encoded), `840100${SIGNED.replace(run("a2", 32), run("a1", 32))}${SIGNED}`);
  assert.deepStrictEqual(decodeEvidence(encoded), { kind: "votes", a: second, b: golden.SIGNED });
  const signature = golden.PROPOSAL.signature;
  const later = { header: { ...golden.HEADER, parentView: golden.HEADER.view }, signature };
  const proposals = encodeEvidence({ kind: "proposals", a: later, b: { header: golden.HEADER, signature } });
  assert.strictEqual(hex(proposals.subarray(0, 3)), "860101");
  assert.strictEqual(hex(encodeEvidence(decodeEvidence(proposals))), hex(proposals));
});

test("messages have these bytes", () => {
  const expected = [
    `83010084${OF_BODY}${BODY}5840${run("53", 64)}81${NULLIFICATION}`, `830101${SIGNED}`, `830102${NULLIFICATION}`,
    `8301035820${run("a1", 32)}`, `83010482${OF_BODY}${BODY}`, "830105820207",
    `83010648${run("61", 8)}`, `8301078548${run("61", 8)}0108${NULLIFICATION}40`,
  ];
  assert.deepStrictEqual(golden.MESSAGES.map((message) => hex(schema.encodeMessage(message))), expected);
});

test("ids are sha256 over a domain and these bytes", () => {
  assert.strictEqual(hex(schema.headerId(golden.HEADER)), sha256("godwit/block/1\0", fromHex(HEADER)));
  assert.strictEqual(hex(schema.bodyRoot(golden.BODY)), sha256("godwit/body/1\0", fromHex(BODY)));
  assert.strictEqual(hex(schema.headerId(golden.HEADER)), "e92ef841d9f398be0b0ff215f66ffd21b2f30dc1e6787cddc6ecf6679504ab33");
  assert.strictEqual(hex(schema.bodyRoot(golden.BODY)), "8f86ce1adb915d500ec73bcca1f8e5159c05058b1065fbf1ad70eda9325ff976");
  assert.strictEqual(hex(schema.genesisId(new Uint8Array([1]))), sha256("godwit/block/1\0", new Uint8Array([1])));
  const key = publicKey(new Uint8Array(32).fill(9));
  assert.strictEqual(hex(validatorsHash([{ publicKey: key, weight: 5 }])), sha256("godwit/validators/1\0", fromHex(`81825820${run("09", 32)}05`)));
});

test("what was encoded decodes to itself, with u64 as bigint and u32 as number", () => {
  for (const message of golden.MESSAGES) assert.deepStrictEqual(schema.decodeMessage(schema.encodeMessage(message)), message);
  assert.deepStrictEqual(schema.decodeBlock(schema.encodeBlock(golden.BLOCK)), golden.BLOCK);
  assert.deepStrictEqual(schema.decodeBody(schema.encodeBody(golden.FIRST_BODY)), golden.FIRST_BODY);
  assert.deepStrictEqual(schema.decodeVote(schema.encodeVote(golden.NULLIFY)), golden.NULLIFY);
  for (const timeMs of [0n, 1n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 64n - 1n]) {
    const header = { ...golden.HEADER, timeMs: timeMs as typeof golden.HEADER.timeMs };
    assert.strictEqual(schema.decodeHeader(schema.encodeHeader(header)).timeMs, timeMs);
  }
});

/** Changes one item, by its path, in encoded bytes. */
function changed(bytes: Uint8Array, path: readonly number[], item: Cbor): Uint8Array {
  const at = (value: Cbor, [index, ...rest]: readonly number[]): Cbor =>
    index === undefined ? item : (value as Cbor[]).map((part, i) => (i === index ? at(part, rest) : part));
  return encode(at(decode(bytes), path));
}

test("a block with another body under its header is none, as a block and as a proposal", () => {
  for (const message of golden.MESSAGES) {
    if (message.kind !== "block" && message.kind !== "proposal") continue;
    const bytes = schema.encodeMessage(message);
    assert.strictEqual(schema.decodeMessage(bytes).kind, message.kind);
    assert.throws(() => schema.decodeMessage(changed(bytes, [2, 1, 1], [new Uint8Array(3)])), { code: "codec_value" });
  }
});

test("an item of the wrong type, length or range is a CodecError", () => {
  const header = schema.encodeHeader(golden.HEADER);
  const refused: [number, Cbor][] = [
    [0, 2], [1, new Uint8Array(7)], [2, 2n ** 32n], [3, "300"], [4, new Uint8Array(1)], [6, new Uint8Array(31)], [7, new Uint8Array(26)],
    [8, "1"], [10, []], [14, 200],
  ];
  for (const [index, item] of refused) assert.throws(() => schema.decodeHeader(changed(header, [index], item)), { name: "CodecError" }, `item ${index}`);
  assert.throws(() => schema.decodeHeader(encode([...(decode(header) as Cbor[]), 0])), { code: "codec_length" });
  const certificate = schema.encodeCertificate(golden.NULLIFICATION);
  assert.throws(() => schema.decodeCertificate(changed(certificate, [1], 3)), { code: "codec_value" });
  assert.throws(() => schema.decodeCertificate(changed(certificate, [4], new Uint8Array(32))), { code: "codec_length" });
  assert.throws(() => schema.decodeCertificate(changed(certificate, [6], new Uint8Array(200 * 64 + 1))), { code: "codec_length" });
  const body = schema.encodeBody(golden.BODY);
  assert.throws(() => schema.decodeBody(changed(body, [0], new Uint8Array(1))), { code: "codec_length" });
  assert.throws(() => schema.decodeBody(changed(body, [1, 0], new Uint8Array(8193))), { code: "codec_length" });
  assert.throws(() => schema.decodeBody(changed(body, [1], Array.from({ length: 1001 }, () => new Uint8Array(0)))), { code: "codec_length" });
  assert.throws(() => schema.decodeBody(changed(body, [2], [new Uint8Array(1025)])), { code: "codec_length" });
  assert.throws(() => schema.decodeBody(changed(body, [2], Array.from({ length: 17 }, () => new Uint8Array(0)))), { code: "codec_length" });
  assert.throws(() => schema.decodeBody(changed(body, [3], [1])), { code: "codec_value" });
  assert.throws(() => schema.decodeBody(changed(body, [3], [new Uint8Array(385)])), { code: "codec_length" });
  assert.throws(() => schema.decodeBody(changed(body, [3], Array.from({ length: 257 }, () => new Uint8Array(0)))), { code: "codec_length" });
  assert.throws(() => schema.decodeMessage(encode([1, 6, new Uint8Array(7)])), { code: "codec_length" });
  assert.throws(() => schema.decodeMessage(encode([1, 8, 0])), { code: "codec_value" });
  assert.throws(() => schema.decodeBlock(new Uint8Array(256 * 1024 + 1)), { code: "codec_length" });
});
