import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { packSnapshot } from "#chain/node/keptSnapshot.ts";
import { type ChainNode, openNode, peerIdOf } from "#chain/node/node.ts";
import { chainRig } from "#tests/compliance/chainRig.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { beginWithKept } from "./membership.ts";

const RUN_MS_MAX = 60_000;

test("a machine whose boot server kept the state of its chain goes on from there, without a peer; what is no such state is no beginning", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "godwit-kept-"));
  const nodes: ChainNode[] = [];
  t.after(async () => {
    for (const one of nodes) await one.stop();
    rmSync(directory, { recursive: true, force: true });
  });
  const clock = new ManualClock();
  const { genesis, validators: [validator] } = chainRig({ startMs: clock.nowMs() });
  const seed = validator!.seed;
  const node = await openNode({ directory: join(directory, "validator"), genesis, validatorSeed: seed, transport: new MemoryNetwork({ clock }).join(peerIdOf(seed)), clock, snapshotBlocks: 16 });
  nodes.push(node);
  node.start();
  for (const endMs = performance.now() + RUN_MS_MAX; node.head().height < 40 && performance.now() < endMs; await sleep(1)) clock.advance(1_000);
  const kept = await packSnapshot(node, 2 ** 24);
  assert.ok(kept !== null && kept.height > 0);

  const machine = join(directory, "machine");
  const cameBack = async (bytes: Uint8Array): Promise<void> => {
    mkdirSync(join(machine, "snapshots"), { recursive: true });
    writeFileSync(join(machine, "snapshots", String(kept.height)), bytes);
    await beginWithKept(machine, genesis);
    assert.ok(!existsSync(join(machine, "snapshots")), "it is in memory once only");
  };
  await beginWithKept(machine, genesis);
  await cameBack(kept.bytes.subarray(0, -1));
  assert.ok(!existsSync(join(machine, "chain", "joined")));
  await cameBack(kept.bytes);
  const again = await openNode({ directory: join(machine, "chain"), genesis, transport: new MemoryNetwork().join(peerIdOf(new Uint8Array(32).fill(9))) });
  nodes.push(again);
  assert.equal(again.head().height, kept.height);
});
