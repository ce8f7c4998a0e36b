/** A site that was switched off at once, and whose validators lost what they had signed: it goes on in a new era. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { verifyEvidence } from "#chain/codec/evidence.ts";
import { signVote, validatorSet } from "#chain/codec/certificate.ts";
import { decodeGenesis } from "#chain/codec/genesis.ts";
import { decodeBlock, encodeVote } from "#chain/codec/schema.ts";
import type { Clock } from "#chain/network/clock.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { type ChainId, type Digest, digest, epoch, hex, view } from "#chain/types.ts";
import { chainRig, transferOf } from "#tests/compliance/chainRig.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { beginEra } from "./era.ts";
import { type ChainNode, type NodeOptions, openNode, peerIdOf } from "./node.ts";

async function site(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), "godwit-era-"));
  const clock = new ManualClock(Date.now());
  const rig = chainRig({ validators: 4, deltaMs: 2_000, startMs: clock.nowMs() });
  let network = new MemoryNetwork({ clock });
  const running = new Set<ChainNode>();
  const off = async (): Promise<void> => {
    for (const node of running) await node.stop();
    running.clear();
    network = new MemoryNetwork({ clock });
  };
  t.after(async () => {
    await off();
    await rm(root, { recursive: true, force: true });
  });
  const directory = (name: string, index: number): string => join(root, `${name}-${index}`);
  const open = (name: string, genesis: Uint8Array): Promise<ChainNode[]> => Promise.all(rig.validators.map(async ({ seed }, index) => {
    const node = await openNode({ directory: directory(name, index), genesis, validatorSeed: seed, transport: network.join(peerIdOf(seed)), clock, onHalt: (error) => { throw error; } });
    running.add(node);
    node.start();
    return node;
  }));
  const run = (until: () => boolean): Promise<void> => clock.until(until, 100, 10_000, () => [...running].map((node) => node.head().height).join());
  return { rig, clock, directory, open, run, off };
}

test("all validators lost the tail of their vote logs at once: a new era goes on from their last common final block, and no vote of it can contradict one of before", async (t) => {
  const { rig, directory, open, run, off } = await site(t);
  const nodes = await open("first", rig.genesis);
  const [tenant] = rig.tenants;
  const { txid } = await nodes[0]!.submit(transferOf(rig, tenant!, 0n));
  await run(() => nodes.every((node) => node.transaction(txid) !== null && node.head().height >= 8));
  await off();
  const common = Math.min(...nodes.map((node) => node.head().height));
  const rootThen = hex(decodeBlock(nodes[0]!.block(common)!.bytes).header.stateRoot);
  const balance = nodes[0]!.view().account(tenant!.address)!.balance;
  await rm(join(directory("first", 2), "votes"));
  await assert.rejects(openNode({ directory: directory("first", 2), genesis: rig.genesis, validatorSeed: rig.validators[2]!.seed, transport: new MemoryNetwork({ clock: new ManualClock() }).join(peerIdOf(rig.validators[2]!.seed)) }), { code: "vote_log_missing" });

  const begun = await Promise.all(rig.validators.map(({ seed }, index) => beginEra({ from: directory("first", index), to: directory("second", index), number: 1, height: common, validatorKey: publicKeyOf(seed) })));
  const [era] = begun;
  assert.deepEqual(begun.map(({ chainId, height, stateRoot }) => [hex(chainId), height, hex(stateRoot)]), begun.map(() => [hex(era!.chainId), common, rootThen]));
  assert.notEqual(hex(era!.chainId), hex(rig.chainId));
  const again = await open("second", era!.genesis);
  assert.deepEqual(again.map((node) => [node.head().height, hex(node.head().stateRoot)]), begun.map(() => [common, rootThen]));
  await run(() => again.every((node) => node.head().height >= common + 5));
  const first = decodeBlock(again[0]!.block(common + 1)!.bytes);
  assert.equal(hex(first.header.parentId), hex(era!.id));
  assert.deepEqual([hex(first.header.chainId), first.header.parentView, first.body.parentCertificate], [hex(era!.chainId), 0, null]);
  assert.equal(again[0]!.view().account(tenant!.address)!.balance, balance, "money is where it was");
  // A transaction of before is for another chain; signed for this one, it is taken.
  await assert.rejects(again[0]!.submit(transferOf(rig, tenant!, 1n)), { code: "wrong_chain" });
  const sent = await again[1]!.submit(transferOf({ ...rig, chainId: era!.chainId }, tenant!, 1n));
  await run(() => again.every((node) => node.transaction(sent.txid) !== null));

  // The same epoch and view in both eras: other bytes, and evidence against nobody.
  const vote = (chainId: ChainId, id: Digest) => signVote(rig.validators[0]!.seed, { kind: "notarize", chainId, epoch: epoch(0), view: view(3), id }, 0);
  const [a, b] = [vote(rig.chainId, digest(new Uint8Array(32))), vote(era!.chainId, era!.id)];
  assert.notEqual(hex(encodeVote({ ...a, id: era!.id })), hex(encodeVote(b)));
  assert.equal(verifyEvidence(validatorSet(era!.chainId, epoch(0), decodeGenesis(rig.genesis).validators), { kind: "votes", a, b }).ok, false);

  await off();
  const third = await open("second", era!.genesis);
  assert.ok(third.every((node) => node.head().height >= common + 5), "a restart within the era is an ordinary one");
  await off();
  await assert.rejects(beginEra({ from: directory("second", 0), to: directory("third", 0), number: 1 }), { code: "era_used" });
  await assert.rejects(beginEra({ from: directory("second", 0), to: directory("third", 0), number: 2, height: 10_000 }), { code: "block_missing" });
  await assert.rejects(beginEra({ from: directory("first", 0), to: directory("second", 0), number: 1 }), { code: /genesis_differs|folder_in_use/ });
});

test("who joins an era later begins at the checkpoint that its beginning gave: nothing leads there from genesis, and without it nothing is begun", async (t) => {
  const root = await mkdtemp(join(tmpdir(), "godwit-era-"));
  const clock = new ManualClock();
  const rig = chainRig({ startMs: clock.nowMs() });
  const { seed } = rig.validators[0]!;
  const stranger = new Uint8Array(32).fill(200);
  const nodes: ChainNode[] = [];
  t.after(async () => {
    for (const node of nodes) await node.stop();
    await rm(root, { recursive: true, force: true });
  });
  const run = (until: () => boolean, stepMs: number): Promise<void> => clock.until(until, stepMs, 20_000);
  const first = await openNode({ directory: join(root, "before"), genesis: rig.genesis, validatorSeed: seed, transport: new MemoryNetwork({ clock }).join(peerIdOf(seed)), clock });
  nodes.push(first);
  first.start();
  // In the middle of the third epoch.
  await run(() => first.head().height >= 150, 1_000);
  await first.stop();
  const era = await beginEra({ from: join(root, "before"), to: join(root, "era"), number: 1, validatorKey: publicKeyOf(seed) });
  assert.deepEqual([era.checkpoint.epoch, hex(era.checkpoint.validatorsHash)], [2, hex(decodeBlock(first.block(era.height)!.bytes).header.validatorsHash)]);
  const network = new MemoryNetwork({ clock });
  const validator = await openNode({ directory: join(root, "era"), genesis: era.genesis, validatorSeed: seed, transport: network.join(peerIdOf(seed)), clock, snapshotBlocks: 16 });
  nodes.push(validator);
  validator.start();
  // Into the next epoch: its end names the one after.
  await run(() => validator.head().height >= 200, 1_000);
  const joining = async (more: Partial<NodeOptions>): Promise<ChainNode> => {
    const transport = network.join(peerIdOf(stranger));
    let isOpen = false;
    const opening = openNode({ directory: join(root, "joined"), genesis: era.genesis, transport, clock, joins: true, ...more });
    void opening.catch(() => undefined).then(() => { isOpen = true; });
    await run(() => isOpen, 5);
    return opening.catch(async (error: unknown) => {
      await transport.close();
      throw error;
    });
  };
  await assert.rejects(joining({}), { code: "state_missing" });
  // Before it is old: on this chain stake is bound for two minutes.
  const soon: Clock = { nowMs: () => Number(era.checkpoint.timeMs), setTimer: (callback, delayMs) => clock.setTimer(callback, delayMs) };
  const joined = await joining({ checkpoint: era.checkpoint, clock: soon });
  nodes.push(joined);
  const { height, id } = joined.head();
  assert.ok(height >= 128 && height > era.height, `it begins at ${height}`);
  assert.equal(hex(id), hex(validator.block(height)!.id));
});
