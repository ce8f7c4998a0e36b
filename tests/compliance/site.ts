/**
 * Several validators on real folders in simulated time, each of whose steps the second reading of the rules takes in. Nothing is to halt.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { type ChainNode, type NodeOptions, openNode, peerIdOf } from "#chain/node/node.ts";
import { Trace } from "#tests/simulation/trace.ts";
import { type Rig, chainRig } from "./chainRig.ts";
import { ManualClock } from "./manualClock.ts";

export type Site = {
  readonly rig: Rig; readonly clock: ManualClock; readonly network: MemoryNetwork; directory(index: number): string;
  open(index: number, more?: Partial<NodeOptions>): Promise<ChainNode>; run(until: () => boolean, stepMs?: number): Promise<void>; stop(node: ChainNode): Promise<void>;
};

export async function site(t: TestContext, validators: number, always: Partial<NodeOptions> = {}): Promise<Site> {
  const root = await mkdtemp(join(tmpdir(), "godwit-site-"));
  const clock = new ManualClock();
  // A delta that a slow disk keeps: simulated time runs a hundred times as fast.
  const rig = chainRig({ validators, deltaMs: 2_000, startMs: clock.nowMs() });
  const network = new MemoryNetwork({ clock });
  const traces = rig.validators.map(() => new Trace());
  const running = new Set<ChainNode>();
  const stop = async (node: ChainNode): Promise<void> => {
    running.delete(node);
    await node.stop();
  };
  t.after(async () => {
    for (const node of running) await stop(node);
    // The second reading of the rules agrees with what real nodes did.
    for (const { violations } of traces) assert.deepEqual(violations, []);
    await rm(root, { recursive: true, force: true });
  });
  const directory = (index: number): string => join(root, String(index));
  /** Simulated time passes as fast as disks and signatures allow. */
  const run = (until: () => boolean, stepMs = 100): Promise<void> => clock.until(until, stepMs, 20_000, () => [...running].map((node) => JSON.stringify({ ...node.status(), height: node.head().height })).join("\n"));
  const open = async (index: number, more: Partial<NodeOptions> = {}): Promise<ChainNode> => {
    const { seed } = rig.validators[index]!;
    const opening = openNode({
      directory: directory(index), genesis: rig.genesis, validatorSeed: seed, transport: network.join(peerIdOf(seed)), clock, trace: (line) => traces[index]!.read(line), onHalt: (error) => { throw error; }, ...always, ...more,
    });
    let isOpen = false;
    const settled = opening.then(() => undefined, () => undefined).then(() => { isOpen = true; });
    // One that asks its peers for a snapshot needs their time.
    for (let rounds = 0; !isOpen; rounds++) {
      await Promise.race([settled, sleep(1)]);
      if (!isOpen && rounds > 100) clock.advance(5);
    }
    const node = await opening;
    running.add(node);
    node.start();
    return node;
  };
  return { rig, clock, network, directory, open, run, stop };
}
