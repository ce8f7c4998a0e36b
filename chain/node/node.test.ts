import assert from "node:assert/strict";
import { mkdtemp, rm, truncate } from "node:fs/promises";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { decodeAnswer, decodeEpochAnswer, stateKey, verifyAnswer, verifyEpoch } from "#chain/codec/proof.ts";
import { validatorSet } from "#chain/codec/certificate.ts";
import { deploymentIdOf } from "#chain/codec/transaction.ts";
import { type ChainNode, openNode } from "#chain/node/node.ts";
import { type Clock, systemClock } from "#chain/network/clock.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { epoch, hex } from "#chain/types.ts";
import { type Rig, FEE, TOKEN, chainRig, deployOf, registerOf, transactionOf, transferOf, upOf } from "#tests/compliance/chainRig.ts";
import { ManualClock } from "#tests/compliance/manualClock.ts";
import { peerIdOf } from "./node.ts";
import { replay } from "./replay.ts";

async function folder(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "godwit-node-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}
function open(rig: Rig, index: number, directory: string, network = new MemoryNetwork(), clock: Clock = systemClock): Promise<ChainNode> {
  const { seed } = rig.validators[index]!;
  return openNode({ directory, genesis: rig.genesis, validatorSeed: seed, transport: network.join(peerIdOf(seed)), clock, onHalt: (error) => { throw error; } });
}
const send = async (node: ChainNode, bytes: Uint8Array): Promise<{ ok: boolean; code?: string; height: number }> =>
  node.whenFinal((await node.submit(bytes)).txid, { timeoutMs: 5_000 });

test("one validator: a machine comes up, a deployment is placed, gets ready and is billed by the second", async (t) => {
  const rig = chainRig();
  const directory = await folder(t);
  const node = await open(rig, 0, directory);
  t.after(() => node.stop());
  const [tenant] = rig.tenants;
  const up = (bootId: number): Uint8Array => transactionOf(rig, rig.machine, BigInt(bootId - 1), [upOf(rig, new Uint8Array(16).fill(bootId))], 0n);
  const placed: string[] = [];
  node.onFinal(({ events }) => { for (const event of events) placed.push(event.kind); });
  node.start();
  assert.equal((await send(node, registerOf(rig, 0n))).ok, true);
  assert.equal((await send(node, up(1))).ok, true);
  assert.equal((await send(node, deployOf(rig, tenant!, 0n, "hello"))).ok, true);
  const id = deploymentIdOf(tenant!.address, 0n, 0);
  const [lease] = node.view().leasesOfMachine(rig.machine.address);
  assert.equal(lease?.state, "placed");
  assert.equal((await send(node, transactionOf(rig, rig.machine, 1n, [{ kind: "ready", deploymentId: id, index: 0, rate: lease!.rate }], 0n))).ok, true);
  assert.equal(node.view().leasesOfDeployment(id)[0]!.state, "ready");
  const first = node.view().bill(id, node.moneySecondNow())!;
  await sleep(1_050);
  const second = node.view().bill(id, node.moneySecondNow())!;
  assert.equal(second.ratePerSecond, lease!.rate);
  assert.ok(second.total > first.total, "the bill moves without a block");
  assert.equal(second.total, second.segments[0]!.seconds * lease!.rate);
  assert.deepEqual(["machine", "deployed", "placed", "opened"].filter((kind) => !placed.includes(kind)), []);
  assert.equal(node.view().supply().total, 5_000n * TOKEN + node.view().supply().stakes);
  assert.equal(node.view().account(tenant!.address)!.balance, 1_000n * TOKEN - TOKEN - FEE);
  const set = validatorSet(rig.chainId, epoch(0), node.genesis.validators);
  for (const key of [stateKey("account", tenant!.address), stateKey("lease", id, 0), stateKey("deployment", id), stateKey("lease", id, 9)]) {
    const proven = verifyAnswer(set, key, decodeAnswer((await node.prove(key))!));
    assert.ok(proven.ok && (proven.value === null) === key.endsWith("9"), "what the node says is proven to who knows the genesis");
  }
  assert.ok(verifyEpoch(set, decodeEpochAnswer(node.proveEpoch(0)!)).ok);
  assert.equal(node.proveEpoch(1), null);
});

test("what was stopped goes on: same root, same bill, and the first block after the start has what was submitted before it", async (t) => {
  const rig = chainRig();
  const directory = await folder(t);
  let node = await open(rig, 0, directory);
  node.start();
  const up = (bootId: number, nonce: bigint): Uint8Array => transactionOf(rig, rig.machine, nonce, [upOf(rig, new Uint8Array(16).fill(bootId))], 0n);
  await send(node, registerOf(rig, 0n));
  await send(node, up(1, 0n));
  await send(node, transferOf(rig, rig.tenants[1]!, 0n));
  const before = node.head();
  await node.stop();
  await assert.rejects(node.submit(up(2, 1n)), { code: "node_stopped" });
  const replayed = await replay(directory);
  assert.deepEqual([replayed.height, hex(replayed.stateRoot), replayed.transactions], [before.height, hex(before.stateRoot), 3]);

  node = await open(rig, 0, directory);
  t.after(() => node.stop());
  assert.deepEqual(node.head(), before);
  const again = up(2, 1n);
  const { txid } = await node.submit(again);
  await assert.rejects(open(rig, 0, directory), { code: "data_folder_in_use" });
  node.start();
  const final = await node.whenFinal(txid, { timeoutMs: 5_000 });
  assert.deepEqual([final.height, final.ok], [before.height + 1, true]);
  assert.deepEqual((await node.submit(again)).txid, txid, "sent again it is the same, not a wrong nonce");
  assert.deepEqual(node.transaction(txid), final);
  assert.equal(node.block(before.height)!.outcomes.length, 1);
  assert.deepEqual(node.block(0)!.bytes, rig.genesis);
  assert.equal(node.block(before.height + 9), null);
});

test("a listener that fails is told of and stops nothing: consensus goes on, and the others hear of the block", async (t) => {
  const rig = chainRig();
  const node = await open(rig, 0, await folder(t));
  t.after(() => node.stop());
  const warned = once(process, "warning");
  const heights: number[] = [];
  node.onFinal(() => { throw new Error("of the supervisor"); });
  node.onFinal(({ height }) => heights.push(height));
  node.start();
  for (let nonce = 0n; nonce < 2n; nonce++) assert.equal((await send(node, transferOf(rig, rig.tenants[0]!, nonce))).ok, true);
  assert.equal(((await warned)[0] as { code?: string }).code, "godwit_listener");
  assert.deepEqual([heights.length, node.status().halted], [node.head().height, null]);
});

test("refusals have codes, and who waits hears what became of it", async (t) => {
  const rig = chainRig();
  const node = await open(rig, 0, await folder(t));
  t.after(() => node.stop());
  const [a] = rig.tenants;
  await assert.rejects(node.submit(Uint8Array.of(1, 2, 3)), { code: "transaction_malformed" });
  await assert.rejects(node.submit(transferOf(chainRig({ startMs: 5 }), a!, 0n)), { code: "wrong_chain" });
  await assert.rejects(node.submit(transferOf(rig, a!, 99n)), { code: "wrong_nonce" });
  await assert.rejects(node.whenFinal(new Uint8Array(32), { timeoutMs: 20 }), { code: "timeout" });
  await assert.rejects(node.whenFinal(new Uint8Array(32), { signal: AbortSignal.abort() }), { code: "aborted" });
  const { txid } = await node.submit(transferOf(rig, a!, 0n));
  const replaced = node.whenFinal(txid).then(() => "final", (error: { code: string }) => error.code);
  await node.submit(transactionOf(rig, a!, 0n, [{ kind: "transfer", to: rig.operator.address, amount: 5n }], FEE * 2n));
  assert.equal(await replaced, "replaced");
  node.start();
  const refused = await send(node, transactionOf(rig, a!, 1n, [{ kind: "close", deploymentId: rig.operator.address }]));
  assert.equal(refused.ok, false);
  assert.equal(refused.code, "unknown_deployment");
  const waits = node.whenFinal(new Uint8Array(32)).catch((error: { code: string }) => error.code);
  await node.stop();
  assert.equal(await waits, "node_stopped");
});

test("four nodes under load reach the same roots; one that stops misses nothing when it is back", async (t) => {
  const rig = chainRig({ validators: 4, tenants: 24 });
  const network = new MemoryNetwork({ seed: 42, delayMsMin: 0, delayMsMax: 8, lossPerMille: 20 });
  const directories = await Promise.all(rig.validators.map(() => folder(t)));
  const nodes = await Promise.all(directories.map((directory, index) => open(rig, index, directory, network)));
  for (const node of nodes) node.start();
  t.after(() => Promise.all(nodes.map((node) => node.stop())));
  const round = async (nonce: bigint, through: readonly number[]): Promise<void> => {
    const sent = rig.tenants.map(async (tenant, at) => {
      const node = nodes[through[at % through.length]!]!;
      const { txid } = await node.submit(transferOf(rig, tenant, nonce));
      return node.whenFinal(txid, { timeoutMs: 20_000 });
    });
    for (const { ok } of await Promise.all(sent)) assert.equal(ok, true);
  };
  await round(0n, [0, 1, 2, 3]);
  await nodes[3]!.stop();
  await round(1n, [0, 1, 2]);
  await round(2n, [0, 1, 2]);
  nodes[3] = await open(rig, 3, directories[3]!, network);
  nodes[3].start();
  await round(3n, [0, 1, 2]);
  const target = Math.max(...nodes.map((node) => node.head().height));
  const started = Date.now();
  while (nodes.some((node) => node.head().height < target) && Date.now() < started + 15_000) await sleep(20);
  for (let height = 1; height <= target; height++) {
    assert.equal(new Set(nodes.map((node) => hex(node.block(height)!.id))).size, 1, `height ${height}`);
  }
  for (const tenant of rig.tenants) assert.equal(nodes[3].view().account(tenant.address)!.nonce, 4n);
  assert.ok(nodes.every((node) => node.status().halted === null));
  await Promise.all(nodes.map((node) => node.stop()));
  const ends = await Promise.all(directories.map(replay));
  for (const [index, end] of ends.entries()) assert.equal(hex(end.stateRoot), hex(nodes[index]!.head().stateRoot));
});

for (const validators of [1, 4]) {
  test(`${validators} validators whose block stores lost their tails in a power cut take the blocks from their vote logs, at once`, async (t) => {
    const clock = new ManualClock();
    const rig = chainRig({ validators, startMs: clock.nowMs() });
    const directories = await Promise.all(rig.validators.map(() => folder(t)));
    const life = async (until: (nodes: ChainNode[]) => boolean, withinMs: number, stepMs: number): Promise<string[]> => {
      const network = new MemoryNetwork({ clock });
      const nodes = await Promise.all(directories.map((directory, index) => open(rig, index, directory, network, clock)));
      for (const node of nodes) node.start();
      for (let ms = 0; !until(nodes) && ms < withinMs; ms += stepMs) {
        clock.advance(stepMs);
        await sleep(1);
      }
      assert.ok(until(nodes), "it came to that in time");
      const ids = nodes.map((node) => hex(node.block(2)!.id));
      for (const node of nodes) await node.stop();
      return ids;
    };
    const before = await life((nodes) => nodes.every((node) => node.head().height >= 2), 600_000, 100);
    // All that is left of each store is the head of its first file.
    for (const directory of directories) await truncate(join(directory, "blocks", "000001.blocks"), 16);
    const after = await life((nodes) => nodes.every((node) => node.head().height >= 2), 2_500, 5);
    assert.deepEqual(after, before);
  });
}
