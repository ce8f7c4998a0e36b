/**
 * Runs simulated worlds of consensus: `node tools/simulate.ts [--seeds A..B] [--scenario NAME] [--json]`.
 *
 * A seed that fails is printed with what went wrong, and the exit code is 1; the same seed fails again.
 */

import { parseArgs } from "node:util";
import { SCENARIOS, scenario } from "#tests/simulation/scenarios.ts";
import { simulate } from "#tests/simulation/world.ts";

const SEEDS_MAX = 1_000_000;

function main(): number {
  const { values } = parseArgs({ options: {
    seeds: { type: "string", default: "1..20" }, scenario: { type: "string" }, json: { type: "boolean", default: false },
  } });
  const match = /^(\d+)(?:\.\.(\d+))?$/.exec(values.seeds);
  const [from, to] = match ? [Number(match[1]), Number(match[2] ?? match[1])] : [1, 0];
  if (to < from || to - from > SEEDS_MAX || (values.scenario !== undefined && !SCENARIOS.some((s) => s.name === values.scenario))) {
    console.error(`usage: simulate [--seeds A..B] [--scenario ${SCENARIOS.map((s) => JSON.stringify(s.name)).join("|")}] [--json]`);
    return 2;
  }
  let failed = 0;
  for (const plan of values.scenario === undefined ? SCENARIOS : [scenario(values.scenario)]) {
    const startedMs = performance.now();
    let steps = 0;
    let blocksMin = Number.MAX_SAFE_INTEGER;
    let bad = 0;
    for (let seed = from; seed <= to; seed++) {
      const outcome = simulate(seed, plan);
      steps += outcome.steps;
      blocksMin = Math.min(blocksMin, outcome.blocksAfterGst);
      if (values.json) console.log(JSON.stringify({ scenario: plan.name, ...outcome }));
      else if (outcome.faults.length > 0) console.log(`${plan.name} seed ${seed}: ${outcome.faults.join("; ")}`);
      if (outcome.faults.length > 0) bad += 1;
    }
    failed += bad;
    const seconds = (performance.now() - startedMs) / 1000;
    if (!values.json) {
      console.log(`${plan.name}: ${to - from + 1} seeds, ${bad} bad, ${steps} steps, ${blocksMin} blocks after GST at least, ${seconds.toFixed(1)} s`);
    }
  }
  return failed > 0 ? 1 : 0;
}

process.exitCode = main();
