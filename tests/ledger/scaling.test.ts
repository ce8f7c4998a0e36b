/**
 * Scaling in the ledger: stories with amounts by hand, rules of who may say what, and histories in which machines lie as they like. 4,096 MiB at
 * 1,024 a GiB·s and 1,000 a core·s: a lease of 64 MiB and 100 m costs 164 a second, and 9 on standby (5 %, rounded up).
 */
import assert from "node:assert";
import { test } from "node:test";
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import { committedRate } from "#chain/ledger/ceiling.ts";
import type { Applied } from "#chain/ledger/ledger.ts";
import type { LeaseView } from "#chain/ledger/view.ts";
import { type Address, address } from "#chain/types.ts";
import { audit } from "#tools/audit.ts";
import { apiOf, blocksOf } from "./fakeApi.ts";
import { RATE, STANDBY, type Stage, count, leases, say, settle, stage, tell, tenant } from "./scalingStage.ts";
import { TOKEN, World, actor, bootId, comesUp, deployment } from "./world.ts";
import { playScaling } from "#tests/simulation/scaling.ts";

const codes = ({ outcomes }: Applied): (string | undefined)[] => outcomes.map(({ code }) => code);
async function agrees({ world }: Pick<Stage, "world">): Promise<void> {
  assert.deepStrictEqual((await audit(apiOf(world, blocksOf(world)))).findings, []);
}

test("load up: the number goes up to its maximum, each step after its time and when the one before runs; load off: down to its minimum, slower", async () => {
  const on = stage({ machines: 6, max: 5 });
  const { world, id } = on;
  tell(on, 2);
  world.block(1);
  assert.strictEqual(world.view.scaling(id)!.due, world.second + 2n);
  const numbers: number[] = [];
  for (let k = 0; k < 12; k++) {
    world.block(1);
    if (k === 3) assert.strictEqual(count(on), 2, "what came last must run first");
    if (k >= 4) {
      settle(on);
      tell(on, 2);
    }
    numbers.push(count(on));
  }
  assert.deepStrictEqual([...new Set(numbers)], [1, 2, 3, 5]);
  assert.strictEqual(world.view.scaling(id)!.due, null, "at its maximum nothing more is due");
  const operators = leases(on).map(({ machine }) => world.view.machine(machine!)!.operator.toHex());
  assert.strictEqual(new Set(operators).size, 5);

  settle(on);
  tell(on, 0);
  world.block(1);
  const from = world.second;
  const downs = new Map<number, bigint>();
  for (let k = 0; k < 20; k++) {
    world.block(1);
    if (!downs.has(count(on))) downs.set(count(on), world.second - from);
  }
  assert.deepStrictEqual([...downs], [[5, 1n], [4, 4n], [3, 8n], [2, 12n], [1, 16n]]);
  assert.strictEqual(world.view.scaling(id)!.due, null);
  await agrees(on);
});

test("a standby lease costs a twentieth; a request wakes it, and it pays to the unit for the seconds in which it had some", async () => {
  const on = stage({ min: 0, options: { parameters: "default" } });
  const { world, id } = on;
  const [{ machine }] = leases(on) as [LeaseView & { machine: Address }];
  const opened = world.second;
  // Ready in second s, with a request until s + 3; told in s + 13.
  world.block(10);
  world.block(3);
  say(on, machine, { kind: "standby", deploymentId: id, index: 0, idleSeconds: 10 });
  world.block(0);
  assert.strictEqual(leases(on)[0]!.standbyRate, STANDBY);
  assert.strictEqual(leases(on)[0]!.rate, RATE);
  assert.strictEqual(world.view.bill(id, world.second)!.total, 3n * RATE);
  // On standby for 7 s, then awake for 4 with the last request in the first of them.
  world.block(7);
  say(on, machine, { kind: "wake", deploymentId: id, index: 0 });
  world.block(0);
  assert.strictEqual(leases(on)[0]!.standbyRate, null);
  world.block(4);
  say(on, machine, { kind: "standby", deploymentId: id, index: 0, idleSeconds: 60 });
  world.block(0);
  const bill = world.view.bill(id, world.second)!;
  assert.deepStrictEqual(bill.segments.map(({ rate, openedAt, end }) => [rate, openedAt - opened, end === null ? null : end - opened]), [
    [RATE, 0n, 3n], [STANDBY, 13n, 20n], [RATE, 20n, 21n], [STANDBY, 24n, null],
  ]);
  assert.strictEqual(bill.total, 3n * RATE + 7n * STANDBY + RATE);
  await agrees(on);
});

test("a machine that wakes a lease when it likes, and says how long it was idle as it likes, is paid at most what a replica costs that never sleeps, and never beyond the ceiling", async () => {
  const on = stage({ min: 0, max: 1, rateMax: RATE, deposit: 1_000n * RATE });
  const { world, id } = on;
  const [{ machine, index }] = leases(on) as [LeaseView & { machine: Address }];
  const from = world.second;
  for (let n = 0; n < 120; n++) {
    // Awake for as long as it may be without a lie that the ledger would refuse, and never idle.
    say(on, machine, n % 2 === 0 ? { kind: "standby", deploymentId: id, index, idleSeconds: 0 } : { kind: "wake", deploymentId: id, index });
    world.block(n % 2 === 0 ? 1 : 1 + (n % 9));
    const { total, ratePerSecond } = world.view.bill(id, world.second)!;
    assert(total <= RATE * (world.second - from) && ratePerSecond <= RATE);
    assert(committedRate(world.ledger.state, id) <= RATE);
  }
  // What is left pays it to its end, and not a second longer.
  for (let n = 0; n < 200 && world.view.deployment(id)!.state === "active"; n++) world.block(10);
  assert.strictEqual(world.view.deployment(id)!.state, "dry");
  assert(world.view.bill(id, world.second)!.total <= 1_000n * RATE);
  await agrees(on);
});

test("a lease that wakes without money for a minute of it ends; a top-up brings it back", async () => {
  const on = stage({ min: 0, deposit: RATE * 62n });
  const { world, id } = on;
  const [{ machine }] = leases(on) as [LeaseView & { machine: Address }];
  world.block(3);
  say(on, machine, { kind: "standby", deploymentId: id, index: 0, idleSeconds: 0 });
  world.block(0);
  say(on, machine, { kind: "wake", deploymentId: id, index: 0 });
  world.block(0);
  assert.deepStrictEqual([leases(on)[0]!.state, leases(on)[0]!.lastEnd], ["waiting", "unfunded"]);
  world.send(tenant, [{ kind: "topUp", deploymentId: id, amount: TOKEN }]);
  world.block();
  settle(on);
  assert.strictEqual(leases(on)[0]!.state, "ready");
  await agrees(on);
});

test("never beyond the ceiling: neither steps, nor dearer machines, nor a resize, nor a new revision, nor waking", async () => {
  const on = stage({ max: 4, rateMax: 3n * RATE });
  const { world, id } = on;
  for (let k = 0; k < 12; k++) {
    tell(on, 2);
    world.block(2);
    settle(on);
    assert(committedRate(world.ledger.state, id) <= 3n * RATE);
  }
  assert.strictEqual(count(on), 3);
  world.send(tenant, [{ kind: "resize", deploymentId: id, memoryMib: 65, cpuMillis: 100 }]);
  world.send(tenant, [{ kind: "update", deploymentId: id, componentDigest: world.view.deployment(id)!.componentDigest.map((byte) => byte + 1) as never, configurationDigest: null, weight: 1000, healthySeconds: 1, deadlineSeconds: 10, failuresMax: 1 }]);
  world.send(tenant, [{ kind: "autoscale", deploymentId: id, min: 1, max: 4, metric: 2, target: 100, rateMax: RATE }]);
  assert.deepStrictEqual(codes(world.block()), ["rate_above_ceiling", "rate_above_ceiling", "rate_above_ceiling"]);
  // All machines get dearer: what is lost finds none that fits.
  for (const [n, machine] of on.machines.entries()) {
    const { memoryMib, cpuMillis, region, bond } = world.view.machine(machine.id)!;
    const first = world.history[0]!.transactions.flatMap(({ body }) => body.ops).find((op) => op.kind === "registerMachine" && op.machineKey.toHex() === machine.key.toHex())!;
    world.send(actor(2 + n), [{ ...first, memoryMib, cpuMillis, region, bond, pricePerGibSecond: 5_000n, pricePerCoreSecond: 5_000n } as Operation]);
  }
  const lost = leases(on)[0]!;
  say(on, lost.machine!, { kind: "failed", deploymentId: id, index: lost.index, cause: "trap" });
  world.block();
  assert.strictEqual(leases(on)[0]!.state, "pending");
  await agrees(on);
});

test("scale by hand sets the number within the rule and is refused outside it, and while a new revision is on its way, when no step is taken", async () => {
  const on = stage({ machines: 4, max: 3 });
  const { world, id } = on;
  for (const replicas of [4, 0, 2]) world.send(tenant, [{ kind: "scale", deploymentId: id, replicas }]);
  assert.deepStrictEqual(codes(world.block()), ["outside_scaling", "outside_scaling", undefined]);
  settle(on);
  world.send(tenant, [{ kind: "update", deploymentId: id, componentDigest: world.view.deployment(id)!.componentDigest.map((byte) => byte + 1) as never, configurationDigest: null, weight: 100, healthySeconds: 8, deadlineSeconds: 60, failuresMax: 1 }]);
  world.block();
  world.send(tenant, [{ kind: "scale", deploymentId: id, replicas: 3 }]);
  world.send(tenant, [{ kind: "autoscale", deploymentId: id, min: 1, max: 2, metric: 2, target: 100, rateMax: 0n }]);
  assert.deepStrictEqual(codes(world.block()), ["rollout_under_way", "rollout_under_way"]);
  tell(on, 2);
  settle(on);
  for (let k = 0; k < 4; k++) world.block(1);
  assert.deepStrictEqual([count(on), world.view.deployment(id)!.rollout === null], [2, false]);
  for (let k = 0; k < 20 && world.view.deployment(id)!.rollout !== null; k++) {
    settle(on);
    world.block(2);
  }
  assert.strictEqual(world.view.deployment(id)!.rollout, null);
  tell(on, 2);
  for (let k = 0; k < 4; k++) world.block(2);
  assert.strictEqual(count(on), 3);
  await agrees(on);
});

test("one report for one crossing: a machine speaks of what it runs, when that has changed, and of one lease at most once in two seconds", () => {
  const on = stage({ min: 0 });
  const { world, id, machines } = on;
  const { machine } = leases(on)[0]!;
  const other = machines.find((one) => one.id.toHex() !== machine!.toHex())!;
  const load = (level: number): Operation => ({ kind: "load", deploymentId: id, index: 0, level });
  world.block();
  world.send(other, [load(2)]);
  for (const level of [1, 3, 2, 2, 0]) say(on, machine!, load(level));
  for (const index of [0, 1]) say(on, machine!, { kind: "wake", deploymentId: id, index });
  assert.deepStrictEqual(codes(world.block()), ["not_ready_here", "load_known", "bad_level", undefined, "load_known", "too_soon", "not_on_standby", "not_ready_here"]);
  say(on, machine!, { kind: "standby", deploymentId: id, index: 0, idleSeconds: 9 });
  say(on, machine!, { kind: "standby", deploymentId: id, index: 0, idleSeconds: 9 });
  say(on, machine!, load(2));
  assert.deepStrictEqual(codes(world.block()), [undefined, "on_standby", "on_standby"]);
  world.send(actor(2), [{ kind: "autoscale", deploymentId: id, min: 1, max: 2, metric: 0, target: 1, rateMax: 0n }]);
  for (const changes of [{ min: 3 }, { max: 257 }, { metric: 3 }, { target: 0 }, { target: 1_001 }]) world.send(tenant, [{ kind: "autoscale", deploymentId: id, min: 1, max: 2, metric: 0, target: 500, rateMax: 0n, ...changes }]);
  world.send(tenant, [{ kind: "autoscale", deploymentId: address(new Uint8Array(20)), min: 1, max: 2, metric: 0, target: 1, rateMax: 0n }]);
  assert.deepStrictEqual(codes(world.block()), ["not_owner", ...Array.from({ length: 5 }, () => "bad_scaling"), "unknown_deployment"]);
  // Without the rule nothing is on standby, and nothing is told.
  world.send(tenant, [{ kind: "autoscale", deploymentId: id, min: 0, max: 0, metric: 0, target: 0, rateMax: 0n }]);
  world.block();
  assert.deepStrictEqual([world.view.scaling(id), leases(on)[0]!.standbyRate], [null, null]);
  say(on, machine!, load(2));
  assert.deepStrictEqual(codes(world.block()), ["no_scaling"]);
});

test("a machine that lies moves the number within min..max alone, and what comes is placed with its operator last", () => {
  const world = new World({ accounts: 12, signed: true });
  // The liar's operator has the cheapest machines.
  const machines = [world.machine(0, actor(2), { gib: 1n, core: 1n }), world.machine(1, actor(2), { gib: 1n, core: 1n }), world.machine(2, actor(3))];
  world.block();
  const id = deploymentIdOf(tenant.id, 0n, 0);
  world.send(tenant, [deployment("web", { deposit: TOKEN }), { kind: "autoscale", deploymentId: id, min: 1, max: 2, metric: 2, target: 100, rateMax: 0n }]);
  world.block();
  const on = { world, id, machines };
  settle(on);
  for (let k = 0; k < 10; k++) {
    tell(on, 2);
    world.block(2);
    settle(on);
  }
  assert.deepStrictEqual(leases(on).map(({ machine }) => world.view.machine(machine!)!.operator.toHex()), [actor(2).id.toHex(), actor(3).id.toHex()]);
});

test("40 histories with machines that say what they like: within min..max and the ceiling after every block, and the audit agrees to the unit", async () => {
  const seen = new Map<string, number>();
  for (let seed = 1; seed <= 40; seed++) {
    assert.deepStrictEqual(await playScaling(seed, undefined, (kind) => void seen.set(kind, (seen.get(kind) ?? 0) + 1)), [], `seed ${seed}`);
  }
  for (const kind of ["scaled", "standby", "woken", "load", "scalingSet", "dry", "promoted", "moving"]) assert((seen.get(kind) ?? 0) > 5, `the histories reach ${kind} ${seen.get(kind)} times`);
});

test("a lease that moves while it is on standby is paid in full where it comes to, and does so only while there is money for a minute of that", async () => {
  const on = stage({ machines: 2, min: 0, deposit: RATE * 70n });
  const { world, id, machines } = on;
  const [{ machine }] = leases(on) as [LeaseView & { machine: Address }];
  const host = machines.findIndex((one) => one.id.toHex() === machine.toHex());
  world.block(2);
  say(on, machine, { kind: "standby", deploymentId: id, index: 0, idleSeconds: 0 });
  for (let k = 0; k < 20; k++) world.block(10);
  const { balance } = world.view.bill(id, world.second)!;
  assert(balance > 60n * STANDBY * 5n && balance < 60n * RATE);
  world.send(actor(2 + host), [{ kind: "drain", machine, draining: 1 }]);
  world.block();
  assert.deepStrictEqual([leases(on)[0]!.state, leases(on)[0]!.next], ["moving", null]);
  // It serves on, at what it paid, and moves when there is money.
  assert.strictEqual(leases(on)[0]!.standbyRate, STANDBY);
  world.send(tenant, [{ kind: "topUp", deploymentId: id, amount: 40n * RATE }]);
  world.block();
  assert.notStrictEqual(leases(on)[0]!.next, null);
  world.ready(...machines);
  world.block();
  assert.deepStrictEqual([leases(on)[0]!.state, leases(on)[0]!.standbyRate, world.view.bill(id, world.second)!.ratePerSecond], ["ready", null, RATE]);
  await agrees(on);
});

test("a step up that cannot be taken is due again seldom, and soon when what it waits for comes: money, the lease before it, the end of a rollout", async () => {
  const on = stage({ machines: 3, min: 1, max: 4, deposit: RATE * 100n });
  const { world, id } = on;
  const due = (): bigint => world.view.scaling(id)!.due! - world.second;
  tell(on, 2);
  world.block(1);
  assert.strictEqual(due(), 2n);
  world.block(2);
  assert.deepStrictEqual([count(on), due()], [1, 4n], "there is no money for another");
  world.block(4);
  assert.strictEqual(due(), 4n);
  world.send(tenant, [{ kind: "topUp", deploymentId: id, amount: TOKEN }]);
  world.block(1);
  assert.strictEqual(due(), 2n);
  world.block(2);
  assert.deepStrictEqual([count(on), due()], [2, 2n]);
  world.block(2);
  assert.deepStrictEqual([count(on), due()], [2, 4n], "the second does not run yet");
  settle(on);
  assert.strictEqual(due(), 2n);
  tell(on, 2);
  world.send(tenant, [{ kind: "update", deploymentId: id, componentDigest: world.view.deployment(id)!.componentDigest.map((byte) => byte + 1) as never, configurationDigest: null, weight: 100, healthySeconds: 60, deadlineSeconds: 600, failuresMax: 1 }]);
  world.block(2);
  world.block(2);
  assert.deepStrictEqual([count(on), due()], [2, 4n]);
  world.send(tenant, [{ kind: "rollBack", deploymentId: id }]);
  world.block(1);
  assert.strictEqual(due(), 2n);
  world.block(2);
  assert.strictEqual(count(on), 3);
  await agrees(on);
});

test("a lease whose machine is lost while it is on standby is replaced when there is money for a minute in full, not for a second of it", () => {
  const on = stage({ machines: 2, min: 0, deposit: RATE * 70n });
  const { world, id, machines } = on;
  const [{ machine }] = leases(on) as [LeaseView & { machine: Address }];
  const host = machines.find((one) => one.id.toHex() === machine.toHex())!;
  world.block(2);
  say(on, machine, { kind: "standby", deploymentId: id, index: 0, idleSeconds: 0 });
  for (let k = 0; k < 20; k++) world.block(10);
  world.send(host, [comesUp(world.ledger, host, bootId(9, 1))]);
  world.block();
  assert.deepStrictEqual([leases(on)[0]!.state, leases(on)[0]!.lastEnd], ["waiting", "unfunded"]);
});
