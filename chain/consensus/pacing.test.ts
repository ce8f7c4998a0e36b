import assert from "node:assert";
import { test } from "node:test";
import { PRESETS } from "../constants.ts";
import { timeMs } from "../types.ts";
import { blockTimeMs, blockWantedMs, graceMs, viewTimeoutMs } from "./pacing.ts";

const PACE = PRESETS.minimal;
const PARENT = timeMs(1_000_000n);

test("a block is wanted at once when transactions wait, else when something is due, else after the idle time", () => {
  const table: [bigint | null, number, bigint][] = [
    [null, 0, 5_000n], [null, 1, 200n], [1_500n, 0, 1_500n], [1_500n, 7, 200n],
    [0n, 0, 200n], // Work was left over: at once.
    [-900_000n, 0, 200n], [4_999n, 0, 4_999n], [9_000n, 0, 5_000n],
  ];
  for (const [due, waiting, expected] of table) {
    assert.strictEqual(blockWantedMs(PACE, PARENT, due === null ? null : timeMs(PARENT + due), waiting), PARENT + expected);
  }
});

test("a block that comes a little late carries the time at which it was wanted, so that lateness does not add up; a later one the clock's", () => {
  const table: [wanted: bigint, now: bigint, expected: bigint][] = [
    [200n, 200n, 200n], [200n, 203n, 200n], [200n, 300n, 200n], [200n, 301n, 301n], [200n, 3_000n, 3_000n],
    // Due later than the interval: never before what is due.
    [1_500n, 1_502n, 1_500n], [1_500n, 1_700n, 1_700n],
    // A parent whose time is ahead of this clock: wanted sooner than it may be.
    [150n, 152n, 200n], [-40n, 10n, 200n],
  ];
  for (const [wanted, now, expected] of table) assert.strictEqual(blockTimeMs(PACE, PARENT, timeMs(PARENT + wanted), timeMs(PARENT + now)), PARENT + expected);
  // Each timer rings 7 ms late: after 1,000 blocks the last is as late as the first.
  let at = PARENT;
  let clock = PARENT as bigint;
  for (let block = 0; block < 1_000; block++) {
    const wanted = blockWantedMs(PACE, at, null, 1);
    clock = (wanted > clock ? wanted : clock) + 7n;
    at = blockTimeMs(PACE, at, wanted, timeMs(clock));
  }
  assert.strictEqual(clock - PARENT, 1_000n * 200n + 7n);
});

test("a view's grace is 4Δ and half as much again for each view without finality, up to its maximum", () => {
  assert.deepStrictEqual([0, 1, 2, 3, 4].map((k) => graceMs(PACE, k)), [400, 600, 900, 1350, 2025]);
  assert.strictEqual(graceMs(PACE, 1_000_000), 20_000);
});

test("a view's time is the wait for its block, the grace, and a millisecond for five transactions", () => {
  assert.strictEqual(viewTimeoutMs(PACE, timeMs(PARENT + 5_000n), PARENT, 0, 0), 5_400);
  assert.strictEqual(viewTimeoutMs(PACE, PARENT, timeMs(PARENT + 5_000n), 0, 0), 400);
  assert.strictEqual(viewTimeoutMs(PACE, PARENT, PARENT, 0, 999), 400 + 199);
  assert.strictEqual(viewTimeoutMs(PACE, PARENT, PARENT, 0, 1_000_000), 400 + 200);
  // A clock that is years behind waits no longer than an idle chain.
  assert.strictEqual(viewTimeoutMs(PACE, timeMs(PARENT + 10n ** 12n), PARENT, 0, 0), 5_400);
});
