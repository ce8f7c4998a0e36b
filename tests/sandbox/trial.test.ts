/** A load tries one instance: what cannot begin is an error of its load, and costs nobody else anything. */
import assert from "node:assert/strict";
import { join } from "node:path";
import test, { after } from "node:test";
import { compile, listen, startRunner, type Compiled } from "#sandbox/sandbox.ts";
import { guest } from "#tests/guests/build.ts";
import { buildComponent } from "#workloads/sdk/build.ts";
import { get, nativeIsThere, serving, sharedCache, until } from "./serving.ts";

const KIB = 1024;
const FOR_EVER_MS = "9e15";
const cache = sharedCache();
after(cache.remove);

/** A service that traps or loops before it can answer, as its environment says. */
let made: Promise<Compiled> | undefined;
const beginning = (): Promise<Compiled> =>
  (made ??= buildComponent(join(import.meta.dirname, "assembly"), "beginning.ts", "service").then(({ component }) => compile(component, { cacheDirectory: cache.directory })));

test("a service that traps at instantiation is refused with why, and its own words are in its log", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { runner, get, logs } = await serving(t, cache.directory);
  const load = { id: "a", hosts: ["a.localhost"], compiled: await beginning(), environment: { TRAPS_FROM_MS: "0" } };
  await assert.rejects(runner.load(load), { code: "load_failed", message: /trap: .*unreachable/ });
  assert.equal((await get("/")).status, 404);
  await until(() => logs.some(({ line }) => line.includes("too late")) && logs.some(({ stream }) => stream === "system"), "the guest's words");
  assert.ok(logs.every(({ id, requestId }) => id === "a" && requestId === ""));
  assert.ok(logs.some(({ line }) => line === "beginning"));
});

test("each limit holds in a trial: fuel, memory, tables and time; and a slow one holds nobody up", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { runner, get } = await serving(t, cache.directory);
  const compiled = await beginning();
  await assert.rejects(runner.load({ id: "a", hosts: [], compiled, limits: { fuelPerCallMax: 100 } }), { code: "load_failed", message: /fuel_limit/ });
  await assert.rejects(runner.load({ id: "a", hosts: [], compiled, limits: { memoryBytesMax: 32 * KIB } }), { code: "load_failed", message: /memory_limit/ });
  await assert.rejects(runner.load({ id: "a", hosts: [], compiled, limits: { tableElementsMax: 0 } }), { code: "load_failed", message: /table_limit/ });
  await assert.rejects(runner.load({ id: "a", hosts: [], compiled, limits: { wallTimeMsMax: 50 }, environment: { LOOPS_UNTIL_MS: FOR_EVER_MS } }), { code: "load_failed", message: /wall_time_limit/ });
  const slow = runner.load({ id: "slow", hosts: ["slow.localhost"], compiled, limits: { wallTimeMsMax: 600 }, environment: { LOOPS_UNTIL_MS: FOR_EVER_MS } });
  let isOver = false;
  const refused = assert.rejects(slow, { code: "load_failed", message: /wall_time_limit/ }).finally(() => (isOver = true));
  // Meanwhile others are loaded and served, and the runner says that it lives.
  await runner.load({ id: "b", hosts: ["b.localhost"], compiled });
  assert.equal((await get("/", { host: "b.localhost" })).status, 200);
  await runner.usage();
  assert.equal(isOver, false, "nobody waited for the slow one");
  await refused;
  assert.equal((await get("/", { host: "slow.localhost" })).status, 404);
});

test("a refused load leaves what was loaded before, and a slow one takes over when it has begun", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { runner, load, get } = await serving(t, cache.directory);
  await load("a", "hello");
  const compiled = await beginning();
  await assert.rejects(runner.load({ id: "a", hosts: ["a.localhost"], compiled, environment: { TRAPS_FROM_MS: "0" } }), { code: "load_failed" });
  assert.match((await get("/")).text, /^Hello/);
  const slow = runner.load({ id: "a", hosts: ["a.localhost"], compiled, environment: { LOOPS_UNTIL_MS: String(Date.now() + 300) } });
  assert.match((await get("/")).text, /^Hello/);
  await slow;
  assert.equal((await get("/")).text, "begun");
});

test("what was tried once is not tried again by the next process", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { runner, get, lost } = await serving(t, cache.directory);
  const trapsFromMs = Date.now() + 400;
  await runner.load({ id: "a", hosts: ["a.localhost"], compiled: await beginning(), environment: { TRAPS_FROM_MS: String(trapsFromMs) } });
  await until(() => Date.now() > trapsFromMs, "the time from which on it traps");
  process.kill(runner.pid ?? 0, "SIGKILL");
  assert.equal((await get("/")).code, "trap");
  assert.deepEqual(lost, []);
});

test("a trial costs a load little", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load } = await serving(t, cache.directory);
  await load("a", "hello");
  const times: number[] = [];
  for (let round = 0; round < 10; round += 1) {
    const begunMs = performance.now();
    await load("a", "hello");
    times.push(performance.now() - begunMs);
  }
  times.sort((a, b) => a - b);
  t.diagnostic(`loads of hello: ${times.map((ms) => ms.toFixed(1)).join(", ")} ms`);
  assert.ok((times[0] ?? Infinity) < 100);
});

test("a runner that is held takes no request before it is opened, also when it dies meanwhile", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const listener = await listen("127.0.0.1", 0);
  const runner = await startRunner({ listener, cacheDirectory: cache.directory, hold: true });
  t.after(async () => {
    await runner.stop();
    listener.close();
  });
  let answered = false;
  const answer = get(listener.port, "/").finally(() => (answered = true));
  const compiled = await compile(await guest("hello"), { cacheDirectory: cache.directory });
  await runner.load({ id: "a", hosts: ["a.localhost"], compiled });
  const pid = runner.pid ?? 0;
  process.kill(pid, "SIGKILL");
  await runner.usage();
  assert.notEqual(runner.pid, pid);
  assert.equal(answered, false);
  await runner.open();
  assert.equal((await answer).status, 200);
  await runner.open();
  process.kill(runner.pid ?? 0, "SIGKILL");
  assert.equal((await get(listener.port, "/")).status, 200, "the next process is open by itself");
});
