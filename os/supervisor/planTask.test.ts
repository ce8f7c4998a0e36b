import assert from "node:assert/strict";
import test from "node:test";
import type { Hex } from "#chain/types.ts";
import { type DeploymentHere, type Desired, type Lease, type Observed, plan } from "./plan.ts";
import type { TaskRun } from "./planTask.ts";

const BOOT = "b0".repeat(16) as Hex;
const ID = "1".padStart(40, "0") as Hex;
const COMPONENT = "c".repeat(64) as Hex;
const NOW = 1_000_000;

const lease = (stage: Lease["stage"]): Lease => ({ index: 0, stage, rate: 7n, revision: 1, isHealthy: true });
const task = (stage: Lease["stage"], run: number, changes: Partial<DeploymentHere> = {}): DeploymentHere => ({
  id: ID, owner: "9".padStart(40, "0") as Hex, hosts: [], component: COMPONENT, configuration: null, memoryMib: 64, cpuMillis: 100, concurrency: 1, isolation: "shared", leases: [lease(stage)], task: { run }, ...changes,
});
const desired = (...deployments: DeploymentHere[]): Desired => ({ isRegistered: true, bootId: BOOT, deployments, named: new Set([COMPONENT]), kept: new Set() });
const observed = (tasks: readonly TaskRun[], mayRun: boolean, state: "present" | "compiled" = "compiled"): Observed => ({
  bootId: BOOT, mayComeUp: true, blobs: new Map([[COMPONENT, { state, expiresAtMs: NOW + 1 }]]), routes: new Map(), stale: new Set(), refused: new Map(), health: new Map(),
  tasks: new Map(tasks.map((run) => [ID, run])), mayRun: new Set(mayRun ? [ID] : []), underWay: new Set(), failures: new Map(),
});
const keys = (want: Desired, have: Observed): string[] => plan(want, have, NOW).actions.map(({ key, kind }) => `${kind} ${key}`);
const RUNS: TaskRun = { run: 1, end: null };
const ENDED: TaskRun = { run: 1, end: { exitCode: 3, reason: "exit" } };

test("a task is made ready when all is here and the fence is open, runs once that is final, and its end is told until the ledger knows", () => {
  assert.deepEqual(keys(desired(task("placed", 0)), observed([], true, "present")), [`compile compile/${COMPONENT}`]);
  assert.deepEqual(keys(desired(task("placed", 0)), observed([], false)), []);
  assert.deepEqual(keys(desired(task("placed", 0)), observed([], true)), [`sendReady ready/${ID}/0/7`]);
  assert.deepEqual(keys(desired(task("ready", 1)), observed([], true)), [`startTask task/${ID}`]);
  assert.deepEqual(keys(desired(task("ready", 1)), observed([RUNS], true)), []);
  assert.deepEqual(keys(desired(task("ready", 1)), observed([ENDED], true)), [`sendEnded ended/${ID}/1`]);
  assert.deepEqual(keys(desired(), observed([ENDED], true)), [`stopTask task/${ID}`]);
});

test("what runs is stopped when its lease is gone, when the ledger counts another run, when the fence is down, and when the machine came up anew", () => {
  assert.deepEqual(keys(desired(), observed([RUNS], true)), [`stopTask task/${ID}`]);
  assert.deepEqual(keys(desired(task("ready", 2)), observed([RUNS], true)), [`stopTask task/${ID}`]);
  assert.deepEqual(keys(desired(task("placed", 1)), observed([RUNS], true)), [`stopTask task/${ID}`, `sendReady ready/${ID}/0/7`]);
  assert.deepEqual(keys(desired(task("ready", 1)), observed([RUNS], false)), [`stopTask task/${ID}`]);
  assert.deepEqual(keys({ ...desired(task("ready", 1)), bootId: null }, observed([RUNS], true)), [`up up/${BOOT}`, `stopTask task/${ID}`].map((text) => text.replace("up up", "sendUp up")));
});

test("a run that has ended is kept while the fence is down: it is told when it is open again, and not run a second time", () => {
  assert.deepEqual(keys(desired(task("ready", 1)), observed([ENDED], false)), []);
  assert.deepEqual(keys(desired(task("ready", 1)), observed([ENDED], true)), [`sendEnded ended/${ID}/1`]);
});

test("a task has no route, and what cannot be compiled is failed like any other", () => {
  assert(!keys(desired(task("ready", 1)), observed([], true)).some((key) => key.startsWith("load")));
  const refused = { ...observed([], true), blobs: new Map([[COMPONENT, { state: "refused" as const, cause: "compile_failed", expiresAtMs: NOW + 1 }]]) };
  assert.deepEqual(keys(desired(task("placed", 0)), refused), [`sendFailed failed/${ID}/0`]);
});
