/** Validators that misbehave, sets that change, and the real ledger under it all. */

import assert from "node:assert";
import { test } from "node:test";
import { promise } from "./promise.ts";
import { EPOCHS, LEDGERS, LIARS, SCENARIOS, scenario } from "./scenarios.ts";
import { ROLES } from "./scenario.ts";
import { simulate } from "./world.ts";

promise([...LIARS, ...EPOCHS, ...LEDGERS]);

test("a fork leaves evidence of more than a third of the weight: the checker finds forks, and proof in each", () => {
  let forks = 0;
  for (let seed = 1; seed <= 5; seed++) {
    const { forked, faults } = simulate(seed, scenario("more than a third are twins"));
    assert.deepStrictEqual(faults, []);
    if (forked) forks += 1;
  }
  assert.strictEqual(forks, 5);
});

test("every role of the cast plays in a scenario, and those who sign two things are caught at it", () => {
  for (const role of ROLES) assert(SCENARIOS.some(({ cast }) => cast.some((one) => one.role === role)), role);
  for (const role of ["equivocator", "forker", "nuller", "twins", "spammer"]) {
    const { evidence } = simulate(1, scenario(role));
    assert(evidence > 0, role);
  }
  for (const role of ["late voter", "withholder", "silent", "liar in sync"]) assert.strictEqual(simulate(1, scenario(role)).evidence, 0, role);
});

test("epochs change in the worlds that have them, and evidence never names an honest validator of another set", () => {
  for (const { name, epochBlocks } of EPOCHS) {
    assert(epochBlocks !== null);
    let epochs = 0;
    for (let seed = 1; seed <= 3; seed++) epochs = Math.max(epochs, simulate(seed, scenario(name)).epochs);
    assert(epochs >= 2, `${name}: ${epochs}`);
  }
});
