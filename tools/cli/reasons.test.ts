import assert from "node:assert/strict";
import { test } from "node:test";
import type { Deployment, Lease, Machine } from "./answers.ts";
import { reasonsOf } from "./reasons.ts";

const machine = (id: string, over: Partial<Machine> = {}): Machine => ({
  id, operator: "gw1op", state: "up", memoryMib: 1024, cpuMillis: 4000, memoryMibUsed: 0, cpuMillisUsed: 0, leases: 0, pricePerGibSecond: 1024n, pricePerCoreSecond: 0n,
  bond: 10n ** 15n, placeableFrom: 0n, region: "eu", draining: false, labels: [], ...over,
});
const lease = (state: string, over: Partial<Lease> = {}): Lease => ({ index: 0, state, machine: null, rate: 0n, standbyRate: null, lastEnd: null, revision: 1, unhealthyFrom: null, next: null, last: null, ...over });
const deployment = (one: Lease, over: Partial<Deployment> = {}): Deployment => ({
  id: "aa", name: "web", owner: "gw1me", component: "sha256:00", state: "active", memoryMib: 256, cpuMillis: 100, concurrency: 1, isolation: "shared", replicas: 1, createdHeight: 1, failure: null, host: "h", url: "u", leases: [one],
  configuration: null, rateMax: 0n, revision: 1, rollout: null, history: [], rolledBack: null, task: null, constraints: { regions: [], operators: [], labels: [] }, scaling: null, ...over,
});
const why = (of: Deployment, machines: readonly Machine[] = [machine("a")]): string => reasonsOf(of, machines, 5n)[0]!.why;

test("what cannot be placed says what is missing, by the rule of placement itself", () => {
  const [a, b, c] = [machine("a", { memoryMib: 100 }), machine("b", { region: "us" }), machine("c", { draining: true })];
  assert.equal(why(deployment(lease("pending"), { constraints: { regions: ["eu"], operators: [], labels: [] } }), [a, b, c]), "looks for a machine: 1 machine without the memory, 1 machine of another region, 1 machine being emptied");
  assert.equal(why(deployment(lease("pending", { lastEnd: "down" })), [machine("a")]), "its machine went down; looks for a machine: one has room, and takes it in the next block");
  assert.equal(why(deployment(lease("moving", { machine: "a" })), [machine("a")]), "looks for another machine: there is no other machine");
  assert.equal(why(deployment(lease("moving", { machine: "a", next: "b" })), [a, b]), "moves to b, and serves here until that is ready");
});

test("what waits, what is not well and what was rolled back say so", () => {
  assert.equal(why(deployment(lease("waiting", { lastEnd: "unfunded" }))), "the escrow does not hold a minute of it: godwit topup; waits for its owner");
  assert.match(why(deployment(lease("ready", { machine: "a", rate: 3n, unhealthyFrom: 7n }), { rolledBack: "unhealthy: status 500" })), /^serves at .*; does not answer its health path since second 7; a new version was rolled back: unhealthy: status 500$/);
  const rollout = { revision: 2, component: "x", configuration: null, weight: 100, weightNow: 100, replicas: 1, healthySeconds: 10, failuresMax: 1, failures: 0, deadline: 90n, healthyFrom: 40n };
  assert.match(why(deployment(lease("ready", { machine: "a", rate: 3n, revision: 2 }), { rollout })), /healthy since second 40: promoted after 10 s, has 100 of 1000 requests$/);
});

test("what scales by itself says what its load is and when the next step comes, and what is on standby what it costs", () => {
  const scaling = { min: 0, max: 3, metric: "requests", target: 100, rateMax: 0n, load: "high", due: 77n };
  const ready = (over: Partial<Lease>): Lease => lease("ready", { machine: "a", rate: 200n, ...over });
  assert.match(why(deployment(ready({}), { scaling })), /load high: more at second 77$/);
  assert.match(why(deployment(ready({ standbyRate: 10n }), { scaling: { ...scaling, load: "low", due: null } })), /^on standby at .*wakes at the next request.*; load low, and 1 is the least$/);
});
