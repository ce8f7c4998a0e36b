/** Every limit of an instance holds: at requests, at instantiation, in allocation callbacks and after a return, and against whoever compiles. */
import assert from "node:assert/strict";
import test, { after } from "node:test";
import { LIMITS_MAX, type Limits } from "#sandbox/limits.ts";
import { compile, type Deployment, inspect } from "#sandbox/sandbox.ts";
import * as handmade from "#tests/guests/handmade.ts";
import { nativeIsThere, serving, sharedCache, type Serving, until } from "./serving.ts";

const MIB = 1024 * 1024;
const cache = sharedCache();
after(cache.remove);

const FUEL: Partial<Limits> = { fuelPerCallMax: 20_000_000 };
const LOOP = "(loop $again (br $again))";

async function load({ runner }: Serving, id: string, component: Uint8Array, options: Partial<Deployment> = {}): Promise<void> {
  const compiled = await compile(component, { cacheDirectory: cache.directory });
  await runner.load({ id, hosts: [`${id}.localhost`], compiled, ...options });
}

test("limits hold during instantiation: start functions, initialisers, tables and the number of instances", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const served = await serving(t, cache.directory);
  const cases: readonly [what: string, guest: handmade.Service, limits: Partial<Limits>, cause: RegExp][] = [
    ["a start function without end", { module: `(func $start ${LOOP}) (start $start)` }, FUEL, /fuel_limit/],
    ["one that takes too long", { module: `(func $start ${LOOP}) (start $start)` }, { wallTimeMsMax: 100, fuelPerCallMax: LIMITS_MAX.fuelPerCallMax }, /wall_time_limit/],
    ["one that uses too much CPU time", { module: `(func $start ${LOOP}) (start $start)` }, { cpuTimeMsMax: 100, fuelPerCallMax: LIMITS_MAX.fuelPerCallMax }, /cpu_time_limit/],
    ["one that recurses without end", { module: "(func $start (call $start)) (start $start)" }, {}, /trap/],
    ["one that grows its memory", { module: "(func $start (if (i32.eq (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable))) (start $start)" }, { memoryBytesMax: 16 * MIB }, /memory_limit/],
    ["one that grows its table", { module: "(table $t 1 funcref) (func $start (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable))) (start $start)" }, { tableElementsMax: 500 }, /table_limit/],
    ["a memory that is too large from the start", { memory: '(memory (export "memory") 400)' }, { memoryBytesMax: 16 * MIB }, /memory_limit/],
    ["a table that is too large from the start", { module: "(table 10000 funcref)" }, { tableElementsMax: 500 }, /table_limit|trap/],
    ["more instances than are allowed", { more: "(core module $more) (core instance (instantiate $more)) (core instance (instantiate $more))" }, { instancesMax: 2 }, /load_failed|trap/],
    ["more instances than there can be", { more: `(core module $more) ${"(core instance (instantiate $more))".repeat(40)}` }, {}, /./],
  ];
  for (const [what, guest, limits, cause] of cases) {
    const begunMs = performance.now();
    await assert.rejects(load(served, "a", await handmade.service(guest), { limits }), (error: Error & { code: string }) => error.code === "load_failed" && cause.test(error.message), what);
    assert.ok(performance.now() - begunMs < 60_000, what);
  }
  await served.load("a", "hello");
  assert.match((await served.get("/")).text, /^Hello/, "the runner lives");
});

test("limits hold in allocation callbacks, after a return, and for calls into the host, which cost fuel", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const served = await serving(t, cache.directory);
  const { get, runner } = served;
  const environment = { A: "1" };
  await load(served, "realloc", await handmade.service(handmade.endlessRealloc), { limits: FUEL, environment });
  await load(served, "post", await handmade.service({ postReturn: LOOP }), { limits: FUEL });
  await load(served, "calls", await handmade.service(handmade.endlessCalls), { limits: FUEL });
  for (const id of ["realloc", "post", "calls"]) {
    const before = (await runner.usage())[id]?.fuel ?? 0;
    const answer = await get("/", { host: `${id}.localhost` });
    assert.deepEqual([answer.status, answer.code], [504, "fuel_limit"], id);
    assert.equal((await runner.usage())[id]?.fuel, before + 20_000_000, id);
  }
});

test("CPU time of a call ends it, however much fuel and wall time it has left", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { cpuTimeMsMax: 150, fuelPerCallMax: LIMITS_MAX.fuelPerCallMax } });
  const before = (await runner.usage())["a"]?.cpuNs ?? 0;
  const answer = await get("/loop");
  assert.deepEqual([answer.status, answer.code], [504, "cpu_time_limit"]);
  const spentMs = ((await runner.usage())["a"]!.cpuNs - before) / 1e6;
  assert.ok(spentMs > 145 && spentMs < 400, `${spentMs} ms`);
});

test("wall time goes on while a guest is blocked inside a host call", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { wallTimeMsMax: 300 } });
  const answer = await get("/slow?ms=60000");
  assert.deepEqual([answer.status, answer.code], [504, "wall_time_limit"]);
  assert.ok(answer.elapsedMs < 30_000, `after ${answer.elapsedMs} ms`);
  await until(async () => (await runner.usage())["a"]?.running === 0, "its end");
});

test("headers have a number and a size, of requests and of answers", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, logs } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { headerCountMax: 20, headerBytesMax: 4_096 } });
  const headers = (count: number): Record<string, string> => Object.fromEntries(Array.from({ length: count }, (_, n) => [`x-${n}`, "1"]));
  assert.equal((await get("/", { headers: headers(15) })).status, 200);
  const many = await get("/", { headers: headers(30) });
  assert.deepEqual([many.status, many.code], [431, "header_too_large"]);
  const large = await get("/header?length=4200");
  assert.equal(large.status, 500);
  assert.equal((await get("/header?length=3000")).status, 200);
  await until(() => logs.some(({ line }) => /^(answer_too_large|trap)/.test(line)), "why");
});

test("a request that finds no room is told when to come again", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { concurrency: 1, limits: { queueLengthMax: 0 } });
  const first = get("/slow?ms=300");
  await until(async () => (await runner.usage())["a"]?.running === 1, "one that runs");
  const { status, code, headers } = await get("/");
  assert.deepEqual([status, code, headers["retry-after"]], [503, "queue_full", "1"]);
  await first;
});

test("what the host keeps for a guest counts as its memory", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const served = await serving(t, cache.directory);
  await served.load("a", "attacks", { limits: { memoryBytesMax: 6 * MIB } });
  const answer = await served.get("/fields");
  assert.deepEqual([answer.status, answer.code], [500, "memory_limit"]);
  const usage = (await served.runner.usage())["a"];
  assert.ok((usage?.memoryBytesPeak ?? 0) > 4 * MIB && (usage?.memoryBytesPeak ?? Infinity) <= 6 * MIB, `peak ${usage?.memoryBytesPeak}`);
  assert.equal(usage?.memoryBytes, 0);
});

test("one instance has the memory of one replica, though the route has that of several", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { memoryBytesMax: 64 * MIB }, instanceMemoryBytesMax: 16 * MIB });
  assert.equal((await get("/hog")).code, "memory_limit");
  assert.ok(((await runner.usage())["a"]?.memoryBytesPeak ?? Infinity) <= 16 * MIB);
});

test("a reload does not double what a deployment may have at once", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { concurrency: 2, limits: { queueLengthMax: 0 } });
  const slow = [get("/slow?ms=500"), get("/slow?ms=500")];
  await until(async () => (await runner.usage())["a"]?.running === 2, "two that run");
  await load("a", "rogue", { concurrency: 2, limits: { queueLengthMax: 0 } });
  assert.equal((await get("/")).code, "queue_full");
  assert.deepEqual((await Promise.all(slow)).map(({ status }) => status), [200, 200]);
  assert.equal((await get("/")).status, 200);
});

test("compile bombs end within the compile budget, tiny ones and one huge function, and hurt neither inspection nor the next compile", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const bombs: readonly [what: string, component: Uint8Array][] = [
    ["a kilobyte that asks for ten million instances", await handmade.instanceBomb(7)],
    ["types of 2^30 fields", await handmade.typeBomb(30)],
    ["a hundred thousand aliases", await handmade.aliasBomb(100_000)],
    ["one function of a million instructions", await handmade.hugeFunction(1_000_000)],
  ];
  const outcomes = await Promise.all(bombs.map(async ([what, component]) => {
    const begunMs = performance.now();
    const inspected = await inspect(component).then(() => "taken", (error: { code: string }) => error.code);
    const inspectedMs = performance.now() - begunMs;
    const compiled = await compile(component, { cacheDirectory: cache.directory, limits: { cpuSecondsMax: 1, wallTimeMsMax: 15_000, memoryBytesMax: 512 * MIB } }).then(() => "compiled", (error: { code: string }) => error.code);
    t.diagnostic(`${what}, ${component.length} bytes: inspected ${inspected} in ${inspectedMs.toFixed(0)} ms, ${compiled} after ${(performance.now() - begunMs).toFixed(0)} ms`);
    return { what, inspectedMs, compiled, elapsedMs: performance.now() - begunMs };
  }));
  for (const { what, inspectedMs, compiled, elapsedMs } of outcomes) {
    assert.match(compiled, /^(compile_failed|compile_limit|compile_interrupted|compiled)$/, what);
    assert.ok(elapsedMs < 200_000 && inspectedMs < 100_000, `${what}: ${elapsedMs} ms`);
  }
  assert.notEqual(outcomes[0]?.compiled, "compiled");
  await compile(await handmade.service({}), { cacheDirectory: cache.directory });
});
