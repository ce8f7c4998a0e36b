/** Schedules of faults by seed. */
import assert from "node:assert/strict";
import test from "node:test";
import { KINDS, REST_MS, schedule } from "./schedule.ts";

const MINUTE_MS = 60_000;
const seeds = Array.from({ length: 200 }, (_, seed) => seed);

test("the same seed gives the same faults, and another seed others", () => {
  const of = (seed: number): string => JSON.stringify(schedule({ seed, machines: 5, totalMs: 10 * MINUTE_MS }));
  for (const seed of seeds) assert.equal(of(seed), of(seed));
  assert.equal(new Set(seeds.map(of)).size, seeds.length);
});

test("faults follow each other with a rest behind each, and all end within the time", () => {
  for (const seed of seeds) {
    const faults = schedule({ seed, machines: 4, totalMs: 5 * MINUTE_MS });
    assert(faults.length >= 8, `seed ${seed} has ${faults.length} faults`);
    for (const [i, { atMs, durationMs }] of faults.entries()) assert(atMs + durationMs + REST_MS <= (faults[i + 1]?.atMs ?? 5 * MINUTE_MS));
  }
});

test("no more than a third is faulty but where the chain is meant to stand still, and then more than a third is", () => {
  for (const machines of [4, 5, 7, 10]) {
    for (const seed of seeds) {
      for (const { kind, machines: hit } of schedule({ seed, machines, totalMs: 5 * MINUTE_MS })) {
        assert.equal(new Set(hit).size, hit.length);
        assert(hit.every((place) => place >= 0 && place < machines));
        assert.equal(hit.length * 3 < machines, kind !== "halt" && kind !== "blackout", `${kind} of ${hit.length} in ${machines}`);
        if (kind === "blackout") assert.equal(hit.length, machines);
      }
    }
  }
});

test("every kind comes before one comes twice", () => {
  for (const seed of seeds) {
    const first = schedule({ seed, machines: 4, totalMs: 10 * MINUTE_MS }).slice(0, KINDS.length).map(({ kind }) => kind);
    assert.deepEqual(first.toSorted(), KINDS.toSorted());
  }
});

test("only a clock is off, and only such kinds come as were asked for", () => {
  for (const seed of seeds) {
    const faults = schedule({ seed, machines: 4, totalMs: 5 * MINUTE_MS, kinds: ["kill", "skew"] });
    for (const { kind, offsetMs } of faults) assert(kind === "skew" ? offsetMs !== 0 : kind === "kill" && offsetMs === 0);
  }
});

test("fewer than four machines spare none: nothing is left to break but the whole", () => {
  for (const { kind } of schedule({ seed: 1, machines: 3, totalMs: 5 * MINUTE_MS })) assert(kind === "halt" || kind === "blackout");
});
