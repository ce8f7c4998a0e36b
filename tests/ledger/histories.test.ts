/**
 * Histories by seed. After every block: all pots add up to the supply, nothing is negative, what is owed is the sum of its parts
 * (`World.block`). At the end: all blocks can be taken back, each leaving the root of before; applied again, there or in a second
 * ledger, they give the same roots; and what a tenant put in is Σ rate × seconds, refund and rest.
 */
import assert from "node:assert";
import { test } from "node:test";
import { type Cbor, decode } from "#chain/codec/cbor.ts";
import { decodeTransaction, deploymentIdOf, signTransaction } from "#chain/codec/transaction.ts";
import { applyBlock, buildBlock, faultOfLedger, feeFor, nextMoneySecond, openLedger, revert } from "#chain/ledger/ledger.ts";
import { valueOf } from "#chain/ledger/model.ts";
import { viewOf } from "#chain/ledger/view.ts";
import { proveBill } from "#chain/light/bill.ts";
import { type Address, hex } from "#chain/types.ts";
import { playParties } from "#tests/simulation/parties.ts";
import { audit } from "#tools/audit.ts";
import { apiOf, blocksOf } from "./fakeApi.ts";
import { BLOCKS_OF_FIRST_EPOCH, GRID_WORLD, KINDS, endGrid, playBlock, settleGrid } from "./randomGrid.ts";
import { MACHINES, TENANTS, actAtRandom, extremeOperation, operatorOf, prepareProofs } from "./randomOperations.ts";
import { holdAtRandom } from "./randomHolders.ts";
import { scaleAtRandom } from "./randomScaling.ts";
import { type Random, TOKEN, World, random } from "./world.ts";

const COUNTED = ["opened", "ended", "resized", "paid", "dry", "failed", "strike", "closed", "updated", "widened", "promoted", "rolledBack", "health", "moving", "draining", "retired", "locked", "lockClaimed", "lockRefunded", "taskEnded", "refunded", "load", "scalingSet"] as const;

/** What holders do is drawn from a sequence of its own, and so is scaling. */
function play(r: Random, world: World, blocks: number, seed: number): Address[] {
  const [holders, scalers] = [random(seed + 1_000_000), random(seed + 2_000_000)];
  const deployments: Address[] = [];
  for (const [i, machine] of MACHINES.entries()) if (i === 0 || r.int(2) === 0) world.machine(i + 1, operatorOf(machine), { memoryMib: 512 << r.int(4), gib: BigInt(r.int(4000)) });
  for (let k = 0; k < blocks; k++) {
    for (let i = r.int(6); i > 0; i--) actAtRandom(r, world, deployments);
    for (let i = holders.int(3); i > 0; i--) holdAtRandom(holders, world, TENANTS);
    for (let i = scalers.int(2); i > 0; i--) scaleAtRandom(scalers, world, TENANTS, deployments);
    world.ready(...MACHINES.filter(() => r.int(3) > 0));
    world.block(r.pick([0, 1, 3, 9, 10, 10, 11, 40]));
    const { applied, transactions } = world.history.at(-1)!;
    for (const [i, { body }] of transactions.entries()) if (applied.outcomes[i]!.ok) for (const [at, op] of body.ops.entries()) if (op.kind === "deploy" || op.kind === "runTask") deployments.push(deploymentIdOf(body.sender, body.nonce, at));
  }
  return deployments;
}

/** What went into each escrow, from the operations that were taken. */
function putInto(world: World): Map<string, bigint> {
  const put = new Map<string, bigint>();
  for (const { applied, transactions } of world.history) {
    for (const [i, { body }] of transactions.entries()) {
      if (!applied.outcomes[i]!.ok) continue;
      for (const [at, op] of body.ops.entries()) {
        if (op.kind === "deploy" || op.kind === "runTask") put.set(deploymentIdOf(body.sender, body.nonce, at).toHex(), op.deposit);
        if (op.kind === "topUp") put.set(op.deploymentId.toHex(), put.get(op.deploymentId.toHex())! + op.amount);
      }
    }
  }
  return put;
}

test("600 histories: conserved, nothing negative, taken back and replayed to the same root, and every tenant billed to the unit", () => {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= 600; seed++) {
    const world = new World({ accounts: 4, balance: 100n * TOKEN, parameters: seed % 4 === 0 ? "minimal" : "default" });
    const deployments = play(random(seed), world, 9, seed);
    for (let k = 0; k < 6; k++) world.block(10);
    const put = putInto(world);
    for (const id of deployments) {
      const bill = world.view.bill(id, world.second)!;
      assert.strictEqual(put.get(id.toHex()), bill.total + bill.balance + bill.refunded, `seed ${seed}`);
      assert.strictEqual(bill.total, bill.segments.reduce((sum, { rate, seconds }) => sum + rate * seconds, bill.earlier.amount), `seed ${seed}`);
      assert(bill.paid <= bill.total, `seed ${seed}`);
      const held = world.ledger.state.deployment(id);
      if (held === undefined) continue;
      // The same from the leaf alone: every line proven, and their sum.
      const proven = proveBill(decode(valueOf(held)) as readonly Cbor[], world.second, { lines: bill.segments, before: bill.earlier.digest });
      assert(proven.ok, `seed ${seed}: ${proven.ok ? "" : proven.message}`);
      assert.deepStrictEqual([proven.bill.total, proven.bill.paid, proven.bill.free, proven.bill.earlier, proven.bill.rate, proven.bill.dryAt], [bill.total, bill.paid, bill.balance, bill.earlier.amount, bill.ratePerSecond, bill.dryAt], `seed ${seed}`);
    }
    // Block by block `revert` asserts the root of before; then the same ledger, its slots used and freed, must do it all again.
    for (const { applied } of world.history.toReversed()) revert(world.ledger, applied.undo);
    const genesis = openLedger(world.genesis);
    assert.strictEqual(hex(world.ledger.state.root), hex(genesis.state.root), `seed ${seed}: undone to genesis`);
    const again = seed % 2 === 0 ? genesis : world.ledger;
    for (const [i, { applied, ...input }] of world.history.entries()) {
      const replayed = applyBlock(again, { ...input, height: i + 1 });
      assert(replayed.ok);
      assert.strictEqual(hex(replayed.stateRoot), hex(applied.stateRoot), `seed ${seed}, block ${i + 1}`);
    }
    for (const { applied } of world.history) for (const { kind } of applied.events) seen.set(kind, (seen.get(kind) ?? 0) + 1);
  }
  for (const kind of COUNTED) assert((seen.get(kind) ?? 0) > 10, `the histories reach ${kind} ${seen.get(kind)} times`);
});

test("histories of everything that a grid's parties do, every kind of operation taken many times: entities agree with each other, what comes on top is funded, and all of it can be taken back", () => {
  const taken = new Map<string, number>();
  for (let seed = 1; seed <= 24; seed++) {
    const faults = playParties(seed, undefined, (kind) => void taken.set(kind, (taken.get(kind) ?? 0) + 1), (world) => {
      for (const { applied } of world.history.toReversed()) revert(world.ledger, applied.undo);
      assert.strictEqual(hex(world.ledger.state.root), hex(openLedger(world.genesis).state.root), `seed ${seed}: undone to genesis`);
    });
    assert.deepStrictEqual(faults, [], `seed ${seed}`);
  }
  for (const kind of KINDS) assert((taken.get(kind) ?? 0) >= 3, `${kind} was taken ${taken.get(kind)} times`);
});

test("when all deployments are closed and time has passed, nothing of them is left, all machines retire, and every unit is an account's, the chain's or staked", () => {
  for (let seed = 3001; seed <= 3008; seed++) {
    const [r, world] = [random(seed), new World(GRID_WORLD)];
    settleGrid(r, world);
    for (let k = 0; k < 60; k++) playBlock(r, world);
    endGrid(world);
    const { state } = world.ledger;
    const left = [...state.entities()].filter(({ kind }) => kind === "deployment" || kind === "lease" || kind === "task" || kind === "scaling" || kind === "machine");
    assert.deepStrictEqual(left.map(({ kind }) => kind), [], `seed ${seed}`);
    assert.deepStrictEqual([state.lists.first("t"), state.lists.first("p"), state.lists.first("m"), state.lists.first("h"), state.lists.first("u")], [undefined, undefined, undefined, undefined, undefined], `seed ${seed}`);
    assert.deepStrictEqual([world.view.supply().escrows, world.view.supply().bonds], [0n, 0n], `seed ${seed}`);
  }
});

test("the audit, which walks every second by itself, agrees with what everybody did to the unit", async () => {
  for (let seed = 4001; seed <= 4012; seed++) {
    const [r, world] = [random(seed), new World({ ...GRID_WORLD, signed: true, parameters: seed % 3 === 0 ? "default" : "minimal" })];
    settleGrid(r, world);
    while (world.view.height < BLOCKS_OF_FIRST_EPOCH) playBlock(r, world);
    const report = await audit(apiOf(world, blocksOf(world), undefined, BigInt(seed % 50)));
    assert.deepStrictEqual(report.findings, [], `seed ${seed}`);
  }
});

test("40 histories: the audit, which walks every second by itself, agrees with the ledger to the unit", async () => {
  for (let seed = 2001; seed <= 2040; seed++) {
    const world = new World({ accounts: 4, balance: 100n * TOKEN, signed: true });
    play(random(seed), world, 20, seed);
    const report = await audit(apiOf(world, blocksOf(world), undefined, BigInt(seed % 50)));
    assert.deepStrictEqual(report.findings, [], `seed ${seed}`);
  }
});

test("no transaction that the codec lets through stops the chain: 4,000 extreme ones", () => {
  const world = new World({ accounts: 4, balance: 2n ** 61n });
  prepareProofs(world);
  for (const [i, machine] of MACHINES.entries()) world.machine(i + 1, operatorOf(machine));
  world.block();
  const { ledger } = world;
  const view = viewOf(ledger);
  const r = random(7);
  const known: Address[] = [];
  let at = world.genesis.timeMs + 1000n;
  let [taken, refused] = [0, 0];
  for (let k = 0; k < 400; k++) {
    const nonces = new Map<string, bigint>();
    const transactions = Array.from({ length: 10 }, () => {
      const sender = r.pick([...TENANTS, ...MACHINES]);
      const nonce = nonces.get(sender.id.toHex()) ?? view.account(sender.id)?.nonce ?? 0n;
      nonces.set(sender.id.toHex(), nonce + 1n);
      const ops = Array.from({ length: r.pick([1, 1, 3]) }, () => extremeOperation(r, known));
      const fee = r.int(8) === 0 ? 0n : feeFor(ledger.rules, 4096);
      known.push(deploymentIdOf(sender.id, nonce, 0));
      return decodeTransaction(signTransaction({ chainId: ledger.chainId, sender: sender.id, nonce, validUntilMs: at + 60_000n, fee, ops }, [sender.seed]));
    });
    at += BigInt(r.pick([200, 1000, 7000, 60_000]));
    const built = buildBlock(ledger, { height: view.height + 1, timeMs: at, moneySecond: nextMoneySecond(ledger, at), previousId: view.stateRoot, transactions });
    assert(built.ok);
    assert.strictEqual(faultOfLedger(ledger), null);
    taken += built.outcomes.filter(({ ok }) => ok).length;
    refused += built.outcomes.filter(({ ok }) => !ok).length;
    known.splice(0, known.length - 20);
  }
  // An `up` drawn at random has no witness.
  assert(taken > 40 && refused > 1500, `${taken} were taken and ${refused} refused`);
});
