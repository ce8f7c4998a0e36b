import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { decode, encode } from "#chain/codec/cbor.ts";
import { decodeCertificate } from "#chain/codec/schema.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { hex } from "#chain/types.ts";
import { type Rig, chainRig } from "#tests/compliance/chainRig.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { type ChainNode, openNode, peerIdOf } from "./node.ts";

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
    for (let rounds = 0; !until() && rounds < 3_000; rounds++) {
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

test("ranges that lie are refused: the follower goes on with an honest peer", async (t) => {
  const { validator, network, run, follow } = await world(t);
  validator.start();
  await run(() => validator.head().height >= 70);
  const liar = network.join(peerIdOf(new Uint8Array(32).fill(201)));
  let lies = 0;
  liar.onMessage((from, channel, bytes) => {
    if (channel !== "sync") return;
    const [, kind, start] = decode(bytes) as [number, number, number];
    if (kind !== 0) return;
    lies++;
    // Blocks that are there, but not a chain; a certificate that is real, but of another block; and plain nonsense.
    const block = (at: number): Uint8Array => validator.block(at)!.bytes;
    const certificate = validator.block(20)!.certificate;
    assert.equal(decodeCertificate(certificate).kind, "finalize");
    const answers = [[[block(2), block(20)], certificate], [[block(start), block(start + 1)], certificate], [[Uint8Array.of(1)], certificate], [[], certificate]];
    const [blocks, proof] = answers[lies % answers.length]!;
    liar.send(from, "sync", encode([1, 1, start, blocks as Uint8Array[], proof as Uint8Array]));
  });
  const follower = await follow();
  follower.start();
  await run(() => follower.head().height >= 70, 200);
  assert.ok(lies > 0);
  assert.equal(hex(follower.block(70)!.id), hex(validator.block(70)!.id));
});
