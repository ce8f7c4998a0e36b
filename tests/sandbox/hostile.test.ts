/** The cast of `npm run hostile`, and of `npm run soak` after it, in their short forms on one stage. */
import assert from "node:assert/strict";
import test, { after } from "node:test";
import { playHostile, soak } from "#tools/hostile/run.ts";
import { openStage, type Stage } from "#tools/hostile/stage.ts";
import { nativeIsThere } from "./serving.ts";

/** Full load: more requests under way than there are cores. */
const CONNECTIONS = 16;
const SOAK_SECONDS = 30;

let stage: Stage | undefined;
after(() => stage?.[Symbol.asyncDispose]());

test("every hostile guest has the outcome that it must have, and its neighbour loses no request", async (t) => {
  if (!(await nativeIsThere(t))) return;
  stage = await openStage(CONNECTIONS);
  const { guests, neighbour, runnerExits, seconds } = await playHostile({ short: true, stage });
  t.diagnostic(`${guests.length} guests in ${seconds} s; neighbour: ${JSON.stringify(neighbour)}`);
  assert.deepEqual(guests.filter(({ ok }) => !ok), []);
  assert.deepEqual([neighbour.lost, runnerExits], [0, 0]);
  assert.ok(neighbour.requests > 100);
});

test("a soak at full load beside the hostile ends with flat memory and no lost request", async (t) => {
  if (!(await nativeIsThere(t))) return;
  assert(stage !== undefined);
  const report = await soak({ seconds: SOAK_SECONDS, stage });
  t.diagnostic(JSON.stringify(report));
  assert.deepEqual(report.wrong, []);
  assert.deepEqual([report.neighbour.lost, report.runnerExits], [0, 0]);
  assert.ok(report.ok, `memory grew from ${report.rssBytes.earlier} to ${report.rssBytes.later} bytes`);
});
