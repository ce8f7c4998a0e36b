/** The second reading of the rules: it agrees with every honest node, and catches planted bugs by their log alone. */

import assert from "node:assert";
import { test } from "node:test";
import { traceEpoch, traceStep } from "#chain/node/trace.ts";
import { MUTANTS, plant } from "./mutants.ts";
import { SCENARIOS, scenario } from "./scenarios.ts";
import { Trace } from "./trace.ts";
import { CODE, type Code, World } from "./world.ts";

const SEEDS = 2;

/** Reads the logs of the honest nodes of one world as it runs. */
function traced(seed: number, name: string, code: Code = CODE): Trace {
  const world = new World(seed, scenario(name), code);
  const trace = new Trace();
  world.onEpoch = (node, configuration) => { if (world.isHonest(node.key)) trace.read(traceEpoch(node.index, configuration)); };
  world.onStep = (node, event, effects) => { if (world.isHonest(node.key)) trace.read(traceStep(node.index, event, effects)); };
  world.run();
  return trace;
}

test("every action of every honest node, in every scenario, obeyed a rule that a second reading knows", () => {
  const obeyed = new Set<string>();
  for (const { name } of SCENARIOS) {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const trace = traced(seed, name);
      assert.deepStrictEqual(trace.violations.slice(0, 3), [], `seed ${seed} of "${name}"`);
      for (const rule of trace.obeyed.keys()) obeyed.add(rule);
    }
  }
  // R6 is the entering of a view, which is no action of its own.
  assert.deepStrictEqual([...obeyed].toSorted((a, b) => Number(a.slice(1)) - Number(b.slice(1))), ["R1", "R2", "R3", "R4", "R5", "R7", "R8", "R9", "R10", "R11", "R12", "R13", "R14"]);
});

/** Bugs that make a node do what it may not; the others only make it stop. */
const UNLAWFUL = [
  "a quorum one short", "no check of the nullifications between parent and child", "finalize after nullify", "notarize twice", "finalize what one has not notarized",
  "a vote log that is not read at start", "commit before the block has executed", "the vote leaves before it is on disk", "whoever lost its vote log votes at once",
  "whoever rejoins is not mute one view beyond", "who rejoins believes any answer", "evidence for a nullification after a notarization",
];

for (const name of UNLAWFUL) {
  test(`a log shows the planted bug: ${name}`, async () => {
    const mutant = MUTANTS.find((one) => one.name === name)!;
    const code = await plant(mutant);
    for (let seed = 1; seed <= mutant.seedsMax; seed++) if (traced(seed, mutant.scenario, code).violations.length > 0) return;
    assert.fail(`${mutant.seedsMax} logs of "${mutant.scenario}" show nothing`);
  });
}
