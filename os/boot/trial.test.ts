import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { TRIAL_MS_MAX } from "../limits.ts";
import { Trial } from "./trial.ts";

/** Starts of one agent after the other on one machine: `failed` counts how often it was to go back. */
function machine(t: TestContext): { start(uptimeMs: number): Trial; readonly failed: number[] } {
  const folder = mkdtempSync(join(tmpdir(), "godwit-trial-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const failed: number[] = [];
  return { failed, start: (uptimeMs) => new Trial(uptimeMs, () => void failed.push(uptimeMs), folder) };
}

test("a clock that is set by years, forwards or back, neither ends a trial early nor keeps one for ever", (t) => {
  for (const year of ["1970", "2096"]) {
    const { start, failed } = machine(t);
    start(10_000);
    t.mock.timers.tick(60_000);
    t.mock.method(Date, "now", () => Date.parse(`${year}-01-01T00:00:00Z`));
    t.mock.timers.tick(TRIAL_MS_MAX - 10_000 - 60_000 - 1);
    assert.deepEqual(failed, [], year);
    t.mock.timers.tick(1);
    assert.deepEqual(failed, [10_000], year);
    t.mock.reset();
    t.mock.timers.reset();
  }
});

test("an agent that ends again and again begins no new trial each time", (t) => {
  const { start, failed } = machine(t);
  start(TRIAL_MS_MAX - 5_000);
  t.mock.timers.tick(4_999);
  assert.deepEqual(failed, []);
  t.mock.timers.tick(1);
  start(TRIAL_MS_MAX + 100_000);
  t.mock.timers.tick(1);
  assert.equal(failed.length, 2);
});

test("who has accepted work once is on trial no more, however often its agent starts again", (t) => {
  const { start, failed } = machine(t);
  start(20_000).pass();
  t.mock.timers.tick(TRIAL_MS_MAX);
  start(TRIAL_MS_MAX * 2);
  t.mock.timers.tick(TRIAL_MS_MAX);
  assert.deepEqual(failed, []);
});
