/** The test of one scenario: every seed is safe, and live after it calmed down; a failure prints seed, scenario and commit. */

import assert from "node:assert";
import { test } from "node:test";
import { commit } from "./commit.ts";
import type { Scenario } from "./scenario.ts";
import { simulate } from "./world.ts";

/** `npm test` has seconds for this; `npm run simulate:campaign` has the night. */
const SEEDS = 50;

export function promise(plans: readonly Scenario[]): void {
  for (const plan of plans) {
    test(`step() is safe in every world and live after it calmed down: ${plan.name}`, () => {
      for (let seed = 1; seed <= SEEDS; seed++) {
        const { faults } = simulate(seed, plan);
        if (faults.length > 0) assert.fail(`seed ${seed} of "${plan.name}" at commit ${commit()}: ${faults.join("; ")}`);
      }
    });
  }
}
