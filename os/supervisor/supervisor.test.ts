import assert from "node:assert/strict";
import test from "node:test";
import type { TestContext } from "node:test";
import type { Operation } from "#chain/codec/transaction.ts";
import { type Hex, address, fromHex, hex } from "#chain/types.ts";
import type { Deployment } from "#sandbox/sandbox.ts";
import { SETTINGS_DEFAULT, encodeConfiguration } from "../configuration.ts";
import { AgentError } from "../error.ts";
import { ACTIONS_OF_ONE_KIND_MAX, FETCH_ATTEMPTS_MAX, RETRY_MS_FIRST, RETRY_MS_MAX, SLOW_LOADS_MAX, WAKE_MS_MAX } from "../limits.ts";
import { type Hands, execute } from "./execute.ts";
import { type Blob, type DeploymentHere, type Desired, routeOf } from "./plan.ts";
import { Supervisor } from "./supervisor.ts";

const BOOT = "b0".repeat(16) as Hex;
const ID = "01".repeat(20) as Hex;
const COMPONENT = "02".repeat(32) as Hex;
const deployment: DeploymentHere = {
  id: ID, owner: "03".repeat(20) as Hex, hosts: ["d.gw1.localhost"], component: COMPONENT, configuration: null, memoryMib: 64, cpuMillis: 250, concurrency: 4, isolation: "shared",
  leases: [{ index: 0, stage: "placed", rate: 7n, revision: 1, isHealthy: true }],
};

/** None of these is a task. */
const NO_TASKS: Hands["tasks"] = { begin: () => assert.fail("a task"), stop: async () => {}, refuse: () => {} };

type Stage = { desired: Desired; blobs: Map<Hex, Blob>; loads: Deployment[]; sent: Operation[]; told: string[]; failures: string[]; errors: { load: string | null; submit: string | null; why?: string }; fetched: number; settings: Uint8Array; compiles: Hands["blobs"]["compile"]; supervisor: Supervisor };

function stage(t: TestContext): Stage {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  const it: Omit<Stage, "supervisor"> = {
    desired: { isRegistered: true, bootId: BOOT, deployments: [deployment], named: new Set([COMPONENT]), kept: new Set() }, blobs: new Map([[COMPONENT, { state: "compiled", expiresAtMs: 0 }]]),
    loads: [], sent: [], told: [], failures: [], fetched: 0, settings: new Uint8Array(0), errors: { load: null, submit: null }, compiles: async (digest) => ({ digest, path: "p", cached: true }),
  };
  const hands: Hands = {
    up: (bootId) => ({ kind: "up", bootId, consensusKey: null, binding: null, acknowledgements: [] }), submit: async (operation) => {
      if (it.errors.submit !== null) throw new AgentError(it.errors.submit, "as the test says");
      it.sent.push(operation);
      if (operation.kind !== "ready") return;
      it.desired = { ...it.desired, deployments: it.desired.deployments.map((d) => ({ ...d, leases: d.leases.map((l) => ({ ...l, stage: "ready" as const })) })) };
    },
    tasks: NO_TASKS,
    fetch: async () => {
      it.fetched += 1;
      throw new AgentError("blob_missing", "nowhere");
    },
    tell: (_id, line) => void it.told.push(line),
    blobs: { compile: (digest) => it.compiles(digest), read: async () => it.settings, drop: async (digest) => void it.blobs.delete(digest), forgetCompiled: () => {} },
    runner: {
      load: async (loaded) => {
        if (it.errors.load !== null) throw new AgentError(it.errors.load, it.errors.why ?? "as the test says");
        it.loads.push(loaded);
      },
      unload: async () => {},
    },
  };
  const supervisor = new Supervisor({ hands, bootId: BOOT, mayComeUp: () => true, tasks: () => ({ tasks: new Map(), mayRun: new Set() }), desired: () => it.desired, blobs: () => it.blobs, now: () => Date.now(), onFailure: (action, code) => void it.failures.push(`${action.key} ${code}`) });
  return Object.assign(it, { supervisor });
}
const settle = async (): Promise<void> => {
  for (let n = 0; n < 20; n += 1) await Promise.resolve();
};

test("one poke brings a placed lease to ready, and a second does nothing", async (t) => {
  const it = stage(t);
  it.supervisor.poke();
  await settle();
  assert.deepEqual(it.sent.map(({ kind }) => kind), ["ready"]);
  assert.equal(it.loads.length, 1);
  assert.deepEqual([...it.supervisor.routes.values()], [routeOf(deployment)]);
  it.supervisor.poke();
  await settle();
  assert.deepEqual([it.sent.length, it.loads.length], [1, 1]);
});

test("a trouble of the machine is tried again with growing waits, unloads nothing and fails no lease", async (t) => {
  const it = stage(t);
  it.errors.load = "runner_stopped";
  it.supervisor.poke();
  await settle();
  assert.deepEqual(it.failures, [`load/${ID} runner_stopped`]);
  it.supervisor.poke();
  await settle();
  assert.equal(it.failures.length, 1, "not before its time");
  t.mock.timers.tick(RETRY_MS_FIRST);
  await settle();
  assert.equal(it.failures.length, 2);
  t.mock.timers.tick(RETRY_MS_FIRST);
  await settle();
  assert.equal(it.failures.length, 2, "the second wait is longer");
  it.errors.load = null;
  t.mock.timers.tick(RETRY_MS_FIRST);
  await settle();
  assert.deepEqual(it.sent.map(({ kind }) => kind), ["ready"]);
});

test("a component that does not instantiate fails its lease with the cause, and tells its tenant", async (t) => {
  const it = stage(t);
  it.errors.load = "load_failed";
  it.supervisor.poke();
  await settle();
  const [sent] = it.sent;
  assert.deepEqual(sent?.kind === "failed" && [hex(sent.deploymentId), sent.index, sent.cause], [ID, 0, "load_failed"]);
  assert.match(it.told[0] ?? "", /load_failed/);
  // The ledger places it here again: it fails again, but later each time.
  const sentAfter = async (ms: number): Promise<number> => {
    t.mock.timers.tick(ms);
    await settle();
    return it.sent.length;
  };
  assert.equal(await sentAfter(RETRY_MS_FIRST), 2);
  assert.equal(await sentAfter(RETRY_MS_FIRST), 2);
  assert.equal(await sentAfter(RETRY_MS_FIRST), 3);
});

test("a trial that is late by the clock is tried again, as the computer may be busy; after SLOW_LOADS_MAX in a row its lease is failed", async (t) => {
  const it = stage(t);
  it.errors = { load: "load_failed", submit: null, why: "The component cannot be instantiated: wall_time_limit: still running after 3000 ms" };
  it.supervisor.poke();
  for (let n = 1; n < SLOW_LOADS_MAX; n += 1) {
    await settle();
    assert.deepEqual([it.failures.length, it.sent.length], [n, 0]);
    t.mock.timers.tick(RETRY_MS_MAX);
  }
  await settle();
  assert.deepEqual(it.sent.map((sent) => sent.kind === "failed" && sent.cause), ["load_failed"]);
});

test("a program that has begun here before is not failed because it is slow to begin again", async (t) => {
  const it = stage(t);
  it.supervisor.poke();
  await settle();
  it.errors = { load: "load_failed", submit: null, why: "The component cannot be instantiated: wall_time_limit: still running after 3000 ms" };
  it.supervisor.restart(ID);
  for (let n = 0; n <= SLOW_LOADS_MAX; n += 1) {
    await settle();
    t.mock.timers.tick(RETRY_MS_MAX);
  }
  await settle();
  it.errors.load = null;
  t.mock.timers.tick(RETRY_MS_MAX);
  await settle();
  assert.deepEqual([it.sent.map(({ kind }) => kind), it.loads.length, it.failures.length > SLOW_LOADS_MAX], [["ready"], 2, true]);
});

test("what could not be fetched before a lease came is asked for anew, and not said to be nowhere", async (t) => {
  const it = stage(t);
  const { desired } = it;
  it.blobs.clear();
  it.desired = { ...desired, deployments: [], kept: new Set([COMPONENT]) };
  it.supervisor.poke();
  for (let n = 0; n < FETCH_ATTEMPTS_MAX; n += 1) {
    await settle();
    t.mock.timers.tick(RETRY_MS_MAX);
  }
  await settle();
  const before = it.fetched;
  assert(before > FETCH_ATTEMPTS_MAX);
  it.desired = desired;
  it.supervisor.poke();
  await settle();
  assert.deepEqual([it.fetched, it.sent.length], [before + 1, 0]);
});

test("what was found of the health of one configuration is not told of another", async (t) => {
  const it = stage(t);
  it.supervisor.poke();
  await settle();
  it.supervisor.isWell(ID, "status 500");
  await settle();
  assert.deepEqual(it.sent.map(({ kind }) => kind), ["ready", "health"]);
  const configuration = "07".repeat(32) as Hex;
  it.blobs.set(configuration, { state: "compiled", expiresAtMs: 0 });
  it.settings = encodeConfiguration(address(fromHex(deployment.owner)), { ...SETTINGS_DEFAULT, reuse: true }) ?? assert.fail("no settings");
  it.desired = { ...it.desired, deployments: it.desired.deployments.map((one) => ({ ...one, configuration })) };
  t.mock.timers.tick(RETRY_MS_MAX);
  it.supervisor.poke();
  await settle();
  assert.deepEqual([it.loads.length, it.supervisor.observed().health.size], [2, 0]);
});

test("a route that the runner lost is loaded again without a word to the chain", async (t) => {
  const it = stage(t);
  it.supervisor.poke();
  await settle();
  it.supervisor.lost(ID);
  await settle();
  assert.deepEqual([it.loads.length, it.sent.length], [2, 1]);
});

test("a refused ready is tried again, since money may come", async (t) => {
  const it = stage(t);
  it.errors.submit = "insufficient_funds";
  it.supervisor.poke();
  await settle();
  it.errors.submit = null;
  t.mock.timers.tick(RETRY_MS_FIRST);
  await settle();
  assert.deepEqual(it.sent.map(({ kind }) => kind), ["ready"]);
});

test("stop() waits for what is under way, begins nothing more, and does not wait for ever", async (t) => {
  const it = stage(t);
  const { promise, resolve } = Promise.withResolvers<void>();
  const slow = new Supervisor({
    hands: { up: (bootId) => ({ kind: "up", bootId, consensusKey: null, binding: null, acknowledgements: [] }), submit: async () => {}, fetch: () => promise, tell: () => {}, blobs: { compile: async () => assert.fail("nothing more"), read: async () => new Uint8Array(0), drop: async () => {}, forgetCompiled: () => {} }, runner: { load: async () => {}, unload: async () => {} }, tasks: NO_TASKS },
    bootId: BOOT, mayComeUp: () => true, tasks: () => ({ tasks: new Map(), mayRun: new Set() }), desired: () => it.desired, blobs: () => new Map(), now: () => Date.now(),
  });
  slow.reconcile();
  let over = false;
  void slow.stop(500).then(() => (over = true));
  await settle();
  assert(!over);
  t.mock.timers.tick(500);
  await settle();
  assert(over);
  resolve();
  await settle();
  slow.poke();
  await settle();
});

test("a route is loaded with the summed limits of its replicas, capped by what one route can have", async () => {
  const loads: Deployment[] = [];
  const hands: Hands = {
    up: (bootId) => ({ kind: "up", bootId, consensusKey: null, binding: null, acknowledgements: [] }), submit: async () => {}, fetch: async () => {}, tell: () => {}, runner: { load: async (loaded: Deployment) => void loads.push(loaded), unload: async () => {} }, tasks: NO_TASKS,
    blobs: { compile: async (digest: Hex) => ({ digest, path: "p", cached: true }), read: async () => new Uint8Array(0), drop: async () => {}, forgetCompiled: () => {} },
  };
  const leases = Array.from({ length: 3 }, (_, index) => ({ index, stage: "ready" as const, rate: 1n, revision: 1, isHealthy: true }));
  for (const memoryMib of [64, 1000]) await execute({ kind: "load", key: "k", route: routeOf({ ...deployment, memoryMib, leases }) }, hands);
  assert.deepEqual(loads.map(({ limits, concurrency }) => [limits?.memoryBytesMax, concurrency]), [[192 * 1024 * 1024, 12], [1024 * 1024 * 1024, 12]]);
});

test("slow compiles of many keep no other deployment from its load", async (t) => {
  const it = stage(t);
  const many = Array.from({ length: ACTIONS_OF_ONE_KIND_MAX + 4 }, (_, n): DeploymentHere => ({ ...deployment, id: `00${n.toString(16).padStart(38, "0")}` as Hex, component: n.toString(16).padStart(64, "0") as Hex }));
  for (const { component } of many) it.blobs.set(component, { state: "present", expiresAtMs: 0 });
  it.desired = { ...it.desired, deployments: [...many, deployment], named: new Set([COMPONENT, ...many.map(({ component }) => component)]) };
  it.compiles = (digest) => (digest === COMPONENT ? Promise.resolve({ digest, path: "p", cached: true }) : new Promise(() => {}));
  it.supervisor.poke();
  await settle();
  assert.deepEqual(it.loads.map(({ id }) => id), [ID]);
  assert.equal(it.supervisor.observed().underWay.size, ACTIONS_OF_ONE_KIND_MAX, "and no more of them than that");
});

test("a clock that is set back delays no retry beyond the longest wait, and one far ahead makes no busy loop", async (t) => {
  const it = stage(t);
  it.errors.load = "runner_stopped";
  it.supervisor.poke();
  await settle();
  t.mock.timers.setTime(1_000);
  it.supervisor.poke();
  await settle();
  assert.equal(it.failures.length, 2, "a wait longer than any of ours is over");

  it.blobs.set("09".repeat(32) as Hex, { state: "present", expiresAtMs: 4_000_000_000_000 });
  const { mock } = t.mock.method(globalThis, "setTimeout");
  it.supervisor.poke();
  await settle();
  assert(mock.callCount() > 0);
  for (const { arguments: [, delayMs] } of mock.calls) assert((delayMs as number) <= WAKE_MS_MAX, String(delayMs));
});
