/** Where leases go: the same answer for everybody, within capacity, bond and price, spread over machines. */
import assert from "node:assert";
import { test } from "node:test";
import { type DecodedTransaction, deploymentIdOf } from "#chain/codec/transaction.ts";
import { applyBlock, nextMoneySecond, openLedger } from "#chain/ledger/ledger.ts";
import { VAIN_PLACEMENTS_MAX } from "#chain/ledger/limits.ts";
import { viewOf } from "#chain/ledger/view.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Actor, TOKEN, World, actor, bootId, comesUp, deployment, genesisFor, random, registration } from "./world.ts";

const tenant = actor(1);
const UNEQUAL = [
  { memoryMib: 512, cpuMillis: 1000, gib: 1000n, core: 1000n }, { memoryMib: 1024, cpuMillis: 500, gib: 900n, core: 1300n }, { memoryMib: 4096, cpuMillis: 4000, gib: 1500n, core: 700n },
  { memoryMib: 2048, cpuMillis: 8000, gib: 1000n, core: 1000n }, { memoryMib: 256, cpuMillis: 200, gib: 1n, core: 1n }, { memoryMib: 8192, cpuMillis: 2000, gib: 1000n, core: 1000n },
  { memoryMib: 1024, cpuMillis: 1000, gib: 1000n, core: 1000n },
] as const;

/** 50 deployments by 50 accounts on 7 machines, everything in an order of its own: where each lease went, by deployment. */
function placeAll(order: <T>(items: readonly T[]) => T[]): { where: Map<string, string>; root: string; used: number[] } {
  const people = Array.from({ length: 60 }, (_, i) => actor(i + 1));
  const ledger = openLedger(genesisFor(people, 1000n * TOKEN));
  const view = viewOf(ledger);
  const world = new World();
  const machines = UNEQUAL.map((_, i) => actor(1001 + i));
  const blocks: (readonly [Actor, Parameters<World["send"]>[1]])[][] = [
    order(UNEQUAL.map((offer, i) => [people[50 + i]!, [registration(ledger, machines[i]!, people[50 + i]!, { ...offer, bond: 30n * TOKEN })]] as const)),
    order(machines.map((machine, i) => [machine, [comesUp(ledger, machine, bootId(i, 0))]] as const)),
    order(people.slice(0, 50).map((who, i) => [who, [deployment(`d${i}`, { memoryMib: 32 + 16 * (i % 7), cpuMillis: 50 * (i % 5), replicas: 1 + (i % 3) })]] as const)),
  ];
  for (const [i, actions] of blocks.entries()) {
    const at = world.genesis.timeMs + BigInt(i + 1) * 1000n;
    const transactions = actions.map(([who, ops]): DecodedTransaction => {
      const sent = world.send(who, ops, { nonce: view.account(who.id)?.nonce ?? 0n });
      return { ...sent, body: { ...sent.body, chainId: ledger.chainId } };
    });
    const applied = applyBlock(ledger, { height: i + 1, timeMs: at, moneySecond: nextMoneySecond(ledger, at), previousId: sha256(Uint8Array.of(i)), transactions });
    assert(applied.ok, applied.ok ? "" : applied.message);
    assert(applied.outcomes.every(({ ok }) => ok));
  }
  const where = new Map<string, string>();
  for (const { id } of view.deployments({ limit: 1000 }).items) for (const { index, machine, rate } of view.leasesOfDeployment(id)) where.set(`${id.toHex()}/${index}`, `${machine?.toHex()} ${rate}`);
  return { where, root: view.stateRoot.toHex(), used: machines.map(({ id }) => view.machine(id)!.memoryMibUsed) };
}

test("50 deployments on 7 unequal machines go to the same places for any order of insertion, with the same root", () => {
  const first = placeAll((items) => [...items]);
  assert.strictEqual(first.where.size, 99);
  assert(first.used.every((used, i) => used <= UNEQUAL[i]!.memoryMib) && first.used.every((used) => used > 0));
  for (let seed = 1; seed <= 8; seed++) {
    const r = random(seed);
    const again = placeAll((items) => items.map((item) => [r.next(), item] as const).sort(([a], [b]) => a - b).map(([, item]) => item));
    assert.deepStrictEqual(again.where, first.where, `order ${seed}`);
    assert.strictEqual(again.root, first.root, `order ${seed}`);
  }
});

test("the cheapest machine that has room wins; replicas share a machine only when no other qualifies", () => {
  const world = new World();
  const [dear, cheap] = [world.machine(1, actor(2), { gib: 2000n }), world.machine(2, actor(3), { gib: 500n })];
  world.block();
  world.send(tenant, [deployment("one"), deployment("three", { replicas: 3 })]);
  world.block();
  const on = (at: number): (string | undefined)[] => world.view.leasesOfDeployment(deploymentIdOf(tenant.id, 0n, at)).map(({ machine }) => machine?.toHex());
  assert.deepStrictEqual(on(0), [cheap.id.toHex()]);
  assert.deepStrictEqual(new Set(on(1).slice(0, 2)), new Set([dear.id.toHex(), cheap.id.toHex()]));
  assert.strictEqual(on(1)[2], cheap.id.toHex());
});

test("capacity, bond and the deployment's maximum rate bound where a lease can go; it waits in line and is placed when there is room", () => {
  const world = new World();
  const machine = world.machine(1, actor(2), { memoryMib: 1024, cpuMillis: 4000, bond: 3n * TOKEN });
  world.block();
  // The bond covers 1 GiB and 2 cores, or less memory and a little more CPU.
  const sized = (name: string, memoryMib: number, cpuMillis: number, rateMax = 0n): ReturnType<typeof deployment> => deployment(name, { memoryMib, cpuMillis, rateMax });
  world.send(tenant, [sized("cheap-only", 64, 100, 163n), sized("large", 1025, 0), sized("fits", 512, 2400), sized("uncovered", 256, 200)]);
  world.block();
  const state = (at: number): string => world.view.leasesOfDeployment(deploymentIdOf(tenant.id, 0n, at))[0]!.state;
  assert.deepStrictEqual([0, 1, 2, 3].map(state), ["pending", "pending", "placed", "pending"]);
  assert.strictEqual(world.view.nextDueMoneySecond(), world.second + 5n);
  world.ready(machine);
  world.block();
  world.send(tenant, [{ kind: "close", deploymentId: deploymentIdOf(tenant.id, 0n, 2) }]);
  world.block();
  assert.deepStrictEqual([0, 1, 3].map(state), ["pending", "pending", "placed"]);
  world.send(tenant, [{ kind: "resize", deploymentId: deploymentIdOf(tenant.id, 0n, 3), memoryMib: 900, cpuMillis: 3000 }]);
  world.block();
  assert.strictEqual(world.history.at(-1)!.applied.outcomes[0]!.code, "no_capacity");
});

test("a thousand cheap machines that are full do not hide one that has room", () => {
  const world = new World({ balance: 10_000n * TOKEN });
  for (let n = 1; n <= 1030; n++) {
    world.machine(n, actor(2), { memoryMib: 1, cpuMillis: 0, gib: 0n, core: 0n, bond: TOKEN });
    if (n % 256 === 0) world.block(0);
  }
  const roomy = world.machine(2000, actor(3));
  world.block();
  world.send(tenant, [deployment("somewhere")]);
  world.block();
  assert.strictEqual(world.view.leasesOfDeployment(deploymentIdOf(tenant.id, 0n, 0))[0]!.machine?.toHex(), roomy.id.toHex());
});

test("nothing is placed on a machine before it is up", () => {
  const world = new World();
  world.send(actor(2), [registration(world.ledger, actor(1001), actor(2), { memoryMib: 1024, cpuMillis: 1000, gib: 1n, core: 1n, bond: 9n * TOKEN })]);
  world.send(tenant, [deployment("early")]);
  world.block();
  assert.strictEqual(world.view.leasesOfDeployment(deploymentIdOf(tenant.id, 0n, 0))[0]!.state, "pending");
  world.send(actor(1001), [comesUp(world.ledger, actor(1001), bootId(1, 0))]);
  world.block();
  assert.strictEqual(world.view.leasesOfDeployment(deploymentIdOf(tenant.id, 0n, 0))[0]!.state, "placed");
});

test("of leases that find no machine a block looks at a few again, each in its turn, whatever comes new; and as soon as there is room all are placed", () => {
  const world = new World({ balance: 10_000n * TOKEN });
  world.machine(1, actor(2));
  world.block();
  // 4,096 MiB and no more: none of these fits.
  for (let k = 0; k < 10; k++) world.send(tenant, Array.from({ length: 10 }, (_, i) => deployment(`d${10 * k + i}`, { memoryMib: 5000 })));
  world.block();
  const waiting = (): readonly string[] => world.ledger.state.listed("p");
  const tried = (): number => waiting().filter((entry) => Number.parseInt(entry.slice(0, 8), 16) === world.view.height).length;
  assert.deepStrictEqual([waiting().length, tried()], [100, 100]);
  const from = world.view.height;
  for (let k = 0; k < 4; k++) {
    world.send(actor(3), [deployment(`new${k}`, { memoryMib: 64 })]);
    world.block();
    assert.strictEqual(world.view.leasesOfDeployment(deploymentIdOf(actor(3).id, BigInt(k), 0))[0]!.state, "placed");
    assert.strictEqual(tried(), VAIN_PLACEMENTS_MAX);
  }
  assert(waiting().every((entry) => Number.parseInt(entry.slice(0, 8), 16) > from), "four blocks come round to all");
  world.machine(2, actor(2), { memoryMib: 2 ** 20, cpuMillis: 2 ** 20, bond: 3_000n * TOKEN });
  world.block();
  if (waiting().length > 0) world.block();
  assert.strictEqual(waiting().length, 0);
});
