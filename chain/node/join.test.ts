import assert from "node:assert/strict";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { signVote } from "#chain/codec/certificate.ts";
import { lastHeightOf } from "#chain/codec/epoch.ts";
import { decodeBlock, decodeCertificate } from "#chain/codec/schema.ts";
import { PRESETS } from "#chain/constants.ts";
import type { Checkpoint } from "#chain/light/checkpoint.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import type { Transport } from "#chain/network/transport.ts";
import { digest, epoch, height, hex } from "#chain/types.ts";
import { chainRig } from "#tests/compliance/chainRig.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { heldBlock, heldFromBytes } from "./heldBlocks.ts";
import { joinFromSnapshot } from "./join.ts";
import { packSnapshot, unpackSnapshot } from "./keptSnapshot.ts";
import { type ChainNode, openNode, peerIdOf } from "./node.ts";
import { type SnapshotMessage, decodeSnapshotMessage, encodeSnapshotMessage } from "./snapshotWire.ts";

const STRANGER = new Uint8Array(32).fill(200);

const RUN_MS_MAX = 60_000;

/** A lone validator in simulated time, and newcomers. `change` may alter what the validator sends on the channel of snapshots. */
async function world(t: TestContext, change: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes, archive = true) {
  const directory = await mkdtemp(join(tmpdir(), "godwit-join-"));
  const nodes: ChainNode[] = [];
  t.after(async () => {
    for (const node of nodes) await node.stop();
    await rm(directory, { recursive: true, force: true });
  });
  const clock = new ManualClock();
  const rig = chainRig({ startMs: clock.nowMs() });
  const network = new MemoryNetwork({ clock });
  const { seed } = rig.validators[0]!;
  const run = async (until: () => boolean, stepMs = 1_000): Promise<void> => {
    // Simulated time waits for nobody, but disks and threads are real: on a busy computer a round brings little.
    for (const endMs = performance.now() + RUN_MS_MAX; !until() && performance.now() < endMs;) {
      clock.advance(stepMs);
      await sleep(1);
    }
    assert.ok(until(), "it came to that");
  };
  const leftBehind: string[] = [];
  const open = async (name: string, key: Uint8Array | null, transport: Transport, joins: boolean, checkpoint?: Checkpoint): Promise<ChainNode> => {
    let [node, failed]: [ChainNode | null, boolean] = [null, false];
    const opening = openNode({ directory: join(directory, name), genesis: rig.genesis, ...(key ? { validatorSeed: key } : {}), transport, clock, joins, archive, snapshotBlocks: 64, ...(checkpoint ? { checkpoint } : {}), onHalt: (error) => { throw error; }, onLeftBehind: () => void leftBehind.push(name) })
      .then((opened) => { node = opened; });
    opening.catch(() => { failed = true; });
    await run(() => node !== null || failed, 5);
    await opening.catch(async (error: unknown) => {
      await transport.close();
      throw error;
    });
    nodes.push(node!);
    return node!;
  };
  const transport = network.join(peerIdOf(seed));
  const send = transport.send.bind(transport);
  transport.send = (to, channel, bytes) => send(to, channel, channel === "sync" ? change(bytes) : bytes);
  const validator = await open("validator", seed, transport, false);
  validator.start();
  return { rig, clock, network, validator, run, directory, leftBehind, newcomer: (name = "newcomer", checkpoint?: Checkpoint) => open(name, STRANGER, network.join(peerIdOf(STRANGER)), true, checkpoint), fullNode: () => open("full", null, network.join(peerIdOf(STRANGER)), true) };
}

test("a new node takes a snapshot of its peers, begins there with the same state, follows, and opens again without them", async (t) => {
  const { validator, run, newcomer, rig, directory } = await world(t);
  await run(() => validator.head().height >= 200);
  const node = await newcomer();
  const { height } = node.head();
  assert.ok(height >= 128, `it begins at ${height}`);
  assert.equal(hex(node.head().stateRoot), hex(decodeBlock(validator.block(height)!.bytes).header.stateRoot));
  assert.deepEqual([node.block(1), node.block(height - 1)], [null, null], "it has no block of before");
  assert.equal(node.view().account(rig.tenants[0]!.address)!.balance, validator.view().account(rig.tenants[0]!.address)!.balance);
  node.start();
  await run(() => node.head().height > height + 5, 200);
  for (const at of [height, height + 5]) assert.equal(hex(node.block(at)!.id), hex(validator.block(at)!.id));
  await node.stop();
  // What was under way has ended only now.
  const before = node.head();
  const again = await openNode({ directory: join(directory, "newcomer"), genesis: rig.genesis, validatorSeed: STRANGER, transport: new MemoryNetwork().join(peerIdOf(STRANGER)) });
  t.after(() => again.stop());
  assert.deepEqual(again.head(), before);
});

test("a snapshot that was kept elsewhere is a beginning without any peer, in an empty folder of the same chain; changed or another chain's bytes are none", async (t) => {
  const { validator, run, rig, directory } = await world(t);
  await run(() => validator.head().height >= 100);
  const kept = (await packSnapshot(validator, 16 * 1024 * 1024))!;
  assert.ok(kept.height >= 64);
  assert.equal(await packSnapshot(validator, 1_000), null, "one that is too large is not kept");
  const folder = join(directory, "back");
  const unpack = (bytes: Uint8Array, to = folder, genesis = rig.genesis): Promise<number | null> => unpackSnapshot(to, genesis, bytes);
  assert.equal(await unpack(kept.bytes, folder, chainRig({ startMs: 5_000 }).genesis), null);
  for (const wrong of [new Uint8Array(), kept.bytes.subarray(1), kept.bytes.subarray(0, -1), kept.bytes.subarray(0, kept.bytes.length / 2)]) assert.equal(await unpack(wrong), null);
  for (const at of [kept.bytes.length - 1, kept.bytes.length - 40]) {
    const changed = kept.bytes.slice();
    changed[at]! ^= 1;
    assert.equal(await unpack(changed), null);
  }
  assert.equal(await unpack(kept.bytes), kept.height);
  assert.equal(await unpack(kept.bytes), null, "there is a chain already");
  const node = await openNode({ directory: folder, genesis: rig.genesis, transport: new MemoryNetwork().join(peerIdOf(STRANGER)) });
  t.after(() => node.stop());
  assert.equal(node.head().height, kept.height);
  assert.equal(hex(node.head().stateRoot), hex(decodeBlock(validator.block(kept.height)!.bytes).header.stateRoot));
});

test("a machine that was away until nobody had the block after its newest begins anew at a snapshot; one that was away for less goes on with what it has", async (t) => {
  const { validator, run, fullNode } = await world(t, undefined, false);
  await run(() => validator.head().height >= 150);
  const first = await fullNode();
  first.start();
  await run(() => first.head().height > 150, 200);
  await first.stop();
  const { height } = first.head();
  const soon = await fullNode();
  assert.ok(soon.head().height >= height && soon.block(height) !== null, "it has what it had");
  await soon.stop();
  await run(() => validator.head().height >= height + 5 * PRESETS.minimal.epochBlocks);
  await run(() => validator.block(height + 1) === null);
  const again = await fullNode();
  assert.ok(again.head().height > height + 2 * PRESETS.minimal.epochBlocks, `it begins at ${again.head().height}`);
  again.start();
  await run(() => again.head().height >= validator.head().height - 1, 200);
});

test("a machine that runs on, cut off, until nobody has the block after its newest says so, and one that was cut off for less catches up", async (t) => {
  const { validator, run, fullNode, network, leftBehind, rig } = await world(t, undefined, false);
  const ids = [peerIdOf(rig.validators[0]!.seed), peerIdOf(STRANGER)] as const;
  const node = await fullNode();
  node.start();
  await run(() => node.head().height > 10, 200);
  network.cut(...ids);
  await run(() => validator.head().height >= node.head().height + 40);
  network.heal(...ids);
  await run(() => node.head().height >= validator.head().height - 1, 200);
  assert.deepEqual(leftBehind, []);
  network.cut(...ids);
  const { height } = node.head();
  await run(() => validator.head().height >= height + 4 * PRESETS.minimal.epochBlocks && validator.block(height + 2) === null);
  network.heal(...ids);
  await run(() => leftBehind.length > 0);
  assert.deepEqual(leftBehind, ["full"]);
});

/** Of the epoch of the validator's newest final block. */
const checkpointNow = (validator: ChainNode): Checkpoint => {
  const { header } = decodeBlock(validator.block(validator.head().height)!.bytes);
  return { epoch: header.epoch, timeMs: header.timeMs, validatorsHash: header.validatorsHash };
};

test("a join begins at the checkpoint that it is given; one that its peers do not know, or too old a one, begins nothing, not at genesis either", async (t) => {
  const { validator, run, newcomer, clock, directory } = await world(t);
  await run(() => validator.head().height >= 200);
  // Time goes on with each: a new one for each.
  await assert.rejects(newcomer("wrong", { ...checkpointNow(validator), validatorsHash: digest(new Uint8Array(32).fill(1)) }), { code: "checkpoint_unknown" });
  await assert.rejects(newcomer("later", { ...checkpointNow(validator), epoch: epoch(99) }), { code: "checkpoint_unknown" });
  await assert.rejects(newcomer("old", { ...checkpointNow(validator), timeMs: BigInt(clock.nowMs()) - PRESETS.minimal.unbondingMs / 2n - 1n }), { code: "checkpoint_old" });
  for (const name of ["wrong", "later", "old"]) await assert.rejects(stat(join(directory, name, "blocks")), { code: "ENOENT" });
  const checkpoint = checkpointNow(validator);
  assert.ok(checkpoint.epoch >= 3);
  const node = await newcomer("right", checkpoint);
  assert.ok(node.head().height > 180, `it begins at ${node.head().height}`);
  assert.equal(hex(node.head().stateRoot), hex(decodeBlock(validator.block(node.head().height)!.bytes).header.stateRoot));
});

test("a join begins at a checkpoint of the epoch that has just begun: its peers' newest snapshot is of the one before, so one makes another", async (t) => {
  const { validator, run, newcomer } = await world(t);
  await run(() => validator.head().height >= 3 * PRESETS.minimal.epochBlocks + 2, 200);
  const checkpoint = checkpointNow(validator);
  assert.equal(checkpoint.epoch, 3);
  const node = await newcomer("soon", checkpoint);
  assert.ok(node.head().height > 3 * PRESETS.minimal.epochBlocks, `it begins at ${node.head().height}`);
});

test("a chunk that was changed on the way is refused, its sender let go of, and the chain fetched block by block", async (t) => {
  const { validator, run, newcomer } = await world(t, (bytes) => {
    const message = decodeSnapshotMessage(bytes);
    if (message?.kind !== "chunk") return bytes;
    return encodeSnapshotMessage({ ...message, bytes: message.bytes.with(message.bytes.length - 30, message.bytes[message.bytes.length - 30]! ^ 1) });
  });
  await run(() => validator.head().height >= 200);
  const node = await newcomer();
  assert.equal(node.head().height, 0);
  assert.equal(node.status().peers, 0, "the liar is not heard for a while");
  node.start();
  await run(() => node.head().height >= 200, 500);
  assert.equal(hex(node.block(1)!.id), hex(validator.block(1)!.id));
});

test("of a snapshot whose header is not final no chunk is asked for", async (t) => {
  let chunks = 0;
  const { validator, run, newcomer } = await world(t, (bytes) => {
    const message = decodeSnapshotMessage(bytes);
    if (message?.kind === "chunk") chunks += 1;
    if (message?.kind !== "snapshot") return bytes;
    const signatures = message.finalization.signatures.with(0, message.finalization.signatures[0]! ^ 1);
    return encodeSnapshotMessage({ ...message, finalization: { ...message.finalization, signatures } });
  });
  await run(() => validator.head().height >= 200);
  const node = await newcomer();
  assert.deepEqual([node.head().height, node.status().peers, chunks], [0, 0, 0]);
});

test("a snapshot of more bytes than are held is left, and the folder as it was", async (t) => {
  const { validator, run, network, rig, directory, clock } = await world(t);
  await run(() => validator.head().height >= 200);
  let joinedAt: number | null | undefined;
  const joining = joinFromSnapshot({ directory: join(directory, "small"), genesis: rig.genesis, transport: network.join(peerIdOf(STRANGER)), clock, bytesMax: 100 }).then((at) => { joinedAt = at; });
  await run(() => joinedAt !== undefined, 5);
  await joining;
  assert.equal(joinedAt, null);
  await assert.rejects(stat(join(directory, "small")), { code: "ENOENT" });
});

test("below 128 blocks, and where nobody has a snapshot, a new node fetches blocks", async (t) => {
  const { validator, run, newcomer } = await world(t);
  await run(() => validator.head().height >= 20);
  const node = await newcomer();
  assert.equal(node.head().height, 0);
  node.start();
  await run(() => node.head().height >= 20, 200);
});

test("what is no block is no snapshot's, whoever has finalized it: not one with another body, nor a seal (R14)", async (t) => {
  const { seed } = chainRig().validators[0]!;
  const lies: Readonly<Record<string, (message: SnapshotMessage & { kind: "snapshot" }) => SnapshotMessage>> = {
    body: (message) => ({ ...message, block: heldBlock({ ...message.block.block, body: { ...message.block.block.body, suspicions: [new Uint8Array(3)] } }, null) }),
    // As its validators may make one while the epoch's last block is not final yet.
    seal: (message) => {
      const { header, body } = message.block.block;
      const seal = heldBlock({ header: { ...header, height: height(lastHeightOf(header.epoch, PRESETS.minimal.epochBlocks) + 1) }, body }, null);
      const { signature } = signVote(seed, { kind: "finalize", chainId: header.chainId, epoch: header.epoch, view: header.view, id: seal.ref.id }, 0);
      return { ...message, block: seal, finalization: { ...message.finalization, id: seal.ref.id, signatures: signature } };
    },
  };
  for (const lie of Object.values(lies)) {
    const told: string[] = [];
    const { validator, run, newcomer } = await world(t, (bytes) => {
      const message = decodeSnapshotMessage(bytes);
      if (message !== null) told.push(message.kind);
      return message?.kind === "snapshot" ? encodeSnapshotMessage(lie(message)) : bytes;
    });
    await run(() => validator.head().height >= 150);
    const node = await newcomer();
    assert.deepEqual([node.head().height, node.status().peers, told.includes("snapshot"), told.includes("chunk")], [0, 0, true, false]);
  }
});

test("a peer whose snapshot leads nowhere is passed over, and the next one asked", async (t) => {
  const { validator, run, network, rig, directory, clock } = await world(t);
  await run(() => validator.head().height >= 200);
  const liar = network.join(peerIdOf(new Uint8Array(32).fill(202)));
  let asked = 0;
  liar.onMessage((from, channel, bytes) => {
    if (channel !== "sync" || decodeSnapshotMessage(bytes)?.kind !== "whichSnapshot") return;
    asked += 1;
    const { bytes: block, certificate } = validator.block(199)!;
    liar.send(from, "sync", encodeSnapshotMessage({ kind: "snapshot", block: heldFromBytes(block), finalization: decodeCertificate(certificate), count: 3 }));
  });
  const transport = network.join(peerIdOf(STRANGER));
  const peers = transport.peers.bind(transport);
  transport.peers = () => peers().toSorted((a) => (a === liar.self ? -1 : 1));
  let joinedAt: number | null | undefined;
  const joining = joinFromSnapshot({ directory: join(directory, "second"), genesis: rig.genesis, transport, clock }).then((at) => { joinedAt = at; });
  // Chunks and epochs that never come are waited for.
  await run(() => joinedAt !== undefined, 100);
  await joining;
  assert.ok(asked === 1 && typeof joinedAt === "number" && joinedAt >= 128, `it begins at ${joinedAt}`);
  await transport.close();
});
