/** Names, told as stories with amounts worked out by hand; the audit reckons each of them a second time. */
import assert from "node:assert";
import { test } from "node:test";
import { nameIdOf } from "#chain/codec/holderOperations.ts";
import { verifyProof } from "#chain/codec/proof.ts";
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import { nameKey } from "#chain/ledger/holdings.ts";
import { NAMES_PER_DEPLOYMENT_MAX, NAME_GRACE_MS, NAME_YEAR_MS } from "#chain/ledger/limits.ts";
import { isName } from "#chain/ledger/names.ts";
import { addressText } from "#chain/codec/address.ts";
import { readDesired } from "#os/supervisor/desired.ts";
import { audit } from "#tools/audit.ts";
import { apiOf, blocksOf } from "./fakeApi.ts";
import { type Actor, TOKEN, World, actor, deployment } from "./world.ts";

const [alice, bob, carol] = [actor(1), actor(2), actor(3)];
const codes = (world: World): (string | undefined)[] => world.history.at(-1)!.applied.outcomes.map(({ code }) => code);
const register = (name: string, changes: Partial<Extract<Operation, { kind: "registerName" }>> = {}): Operation => ({ kind: "registerName", name, deployment: null, years: 1, ...changes });
const YEAR = Number(NAME_YEAR_MS / 1000n);
const GRACE = Number(NAME_GRACE_MS / 1000n);
async function agrees(world: World): Promise<void> {
  assert.deepStrictEqual((await audit(apiOf(world, blocksOf(world)))).findings, []);
}
const done = (world: World, sender: Actor, op: Operation, seconds = 0): string | undefined => {
  world.send(sender, [op]);
  world.block(seconds);
  return codes(world)[0];
};

test("the first owner has a name, for a token a year into the fee pool; machines answer by it until it points elsewhere", async () => {
  const world = new World({ signed: true });
  const machine = world.machine(1, carol);
  world.send(alice, [deployment("a"), deployment("b")]);
  world.block();
  const [a, b] = [0, 1].map((at) => deploymentIdOf(alice.id, 0n, at)) as [ReturnType<typeof deploymentIdOf>, ReturnType<typeof deploymentIdOf>];
  world.ready(machine);
  world.block();
  const pool = world.view.supply().feePool;
  const first = world.send(alice, [register("shop", { deployment: a, years: 2 })]);
  world.send(bob, [register("shop")]);
  world.send(alice, [register("shop.example", { deployment: a })]);
  world.block();
  assert.deepStrictEqual(codes(world), [undefined, "name_taken", undefined]);
  assert.strictEqual(world.view.supply().feePool - pool, 3n * TOKEN + 3n * first.body.fee);
  assert.deepStrictEqual(world.view.name("shop"), { name: "shop", owner: alice.id, deployment: a, expiryMs: world.view.timeMs + 2n * NAME_YEAR_MS });
  const hostsOf = (): Record<string, readonly string[]> => Object.fromEntries(readDesired(world.view, machine.id, "zone.test", { named: new Map(), kept: new Set() }).deployments.map(({ id, hosts }) => [id, hosts.toSorted()]));
  const own = (name: string): string => `${name}.${addressText(alice.id)}.zone.test`;
  assert.deepStrictEqual(hostsOf(), { [a.toHex()]: [own("a"), "shop.example", "shop.zone.test"], [b.toHex()]: [own("b")] });
  assert.strictEqual(done(world, alice, { kind: "pointName", name: "shop", deployment: b }), undefined);
  assert.deepStrictEqual(hostsOf(), { [a.toHex()]: [own("a"), "shop.example"], [b.toHex()]: [own("b"), "shop.zone.test"] });
  // What lies under the zone stands behind the labels and the accounts of the zone.
  assert.strictEqual(done(world, alice, register("b.zone.test", { deployment: a })), undefined);
  assert.deepStrictEqual(hostsOf()[a.toHex()], [own("a"), "shop.example"]);
  assert.strictEqual(done(world, alice, { kind: "transferName", name: "shop", to: bob.id }), undefined);
  assert.deepStrictEqual([hostsOf()[b.toHex()], world.view.namesOf(bob.id).items.map(({ name }) => name)], [[own("b")], ["shop"]]);
  await agrees(world);
});

test("when its time is over a name points nowhere, for 30 days only its owner can renew it, and then it is anybody's", async () => {
  const world = new World({ signed: true });
  world.send(alice, [deployment("a")]);
  world.block();
  const a = deploymentIdOf(alice.id, 0n, 0);
  assert.strictEqual(done(world, alice, register("shop", { deployment: a }), 1), undefined);
  const registered = world.view.timeMs;
  assert.deepStrictEqual(world.view.namesTo(a), ["shop"]);
  world.block(YEAR - 1);
  assert.deepStrictEqual(world.view.namesTo(a), ["shop"]);
  world.block(1);
  assert.deepStrictEqual([world.view.namesTo(a), world.view.name("shop")!.owner], [[], alice.id]);
  world.block(GRACE - 2);
  assert.strictEqual(done(world, bob, register("shop"), 1), "name_taken");
  // Anybody may pay for another; the time goes on from where it ended.
  assert.strictEqual(done(world, carol, { kind: "renewName", name: "shop", years: 1 }), undefined);
  assert.strictEqual(world.view.name("shop")!.expiryMs, registered + 2n * NAME_YEAR_MS);
  assert.deepStrictEqual(world.view.namesTo(a), ["shop"]);
  world.block(YEAR + GRACE);
  assert.strictEqual(world.view.name("shop"), null);
  assert.strictEqual(done(world, alice, { kind: "renewName", name: "shop", years: 1 }), "name_unknown");
  assert.strictEqual(done(world, bob, register("shop")), undefined);
  assert.deepStrictEqual([world.view.name("shop")!.owner, world.view.namesTo(a)], [bob.id, []]);
  assert.strictEqual(done(world, bob, { kind: "releaseName", name: "shop" }), undefined);
  assert.strictEqual(done(world, alice, register("shop")), undefined);
  await agrees(world);
});

test("a name is a host that machines can answer by, and never one that another has by right", () => {
  for (const good of ["a", "shop", "a-b", "0", "xn--bcher-kva", "a".repeat(63), "shop.example", "1.example", `${"a".repeat(63)}.`.repeat(3) + "a".repeat(61)]) assert.strictEqual(isName(good), true, good);
  for (const bad of ["", "-", "a-", "-a", "A", "a_b", "a..b", ".a", "a.", "a b", "ä", "a".repeat(64), `${"a".repeat(63)}.`.repeat(3) + "a".repeat(62), "127.0.0.1", "a.7",
    `hello.${addressText(alice.id)}.zone.test`, addressText(alice.id)]) assert.strictEqual(isName(bad), false, bad);
});

test("what cannot be registered, pointed, renewed or given on is refused by code, and takes nothing", () => {
  const world = new World();
  world.send(alice, [deployment("a")]);
  world.send(bob, [deployment("b")]);
  world.block();
  const [a, b] = [deploymentIdOf(alice.id, 0n, 0), deploymentIdOf(bob.id, 0n, 0)];
  assert.strictEqual(done(world, alice, register("shop")), undefined);
  const pool = (): bigint => world.view.supply().feePool;
  for (const [code, sender, op] of [
    ["bad_name", alice, register("Shop")], ["bad_years", alice, register("x", { years: 0 })], ["bad_years", alice, register("x", { years: 11 })],
    ["not_owner", alice, register("x", { deployment: b })], ["unknown_deployment", alice, register("x", { deployment: carol.id })],
    ["not_owner", bob, { kind: "pointName", name: "shop", deployment: b }], ["not_owner", bob, { kind: "transferName", name: "shop", to: bob.id }], ["not_owner", bob, { kind: "releaseName", name: "shop" }],
    ["name_unknown", alice, { kind: "pointName", name: "x", deployment: a }], ["name_unknown", alice, { kind: "renewName", name: "x", years: 1 }], ["bad_years", alice, { kind: "renewName", name: "shop", years: 10 }],
  ] as [string, Actor, Operation][]) {
    const before = pool();
    assert.strictEqual(done(world, sender, op), code, JSON.stringify(op.kind));
    assert.ok(pool() - before < TOKEN / 100n, "the fee alone");
  }
  for (let k = 0; k < NAMES_PER_DEPLOYMENT_MAX; k++) assert.strictEqual(done(world, alice, register(`n${k}`, { deployment: a })), undefined);
  assert.strictEqual(done(world, alice, { kind: "pointName", name: "shop", deployment: a }), "too_many_names");
  const proven = verifyProof(world.view.stateRoot, nameKey(nameIdOf("shop")), world.ledger.state.prove(nameKey(nameIdOf("shop"))));
  assert(proven.ok && proven.value !== null && proven.value.length < 80);
});

test("a name that is nobody's any more is taken off the state by anybody, and counts for nothing of what it pointed to", async () => {
  const world = new World({ signed: true });
  world.send(alice, [deployment("a")]);
  world.block();
  const a = deploymentIdOf(alice.id, 0n, 0);
  for (let k = 0; k < NAMES_PER_DEPLOYMENT_MAX; k++) world.send(alice, [register(`n${k}`, { deployment: a })]);
  world.block();
  world.block(YEAR);
  assert.strictEqual(done(world, alice, register("more", { deployment: a })), "too_many_names", "she can renew them still");
  assert.strictEqual(done(world, bob, { kind: "releaseName", name: "n0" }), "not_owner");
  world.block(GRACE);
  assert.strictEqual(done(world, alice, register("more", { deployment: a })), undefined);
  assert.deepStrictEqual(world.view.namesTo(a), ["more"]);
  assert.strictEqual(done(world, bob, { kind: "releaseName", name: "n0" }), undefined);
  assert.strictEqual(world.ledger.state.named(nameIdOf("n0")), undefined);
  assert.strictEqual(done(world, bob, { kind: "releaseName", name: "n0" }), "name_unknown");
  assert.strictEqual(done(world, bob, { kind: "releaseName", name: "more" }), "not_owner");
  await agrees(world);
});
