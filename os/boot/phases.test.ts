import assert from "node:assert/strict";
import test from "node:test";
import { type Phase, PhaseError, runPhases } from "./phases.ts";

const clock = (): (() => number) => {
  let ms = 100;
  return () => (ms += 10);
};

test("phases run in the order of the table, and each prints its name and its milliseconds", async () => {
  const lines: string[] = [];
  const phases: Phase<string[]>[] = [{ name: "mounts", run: (state) => { state.push("a"); return "9 file systems"; } }, { name: "door", run: async (state) => { state.push("b"); return ""; } }];
  const state: string[] = [];
  const times = await runPhases(phases, state, clock(), (line) => lines.push(line));
  assert.deepEqual(state, ["a", "b"]);
  assert.deepEqual(lines, ["mounts       10 ms 9 file systems", "door         10 ms"]);
  assert.deepEqual(times.map(({ fromMs }) => fromMs), [110, 130]);
});

test("a phase that the machine can do without fails with a line, any other ends the start", async () => {
  const lines: string[] = [];
  const fail = (): never => { throw Object.assign(new Error("no cable"), { code: "no_link" }); };
  await runPhases([{ name: "button", optional: true, run: fail }], null, clock(), (line) => lines.push(line));
  assert.match(lines[0]!, /button +10 ms FAILED no_link: no cable/);
  await assert.rejects(runPhases([{ name: "network", run: fail }, { name: "never", run: () => assert.fail("ran on") }], null, clock(), () => {}),
    (error) => error instanceof PhaseError && error.code === "no_link" && error.phase === "network");
});
