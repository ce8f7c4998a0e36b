/** Histories of machines without a planted bug: the audit judges each of them as the ledger does, to the second and to the unit. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as ledger from "#chain/ledger/ledger.ts";
import * as view from "#chain/ledger/view.ts";
import { playDowns } from "./downs.ts";

test("10 histories of machines that go down and come up: conserved, and the audit comes to the same verdicts and amounts", async () => {
  for (let seed = 1; seed <= 10; seed++) assert.deepEqual(await playDowns(seed, { ...ledger, ...view }), [], `seed ${seed}`);
});
