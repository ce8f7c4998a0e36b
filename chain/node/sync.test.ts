import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { decode, encode } from "#chain/codec/cbor.ts";
import { validatorsHash } from "#chain/codec/certificate.ts";
import { decodeGenesis } from "#chain/codec/genesis.ts";
import { decodeBlock, decodeCertificate, decodeMessage, encodeCertificate, encodeMessage } from "#chain/codec/schema.ts";
import { PRESETS } from "#chain/constants.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import type { PeerId, Transport } from "#chain/network/transport.ts";
import { hex, timeMs, view } from "#chain/types.ts";
import { type Rig, chainRig, keyOf } from "#tests/compliance/chainRig.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import type { BlockStore } from "./blockStore.ts";
import { Executor } from "./executor.ts";
import { SYNC_TIMEOUT_MS } from "./limits.ts";
import { Mempool } from "./mempool.ts";
import { type ChainNode, openNode, peerIdOf } from "./node.ts";
import { Sync } from "./sync.ts";

const RUN_MS_MAX = 60_000;
const STRANGER = new Uint8Array(32).fill(200);
type World = { rig: Rig; network: MemoryNetwork; clock: ManualClock; validator: ChainNode; run(until: () => boolean, stepMs?: number): Promise<void>; follow(seed?: Uint8Array): Promise<ChainNode> };

/** A lone validator and followers in simulated time: idle blocks come as fast as the disk takes them. */
async function world(t: TestContext): Promise<World> {
  const directory = await mkdtemp(join(tmpdir(), "godwit-sync-"));
  const nodes: ChainNode[] = [];
  t.after(async () => {
    for (const node of nodes) await node.stop();
    await rm(directory, { recursive: true, force: true });
  });
  const clock = new ManualClock();
  const rig = chainRig({ startMs: clock.nowMs() });
  const network = new MemoryNetwork({ clock });
  const { seed } = rig.validators[0]!;
  let count = 0;
  const open = async (validatorSeed: Uint8Array): Promise<ChainNode> => {
    const node = await openNode({
      directory: join(directory, String(count++)), genesis: rig.genesis, validatorSeed, transport: network.join(peerIdOf(validatorSeed)), clock,
      onHalt: (error) => { throw error; },
    });
    nodes.push(node);
    return node;
  };
  const validator = await open(seed);
  const run = async (until: () => boolean, stepMs = 1_000): Promise<void> => {
    // Simulated time waits for nobody, but disks and threads are real: on a busy computer a round brings little.
    for (const endMs = performance.now() + RUN_MS_MAX; !until() && performance.now() < endMs;) {
      clock.advance(stepMs);
      await sleep(1);
    }
    assert.ok(until(), "it came to that");
  };
  return { rig, network, clock, validator, run, follow: (key = STRANGER) => open(key) };
}

test("a follower that is 150 blocks behind fetches them by ranges, and then follows block by block", async (t) => {
  const { validator, run, follow } = await world(t);
  validator.start();
  await run(() => validator.head().height >= 150);
  const follower = await follow();
  follower.start();
  assert.equal(follower.status().validator, null);
  await run(() => follower.head().height >= 150, 100);
  await run(() => follower.head().height >= 155, 500);
  for (const height of [1, 75, 150]) assert.equal(hex(follower.block(height)!.id), hex(validator.block(height)!.id));
});

test("R14: a range ends with the last epoch whose validators its reader knows: who is 57 blocks into the first comes to the third", async (t) => {
  const { rig, network, validator, run, follow } = await world(t);
  validator.start();
  const follower = await follow();
  follower.start();
  await run(() => follower.head().height >= 57, 100);
  const [one, other] = [peerIdOf(rig.validators[0]!.seed), peerIdOf(STRANGER)];
  network.cut(one, other);
  assert(follower.head().height < 60, "still in the first epoch, and 64 blocks reach into the third");
  await run(() => validator.head().height >= 150);
  network.heal(one, other);
  await run(() => follower.head().height >= 150, 100);
});

test("ranges that lie are refused: the follower goes on with an honest peer", async (t) => {
  const { rig, validator, network, run, follow } = await world(t);
  validator.start();
  await run(() => validator.head().height >= 70);
  const liar = network.join(peerIdOf(new Uint8Array(32).fill(201)));
  const executor = new Executor(rig.genesis, () => undefined);
  const { finalFacts } = executor;
  const { held: rival } = executor.build({
    view: view(1), parentId: finalFacts.id, parentView: view(0), parentCertificate: null, timeMs: timeMs(finalFacts.timeMs + 777n), chainId: rig.chainId, epoch: 0,
    validatorsHash: validatorsHash(decodeGenesis(rig.genesis).validators), proposer: 0, rules: PRESETS.minimal, pool: new Mempool({ account: () => null, refusalOf: () => null }),
  });
  const forged = encodeCertificate({ ...decodeCertificate(validator.block(1)!.certificate), id: rival.ref.id });
  const block = (at: number): Uint8Array => validator.block(at)!.bytes;
  const certificate = (at: number): Uint8Array => validator.block(at)!.certificate;
  // A block that would do, if the validators had agreed to it; blocks that are there, but not a chain; a real certificate of another block; nonsense.
  const lies: [Uint8Array[], Uint8Array][] = [
    [[rival.bytes], forged], [[rival.bytes], certificate(20)], [[block(1), block(20)], certificate(20)], [[block(2), block(3)], certificate(3)],
    [[block(1), block(2)], certificate(20)], [[Uint8Array.of(1)], certificate(20)], [[], certificate(20)],
  ];
  let told = 0;
  // Blocks can become final several at a time; then only the last has a finalization of its own.
  let top = 40;
  while (hex(decodeCertificate(certificate(top)).id!) !== hex(validator.block(top)!.id)) top++;
  liar.onPeer((peer) => liar.send(peer, "consensus", encodeMessage({ kind: "certificate", certificate: decodeCertificate(certificate(top)) })));
  liar.onMessage((from, channel, bytes) => {
    if (channel === "consensus") {
      const message = decodeMessage(bytes);
      if (message.kind === "blockRequest" && hex(message.id) === hex(validator.block(top)!.id)) liar.send(from, "consensus", encodeMessage({ kind: "block", block: decodeBlock(block(top)) }));
      return;
    }
    if (channel !== "sync") return;
    const [, , start] = decode(bytes) as [number, number, number];
    liar.send(from, "sync", encode([1, 1, start, ...lies[told++ % lies.length]!]));
  });
  network.cut(peerIdOf(rig.validators[0]!.seed), peerIdOf(STRANGER));
  const follower = await follow();
  follower.start();
  await run(() => told > lies.length, 200);
  assert.deepEqual([follower.head().height, follower.status().halted], [0, null]);
  network.heal(peerIdOf(rig.validators[0]!.seed), peerIdOf(STRANGER));
  await run(() => follower.head().height >= 70, 200);
  for (const height of [1, 70]) assert.equal(hex(follower.block(height)!.id), hex(validator.block(height)!.id));
});

test("consensus and sync may take the same blocks at the same time", async (t) => {
  const { rig, validator, network, run, follow } = await world(t);
  validator.start();
  await run(() => validator.head().height >= 45);
  const block = (at: number): Uint8Array => validator.block(at)!.bytes;
  let top = 45;
  while (top > 1 && hex(decodeCertificate(validator.block(top)!.certificate).id!) !== hex(validator.block(top)!.id)) top--;
  const heights = new Map(Array.from({ length: top }, (_, index) => [hex(validator.block(index + 1)!.id), index + 1]));
  network.cut(peerIdOf(rig.validators[0]!.seed), peerIdOf(STRANGER));
  const server = network.join(peerIdOf(new Uint8Array(32).fill(201)));
  let range: (() => void) | null = null;
  let first: (() => void) | null = null;
  server.onPeer((peer) => server.send(peer, "consensus", encodeMessage({ kind: "certificate", certificate: decodeCertificate(validator.block(top)!.certificate) })));
  server.onMessage((from, channel, bytes) => {
    if (channel === "sync") {
      range = () => void server.send(from, "sync", encode([1, 1, 1, Array.from({ length: top }, (_, index) => block(index + 1)), validator.block(top)!.certificate]));
      return;
    }
    const message = decodeMessage(bytes);
    if (message.kind !== "blockRequest") return;
    const at = heights.get(hex(message.id));
    const answer = (): void => void server.send(from, "consensus", encodeMessage({ kind: "block", block: decodeBlock(block(at!)) }));
    // The last one that consensus lacks comes when sync has made it final, and the state is beyond it.
    if (at === 1) first = answer;
    else if (at !== undefined) answer();
  });
  const follower = await follow();
  follower.onFinal(({ height }) => { if (height === 3) first?.(); });
  follower.start();
  await run(() => first !== null && range !== null, 50);
  range!();
  await run(() => follower.head().height === top, 50);
  await run(() => follower.status().view > validator.block(top)!.height, 50);
  assert.equal(follower.status().halted, null);
});

test("ranges that overlap are taken together: each block is final once, in order, whichever has it first", async (t) => {
  const { rig, validator, network, clock, run, follow } = await world(t);
  validator.start();
  await run(() => validator.head().height >= 45);
  let top = 45;
  while (hex(decodeCertificate(validator.block(top)!.certificate).id!) !== hex(validator.block(top)!.id)) top--;
  network.cut(peerIdOf(rig.validators[0]!.seed), peerIdOf(STRANGER));
  const server = network.join(peerIdOf(new Uint8Array(32).fill(204)));
  const announce = (peer: Parameters<typeof server.send>[0]): void => void server.send(peer, "consensus", encodeMessage({ kind: "certificate", certificate: decodeCertificate(validator.block(top)!.certificate) }));
  const asked: number[] = [];
  server.onPeer(announce);
  server.onMessage((from, channel, bytes) => {
    if (channel === "consensus") {
      const message = decodeMessage(bytes);
      // The newest block alone: how far it is from there is seen by its height.
      if (message.kind === "blockRequest" && hex(message.id) === hex(validator.block(top)!.id)) server.send(from, "consensus", encodeMessage({ kind: "block", block: decodeBlock(validator.block(top)!.bytes) }));
    }
    if (channel !== "sync") return;
    const [, kind, first] = decode(bytes) as [number, number, number?];
    if (kind !== 0 || first === undefined) return;
    asked.push(first);
    server.send(from, "sync", encode([1, 1, first, Array.from({ length: top - first + 1 }, (_, index) => validator.block(first + index)!.bytes), validator.block(top)!.certificate]));
  });
  const follower = await follow();
  const heights: number[] = [];
  follower.onFinal(({ height }) => {
    heights.push(height);
    // In the middle of the first range the wait for it is over: another is asked for, and comes while this one is taken.
    if (height === 5) clock.advance(SYNC_TIMEOUT_MS + 100);
  });
  follower.start();
  await run(() => follower.head().height === top, 50);
  assert.ok(asked.length > 1 && asked[1]! > 1 && asked[1]! < top, `asked for ${asked.join(", ")}`);
  assert.deepEqual(heights, Array.from({ length: top }, (_, index) => index + 1));
  assert.equal(follower.status().halted, null);
});

test("a block that comes with another body under its header halts nobody", async (t) => {
  const { rig, validator, network, run, follow } = await world(t);
  validator.start();
  await run(() => validator.head().height >= 3);
  let top = 1;
  while (hex(decodeCertificate(validator.block(top)!.certificate).id!) !== hex(validator.block(top)!.id)) top++;
  const { header, body } = decodeBlock(validator.block(top)!.bytes);
  network.cut(peerIdOf(rig.validators[0]!.seed), peerIdOf(STRANGER));
  const liar = network.join(peerIdOf(new Uint8Array(32).fill(202)));
  const lie = (peer: Parameters<typeof liar.send>[0]): void => {
    liar.send(peer, "consensus", encodeMessage({ kind: "certificate", certificate: decodeCertificate(validator.block(top)!.certificate) }));
    liar.send(peer, "consensus", encodeMessage({ kind: "block", block: { header, body: { ...body, transactions: [new Uint8Array(1)] } } }));
  };
  liar.onPeer(lie);
  const follower = await follow();
  follower.start();
  for (const peer of liar.peers()) lie(peer);
  let turns = 0;
  await run(() => {
    for (const peer of liar.peers()) lie(peer);
    return turns++ > 50;
  }, 200);
  network.heal(peerIdOf(rig.validators[0]!.seed), peerIdOf(STRANGER));
  await run(() => follower.head().height >= top, 200);
});

test("a node is left behind when most of the validators it knows say so, by weight, and it has come no further; everybody being a moment ahead at each change of epochs is nothing", () => {
  const clock = new ManualClock();
  const [big, one, other, ...strangers] = ["big", "one", "other", "stranger a", "stranger b", "stranger c", "stranger d"].map((name) => peerIdOf(keyOf(name).seed));
  const weights = new Map([[big!, 3], [one!, 1], [other!, 1]]);
  const world = (peers: readonly PeerId[]) => {
    const seen = { height: 10, leftBehind: 0 };
    const transport = { peers: () => peers, send: () => undefined } as unknown as Transport;
    const sync = new Sync({ transport, clock, blocks: null as unknown as BlockStore, heightFinal: () => seen.height, take: async () => true, weightOf: (peer) => weights.get(peer) ?? 0, onLeftBehind: () => { seen.leftBehind += 1; } });
    /** Half a minute, in which these speak of a later epoch, five times each. */
    const hear = (speakers: readonly PeerId[]): void => {
      for (let i = 0; i < 5; i++) {
        clock.advance(6_000);
        for (const peer of speakers) sync.hint(peer);
      }
    };
    return { seen, hear };
  };
  const all = [big!, one!, other!, ...strangers];
  const changes = world(all);
  for (let i = 0; i < 20; i++) {
    changes.hear(all);
    changes.seen.height += 1;
  }
  assert.equal(changes.seen.leftBehind, 0, "it came further each time");
  for (let i = 0; i < 3; i++) changes.hear(all);
  assert.equal(changes.seen.leftBehind, 1, "once");
  const few = world(all);
  for (let i = 0; i < 6; i++) few.hear([one!, other!, ...strangers]);
  assert.equal(few.seen.leftBehind, 0, "two of five by weight, and as many strangers as one likes");
  for (let i = 0; i < 3; i++) few.hear([big!]);
  assert.equal(few.seen.leftBehind, 1);
  const without = world(strangers);
  for (let i = 0; i < 3; i++) without.hear(strangers.slice(0, 2));
  assert.equal(without.seen.leftBehind, 0);
  for (let i = 0; i < 3; i++) without.hear(strangers.slice(0, 3));
  assert.equal(without.seen.leftBehind, 1, "of validators that it knows there is none any more: most of its peers");
});
