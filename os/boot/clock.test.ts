import assert from "node:assert/strict";
import { test } from "node:test";
import { followChain } from "./clock.ts";

const YEAR_MS = 365 * 86_400_000;
const NOW_MS = Date.UTC(2026, 10, 26);

/** A machine whose clock is off, and the blocks that reach it. */
function world(offMs: number): { clockMs: () => number; pass(ms: number): void; final(headerMs: number): void; nowMs: () => number } {
  let [monotonicMs, offset] = [0, offMs];
  const nowMs = (): number => NOW_MS + monotonicMs;
  const clockMs = (): number => nowMs() + offset;
  const chain = followChain(() => {}, (toMs) => { offset = toMs - nowMs(); }, clockMs, () => monotonicMs);
  return { clockMs, nowMs, pass: (ms) => { monotonicMs += ms; }, final: (headerMs) => chain.final(headerMs) };
}

test("a machine whose clock is years behind has the chain's time when it has caught up", () => {
  const one = world(-20 * YEAR_MS);
  for (let block = 0; block < 400; block++) {
    one.pass(50);
    one.final(NOW_MS - (400 - block) * 5_000);
  }
  one.pass(5_000);
  one.final(one.nowMs() - 200);
  assert(Math.abs(one.clockMs() - one.nowMs()) < 16_000, String(one.clockMs() - one.nowMs()));
});

test("a clock that is years ahead is put back, but only by a chain that goes on as time does", () => {
  const one = world(3 * YEAR_MS);
  for (let block = 0; block < 100; block++) {
    one.pass(200);
    one.final(NOW_MS - 10 * YEAR_MS + block * 5_000);
  }
  assert(one.clockMs() - one.nowMs() > 2 * YEAR_MS, "old blocks that come fast say nothing of now");
  for (let block = 0; block < 4; block++) {
    one.pass(5_000);
    one.final(one.nowMs() - 200);
  }
  assert(Math.abs(one.clockMs() - one.nowMs()) < 16_000);
});

test("a clock that is right is left alone", () => {
  const one = world(300);
  for (let block = 0; block < 20; block++) {
    one.pass(5_000);
    one.final(one.nowMs() - 200);
  }
  assert.equal(one.clockMs() - one.nowMs(), 300);
});
