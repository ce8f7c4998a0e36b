/** The bytes by which nodes greet each other, pinned: who changes them cuts itself off from all that did not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeControl, encodeHello, signBinding } from "#chain/codec/hello.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { frameOf } from "#chain/network/frames.ts";
import { encodeSnapshotMessage } from "#chain/node/snapshotWire.ts";
import { chainId } from "#chain/types.ts";

const CHAIN = chainId(new Uint8Array(8).fill(1));
const SEED = new Uint8Array(32).fill(2);
const MACHINE = publicKeyOf(new Uint8Array(32).fill(3));

test("greetings, control messages, questions for snapshots and their frames have these bytes", () => {
  const golden: readonly (readonly [string, Uint8Array, string])[] = [
    ["a follower's greeting", encodeHello({ chainId: CHAIN, validator: null, addresses: ["/ip4/10.0.0.1/tcp/7482"] }), "8501480101010101010101404081762f6970342f31302e302e302e312f7463702f37343832"],
    ["a validator's greeting", encodeHello({ chainId: CHAIN, validator: { publicKey: publicKeyOf(SEED), signature: signBinding(SEED, CHAIN, MACHINE) }, addresses: [] }), "850148010101010101010158208139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b3945840c4294a2006283cda3ecabfe4e3ee56862de3d24e98c1c41894393ac906e27a7840db435403b175b7f44112b6cdf05b50fa3bc8fc991faa6a6f914f199b6a460a80"],
    ["alive", encodeControl({ kind: "ping" }), "820100"],
    ["addresses", encodeControl({ kind: "addresses", addresses: ["a"] }), "830101816161"],
    ["which snapshot", encodeSnapshotMessage({ kind: "whichSnapshot" }), "820102"],
    ["a chunk of it", encodeSnapshotMessage({ kind: "wantChunk", height: 300, index: 7 }), "84010419012c07"],
    ["an epoch's end", encodeSnapshotMessage({ kind: "wantEpoch", epoch: 3 }), "83010603"],
    ["none", encodeSnapshotMessage({ kind: "noSnapshot" }), "820108"],
    ["a frame", frameOf(Uint8Array.of(0x82, 1, 0)), "00000003820100"],
  ];
  for (const [name, bytes, hex] of golden) assert.equal(bytes.toHex(), hex, name);
});
