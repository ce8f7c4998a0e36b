/** A seed is one world, on every version of Node: its digest is pinned. */

import assert from "node:assert";
import { test } from "node:test";
import { DIGESTS } from "#tests/golden/simulation.ts";
import { scenario } from "./scenarios.ts";
import { simulate } from "./world.ts";

test("a seed is one world: the same events, the same digest", () => {
  for (const seed of [1, 2, 3]) {
    const first = simulate(seed, scenario("restarts and a liar"));
    assert.strictEqual(simulate(seed, scenario("restarts and a liar")).digest, first.digest);
    assert.notStrictEqual(simulate(seed + 10, scenario("restarts and a liar")).digest, first.digest);
  }
});

test(`the digests are those that are pinned, on Node ${process.version}`, () => {
  const now = Object.fromEntries(Object.keys(DIGESTS).map((name) => [name, [1, 2].map((seed) => simulate(seed, scenario(name)).digest)]));
  assert.deepStrictEqual(now, DIGESTS);
});
