/**
 * Runs simulated worlds of consensus: `godwit simulate [--seeds A..B] [--scenario NAME] [--json]`, `--pin` for the golden digests.
 *
 * A seed that fails is printed with what went wrong and the commit, and the exit code is 1; the same seed fails again.
 */

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { traceEpoch, traceStep } from "#chain/node/trace.ts";
import { DIGESTS } from "#tests/golden/simulation.ts";
import { crowd } from "#tests/simulation/crowd.ts";
import { commit } from "#tests/simulation/commit.ts";
import type { Scenario } from "#tests/simulation/scenario.ts";
import { SCENARIOS, scenario } from "#tests/simulation/scenarios.ts";
import { type Outcome, World, simulate } from "#tests/simulation/world.ts";

const SEEDS_MAX = 1_000_000;

function main(): number {
  const { values } = parseArgs({ options: {
    seeds: { type: "string", default: "1..20" }, scenario: { type: "string" }, json: { type: "boolean", default: false }, pin: { type: "boolean", default: false }, trace: { type: "string" },
    validators: { type: "string" }, seconds: { type: "string", default: "10" }, "delta-ms": { type: "string", default: "100" }, "network-ms": { type: "string", default: "5..105" },
  } });
  if (values.pin) return pin();
  if (values.validators !== undefined) return measure(values.validators, values.seconds, values["delta-ms"], values["network-ms"]);
  const match = /^(\d+)(?:\.\.(\d+))?$/.exec(values.seeds);
  const [from, to] = match ? [Number(match[1]), Number(match[2] ?? match[1])] : [1, 0];
  if (to < from || to - from > SEEDS_MAX || (values.scenario !== undefined && !SCENARIOS.some((s) => s.name === values.scenario))) {
    console.error(`usage: simulate [--seeds A..B] [--scenario NAME] [--json] [--trace FILE] [--pin]\n       simulate --validators N [--seconds N] [--delta-ms N] [--network-ms A..B]\nscenarios:\n${SCENARIOS.map(({ name }) => `  ${name}`).join("\n")}`);
    return 2;
  }
  const plans = values.scenario === undefined ? SCENARIOS : [scenario(values.scenario)];
  return plans.map((plan) => run(plan, from, to, values)).reduce((sum, bad) => sum + bad, 0) > 0 ? 1 : 0;
}

/** Finality, bytes and CPU of so many validators under load, as JSON. */
function measure(...[validators, seconds, deltaMs, network]: readonly [string, string, string, string]): number {
  const [from, to] = network.split("..").map(Number) as [number, number];
  const figures = crowd({ validators: Number(validators), seconds: Number(seconds), seed: 1, deltaMs: Number(deltaMs), calmMs: [from, to] });
  console.log(JSON.stringify(figures));
  return figures.faults.length > 0 ? 1 : 0;
}

/** How many seeds were bad. */
function run(plan: Scenario, from: number, to: number, { json: isJson, trace }: { readonly json: boolean; readonly trace?: string | undefined }): number {
  const startedMs = performance.now();
  let [steps, bad, blocksMin] = [0, 0, Number.MAX_SAFE_INTEGER];
  for (let seed = from; seed <= to; seed++) {
    const outcome = trace === undefined ? simulate(seed, plan) : traced(seed, plan, trace);
    steps += outcome.steps;
    blocksMin = Math.min(blocksMin, outcome.blocksAfterGst);
    const isBad = outcome.faults.length > 0;
    if (isJson) console.log(JSON.stringify({ scenario: plan.name, ...outcome, ...(isBad ? { commit: commit() } : {}) }));
    else if (isBad) console.log(`${plan.name}: seed ${seed} at commit ${commit()}: ${outcome.faults.join("; ")}`);
    if (isBad) bad += 1;
  }
  const seconds = (performance.now() - startedMs) / 1000;
  if (!isJson) console.log(`${plan.name}: ${to - from + 1} seeds, ${bad} bad, ${steps} steps, ${blocksMin} blocks after GST at least, ${seconds.toFixed(1)} s`);
  return bad;
}

/** Writes what the honest nodes did to a file, for `tools/trace.ts`. One world a file: nodes of two would be taken for the same. */
function traced(seed: number, plan: Scenario, path: string): Outcome {
  const world = new World(seed, plan);
  const lines: string[] = [];
  world.onEpoch = (node, configuration) => { if (world.isHonest(node.key)) lines.push(traceEpoch(node.index, configuration)); };
  world.onStep = (node, event, effects) => { if (world.isHonest(node.key)) lines.push(traceStep(node.index, event, effects)); };
  const outcome = world.run();
  writeFileSync(path, `${lines.join("\n")}\n`);
  return outcome;
}

function pin(): number {
  for (const name of Object.keys(DIGESTS)) {
    console.log(`  ${JSON.stringify(name)}: [${[1, 2].map((seed) => JSON.stringify(simulate(seed, scenario(name)).digest)).join(", ")}],`);
  }
  return 0;
}

process.exitCode = main();
