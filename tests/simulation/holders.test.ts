/** Histories of holders without a planted bug: the second reading of the rules agrees with the ledger to the unit. */
import assert from "node:assert";
import { test } from "node:test";
import * as ledger from "#chain/ledger/ledger.ts";
import * as view from "#chain/ledger/view.ts";
import { playHolders } from "./holders.ts";

test("10 histories of holders over two epochs: conserved, and the audit reckons every balance the same", async () => {
  for (let seed = 1; seed <= 10; seed++) assert.deepStrictEqual(await playHolders(seed, { ...ledger, ...view }), [], `seed ${seed}`);
});
