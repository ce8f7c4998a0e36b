/** Leases that move, machines that are emptied, and where a lease may be. Amounts are worked out by hand. */
import assert from "node:assert";
import { test } from "node:test";
import { type Operation, deploymentIdOf, signMachineProof } from "#chain/codec/transaction.ts";
import { runDueEvents } from "#chain/ledger/due.ts";
import { faultOfLedger } from "#chain/ledger/ledger.ts";
import { listEntries } from "#chain/ledger/model.ts";
import { imageOf, ledgerFrom } from "#chain/ledger/snapshot.ts";
import type { LeaseView } from "#chain/ledger/view.ts";
import type { Address } from "#chain/types.ts";
import { audit } from "#tools/audit.ts";
import { apiOf, blocksOf } from "./fakeApi.ts";
import { TOKEN, World, actor, bootId, comesUp, deployment, registration } from "./world.ts";

const [tenant, operator, stranger] = [actor(1), actor(2), actor(3)];
const id: Address = deploymentIdOf(tenant.id, 0n, 0);

/** A deployment that runs on the first of two machines since the last block, at 164 a second; the second one is dearer: 228. */
function running(changes: Partial<Extract<Operation, { kind: "deploy" }>> = {}): { world: World; one: ReturnType<typeof actor>; two: ReturnType<typeof actor> } {
  const world = new World({ thorough: true, signed: true });
  const [one, two] = [world.machine(1, operator), world.machine(2, stranger, { gib: 2048n })];
  world.block();
  world.send(tenant, [deployment("hello", { deposit: 100n * TOKEN, ...changes })]);
  world.block();
  world.ready(one, two);
  world.block();
  return { world, one, two };
}
const lease = (world: World, index = 0): LeaseView => world.view.leasesOfDeployment(id)[index]!;
const bill = (world: World): NonNullable<ReturnType<World["view"]["bill"]>> => world.view.bill(id, world.second)!;
const codeOf = (world: World, i = 0): string => { const { ok, code } = world.history.at(-1)!.applied.outcomes[i]!; return ok ? "ok" : code!; };
const isOn = (view: LeaseView, machine: { id: Address }): boolean => view.machine?.toHex() === machine.id.toHex();
const used = (world: World, machine: { id: Address }): number => world.view.machine(machine.id)!.memoryMibUsed;
async function auditHolds(world: World): Promise<void> {
  assert.deepStrictEqual((await audit(apiOf(world, blocksOf(world)))).findings, []);
}
/** What is written down now and read back is the same ledger. */
function restores(world: World): void {
  const { slots, archives } = imageOf(world.ledger);
  const again = ledgerFrom(world.genesis, { slots, archives });
  assert.deepStrictEqual([again.state.root.toHex(), faultOfLedger(again)], [world.ledger.state.root.toHex(), null]);
}
const drain = (machine: { id: Address }, draining: 0 | 1 = 1): Operation => ({ kind: "drain", machine: machine.id, draining });

test("a drained machine's lease moves: the new copy is ready before the old one ends, and the tenant pays one of them", async () => {
  const { world, one, two } = running();
  world.block(10);
  world.send(operator, [drain(one)]);
  world.block(0);
  assert.deepStrictEqual([lease(world).state, isOn(lease(world), one), lease(world).next?.machine.toHex()], ["moving", true, two.id.toHex()]);
  assert.deepStrictEqual([used(world, one), used(world, two)], [64, 64]);
  world.block(3);
  assert.strictEqual(bill(world).ratePerSecond, 164n);
  world.ready(two);
  world.block(1);
  assert.deepStrictEqual([lease(world).state, isOn(lease(world), two), lease(world).last?.machine.toHex()], ["ready", true, one.id.toHex()]);
  assert.strictEqual(world.view.leasesOfMachine(one.id)[0]!.state, "leaving");
  world.block(2);
  assert.deepStrictEqual([used(world, one), used(world, two)], [64, 64]);
  // In `minimal` it has three seconds to end what it has begun.
  world.block(1);
  assert.deepStrictEqual([used(world, one), used(world, two), world.view.leasesOfMachine(one.id).length], [0, 64, 0]);
  assert.strictEqual(bill(world).total, 164n * 14n + 228n * 3n);
  await auditHolds(world);
});

test("an emptied machine is retired and its bond comes back; one in use is not, and nobody else can", async () => {
  const { world, one, two } = running();
  const before = world.view.account(operator.id)!.balance;
  world.send(stranger, [drain(one)]);
  world.send(operator, [drain(one), { kind: "retire", machine: one.id }]);
  world.block(0);
  assert.deepStrictEqual([codeOf(world), codeOf(world, 1)], ["not_owner", "machine_in_use"]);
  world.send(operator, [drain(one)]);
  world.block(0);
  world.ready(two);
  world.block(1);
  world.block(3);
  world.send(operator, [{ kind: "retire", machine: one.id }]);
  world.block(0);
  assert.deepStrictEqual([codeOf(world), world.view.machine(one.id)], ["ok", null]);
  // The bond, and one second at 164 less 5 %, less three fees.
  const fee = world.history[0]!.transactions[0]!.body.fee;
  assert.strictEqual(world.view.account(operator.id)!.balance, before + 20n * TOKEN + (164n - 8n) - 3n * fee);
  // What the machine's key signed before holds no more, its next word does.
  const offer = { memoryMib: 4096, cpuMillis: 4000, gib: 1024n, core: 1000n, bond: 20n * TOKEN };
  const again = { ...registration(world.ledger, one, operator, offer), ...signMachineProof(one.seed, world.ledger.chainId, operator.id) } as Operation;
  world.send(operator, [again]);
  world.block(0);
  assert.deepStrictEqual([codeOf(world), world.view.machine(one.id)], ["bad_proof", null]);
  world.send(operator, [registration(world.ledger, one, operator, offer)]);
  world.block(0);
  assert.deepStrictEqual([codeOf(world), world.view.machine(one.id)?.state], ["ok", "down"]);
  await auditHolds(world);
});

test("a machine that a lease has left says that nobody asks for it any more: its capacity is free before the time is over; nobody else can say so", async () => {
  const { world, one, two } = running();
  world.send(tenant, [{ kind: "move", deploymentId: id, index: 0 }]);
  world.block(0);
  world.send(one, [{ kind: "left", deploymentId: id, index: 0 }]);
  world.block(0);
  assert.strictEqual(codeOf(world), "not_leaving");
  world.ready(two);
  world.block(1);
  assert.deepStrictEqual([used(world, one), world.view.leasesOfMachine(one.id)[0]!.state], [64, "leaving"]);
  world.send(two, [{ kind: "left", deploymentId: id, index: 0 }]);
  world.send(one, [{ kind: "left", deploymentId: id, index: 1 }]);
  world.block(0);
  assert.deepStrictEqual([codeOf(world), codeOf(world, 1), used(world, one)], ["not_leaving", "not_leaving", 64]);
  world.send(one, [{ kind: "left", deploymentId: id, index: 0 }]);
  world.block(0);
  assert.deepStrictEqual([codeOf(world), used(world, one), used(world, two), lease(world).last, world.view.leasesOfMachine(one.id).length], ["ok", 0, 64, null, 0]);
  restores(world);
  world.block(5);
  await auditHolds(world);
});

test("a drain that is taken back leaves everything where it is", () => {
  const { world, one, two } = running();
  world.send(stranger, [drain(two)]);
  world.send(operator, [drain(one)]);
  world.block(0);
  assert.deepStrictEqual([lease(world).state, lease(world).next], ["moving", null]);
  world.send(operator, [drain(one, 0)]);
  world.block(0);
  assert.deepStrictEqual([lease(world).state, isOn(lease(world), one)], ["ready", true]);
  world.send(tenant, [deployment("more")]);
  world.block(0);
  assert(isOn(world.view.leasesOfDeployment(deploymentIdOf(tenant.id, 1n, 0))[0]!, one));
});

test("a machine that is about to go empties itself for nothing, and takes leases again when it comes up; its operator's word stands above its own", async () => {
  const { world, one, two } = running();
  world.send(one, [drain(one)]);
  world.block(0);
  assert.deepStrictEqual([codeOf(world), world.history.at(-1)!.transactions[0]!.body.fee, lease(world).state, world.view.machine(one.id)!.draining], ["ok", 0n, "moving", true]);
  restores(world);
  world.ready(two);
  world.block(1);
  assert(isOn(lease(world), two));
  world.send(one, [comesUp(world.ledger, one, bootId(1, 7))]);
  world.block(1);
  assert.strictEqual(world.view.machine(one.id)!.draining, false);
  world.send(operator, [drain(one)]);
  world.block(0);
  world.send(one, [drain(one, 0)]);
  world.block(0);
  world.send(one, [comesUp(world.ledger, one, bootId(1, 8))]);
  world.block(1);
  assert.strictEqual(world.view.machine(one.id)!.draining, true);
  world.send(two, [drain(one, 0)], { fee: 0n });
  world.block(0);
  assert.deepStrictEqual([codeOf(world), world.view.machine(one.id)!.draining], ["not_owner", true]);
  await auditHolds(world);
});

test("a machine that stays after all takes its own drain back", () => {
  const { world, one } = running();
  world.send(one, [drain(one)]);
  world.send(one, [drain(one, 0)]);
  world.block(0);
  assert.deepStrictEqual([codeOf(world, 1), lease(world).state, world.view.machine(one.id)!.draining], ["ok", "ready", false]);
});

test("a successor that does not get ready is a strike for its machine, and costs the tenant nothing: the lease runs on and looks again", async () => {
  const { world, one, two } = running();
  world.send(tenant, [{ kind: "move", deploymentId: id, index: 0 }]);
  world.block(0);
  assert.strictEqual(lease(world).next?.machine.toHex(), two.id.toHex());
  world.block(5);
  assert.deepStrictEqual([lease(world).state, isOn(lease(world), one), world.view.machine(two.id)!.strikes, used(world, two)], ["moving", true, 1, 0]);
  world.block(10);
  assert.strictEqual(lease(world).next?.machine.toHex(), two.id.toHex());
  assert.strictEqual(bill(world).total, 164n * 15n);
  await auditHolds(world);
});

test("when a machine goes while its lease moves, the lease is placed where it was going; when that machine goes, it looks again", async () => {
  const { world, one, two } = running();
  world.send(tenant, [{ kind: "move", deploymentId: id, index: 0 }]);
  world.block(1);
  world.send(two, [comesUp(world.ledger, two, bootId(2, 7))]);
  world.block(1);
  assert.deepStrictEqual([lease(world).state, lease(world).next?.placedAt], ["moving", world.second]);
  world.send(one, [comesUp(world.ledger, one, bootId(1, 7))]);
  world.block(1);
  assert.deepStrictEqual([lease(world).state, isOn(lease(world), two), lease(world).next], ["placed", true, null]);
  assert.deepStrictEqual([used(world, one), used(world, two)], [0, 64]);
  world.ready(two);
  world.block(1);
  assert.strictEqual(lease(world).state, "ready");
  await auditHolds(world);
});

test("a replica that does not answer as it should for thirty seconds moves; the next time it waits twice as long", async () => {
  const { world, one, two } = running();
  const tell = (machine: typeof one): void => void world.send(machine, [{ kind: "health", deploymentId: id, index: 0, healthy: 0, cause: "status 500" }]);
  tell(one);
  world.block(1);
  for (let k = 0; k < 3; k++) world.block(9);
  assert.strictEqual(lease(world).state, "ready");
  world.block(3);
  assert.deepStrictEqual([lease(world).state, lease(world).next?.machine.toHex()], ["moving", two.id.toHex()]);
  world.ready(two);
  world.block(1);
  tell(two);
  world.block(1);
  for (let k = 0; k < 6; k++) world.block(9);
  assert.strictEqual(lease(world).state, "ready");
  world.block(6);
  assert.deepStrictEqual([lease(world).state, lease(world).next?.machine.toHex()], ["moving", one.id.toHex()]);
  await auditHolds(world);
});

test("a resize while a lease moves takes the move back and starts it anew, with its new size", async () => {
  const { world, one, two } = running();
  world.send(tenant, [{ kind: "move", deploymentId: id, index: 0 }]);
  world.block(1);
  world.send(tenant, [{ kind: "resize", deploymentId: id, memoryMib: 128, cpuMillis: 100 }]);
  world.block(1);
  assert.deepStrictEqual([lease(world).state, used(world, one), used(world, two), lease(world).next?.rate], ["moving", 128, 128, 256n + 100n]);
  world.ready(two);
  world.block(1);
  world.send(tenant, [{ kind: "close", deploymentId: id }]);
  world.block(1);
  assert.deepStrictEqual([used(world, one), used(world, two)], [0, 0]);
  await auditHolds(world);
});

test("who may move a lease: its owner and its machine's operator, and only one that runs", () => {
  const { world, one } = running();
  for (const [who, index, code] of [[stranger, 0, "not_owner"], [tenant, 5, "not_ready"], [operator, 0, "ok"], [tenant, 0, "not_ready"]] as const) {
    world.send(who, [{ kind: "move", deploymentId: id, index }]);
    world.block(0);
    assert.strictEqual(codeOf(world), code);
  }
  world.send(stranger, [{ kind: "label", machine: one.id, labels: ["ssd"] }]);
  world.send(tenant, [drain({ id: tenant.id })], { fee: 20_000n });
  world.block(0);
  assert.deepStrictEqual([codeOf(world), codeOf(world, 1)].sort(), ["machine_unknown", "not_owner"]);
});

test("regions, operators and labels bound where a lease may go; replicas spread over operators before they share one", () => {
  const world = new World();
  const [a, b, c] = [world.machine(1, operator), world.machine(2, operator), world.machine(3, stranger, { gib: 9000n })];
  world.send(stranger, [{ kind: "label", machine: c.id, labels: ["ssd", "gpu"] }]);
  world.block();
  const constrained = (name: string, rule: Partial<Extract<Operation, { kind: "constrain" }>>, op: number): void => {
    const nonce = world.view.account(tenant.id)!.nonce;
    world.send(tenant, [deployment(name), { kind: "constrain", deploymentId: deploymentIdOf(tenant.id, nonce, 0), regions: [], operators: [], labels: [], ...rule }]);
    world.block();
    assert.strictEqual(codeOf(world, op), "ok");
  };
  const placedAt = (nonce: bigint): string | undefined => world.view.leasesOfDeployment(deploymentIdOf(tenant.id, nonce, 0))[0]!.machine?.toHex();
  constrained("labelled", { labels: ["gpu"] }, 0);
  constrained("theirs", { operators: [stranger.id] }, 0);
  constrained("moon", { regions: ["moon"] }, 0);
  assert.deepStrictEqual([placedAt(0n), placedAt(1n), placedAt(2n)], [c.id.toHex(), c.id.toHex(), undefined]);
  world.send(tenant, [deployment("spread", { replicas: 2 })]);
  world.block();
  const machines = world.view.leasesOfDeployment(deploymentIdOf(tenant.id, 3n, 0)).map(({ machine }) => machine?.toHex());
  assert([a, b].some((machine) => machine.id.toHex() === machines[0]) && machines[1] === c.id.toHex());
});

/** The lease has moved from the first machine to the second, and is asked to move again while the first one still ends what it had begun. */
function movedAndAskedAgain(): ReturnType<typeof running> {
  const stage = running();
  const { world, two } = stage;
  world.send(tenant, [{ kind: "move", deploymentId: id, index: 0 }]);
  world.block(0);
  world.ready(two);
  world.block(0);
  world.send(tenant, [{ kind: "move", deploymentId: id, index: 0 }]);
  world.block(0);
  assert.deepStrictEqual([lease(world).state, lease(world).next, lease(world).last?.machine.toHex()], ["moving", null, stage.one.id.toHex()]);
  return stage;
}

test("a lease that moves there and back: it goes back once where it was has ended what it had begun, not before", async () => {
  const { world, one, two } = movedAndAskedAgain();
  assert.deepStrictEqual([used(world, one), used(world, two)], [64, 64]);
  world.block(3);
  assert.deepStrictEqual([lease(world).next?.machine.toHex(), lease(world).last], [one.id.toHex(), null]);
  world.ready(one);
  world.block(0);
  assert.deepStrictEqual([lease(world).state, isOn(lease(world), one), lease(world).last?.machine.toHex()], ["ready", true, two.id.toHex()]);
  world.block(3);
  assert.deepStrictEqual([used(world, one), used(world, two)], [64, 0]);
  await auditHolds(world);
});

test("a lease that moves there and back, and either machine boots anew or fails it: nothing is held twice, and a snapshot of any moment comes back", async () => {
  for (const rebooted of [0, 1]) {
    const { world, one, two } = movedAndAskedAgain();
    const machine = [one, two][rebooted]!;
    restores(world);
    world.send(machine, [comesUp(world.ledger, machine, bootId(rebooted + 1, 7))]);
    world.block(1);
    restores(world);
    world.block(3);
    assert.deepStrictEqual([used(world, one), used(world, two)], rebooted === 0 ? [64, 64] : [64, 0]);
    await auditHolds(world);
  }
  const { world, one, two } = movedAndAskedAgain();
  world.send(two, [{ kind: "failed", deploymentId: id, index: 0, cause: "trap" }]);
  world.block(1);
  restores(world);
  assert.deepStrictEqual([lease(world).state, isOn(lease(world), one), used(world, one), used(world, two)], ["placed", true, 64, 0]);
});

test("what leads from a lease to a machine is one entry, also where it moves to the machine that it left", () => {
  const { world, one } = movedAndAskedAgain();
  const held = world.ledger.state.lease(id, 0)!;
  const entries = listEntries({ ...held, next: { machine: one.id, rate: 164n, placedAt: world.second } }, world.ledger.rules);
  assert.strictEqual(new Set(entries).size, entries.length);
});

test("a successor that could not say ready as the tenant changed its lease too often gets no strike", () => {
  for (const [unpaidSegmentsMax, strikes] of [[2, 1], [1, 0]] as const) {
    const { world, two } = running();
    world.send(tenant, [{ kind: "move", deploymentId: id, index: 0 }]);
    world.block(0);
    const { ledger: { state, rules, chainId }, second } = world;
    const then = second + rules.readySecondsMax;
    runDueEvents({
      state, rules: { ...rules, unpaidSegmentsMax }, chainId, height: world.view.height + 1, timeMs: world.view.timeMs, second: then, parentSecond: second,
      previousId: new Uint8Array(32), events: [], dry: new Set(), freeOperations: new Map(), keysBefore: new Map(),
    });
    assert.strictEqual(state.machine(two.id)!.strikes, strikes);
    assert.strictEqual(state.lease(id, 0)!.next, null);
  }
});

test("a machine is not retired while a new registration would forget its strikes or its downs; one down, once it has rested, does not keep it", () => {
  const { world, two } = running();
  const retireTwo = (seconds: number): string => {
    world.send(stranger, [{ kind: "retire", machine: two.id }]);
    world.block(seconds);
    return codeOf(world);
  };
  world.send(stranger, [drain(two, 0)]);
  world.send(tenant, [{ kind: "move", deploymentId: id, index: 0 }]);
  world.block(0);
  world.block(5);
  assert.strictEqual(world.view.machine(two.id)!.strikes, 1);
  world.send(stranger, [drain(two)]);
  world.block(0);
  assert.strictEqual(retireTwo(0), "machine_resting");
  for (let k = 0; k < 60; k++) world.block(10);
  assert.strictEqual(retireTwo(9), "machine_resting");
  assert.strictEqual(retireTwo(1), "ok");
});

/** In its last twenty seconds, on a machine that is being emptied and takes nothing again; what the others cost is given. */
function lastSeconds(...others: readonly bigint[]): { world: World; one: ReturnType<typeof actor>; machines: readonly ReturnType<typeof actor>[] } {
  const world = new World({ thorough: true });
  const machines = [1024n, ...others].map((gib, k) => world.machine(k + 1, operator, { gib }));
  world.block();
  world.send(tenant, [deployment("hello", { deposit: 164n * 60n, rateMax: 1_000n })]);
  world.block();
  world.ready(...machines);
  world.block();
  for (let k = 0; k < 4; k++) world.block(10);
  const one = machines.find((machine) => isOn(lease(world), machine))!;
  world.send(operator, [drain(one)]);
  return { world, one, machines };
}
const restart = (world: World, machine: ReturnType<typeof actor>): void => void world.send(machine, [comesUp(world.ledger, machine, bootId(9, 1))]);
const runsDry = (world: World): unknown[] => {
  for (let k = 0; k < 3; k++) world.block(10);
  return [world.view.deployment(id)!.state, bill(world).total];
};

test("in a deployment's last minute a drained machine's lease moves where it costs no more", () => {
  const { world, one, machines } = lastSeconds(1024n);
  world.block();
  world.ready(...machines);
  world.block(1);
  assert.deepStrictEqual([lease(world).state, isOn(lease(world), one)], ["ready", false]);
  assert.deepStrictEqual(runsDry(world), ["dry", 164n * 60n]);
});

test("a machine that goes in a deployment's last minute does not take it along: it is placed again, and again, with what is left, and runs until it is dry", () => {
  const { world, one, machines } = lastSeconds(1024n, 1024n);
  restart(world, one);
  world.block(1);
  assert.strictEqual(lease(world).state, "placed");
  const first = lease(world).machine!.toHex();
  // It does not get ready there, nor is its machine paid.
  world.block(5);
  assert.deepStrictEqual([lease(world).state, lease(world).machine!.toHex() === first, lease(world).lastEnd], ["placed", false, "not_ready"]);
  world.ready(...machines);
  world.block(1);
  assert.strictEqual(lease(world).state, "ready");
  assert.deepStrictEqual(runsDry(world), ["dry", 164n * 60n]);
});

test("a machine that goes in a deployment's last minute: where it would cost more it waits for its owner's money", () => {
  const { world, one, machines } = lastSeconds(2048n);
  restart(world, one);
  world.block(1);
  assert.deepStrictEqual([lease(world).state, lease(world).lastEnd], ["waiting", "unfunded"]);
  world.send(tenant, [{ kind: "topUp", deploymentId: id, amount: TOKEN }]);
  world.block();
  world.ready(machines[1]!);
  world.block();
  assert.deepStrictEqual([lease(world).state, lease(world).rate], ["ready", 228n]);
});
