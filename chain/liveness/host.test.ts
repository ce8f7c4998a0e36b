import assert from "node:assert/strict";
import { test } from "node:test";
import type { Hex } from "#chain/types.ts";
import { type HostEffect, type HostEvent, type HostState, newHost, stepHost } from "./host.ts";
import type { LivenessView } from "./witnesses.ts";

const ME = "m0" as Hex;
const MINE = "b1" as Hex;
const BEFORE = "b0" as Hex;
const WEIGHTS = new Map([["v1", 1], ["v2", 1], ["v3", 1]] as [Hex, number][]);
const TASK = { id: "task", isFenced: true, isSuccessor: false };
const SERVICE = { id: "service", isFenced: false, isSuccessor: false };

const viewOf = (height: number, bootId: Hex, isDown = false): LivenessView => ({
  height, timeMs: 0n, validators: WEIGHTS, sets: { current: WEIGHTS, previous: null, sinceMs: 0n }, machines: new Map([[ME, { validator: null, bootId, isDown, sinceHeight: 1 }]]),
});
const played = (host: HostState, events: readonly HostEvent[]): HostEffect[] => events.flatMap((event) => stepHost(host, event)[1]).filter(({ kind }) => kind !== "beat");
const final = (height: number, bootId: Hex, nowMs: bigint): HostEvent => ({ kind: "final", nowMs, view: viewOf(height, bootId), leases: [TASK, SERVICE] });
const tick = (nowMs: bigint): HostEvent => ({ kind: "tick", nowMs });
const clear = (from: string, number: number, nowMs: bigint): HostEvent => ({ kind: "acknowledgement", from: from as Hex, nowMs, acknowledgement: { bootId: MINE, number, isClear: true } });

test("a machine that reads another boot id under its key in a final block stops everything", () => {
  const host = newHost(ME, MINE, 0n);
  played(host, [final(1, MINE, 0n), tick(1n), clear("v1", 1, 5n), clear("v2", 1, 6n), tick(50n)]);
  const effects = played(host, [final(2, "b9" as Hex, 60n)]);
  assert.deepEqual(effects, [
    { kind: "stop", lease: "task", why: "machine_key_in_use" }, { kind: "stop", lease: "service", why: "machine_key_in_use" }, { kind: "halt", code: "machine_key_in_use" },
  ]);
  assert.deepEqual(stepHost(host, tick(5_000n))[1], [], "and sends no beat any more");
});

test("boot ids read before one's own are of before, however many there were: who catches up stops nothing", () => {
  const host = newHost(ME, MINE, 0n);
  assert.deepEqual(played(host, [final(1, "00" as Hex, 0n), tick(1n), final(2, BEFORE, 100n)]), []);
  assert.deepEqual(played(host, [final(3, MINE, 200n), tick(300n)]), [{ kind: "start", lease: "service" }]);
  assert.deepEqual(played(host, [final(4, BEFORE, 400n)]).at(-1), { kind: "halt", code: "machine_key_in_use" });
});

test("a task starts with clear acknowledgements of two thirds and stops 4 s after their beat was sent; a service runs on", () => {
  const host = newHost(ME, MINE, 0n);
  assert.deepEqual(played(host, [final(1, MINE, 0n), tick(1n), clear("v1", 1, 900n), clear("v1", 1, 901n), clear("v9", 1, 902n)]), [{ kind: "start", lease: "service" }]);
  assert.deepEqual(played(host, [clear("v3", 1, 1_000n), tick(1_001n)]), [{ kind: "start", lease: "task" }]);
  assert.deepEqual(played(host, [tick(4_000n)]), []);
  assert.deepEqual(played(host, [tick(4_001n)]), [{ kind: "stop", lease: "task", why: "fence" }]);
});

test("a successor waits 3 s after the block that gave it the task", () => {
  const host = newHost(ME, MINE, 0n);
  const successor: HostEvent = { kind: "final", nowMs: 0n, view: viewOf(1, MINE), leases: [{ ...TASK, isSuccessor: true }] };
  assert.deepEqual(played(host, [successor, tick(0n), clear("v1", 1, 1n), clear("v2", 1, 1n), tick(2_999n)]), []);
  assert.deepEqual(played(host, [tick(3_000n)]), [{ kind: "start", lease: "task" }]);
});
