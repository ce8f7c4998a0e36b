/** Revisions: a new one beside the old, promoted or rolled back by the ledger alone. Amounts are worked out by hand. */
import assert from "node:assert";
import { test } from "node:test";
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import type { LeaseView } from "#chain/ledger/view.ts";
import { type Address, address, digest } from "#chain/types.ts";
import { audit } from "#tools/audit.ts";
import { apiOf, blocksOf } from "./fakeApi.ts";
import { TOKEN, World, actor, bootId, comesUp, deployment } from "./world.ts";

const [tenant, operator, stranger] = [actor(1), actor(2), actor(3)];
const versionOf = (n: number): ReturnType<typeof digest> => digest(new Uint8Array(32).fill(n));
const id: Address = deploymentIdOf(tenant.id, 0n, 0);
const update = (changes: Partial<Extract<Operation, { kind: "update" }>> = {}): Operation =>
  ({ kind: "update", deploymentId: id, componentDigest: versionOf(8), configurationDigest: null, weight: 1000, healthySeconds: 10, deadlineSeconds: 60, failuresMax: 1, ...changes });

/** Three machines of one price that run a deployment since the last block; 164 units a second and lease. */
function running(replicas = 2, changes: Partial<Extract<Operation, { kind: "deploy" }>> = {}): { world: World; machines: ReturnType<typeof actor>[] } {
  const world = new World({ thorough: true, signed: true });
  const machines = [1, 2, 3].map((n) => world.machine(n, operator));
  world.block();
  world.send(tenant, [deployment("hello", { replicas, deposit: 100n * TOKEN, ...changes })]);
  world.block();
  world.ready(...machines);
  world.block();
  return { world, machines };
}
const now = (world: World): NonNullable<ReturnType<World["view"]["deployment"]>> => world.view.deployment(id)!;
const bill = (world: World): NonNullable<ReturnType<World["view"]["bill"]>> => world.view.bill(id, world.second)!;
const leases = (world: World, revision: number): readonly LeaseView[] => world.view.leasesOfDeployment(id).filter((lease) => lease.revision === revision);
const codeOf = (world: World): string => { const { ok, code } = world.history.at(-1)!.applied.outcomes[0]!; return ok ? "ok" : code!; };
const machineOf = (lease: LeaseView | undefined): ReturnType<typeof actor> => [1, 2, 3].map((n) => actor(1000 + n)).find((one) => one.id.toHex() === lease?.machine?.toHex())!;
const unhealthy = (world: World, lease: LeaseView | undefined, healthy: 0 | 1 = 0): void => void world.send(machineOf(lease), [{ kind: "health", deploymentId: id, index: lease!.index, healthy, cause: "status 500" }]);
async function auditHolds(world: World): Promise<void> {
  assert.deepStrictEqual((await audit(apiOf(world, blocksOf(world)))).findings, []);
}

test("a new version is placed beside the old, takes all requests when it is ready, and is promoted by the ledger alone after its seconds of health", async () => {
  const { world, machines } = running();
  world.block(10);
  world.send(tenant, [update()]);
  world.block(0);
  assert.deepStrictEqual([leases(world, 1).length, leases(world, 2).map(({ state }) => state)], [2, ["placed", "placed"]]);
  assert.strictEqual(now(world).rollout?.weightNow, 0);
  world.block(2);
  world.ready(...machines);
  world.block(1);
  assert.strictEqual(now(world).rollout?.weightNow, 1000);
  // Two leases for 10 + 2 + 1 s, then four for 10 s; nobody sends anything any more.
  assert.strictEqual(world.view.nextDueMoneySecond(), world.second + 10n);
  world.block(9);
  assert.strictEqual(now(world).revision, 1);
  world.block(1);
  assert.deepStrictEqual([now(world).revision, now(world).rollout, now(world).componentDigest], [2, null, versionOf(8)]);
  assert.deepStrictEqual(now(world).history.map(({ revision, componentDigest }) => [revision, componentDigest.toHex()]), [[1, versionOf(7).toHex()]]);
  assert.deepStrictEqual([leases(world, 1).length, leases(world, 2).map(({ state }) => state)], [0, ["ready", "ready"]]);
  world.block(5);
  assert.strictEqual(bill(world).total, 164n * (2n * 13n + 4n * 10n + 2n * 5n));
  assert.strictEqual(bill(world).ratePerSecond, 2n * 164n);
  await auditHolds(world);
});

test("what does not answer as it should is rolled back by the ledger itself, although the CLI is gone; what served serves on", async () => {
  const { world, machines } = running();
  world.send(tenant, [update({ failuresMax: 1 })]);
  world.block();
  world.ready(...machines);
  world.block(1);
  const [first, second] = leases(world, 2);
  unhealthy(world, first);
  world.block(1);
  assert.deepStrictEqual([now(world).rollout?.failures, now(world).rollout?.weightNow], [1, 0]);
  unhealthy(world, first, 1);
  world.block(1);
  assert.strictEqual(now(world).rollout?.weightNow, 1000);
  unhealthy(world, second);
  world.block(1);
  assert.deepStrictEqual([now(world).rollout, now(world).rolledBack, now(world).revision], [null, "unhealthy: status 500", 1]);
  assert.deepStrictEqual([leases(world, 1).map(({ state }) => state), leases(world, 2).length], [["ready", "ready"], 0]);
  assert(world.history.at(-1)!.applied.events.some((event) => event.kind === "rolledBack" && event.revision === 2));
  // Two leases from the start, 5 s ago; two more for the 3 s from their ready to the end.
  assert.strictEqual(bill(world).total, 164n * (2n * 5n + 2n * 3n));
  await auditHolds(world);
});

test("a machine that says unhealthy and healthy by turns is one failure of a rollout until the lease has begun elsewhere", async () => {
  const { world, machines } = running();
  world.send(tenant, [update({ failuresMax: 1, healthySeconds: 300, deadlineSeconds: 3_000 })]);
  world.block();
  world.ready(...machines);
  world.block(1);
  const [first] = leases(world, 2);
  for (let k = 0; k < 4; k++) {
    unhealthy(world, first, k % 2 === 0 ? 0 : 1);
    world.block(1);
    assert.strictEqual(now(world).rollout?.failures, 1);
  }
  unhealthy(world, first);
  const there = machineOf(first);
  for (let tries = 0; machineOf(leases(world, 2)[0]) === there; tries++) {
    assert(tries < 100);
    world.ready(...machines);
    world.block(1);
  }
  assert.strictEqual(now(world).rollout?.failures, 1);
  unhealthy(world, leases(world, 2)[0]);
  world.block(1);
  assert.deepStrictEqual([now(world).rollout, now(world).rolledBack], [null, "unhealthy: status 500"]);
  await auditHolds(world);
});

test("a revision that does not get ready is rolled back at its deadline, and one that fails on a machine too often at once", async () => {
  const { world, machines } = running(1);
  world.send(tenant, [update({ deadlineSeconds: 12 })]);
  world.block(1);
  world.block(9);
  world.block(2);
  assert.strictEqual(now(world).rollout?.revision, 2);
  world.block(1);
  assert.deepStrictEqual([now(world).rollout, now(world).rolledBack, leases(world, 2).length], [null, "deadline", 0]);
  world.send(tenant, [update({ failuresMax: 0 })]);
  world.block(1);
  assert.strictEqual(now(world).rollout?.revision, 3);
  const placed = leases(world, 3)[0]!;
  if (placed.machine === null) world.block(10);
  const there = leases(world, 3)[0]!;
  world.send(machineOf(there), [{ kind: "failed", deploymentId: id, index: there.index, cause: "trap" }]);
  world.block(1);
  assert.deepStrictEqual([now(world).rolledBack, now(world).state, now(world).failedMachines.length, leases(world, 1)[0]!.state], ["trap", "active", 0, "ready"]);
  assert(machines.every(({ id: machine }) => world.view.machine(machine)!.memoryMibUsed <= 64));
  await auditHolds(world);
});

test("a canary has its share of the leases and of the requests, then all leases, and is then promoted", async () => {
  const { world, machines } = running(4);
  world.send(tenant, [update({ weight: 250, healthySeconds: 5 })]);
  world.block(1);
  assert.strictEqual(leases(world, 2).length, 1);
  world.ready(...machines);
  world.block(1);
  assert.strictEqual(now(world).rollout?.weightNow, 250);
  world.block(5);
  assert.deepStrictEqual([leases(world, 2).length, now(world).rollout?.weightNow, now(world).revision], [4, 250, 1]);
  world.ready(...machines);
  world.block(1);
  world.block(5);
  assert.deepStrictEqual([now(world).revision, leases(world, 1).length, leases(world, 2).length], [2, 0, 4]);
  // Four for 13 s, one more for 5 + 1 + 5 s, three more for the last 5 s.
  assert.strictEqual(bill(world).total, 164n * (4n * 13n + 11n + 3n * 5n));
  await auditHolds(world);
});

test("promote ends the wait of a healthy revision, and no other; rollBack takes it back; neither does anything when none is on its way", async () => {
  const { world, machines } = running(1);
  for (const [op, code] of [[{ kind: "promote", deploymentId: id }, "no_rollout"], [{ kind: "rollBack", deploymentId: id }, "no_rollout"], [update({ weight: 1001 }), "bad_weight"], [update({ deadlineSeconds: 10 }), "bad_health_rule"],
    [update({ componentDigest: versionOf(7) }), "same_version"], [update(), "ok"], [update({ componentDigest: versionOf(9) }), "rollout_under_way"], [{ kind: "scale", deploymentId: id, replicas: 2 }, "rollout_under_way"],
    [{ kind: "promote", deploymentId: id }, "rollout_not_ready"]] as const) {
    world.send(tenant, [op]);
    world.block(0);
    assert.strictEqual(codeOf(world), code);
  }
  world.send(stranger, [{ kind: "rollBack", deploymentId: id }]);
  world.block(0);
  assert.strictEqual(codeOf(world), "not_owner");
  world.ready(...machines);
  world.block(1);
  world.send(tenant, [{ kind: "promote", deploymentId: id }]);
  world.block(1);
  assert.deepStrictEqual([codeOf(world), now(world).revision], ["ok", 2]);
  world.send(tenant, [update({ componentDigest: versionOf(9) }), { kind: "rollBack", deploymentId: id }]);
  world.block(1);
  assert.deepStrictEqual([codeOf(world), now(world).revision, now(world).rolledBack], ["ok", 2, "owner"]);
  await auditHolds(world);
});

test("an update that the escrow cannot pay beside what serves is refused, and one of an escrow that runs dry does nobody harm", async () => {
  const { world, machines } = running(1, { deposit: 164n * 125n });
  world.send(tenant, [update()]);
  world.block(1);
  assert.strictEqual(codeOf(world), "ok");
  world.ready(...machines);
  world.block(1);
  for (let k = 0; k < 16; k++) world.block(10);
  assert.strictEqual(now(world).state, "dry");
  assert.strictEqual(bill(world).total + bill(world).balance, 164n * 125n);
  const poor = running(1, { deposit: 164n * 119n });
  poor.world.send(tenant, [update()]);
  poor.world.block(1);
  assert.strictEqual(codeOf(poor.world), "insufficient_funds");
  await auditHolds(world);
});

test("the history holds the last eight versions, the newest first, and each of them once", () => {
  const { world, machines } = running(1);
  for (const n of [20, 21, 22, 20, 23, 24, 25, 26, 27, 28]) {
    world.send(tenant, [update({ componentDigest: versionOf(n), healthySeconds: 0 })]);
    world.block(1);
    world.ready(...machines);
    world.block(1);
    world.block(1);
    assert.deepStrictEqual(now(world).componentDigest, versionOf(n));
    world.block(3);
  }
  assert.deepStrictEqual(now(world).history.map(({ componentDigest }) => componentDigest[0]), [27, 26, 25, 24, 23, 20, 22, 21]);
});

test("a machine tells of the health of what is ready on it, and only what is new", () => {
  const { world } = running(1);
  const [lease] = leases(world, 1);
  const other = [1, 2, 3].map((n) => actor(1000 + n)).find((one) => one !== machineOf(lease))!;
  const tell = (who: ReturnType<typeof actor>, index: number, healthy: 0 | 1): string => {
    world.send(who, [{ kind: "health", deploymentId: id, index, healthy, cause: "" }]);
    world.block(0);
    return codeOf(world);
  };
  assert.deepStrictEqual([tell(other, 0, 0), tell(machineOf(lease), 1, 0), tell(machineOf(lease), 0, 1), tell(machineOf(lease), 0, 0), tell(machineOf(lease), 0, 0), tell(machineOf(lease), 0, 1)],
    ["not_ready_here", "not_ready_here", "health_known", "ok", "health_known", "ok"]);
});

test("a machine that reboots while a rollout runs costs it its seconds of health, and no more", async () => {
  const { world, machines } = running(1);
  world.send(tenant, [update()]);
  world.block(1);
  world.ready(...machines);
  world.block(1);
  const [lease] = leases(world, 2);
  const n = machineOf(lease).id;
  world.send(machineOf(lease), [comesUp(world.ledger, machineOf(lease), bootId(9, 9))]);
  world.block(4);
  assert.strictEqual(now(world).rollout?.healthyFrom, null);
  world.ready(...machines);
  world.block(1);
  world.block(10);
  assert.deepStrictEqual([now(world).revision, world.view.machine(n)?.state], [2, "up"]);
  await auditHolds(world);
});

test("operations of a deployment that is not there are refused", () => {
  const { world } = running(1);
  world.send(tenant, [{ kind: "rollBack", deploymentId: address(new Uint8Array(20)) }]);
  world.block(0);
  assert.strictEqual(codeOf(world), "unknown_deployment");
});

test("a revision that fails until it is paused does not keep out the one that mends it: that is placed, again where it is lost, and promoted, and nothing is paused any more", async () => {
  const { world, machines } = running(1, { memoryMib: 3000 });
  const [old] = leases(world, 1);
  const here = machineOf(old);
  // There is room for one lease: the new one waits for it.
  for (const machine of machines.filter((one) => one !== here)) world.send(operator, [{ kind: "drain", machine: machine.id, draining: 1 }]);
  world.send(tenant, [update()]);
  world.block(0);
  assert.deepStrictEqual(leases(world, 2).map(({ state }) => state), ["pending"]);
  for (let k = 0; k < 3; k++) {
    world.send(here, [{ kind: "failed", deploymentId: id, index: old!.index, cause: "trap" }]);
    world.block(0);
  }
  assert.deepStrictEqual([now(world).state, leases(world, 1)[0]!.state, leases(world, 2)[0]!.state], ["paused", "pending", "placed"]);
  world.ready(here);
  world.block(1);
  world.send(here, [comesUp(world.ledger, here, bootId(9, 9))]);
  world.block(0);
  assert.deepStrictEqual([now(world).state, leases(world, 1)[0]!.state, leases(world, 2)[0]!.state], ["paused", "pending", "placed"]);
  world.ready(here);
  world.block(1);
  world.block(10);
  assert.deepStrictEqual([now(world).state, now(world).revision, leases(world, 2)[0]!.state], ["active", 2, "ready"]);
  world.send(here, [comesUp(world.ledger, here, bootId(9, 10))]);
  world.block(0);
  assert.strictEqual(leases(world, 2)[0]!.state, "placed");
  await auditHolds(world);
});
