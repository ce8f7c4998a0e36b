import assert from "node:assert";
import { test } from "node:test";
import { crowd } from "./crowd.ts";

test("16 validators in one simulated LAN: a transaction is final on all of them within 500 ms, p99", () => {
  const figures = crowd({ validators: 16, seconds: 6, seed: 1, deltaMs: 100, calmMs: [1, 3] });
  assert.deepStrictEqual(figures.faults, []);
  assert(figures.blocks > 20 && figures.transactionFinalMs.p99 > 0);
  assert(figures.transactionFinalMs.p99 <= 500, JSON.stringify(figures));
});

test("where certificates are not sent on, beyond 32 validators, 40 of them still finalize every block", () => {
  const figures = crowd({ validators: 40, seconds: 2, seed: 1, deltaMs: 100, calmMs: [5, 105] });
  assert.deepStrictEqual(figures.faults, []);
  assert(figures.blocksPerSecond > 4 && figures.blockFinalMs.max < 500, JSON.stringify(figures));
});
