/** Who is alive, in simulated worlds: what the issue promises, by name, and every scenario by its seeds. */
import assert from "node:assert";
import { test } from "node:test";
import { hold } from "./courts.ts";
import { SCENARIOS, scenario } from "./scenarios.ts";
import { type Outcome, simulate } from "./world.ts";

const run = (name: string, seeds: number): Outcome[] => Array.from({ length: seeds }, (_, i) => simulate(i + 1, scenario(name)));
const faultsOf = (outcomes: readonly Outcome[]): string[] => outcomes.flatMap(({ seed, faults }) => faults.map((fault) => `seed ${seed}: ${fault}`));
const NAMED = new Map<string, number>([["halt", 10], ["death with a validator dead", 60], ["death among liars", 10], ["calm", 8], ["glitches", 10]]);

test("a 60 s halt of the chain takes nobody down", () => {
  const outcomes = run("halt", NAMED.get("halt")!);
  assert.deepEqual(faultsOf(outcomes), []);
  assert.equal(outcomes.reduce((sum, { downs }) => sum + downs, 0), 0);
});

test("a dead machine is down within 2.5 s (p99) of its last beat, with 4 validators of which one is dead too", () => {
  const outcomes = run("death with a validator dead", NAMED.get("death with a validator dead")!);
  assert.deepEqual(faultsOf(outcomes), []);
  const downMs = outcomes.flatMap((one) => one.downMs).sort((a, b) => a - b);
  assert.equal(downMs.length, 2 * outcomes.length);
  assert(downMs[Math.floor(downMs.length * 0.99)]! <= 2_500, `p99 is ${downMs[Math.floor(downMs.length * 0.99)]} ms`);
});

test("as many witnesses as may lie do not take a live machine down", () => {
  const outcomes = run("calm", NAMED.get("calm")!);
  assert.deepEqual(faultsOf(outcomes), []);
  assert.equal(outcomes.reduce((sum, { downs }) => sum + downs, 0), 0);
});

test("as many witnesses as may lie do not keep a dead machine up", () => {
  const outcomes = run("death among liars", NAMED.get("death among liars")!);
  assert.deepEqual(faultsOf(outcomes), []);
  assert(outcomes.every(({ downMs }) => downMs.length === 1));
});

test("stale suspicions do not add up", () => {
  assert.deepEqual(faultsOf(run("glitches", NAMED.get("glitches")!)), []);
});

test("verdicts are those of a second reading of the rules, whatever witnesses say", () => {
  for (let seed = 1; seed <= 20; seed++) assert.deepEqual(hold(seed), [], `seed ${seed}`);
});

for (const { name } of SCENARIOS) {
  if (NAMED.has(name)) continue;
  test(`who is alive: ${name}`, () => assert.deepEqual(faultsOf(run(name, 8)), []));
}

test("a world of liveness goes the same way each time", () => {
  assert.deepEqual(simulate(7, scenario("mix")), simulate(7, scenario("mix")));
});
