/** A runner that crashes: noticed at once, only requests in flight fail, and clients that connect meanwhile are answered. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import test, { after, type TestContext } from "node:test";
import { makeGroup } from "#sandbox/cgroup.ts";
import { compile } from "#sandbox/sandbox.ts";
import { guest } from "#tests/guests/build.ts";
import { needs } from "#tests/require.ts";
import { nativeIsThere, serving, sharedCache, until } from "./serving.ts";

const NOTICED_MS_MAX = 5_000;
const MIB = 2 ** 20;
const cache = sharedCache();
after(cache.remove);

async function crash(t: TestContext, end: (pid: number) => void, signals: readonly string[]): Promise<void> {
  const { load, get, runner, exits } = await serving(t, cache.directory);
  await load("a", "rogue");
  assert.equal((await get("/")).status, 200);
  const pid = runner.pid ?? 0;
  const inFlight = get("/slow?ms=20000");
  await until(async () => (await runner.usage())["a"]?.running === 1, "a request in flight");
  const begunMs = performance.now();
  end(pid);
  const meanwhile = get("/");
  await until(() => exits.length === 1, "its end");
  const noticedMs = performance.now() - begunMs;
  const broken = await inFlight;
  assert.equal(broken.complete, false, "a request in flight fails, and visibly");
  const answer = await meanwhile;
  // Who connected before the end was seen may have been taken by the runner that died.
  assert.ok(answer.status === 200 || !answer.complete);
  assert.equal((await get("/")).status, 200);
  assert.ok(signals.includes(exits[0]?.signal ?? ""), `${exits[0]?.signal}`);
  assert.equal(exits[0]?.pid, pid);
  assert.ok(noticedMs < NOTICED_MS_MAX, `noticed after ${noticedMs.toFixed(0)} ms`);
  t.diagnostic(`${exits[0]?.signal}: noticed after ${noticedMs.toFixed(0)} ms, the next answer after ${answer.elapsedMs.toFixed(0)} ms`);
  assert.equal(existsSync(`/proc/${pid}`), false);
}

/** Of a fault that is none of a guest's, the handler puts the default back and lets it happen again; one that was sent does not. */
const SENT_TIMES_MAX = 20;
const SENT_EVERY_MS = 5;

for (const signal of ["SIGKILL", "SIGABRT", "SIGSEGV"] as const) {
  test(`a runner that ends by ${signal} is noticed at once; only the request in flight fails, and who connects meanwhile is answered`, async (t) => {
    if (!(await nativeIsThere(t))) return;
    const end = (pid: number, times = 0): void => {
      if (times === SENT_TIMES_MAX || !existsSync(`/proc/${pid}`)) return;
      process.kill(pid, signal);
      if (signal === "SIGSEGV") setTimeout(() => end(pid, times + 1), SENT_EVERY_MS);
    };
    await crash(t, end, [signal]);
  });
}

test("a runner that outgrows the memory of its control group is ended alone, replaced, and clients are answered", async (t) => {
  if (!needs(t, "root") || !(await nativeIsThere(t))) return;
  const group = makeGroup();
  await group?.remove();
  if (!group?.controllers.includes("memory")) return t.skip("needs a control group for memory, which this computer lacks");
  const { runner, get, exits } = await serving(t, cache.directory, { memoryBytesMax: 64 * MIB });
  await runner.load({ id: "a", hosts: ["a.localhost"], compiled: await compile(await guest("rogue"), { cacheDirectory: cache.directory }), limits: { memoryBytesMax: 256 * MIB } });
  const pid = runner.pid ?? 0;
  assert.match(readFileSync(`/proc/${pid}/cgroup`, "utf8"), /godwit-\d+-\d+/);
  const broken = await get("/hog");
  assert.equal(broken.complete, false);
  await until(() => exits.length === 1, "its end");
  assert.equal(exits[0]?.signal, "SIGKILL");
  assert.equal((await get("/")).status, 200);
});
