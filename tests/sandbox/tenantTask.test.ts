/** Tasks of tenants in the process that serves: the same walls and limits, begun and ended by the agent. */
import assert from "node:assert/strict";
import test, { after } from "node:test";
import type { Limits } from "#sandbox/limits.ts";
import { type Task, type TaskEnd, type TaskRunner, compile, listen, startRunner } from "#sandbox/sandbox.ts";
import { guest } from "#tests/guests/build.ts";
import { eventually } from "#tests/e2e/stage.ts";
import { nativeIsThere, serving, sharedCache } from "./serving.ts";

const cache = sharedCache();
after(() => cache.remove());

type Stage = Awaited<ReturnType<typeof serving>> & { readonly tasks: TaskRunner; readonly run: (id: string, args: readonly string[], changes?: Partial<Task> & { limits?: Partial<Limits> }) => Promise<TaskEnd>; readonly linesOf: (id: string) => string[] };
async function stage(t: Parameters<typeof serving>[0]): Promise<Stage> {
  const it = await serving(t, cache.directory);
  const tasks = it.runner as typeof it.runner & TaskRunner;
  const compiled = await compile(await guest("rogueTask"), { cacheDirectory: cache.directory });
  return {
    ...it, tasks, run: (id, args, changes = {}) => tasks.task({ id, compiled, arguments: args, stdin: new Uint8Array(0), ...changes }),
    linesOf: (id) => it.logs.filter((line) => line.id === id && line.stream !== "system").map(({ stream, line }) => `${stream} ${line}`),
  };
}
const monotonicMs = (): number => Number(process.hrtime.bigint() / 1_000_000n);

test("a tenant's task runs to its end in the runner: arguments, environment and stdin in, lines and the exit code out", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { run, linesOf } = await stage(t);
  const said = async (id: string, count: number): Promise<string[]> => eventually(`${count} lines of ${id}`, async () => (linesOf(id).length >= count ? linesOf(id) : null), 30_000);
  const { exitCode, code } = await run("a", ["arguments", "two words", "ä"]);
  assert.deepEqual([exitCode, code, await said("a", 1)], [0, "exit", ["stdout arguments|two words|ä"]]);
  await run("b", ["environment"], { environment: { COLOUR: "blue" } });
  assert.deepEqual(await said("b", 1), ["stdout COLOUR=blue"]);
  await run("c", ["upper"], { stdin: new TextEncoder().encode("one\ntwo\n") });
  assert.deepEqual(await said("c", 2), ["stdout ONE", "stdout TWO"]);
  assert.deepEqual([(await run("d", ["both"])).exitCode, await said("d", 2)], [0, ["stdout to stdout", "stderr to stderr"]]);
  assert.deepEqual(await Promise.all([run("e", ["fail"]), run("f", ["exit"]), run("g", ["nothing like that"])]).then((all) => all.map(({ exitCode, code }) => [exitCode, code])), [[1, "exit"], [1, "exit"], [1, "exit"]]);
});

test("each limit ends a task with its own reason, and others are served meanwhile", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { run, load, get } = await stage(t);
  await load("s", "hello");
  const outcomes = Promise.all([
    run("trap", ["trap"]), run("cpu", ["loop"], { limits: { cpuTimeMsMax: 300 } }), run("wall", ["loop"], { limits: { wallTimeMsMax: 300 } }), run("fuel", ["loop"], { limits: { fuelPerCallMax: 1_000_000 } }),
    run("memory", ["hog"], { limits: { memoryBytesMax: 8 * 1024 * 1024 } }),
  ]);
  assert.equal((await get("/", { host: "s.localhost" })).status, 200);
  assert.deepEqual((await outcomes).map(({ exitCode, code }) => [exitCode, code]), [[134, "trap"], [134, "cpu_time_limit"], [134, "wall_time_limit"], [134, "fuel_limit"], [134, "memory_limit"]]);
});

test("a task that is stopped ends at once, and nothing of its memory remains", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { run, tasks, runner } = await stage(t);
  const ended = run("a", ["loop"]);
  await eventually("it runs", async () => ((await runner.usage())["a"]?.running === 1 ? true : null), 30_000);
  await tasks.stopTask("a");
  assert.equal((await ended).code, "stopped");
  await tasks.stopTask("a");
  assert.equal((await runner.usage())["a"], undefined);
  const again = run("b", ["loop"]);
  const other = run("b", ["fail"]);
  assert.deepEqual([(await again).code, (await other).exitCode], ["stopped", 1]);
});

test("behind the fence no task runs: one that is put off goes on, one that is over ends by itself although the agent says nothing", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { run, tasks, runner } = await stage(t);
  tasks.fence(monotonicMs() + 600_000);
  const ended = run("a", ["loop"]);
  await eventually("it runs", async () => ((await runner.usage())["a"]?.running === 1 ? true : null), 30_000);
  tasks.fence(monotonicMs() + 100);
  assert.equal((await ended).code, "fenced");
  assert.equal((await run("b", ["fail"])).code, "fenced");
  tasks.fence(monotonicMs() + 600_000);
  assert.equal((await run("b", ["fail"])).exitCode, 1);
});

test("a runner that ends under a task says so, and the next one runs tasks as before", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { run, runner } = await stage(t);
  const ended = run("a", ["loop"]);
  await eventually("it runs", async () => ((await runner.usage())["a"]?.running === 1 ? true : null), 30_000);
  process.kill(runner.pid!, "SIGKILL");
  assert.deepEqual(await ended.then(({ exitCode, code }) => [exitCode, code]), [134, "runner_gone"]);
  assert.equal((await run("a", ["fail"])).exitCode, 1);
});

test("a task that asks for it has a runner of its own, which is gone with it", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { run, runner } = await stage(t);
  const ended = run("a", ["loop"], { isolation: "process", limits: { wallTimeMsMax: 2_000 } });
  const own = await eventually("it has a process", async () => {
    const pid = await runner.pidOf("a");
    return pid !== null && pid !== runner.pid ? pid : null;
  }, 30_000);
  assert.equal((await ended).code, "wall_time_limit");
  await eventually("its process is gone", async () => { try { process.kill(own, 0); return null; } catch { return true; } }, 30_000);
});

test("what is no task, and what cannot be found, is refused with a code", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const listener = await listen("127.0.0.1", 0);
  const runner = await startRunner({ listener, cacheDirectory: cache.directory });
  t.after(async () => {
    await runner.stop();
    listener.close();
  });
  const given = { arguments: [], stdin: new Uint8Array(0) };
  await assert.rejects(runner.task({ id: "a", compiled: await compile(await guest("hello"), { cacheDirectory: cache.directory }), ...given }), { code: "load_failed" });
  await assert.rejects(runner.task({ id: "a", compiled: { digest: "00".repeat(32) }, ...given }), { code: "artefact_corrupt" });
  await assert.rejects(runner.task({ id: "a", compiled: { digest: "00".repeat(32) }, limits: { fuelPerCallMax: -1 }, ...given }), { code: "limit_invalid" });
});
