import assert from "node:assert/strict";
import test from "node:test";
import { addressText } from "#chain/codec/address.ts";
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import { type Address, digest, hex } from "#chain/types.ts";
import type { Places } from "#sandbox/sandbox.ts";
import { TOKEN, World, actor, bootId, comesUp, deployment } from "#tests/ledger/world.ts";
import { PlacesTable } from "./places.ts";

const [tenant, operator] = [actor(1), actor(2)];
const id: Address = deploymentIdOf(tenant.id, 0n, 0);
const HOST = `hello.${addressText(tenant.id)}.grid`;

/** A world of three machines, and what the runner of the first one, and of the third, was told of it. */
class Stage {
  readonly world = new World({ balance: 10_000n * TOKEN });
  readonly machines: readonly ReturnType<typeof actor>[] = [1, 2, 3].map((n) => this.world.machine(n, operator));
  readonly told: readonly Map<string, Places>[] = [new Map(), new Map(), new Map()];
  readonly #tables: readonly PlacesTable[];
  constructor() {
    this.world.block();
    this.#tables = this.machines.map((machine, n) => new PlacesTable({
      view: () => this.world.view, machine: machine.id, zone: "grid", onError: (error) => assert.fail(String(error)),
      elsewhere: { places: async (set, remove) => {
        for (const host of remove) this.told[n]!.delete(host);
        for (const places of set) for (const host of places.hosts) this.told[n]!.set(host, places);
      } },
    }));
  }
  block(seconds = 1): void {
    const { events } = this.world.block(seconds);
    for (const table of this.#tables) table.onFinal(events);
  }
  /** Deploys with one replica, which is ready then; gives the place of its machine. */
  serve(): number {
    this.world.send(tenant, [deployment("hello", { deposit: 100n * TOKEN })]);
    this.block();
    this.world.ready(...this.machines);
    this.block();
    return this.on(0);
  }
  /** The place of the machine that has a lease, by its index. */
  on(index: number): number {
    const lease = this.world.view.leasesOfDeployment(id).find((one) => one.index === index)!;
    return this.machines.findIndex((machine) => lease.machine !== null && hex(machine.id) === hex(lease.machine));
  }
  names(places: Places | undefined): unknown {
    return places?.parts.map(({ weight, to, here, peers }) => ({ weight, to: to?.split(".")[0] ?? null, here, peers: peers.map((peer) => this.machines.findIndex((machine) => hex(machine.id) === peer)) }));
  }
}
const update = (changes: Partial<Extract<Operation, { kind: "update" }>> = {}): Operation =>
  ({ kind: "update", deploymentId: id, componentDigest: digest(new Uint8Array(32).fill(8)), configurationDigest: null, weight: 200, healthySeconds: 10, deadlineSeconds: 60, failuresMax: 3, ...changes });

test("every machine knows who serves a host: nobody yet, then whoever is ready; and forgets it when it is closed", () => {
  const stage = new Stage();
  const { world, told } = stage;
  world.send(tenant, [deployment("hello", { deposit: 100n * TOKEN })]);
  stage.block();
  for (const one of told) assert.deepEqual(stage.names(one.get(HOST)), [{ weight: 1000, to: null, here: false, peers: [] }]);
  world.ready(...stage.machines);
  stage.block();
  const place = stage.on(0);
  for (const [n, one] of told.entries()) assert.deepEqual(stage.names(one.get(HOST)), [{ weight: 1000, to: null, here: n === place, peers: n === place ? [] : [place] }]);
  assert(told.every((one) => one.get(HOST)!.diverts === false));
  world.send(tenant, [{ kind: "close", deploymentId: id }]);
  stage.block();
  assert(told.every((one) => one.size === 0));
});

test("a name of the ledger is a host as well, and none when it points elsewhere", () => {
  const stage = new Stage();
  const { world, told } = stage;
  world.send(tenant, [deployment("hello", { deposit: 100n * TOKEN }), { kind: "registerName", name: "shop.example", deployment: id, years: 1 }]);
  stage.block();
  assert.deepEqual([...told[0]!.keys()].sort(), [HOST, "shop.example"].sort());
  world.send(tenant, [{ kind: "pointName", name: "shop.example", deployment: null }]);
  stage.block();
  assert.deepEqual([...told[0]!.keys()], [HOST]);
});

test("while a lease moves it is served where it is; once the new copy is ready the old machine passes requests on", () => {
  const stage = new Stage();
  const { world, told, machines } = stage;
  const from = stage.serve();
  world.send(tenant, [{ kind: "move", deploymentId: id, index: 0 }]);
  stage.block();
  for (const [n, one] of told.entries()) assert.deepEqual(stage.names(one.get(HOST)), [{ weight: 1000, to: null, here: n === from, peers: n === from ? [] : [from] }], "nobody is sent where it is not ready");
  world.ready(...machines);
  stage.block();
  const to = stage.on(0);
  assert.notEqual(to, from);
  for (const [n, one] of told.entries()) assert.deepEqual(stage.names(one.get(HOST)), [{ weight: 1000, to: null, here: n === to, peers: n === to ? [] : [to] }]);
  assert.deepEqual(told.map((one) => one.get(HOST)!.diverts), told.map((_, n) => n === from), "its own copy there is for those that do not know yet");
});

test("two revisions share a host by weight at every ingress, each with a host of its own; one that is not well takes nothing", () => {
  const stage = new Stage();
  const { world, told, machines } = stage;
  const old = stage.serve();
  world.send(tenant, [update()]);
  stage.block();
  const only = (n: number): unknown => [{ weight: 1000, to: "r1", here: n === old, peers: n === old ? [] : [old] }];
  for (const [n, one] of told.entries()) assert.deepEqual(stage.names(one.get(HOST)), only(n), "until it is ready");
  world.ready(...machines);
  stage.block();
  const lease = world.view.leasesOfDeployment(id).find(({ revision }) => revision === 2)!;
  const next = stage.on(lease.index);
  for (const [n, one] of told.entries()) {
    const of = (place: number): { here: boolean; peers: number[] } => ({ here: n === place, peers: n === place ? [] : [place] });
    assert.deepEqual(stage.names(one.get(HOST)), [{ weight: 800, to: "r1", ...of(old) }, { weight: 200, to: "r2", ...of(next) }]);
    assert(one.get(HOST)!.diverts);
    assert.deepEqual(stage.names(one.get(`r2.${HOST}`)), [{ weight: 1000, to: "r2", ...of(next) }]);
  }
  world.send(machines[next]!, [{ kind: "health", deploymentId: id, index: lease.index, healthy: 0, cause: "status 500" }]);
  stage.block();
  for (const [n, one] of told.entries()) assert.deepEqual(stage.names(one.get(HOST)), only(n));
  world.send(tenant, [{ kind: "rollBack", deploymentId: id }]);
  stage.block();
  assert.deepEqual([...told[0]!.keys()], [HOST]);
});

test("a replica that is not well is asked only when no other is well", () => {
  const stage = new Stage();
  const { world, told, machines } = stage;
  world.send(tenant, [deployment("hello", { deposit: 100n * TOKEN, replicas: 2 })]);
  stage.block();
  world.ready(...machines);
  stage.block();
  const [first, second] = [stage.on(0), stage.on(1)];
  assert.notEqual(first, second);
  const other = [0, 1, 2].find((n) => n !== first && n !== second)!;
  const ill = (index: number, place: number): void => world.send(machines[place]!, [{ kind: "health", deploymentId: id, index, healthy: 0, cause: "status 500" }]) && stage.block();
  ill(0, first);
  assert.deepEqual(stage.names(told[other]!.get(HOST)), [{ weight: 1000, to: null, here: false, peers: [second] }]);
  assert.deepEqual(stage.names(told[first]!.get(HOST)), [{ weight: 1000, to: null, here: false, peers: [second] }]);
  assert(told[first]!.get(HOST)!.diverts);
  ill(1, second);
  assert.deepEqual(stage.names(told[other]!.get(HOST)), [{ weight: 1000, to: null, here: false, peers: [first, second].sort((a, b) => (a < b ? -1 : 1)) }]);
});

test("a machine that boots anew or goes down has no replica for others; what is lost is waited for", () => {
  const stage = new Stage();
  const { world, told, machines } = stage;
  const place = stage.serve();
  world.send(machines[place]!, [comesUp(world.ledger, machines[place]!, bootId(place + 1, 9))]);
  stage.block();
  for (const one of told) assert.deepEqual(stage.names(one.get(HOST)), [{ weight: 1000, to: null, here: false, peers: [] }]);
});

test("three replicas of what scales by itself all see requests when one machine is asked: each machine keeps its share and gives the rest on", () => {
  const stage = new Stage();
  const { world, told } = stage;
  stage.serve();
  world.send(tenant, [{ kind: "scale", deploymentId: id, replicas: 3 }]);
  stage.block();
  world.ready(...stage.machines);
  stage.block();
  const others = (n: number): number[] => [0, 1, 2].filter((one) => one !== n).toSorted((a, b) => (hex(stage.machines[a]!.id) < hex(stage.machines[b]!.id) ? -1 : 1));
  for (const [n, one] of told.entries()) assert.deepEqual(stage.names(one.get(HOST)), [{ weight: 1000, to: null, here: true, peers: others(n) }], "its own first, where the number is fixed");
  world.send(tenant, [{ kind: "autoscale", deploymentId: id, min: 3, max: 3, metric: 2, target: 100, rateMax: 0n }]);
  stage.block();
  for (const [n, one] of told.entries()) {
    const rest = others(n);
    assert.deepEqual(stage.names(one.get(HOST)), [{ weight: 333, to: null, here: true, peers: rest }, { weight: 667, to: null, here: false, peers: rest }]);
    assert.equal(one.get(HOST)!.diverts, true);
  }
  world.send(tenant, [{ kind: "autoscale", deploymentId: id, min: 1, max: 1, metric: 2, target: 100, rateMax: 0n }]);
  stage.block();
  const place = stage.on(0);
  for (const [n, one] of told.entries()) assert.deepEqual(stage.names(one.get(HOST)), [{ weight: 1000, to: null, here: n === place, peers: n === place ? [] : [place] }]);
  assert.equal(told[place]!.get(HOST)!.diverts, false, "one that has all is not asked twice");
});
