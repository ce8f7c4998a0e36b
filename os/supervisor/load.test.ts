import assert from "node:assert/strict";
import test from "node:test";
import type { Hex } from "#chain/types.ts";
import { LOAD_SAMPLES, STANDBY_IDLE_MS } from "../limits.ts";
import { type Counted, type Measured, type Meter, measure } from "./load.ts";
import { type KnownLoad, type ScalingHere, tellOfLoad } from "./planScaling.ts";

const RULE: Measured = { metric: "requests", target: 100, replicas: 1, cpuMillis: 500 };
const NOTHING: Counted = { requests: 0, cpuNs: 0, running: 0, waiting: 0 };

/** One sample a second; each adds what the load is a second. */
function play(rule: Measured, loads: readonly Partial<Counted>[], checksEach = 0): Meter[] {
  let [meter, counted]: [Meter | undefined, Counted] = [undefined, NOTHING];
  return loads.map(({ requests = 0, cpuNs = 0, running = 0, waiting = 0 }, i) => {
    counted = { requests: counted.requests + requests + checksEach, cpuNs: counted.cpuNs + cpuNs, running, waiting };
    return (meter = measure(meter, rule, counted, (i + 1) * checksEach, (i + 1) * 1_000));
  });
}
const times = <T>(count: number, one: T): T[] => Array.from({ length: count }, () => one);
const last = (meters: readonly Meter[]): Meter => meters.at(-1)!;

test("each metric is measured for one replica, in thousandths of its target", () => {
  const cases: readonly [Measured, Partial<Counted>, number][] = [
    [RULE, { requests: 150 }, 1_500],
    [{ ...RULE, replicas: 3 }, { requests: 150 }, 500],
    [{ ...RULE, metric: "concurrency", target: 8 }, { running: 6, waiting: 6 }, 1_500],
    // 400 ms of CPU a second are 400 thousandths of a core: 800 of the 500 that it pays for, and 1,000 of a target of 80 %.
    [{ ...RULE, metric: "cpu", target: 800 }, { cpuNs: 400_000_000 }, 1_000],
    [{ ...RULE, metric: "cpu", target: 800, replicas: 2 }, { cpuNs: 400_000_000 }, 500],
    [{ ...RULE, metric: "cpu", target: 800, cpuMillis: 0 }, { cpuNs: 1_000_000 }, 1_250],
  ];
  for (const [rule, load, permille] of cases) assert.equal(last(play(rule, times(LOAD_SAMPLES, load))).permille, permille);
});

test("a level needs a full window, and holds until it is clearly left: a load on the threshold is one crossing", () => {
  assert.deepEqual(play(RULE, times(LOAD_SAMPLES, { requests: 150 })).map(({ level }) => level), [...times(LOAD_SAMPLES - 1, null), 2]);
  assert.equal(last(play(RULE, [...times(6, { requests: 50 }), { requests: 150 }])).level, 1, "a burst of a second is none");
  const wobble = Array.from({ length: 40 }, (_, i) => ({ requests: i % 8 < 4 ? 103 : 97 }));
  const levels = play(RULE, [...times(6, { requests: 120 }), ...wobble]).map(({ level }) => level).slice(LOAD_SAMPLES);
  assert.deepEqual(new Set(levels), new Set([2]));
  const low = play(RULE, [...times(6, { requests: 20 }), ...Array.from({ length: 40 }, (_, i) => ({ requests: i % 8 < 4 ? 42 : 38 }))]).map(({ level }) => level).slice(LOAD_SAMPLES);
  assert.deepEqual(new Set(low), new Set([0]));
});

test("a request makes a route active, a check of its health does not, and a clock that is set back begins anew", () => {
  assert.equal(last(play(RULE, [{}, {}, { requests: 1 }, {}, {}])).activeMs, 3_000);
  assert.equal(last(play(RULE, times(9, {}), 1)).activeMs, 1_000);
  assert.equal(last(play(RULE, [...times(3, {}), { requests: 1 }, ...times(5, {})], 1)).activeMs, 4_000);
  assert.equal(last(play(RULE, [...times(8, {}), { running: 1 }])).activeMs, 9_000);
  const [first] = play(RULE, [{ requests: 9 }]);
  assert.deepEqual(measure(first, RULE, { ...NOTHING, requests: 9 }, 0, 500).samples.length, 1);
});

test("one word for one crossing; standby after its time without a request, instead of a word of little load; and waking at the first", () => {
  const [id, NOW] = ["ab".repeat(20) as Hex, 1_000_000];
  const rule: ScalingHere = { metric: "requests", target: 1, mayRest: false };
  const say = (level: 0 | 1 | 2 | null, idleMs: number, known: KnownLoad, mayRest = false, rate = 100n): string[] =>
    tellOfLoad(id, { index: 3, rate, load: known }, { ...rule, mayRest }, { level, activeMs: NOW - idleMs }, NOW).map((action) => `${action.kind}${"level" in action ? action.level : "idleSeconds" in action ? action.idleSeconds : ""}`);
  const [awake, asleep] = [{ level: 1, isOnStandby: false }, { level: 1, isOnStandby: true }] as const;
  assert.deepEqual(say(null, 0, awake), []);
  assert.deepEqual(say(1, 0, awake), []);
  assert.deepEqual(say(2, 0, awake), ["sendLoad2"]);
  assert.deepEqual(say(2, 0, { level: 2, isOnStandby: false }), []);
  assert.deepEqual(say(0, STANDBY_IDLE_MS, awake), ["sendLoad0"]);
  assert.deepEqual(say(0, STANDBY_IDLE_MS - 1, awake, true), []);
  assert.deepEqual(say(0, STANDBY_IDLE_MS + 999, awake, true), ["sendStandby10"]);
  assert.deepEqual(say(0, STANDBY_IDLE_MS, awake, true, 1n), ["sendLoad0"], "a unit a second cannot be less");
  assert.deepEqual(say(0, STANDBY_IDLE_MS, asleep, true), []);
  assert.deepEqual(say(1, 0, asleep, true), ["sendWake"]);
});
