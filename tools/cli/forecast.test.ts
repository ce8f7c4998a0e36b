import assert from "node:assert/strict";
import { test } from "node:test";
import type { Machine } from "./answers.ts";
import { forecast, obstaclesText } from "./forecast.ts";

const machine = (id: string, over: Partial<Machine> = {}): Machine => ({
  id, operator: "gw1op", state: "up", memoryMib: 1024, cpuMillis: 4000, memoryMibUsed: 0, cpuMillisUsed: 0, leases: 0, pricePerGibSecond: 1024n, pricePerCoreSecond: 0n,
  bond: 10n ** 15n, placeableFrom: 0n, region: "", draining: false, labels: [], ...over,
});
const need = { memoryMib: 256, cpuMillis: 100, replicas: 3, rateMax: 0n };

test("replicas spread over machines first, then go where it is cheapest", () => {
  const { placed, unplaced, cheapest } = forecast(need, [machine("dear", { pricePerGibSecond: 4096n }), machine("cheap")], 0n);
  assert.deepEqual(placed.map((one) => [one.machine, one.rate]), [["cheap", 256n], ["dear", 1024n], ["cheap", 256n]]);
  assert.deepEqual([unplaced, cheapest], [[], 256n]);
});

test("what cannot be placed says what is missing, machine by machine", () => {
  const { placed, unplaced, obstacles } = forecast({ ...need, replicas: 2, rateMax: 300n }, [
    machine("room", { memoryMib: 256 }), machine("down", { state: "down" }), machine("rests", { placeableFrom: 5n }), machine("dear", { pricePerGibSecond: 4096n }), machine("busy", { cpuMillisUsed: 3950 }), machine("unbonded", { bond: 0n }),
  ], 4n);
  assert.deepEqual([placed.map(({ machine: id }) => id), unplaced], [["room"], [1]]);
  assert.equal(obstaclesText(obstacles), "1 machine without the memory, 1 machine not up, 1 machine resting after a failure, 1 machine above the maximum price, 1 machine without the CPU, 1 machine whose bond covers no more");
  assert.equal(obstaclesText(forecast(need, [], 0n).obstacles), "there is no machine");
});
