/** Histories of tasks without a planted bug: the second reading of the rules agrees, and the audit comes to the same amounts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as ledger from "#chain/ledger/ledger.ts";
import * as view from "#chain/ledger/view.ts";
import { playTasks } from "./tasks.ts";

test("6 histories of tasks that fail, are lost, cancelled, run dry or never told of: the rules hold at each block, and the audit agrees to the unit", async () => {
  for (let seed = 1; seed <= 6; seed++) assert.deepEqual(await playTasks(seed, { ...ledger, ...view }), [], `seed ${seed}`);
});
