/** What somebody with a little money can do against the chain itself: blocks that take too long, and transactions that no block can take. */
import assert from "node:assert";
import { test } from "node:test";
import { type DecodedTransaction, type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import { applyBlock, buildBlock, feeFor, nextMoneySecond, revert } from "#chain/ledger/ledger.ts";
import { WORK_PER_BLOCK_MAX, WORK_PER_TRANSACTION_MAX } from "#chain/ledger/limits.ts";
import { type Actor, TOKEN, World, actor, bootId, comesUp, deployment } from "./world.ts";

const [tenant, operator, stranger] = [actor(1), actor(2), actor(3)];
const replicated = (): { world: World; machine: Actor; id: ReturnType<typeof deploymentIdOf> } => {
  const world = new World({ parameters: "default" });
  const machine = world.machine(1, operator, { memoryMib: 8192 });
  world.block();
  world.send(tenant, [deployment("wide", { memoryMib: 1, cpuMillis: 0, replicas: 256 })]);
  world.block();
  return { world, machine, id: deploymentIdOf(tenant.id, 0n, 0) };
};
const inputOf = (world: World, transactions: readonly DecodedTransaction[]): Parameters<typeof applyBlock>[1] => {
  const at = world.ledger.state.totals.timeMs + 200n;
  return { height: world.view.height + 1, timeMs: at, moneySecond: nextMoneySecond(world.ledger, at), previousId: world.view.stateRoot, transactions };
};

test("work that a refusal takes back counts: refused transactions cannot make a block of minutes", () => {
  const { world, id } = replicated();
  const resizes = Array.from({ length: 15 }, (_, k): Operation => ({ kind: "resize", deploymentId: id, memoryMib: 2 + (k % 2), cpuMillis: 0 }));
  const wanted = Array.from({ length: 40 }, () => world.send(tenant, [...resizes, { kind: "transfer", to: tenant.id, amount: 0n }]));
  const whole = applyBlock(world.ledger, inputOf(world, wanted));
  assert(!whole.ok && whole.code === "block_full");
  const built = buildBlock(world.ledger, inputOf(world, wanted));
  assert(built.ok && built.transactions.length >= 1 && built.transactions.length <= 2);
  assert.deepStrictEqual(built.outcomes.map(({ code }) => code), built.transactions.map(() => "bad_amount"));
  revert(world.ledger, built.undo);
});

test("accounts make no more leases in a block than a block places", () => {
  const world = new World({ parameters: "default" });
  world.machine(1, operator, { memoryMib: 8192 });
  world.block();
  const wanted = Array.from({ length: 40 }, (_, n) => world.send(tenant, [deployment(`d${n}`, { memoryMib: 1, cpuMillis: 0, replicas: 64 })]));
  const built = buildBlock(world.ledger, inputOf(world, wanted));
  assert(built.ok);
  assert.deepStrictEqual([built.transactions.length, built.events.filter(({ kind }) => kind === "placed").length], [4, 256]);
});

test("looking through many leases is work, even where nothing changes", () => {
  const { world, id } = replicated();
  const wanted = Array.from({ length: 100 }, () => world.send(stranger, Array.from({ length: 16 }, (): Operation => ({ kind: "topUp", deploymentId: id, amount: 1n }))));
  const built = buildBlock(world.ledger, inputOf(world, wanted));
  assert(built.ok && built.rejected.length === 0);
  // Each looks at 256 leases at least once: 32 units, and 4 changes.
  assert(built.transactions.length > 5 && built.transactions.length < WORK_PER_BLOCK_MAX.paid / (16 * 36) + 1, `${built.transactions.length}`);
});

test("a transaction of more work than a block may have is refused and pays, and holds up nobody", () => {
  const world = new World({ parameters: "default" });
  const machine = world.machine(1, operator, { memoryMib: 2048 });
  world.send(operator, [{ kind: "transfer", to: machine.id, amount: 10n * TOKEN }]);
  world.block();
  for (let k = 0; k < 64; k++) {
    if (k % 12 === 11) world.block();
    world.send(tenant, Array.from({ length: 16 }, (_, i) => deployment(`d${k}-${i}`, { memoryMib: 1, cpuMillis: 0, deposit: TOKEN / 1000n })));
  }
  for (let k = 0; k < 4; k++) world.block();
  const leases = world.view.leasesOfMachine(machine.id);
  assert.strictEqual(leases.length, 1024);
  const ready = leases.map(({ deploymentId, index, rate }): Operation => ({ kind: "ready", deploymentId, index, rate }));
  for (let k = 0; k < 64; k++) world.send(machine, ready.slice(16 * k, 16 * k + 16), { fee: feeFor(world.ledger.rules, 400) });
  world.block();
  world.block();
  const ups = world.send(machine, Array.from({ length: 16 }, (_, k): Operation => comesUp(world.ledger, machine, bootId(1, 1 + (k % 2)))));
  const other = world.send(stranger, [{ kind: "transfer", to: tenant.id, amount: 1n }]);
  const built = buildBlock(world.ledger, inputOf(world, [ups, other]));
  assert(built.ok);
  assert.deepStrictEqual(built.transactions, [ups, other]);
  assert.strictEqual(built.outcomes[1]!.ok, true);
  assert.deepStrictEqual(built.outcomes[0]!.code, "too_much_work");
  assert.strictEqual(world.view.leasesOfMachine(machine.id).length, 1024);
  revert(world.ledger, built.undo);
  // What an honest machine sends once fits.
  const built2 = buildBlock(world.ledger, inputOf(world, [world.send(machine, [comesUp(world.ledger, machine, bootId(1, 1))], { nonce: ups.body.nonce })]));
  assert(built2.ok && built2.outcomes[0]!.ok);
  assert(built2.events.filter(({ kind }) => kind === "ended").length === 1024 && WORK_PER_TRANSACTION_MAX.free > 1024 * 4);
});
