/** A grid without processes, small: what machines that fail leave behind serves elsewhere within seconds of simulated time. `npm run simulate:grid` is the large one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { simulateGrid } from "#tools/simulateGrid.ts";

test("40 machines of which a tenth fails each minute, then a rack at once: every replica serves again within 5 s of simulated time, and the same seed goes the same way", () => {
  const run = (): ReturnType<typeof simulateGrid> => simulateGrid({ machines: 40, replicas: 200, minutes: 1, percent: 10, seed: 3 });
  const { steady, burst } = run();
  for (const { replicasLost, servesAgainMs, readyAgainMs, blockBytes } of [steady, burst]) {
    assert(replicasLost > 0);
    assert(servesAgainMs.p50 > 1_500 && servesAgainMs.max < 5_000 && readyAgainMs.max < 6_000, JSON.stringify({ servesAgainMs, readyAgainMs }));
    assert(blockBytes.max < 256 * 1024);
  }
  const again = run();
  assert.deepEqual([again.steady.servesAgainMs, again.burst.readyAgainMs, again.steady.blocks], [steady.servesAgainMs, burst.readyAgainMs, steady.blocks]);
});
