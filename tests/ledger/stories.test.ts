/** Short stories of one ledger: each names what somebody relies on. Amounts are worked out by hand. */
import assert from "node:assert";
import { test } from "node:test";
import { deploymentIdOf } from "#chain/codec/transaction.ts";
import type { Operation } from "#chain/codec/transaction.ts";
import type { Escrow } from "#chain/ledger/escrow.ts";
import { mayAbandon } from "#chain/ledger/leases.ts";
import { ABANDONED_SECONDS } from "#chain/ledger/limits.ts";
import type { Address } from "#chain/types.ts";
import { TOKEN, World, actor, bootId, comesUp, deployment, registration } from "./world.ts";

const [tenant, operator, stranger] = [actor(1), actor(2), actor(3)];
const firstOf = (n = 0): Address => deploymentIdOf(tenant.id, 0n, n);

/** A world in which the tenant's first deployment runs on as many machines, from its ready in the last block. */
function running(changes: Partial<Extract<Operation, { kind: "deploy" }>> = {}, machineCount = 1, options: ConstructorParameters<typeof World>[0] = {}): { world: World; id: Address; machines: ReturnType<typeof actor>[] } {
  const world = new World({ thorough: true, ...options });
  const machines = Array.from({ length: machineCount }, (_, i) => world.machine(i + 1, operator));
  world.block();
  world.send(tenant, [deployment("hello", changes)]);
  world.block();
  world.ready(...machines);
  world.block();
  return { world, id: firstOf(), machines };
}
const bill = (world: World, id: Address): NonNullable<ReturnType<World["view"]["bill"]>> => world.view.bill(id, world.second)!;
const lease = (world: World, id: Address, index = 0): ReturnType<World["view"]["leasesOfDeployment"]>[number] => world.view.leasesOfDeployment(id)[index]!;
const outcome = (world: World, i = 0): string => { const { ok, code } = world.history.at(-1)!.applied.outcomes[i]!; return ok ? "ok" : code!; };
const kinds = (world: World): string[] => world.history.at(-1)!.applied.events.map(({ kind }) => kind);

test("a deployment is placed in its block, runs from its ready, is paid by the second and gives the rest back", () => {
  const world = new World({ thorough: true });
  const machine = world.machine(1, operator);
  world.block();
  const deploy = world.send(tenant, [deployment("hello")]);
  world.block();
  const id = deploymentIdOf(tenant.id, 0n, 0);
  const [lease] = world.view.leasesOfDeployment(id);
  assert.strictEqual(lease?.state, "placed");
  // 64 MiB at 1024 per GiB·s and 0.1 core at 1000 per core·s.
  assert.strictEqual(lease.rate, 64n + 100n);
  assert.strictEqual(world.view.bill(id, world.second)?.total, 0n);
  world.block(3);
  world.ready(machine);
  world.block();
  assert.strictEqual(world.view.leasesOfDeployment(id)[0]?.state, "ready");
  world.block(7);
  assert.strictEqual(world.view.bill(id, world.second)?.total, 7n * 164n);
  assert.strictEqual(world.view.bill(id, world.second + 5n)?.total, 12n * 164n);
  const close = world.send(tenant, [{ kind: "close", deploymentId: id }]);
  world.block(3);
  assert.strictEqual(world.view.deployment(id)?.state, "closing");
  world.block(1);
  assert.strictEqual(world.view.nextDueMoneySecond(), world.second + 1n);
  world.block(1);
  assert.strictEqual(world.view.deployment(id), null);
  const bill = world.view.bill(id, world.second);
  assert.strictEqual(bill?.total, 10n * 164n);
  assert.strictEqual(bill.closed, true);
  assert.strictEqual(bill.refunded, 10n * TOKEN - 1640n);
  const fees = deploy.body.fee + close.body.fee;
  assert.strictEqual(world.view.account(tenant.id)?.balance, 1000n * TOKEN - fees - 1640n);
  // 5 % of 1,640 is the chain's.
  assert.strictEqual(world.view.account(operator.id)?.balance, 1000n * TOKEN - 20n * TOKEN - world.history[0]!.transactions[0]!.body.fee + 1640n - 82n);
});

test("resize, scale and top-up are billed to the second they happen in, whatever the order (tfchain bills the last size for the hour)", () => {
  const { world, id, machines } = running({ deposit: 100n * TOKEN });
  world.block(10);
  world.send(tenant, [{ kind: "resize", deploymentId: id, memoryMib: 1024, cpuMillis: 1000 }]);
  world.block(5);
  world.send(tenant, [{ kind: "scale", deploymentId: id, replicas: 2 }]);
  world.block(1);
  world.ready(...machines);
  world.block(1);
  world.send(tenant, [{ kind: "topUp", deploymentId: id, amount: 5n }, { kind: "resize", deploymentId: id, memoryMib: 64, cpuMillis: 100 }]);
  world.block(10);
  world.send(tenant, [{ kind: "scale", deploymentId: id, replicas: 1 }]);
  world.block(10);
  // 15 s at 164; then 2,024 on one lease for 1 + 1 + 10 s and on the other for 10 s; then 164, on two leases for 10 s.
  assert.strictEqual(bill(world, id).total, 15n * 164n + 12n * 2024n + 10n * 2024n + 20n * 164n);
  assert.strictEqual(bill(world, id).ratePerSecond, 164n);
});

test("a deployment that nobody touches is billed as exactly as one that is looked at every second", () => {
  const totals = [1, 2, 5, 10].map((step) => {
    const { world, id } = running({ deposit: 100n * TOKEN });
    for (let second = 0; second < 100; second += step) world.block(step);
    world.send(tenant, [{ kind: "close", deploymentId: id }]);
    world.block(1);
    world.block(5);
    return { bill: bill(world, id).total, operator: world.view.account(operator.id)!.balance, pool: world.ledger.state.totals.feePool };
  });
  assert.strictEqual(totals[0]!.bill, 101n * 164n);
  for (const each of totals) assert.deepStrictEqual(each, totals[0]);
});

test("a halted chain bills nobody: a block takes ten seconds of money time at most", () => {
  const { world, id } = running();
  world.block(3600);
  assert.strictEqual(bill(world, id).total, 10n * 164n);
});

test("a free machine still costs one unit a second, so that nothing lives for ever for nothing", () => {
  const world = new World();
  const machine = world.machine(1, operator, { gib: 0n, core: 0n });
  world.block();
  world.send(tenant, [deployment("free", { deposit: 6_000n })]);
  world.block();
  world.ready(machine);
  world.block();
  assert.strictEqual(bill(world, firstOf()).ratePerSecond, 1n);
  assert.strictEqual(world.view.nextDueMoneySecond(), world.second + 6_000n);
});

test("however cheap machines are, a lease is made only where there is money for a minute of it at a hundred units a second", () => {
  const world = new World();
  world.machine(1, operator, { gib: 0n, core: 0n });
  world.block();
  world.send(tenant, [deployment("wide", { memoryMib: 1, cpuMillis: 5_000, replicas: 256, deposit: 256n * 6_000n - 1n })]);
  world.send(tenant, [deployment("wide", { memoryMib: 1, cpuMillis: 5_000, replicas: 255, deposit: 256n * 6_000n - 1n })]);
  world.block();
  const codes = [0, 1].map((i) => outcome(world, i));
  world.send(tenant, [{ kind: "scale", deploymentId: deploymentIdOf(tenant.id, 1n, 0), replicas: 256 }]);
  world.send(tenant, [{ kind: "topUp", deploymentId: deploymentIdOf(tenant.id, 1n, 0), amount: 1n }, { kind: "scale", deploymentId: deploymentIdOf(tenant.id, 1n, 0), replicas: 256 }]);
  world.block();
  assert.deepStrictEqual([...codes, ...[0, 1].map((i) => outcome(world, i))], ["insufficient_funds", "ok", "insufficient_funds", "ok"]);
});

test("deploy is refused when the deposit is less than a minute at the cheapest rate there is", () => {
  const world = new World();
  world.machine(1, operator);
  world.block();
  world.send(tenant, [deployment("one", { deposit: 60n * 164n - 1n }), deployment("two")]);
  world.send(tenant, [deployment("one", { deposit: 60n * 164n })]);
  world.send(tenant, [deployment("much", { deposit: 10n ** 15n })]);
  world.block();
  assert.deepStrictEqual([0, 1, 2].map((i) => outcome(world, i)), ["insufficient_funds", "ok", "insufficient_funds"]);
  assert.strictEqual(world.view.deployments().items.length, 1);
});

test("an escrow runs dry in the second that was told, pays the operator all of it, and keeps what is less than a second", () => {
  const { world, id } = running({ deposit: 164n * 70n + 99n });
  const { dryAt } = bill(world, id);
  assert.strictEqual(dryAt, world.second + 70n);
  assert.strictEqual(world.view.nextDueMoneySecond(), dryAt);
  for (let k = 0; k < 8; k++) world.block(9);
  assert(world.second > dryAt);
  assert.strictEqual(lease(world, id).state, "waiting");
  assert.strictEqual(world.view.deployment(id)!.state, "dry");
  assert.strictEqual(bill(world, id).total, 164n * 70n);
  assert.strictEqual(bill(world, id).balance, 99n);
});

test("a top-up in the block in which the escrow runs dry reopens the leases where they were; one later places them anew", () => {
  for (const late of [false, true]) {
    const { world, id, machines } = running({ replicas: 2, deposit: 328n * 60n }, 2);
    const before = world.view.leasesOfDeployment(id).map(({ machine }) => machine!.toHex());
    for (let k = 0; k < 5; k++) world.block(10);
    if (late) world.block(10);
    world.send(stranger, [{ kind: "topUp", deploymentId: id, amount: 328n * 60n }]);
    world.block(late ? 1 : 10);
    assert.strictEqual(world.view.deployment(id)!.state, "active");
    assert.strictEqual(lease(world, id).state, late ? "placed" : "ready");
    if (late) continue;
    assert.deepStrictEqual(world.view.leasesOfDeployment(id).map(({ machine }) => machine!.toHex()), before);
    assert.strictEqual(bill(world, id).dryAt, world.second + 60n);
    assert.strictEqual(world.view.machine(machines[0]!.id)!.leases + world.view.machine(machines[1]!.id)!.leases, 2);
  }
});

test("a top-up that does not pay for a minute does not reopen", () => {
  const { world, id } = running({ deposit: 164n * 60n });
  for (let k = 0; k < 5; k++) world.block(10);
  world.send(tenant, [{ kind: "topUp", deploymentId: id, amount: 164n * 60n - 1n }]);
  world.block(10);
  assert.strictEqual(lease(world, id).state, "waiting");
  assert.strictEqual(lease(world, id).lastEnd, "unfunded");
  world.send(tenant, [{ kind: "topUp", deploymentId: id, amount: 1n }]);
  world.block(1);
  assert.strictEqual(lease(world, id).state, "placed");
});

test("a new boot id ends the old boot's leases at the second of the block before, and places them again in the same block", () => {
  const { world, id, machines } = running();
  const opened = world.second;
  world.block(4);
  const last = world.second;
  world.send(machines[0]!, [comesUp(world.ledger, machines[0]!, bootId(1, 0))]);
  world.block(1);
  assert.strictEqual(lease(world, id).state, "ready");
  world.send(machines[0]!, [comesUp(world.ledger, machines[0]!, bootId(1, 1))]);
  world.block(9);
  assert.strictEqual(lease(world, id).state, "placed");
  assert.strictEqual(bill(world, id).total, (last + 1n - opened) * 164n);
  assert.strictEqual(world.view.machine(machines[0]!.id)!.leases, 1);
});

test("a reboot takes back what a lease earned in this block's seconds even if it ended there", () => {
  const { world, id, machines } = running();
  world.block(5);
  world.send(tenant, [{ kind: "scale", deploymentId: id, replicas: 0 }]);
  world.send(machines[0]!, [comesUp(world.ledger, machines[0]!, bootId(1, 1))]);
  world.block(7);
  assert.strictEqual(bill(world, id).total, 5n * 164n);
});

test("no ready in time is a strike, a rest for the machine, and a new placement elsewhere", () => {
  const world = new World({ thorough: true });
  const machines = [world.machine(1, operator), world.machine(2, stranger)];
  world.block();
  world.send(tenant, [deployment("hello")]);
  world.block();
  const first = lease(world, firstOf()).machine!.toHex();
  assert.strictEqual(world.view.nextDueMoneySecond(), world.second + 5n);
  world.block(5);
  const struck = machines.find(({ id }) => id.toHex() === first)!;
  assert.strictEqual(world.view.machine(struck.id)!.strikes, 1);
  assert.strictEqual(world.view.machine(struck.id)!.placeableFrom, world.second + 10n);
  assert.strictEqual(lease(world, firstOf()).state, "placed");
  assert.notStrictEqual(lease(world, firstOf()).machine!.toHex(), first);
  world.ready(...machines);
  world.block(1);
  assert.strictEqual(lease(world, firstOf()).state, "ready");
});

test("with one machine the lease comes back to it after its rest; twice as long after the second strike; ready forgets them", () => {
  const world = new World({ thorough: true });
  const machine = world.machine(1, operator);
  world.block();
  world.send(tenant, [deployment("hello")]);
  world.block();
  world.block(5);
  assert.strictEqual(lease(world, firstOf()).state, "pending");
  assert.strictEqual(world.view.nextDueMoneySecond(), null);
  world.block(10);
  assert.strictEqual(lease(world, firstOf()).state, "placed");
  world.block(5);
  assert.strictEqual(world.view.machine(machine.id)!.placeableFrom, world.second + 20n);
  world.block(10);
  world.block(10);
  world.ready(machine);
  world.block(1);
  assert.strictEqual(world.view.machine(machine.id)!.strikes, 0);
});

test("a lease whose escrow cannot open it is no strike for the machine", () => {
  const world = new World();
  const machine = world.machine(1, operator);
  world.block();
  world.send(tenant, [deployment("hello", { replicas: 2, deposit: 2n * 60n * 164n })]);
  world.block();
  world.send(machine, [{ kind: "ready", deploymentId: firstOf(), index: 0, rate: 164n }]);
  world.block();
  world.block(1);
  // A second of the first replica is gone: the second one can no longer be paid for a minute.
  world.send(machine, [{ kind: "ready", deploymentId: firstOf(), index: 1, rate: 164n }]);
  world.block(1);
  assert.strictEqual(outcome(world), "insufficient_funds");
  world.block(5);
  assert.strictEqual(world.view.machine(machine.id)!.strikes, 0);
  assert.strictEqual(lease(world, firstOf(), 1).state, "waiting");
  assert.strictEqual(lease(world, firstOf(), 1).lastEnd, "unfunded");
});

test("a lease that lost its machine is replaced to the last second of the budget where that costs no more, and waits for a minute's money where it does", () => {
  for (const [gib, state] of [[1024n, "ready"], [4096n, "waiting"]] as const) {
    const world = new World({ thorough: true });
    const one = world.machine(1, operator);
    world.block();
    world.send(tenant, [deployment("hello", { deposit: 64n * 164n })]);
    world.block();
    world.ready(one);
    world.block();
    const two = world.machine(2, operator, { gib });
    for (let k = 0; k < 3; k++) world.block(10);
    world.send(one, [comesUp(world.ledger, one, bootId(1, 1)), { kind: "drain", machine: one.id, draining: 1 }]);
    world.block(1);
    world.ready(one, two);
    world.block(1);
    assert.strictEqual(lease(world, firstOf()).state, state);
    if (state === "waiting") continue;
    for (let k = 0; k < 4; k++) world.block(10);
    assert.strictEqual(world.view.deployment(firstOf())!.state, "dry");
    assert.strictEqual(bill(world, firstOf()).total, 64n * 164n);
  }
});

test("what nobody has paid for in a week, and can run nothing, anybody may close: leases take no room in the state for ever, and what is left is their owner's", () => {
  const { world, id, machines } = running({ replicas: 2, deposit: 2n * 61n * 164n + 5n }, 1, { thorough: false });
  const closes = (): string => {
    world.send(stranger, [{ kind: "close", deploymentId: id }]);
    world.block();
    return outcome(world);
  };
  /** As if the chain had gone on without anybody, until the next block is so long after the last touch. */
  const rests = (seconds: bigint): void => world.ledger.state.put({ ...world.ledger.state.totals, moneySecond: world.ledger.state.deployment(id)!.escrow.at + seconds - 1n });
  assert.strictEqual(closes(), "not_owner");
  for (let k = 0; k < 9; k++) world.block(10);
  assert.strictEqual(world.view.deployment(id)!.state, "dry");
  assert.strictEqual(closes(), "not_owner");
  rests(ABANDONED_SECONDS - 1n);
  assert.strictEqual(closes(), "not_owner");
  // Money for a minute of the least that its leases are reckoned at holds it.
  world.send(tenant, [{ kind: "topUp", deploymentId: id, amount: 2n * 60n * 100n - 6n }]);
  world.block();
  rests(ABANDONED_SECONDS);
  const before = world.view.account(tenant.id)!.balance;
  const { balance } = bill(world, id);
  assert.strictEqual(closes(), "ok");
  assert.deepStrictEqual([world.view.deployment(id), world.view.account(tenant.id)!.balance - before], [null, balance]);
  assert.deepStrictEqual(world.view.leasesOfMachine(machines[0]!.id), []);
});

test("what holds a minute's money for its leases, runs, or has something unpaid is nobody's but its owner's to close, however long it rests", () => {
  const { world, id } = running({ replicas: 1 }, 1, { thorough: false });
  const isAbandoned = (changes: Partial<Escrow>, replicas = 1): boolean => {
    const held = world.ledger.state.deployment(id)!;
    return mayAbandon({ ...held, replicas, escrow: { ...held.escrow, streams: [], rate: 0n, owed: 0n, at: 0n, balance: 0n, ...changes } }, ABANDONED_SECONDS, world.ledger.rules);
  };
  const stream = world.ledger.state.deployment(id)!.escrow.streams[0]!;
  assert.deepStrictEqual(
    [isAbandoned({}), isAbandoned({ balance: 5_999n }), isAbandoned({ balance: 6_000n }), isAbandoned({ balance: 6_000n }, 2), isAbandoned({ streams: [stream], rate: 1n }), isAbandoned({ ended: [{ ...stream, end: 1n }] }), isAbandoned({ at: 1n }), isAbandoned({}, 0)],
    [true, true, false, true, false, false, false, false],
  );
});

test("placement counts the money that placed leases will take: what cannot be paid beside them waits", () => {
  const world = new World();
  const [cheap, dear] = [world.machine(1, operator), world.machine(2, operator, { gib: 4096n })];
  world.block();
  world.send(tenant, [deployment("hello", { replicas: 2, deposit: 2n * 60n * 164n })]);
  world.block();
  assert.deepStrictEqual(world.view.leasesOfDeployment(firstOf()).map(({ state }) => state), ["placed", "waiting"]);
  assert.strictEqual(lease(world, firstOf(), 1).lastEnd, "unfunded");
  world.send(tenant, [{ kind: "topUp", deploymentId: firstOf(), amount: 60n * 192n }]);
  world.block();
  assert.strictEqual(lease(world, firstOf(), 1).rate, 256n + 100n);
  world.ready(cheap, dear);
  world.block();
  assert.deepStrictEqual(world.view.leasesOfDeployment(firstOf()).map(({ state }) => state), ["ready", "ready"]);
});

test("a deployment pauses after three machines failed, says why, and goes on when its owner acts", () => {
  const world = new World({ thorough: true });
  const machines = [1, 2, 3, 4].map((n) => world.machine(n, operator));
  world.block();
  world.send(tenant, [deployment("hello")]);
  world.block();
  const tried = new Set<string>();
  for (let k = 0; k < 3; k++) {
    const at = lease(world, firstOf()).machine!.toHex();
    tried.add(at);
    world.send(machines.find(({ id }) => id.toHex() === at)!, [{ kind: "failed", deploymentId: firstOf(), index: 0, cause: "trap: unreachable" }]);
    world.block();
  }
  assert.strictEqual(tried.size, 3);
  assert.strictEqual(world.view.deployment(firstOf())!.state, "paused");
  assert.strictEqual(world.view.deployment(firstOf())!.lastFailure, "trap: unreachable");
  assert.strictEqual(lease(world, firstOf()).state, "waiting");
  assert(kinds(world).includes("paused"));
  world.send(stranger, [{ kind: "topUp", deploymentId: firstOf(), amount: 1n }]);
  world.block();
  assert.strictEqual(lease(world, firstOf()).state, "waiting");
  world.send(tenant, [{ kind: "scale", deploymentId: firstOf(), replicas: 1 }]);
  world.block();
  assert.strictEqual(lease(world, firstOf()).state, "placed");
});

test("one machine that fails it for ever pauses nobody's deployment: it is placed elsewhere as soon as it can be, begins there, and its tries are counted anew", () => {
  const world = new World({ thorough: true });
  const [broken, honest] = [world.machine(1, operator), world.machine(2, stranger)];
  const drain = (draining: 0 | 1): void => void world.send(stranger, [{ kind: "drain", machine: honest.id, draining }]);
  drain(1);
  world.block();
  world.send(tenant, [deployment("hello", { deposit: 100n * TOKEN })]);
  world.block();
  const state = (): readonly string[] => [world.view.deployment(firstOf())!.state, lease(world, firstOf()).state];
  for (let round = 0; round < 3; round++) {
    for (let k = 0; k < 3; k++) {
      assert.strictEqual(lease(world, firstOf()).machine?.toHex(), broken.id.toHex());
      world.send(broken, [{ kind: "failed", deploymentId: firstOf(), index: 0, cause: "trap: unreachable" }]);
      world.block(1);
    }
    assert.deepStrictEqual(state(), ["paused", "pending"]);
    world.block(1);
    assert.deepStrictEqual(state(), ["paused", "pending"], "not where it failed");
    drain(0);
    world.block(1);
    assert.deepStrictEqual([...state(), lease(world, firstOf()).machine?.toHex()], ["paused", "placed", honest.id.toHex()]);
    world.ready(honest);
    world.block(1);
    assert.deepStrictEqual(state(), ["active", "ready"]);
    // It is gone for a while: the other one is tried again.
    drain(1);
    world.send(honest, [comesUp(world.ledger, honest, bootId(2, round + 1))]);
    world.block(1);
  }
});

test("failures that lie an hour apart do not add up", () => {
  const { world, id, machines } = running({ deposit: 100n * TOKEN }, 1, { thorough: false });
  for (let k = 0; k < 4; k++) {
    world.send(machines[0]!, [{ kind: "failed", deploymentId: id, index: 0, cause: "exit" }]);
    world.block(1);
    assert.strictEqual(world.view.deployment(id)!.state, "active");
    world.ready(machines[0]!);
    for (let second = 0; second < 3610; second += 10) world.block(10);
  }
});

test("a lease that ran and failed is paid up to the failure, and on a lone machine it is tried three times", () => {
  const { world, id, machines } = running();
  world.block(6);
  for (let k = 0; k < 3; k++) {
    assert.notStrictEqual(lease(world, id).state, "waiting");
    world.send(machines[0]!, [{ kind: "failed", deploymentId: id, index: 0, cause: "exit" }]);
    world.block(1);
  }
  assert.strictEqual(world.view.deployment(id)!.state, "paused");
  assert.strictEqual(bill(world, id).total, 7n * 164n);
});

test("an operator who raises prices just before a resize gets no more for it: the lease keeps its price", () => {
  const { world, id, machines } = running({ deposit: 100n * TOKEN });
  world.send(operator, [registration(world.ledger, machines[0]!, operator, { memoryMib: 4096, cpuMillis: 4000, gib: 1_024_000n, core: 1_000_000n, bond: 20n * TOKEN })]);
  world.send(tenant, [{ kind: "resize", deploymentId: id, memoryMib: 128, cpuMillis: 200 }]);
  world.block();
  assert.strictEqual(outcome(world, 1), "ok");
  assert.strictEqual(bill(world, id).ratePerSecond, 328n);
  world.send(tenant, [{ kind: "resize", deploymentId: id, memoryMib: 64, cpuMillis: 100 }]);
  world.block();
  assert.strictEqual(bill(world, id).ratePerSecond, 164n);
});

test("an operator's raise counts for new leases only; a cut too, until a resize takes it", () => {
  const { world, id, machines } = running({ deposit: 100n * TOKEN });
  const again = (gib: bigint): void => void world.send(operator, [registration(world.ledger, machines[0]!, operator, { memoryMib: 4096, cpuMillis: 4000, gib, core: 1000n, bond: 20n * TOKEN })]);
  again(10_240n);
  world.block();
  assert.strictEqual(bill(world, id).ratePerSecond, 164n);
  world.send(tenant, [{ kind: "scale", deploymentId: id, replicas: 2 }]);
  world.block();
  assert.strictEqual(lease(world, id, 1).rate, 740n);
  again(512n);
  world.block();
  world.send(tenant, [{ kind: "resize", deploymentId: id, memoryMib: 128, cpuMillis: 100 }]);
  world.block();
  assert.deepStrictEqual(world.view.leasesOfDeployment(id).map(({ rate }) => rate), [164n, 164n]);
});

test("a machine cannot say ready for another's lease, for another rate, or twice; nor claim what is not earned", () => {
  const { world, id, machines } = running({ replicas: 2 }, 2);
  world.send(tenant, [{ kind: "scale", deploymentId: id, replicas: 3 }]);
  world.block();
  const placed = lease(world, id, 2);
  const [own, other] = placed.machine!.toHex() === machines[0]!.id.toHex() ? [machines[0]!, machines[1]!] : [machines[1]!, machines[0]!];
  const ready = (rate: bigint): Operation => ({ kind: "ready", deploymentId: id, index: 2, rate });
  world.send(other, [ready(placed.rate)]);
  world.send(other, [{ kind: "failed", deploymentId: id, index: 2, cause: "" }]);
  world.send(own, [ready(placed.rate + 1n)]);
  world.send(own, [ready(placed.rate)]);
  world.send(own, [ready(placed.rate)]);
  world.send(own, [{ kind: "claim", deploymentId: id, index: 2 }], { fee: 20_000n });
  world.send(operator, [{ kind: "claim", deploymentId: id, index: 2 }]);
  // A machine's account has no money: its transaction with a fee cannot be in a block.
  const refused = world.tryBlock();
  assert(!refused.ok && refused.code === "insufficient_funds");
  world.send(other, [ready(placed.rate)]);
  world.send(other, [{ kind: "failed", deploymentId: id, index: 2, cause: "" }]);
  world.send(own, [ready(placed.rate + 1n)]);
  world.send(own, [ready(placed.rate)]);
  world.send(own, [ready(placed.rate)]);
  world.send(operator, [{ kind: "claim", deploymentId: id, index: 2 }]);
  world.block();
  assert.deepStrictEqual([0, 1, 2, 3, 4, 5].map((i) => outcome(world, i)), ["not_placed_here", "not_placed_here", "wrong_rate", "ok", "already_ready", "nothing_to_claim"]);
});

test("claim pays up to the hold ago; after a stall, and until its grace is over, only up to the block before it", () => {
  const { world, id } = running({ deposit: 100n * TOKEN });
  const opened = world.second;
  world.block(6);
  const before = world.second;
  const claim: Operation = { kind: "claim", deploymentId: id, index: 0 };
  world.send(operator, [claim]);
  world.block(9);
  assert.strictEqual(bill(world, id).paid, (before - opened) * 164n);
  world.send(operator, [claim]);
  world.block(6);
  assert.strictEqual(outcome(world), "nothing_to_claim");
  world.block(5);
  world.send(operator, [claim]);
  world.block(2);
  assert.strictEqual(bill(world, id).paid, (world.second - 2n - opened) * 164n);
});

test("names are one per account while a deployment is there, and free once it is closing", () => {
  const { world, id } = running();
  world.send(tenant, [deployment("hello")]);
  world.send(stranger, [deployment("hello")]);
  world.send(tenant, [{ kind: "close", deploymentId: id }]);
  world.send(tenant, [deployment("hello")]);
  world.send(tenant, [{ kind: "topUp", deploymentId: id, amount: 1n }]);
  world.block();
  assert.deepStrictEqual([0, 1, 2, 3, 4].map((i) => outcome(world, i)), ["name_taken", "ok", "ok", "ok", "deployment_closing"]);
  assert.notStrictEqual(world.view.deploymentByName(tenant.id, "hello")!.id.toHex(), id.toHex());
  assert.strictEqual(world.view.deploymentByName(tenant.id, "hell"), null);
});

/** 150 deployments of two leases that all run dry in the sixth block of ten seconds from now: 128 in that, 22 in the next. */
function manyThatRunDry(): World {
  const world = new World({ balance: 10_000n * TOKEN });
  const machine = world.machine(1, operator, { memoryMib: 65_536, cpuMillis: 64_000, gib: 102_400n, bond: 200n * TOKEN });
  world.block();
  for (let n = 0; n < 150; n += 10) {
    if (n === 20) world.block(1);
    world.send(tenant, Array.from({ length: 10 }, (_, i) => deployment(`d${n + i}`, { memoryMib: 1, cpuMillis: 0, replicas: 2, deposit: 12_000n })));
  }
  world.block(0);
  assert.strictEqual(world.view.leasesOfMachine(machine.id).length, 296);
  assert.strictEqual(world.view.nextDueMoneySecond(), world.second);
  world.block(0);
  assert.strictEqual(world.view.leasesOfMachine(machine.id).length, 300);
  // 300 readies are more than a machine's free share of one block.
  for (let left = 300; left > 0; left -= 64) {
    const ops = world.view.leasesOfMachine(machine.id).filter(({ state }) => state === "placed").slice(0, 64);
    for (let i = 0; i < ops.length; i += 16) world.send(machine, ops.slice(i, i + 16).map(({ deploymentId, index, rate }): Operation => ({ kind: "ready", deploymentId, index, rate })));
    world.block(0);
  }
  return world;
}

test("a top-up in the second in which an escrow runs dry reopens its leases even when that block had too many due events to close them", () => {
  const world = manyThatRunDry();
  for (let k = 0; k < 5; k++) world.block(10);
  for (const { id } of world.view.deployments({ limit: 1000 }).items) world.send(stranger, [{ kind: "topUp", deploymentId: id, amount: 12_000n }]);
  world.block(10);
  for (const { id } of world.view.deployments({ limit: 1000 }).items) assert.deepStrictEqual(world.view.leasesOfDeployment(id).map(({ state }) => state), ["ready", "ready"]);
  world.block(0);
  for (const { id } of world.view.deployments({ limit: 1000 }).items) assert.strictEqual(bill(world, id).ratePerSecond, 200n);
});

test("more due events than a block may have go on in the next, each at its own second", () => {
  const world = manyThatRunDry();
  const dry = world.view.deployments({ limit: 1000 }).items.map(({ id }) => bill(world, id).dryAt);
  assert.strictEqual(new Set(dry).size <= 2, true);
  for (let k = 0; k < 6; k++) world.block(10);
  const dried = (): number => world.history.at(-1)!.applied.events.filter(({ kind }) => kind === "dry").length;
  assert.strictEqual(dried(), 128);
  assert(world.view.nextDueMoneySecond()! <= world.second);
  world.block(0);
  assert.strictEqual(dried(), 22);
  for (const { id } of world.view.deployments({ limit: 1000 }).items) assert.strictEqual(bill(world, id).total, 12_000n);
});

test("a machine has its share of free operations in a block, and no more", () => {
  const world = new World();
  const machine = world.machine(1, operator);
  world.block();
  for (let k = 0; k < 4; k++) world.send(machine, Array.from({ length: 16 }, (): Operation => ({ kind: "failed", deploymentId: firstOf(), index: 0, cause: "" })));
  world.block();
  assert.strictEqual(outcome(world), "not_placed_here");
  for (let k = 0; k < 5; k++) world.send(machine, Array.from({ length: 16 }, (): Operation => ({ kind: "failed", deploymentId: firstOf(), index: 0, cause: "" })));
  const refused = world.tryBlock();
  assert(!refused.ok && refused.code === "free_share_used");
});

test("closed deployments stay readable for bills, and no more than 4,096 of them", () => {
  const world = new World({ balance: 10_000n * TOKEN });
  const first = deploymentIdOf(tenant.id, 0n, 0);
  for (let n = 0; n < 4112; n += 16) {
    const { nonce } = world.view.account(tenant.id)!;
    world.send(tenant, Array.from({ length: 16 }, (_, i) => deployment(`d${i}`, { deposit: 6_000n })));
    world.send(tenant, Array.from({ length: 16 }, (_, i): Operation => ({ kind: "close", deploymentId: deploymentIdOf(tenant.id, nonce, i) })));
    world.block(0);
  }
  assert.strictEqual(world.ledger.state.sizeOf("d"), 0);
  assert.strictEqual(world.ledger.state.sizeOf("z"), 4096);
  assert.strictEqual(world.view.bill(first, world.second), null);
});
