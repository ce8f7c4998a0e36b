import assert from "node:assert/strict";
import test from "node:test";
import type { Hex } from "#chain/types.ts";
import { SandboxError, type Task, type TaskEnd } from "#sandbox/sandbox.ts";
import { RUNNER_DEATHS_MAX } from "./limits.ts";
import { Tasks } from "./tasks.ts";

const ID = "1".padStart(40, "0") as Hex;
const TASK: Task = { id: ID, compiled: { digest: "c".repeat(64) }, arguments: [], stdin: new Uint8Array(0) };
const end = (code: string, exitCode = 134): TaskEnd => ({ exitCode, code, message: "", fuel: 0, cpuNs: 0, wallMs: 5 });
const settle = async (): Promise<void> => {
  for (let n = 0; n < 20; n += 1) await Promise.resolve();
};

type Stage = { readonly tasks: Tasks; readonly begun: PromiseWithResolvers<TaskEnd>[]; readonly calls: string[]; readonly lines: string[] };
function stage(): Stage {
  const begun: PromiseWithResolvers<TaskEnd>[] = [];
  const [calls, lines]: [string[], string[]] = [[], []];
  const tasks = new Tasks({
    runner: {
      task: () => {
        calls.push("task");
        const one = Promise.withResolvers<TaskEnd>();
        begun.push(one);
        return one.promise;
      },
      stopTask: async () => {
        calls.push("stop");
        begun.at(-1)?.resolve(end("stopped"));
      },
      fence: (untilMs) => void calls.push(`fence ${untilMs}`),
    },
    tell: (_id, line) => void lines.push(line), onChange: () => {}, onFailure: () => {},
  });
  tasks.fenced({ kind: "start", lease: ID });
  return { tasks, begun, calls, lines };
}

test("the fence is told before a run begins and as long as one goes on, and a stop by it takes effect at once", async () => {
  const { tasks, calls } = stage();
  tasks.fenceUntil(100);
  assert.deepEqual([calls, tasks.mayRun.has(ID)], [[], true]);
  tasks.begin(ID, 1, TASK);
  tasks.fenceUntil(200);
  assert.deepEqual(calls, ["fence 100", "task", "fence 200"]);
  tasks.fenced({ kind: "stop", lease: ID });
  assert.deepEqual([calls.at(-1), tasks.mayRun.has(ID), tasks.runs.has(ID)], ["stop", false, false]);
  await settle();
  assert.equal(tasks.runs.has(ID), false);
  tasks.begin(ID, 1, TASK);
  assert.deepEqual([tasks.runs.has(ID), calls.filter((call) => call === "task").length], [false, 1], "nothing begins behind the fence");
});

test("how a run ended is kept for the ledger; one that was fenced is forgotten, so that it begins again", async () => {
  const { tasks, begun, lines } = stage();
  tasks.begin(ID, 2, TASK);
  begun[0]!.resolve(end("exit", 3));
  await settle();
  assert.deepEqual(tasks.runs.get(ID), { run: 2, end: { exitCode: 3, reason: "exit" } });
  assert.deepEqual(lines, ["Run 2 ended with exit code 3 after 5 ms"]);
  tasks.fenced({ kind: "stop", lease: ID });
  assert.deepEqual(tasks.runs.get(ID)?.end?.exitCode, 3, "a fence does not make it begin again");
  tasks.fenced({ kind: "start", lease: ID });
  tasks.begin(ID, 3, TASK);
  begun[1]!.resolve(end("fenced"));
  await settle();
  assert.equal(tasks.runs.has(ID), false);
});

test("a runner that ends under a task costs no attempt until it did so three times", async () => {
  const { tasks, begun } = stage();
  tasks.begin(ID, 1, TASK);
  for (let death = 1; death < RUNNER_DEATHS_MAX; death++) {
    begun.at(-1)!.resolve(end("runner_gone"));
    await settle();
    assert.deepEqual([begun.length, tasks.runs.get(ID)?.end], [death + 1, null]);
  }
  begun.at(-1)!.resolve(end("runner_gone"));
  await settle();
  assert.deepEqual(tasks.runs.get(ID)?.end, { exitCode: 134, reason: "runner_gone" });
});

test("what cannot begin by its tenant's own doing has failed, and says why", async () => {
  const { tasks, begun, lines } = stage();
  tasks.begin(ID, 1, TASK);
  begun[0]!.reject(new SandboxError("load_failed", "no wasi:cli/run"));
  await settle();
  assert.deepEqual(tasks.runs.get(ID)?.end, { exitCode: 134, reason: "load_failed" });
  assert.match(lines[0]!, /no wasi:cli\/run/);
});
