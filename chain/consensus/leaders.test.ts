import assert from "node:assert";
import { test } from "node:test";
import { leaderAt, leaderCycle } from "./leaders.ts";

const seed = (n: number): Uint8Array => new Uint8Array(32).fill(n);
const slots = (cycle: readonly number[], index: number): number => cycle.filter((leader) => leader === index).length;
const repeats = (cycle: readonly number[]): number => cycle.filter((leader, at) => leader === cycle[(at + 1) % cycle.length]).length;

const SETS: readonly (readonly number[])[] = [
  [1, 1], [1, 1, 1, 1], [2, 1, 1], [3, 1, 1, 1, 1], [5, 3, 2], [1, 1, 1, 1, 1, 1, 1], [100, 99, 1], [2 ** 29, 2 ** 29, 2 ** 28, 1],
  Array.from({ length: 200 }, (_, index) => 1 + ((index * 7919) % 97)),
];

test("leaders have slots in proportion to their stake", () => {
  for (const weights of SETS) {
    const sum = weights.reduce((a, b) => a + b, 0);
    const cycle = leaderCycle(weights, seed(1));
    assert.strictEqual(cycle.length, weights.length * 16);
    for (const [index, weight] of weights.entries()) {
      assert(Math.abs(slots(cycle, index) * sum - weight * cycle.length) <= sum, `${index} of ${String(weights)}`);
    }
  }
});

test("nobody leads twice in a row where that can be avoided", () => {
  for (const weights of SETS) {
    for (let n = 0; n < 8; n++) {
      const cycle = leaderCycle(weights, seed(n));
      const most = Math.max(...weights.map((_, index) => slots(cycle, index)));
      // Who has more than half of the slots must follow himself: at least so often, and no oftener.
      assert.strictEqual(repeats(cycle), Math.max(0, 2 * most - cycle.length), `seed ${n} of ${String(weights)}`);
    }
  }
});

test("the seed alone decides ties, and is the same everywhere", () => {
  const cycle = leaderCycle([1, 1, 1, 1], seed(1));
  assert.deepStrictEqual(leaderCycle([1, 1, 1, 1], seed(1)), cycle);
  assert(Array.from({ length: 8 }, (_, n) => leaderCycle([1, 1, 1, 1], seed(n))).some((other) => String(other) !== String(cycle)));
  assert.strictEqual(leaderAt(cycle, 1), cycle[0]);
  assert.strictEqual(leaderAt(cycle, 65), cycle[0]);
  assert.deepStrictEqual(leaderCycle([7], seed(1)), [0]);
});
