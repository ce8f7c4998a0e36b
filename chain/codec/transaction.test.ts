import assert from "node:assert";
import { test } from "node:test";
import { addressOf } from "#chain/codec/address.ts";
import { decode, encode } from "#chain/codec/cbor.ts";
import { chainIdOf, decodeGenesis, encodeGenesis, type Genesis } from "#chain/codec/genesis.ts";
import { signRequest, verifyRequest, type RequestBody } from "#chain/codec/request.ts";
import {
  CAUSE_BYTES_MAX, decodeBody, decodeTransaction, encodeBody, signMachineProof, signTransaction, verifySignatures, type Operation, type TransactionBody,
} from "#chain/codec/transaction.ts";
import { DELTA_MS_MAX, GENESIS_TIME_MS_MAX } from "#chain/constants.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import { address, chainId, digest, signature, timeMs, U64_MAX } from "#chain/types.ts";

const seed = (n: number): Uint8Array => new Uint8Array(32).fill(n);
const chain = chainId(new Uint8Array(8).fill(9));
const alice = addressOf(publicKeyOf(seed(1)));
const id = address(new Uint8Array(20).fill(5));
const OPS: readonly Operation[] = [
  { kind: "transfer", to: id, amount: U64_MAX },
  { kind: "registerMachine", ...signMachineProof(seed(2), chain, alice), memoryMib: 4096, cpuMillis: 2000, pricePerGibSecond: 2n ** 53n + 1n, pricePerCoreSecond: 7n, region: "eu", bond: 1n },
  { kind: "up", bootId: new Uint8Array(16).fill(3), consensusKey: publicKeyOf(new Uint8Array(32).fill(5)), binding: signature(new Uint8Array(64).fill(6)), acknowledgements: [new Uint8Array(3)] },
  { kind: "deploy", name: "hello", componentDigest: digest(new Uint8Array(32).fill(1)), configurationDigest: null, memoryMib: 64, cpuMillis: 100, concurrency: 8, replicas: 2, deposit: 10n ** 9n, rateMax: 0n, isolation: 1 },
  { kind: "deploy", name: "b", componentDigest: digest(new Uint8Array(32).fill(1)), configurationDigest: digest(new Uint8Array(32).fill(2)), memoryMib: 64, cpuMillis: 100, concurrency: 8, replicas: 2, deposit: 10n ** 9n, rateMax: 5n, isolation: 0 },
  { kind: "ready", deploymentId: id, index: 1, rate: 12n },
  { kind: "failed", deploymentId: id, index: 1, cause: "trap" },
  { kind: "resize", deploymentId: id, memoryMib: 128, cpuMillis: 0 },
  { kind: "scale", deploymentId: id, replicas: 256 },
  { kind: "topUp", deploymentId: id, amount: 1n },
  { kind: "claim", deploymentId: id, index: 0 },
  { kind: "close", deploymentId: id },
];
const body: TransactionBody = { chainId: chain, sender: alice, nonce: 2n ** 53n - 1n, validUntilMs: 1n, fee: 0n, ops: OPS };

test("every operation is read back as it was written, u64 as bigint and u32 as number", () => {
  const raw = signTransaction(body, [seed(1), seed(4)]);
  const read = decodeTransaction(raw);
  assert.deepStrictEqual(read.body, body);
  assert.strictEqual(read.sizeBytes, raw.length);
  assert.strictEqual(verifySignatures(read), true);
  assert.strictEqual(typeof (read.body.ops[0] as { amount: unknown }).amount, "bigint");
});

test("a changed byte anywhere is refused by the codec or by the signatures", () => {
  const raw = signTransaction({ ...body, ops: OPS.slice(2, 4) }, [seed(1)]);
  for (let i = 0; i < raw.length; i++) {
    const wrong = raw.slice();
    wrong[i] = (wrong[i] as number) ^ (1 << (i % 8));
    let held = false;
    try { held = verifySignatures(decodeTransaction(wrong)); } catch (error) { assert.match(String((error as { code?: string }).code), /^codec_/); }
    assert.strictEqual(held, false, `byte ${i}`);
  }
});

test("the codec refuses what is not a transaction", () => {
  const raw = (parts: Parameters<typeof encode>[0]): Uint8Array => encode([encode(parts), []]);
  const good = decode(decodeTransaction(signTransaction(body, [seed(1)])).bodyBytes) as unknown[];
  const changed = (at: number, value: unknown): Uint8Array => raw(good.map((part, i) => (i === at ? value : part)) as Parameters<typeof encode>[0]);
  const code = (bytes: Uint8Array): string => { try { decodeTransaction(bytes); return "ok"; } catch (error) { return (error as { code: string }).code; } };
  assert.strictEqual(code(raw(good as Parameters<typeof encode>[0])), "ok");
  assert.strictEqual(code(changed(0, 2)), "codec_value");
  assert.strictEqual(code(changed(1, new Uint8Array(7))), "codec_length");
  assert.strictEqual(code(changed(6, [])), "codec_length");
  assert.strictEqual(code(changed(6, [[99]])), "codec_value");
  assert.strictEqual(code(changed(6, [[1, new Uint8Array(20)]])), "codec_length");
  assert.strictEqual(code(changed(6, [[10, new Uint8Array(20), 2n ** 32n]])), "codec_value");
  assert.strictEqual(code(changed(6, Array.from({ length: 17 }, () => [11, new Uint8Array(20)]))), "codec_length");
  assert.strictEqual(code(new Uint8Array(8193)), "codec_length");
  const [bodyBytes, signatures] = decode(signTransaction(body, [seed(1), seed(4)])) as [Uint8Array, Uint8Array[][]];
  assert.strictEqual(code(encode([bodyBytes, [...signatures].reverse()])), "codec_value");
  assert.strictEqual(code(encode([bodyBytes, [signatures[0]!, signatures[0]!]])), "codec_value");
});

test("a text is as long as its bytes, not as its characters", () => {
  const failed = (cause: string): Uint8Array => encodeBody({ ...body, ops: [{ kind: "failed", deploymentId: id, index: 0, cause }] });
  assert.deepStrictEqual(encodeBody(decodeBody(failed("é".repeat(CAUSE_BYTES_MAX / 2)))), failed("é".repeat(CAUSE_BYTES_MAX / 2)));
  assert.throws(() => decodeBody(failed("é".repeat(CAUSE_BYTES_MAX / 2) + "e")), { code: "codec_length" });
});

test("no signature, and a signature by another key over the same body, hold nothing", () => {
  assert.strictEqual(verifySignatures({ ...decodeTransaction(signTransaction(body, [seed(1)])), signatures: [] }), false);
  const mine = decodeTransaction(signTransaction(body, [seed(1)]));
  const theirs = decodeTransaction(signTransaction(body, [seed(2)]));
  assert.strictEqual(verifySignatures({ bodyBytes: mine.bodyBytes, signatures: [{ key: mine.signatures[0]!.key, signature: theirs.signatures[0]!.signature }] }), false);
});

test("verifyRequest() takes what signRequest() made and says what is wrong with the rest", () => {
  const request: RequestBody = { chainId: chain, sender: alice, method: "GET", path: "/v1/deployments/ab/logs?tail=5", bodyDigest: sha256(new Uint8Array(0)), machine: id, expiryMs: 60_000n };
  const expected = { chainId: chain, method: "GET", path: request.path, machine: id, nowMs: 1_000n, bodyDigest: request.bodyDigest };
  const header = signRequest(request, seed(1));
  const code = (text: string | undefined, changes: object = {}): string => { const answer = verifyRequest(text, { ...expected, ...changes }); return answer.ok ? "ok" : answer.code; };
  assert.strictEqual(code(header), "ok");
  assert.strictEqual(code(undefined), "unsigned");
  for (const bad of ["", "Bearer x", "Godwit", "Godwit !!", "Godwit AAAA", `${header} x`, header.slice(0, -8)]) assert.strictEqual(code(bad), "bad_authorization");
  assert.strictEqual(code(header, { chainId: chainId(new Uint8Array(8)) }), "wrong_chain");
  assert.strictEqual(code(header, { machine: alice }), "wrong_machine");
  assert.strictEqual(code(header, { method: "PUT" }), "wrong_request");
  assert.strictEqual(code(header, { path: "/v1/deployments/ab/logs" }), "wrong_request");
  assert.strictEqual(code(header, { nowMs: 60_001n }), "expired");
  assert.strictEqual(code(header, { bodyDigest: sha256(new Uint8Array(1)) }), "digest_mismatch");
  assert.strictEqual(code(signRequest({ ...request, expiryMs: 301_000n }, seed(1))), "ok");
  assert.strictEqual(code(signRequest({ ...request, expiryMs: 301_001n }, seed(1))), "expiry_too_far");
  // The same bytes written otherwise: base64 lets one break lines, and leaves bits unused in the last character.
  assert.strictEqual(code(`${header.slice(0, 40)}\n${header.slice(40)}`), "bad_authorization");
  for (const pad of ["", "a", "aa"]) {
    const padded = { ...request, path: request.path + pad };
    const text = signRequest(padded, seed(1));
    assert.strictEqual(code(text, { path: padded.path }), "ok");
    for (const last of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
      if (!text.endsWith(last)) assert.notStrictEqual(code(text.slice(0, -1) + last, { path: padded.path }), "ok");
    }
  }
  assert.strictEqual(code(signRequest(request, seed(2))), "bad_signature");
  assert.strictEqual(code(signRequest(request, seed(2)), { keysOf: () => [publicKeyOf(seed(2))] }), "ok");
});

test("genesis is canonical: the order in which accounts are given does not matter, and a second copy of one does", () => {
  const account = (n: number): { address: typeof alice; balance: bigint } => ({ address: address(new Uint8Array(20).fill(n)), balance: BigInt(n) });
  const genesis = (accounts: Genesis["accounts"]): Genesis => ({
    version: 1, name: "test", timeMs: timeMs(1_700_000_000_000n), deltaMs: 100, parameters: "minimal",
    validators: [{ publicKey: publicKeyOf(seed(1)), weight: 1, operator: alice }], accounts,
  });
  const one = encodeGenesis(genesis([account(2), account(1)]));
  assert.deepStrictEqual(one, encodeGenesis(genesis([account(1), account(2)])));
  assert.deepStrictEqual(encodeGenesis(decodeGenesis(one)), one);
  assert.strictEqual(chainIdOf(one).length, 8);
  assert.throws(() => encodeGenesis(genesis([account(1), account(1)])), { code: "codec_value" });
  assert.throws(() => encodeGenesis({ ...genesis([]), validators: [] }), { code: "codec_value" });
  for (const deltaMs of [0, DELTA_MS_MAX + 1]) assert.throws(() => encodeGenesis({ ...genesis([]), deltaMs }), { code: "codec_value" });
  assert.strictEqual(decodeGenesis(encodeGenesis({ ...genesis([]), deltaMs: DELTA_MS_MAX })).deltaMs, DELTA_MS_MAX);
  assert.throws(() => encodeGenesis({ ...genesis([]), timeMs: timeMs(GENESIS_TIME_MS_MAX + 1n) }), { code: "codec_value" });
  assert.throws(() => encodeGenesis(genesis([{ ...account(1), balance: U64_MAX }, account(2)])), { code: "codec_value" });
});
