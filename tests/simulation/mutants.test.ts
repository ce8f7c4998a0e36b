/** The planted bugs: each must be found by the worlds, within its seeds. */

import assert from "node:assert";
import { test } from "node:test";
import { MUTANTS, hunt } from "./mutants.ts";

for (const mutant of MUTANTS) {
  test(`the worlds find a planted bug: ${mutant.name}`, async () => {
    const found = await hunt(mutant);
    assert(found !== null, `${mutant.seedsMax} seeds of "${mutant.scenario}" did not find it`);
  });
}
