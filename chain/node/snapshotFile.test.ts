import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { decodeBlock, decodeCertificate } from "#chain/codec/schema.ts";
import { imageOf } from "#chain/ledger/snapshot.ts";
import { deploymentIdOf } from "#chain/codec/transaction.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { hex } from "#chain/types.ts";
import { type Rig, chainRig, deployOf, registerOf, transactionOf, transferOf, upOf } from "#tests/compliance/chainRig.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { decodeGenesis } from "#chain/codec/genesis.ts";
import { BlockStore } from "./blockStore.ts";
import { type ChainNode, openNode, peerIdOf } from "./node.ts";
import { type StoredSnapshot, readSnapshot, writeSnapshot } from "./snapshotFile.ts";
import { replay } from "./replay.ts";

type World = { rig: Rig; clock: ManualClock; directory: string; open(snapshotBlocks?: number): Promise<ChainNode>; run(until: () => boolean, stepMs?: number): Promise<void> };

/** A lone validator in simulated time, on one folder that it is opened on again and again. */
async function world(t: TestContext): Promise<World> {
  const directory = await mkdtemp(join(tmpdir(), "godwit-snapshot-"));
  const nodes: ChainNode[] = [];
  t.after(async () => {
    for (const node of nodes) await node.stop();
    await rm(directory, { recursive: true, force: true });
  });
  const clock = new ManualClock(Date.now());
  const rig = chainRig({ startMs: clock.nowMs() });
  const { seed } = rig.validators[0]!;
  const open = async (snapshotBlocks = 16): Promise<ChainNode> => {
    const node = await openNode({
      directory, genesis: rig.genesis, validatorSeed: seed, transport: new MemoryNetwork({ clock }).join(peerIdOf(seed)), clock, snapshotBlocks,
      onHalt: (error) => { throw error; },
    });
    nodes.push(node);
    return node;
  };
  const run = async (until: () => boolean, stepMs = 1_000): Promise<void> => {
    for (let rounds = 0; !until() && rounds < 2_000; rounds++) {
      clock.advance(stepMs);
      await sleep(1);
    }
    assert.ok(until(), "it came to that");
  };
  return { rig, clock, directory, open, run };
}

/** Everything an outsider can ask of a node. */
const told = ({ rig }: World, node: ChainNode, txids: readonly Uint8Array[]): object => {
  const id = deploymentIdOf(rig.tenants[0]!.address, 0n, 0);
  const { moneySecond } = node.head();
  return {
    head: node.head(), supply: node.view().supply(), bill: node.view().bill(id, moneySecond), leases: node.view().leasesOfMachine(rig.machine.address),
    machines: node.view().machines(), due: node.view().nextDueMoneySecond(), transactions: txids.map((txid) => node.transaction(txid)), block: node.block(2),
  };
};

async function imageIn({ directory, rig }: World): Promise<StoredSnapshot> {
  const blocks = await BlockStore.open(join(directory, "blocks"));
  const snapshot = await readSnapshot(directory, decodeGenesis(rig.genesis), rig.chainId, blocks);
  await blocks.close();
  return snapshot!;
}

async function history(at: World, node: ChainNode): Promise<Uint8Array[]> {
  const { rig, run } = at;
  node.start();
  const txids: Uint8Array[] = [];
  const send = async (bytes: Uint8Array): Promise<void> => {
    const { txid } = await node.submit(bytes);
    txids.push(txid);
    await run(() => node.transaction(txid) !== null, 5);
  };
  await send(registerOf(rig, 0n));
  await send(transactionOf(rig, rig.machine, 0n, [upOf(rig, new Uint8Array(16).fill(1))], 0n));
  await send(deployOf(rig, rig.tenants[0]!, 0n, "hello"));
  const id = deploymentIdOf(rig.tenants[0]!.address, 0n, 0);
  await send(transactionOf(rig, rig.machine, 1n, [{ kind: "ready", deploymentId: id, index: 0, rate: node.view().leasesOfMachine(rig.machine.address)[0]!.rate }], 0n));
  await send(transactionOf(rig, rig.tenants[0]!, 1n, [{ kind: "resize", deploymentId: id, memoryMib: 65, cpuMillis: 100 }]));
  await run(() => node.head().height >= 40);
  return txids;
}

test("a node that starts from a snapshot says and does what one that executed everything does", async (t) => {
  const at = await world(t);
  const first = await at.open();
  const txids = await history(at, first);
  await sleep(20);
  const after = told(at, first, txids);
  await first.stop();
  assert.ok((await stat(join(at.directory, "snapshot"))).size > 500);
  const second = await at.open();
  assert.deepEqual(told(at, second, txids), after);
  second.start();
  const { txid } = await second.submit(transferOf(at.rig, at.rig.tenants[1]!, 0n));
  await at.run(() => second.transaction(txid) !== null && second.head().height >= 50);
  await second.stop();
  const { height, stateRoot } = await replay(at.directory);
  assert.deepEqual([height, hex(stateRoot)], [second.head().height, hex(second.head().stateRoot)]);
});

test("a snapshot comes while the node runs, and a start executes only what came after it", async (t) => {
  const at = await world(t);
  const node = await at.open(16);
  const txids = await history(at, node);
  const written = join(at.directory, "snapshot");
  for (let k = 0; k < 100 && !(await stat(written).catch(() => null)); k++) await sleep(10);
  const kept = await readFile(written);
  await at.run(() => node.head().height >= 60);
  await sleep(20);
  const after = told(at, node, txids);
  await node.stop();
  // As after a kill: the snapshot of some blocks ago.
  await writeFile(written, kept);
  const again = await at.open();
  assert.deepEqual(told(at, again, txids), after);
  assert.deepEqual(await readFile(written), kept, "it was good");
});

test("a disk that takes no snapshot is told of once, not with every block, and stops nothing", async (t) => {
  const at = await world(t);
  const node = await at.open(16);
  // A folder where the file belongs cannot be renamed over.
  await mkdir(join(at.directory, "snapshot", "x"), { recursive: true });
  let warnings = 0;
  const note = (warning: Error & { code?: string }): void => { if (warning.code === "godwit_snapshot") warnings++; };
  process.on("warning", note);
  t.after(() => process.off("warning", note));
  await history(at, node);
  await sleep(20);
  assert.deepEqual([node.head().height >= 40, node.status().halted], [true, null]);
  assert.ok(warnings >= 1 && warnings <= 3, `${warnings}`);
});

test("a snapshot that is damaged, of another chain or ahead of the store is put aside, and all blocks are executed", async (t) => {
  const at = await world(t);
  const first = await at.open();
  const txids = await history(at, first);
  await sleep(20);
  const after = told(at, first, txids);
  await first.stop();
  const path = join(at.directory, "snapshot");
  const good = await readFile(path);
  const { height } = first.head();
  const before = first.block(height - 1)!;
  const image = imageOf((await imageIn(at)).ledger);
  const { header } = decodeBlock(before.bytes);
  const warnings: string[] = [];
  const note = (warning: Error & { code?: string }): void => { if (warning.code === "godwit_snapshot") warnings.push(warning.message); };
  process.on("warning", note);
  t.after(() => process.off("warning", note));
  const other = await world(t);
  const stranger = await other.open();
  await history(other, stranger);
  await stranger.stop();
  const cases: [string, () => Promise<void>][] = [
    ["empty", () => writeFile(path, "")],
    ["cut", () => truncate(path, good.length - 7)],
    ["changed", () => writeFile(path, good.with(good.length >> 1, good[good.length >> 1]! ^ 1))],
    ["of another state", async () => void await writeSnapshot(at.directory, at.rig.chainId, { height: height - 1, id: before.id, header, finalization: decodeCertificate(before.certificate), image, index: [] }, new AbortController().signal)],
    ["of another chain", async () => writeFile(path, await readFile(join(other.directory, "snapshot")))],
  ];
  for (const [what, damage] of cases) {
    await damage();
    const node = await at.open();
    assert.deepEqual(told(at, node, txids), after, what);
    await node.stop();
    await sleep(0);
    assert.equal(warnings.length, 1, what);
    warnings.length = 0;
  }
  // The store lost its tail in a power cut: what the snapshot knows is not there.
  await writeFile(path, good);
  const blocks = join(at.directory, "blocks");
  const [segment] = await readdir(blocks);
  await truncate(join(blocks, segment!), 2_000);
  const node = await at.open();
  assert.ok(node.head().height < 10);
  await sleep(0);
  assert.equal(warnings.length, 1);
});
