/** Machines that go down and come up, in the ledger: each story names what somebody relies on. Amounts are worked out by hand. */
import assert from "node:assert";
import { test } from "node:test";
import { addressOf } from "#chain/codec/address.ts";
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import { buildBlock, nextMoneySecond } from "#chain/ledger/ledger.ts";
import { type Address, hex } from "#chain/types.ts";
import { audit } from "#tools/audit.ts";
import { apiOf, blocksOf } from "./fakeApi.ts";
import { type Actor, World, actor, bootId, deployment, registration, validatorActor } from "./world.ts";
import { WITNESSES, beatOf, idOf, suspicion, wordsFor } from "./witnesses.ts";

const [tenant, operator] = [actor(1), actor(2)];
const RATE = 164n;
const id = deploymentIdOf(tenant.id, 0n, 0);

/** Four validators, two machines, and a deployment that has run on one of them since the last block. */
function running({ host = null }: { host?: number | null } = {}): { world: World; machine: Actor; other: Actor; boot: Uint8Array } {
  const world = new World({ thorough: true, signed: true, validators: 4 });
  const machines = [actor(1001), actor(1002)];
  for (const one of machines) world.send(operator, [registration(world.ledger, one, operator, { memoryMib: 4096, cpuMillis: 4000, gib: 1024n, core: 1000n, bond: 20n * 10n ** 9n })]);
  world.block();
  for (const [n, one] of machines.entries()) world.send(one, [wordsFor(world, one, bootId(n + 1, 0), WITNESSES, { host: n === 0 ? host : null })]);
  world.block();
  world.send(tenant, [deployment("hello")]);
  world.block();
  world.ready(...machines);
  world.block();
  const machine = machines.find((one) => world.view.machine(one.id)!.leases === 1)!;
  return { world, machine, other: machines.find((one) => one !== machine)!, boot: world.view.machine(machine.id)!.bootId };
}
const leaseOf = (world: World): { state: string; machine: Address | null; lastEnd: string } => world.view.leasesOfDeployment(id)[0]!;

test("more than two thirds who name the same beat take a machine down: its stream ends at their median second, and the lease is placed elsewhere in that block", () => {
  const { world, machine, other, boot } = running();
  const opened = world.second;
  world.block(4);
  const beat = beatOf(world, machine, boot);
  const { height } = world.view;
  // 1, 0 and 2 whole seconds after the block at opened + 4: the lower median of three is the middle one.
  const suspicions = [1_200, 800, 2_100].map((sinceMs, witness) => suspicion(world, witness, machine, { beat, at: { height, sinceMs } }));
  const { events } = world.block(3, { suspicions });
  assert.strictEqual(world.second, opened + 7n);
  assert.strictEqual(world.view.bill(id, world.second)!.total, 5n * RATE);
  assert.deepStrictEqual(events.map(({ kind }) => kind), ["ended", "machine", "placed"]);
  assert.strictEqual(hex(leaseOf(world).machine!), idOf(other));
  assert.strictEqual(world.view.machine(machine.id)!.state, "down");
  // Its operator is paid those five seconds when the hold is over, and no more.
  world.block(2);
  world.block(1);
  assert.strictEqual(world.view.bill(id, world.second)!.paid, 5n * RATE);
});

test("two thirds are not more than two thirds, and what takes nobody down makes a block invalid and is left out of one that is built", () => {
  const { world, machine, boot } = running();
  world.block(2);
  const beat = beatOf(world, machine, boot);
  const cases: readonly (readonly [string, readonly Uint8Array[]])[] = [
    ["two of four", [0, 1].map((witness) => suspicion(world, witness, machine, { beat }))],
    ["three that name two beats", [0, 1, 2].map((witness) => suspicion(world, witness, machine, { beat: witness === 2 ? beatOf(world, machine, boot, 8) : beat }))],
    ["four, of which one is not needed as it comes twice", [0, 1, 2, 2].map((witness) => suspicion(world, witness, machine, { beat }))],
    ["a beat that the machine has not signed", [0, 1, 2].map((witness) => suspicion(world, witness, machine, { beat: { ...beat, number: 10 } }))],
    ["one in another's name", [suspicion(world, 0, machine, { beat }), suspicion(world, 1, machine, { beat }), suspicion(world, 1, machine, { beat: null })]],
    ["no suspicions at all", [Uint8Array.of(1, 2, 3)]],
  ];
  for (const [what, suspicions] of cases) {
    const result = world.tryBlock(1, { suspicions });
    assert(!result.ok && result.code === "suspicion_invalid", what);
  }
  const timeMs = world.view.timeMs + 1_000n;
  const all = [...WITNESSES.map((witness) => suspicion(world, witness, machine, { beat })), ...cases[4]![1], ...cases[5]![1]];
  const built = buildBlock(world.ledger, { height: world.view.height + 1, timeMs, moneySecond: nextMoneySecond(world.ledger, timeMs), previousId: world.view.stateRoot, suspicions: all, transactions: [] });
  assert(built.ok);
  assert.deepStrictEqual(built.suspicions, all.slice(0, 4));
});

test("suspicions of blocks that are more than ten seconds old, or of before the machine came up, take nobody down", () => {
  const { world, machine, boot } = running();
  world.block(1);
  const [beat, base] = [beatOf(world, machine, boot), world.view.height];
  world.block(5);
  world.block(6);
  const old = [0, 1, 2].map((witness) => suspicion(world, witness, machine, { beat, base }));
  const result = world.tryBlock(1, { suspicions: old });
  assert(!result.ok && result.code === "suspicion_invalid");
  const before = [0, 1, 2].map((witness) => suspicion(world, witness, machine, { beat }));
  world.block(1, { suspicions: before });
  assert.strictEqual(world.view.machine(machine.id)!.state, "down");
  world.block(1);
  world.send(machine, [wordsFor(world, machine, boot, WITNESSES)]);
  world.block(1);
  assert.strictEqual(world.view.machine(machine.id)!.state, "up");
  const again = world.tryBlock(1, { suspicions: before });
  assert(!again.ok && again.code === "suspicion_invalid");
});

test("up needs two thirds of the witnesses, who answered after the machine went down", () => {
  const { world, machine, boot } = running();
  world.block(2);
  const early = world.view.height;
  world.block(1, { suspicions: [0, 1, 2].map((witness) => suspicion(world, witness, machine, { beat: beatOf(world, machine, boot) })) });
  const attempts: readonly (readonly [string, Operation])[] = [
    ["not_witnessed", { kind: "up", bootId: boot, consensusKey: null, binding: null, acknowledgements: [] }],
    ["not_witnessed", wordsFor(world, machine, boot, [0, 1])],
    ["not_witnessed", wordsFor(world, machine, boot, [0, 1, 1])],
    ["not_witnessed", wordsFor(world, machine, boot, WITNESSES, { height: early })],
    ["bad_proof", { ...(wordsFor(world, machine, boot, WITNESSES, { host: 1 }) as Extract<Operation, { kind: "up" }>), consensusKey: validatorActor(2).key }],
    ["ok", wordsFor(world, machine, boot, [1, 2, 3])],
  ];
  for (const [code, op] of attempts) {
    world.send(machine, [op]);
    const [outcome] = world.block(0).outcomes;
    assert.strictEqual(outcome!.ok ? "ok" : outcome!.code, code);
  }
  assert.strictEqual(world.view.machine(machine.id)!.state, "up");
});

test("after the first down of an hour nothing is placed there for ten seconds, after the second for twenty", () => {
  const { world, machine, boot } = running();
  for (const seconds of [10n, 20n]) {
    world.block(2);
    world.block(1, { suspicions: [0, 1, 2].map((witness) => suspicion(world, witness, machine, { beat: beatOf(world, machine, boot) })) });
    assert.strictEqual(world.view.machine(machine.id)!.placeableFrom, world.second + seconds);
    world.block(1);
    world.send(machine, [wordsFor(world, machine, boot, WITNESSES)]);
    world.block(1);
  }
  // A new registration would forget them; that of a machine that went down once is let go when it has rested.
  for (let k = 0; k < 5; k++) world.block(10);
  world.send(operator, [{ kind: "retire", machine: machine.id }]);
  assert.strictEqual(world.block(0).outcomes[0]!.code, "machine_resting");
});

test("a machine that went down once, as one that lost its key, is retired once it has rested", () => {
  const { world, machine, boot } = running();
  world.block(2);
  world.block(1, { suspicions: [0, 1, 2].map((witness) => suspicion(world, witness, machine, { beat: beatOf(world, machine, boot) })) });
  world.block(9);
  for (const code of ["machine_resting", undefined]) {
    world.send(operator, [{ kind: "retire", machine: machine.id }]);
    assert.strictEqual(world.block(code === undefined ? 1 : 0).outcomes[0]!.code, code);
  }
});

test("the validator that a machine hosts is no witness of it: all of three others must be silent", () => {
  const { world, machine, other, boot } = running({ host: 3 });
  // Only the first of the two machines hosts it.
  const [hosting, bootHosting] = idOf(machine) === idOf(actor(1001)) ? [machine, boot] : [other, world.view.machine(other.id)!.bootId];
  world.block(2);
  const beat = beatOf(world, hosting, bootHosting);
  assert.strictEqual(world.view.liveness().machines.get(idOf(hosting))!.validator, hex(addressOf(validatorActor(3).key)));
  const withIts = world.tryBlock(1, { suspicions: [0, 1, 3].map((witness) => suspicion(world, witness, hosting, { beat })) });
  assert(!withIts.ok && withIts.code === "suspicion_invalid");
  world.block(1, { suspicions: [0, 1, 2].map((witness) => suspicion(world, witness, hosting, { beat })) });
  assert.strictEqual(world.view.machine(hosting.id)!.state, "down");
});

test("another boot id ends what ran before at the latest second that more than a third of the witnesses vouch for", () => {
  const { world, machine, boot } = running();
  world.block(4);
  const { height } = world.view;
  const [late, middle, early] = [3_000, 2_000, 1_000].map((sinceMs) => ({ height, sinceMs }));
  const witnessed = [late, middle, middle, early].map((at, witness) => wordsFor(world, machine, bootId(9, 9), [witness], { at: at! }) as Extract<Operation, { kind: "up" }>);
  world.send(machine, [{ ...witnessed[0]!, acknowledgements: witnessed.flatMap(({ acknowledgements }) => acknowledgements) }]);
  world.block(5);
  assert.notStrictEqual(hex(world.view.machine(machine.id)!.bootId), hex(boot));
  assert.strictEqual(world.view.bill(id, world.second)!.total, 6n * RATE);
});

test("an audit that knows nothing of the ledger comes to the same verdicts, seconds and amounts", async () => {
  const { world, machine, other, boot } = running();
  world.block(4);
  const suspicions = [900, 1_800, 2_700].map((sinceMs, witness) => suspicion(world, witness, machine, { beat: beatOf(world, machine, boot), at: { height: world.view.height, sinceMs } }));
  world.block(3, { suspicions });
  world.ready(machine, other);
  world.block(1);
  world.block(3);
  world.send(other, [wordsFor(world, other, bootId(7, 7), WITNESSES, { at: { height: world.view.height, sinceMs: 1_500 } })]);
  world.send(machine, [wordsFor(world, machine, boot, [1, 2, 3])]);
  world.block(3);
  world.block(9);
  const report = await audit(apiOf(world, blocksOf(world)));
  assert.deepStrictEqual(report.findings, []);
  // Seconds 1 to 5 on the one, and four and a half on the other: both to the second.
  assert.strictEqual(report.lines[0]!["due"], (5n + 4n) * RATE);
});
