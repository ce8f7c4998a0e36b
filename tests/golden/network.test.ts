/** The bytes by which nodes greet each other, pinned: who changes them cuts itself off from all that did not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeControl, encodeHello, signBinding } from "#chain/codec/hello.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { frameOf } from "#chain/network/frames.ts";
import { BlobExchange } from "#chain/network/blobs.ts";
import { CHANNELS, type Channel, type MessageListener, type Transport, peerId } from "#chain/network/transport.ts";
import { sealHop } from "#chain/codec/hop.ts";
import { encodeCertificate } from "#chain/codec/schema.ts";
import { sha256 } from "#chain/crypto.ts";
import type { BlockStore } from "#chain/node/blockStore.ts";
import { Gossip } from "#chain/node/gossip.ts";
import { heldBlock } from "#chain/node/heldBlocks.ts";
import { encodeSnapshotMessage } from "#chain/node/snapshotWire.ts";
import { Sync } from "#chain/node/sync.ts";
import { chainId, hex, timeMs } from "#chain/types.ts";
import { AgentError } from "#os/error.ts";
import { LogRelay } from "#os/logRelay.ts";
import * as consensus from "./consensus.ts";

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
    ["whether a disk keeps the state", encodeSnapshotMessage({ kind: "doYouKeep" }), "820109"],
    ["one does", encodeSnapshotMessage({ kind: "keeps", keeps: true }), "83010a01"],
    ["a frame", frameOf(Uint8Array.of(0x82, 1, 0)), "00000003820100"],
  ];
  for (const [name, bytes, hex] of golden) assert.equal(bytes.toHex(), hex, name);
});

/** What is sent over a transport that leads nowhere, and what comes of what is put in. */
function wire(): { transport: Transport; sent: string[]; put(bytes: string, channel?: Channel): void; settle(): Promise<void> } {
  const [sent, listeners]: [string[], MessageListener[]] = [[], []];
  const transport: Transport = {
    self: PEER, peers: () => [PEER], send: (_to, channel, bytes) => (sent.push(`${channel} ${bytes.toHex()}`), true), broadcast: () => 1, addresses: () => [], onPeer: () => () => {}, machineOf: () => null,
    onMessage: (listener) => (listeners.push(listener), () => {}), setValidators: () => {}, seek: () => {}, report: (_peer, offence) => sent.push(offence), close: async () => {},
  };
  return { transport, sent, put: (bytes, channel = "blobs") => { for (const listener of listeners) listener(PEER, channel, Uint8Array.fromHex(bytes)); }, settle: () => new Promise((done) => setImmediate(done)) };
}
const PEER = peerId(new Uint8Array(32).fill(9));
const STILL = { nowMs: () => 1_000, setTimer: () => () => {} };

test("every channel between nodes, and every message on it, has pinned bytes", async () => {
  const block = heldBlock(consensus.BLOCK, null);
  const finalization = { ...consensus.NOTARIZATION, kind: "finalize" as const, id: block.ref.id };
  const [blockHex, finalHex] = [block.bytes.toHex(), encodeCertificate(finalization).toHex()];
  const inSnapshot = [
    [encodeSnapshotMessage({ kind: "snapshot", block, finalization, count: 300 }), `850103${headOf(block.bytes)}${blockHex}${headOf(encodeCertificate(finalization))}${finalHex}19012c`],
    [encodeSnapshotMessage({ kind: "chunk", height: 300, index: 7, bytes: Uint8Array.of(1, 2) }), "85010519012c07420102"],
    [encodeSnapshotMessage({ kind: "epochEnd", epoch: 3, answer: Uint8Array.of(5) }), "840107034105"],
  ] as const;
  for (const [bytes, hex] of inSnapshot) assert.equal(bytes.toHex(), hex);

  const ranges = wire();
  const stored = { id: block.ref.id, bytes: Uint8Array.of(0x83, 1), certificate: encodeCertificate(finalization) };
  const sync = new Sync({ transport: ranges.transport, clock: STILL, blocks: { read: (at: number) => (at === 5 ? { ...stored, bytes: block.bytes } : null) } as unknown as BlockStore, heightFinal: () => 300, take: async () => true, weightOf: () => 0, onLeftBehind: () => undefined });
  sync.hint(PEER);
  await sync.receive(PEER, Uint8Array.fromHex("83010005"));
  assert.deepEqual(ranges.sent, ["sync 83010019012d", `sync 8501010581${headOf(block.bytes)}${blockHex}${headOf(stored.certificate)}${finalHex}`]);

  const batches = wire();
  new Gossip(batches.transport, STILL).greet(PEER, [Uint8Array.of(1), Uint8Array.of(2, 3)]);
  assert.deepEqual(batches.sent, ["transactions 824101420203"]);

  const blobs = wire();
  const digest = sha256(Uint8Array.of(7));
  const exchange = new BlobExchange({ transport: blobs.transport, clock: STILL, read: async (one) => (one === digest.toHex() ? Uint8Array.of(7) : one.startsWith("00") ? null : "withheld"), holds: (one) => one === digest.toHex() });
  const [got, known] = [exchange.fetch(digest, { bytesMax: 10 }), exchange.isAt(PEER, digest)];
  const of = (text: string): string => `5820${text}`;
  for (const [call, name] of [[8, digest.toHex()], [9, "00".repeat(32)], [10, "ff".repeat(32)]] as const) blobs.put(`8501000${call.toString(16)}${of(name)}00`);
  for (const [call, name] of [[11, digest.toHex()], [12, "00".repeat(32)]] as const) blobs.put(`8401030${call.toString(16)}${of(name)}`);
  await blobs.settle();
  assert.deepEqual(blobs.sent.toSorted(), [
    `blobs 85010000${of(digest.toHex())}00`, `blobs 84010301${of(digest.toHex())}`, "blobs 85010108014107", "blobs 83010209", "blobs 8301040a", "blobs 8301050b", "blobs 8301020c",
  ].toSorted());
  blobs.put("850101000141" + "07");
  blobs.put("83010501");
  assert.deepEqual([[...await got], await known], [[7], true]);

  const sealed = sealHop({ chainId: CHAIN, bootId: new Uint8Array(16).fill(4), notAfterMs: timeMs(2n ** 41n), endpoints: [{ address: "10.0.0.1", port: 443 }] }, SEED, new Uint8Array(32).fill(5));
  assert.equal(sha256(sealed).toHex(), HOP);

  const lines = wire();
  const relay = new LogRelay({
    transport: lines.transport, keyOf: () => null, judge: ({ path }) => { if (path !== "/a") throw new AgentError("forbidden", "no"); return hex(Uint8Array.of(1)); },
    logs: { has: () => true, tail: () => [{ sequence: 7, timeMs: 8, stream: "stderr", requestId: null, line: "x" }], after: () => [] },
  });
  lines.put("84010309" + "626162", "logs");
  lines.put("8801000a622f61617301000a", "logs");
  lines.put("8801000b622f62617301000a", "logs");
  await lines.settle();
  assert.deepEqual(lines.sent, ["logs 8401040901", "logs 8401010a818507080160" + "6178", "logs 8401020b69" + "666f7262696464656e"]);
  relay.stop();

  // The rest: consensus.test.ts and liveness.test.ts here. A channel that comes anew has no bytes here yet.
  assert.deepEqual([...CHANNELS] satisfies Channel[], ["consensus", "transactions", "sync", "beats", "blobs", "hops", "logs"]);
});
/** The head of a byte string. */
const headOf = ({ length }: Uint8Array): string => (length < 256 ? `58${length.toString(16)}` : `59${length.toString(16).padStart(4, "0")}`);
const HOP = "5b09cf9d7853e820de95e197f80fecdbd5c642ae0ef2ed28d0f16f584bd53295";
