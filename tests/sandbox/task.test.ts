/** Tasks through the addon: streams, exit codes, limits, and what a task cannot see. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import test, { after } from "node:test";
import { LIMITS_MAX } from "#sandbox/limits.ts";
import { runTask, type TaskOptions, type TaskResult } from "#sandbox/sandbox.ts";
import { guest } from "#tests/guests/build.ts";
import { nativeIsThere, sharedCache } from "./serving.ts";

const MIB = 1024 * 1024;
const cache = sharedCache();
after(cache.remove);

type Ran = TaskResult & { out: string; err: string };
async function run(what: string, options: TaskOptions = {}): Promise<Ran> {
  let [out, err] = ["", ""];
  const decoder = new TextDecoder();
  const result = await runTask(await guest("rogueTask"), {
    cacheDirectory: cache.directory,
    arguments: [what],
    stdout: (chunk) => void (out += decoder.decode(chunk)),
    stderr: (chunk) => void (err += decoder.decode(chunk)),
    ...options,
  });
  return { ...result, out, err };
}

test("a task gets its arguments, its environment and its stdin, and nothing else of ours", async (t) => {
  if (!(await nativeIsThere(t))) return;
  assert.equal((await run("arguments", { arguments: ["arguments", "zwölf", "a b"] })).out, "arguments|zwölf|a b");
  assert.equal((await run("environment", { environment: { B: "2", A: "1=1" } })).out, "A=1=1\nB=2\n");
  assert.equal((await run("environment")).out, "");
  assert.equal((await run("upper", { stdin: new TextEncoder().encode("one\ntwo") })).out, "ONE\nTWO\n");
  assert.equal((await run("count")).out, "0");
});

test("stdin is pulled as the guest reads it, in pieces of any size", async (t) => {
  if (!(await nativeIsThere(t))) return;
  let given = 0;
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    for (const length of [1, 0, 70_000, 3_000_000, 7]) {
      given += length;
      yield new Uint8Array(length);
    }
  };
  assert.equal((await run("count", { stdin: pieces() })).out, "3070008");
  assert.equal(given, 3_070_008);
});

test("how a task ends is its exit code", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const both = await run("both");
  assert.deepEqual([both.exitCode, both.out, both.err, both.trap], [0, "to stdout\n", "to stderr\n", undefined]);
  assert.ok(both.fuel > 0 && both.memoryBytes > 0 && both.wallMs > 0);
  assert.notEqual((await run("fail")).exitCode, 0);
  const left = await run("exit");
  assert.deepEqual([left.exitCode, left.out, left.trap], [1, "before\n", undefined]);
});

test("a trap and every limit are results, with a code", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const trapped = await run("trap");
  assert.deepEqual([trapped.exitCode, trapped.trap?.code], [134, "trap"]);
  assert.match(trapped.trap?.message ?? "", /wasm backtrace/);
  assert.equal((await run("loop", { limits: { fuelPerCallMax: 10_000_000 } })).trap?.code, "fuel_limit");
  const late = await run("loop", { limits: { wallTimeMsMax: 200 } });
  assert.equal(late.trap?.code, "wall_time_limit");
  assert.ok(late.wallMs >= 200 && late.wallMs < 30_000);
  const hog = await run("hog", { limits: { memoryBytesMax: 8 * MIB } });
  assert.equal(hog.trap?.code, "memory_limit");
  assert.ok(hog.memoryBytes <= 8 * MIB);
  await assert.rejects(run("both", { limits: { memoryBytesMax: LIMITS_MAX.memoryBytesMax + 1 } }), RangeError);
});

test("the same task on the same input uses the same fuel", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const options = { stdin: new TextEncoder().encode("some\nlines\n") };
  assert.equal((await run("upper", options)).fuel, (await run("upper", options)).fuel);
});

test("an endless writer is held back by its reader, and ends when it is aborted", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const abort = new AbortController();
  let bytes = 0;
  const result = await runTask(await guest("rogueTask"), {
    cacheDirectory: cache.directory,
    arguments: ["spam"],
    signal: abort.signal,
    stdout: async (chunk) => {
      bytes += chunk.length;
      if (bytes > 2 * MIB) abort.abort();
      else await new Promise((resolve) => setImmediate(resolve));
    },
  });
  assert.equal(result.trap?.code, "aborted");
  assert.ok(bytes < 4 * MIB, `${bytes} bytes`);
});

test("an error of the one who takes the output ends the task and is thrown", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const broken = new Error("EPIPE");
  await assert.rejects(run("spam", { stdout: () => { throw broken; } }), broken);
});

test("a service is not a task", async (t) => {
  if (!(await nativeIsThere(t))) return;
  await assert.rejects(runTask(await guest("hello"), { cacheDirectory: cache.directory }), { code: "world_unknown" });
});

test("a process that has forbidden tasks runs none, and ends by itself when one has run", async (t) => {
  if (!(await nativeIsThere(t))) return;
  await guest("rogueTask");
  const program = `
    import { forbidTasks, runTask } from "#sandbox/sandbox.ts";
    import { guest } from "#tests/guests/build.ts";
    const component = await guest("rogueTask"), options = { cacheDirectory: ${JSON.stringify(cache.directory)}, arguments: ["both"] };
    console.log((await runTask(component, options)).exitCode);
    forbidTasks();
    await runTask(component, options).catch((error) => console.log(error.code));`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module-typescript", "-e", program], { cwd: join(import.meta.dirname, "../.."), encoding: "utf8", timeout: 20_000 });
  assert.equal(stdout, "0\ntask_forbidden\n", stderr);
});
