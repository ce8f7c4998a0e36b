/**
 * What other grids got wrong about money, one test each: the numbers are those of chain/ledger/BILLING.md. Amounts are worked out by hand.
 *
 * A replica of 64 MiB and a tenth of a core costs 164 a second here, one of 1 GiB and a core 2,024; a block adds ten seconds of money time at most.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deploymentIdOf } from "#chain/codec/transaction.ts";
import { PRESETS } from "#chain/constants.ts";
import { applyBlock } from "#chain/ledger/ledger.ts";
import type { BillView } from "#chain/ledger/view.ts";
import { type Address, hex } from "#chain/types.ts";
import { audit } from "#tools/audit.ts";
import { apiOf, blocksOf } from "./fakeApi.ts";
import { WITNESSES, beatOf, suspicion, wordsFor } from "./witnesses.ts";
import { type Actor, TOKEN, World, actor, bootId, comesUp, deployment, registration } from "./world.ts";

const [tenant, operator, stranger] = [actor(1), actor(2), actor(3)];
const [SMALL, LARGE] = [{ memoryMib: 64, cpuMillis: 100 }, { memoryMib: 1024, cpuMillis: 1000 }];
const [RATE, RATE_LARGE] = [164n, 2024n];
const id = deploymentIdOf(tenant.id, 0n, 0);
type World_ = { readonly world: World; readonly machines: readonly Actor[]; readonly opened: bigint };

/** The tenant's deployment, its replicas ready since the last block. */
function running(changes: Parameters<typeof deployment>[1] = {}, machineCount = 1, options: ConstructorParameters<typeof World>[0] = {}): World_ {
  const world = new World({ thorough: true, ...options });
  const machines = Array.from({ length: machineCount }, (_, n) => world.machine(n + 1, operator));
  world.block();
  world.send(tenant, [deployment("hello", { deposit: 100n * TOKEN, ...changes })]);
  world.block();
  world.ready(...machines);
  world.block();
  return { world, machines, opened: world.second };
}
const bill = (world: World, of: Address = id): BillView => world.view.bill(of, world.second)!;
const outcomes = (world: World): string[] => world.history.at(-1)!.applied.outcomes.map(({ ok, code }) => (ok ? "ok" : code!));
const seconds = (world: World, count: number, step = 10): void => { for (let n = 0; n < count; n += step) world.block(step); };
const minutes = (world: World, count: number): void => seconds(world, 60 * count);
const resize = (world: World, size: typeof SMALL): void => void world.send(tenant, [{ kind: "resize", deploymentId: id, ...size }]);
const balanceOf = (world: World, who: Actor): bigint => world.view.account(who.id)?.balance ?? 0n;
const auditOf = (world: World): Promise<{ readonly findings: readonly string[] }> => audit(apiOf(world, blocksOf(world)));

test("1. resize at minute 59: an hour costs each size for the seconds that it had it, up as down", () => {
  for (const [first, then, total] of [[SMALL, LARGE, 3_540n * RATE + 60n * RATE_LARGE], [LARGE, SMALL, 3_540n * RATE_LARGE + 60n * RATE]] as const) {
    const { world } = running(first);
    minutes(world, 58);
    seconds(world, 50);
    resize(world, then);
    world.block(10);
    minutes(world, 1);
    assert.equal(bill(world).total, total);
    assert.deepEqual(bill(world).segments.map(({ seconds: of }) => of), [3_540n, 60n]);
  }
});

test("2. the last stretch is collected: a close pays the seconds since the last payment as tokens, not as an event", () => {
  const { world } = running();
  const [before, pool] = [balanceOf(world, operator), world.view.supply().feePool];
  seconds(world, 37, 1);
  const { body } = world.send(tenant, [{ kind: "close", deploymentId: id }]);
  world.block(1);
  seconds(world, 5, 1);
  assert.equal(world.view.deployment(id), null);
  // 38 s at 164, of which a twentieth is the chain's.
  assert.deepEqual([balanceOf(world, operator) - before, world.view.supply().feePool - pool - body.fee], [38n * RATE - 311n, 311n]);
  assert.equal(bill(world).refunded, 100n * TOKEN - 38n * RATE);
});

test("4. open with too little: no capacity is held for a deposit of less than a minute, not for a second", () => {
  const world = new World({ thorough: true });
  const machine = world.machine(1, operator);
  world.block();
  world.send(tenant, [deployment("one", { deposit: 60n * RATE - 1n })]);
  world.send(tenant, [deployment("two", { deposit: 60n * RATE })]);
  world.send(tenant, [{ kind: "scale", deploymentId: deploymentIdOf(tenant.id, 1n, 0), replicas: 2 }]);
  world.block();
  assert.deepEqual(outcomes(world), ["insufficient_funds", "ok", "insufficient_funds"]);
  assert.deepEqual([world.view.machine(machine.id)!.leases, world.view.machine(machine.id)!.memoryMibUsed], [1, 64]);
});

test("5. an amount of zero: what costs nothing does not live for ever, and is not billed back when it costs something", () => {
  const world = new World({ thorough: true });
  const free = { memoryMib: 4096, cpuMillis: 4000, gib: 0n, core: 0n, bond: 20n * TOKEN };
  const machine = world.machine(1, operator, free);
  world.block();
  world.send(tenant, [deployment("hello", { deposit: 6_000n })]);
  world.block();
  world.ready(machine);
  world.block();
  minutes(world, 10);
  assert.equal(bill(world).total, 600n);
  world.send(operator, [registration(world.ledger, machine, operator, { ...free, gib: 1024n, core: 1000n })]);
  world.block(10);
  minutes(world, 10);
  assert.deepEqual([bill(world).total, bill(world).segments.length], [1_210n, 1]);
  minutes(world, 100);
  assert.deepEqual([bill(world).total, world.view.deployment(id)!.state], [6_000n, "dry"]);
});

test("6. one balance counted twice: a deposit is in one escrow, and an account opens no more than it has", () => {
  const world = new World({ balance: 10n * TOKEN });
  world.machine(1, stranger, { bond: TOKEN });
  world.block();
  world.send(tenant, [deployment("one", { deposit: 6n * TOKEN })]);
  world.send(tenant, [deployment("two", { deposit: 6n * TOKEN })]);
  world.block();
  assert.deepEqual(outcomes(world), ["ok", "insufficient_funds"]);
});

/** Four witnesses; the deployment runs on one of two machines since the last block. */
function watched(): { readonly world: World; readonly machine: Actor; readonly other: Actor; readonly boot: Uint8Array; readonly opened: bigint } {
  const world = new World({ thorough: true, signed: true, validators: 4 });
  const machines = [actor(1001), actor(1002)];
  for (const one of machines) world.send(operator, [registration(world.ledger, one, operator, { memoryMib: 4096, cpuMillis: 4000, gib: 1024n, core: 1000n, bond: 20n * TOKEN })]);
  world.block();
  for (const [n, one] of machines.entries()) world.send(one, [wordsFor(world, one, bootId(n + 1, 0), WITNESSES)]);
  world.block();
  world.send(tenant, [deployment("hello")]);
  world.block();
  world.ready(...machines);
  world.block();
  const machine = machines.find((one) => world.view.machine(one.id)!.leases === 1)!;
  return { world, machine, other: machines.find((one) => one !== machine)!, boot: world.view.machine(machine.id)!.bootId, opened: world.second };
}
/** Three of four have not heard the machine since this block, and it is `later` seconds later. */
function goesDown(world: World, machine: Actor, boot: Uint8Array, later: number): void {
  const beat = beatOf(world, machine, boot);
  world.block(later, { suspicions: [0, 1, 2].map((witness) => suspicion(world, witness, machine, { beat })) });
}

test("7. an offline machine: its stream ends with its last beat, and not a second of the hour that it is away is billed", async () => {
  const { world, machine, boot } = watched();
  world.block(4);
  goesDown(world, machine, boot, 3);
  assert.equal(world.view.machine(machine.id)!.state, "down");
  assert.equal(bill(world).total, 4n * RATE);
  minutes(world, 60);
  assert.equal(bill(world).segments.filter((one) => hex(one.machine) === hex(machine.id)).reduce((sum, one) => sum + one.amount, 0n), 4n * RATE);
  assert.deepEqual((await auditOf(world)).findings, []);
});

test("7. a claim by a dead machine, in the block that takes it down or later, pays up to its last beat at most", () => {
  for (const late of [false, true]) {
    const { world, machine, boot } = watched();
    world.block(4);
    const beat = beatOf(world, machine, boot);
    world.send(operator, [{ kind: "claim", deploymentId: id, index: 0 }]);
    if (late) {
      goesDown(world, machine, boot, 8);
      world.send(operator, [{ kind: "claim", deploymentId: id, index: 0 }]);
      world.block(8);
    } else world.block(8, { suspicions: [0, 1, 2].map((witness) => suspicion(world, witness, machine, { beat, at: { height: world.view.height, sinceMs: 0 } })) });
    world.block(8);
    world.send(operator, [{ kind: "claim", deploymentId: id, index: 0 }]);
    world.block(8);
    const { paid, segments } = bill(world);
    const ofMachine = segments.filter((one) => hex(one.machine) === hex(machine.id));
    // A claim reaches two seconds back (the hold): what it took before the proof came is the machine's, and no more follows.
    assert(paid <= 10n * RATE && ofMachine.every(({ end }) => end !== null), `${paid}`);
    assert.equal(ofMachine.reduce((sum, one) => sum + one.amount, 0n), paid);
  }
});

test("8. a loop that falls behind: there is none; an hour in which nobody touches anything is billed like one with a claim in every block", () => {
  const totals = [false, true].map((isTouched) => {
    const { world } = running();
    for (let n = 0; n < 360; n++) {
      if (isTouched) world.send(operator, [{ kind: "claim", deploymentId: id, index: 0 }]);
      world.block(10);
    }
    return bill(world).total;
  });
  assert.deepEqual(totals, [3_600n * RATE, 3_600n * RATE]);
});

test("10. partition of time: cut into blocks of 1, 2, 5 or 10 seconds, with payments in between or not, tenant, operator and chain have the same to the unit", () => {
  const ends = [1, 2, 5, 10].flatMap((step) => [0, 3].map((every) => {
    const { world } = running({ memoryMib: 65, cpuMillis: 33 });
    let claimFees = 0n;
    for (let n = 0; n < 600 / step; n++) {
      if (every > 0 && n % every === 0) claimFees += world.send(stranger, [{ kind: "claim", deploymentId: id, index: 0 }]).body.fee;
      world.block(step);
    }
    world.send(tenant, [{ kind: "close", deploymentId: id }]);
    world.block(1);
    world.block(5);
    return { bill: bill(world).total, refunded: bill(world).refunded, operator: balanceOf(world, operator), pool: world.view.supply().feePool - claimFees };
  }));
  assert.equal(ends[0]!.bill, 601n * (65n + 33n));
  for (const end of ends) assert.deepEqual(end, ends[0]);
});

test("11. a hole between two states: while a lease moves, and over a close, every second is in one segment and none in two", () => {
  const { world, machines, opened } = running({}, 2);
  world.block(7);
  world.send(tenant, [{ kind: "move", deploymentId: id, index: 0 }]);
  world.block(3);
  world.ready(...machines);
  world.block(2);
  world.block(9);
  world.send(tenant, [{ kind: "close", deploymentId: id }]);
  world.block(1);
  const { segments, total } = bill(world);
  assert.deepEqual(segments.map(({ openedAt, end }) => [openedAt - opened, end! - opened]), [[0n, 12n], [12n, 22n]]);
  assert.notEqual(hex(segments[0]!.machine), hex(segments[1]!.machine));
  assert.equal(total, 22n * RATE);
});

test("15. the machine alone sets the bill: it cannot raise a running rate, open at another one, be paid for another's lease or before it is due", () => {
  const { world, machines: [machine] } = running();
  world.send(operator, [registration(world.ledger, machine!, operator, { memoryMib: 4096, cpuMillis: 4000, gib: 10_240n, core: 10_000n, bond: 20n * TOKEN })]);
  world.send(machine!, [{ kind: "ready", deploymentId: id, index: 0, rate: 10n * RATE }]);
  world.block(1);
  world.send(stranger, [{ kind: "claim", deploymentId: id, index: 7 }]);
  world.block(1);
  seconds(world, 60, 1);
  assert.deepEqual([bill(world).total, bill(world).ratePerSecond], [62n * RATE, RATE]);
  world.send(operator, [{ kind: "claim", deploymentId: id, index: 0 }]);
  world.block(1);
  assert.equal(bill(world).paid, 61n * RATE, "up to the hold of two seconds ago");
});

test("16. chain halted for an hour, then resumed: the halt costs ten seconds at most, no escrow runs dry in it, and nothing has to be done by hand", async () => {
  const { world } = running({ deposit: 200n * RATE }, 1, { signed: true });
  seconds(world, 100);
  const { dryAt } = bill(world);
  world.block(3_600);
  assert.deepEqual([bill(world).total, bill(world).dryAt, world.view.deployment(id)!.state], [110n * RATE, dryAt, "active"]);
  seconds(world, 80);
  assert.equal(bill(world).total, 190n * RATE);
  seconds(world, 20);
  assert.deepEqual([bill(world).total, bill(world).balance, world.view.deployment(id)!.state], [200n * RATE, 0n, "dry"]);
  assert.deepEqual((await auditOf(world)).findings, []);
});

test("clock skew of ten minutes: a proposer ahead adds ten seconds of money time and no more, one behind makes no block, and what they did is not paid twice", () => {
  const { world } = running();
  world.block(600);
  assert.equal(bill(world).total, 10n * RATE);
  const { height, timeMs, moneySecond } = world.view;
  const behind = applyBlock(world.ledger, { height: height + 1, timeMs: timeMs - 600_000n, moneySecond, previousId: world.view.stateRoot, transactions: [] });
  assert(!behind.ok && behind.code === "wrong_time", behind.ok ? "" : behind.code);
  // Until the clocks of the others are there, blocks follow each other by fractions of a second: nobody is billed for them.
  for (let n = 0; n < 4; n++) world.block(0);
  assert.equal(bill(world).total, 10n * RATE);
});

test("rate change in the second in which the escrow is dry: it has run dry first, in full, and nothing is billed at the new rate before there is money", async () => {
  for (const size of [LARGE, { memoryMib: 1, cpuMillis: 1 }]) {
    const { world, machines, opened } = running({ deposit: 60n * RATE }, 1, { signed: true });
    seconds(world, 50);
    resize(world, size);
    world.block(10);
    assert.equal(world.second, opened + 60n);
    assert.deepEqual([bill(world).total, bill(world).ratePerSecond, bill(world).balance], [60n * RATE, 0n, 0n]);
    world.send(tenant, [{ kind: "topUp", deploymentId: id, amount: 100n * RATE_LARGE }]);
    world.block(1);
    world.ready(...machines);
    world.block(1);
    world.block(5);
    const [first, second] = bill(world).segments;
    assert.deepEqual([first!.amount, second!.seconds, second!.openedAt > first!.end!], [60n * RATE, 5n, true]);
    assert.equal(second!.rate, size === LARGE ? RATE_LARGE : 2n);
    assert.deepEqual((await auditOf(world)).findings, []);
  }
});

test("top-up after dry: in the block of that second the leases run on as new segments from it; later they are placed anew, and the time between is nobody's", () => {
  for (const late of [false, true]) {
    const { world, machines, opened } = running({ deposit: 60n * RATE });
    seconds(world, 50);
    if (late) seconds(world, 20);
    world.send(stranger, [{ kind: "topUp", deploymentId: id, amount: 100n * RATE }]);
    world.block(10);
    world.ready(...machines);
    world.block(1);
    world.block(9);
    const [first, second] = bill(world).segments;
    assert.deepEqual([first!.openedAt - opened, first!.end! - opened, second!.openedAt - opened], [0n, 60n, late ? 81n : 60n]);
    assert.equal(bill(world).total, 60n * RATE + (late ? 9n : 10n) * RATE);
  }
});

test("two machines with one key: the second boot ends the first one's segments, and no second is paid to both", async () => {
  const { world, machines: [machine], opened } = running({}, 1, { signed: true });
  world.block(10);
  world.send(machine!, [comesUp(world.ledger, machine!, bootId(9, 9))]);
  world.block(10);
  world.ready(machine!);
  world.block(1);
  // The first one is still there, and says so again: one of the two has the lease at a time.
  world.send(machine!, [comesUp(world.ledger, machine!, bootId(1, 0))]);
  world.block(5);
  world.ready(machine!);
  world.block(1);
  world.block(4);
  const spans = bill(world).segments.map(({ openedAt, end }) => [openedAt - opened, (end ?? world.second) - opened] as const);
  for (const [n, [from]] of spans.entries()) if (n > 0) assert(from >= spans[n - 1]![1], JSON.stringify(spans.map(String)));
  assert.equal(bill(world).total, spans.reduce((sum, [from, to]) => sum + (to - from), 0n) * RATE);
  world.send(stranger, [registration(world.ledger, machine!, stranger, { memoryMib: 4096, cpuMillis: 4000, gib: 1n, core: 1n, bond: 20n * TOKEN })]);
  world.block();
  assert.notEqual(outcomes(world)[0], "ok", "another operator cannot register it for himself");
  assert.deepEqual((await auditOf(world)).findings, []);
});

test("capacity sold twice: what one lease has no other gets, placed, running, moving or just left, and never beyond what the bond covers", () => {
  const world = new World({ thorough: true, balance: 10_000n * TOKEN });
  const machines = [world.machine(1, operator, { memoryMib: 1024, cpuMillis: 4000 }), world.machine(2, operator, { memoryMib: 1024, cpuMillis: 4000 })];
  world.block();
  world.send(tenant, [deployment("a", { memoryMib: 600, replicas: 2 }), deployment("b", { memoryMib: 600, replicas: 2 })]);
  const isWithin = (): void => {
    for (const { id: of } of machines) {
      const { memoryMibUsed, memoryMib, leases } = world.view.machine(of)!;
      assert(memoryMibUsed <= memoryMib);
      assert.equal(leases * 600, memoryMibUsed);
    }
  };
  world.block();
  isWithin();
  const states = (): string[] => [0, 1].flatMap((n) => world.view.leasesOfDeployment(deploymentIdOf(tenant.id, 0n, n)).map(({ state }) => state));
  assert.deepEqual(states().toSorted(), ["pending", "pending", "placed", "placed"]);
  world.ready(...machines);
  world.block(1);
  const first = world.view.leasesOfDeployment(id).find(({ state }) => state === "ready");
  world.send(tenant, [{ kind: "move", deploymentId: first === undefined ? deploymentIdOf(tenant.id, 0n, 1) : id, index: first?.index ?? 0 }]);
  for (let n = 0; n < 20; n++) {
    world.ready(...machines);
    world.block(2);
    isWithin();
  }
  assert.deepEqual(states().toSorted(), ["moving", "pending", "pending", "ready"], "there is nowhere to move to");
});

test("the presets share the rules that these stories play by: a hold, a minute of money, a bound on unpaid segments", () => {
  for (const rules of Object.values(PRESETS)) assert(rules.holdSeconds >= 2n && rules.runwaySecondsMin === 60n && rules.unpaidSegmentsMax === 8);
});
