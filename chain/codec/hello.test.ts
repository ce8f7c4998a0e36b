import assert from "node:assert/strict";
import { test } from "node:test";
import { publicKeyOf } from "#chain/crypto.ts";
import { chainId } from "#chain/types.ts";
import { decodeControl, decodeHello, encodeControl, encodeHello, helloHolds, signBinding } from "./hello.ts";

const CHAIN = chainId(new Uint8Array(8).fill(1));
const SEED = new Uint8Array(32).fill(2);
const MACHINE = publicKeyOf(new Uint8Array(32).fill(3));
const OTHER = publicKeyOf(new Uint8Array(32).fill(4));

test("a greeting comes back as it was, with and without a validator", () => {
  const validator = { publicKey: publicKeyOf(SEED), signature: signBinding(SEED, CHAIN, MACHINE) };
  for (const hello of [{ chainId: CHAIN, validator, addresses: ["/ip4/10.0.0.1/tcp/7482"] }, { chainId: CHAIN, validator: null, addresses: [] }]) {
    assert.deepEqual(decodeHello(encodeHello(hello)), hello);
    assert.equal(helloHolds(decodeHello(encodeHello(hello)), MACHINE), true);
  }
});

test("a validator's binding holds for its machine and its chain only", () => {
  const hello = (chain: typeof CHAIN) => ({ chainId: chain, validator: { publicKey: publicKeyOf(SEED), signature: signBinding(SEED, CHAIN, MACHINE) }, addresses: [] });
  assert.equal(helloHolds(hello(CHAIN), MACHINE), true);
  assert.equal(helloHolds(hello(CHAIN), OTHER), false);
  assert.equal(helloHolds(hello(chainId(new Uint8Array(8).fill(9))), MACHINE), false);
});

test("what is no greeting and no control message is refused", () => {
  const long = encodeHello({ chainId: CHAIN, validator: null, addresses: Array.from({ length: 65 }, () => "/ip4/10.0.0.1/tcp/1") });
  for (const bytes of [Uint8Array.of(), Uint8Array.of(0x80), long]) assert.throws(() => decodeHello(bytes), { name: "CodecError" });
  assert.deepEqual(decodeControl(encodeControl({ kind: "ping" })), { kind: "ping" });
  assert.deepEqual(decodeControl(encodeControl({ kind: "addresses", addresses: ["a"] })), { kind: "addresses", addresses: ["a"] });
  assert.deepEqual(decodeControl(encodeControl({ kind: "seek", machine: MACHINE })), { kind: "seek", machine: MACHINE });
  for (const bytes of [Uint8Array.of(0x83, 1, 2, 0x40), Uint8Array.of(0x82, 1, 7), Uint8Array.of(0x82, 1, 1), Uint8Array.of(0x82, 2, 0)]) assert.throws(() => decodeControl(bytes), { name: "CodecError" });
});
