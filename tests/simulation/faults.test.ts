/** Networks, machines, clocks and disks that fail. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { promise } from "./promise.ts";
import { FAULTS, NETWORKS, scenario } from "./scenarios.ts";
import { simulate } from "./world.ts";

promise([...NETWORKS, ...FAULTS]);

test("R10: who has asked in vain through a long bad time asks again soon after it: three worlds of the campaign that were late", () => {
  for (const [name, seed] of [["restarts", 510], ["blackout and a loss", 614], ["blackout and a loss", 620]] as const) assert.deepEqual(simulate(seed, scenario(name)).faults, [], `${name} ${seed}`);
});
