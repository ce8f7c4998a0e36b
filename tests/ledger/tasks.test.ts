/** Tasks: placed, run to an end, repeated, and paid to the second. Amounts are worked out by hand; 164 units a second. */
import assert from "node:assert";
import { test } from "node:test";
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import { TASK_KEPT_SECONDS, TASK_LOSSES_MAX } from "#chain/ledger/limits.ts";
import type { LeaseView, TaskView } from "#chain/ledger/view.ts";
import type { Address } from "#chain/types.ts";
import { audit } from "#tools/audit.ts";
import { apiOf, blocksOf } from "./fakeApi.ts";
import { type Actor, TOKEN, World, actor, bootId, comesUp, component } from "./world.ts";

const [tenant, operator] = [actor(1), actor(2)];
const id: Address = deploymentIdOf(tenant.id, 0n, 0);
const RATE = 164n;
const MACHINES = [1, 2, 3].map((n) => actor(1000 + n));
const runTask = (changes: Partial<Extract<Operation, { kind: "runTask" }>> = {}): Operation => ({
  kind: "runTask", name: "job", componentDigest: component, configurationDigest: null, memoryMib: 64, cpuMillis: 100, deposit: TOKEN, rateMax: 0n, isolation: 0,
  secondsMax: 60, attemptsMax: 1, backOffSeconds: 5, ...changes,
});

/** Three machines of one price; a task is placed on one since the last block. */
function placed(changes: Partial<Extract<Operation, { kind: "runTask" }>> = {}, thorough = true): World {
  const world = new World({ thorough, signed: thorough });
  for (const n of [1, 2, 3]) world.machine(n, operator);
  world.block();
  world.send(tenant, [runTask(changes)]);
  world.block();
  return world;
}
/** It runs since the last block. */
function running(changes: Partial<Extract<Operation, { kind: "runTask" }>> = {}, thorough = true): World {
  const world = placed(changes, thorough);
  world.ready(...MACHINES);
  world.block();
  return world;
}
const task = (world: World): TaskView => world.view.task(id)!;
const lease = (world: World): LeaseView | undefined => world.view.leasesOfDeployment(id)[0];
const holder = (world: World): Actor => MACHINES.find((one) => one.id.toHex() === lease(world)?.machine?.toHex())!;
const says = (world: World, exitCode: number, reason = "exit", run = task(world).runs): void => void world.send(holder(world), [{ kind: "taskEnded", deploymentId: id, run, exitCode, reason }]);
const codeOf = (world: World): string => { const { ok, code } = world.history.at(-1)!.applied.outcomes[0]!; return ok ? "ok" : code!; };
const bill = (world: World): NonNullable<ReturnType<World["view"]["bill"]>> => world.view.bill(id, world.second)!;
const balance = (world: World): bigint => world.view.account(tenant.id)!.balance;
async function auditHolds(world: World): Promise<void> {
  assert.deepStrictEqual((await audit(apiOf(world, blocksOf(world)))).findings, []);
}

test("a task runs to its end on a leased machine: exit code and reason are on the chain, and its lease closes in the second it ends and is billed to that second", async () => {
  const world = running();
  const before = balance(world);
  assert.deepStrictEqual([lease(world)?.state, task(world).phase, task(world).runs], ["ready", "running", 1]);
  world.block(7);
  says(world, 0);
  world.block(3);
  assert.deepStrictEqual([lease(world), task(world).phase, task(world).exitCode, task(world).reason, task(world).at], [undefined, "ended", 0, "exit", world.second]);
  assert.strictEqual(world.view.deployment(id)!.state, "ended");
  assert.deepStrictEqual(bill(world).segments.map(({ seconds, amount }) => [seconds, amount]), [[10n, 10n * RATE]]);
  assert.strictEqual(bill(world).ratePerSecond, 0n);
  assert.strictEqual(world.view.machine(MACHINES[0]!.id)!.leases + world.view.machine(MACHINES[1]!.id)!.leases + world.view.machine(MACHINES[2]!.id)!.leases, 0);
  // Two seconds later its operator is paid, and the rest of the deposit is the tenant's again.
  assert.strictEqual(balance(world), before);
  world.block(2);
  assert.deepStrictEqual([balance(world) - before, bill(world).refunded, bill(world).total, bill(world).paid], [TOKEN - 10n * RATE, TOKEN - 10n * RATE, 10n * RATE, 10n * RATE]);
  await auditHolds(world);
});

test("a task that fails runs again after its back-off, twice as long each time, until its attempts are used up; each run is paid alone", async () => {
  const world = running({ attemptsMax: 3, backOffSeconds: 4 });
  world.block(1);
  says(world, 3);
  world.block(1);
  assert.deepStrictEqual([task(world).phase, task(world).failures, task(world).exitCode, task(world).at - world.second, lease(world)?.state], ["resting", 1, 3, 4n, "waiting"]);
  assert.strictEqual(world.view.nextDueMoneySecond(), world.second + 2n);
  world.block(3);
  assert.strictEqual(lease(world)?.state, "waiting");
  world.block(1);
  assert.deepStrictEqual([task(world).phase, lease(world)?.state], ["placing", "placed"]);
  world.ready(...MACHINES);
  world.block(1);
  world.block(4);
  says(world, 134, "trap");
  world.block(1);
  assert.deepStrictEqual([task(world).failures, task(world).reason, task(world).at - world.second], [2, "trap", 8n]);
  world.block(8);
  world.ready(...MACHINES);
  world.block(1);
  says(world, 7);
  world.block(2);
  assert.deepStrictEqual([task(world).phase, task(world).runs, task(world).failures, task(world).exitCode, task(world).reason], ["ended", 3, 3, 7, "exit"]);
  assert.deepStrictEqual(bill(world).segments.map(({ seconds }) => seconds), [2n, 5n, 2n]);
  world.block(2);
  assert.strictEqual(bill(world).refunded, TOKEN - 9n * RATE);
  await auditHolds(world);
});

test("a run that is repeated goes to another machine while one qualifies, and a success ends what would have been repeated", async () => {
  const world = running({ attemptsMax: 5 });
  const first = holder(world);
  says(world, 1);
  world.block(1);
  world.block(5);
  assert.notStrictEqual(holder(world).id.toHex(), first.id.toHex());
  world.ready(...MACHINES);
  world.block(1);
  says(world, 0);
  world.block(1);
  assert.deepStrictEqual([task(world).phase, task(world).failures, task(world).exitCode], ["ended", 1, 0]);
  await auditHolds(world);
});

test("a task whose machine is gone is placed elsewhere in that block, paid up to the end that is proven, and that is no failed attempt", async () => {
  const world = running();
  const first = holder(world);
  world.block(5);
  // The machine comes back as another boot: what ran before ended with the block before.
  world.send(first, [comesUp(world.ledger, first, bootId(9, 1))]);
  world.block(3);
  assert.deepStrictEqual([task(world).phase, task(world).losses, task(world).failures, lease(world)?.state, lease(world)?.lastEnd], ["placing", 1, 0, "placed", "rebooted"]);
  assert.deepStrictEqual(bill(world).segments.map(({ seconds }) => seconds), [5n]);
  world.ready(...MACHINES);
  world.block(1);
  assert.deepStrictEqual([task(world).phase, task(world).runs], ["running", 2]);
  says(world, 0, "exit", 1);
  world.block(1);
  assert.deepStrictEqual([codeOf(world), task(world).phase], ["wrong_run", "running"]);
  says(world, 0);
  world.block(1);
  assert.deepStrictEqual([codeOf(world), task(world).phase, bill(world).total], ["ok", "ended", 7n * RATE]);
  await auditHolds(world);
});

test("what takes down every machine that it runs on is given up after sixteen", async () => {
  const world = running({ deposit: 10n * TOKEN });
  for (let loss = 1; loss <= TASK_LOSSES_MAX; loss++) {
    const machine = holder(world);
    world.send(machine, [comesUp(world.ledger, machine, bootId(loss, loss))]);
    world.block(1);
    if (loss < TASK_LOSSES_MAX) world.ready(...MACHINES);
    world.block(1);
  }
  assert.deepStrictEqual([task(world).phase, task(world).reason, task(world).losses, lease(world)], ["ended", "machines_lost", TASK_LOSSES_MAX, undefined]);
  world.block(2);
  await auditHolds(world);
});

test("a machine that says nothing of a run is not paid beyond the most that it may take and thirty seconds: that run failed", async () => {
  const world = running({ secondsMax: 12 });
  for (let block = 0; block < 4; block++) world.block(10);
  assert.strictEqual(task(world).phase, "running");
  assert.strictEqual(world.view.nextDueMoneySecond(), world.second + 2n);
  world.block(9);
  assert.deepStrictEqual([task(world).phase, task(world).reason, task(world).exitCode], ["ended", "wall_time_limit", 134]);
  // To the second, although the block came seven later.
  assert.strictEqual(bill(world).total, 42n * RATE);
  world.block(0);
  await auditHolds(world);
});

test("a task ends by the machine's word only where it runs, and only for the run that is under way", () => {
  const world = placed();
  const [machine, other] = [holder(world), MACHINES.find((one) => one !== holder(world))!];
  world.send(machine, [{ kind: "taskEnded", deploymentId: id, run: 0, exitCode: 0, reason: "exit" }]);
  world.block(1);
  assert.strictEqual(codeOf(world), "not_ready_here");
  world.ready(machine);
  world.block(1);
  world.send(other, [{ kind: "taskEnded", deploymentId: id, run: 1, exitCode: 0, reason: "exit" }]);
  world.block(1);
  assert.strictEqual(codeOf(world), "not_ready_here");
  world.send(tenant, [{ kind: "taskEnded", deploymentId: id, run: 1, exitCode: 0, reason: "exit" }], { fee: TOKEN });
  world.block(1);
  assert.strictEqual(codeOf(world), "not_ready_here");
  says(world, 0);
  world.block(1);
  assert.deepStrictEqual([codeOf(world), task(world).phase], ["ok", "ended"]);
});

test("what cannot even begin counts as a failed attempt, with its cause", async () => {
  const world = placed({ attemptsMax: 2 });
  world.send(holder(world), [{ kind: "failed", deploymentId: id, index: 0, cause: "compile_failed" }]);
  world.block(1);
  assert.deepStrictEqual([task(world).phase, task(world).reason, task(world).runs, task(world).failures], ["resting", "compile_failed", 0, 1]);
  world.block(5);
  world.send(holder(world), [{ kind: "failed", deploymentId: id, index: 0, cause: "compile_failed" }]);
  world.block(1);
  assert.deepStrictEqual([task(world).phase, bill(world).total, bill(world).refunded], ["ended", 0n, TOKEN]);
  await auditHolds(world);
});

test("a task is cancelled by removing it, while it runs and while it rests: the rest goes home and nothing is left of it", async () => {
  const running1 = running();
  running1.block(4);
  running1.send(tenant, [{ kind: "close", deploymentId: id }]);
  running1.block(1);
  assert.deepStrictEqual([running1.view.deployment(id)!.state, lease(running1)], ["closing", undefined]);
  running1.block(2);
  assert.deepStrictEqual([running1.view.deployment(id), running1.view.task(id), bill(running1).total, bill(running1).refunded], [null, null, 5n * RATE, TOKEN - 5n * RATE]);
  await auditHolds(running1);
  const resting = running({ attemptsMax: 2 });
  says(resting, 1);
  resting.block(1);
  resting.block(3);
  resting.send(tenant, [{ kind: "close", deploymentId: id }]);
  resting.block(1);
  assert.deepStrictEqual([resting.view.deployment(id), resting.view.task(id), resting.view.nextDueMoneySecond()], [null, null, null]);
  await auditHolds(resting);
});

test("what has ended can be read for a day of money time, its name is free at once, and then it goes by itself", () => {
  const world = running({}, false);
  says(world, 0);
  world.block(1);
  const ended = world.second;
  world.send(tenant, [runTask()]);
  world.block(2);
  assert.strictEqual(codeOf(world), "ok");
  assert.strictEqual(world.view.deployment(id)!.state, "ended");
  world.send(tenant, [{ kind: "close", deploymentId: deploymentIdOf(tenant.id, 1n, 0) }]);
  world.block(1);
  while (world.second < ended + TASK_KEPT_SECONDS - 10n) world.block(10);
  assert.strictEqual(task(world).exitCode, 0);
  world.block(10);
  assert.deepStrictEqual([world.view.deployment(id), world.view.task(id), bill(world).closed], [null, null, true]);
});

test("a task whose money runs out stops in that second, and begins anew when it is topped up; topped up in that block it goes on", async () => {
  const world = running({ deposit: 60n * RATE });
  for (let block = 0; block < 5; block++) world.block(10);
  world.block(9);
  world.block(3);
  assert.deepStrictEqual([world.view.deployment(id)!.state, task(world).phase, lease(world)?.state], ["dry", "placing", "waiting"]);
  world.send(tenant, [{ kind: "topUp", deploymentId: id, amount: 100n * RATE }]);
  world.block(2);
  world.ready(...MACHINES);
  world.block(1);
  assert.deepStrictEqual([task(world).phase, task(world).runs, task(world).failures], ["running", 2, 0]);
  says(world, 0);
  world.block(1);
  assert.strictEqual(bill(world).total, 61n * RATE);
  await auditHolds(world);
  const topped = running({ deposit: 60n * RATE, secondsMax: 300 });
  for (let block = 0; block < 6; block++) topped.block(9);
  topped.send(tenant, [{ kind: "topUp", deploymentId: id, amount: 100n * RATE }]);
  topped.block(8);
  assert.deepStrictEqual([task(topped).phase, task(topped).runs, lease(topped)?.state], ["running", 1, "ready"]);
  await auditHolds(topped);
});

test("a task is neither moved nor scaled, resized or updated, and a machine that is emptied lets it end", () => {
  const world = running();
  for (const op of [
    { kind: "scale", deploymentId: id, replicas: 2 }, { kind: "resize", deploymentId: id, memoryMib: 32, cpuMillis: 50 },
    { kind: "update", deploymentId: id, componentDigest: component, configurationDigest: id, weight: 0, healthySeconds: 1, deadlineSeconds: 2, failuresMax: 0 },
  ] as unknown as Operation[]) {
    if (op.kind === "update") (op as { configurationDigest: unknown }).configurationDigest = null;
    world.send(tenant, [op]);
    world.block(1);
    assert.strictEqual(codeOf(world), "is_task");
  }
  world.send(tenant, [{ kind: "move", deploymentId: id, index: 0 }]);
  world.block(1);
  assert.strictEqual(codeOf(world), "not_ready");
  const machine = holder(world);
  world.send(operator, [{ kind: "drain", machine: machine.id, draining: 1 }]);
  world.block(1);
  assert.deepStrictEqual([lease(world)?.state, lease(world)?.next], ["ready", null]);
  says(world, 0);
  world.block(1);
  assert.deepStrictEqual([task(world).phase, world.view.machine(machine.id)!.leases], ["ended", 0]);
  world.send(tenant, [{ kind: "topUp", deploymentId: id, amount: 1n }]);
  world.block(1);
  assert.strictEqual(codeOf(world), "task_ended");
});

test("a rule that nobody could keep is refused", () => {
  const world = placed();
  for (const wrong of [{ secondsMax: 0 }, { secondsMax: 86_401 }, { attemptsMax: 0 }, { attemptsMax: 101 }, { backOffSeconds: 0 }, { backOffSeconds: 3_601 }]) {
    world.send(tenant, [runTask({ name: "other", ...wrong })]);
    world.block(1);
    assert.strictEqual(codeOf(world), "bad_task");
  }
});
