import assert from "node:assert";
import { test } from "node:test";
import type { Level } from "#chain/ledger/scalingHeld.ts";
import { type Means, standbyRate, stepOf, verdictOf } from "#chain/ledger/scalingRule.ts";

const RICH: Means = { leases: 1, rate: 1_000n, free: 10n ** 15n, rateMax: 0n, runwaySecondsMin: 60n };
/** What a machine says of a lease that has so many thousandths of its target to do (os/supervisor/load.ts). */
const levelOf = (permille: number): Level => (permille > 1_000 ? 2 : permille < 400 ? 0 : 1);

/** Steps under a load until none follows; `share` gives each lease its part. */
function settle(load: number, from: number, bounds: { readonly min: number; readonly max: number }, share: (load: number, leases: number, index: number) => number): number[] {
  const numbers = [from];
  for (let now = from; numbers.length < 1_000;) {
    const levels = Array.from({ length: now }, (_, index) => levelOf(share(load, now, index)));
    const next = stepOf(verdictOf(levels), now, bounds, { ...RICH, leases: now, rate: 1_000n * BigInt(now) });
    if (next === now) return numbers;
    numbers.push(now = next);
  }
  throw new Error(`It never rests: ${numbers.slice(-6).join(" ")}`);
}

test("no flapping: under a constant load the number goes one way, in few steps, and rests where each lease has what it should", () => {
  for (let load = 0; load <= 40_000; load += 37) {
    for (const from of [1, 2, 3, 5, 8, 20, 64, 256]) {
      const numbers = settle(load, from, { min: 0, max: 256 }, (all, leases) => Math.floor(all / leases));
      const ways = new Set(numbers.slice(1).map((now, i) => Math.sign(now - numbers[i]!)));
      assert(ways.size <= 1, `load ${load} from ${from}: ${numbers.join(" ")}`);
      assert(numbers.length <= 24, `load ${load} from ${from}: ${numbers.join(" ")}`);
      const each = load / numbers.at(-1)!;
      assert(each <= 1_001 && (each >= 400 || numbers.at(-1) === 1), `load ${load} from ${from} rests at ${numbers.at(-1)}`);
    }
  }
});

test("no flapping where the load lies unevenly: what a step leaves is never undone by the next", () => {
  for (let load = 0; load <= 20_000; load += 131) {
    for (const from of [1, 2, 4, 16, 100]) {
      // Half of it lies on the first lease, as when one machine takes all requests and gives only some of them on.
      const numbers = settle(load, from, { min: 1, max: 128 }, (all, leases, index) => (leases === 1 ? all : index === 0 ? Math.floor(all / 2) : Math.floor(all / 2 / (leases - 1))));
      assert(new Set(numbers.slice(1).map((now, i) => Math.sign(now - numbers[i]!))).size <= 1, `load ${load} from ${from}: ${numbers.join(" ")}`);
    }
  }
});

test("the verdict is that of both in the middle: one lease of three, or of two, decides nothing alone", () => {
  const cases: readonly [readonly Level[], Level][] = [[[], 1], [[2], 2], [[0], 0], [[2, 0], 1], [[2, 1], 1], [[2, 2], 2], [[0, 0, 2], 0], [[2, 0, 1], 1], [[2, 2, 0], 2], [[2, 2, 0, 0], 1], [[2, 2, 2, 0], 2]];
  for (const [levels, verdict] of cases) assert.strictEqual(verdictOf(levels), verdict, levels.join(" "));
});

test("a step is as large as the money, the ceiling and the bounds allow, and none is taken without", () => {
  const bounds = { min: 2, max: 9 };
  const means = (changes: Partial<Means>): Means => ({ ...RICH, leases: 4, rate: 4_000n, ...changes });
  const cases: readonly [Level, number, Partial<Means>, number][] = [
    [2, 4, {}, 6], [2, 8, {}, 9], [2, 9, {}, 9], [1, 4, {}, 4], [0, 4, {}, 3], [0, 2, {}, 2], [0, 9, {}, 7],
    [2, 4, { free: 60n * 5_000n }, 5], [2, 4, { free: 60n * 5_000n - 1n }, 4], [2, 4, { free: 60n * 6_000n }, 6],
    [2, 4, { rateMax: 5_999n }, 5], [2, 4, { rateMax: 4_999n }, 4], [2, 4, { rateMax: 1n }, 4],
    // However cheap leases are, there is money for a minute of a hundred units each.
    [2, 4, { rate: 4n, free: 60n * 104n }, 5], [2, 4, { rate: 4n, free: 60n * 103n }, 4],
  ];
  for (const [verdict, now, changes, to] of cases) assert.strictEqual(stepOf(verdict, now, bounds, means(changes)), to, `${verdict} at ${now}`);
});

test("standby costs a twentieth, rounded up", () => {
  assert.deepStrictEqual([1n, 19n, 20n, 21n, 164n, 2n ** 64n].map(standbyRate), [1n, 1n, 1n, 2n, 9n, 922_337_203_685_477_581n]);
});
