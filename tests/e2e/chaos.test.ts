/** A short chaos by seed: one machine killed, one cut off, under a light load; every promise is kept. `npm run chaos` is the long form. */
import assert from "node:assert/strict";
import test from "node:test";
import { runChaos } from "#tools/devnet/chaos.ts";
import { needs } from "../require.ts";
import { temporaryFolder } from "./stage.ts";

/** One fault of each kind takes so long with this seed. */
const TOTAL_MS = 28_000;

test("a kill and a partition by seed under load: the workload answers from others, no request fails at any machine that is well, the chain goes on, the audit is equal and nothing is lost", { timeout: 400_000 }, async (t) => {
  if (!needs(t, "cargo", "root", "nft")) return;
  const report = await runChaos({ directory: temporaryFolder(t), seed: 3, totalMs: TOTAL_MS, kinds: ["kill", "partition"], always: false, restMs: 1_000 });
  t.diagnostic(`${report.requests} requests, ${report.transfersFinal} transfers, ${report.height} blocks`);
  for (const { fault, promise, said } of report.verdicts) t.diagnostic(`${fault}: ${promise} ${said}`);
  assert.deepEqual(new Set(report.faults.map(({ kind }) => kind)), new Set(["kill", "partition"]));
  assert.deepEqual(report.verdicts.filter(({ isKept }) => !isKept), []);
  assert(report.requests > 0 && report.transfersFinal > 0);
});
