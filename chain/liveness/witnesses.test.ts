import assert from "node:assert/strict";
import { test } from "node:test";
import type { Hex } from "#chain/types.ts";
import { restMs } from "./rules.ts";
import { competentSets, drawWitnesses } from "./witnesses.ts";

const setOf = (n: number): Map<Hex, number> => new Map(Array.from({ length: n }, (_, i) => [`v${i}` as Hex, i + 1]));

test("witnesses are all validators up to 20, and of more the 20 that the draw puts first, with their stake", () => {
  assert.equal(drawWitnesses(setOf(20), () => assert.fail()).size, 20);
  const drawn = drawWitnesses(setOf(30), (witness) => (99 - Number(witness.slice(1))).toString() as Hex);
  assert.deepEqual([...drawn.keys()].sort(), Array.from({ length: 20 }, (_, i) => `v${i + 10}`).sort());
  assert.equal(drawn.get("v29" as Hex), 30);
});

test("the set before is competent for 20 s of an epoch, and a machine's own validator only when it is alone", () => {
  const sets = { current: setOf(4), previous: setOf(1), sinceMs: 1_000n };
  const sizes = (timeMs: bigint, own: string | null): number[] => competentSets(sets, timeMs, own as Hex | null).map(({ size }) => size);
  assert.deepEqual(sizes(20_999n, "v0"), [3, 1]);
  assert.deepEqual(sizes(21_000n, "v0"), [3]);
  assert.deepEqual(sizes(21_000n, "v9"), [4]);
  assert.deepEqual(sizes(21_000n, null), [4]);
});

test("after the n-th down in an hour a machine rests 10 s, twice as long each time, at most 10 min", () => {
  assert.deepEqual([1, 2, 3, 6, 7, 8, 1000].map(restMs), [10_000n, 20_000n, 40_000n, 320_000n, 600_000n, 600_000n, 600_000n]);
});
