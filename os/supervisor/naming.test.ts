import assert from "node:assert/strict";
import test from "node:test";
import { sha256 } from "#chain/crypto.ts";
import type { Constraints } from "#chain/ledger/model.ts";
import type { DeploymentView, MachineView } from "#chain/ledger/view.ts";
import { type Address, type Hex, address, digest, hex, publicKey } from "#chain/types.ts";
import { COPIES } from "../limits.ts";
import { Naming, keepersOf } from "./naming.ts";

const ANY: Constraints = { regions: [], operators: [], labels: [] };
const named = (...of: readonly number[]): Uint8Array => sha256(Uint8Array.from(of));
const idOf = (n: number): Address => address(named(1, n >>> 8, n & 255).slice(0, 20));
const machine = (n: number, changes: Partial<MachineView> = {}): MachineView => ({
  id: idOf(n), key: publicKey(new Uint8Array(32)), operator: idOf(n), state: "up", bootId: new Uint8Array(16), region: "", memoryMib: 1, cpuMillis: 1, memoryMibUsed: 0, cpuMillisUsed: 0, leases: 0,
  pricePerGibSecond: 1n, pricePerCoreSecond: 1n, bond: 0n, strikes: 0, placeableFrom: 0n, draining: false, labels: [], ...changes,
});
const machines = (count: number): MachineView[] => Array.from({ length: count }, (_, n) => machine(n));
const deployment = (n: number, changes: Partial<DeploymentView> = {}): DeploymentView => ({
  id: idOf(1000 + n), owner: idOf(9), name: `d${n}`, state: "active", componentDigest: digest(named(2, n >>> 8, n & 255)), configurationDigest: null, memoryMib: 64, cpuMillis: 250, concurrency: 4, replicas: 1, isolation: 0, rateMax: 0n,
  createdHeight: 2, lastFailure: "", failedMachines: [], revision: 1, rollout: null, history: [], rolledBack: "", constraints: ANY, ...changes,
});
const view = (grid: { machines: readonly MachineView[]; deployments: readonly DeploymentView[] }): ConstructorParameters<typeof Naming>[0] => () => ({
  machines: () => ({ items: grid.machines, next: null }), deployments: () => ({ items: grid.deployments, next: null }),
});
const namings = (grid: Parameters<typeof view>[0]): Naming[] => grid.machines.map(({ id }) => new Naming(view(grid), id));
const keptBy = (all: readonly Naming[], one: Uint8Array): number => all.filter(({ kept }) => kept.has(hex(one))).length;

test("three machines keep what a deployment names, or all where there are fewer; every machine says which, and the same", () => {
  for (const count of [1, 2, 3, 4, 9, 40]) {
    const grid = { machines: machines(count), deployments: Array.from({ length: 50 }, (_, n) => deployment(n)) };
    const all = namings(grid);
    for (const { componentDigest } of grid.deployments) {
      const keepers = all[0]!.keepersOf(hex(componentDigest)).map(({ id }) => hex(id));
      assert.equal(keepers.length, Math.min(count, COPIES));
      assert.deepEqual(all.filter(({ kept }) => kept.has(hex(componentDigest))).map((_, n) => n).length, keepers.length);
      for (const [n, one] of all.entries()) assert.equal(one.kept.has(hex(componentDigest)), keepers.includes(hex(grid.machines[n]!.id)));
    }
  }
});

test("the load is even, and a machine that goes moves only what it kept", () => {
  const grid = { machines: machines(50), deployments: [] };
  const digests = Array.from({ length: 2_000 }, (_, n) => hex(named(3, n >>> 8, n & 255)));
  const of = (some: readonly MachineView[], one: Hex): string[] => keepersOf(one, { isComponent: true, configurations: new Map() }, null, some).map(({ id }) => hex(id)).toSorted();
  const counts = new Map<string, number>();
  for (const one of digests) for (const keeper of of(grid.machines, one)) counts.set(keeper, (counts.get(keeper) ?? 0) + 1);
  // 120 each, in the mean: six standard deviations.
  assert.equal(counts.size, 50);
  assert(Math.min(...counts.values()) > 60 && Math.max(...counts.values()) < 180, `${Math.min(...counts.values())} to ${Math.max(...counts.values())}`);
  const gone = hex(grid.machines[7]!.id);
  const left = grid.machines.toSpliced(7, 1);
  for (const one of digests) {
    const before = of(grid.machines, one);
    const kept = of(left, one).filter((keeper) => before.includes(keeper));
    assert.equal(kept.length, before.includes(gone) ? COPIES - 1 : COPIES);
  }
});

test("who is down or leaves keeps nothing new; a configuration is kept only where its deployment may run", () => {
  const grid = {
    machines: [machine(0, { state: "down" }), machine(1, { draining: true }), ...[2, 3, 4, 5].map((n) => machine(n, { labels: n < 4 ? ["green"] : [], region: "here" }))],
    deployments: [deployment(1, { configurationDigest: digest(named(4)), constraints: { regions: ["here"], operators: [], labels: ["green"] } }), deployment(2, { configurationDigest: digest(named(5)), constraints: { regions: [], operators: [idOf(5)], labels: [] } })],
  };
  const all = namings(grid);
  assert.deepEqual(all.slice(0, 2).map(({ kept }) => kept.size), [0, 0]);
  assert.deepEqual(all.map(({ kept }) => [kept.has(hex(named(4))), kept.has(hex(named(5)))]).slice(2), [[true, false], [true, false], [false, false], [false, true]]);
  assert.equal(keptBy(all, grid.deployments[0]!.componentDigest), COPIES);
});

test("who names another's configuration, or names it as a component, changes nothing of where its owner has it kept", () => {
  const [secret, mine] = [digest(named(4)), { regions: [], operators: [idOf(5)], labels: [] }];
  const grid = { machines: machines(8), deployments: [deployment(1, { configurationDigest: secret, constraints: mine })] };
  const keepers = (): string[] => new Naming(view(grid), idOf(0)).keepersFor(hex(secret), hex(idOf(9))).map(({ id }) => hex(id));
  const before = keepers();
  assert.deepEqual(before, [hex(idOf(5))]);
  grid.deployments = [
    deployment(0, { owner: idOf(8), componentDigest: secret }), deployment(2, { owner: idOf(8), configurationDigest: secret }), ...grid.deployments,
    deployment(3, { owner: idOf(8), configurationDigest: secret, constraints: { ...mine, operators: [idOf(6)] } }),
  ];
  assert.deepEqual(keepers(), before);
  // All that somebody has named it as is kept, by whoever gets it.
  assert(new Naming(view(grid), idOf(0)).keepersOf(hex(secret)).length > 1);
});

test("what is rolled out, and what can be rolled back to, is kept too; events of blocks turn what is known", () => {
  const [old, next] = [digest(named(6)), digest(named(7))];
  const grid = { machines: machines(2), deployments: [deployment(1)] };
  const [naming] = namings(grid);
  assert.deepEqual([...naming!.kept], [hex(deployment(1).componentDigest)]);
  grid.deployments = [deployment(1, {
    history: [{ revision: 1, componentDigest: old, configurationDigest: null }],
    rollout: { revision: 3, componentDigest: next, configurationDigest: null } as NonNullable<DeploymentView["rollout"]>,
  })];
  naming!.turn([{ kind: "paid" }]);
  assert.equal(naming!.kept.size, 1);
  naming!.turn([{ kind: "updated" }]);
  assert.deepEqual(new Set(naming!.kept), new Set([old, next, deployment(1).componentDigest].map(hex)));
});
