/** Consensus in worlds that are worse than ours: each scenario for some seeds, and the planted bugs that they must find. */

import assert from "node:assert";
import { test } from "node:test";
import { MUTANTS, plant } from "./mutants.ts";
import { SCENARIOS, scenario } from "./scenarios.ts";
import { simulate } from "./world.ts";

/** `npm test` has seconds for this; `tools/simulate.ts --seeds 1..500` has the night. */
const SEEDS = 20;

for (const plan of SCENARIOS) {
  test(`step() is safe in every world and live after it calmed down: ${plan.name}`, () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { faults } = simulate(seed, plan);
      assert.deepStrictEqual(faults, [], `seed ${seed} of ${plan.name}`);
    }
  });
}

test("a seed is one world: the same events, the same digest", () => {
  for (const seed of [1, 2, 3]) {
    const first = simulate(seed, scenario("restarts and a liar"));
    assert.strictEqual(simulate(seed, scenario("restarts and a liar")).digest, first.digest);
    assert.notStrictEqual(simulate(seed + 10, scenario("restarts and a liar")).digest, first.digest);
  }
});

for (const mutant of MUTANTS) {
  test(`the worlds find a planted bug: ${mutant.name}`, async () => {
    const consensus = await plant(mutant);
    for (let seed = 1; seed <= mutant.seedsMax; seed++) {
      if (simulate(seed, scenario(mutant.scenario), consensus).faults.length > 0) return;
    }
    assert.fail(`${mutant.seedsMax} seeds of ${mutant.scenario} did not find it`);
  });
}
