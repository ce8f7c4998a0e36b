/**
 * Worlds of who is alive, seed by seed; one line of JSON for each scenario, and exit code 1 when one was bad.
 *
 *     npm run simulate:liveness [-- --seeds 1..200 --scenario mix]
 */

import { parseArgs } from "node:util";
import { commit } from "#tests/simulation/commit.ts";
import { hold } from "#tests/simulation/liveness/courts.ts";
import { SCENARIOS } from "#tests/simulation/liveness/scenarios.ts";
import { simulate } from "#tests/simulation/liveness/world.ts";

const { values } = parseArgs({ options: { seeds: { type: "string", default: "1..100" }, scenario: { type: "string" } } });
const [from, to] = values.seeds.split("..").map(Number) as [number, number | undefined];
const seeds = Array.from({ length: (to ?? from) - from + 1 }, (_, i) => from + i);
const quantile = (sorted: readonly number[], permille: number): number | null => sorted[Math.floor((sorted.length * permille) / 1000)] ?? null;
const wanted = (name: string): boolean => values.scenario === undefined || values.scenario === name;
if (!wanted("courts") && !SCENARIOS.some(({ name }) => wanted(name))) throw new Error(`Cannot simulate "${values.scenario}": there is "courts", ${SCENARIOS.map(({ name }) => `"${name}"`).join(", ")}`);

function tell(scenario: string, bad: readonly { readonly seed: number; readonly faults: readonly string[] }[], more: object): void {
  console.log(JSON.stringify({ scenario, commit: commit(), seeds: seeds.length, bad, ...more }));
  if (bad.length > 0) process.exitCode = 1;
}

for (const scenario of SCENARIOS.filter(({ name }) => wanted(name))) {
  const outcomes = seeds.map((seed) => simulate(seed, scenario));
  const sorted = outcomes.flatMap(({ downMs }) => downMs).sort((a, b) => a - b);
  const sum = (of: (outcome: (typeof outcomes)[number]) => number): number => outcomes.reduce((total, one) => total + of(one), 0);
  tell(scenario.name, outcomes.filter(({ faults }) => faults.length > 0).map(({ seed, faults }) => ({ seed, faults })), {
    downs: sum(({ downs }) => downs), fenceStops: sum(({ fenceStops }) => fenceStops), deaths: sorted.length, lastBeatToDownMs: { p50: quantile(sorted, 500), p99: quantile(sorted, 990), max: sorted.at(-1) ?? null },
  });
}
if (wanted("courts")) tell("courts", seeds.map((seed) => ({ seed, faults: hold(seed) })).filter(({ faults }) => faults.length > 0), {});
