/**
 * Plants every bug of tests/simulation/mutants and says which seed finds it first: `npm run mutants [-- --json]`. A survivor is a
 * failure.
 */

import { parseArgs } from "node:util";
import { MUTANTS, hunt } from "#tests/simulation/mutants.ts";

const { values } = parseArgs({ options: { json: { type: "boolean", default: false } } });
for (const mutant of MUTANTS) {
  const found = await hunt(mutant);
  const fault = found?.fault.split("\n")[0] ?? null;
  if (values.json) console.log(JSON.stringify({ mutant: mutant.name, scenario: mutant.scenario, seed: found?.seed ?? null, seedsMax: mutant.seedsMax, fault }));
  else console.log(`| ${mutant.name} | ${mutant.scenario} | ${found === null ? `SURVIVES ${mutant.seedsMax} seeds` : `@${found.seed}`} | ${fault ?? ""} |`);
  if (found === null) process.exitCode = 1;
}
