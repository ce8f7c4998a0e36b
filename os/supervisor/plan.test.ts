import assert from "node:assert/strict";
import test from "node:test";
import type { Hex } from "#chain/types.ts";
import { FETCH_ATTEMPTS_MAX, FETCH_UNANSWERED_MS_MAX, KEEPS_AT_ONCE_MAX } from "../limits.ts";
import { type Action, type Blob, type DeploymentHere, type Desired, type Failure, type Lease, type Observed, type Refusal, type Route, besideOf, plan, retryDelayMs, routeOf } from "./plan.ts";

const BOOT = "b0".repeat(16) as Hex;
const id = (n: number): Hex => n.toString(16).padStart(40, "0") as Hex;
const digest = (n: number): Hex => n.toString(16).padStart(64, "0") as Hex;
const NOW = 1_000_000;
const LATER = NOW + 60_000;

const deployment = (n: number, leases: readonly Lease[] = [{ index: 0, stage: "placed", rate: 7n, revision: 1, isHealthy: true }], changes: Partial<DeploymentHere> = {}): DeploymentHere => ({
  id: id(n), owner: id(900), hosts: [`d${n}.gw1.localhost`], component: digest(n), configuration: null, memoryMib: 64, cpuMillis: 250, concurrency: 4, isolation: "shared", leases, ...changes,
});
const desired = (...deployments: DeploymentHere[]): Desired => ({ isRegistered: true, bootId: BOOT, deployments, named: new Set(deployments.map((d) => d.component)), kept: new Set() });

type World = { health: Map<Hex, string | null>; mayComeUp: boolean; blobs: Map<Hex, Blob>; routes: Map<Hex, Route>; stale: Set<Hex>; refused: Map<Hex, Refusal>; underWay: Set<string>; failures: Map<string, Failure> };
const world = (changes: Partial<World> = {}): World => ({ health: new Map(), mayComeUp: true, blobs: new Map(), routes: new Map(), stale: new Set(), refused: new Map(), underWay: new Set(), failures: new Map(), ...changes });
const observed = (of: World): Observed => ({ bootId: BOOT, tasks: new Map(), mayRun: new Set(), ...of });
const blob = (state: Blob["state"], expiresAtMs = LATER): Blob => ({ state, expiresAtMs });
const kinds = (actions: readonly Action[]): string[] => actions.map((action) => action.key);
const keysFor = (want: Desired, have: Partial<World>, nowMs = NOW): string[] => kinds(plan(want, observed(world(have)), nowMs).actions);

const one = deployment(1);
const compiled = new Map([[digest(1), blob("compiled")]]);
const loaded = new Map([[id(1), routeOf(one)]]);

test("plan() has one action for every difference, and none where there is none", () => {
  const cases: readonly [string, Desired, Partial<World>, string[]][] = [
    ["nothing wanted, nothing there", desired(), {}, []],
    ["another boot is registered", { ...desired(), bootId: "00".repeat(16) as Hex }, {}, [`up/${BOOT}`]],
    ["nobody has registered the machine", { ...desired(), bootId: null, isRegistered: false }, {}, []],
    ["too few witnesses have heard it", { ...desired(), bootId: null }, { mayComeUp: false }, []],
    ["the machine is down", { ...desired(), bootId: null }, {}, [`up/${BOOT}`]],
    ["the component is elsewhere", desired(one), {}, [`fetch/${digest(1)}`]],
    ["the component is not compiled", desired(one), { blobs: new Map([[digest(1), blob("present")]]) }, [`compile/${digest(1)}`]],
    ["the component compiles", desired(one), { blobs: new Map([[digest(1), blob("compiling")]]) }, []],
    ["the compiler refused it", desired(one), { blobs: new Map([[digest(1), { ...blob("refused"), cause: "compile_failed" }]]) }, [`failed/${id(1)}/0`]],
    ["it is not loaded", desired(one), { blobs: compiled }, [`load/${id(1)}`]],
    ["it does not instantiate", desired(one), { blobs: compiled, refused: new Map([[id(1), { component: digest(1), configuration: null, cause: "load_failed" }]]) }, [`failed/${id(1)}/0`]],
    ["another component of it did not instantiate", desired(one), { blobs: compiled, refused: new Map([[id(1), { component: digest(9), configuration: null, cause: "load_failed" }]]) }, [`load/${id(1)}`]],
    ["another configuration of it did not instantiate", desired(one), { blobs: compiled, refused: new Map([[id(1), { component: digest(1), configuration: digest(8), cause: "load_failed" }]]) }, [`load/${id(1)}`]],
    ["it is loaded, the ledger does not know", desired(one), { blobs: compiled, routes: loaded }, [`ready/${id(1)}/0/7`]],
    ["it is loaded and paid", desired(deployment(1, [{ index: 0, stage: "ready", rate: 7n, revision: 1, isHealthy: true }])), { blobs: compiled, routes: loaded }, []],
    ["it asks for a runner of its own", desired(deployment(1, undefined, { isolation: "process" })), { blobs: compiled }, [`load/${id(1)}`]],
    ["there is no room for a runner of its own", desired(deployment(1, undefined, { isolation: "process" })), { blobs: compiled, refused: new Map([[id(1), { component: digest(1), configuration: null, cause: "isolation_full" }]]) }, [`failed/${id(1)}/0`]],
    ["the lease is gone", desired(), { blobs: compiled, routes: loaded }, [`load/${id(1)}`]],
    ["an upload expired", desired(), { blobs: new Map([[digest(1), blob("compiled", NOW)]]) }, [`drop/${digest(1)}`]],
    ["an upload has not expired", desired(), { blobs: new Map([[digest(1), blob("compiled", NOW + 1)]]) }, []],
    ["an expired upload that a deployment elsewhere names", { ...desired(), named: new Set([digest(1)]) }, { blobs: new Map([[digest(1), blob("compiled", NOW)]]) }, []],
    ["an expired upload that compiles", desired(), { blobs: new Map([[digest(1), blob("compiling", NOW)]]) }, []],
  ];
  for (const [name, want, have, expected] of cases) assert.deepEqual(keysFor(want, have), expected, name);
});

test("a component that every machine says it does not hold is asked for a few times, then its leases are failed; it is still asked for", () => {
  const key = `fetch/${digest(1)}`;
  const after = (count: number, nowMs: number): string[] => keysFor(desired(one), { failures: new Map([[key, { count, retryAtMs: NOW, code: "blob_missing", sinceMs: NOW }]]) }, nowMs);
  assert.deepEqual(after(FETCH_ATTEMPTS_MAX - 1, NOW), [key]);
  assert.deepEqual(after(FETCH_ATTEMPTS_MAX, NOW - 1), [`failed/${id(1)}/0`]);
  assert.deepEqual(after(FETCH_ATTEMPTS_MAX, NOW), [key, `failed/${id(1)}/0`]);
});

test("a machine that does not answer has not said that it lacks a component: no lease is failed for it before FETCH_UNANSWERED_MS_MAX", () => {
  const key = `fetch/${digest(1)}`;
  const after = (count: number, nowMs: number): string[] => keysFor(desired(one), { failures: new Map([[key, { count, retryAtMs: NOW, code: "blob_unanswered", sinceMs: NOW }]]) }, nowMs);
  assert.deepEqual(after(50, NOW + FETCH_UNANSWERED_MS_MAX - 1), [key]);
  assert.deepEqual(after(FETCH_ATTEMPTS_MAX - 1, NOW + FETCH_UNANSWERED_MS_MAX), [key]);
  assert.deepEqual(after(FETCH_ATTEMPTS_MAX, NOW + FETCH_UNANSWERED_MS_MAX), [key, `failed/${id(1)}/0`]);
});

test("a fetch failure never deletes: whatever its code and however often, nothing is unloaded and nothing that is named is dropped", () => {
  const running = deployment(2, [{ index: 0, stage: "ready", rate: 7n, revision: 1, isHealthy: true }], { component: digest(1), configuration: digest(8) });
  const blobs = new Map([[digest(1), blob("compiled", NOW - 1)], [digest(9), blob("compiled", NOW - 1)]]);
  for (const code of ["blob_missing", "blob_unanswered", "blob_too_large", "overloaded", "ENOSPC", "internal"]) {
    for (const count of [1, FETCH_ATTEMPTS_MAX, 1_000]) {
      const failures = new Map([`fetch/${digest(8)}`, `fetch/${digest(1)}`, `load/${id(2)}`, `compile/${digest(1)}`].map((key) => [key, { count, retryAtMs: NOW, code, sinceMs: 0 }] as const));
      const { actions } = plan({ ...desired(running), named: new Set([digest(1), digest(8), digest(9)]), kept: new Set([digest(9)]) }, observed(world({ blobs, routes: new Map([[id(2), routeOf(running)]]), failures })), NOW + FETCH_UNANSWERED_MS_MAX);
      assert.deepEqual(actions.filter(({ kind }) => kind === "unload" || kind === "drop"), []);
    }
  }
});

test("what this machine keeps is fetched after what its leases need, a few at once, and is not dropped", () => {
  const kept = Array.from({ length: 9 }, (_, n) => digest(20 + n));
  const want = (deployments: readonly DeploymentHere[]): Desired => ({ ...desired(...deployments), named: new Set(kept), kept: new Set(kept) });
  const fetches = (at: number, count: number): string[] => kept.slice(at, at + count).map((one) => `fetch/${one}`);
  assert.deepEqual(keysFor(want([one]), {}), [`fetch/${digest(1)}`, ...fetches(0, KEEPS_AT_ONCE_MAX)]);
  assert.deepEqual(keysFor(want([]), { underWay: new Set(fetches(0, 3)) }), fetches(3, KEEPS_AT_ONCE_MAX - 3));
  // Those that cannot be had now keep nobody waiting.
  const failures = new Map(fetches(0, 5).map((key) => [key, { count: 9, retryAtMs: NOW + 700 }] as const));
  const { actions, wakeAtMs } = plan(want([]), observed(world({ failures })), NOW);
  assert.deepEqual([kinds(actions), wakeAtMs], [fetches(5, KEEPS_AT_ONCE_MAX), NOW + 700]);
  assert.deepEqual(keysFor(want([]), { blobs: new Map(kept.map((one) => [one, blob("compiled", NOW - 1)])) }), []);
});

test("deployments of one component share its fetch and its compile", () => {
  const want = desired(one, deployment(2, undefined, { component: digest(1), configuration: digest(5) }), deployment(3, undefined, { component: digest(1), configuration: digest(5) }));
  assert.deepEqual(keysFor(want, {}), [`fetch/${digest(1)}`, `fetch/${digest(5)}`]);
  assert.deepEqual(keysFor(want, { blobs: new Map([[digest(1), blob("present")]]) }), [`compile/${digest(1)}`, `fetch/${digest(5)}`]);
});

test("plan() sends nothing for a boot that the ledger does not know, but loads ahead", () => {
  const want: Desired = { ...desired(one), bootId: null };
  assert.deepEqual(keysFor(want, { blobs: compiled }), [`up/${BOOT}`, `load/${id(1)}`]);
  assert.deepEqual(keysFor(want, { blobs: compiled, routes: loaded }), [`up/${BOOT}`]);
  assert.deepEqual(keysFor(want, { blobs: new Map([[digest(1), { ...blob("refused"), cause: "compile_failed" }]]) }), [`up/${BOOT}`]);
});

test("replicas of one deployment are one route with the sum of their limits, and each is made ready", () => {
  const two = deployment(1, [{ index: 1, stage: "placed", rate: 9n, revision: 1, isHealthy: true }, { index: 0, stage: "ready", rate: 7n, revision: 1, isHealthy: true }]);
  const [action] = plan(desired(two), observed(world({ blobs: compiled, routes: loaded })), NOW).actions;
  assert.equal(action?.kind, "resize");
  assert.deepEqual(action.kind === "resize" && [action.route.memoryMib, action.route.cpuMillis, action.route.concurrency, action.route.instanceMemoryMib], [128, 500, 8, 64]);
  assert.deepEqual(keysFor(desired(two), { blobs: compiled, routes: new Map([[id(1), routeOf(two)]]) }), [`ready/${id(1)}/1/9`]);
});

test("a deployment with a configuration waits for it, and is loaded again when it changes", () => {
  const configured = deployment(1, undefined, { configuration: digest(77) });
  assert.deepEqual(keysFor(desired(configured), { blobs: compiled }), [`fetch/${digest(77)}`]);
  const both = new Map([...compiled, [digest(77), blob("compiled")] as const]);
  assert.deepEqual(keysFor(desired(configured), { blobs: both, routes: loaded }), [`load/${id(1)}`]);
});

test("an action under way, or whose retry is not due, is left out; the plan wakes when it is", () => {
  const key = `load/${id(1)}`;
  assert.deepEqual(keysFor(desired(one), { blobs: compiled, underWay: new Set([key]) }), []);
  const failures = new Map([[key, { count: 3, retryAtMs: NOW + 500 }]]);
  const waiting = plan(desired(one), observed(world({ blobs: compiled, failures })), NOW);
  assert.deepEqual(waiting, { actions: [], wakeAtMs: NOW + 500 });
  assert.deepEqual(keysFor(desired(one), { blobs: compiled, failures }, NOW + 500), [key]);
});

test("the plan wakes for the next expiry", () => {
  const blobs = new Map([[digest(1), blob("compiled", NOW + 900)], [digest(2), blob("compiled", NOW + 400)], [digest(3), blob("compiled", NOW - 1)]]);
  const { actions, wakeAtMs } = plan({ ...desired(), named: new Set([digest(2)]) }, observed(world({ blobs })), NOW);
  assert.deepEqual([kinds(actions), wakeAtMs], [[`drop/${digest(3)}`], NOW + 900]);
});

test("the order is total: the same for any order of what the ledger and the machine hold", () => {
  const deployments = [1, 2, 3, 4].map((n) => deployment(n, [{ index: 1, stage: "placed", rate: 1n, revision: 1, isHealthy: true }, { index: 0, stage: "placed", rate: 1n, revision: 1, isHealthy: true }]));
  const blobs = new Map([1, 2, 3, 4, 5, 6].map((n) => [digest(n), blob(n === 2 ? "present" : "compiled", NOW)] as const));
  const routes = new Map([3, 8, 7].map((n) => [id(n), routeOf(deployment(n, [{ index: 0, stage: "ready", rate: 1n, revision: 1, isHealthy: true }, { index: 1, stage: "ready", rate: 1n, revision: 1, isHealthy: true }]))] as const));
  const straight = plan({ ...desired(...deployments), bootId: null }, observed(world({ blobs, routes })), NOW);
  const turned = plan(
    { ...desired(...deployments.toReversed().map((d) => ({ ...d, leases: d.leases.toReversed() }))), bootId: null },
    observed(world({ blobs: new Map([...blobs].toReversed()), routes: new Map([...routes].toReversed()) })), NOW,
  );
  assert.deepEqual(turned, straight);
  assert.deepEqual(straight.actions.map((action) => action.kind), ["sendUp", "unload", "unload", "load", "compile", "load", "drop", "drop"]);
});

test("what a check finds out is told for each ready lease of the route, once, under the deployment's own id; a lease that has left is not spoken for", () => {
  const leases: readonly Lease[] = [{ index: 256, stage: "ready", rate: 7n, revision: 2, isHealthy: true }, { index: 257, stage: "ready", rate: 7n, revision: 2, isHealthy: false }, { index: 258, stage: "leaving", rate: 0n, revision: 2, isHealthy: true }];
  const beside = deployment(1, leases, { id: besideOf(id(1)), hosts: ["r2.d1.gw1.localhost"] });
  const routes = new Map([[beside.id, routeOf(beside)]]);
  const told = (cause: string | null): Action[] => [...plan(desired(beside), observed(world({ blobs: compiled, routes, health: new Map([[beside.id, cause]]) })), NOW).actions];
  assert.deepEqual(told("status 500"), [{ kind: "sendHealth", key: `health/${id(1)}/256`, id: id(1), index: 256, cause: "status 500" }]);
  assert.deepEqual(told(null), [{ kind: "sendHealth", key: `health/${id(1)}/257`, id: id(1), index: 257, cause: null }]);
  assert.deepEqual(keysFor(desired(beside), { blobs: compiled, routes }), []);
});

test("two revisions of a deployment on one machine are two routes, and each is made ready for its own leases", () => {
  const [old, beside] = [deployment(1, [{ index: 0, stage: "ready", rate: 7n, revision: 1, isHealthy: true }]), deployment(1, [{ index: 256, stage: "placed", rate: 7n, revision: 2, isHealthy: true }], { id: besideOf(id(1)), component: digest(2), hosts: ["r2.d1.gw1.localhost"] })];
  const blobs = new Map([[digest(1), blob("compiled")], [digest(2), blob("compiled")]]);
  assert.deepEqual(keysFor(desired(old, beside), { blobs, routes: loaded }), [`load/${beside.id}`]);
  assert.deepEqual(keysFor(desired(old, beside), { blobs, routes: new Map([...loaded, [beside.id, routeOf(beside)]]) }), [`ready/${id(1)}/256/7`]);
});

/** Carries actions out as the real hands do, on a small model of ledger and machine. */
function carryOut(actions: readonly Action[], want: Desired, have: World): Desired {
  let now = want;
  const lease = (deploymentId: Hex, index: number, change: (lease: Lease) => readonly Lease[]): void => {
    const deployments = now.deployments
      .map((d) => (d.id === deploymentId ? { ...d, leases: d.leases.flatMap((l) => (l.index === index ? change(l) : [l])) } : d))
      .filter((d) => d.leases.length > 0);
    now = { ...now, deployments };
  };
  for (const action of actions) {
    switch (action.kind) {
      case "sendLoad":
      case "sendWake":
      case "sendStandby": break;
      case "sendUp": now = { ...now, bootId: action.bootId }; break;
      case "fetch": have.blobs.set(action.digest, blob("present")); break;
      case "compile": have.blobs.set(action.digest, blob("compiled")); break;
      case "load": case "resize": have.routes.set(action.route.id, action.route); break;
      case "unload": have.routes.delete(action.id); break;
      case "drop": have.blobs.delete(action.digest); break;
      case "sendReady": lease(action.id, action.index, (l) => [{ ...l, stage: "ready" }]); break;
      case "sendHealth": lease(action.id, action.index, (l) => [{ ...l, isHealthy: action.cause === null }]); break;
      case "sendFailed": lease(action.id, action.index, () => []); break;
      case "startTask": case "stopTask": case "sendEnded": assert.fail("none of these is a task");
      // oxlint-disable-next-line no-fallthrough
      default: action satisfies never;
    }
  }
  return now;
}

test("carried out until there is nothing to do, every start ends with exactly the wanted routes loaded, all leases ready, no action twice", () => {
  let seed = 1;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  for (let round = 0; round < 500; round += 1) {
    const count = random(5);
    const have = world();
    let want: Desired = {
      ...desired(...Array.from({ length: count }, (_, n) => deployment(n, Array.from({ length: 1 + random(3) }, (_lease, index) => ({ index, stage: random(2) === 0 ? "placed" as const : "ready" as const, rate: 5n, revision: 1, isHealthy: true }))))),
      bootId: random(2) === 0 ? BOOT : null,
    };
    for (let n = 0; n < 6; n += 1) {
      if (random(2) === 0) have.blobs.set(digest(n), blob((["present", "compiled"] as const)[random(2)]!, NOW));
      if (random(3) === 0) have.routes.set(id(n), routeOf(deployment(n)));
    }
    const done = new Set<string>();
    let rounds = 0;
    for (; rounds < 8; rounds += 1) {
      const { actions } = plan(want, observed(have), NOW);
      if (actions.length === 0) break;
      for (const action of actions) {
        const once = `${action.kind}:${action.key}`;
        assert(!done.has(once), `${once} twice in round ${round}`);
        done.add(once);
      }
      want = carryOut(actions, want, have);
    }
    assert(rounds < 8);
    assert.deepEqual([...have.routes.keys()].toSorted(), want.deployments.map((d) => d.id).toSorted());
    for (const d of want.deployments) {
      assert.deepEqual(have.routes.get(d.id), routeOf(d));
      assert(d.leases.every((l) => l.stage === "ready"));
    }
    assert.equal(want.bootId, BOOT);
  }
});

test("back-off doubles from its first wait to its maximum", () => {
  assert.deepEqual([1, 2, 3, 4, 8, 50].map((count) => retryDelayMs(count, 250, 30_000)), [250, 500, 1000, 2000, 30_000, 30_000]);
});

/** Carries loads out as the runner does: a host that another route holds is refused. */
function settle(want: Desired, routes: Map<Hex, Route>, blobs: Map<Hex, Blob>): number {
  for (let round = 1; round <= 8; round++) {
    const { actions } = plan(want, observed(world({ blobs, routes: new Map(routes) })), NOW);
    const loads = actions.flatMap((action) => (action.kind === "load" || action.kind === "resize" ? [action.route] : []));
    if (loads.length === 0) return round;
    for (const route of loads) {
      for (const [other, { hosts }] of routes) assert(other === route.id || !hosts.some((host) => route.hosts.includes(host)), "host_in_use");
      routes.set(route.id, route);
    }
  }
  assert.fail("it does not settle");
}

test("two revisions change places on one machine: the runner is never asked for a host that the other has, and the deployment's own host is never without a route", () => {
  const ready = (revision: number, index: number): Lease[] => [{ index, stage: "ready", rate: 7n, revision, isHealthy: true }];
  const place = (isMain: boolean, revision: number): DeploymentHere =>
    deployment(1, ready(revision, revision * 256), { id: isMain ? id(1) : besideOf(id(1)), component: digest(revision), hosts: isMain ? ["d1", `r${revision}.d1`] : [`r${revision}.d1`] });
  const blobs = new Map([[digest(1), blob("compiled")], [digest(2), blob("compiled")]]);
  const routes = new Map<Hex, Route>();
  settle(desired(place(true, 1), place(false, 2)), routes, blobs);
  settle(desired(place(true, 2), place(false, 1)), routes, blobs);
  assert.deepEqual([...routes.values()].map(({ component, hosts }) => [component, hosts]), [[digest(2), ["d1", "r2.d1"]], [digest(1), ["r1.d1"]]]);
});

test("what a lease has to tell is told while a host of its route is still another's", () => {
  const other = deployment(2, [{ index: 0, stage: "ready", rate: 7n, revision: 1, isHealthy: true }], { hosts: ["shop", "d2"] });
  const wants = deployment(1, undefined, { hosts: ["d1", "shop"] });
  const blobs = new Map([[digest(1), blob("compiled")], [digest(2), blob("compiled")]]);
  assert.deepEqual(keysFor(desired(wants, other), { blobs, routes: new Map([[id(1), routeOf({ ...wants, hosts: ["d1"] })], [id(2), routeOf(other)]]) }), [`ready/${id(1)}/0/7`]);
});

test("a route that is to begin anew stays known: loaded again while it is wanted, unloaded when it is not", () => {
  const stale = new Set([id(1)]);
  const paid = deployment(1, [{ index: 0, stage: "ready", rate: 7n, revision: 1, isHealthy: true }]);
  assert.deepEqual(plan(desired(paid), observed(world({ blobs: compiled, routes: loaded, stale })), NOW).actions.map(({ kind }) => kind), ["load"]);
  assert.deepEqual(plan(desired(), observed(world({ blobs: compiled, routes: loaded, stale })), NOW).actions.map(({ kind }) => kind), ["unload"]);
});
