/** What a tenant's service gets and does not get: each promise of the runner, and each limit with a guest that runs into it. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import test, { after } from "node:test";
import { LIMITS_MAX } from "#sandbox/limits.ts";
import { get, nativeIsThere, serving, sharedCache, until } from "./serving.ts";

const MIB = 1024 * 1024;
const cache = sharedCache();
after(cache.remove);

test("a request is answered by a fresh instance, and its output is in the log of its deployment", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, logs } = await serving(t, cache.directory);
  await load("a", "rogue");
  const answer = await get("/both");
  assert.equal(answer.status, 200);
  assert.equal(answer.text, "ok\n");
  assert.match(String(answer.headers["x-request-id"]), /^[0-9a-f]{16}$/);
  await until(() => logs.length === 2, "two lines");
  const requestId = answer.headers["x-request-id"];
  assert.deepEqual(logs.map(({ id, requestId, stream, line }) => ({ id, requestId, stream, line })).toSorted((a, b) => (a.stream < b.stream ? 1 : -1)), [
    { id: "a", requestId, stream: "stdout", line: "to stdout" },
    { id: "a", requestId, stream: "stderr", line: "to stderr" },
  ]);
});

test("a Host that nobody has is 404, in any case of letters and with any port", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { hosts: ["a.localhost", "other.example"] });
  for (const host of ["a.localhost", "A.LocalHost:8080", "other.example", "a.localhost."]) assert.equal((await get("/", { host })).status, 200, host);
  for (const host of ["b.localhost", "localhost", "127.0.0.1", "a.localhost.evil", "[::1]:80"]) {
    const answer = await get("/", { host });
    assert.deepEqual([answer.status, answer.code], [404, "host_unknown"], host);
    assert.ok(answer.headers["x-request-id"]);
  }
  await runner.unload("a");
  assert.equal((await get("/")).status, 404);
});

test("the host * takes what no other deployment has", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get } = await serving(t, cache.directory);
  await load("any", "rogue", { hosts: ["*"] });
  await load("a", "hello");
  assert.equal((await get("/", { host: "127.0.0.1" })).text, "ok\n");
  assert.match((await get("/")).text, /^Hello/);
});

test("a host belongs to one deployment", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue");
  await assert.rejects(load("b", "hello", { hosts: ["b.localhost", "a.localhost"] }), { code: "host_in_use" });
  assert.equal((await get("/")).text, "ok\n");
  assert.equal((await get("/", { host: "b.localhost" })).status, 404);
  await runner.unload("a");
  await load("b", "hello", { hosts: ["a.localhost"] });
  assert.match((await get("/")).text, /^Hello/);
});

test("loading again replaces, and keeps what was counted", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue");
  await get("/");
  await load("a", "hello", { hosts: ["new.localhost"] });
  assert.equal((await get("/")).status, 404);
  assert.match((await get("/", { host: "new.localhost" })).text, /^Hello/);
  assert.equal((await runner.usage())["a"]?.requests, 2);
});

test("a trap is 500 with its request id, and its message and backtrace are in the tenant's log", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, logs, runner } = await serving(t, cache.directory);
  await load("a", "rogue");
  const answer = await get("/unreachable");
  assert.deepEqual([answer.status, answer.code], [500, "trap"]);
  assert.equal((JSON.parse(answer.text) as { requestId: string }).requestId, answer.headers["x-request-id"]);
  await until(() => logs.some((line) => line.line.includes("unreachable")), "the trap's message");
  const system = logs.filter((line) => line.stream === "system");
  assert.ok(system.every((line) => line.requestId === answer.headers["x-request-id"] && line.id === "a"));
  assert.ok(system.some((line) => /^\s*\d+:\s+0x[0-9a-f]+ - /.test(line.line)), "a backtrace");
  assert.deepEqual([(await get("/index")).code, (await get("/recurse")).code], ["trap", "trap"]);
  assert.equal((await runner.usage())["a"]?.errors, 3);
  assert.equal((await get("/")).status, 200);
});

test("endless guests end with 504 at their limit, of time or of fuel, while others are served", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { wallTimeMsMax: 1_000, fuelPerCallMax: LIMITS_MAX.fuelPerCallMax } });
  await load("f", "rogue", { limits: { fuelPerCallMax: 1_000_000 } });
  await load("b", "rogue");
  const loops = Array.from({ length: 4 }, () => get("/loop"));
  let served = 0;
  let slowestMs = 0;
  const ended = Promise.all(loops).then((answers) => answers);
  let running = true;
  void ended.finally(() => (running = false));
  while (running) {
    const answer = await get("/", { host: "b.localhost" });
    assert.equal(answer.status, 200);
    served += 1;
    slowestMs = Math.max(slowestMs, answer.elapsedMs);
  }
  for (const answer of await ended) {
    assert.deepEqual([answer.status, answer.code], [504, "wall_time_limit"]);
    assert.ok(answer.elapsedMs > 900 && answer.elapsedMs < 30_000, `after ${answer.elapsedMs} ms`);
  }
  t.diagnostic(`${served} requests served beside 4 endless guests, the slowest in ${slowestMs.toFixed(1)} ms`);
  assert.ok(served >= 3, `only ${served} requests beside endless guests`);
  const fuelOfTrial = (await runner.usage())["f"]?.fuel ?? 0;
  const fuel = await get("/loop", { host: "f.localhost" });
  assert.deepEqual([fuel.status, fuel.code], [504, "fuel_limit"]);
  assert.equal((await runner.usage())["f"]?.fuel, fuelOfTrial + 1_000_000);
});

test("two endless tenants get the processor in equal parts, however many requests each has", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  const limits = { wallTimeMsMax: 3_000, fuelPerCallMax: LIMITS_MAX.fuelPerCallMax };
  await load("a", "rogue", { limits });
  await load("b", "rogue", { limits });
  await Promise.all([...Array.from({ length: 8 }, () => get("/loop")), ...Array.from({ length: 2 }, () => get("/loop", { host: "b.localhost" }))]);
  const usage = await runner.usage();
  const share = (usage["b"]?.cpuNs ?? 0) / ((usage["a"]?.cpuNs ?? 0) + (usage["b"]?.cpuNs ?? 0));
  t.diagnostic(`2 of 10 endless requests had ${(share * 100).toFixed(0)} % of the CPU time`);
  assert.ok(share > 0.28 && share < 0.72, `share ${share}`);
});

test("memory ends at the limit of the deployment, in its own instance", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { memoryBytesMax: 16 * MIB } });
  await load("b", "rogue");
  const answer = await get("/hog");
  assert.deepEqual([answer.status, answer.code], [500, "memory_limit"]);
  const usage = (await runner.usage())["a"];
  assert.ok((usage?.memoryBytesPeak ?? 0) <= 16 * MIB && (usage?.memoryBytesPeak ?? 0) > 8 * MIB, `peak ${usage?.memoryBytesPeak}`);
  assert.equal(usage?.memoryBytes, 0);
  assert.equal((await get("/", { host: "b.localhost" })).status, 200);
  assert.equal((await get("/")).status, 200);
});

test("what does not fit into concurrency waits, and what does not fit into the queue is 503", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { concurrency: 2, limits: { queueLengthMax: 2, queueWaitMsMax: 5_000 } });
  const slow = Array.from({ length: 4 }, () => get("/slow?ms=400"));
  await until(async () => (await runner.usage())["a"]?.waiting === 2, "two that wait");
  const refused = await get("/");
  assert.deepEqual([refused.status, refused.code], [503, "queue_full"]);
  const answers = await Promise.all(slow);
  assert.deepEqual(answers.map((answer) => answer.status), [200, 200, 200, 200]);
  assert.ok(answers.filter((answer) => answer.elapsedMs > 700).length >= 2);
  await load("a", "rogue", { concurrency: 1, limits: { queueWaitMsMax: 100 } });
  const first = get("/slow?ms=400");
  await until(async () => (await runner.usage())["a"]?.running === 1, "one that runs");
  assert.equal((await get("/")).code, "queue_timeout");
  assert.equal((await first).status, 200);
});

test("instances that do not fit into the memory of the deployment together run one after the other", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { memoryBytesMax: 900 * 1024 } });
  // From the first, the runner learns what one needs.
  assert.equal((await get("/")).status, 200);
  const answers = await Promise.all(Array.from({ length: 8 }, () => get("/slow?ms=100")));
  assert.deepEqual(answers.map((answer) => answer.status), Array.from({ length: 8 }, () => 200));
  const usage = (await runner.usage())["a"];
  assert.ok((usage?.memoryBytesPeak ?? Infinity) <= 900 * 1024, `peak ${usage?.memoryBytesPeak}`);
  assert.ok(answers.some((answer) => answer.elapsedMs > 250), "some of them waited");
});

test("a body over the limit is 413, announced or not", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { requestBodyBytesMax: 100_000 } });
  assert.equal((await get("/count", { body: new Uint8Array(100_000) })).text, "100000");
  const announced = await get("/count", { body: new Uint8Array(100_001), headers: { "content-length": "100001" } });
  assert.deepEqual([announced.status, announced.code], [413, "body_too_large"]);
  const pieces = [new Uint8Array(60_000), new Uint8Array(40_000)];
  const chunked = { "transfer-encoding": "chunked" };
  assert.equal((await get("/count", { body: pieces, headers: chunked })).text, "100000");
  const over = await get("/count", { body: [...pieces, new Uint8Array(1)], headers: chunked });
  assert.deepEqual([over.status, over.code], [413, "body_too_large"]);
});

test("an answer over the limit is cut, a request's head over the limit is 431", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, logs } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { responseBodyBytesMax: 1 * MIB, headerBytesMax: 8_192 } });
  const whole = await get(`/big?bytes=${MIB}`);
  assert.deepEqual([whole.status, whole.complete, whole.text.length], [200, true, MIB]);
  const cut = await get(`/big?bytes=${4 * MIB}`);
  assert.equal(cut.complete, false);
  assert.ok(cut.text.length <= MIB);
  await until(() => logs.some((line) => line.line.startsWith("answer_too_large")), "a line about it");
  const head = await get("/", { headers: { "x-long": "x".repeat(10_000) } });
  assert.deepEqual([head.status, head.code], [431, "header_too_large"]);
  // Beyond what is read at all, the connection may be reset before the client has read why.
  assert.ok([0, 431].includes((await get("/", { headers: { "x-long": "x".repeat(200_000) } })).status));
});

test("an answer that the guest breaks off in the middle is cut, never completed", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, logs } = await serving(t, cache.directory);
  await load("a", "rogue");
  const answer = await get("/cut");
  assert.ok(answer.complete === false || answer.status === 500, `status ${answer.status}`);
  await until(() => logs.some((line) => line.stream === "system"), "the trap in the log");
});

test("a client that goes takes its guest with it", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { fuelPerCallMax: LIMITS_MAX.fuelPerCallMax } });
  const gone = new AbortController();
  const answer = get("/loop", { signal: gone.signal });
  await until(async () => ((await runner.usage())["a"]?.cpuNs ?? 0) > 20_000_000, "a guest that works");
  gone.abort();
  await answer;
  await until(async () => (await runner.usage())["a"]?.running === 0, "the guest has ended", 2_000);
  // The last slice is booked when it has ended.
  await new Promise((resolve) => setTimeout(resolve, 50));
  const then = (await runner.usage())["a"];
  await new Promise((resolve) => setTimeout(resolve, 200));
  const later = (await runner.usage())["a"];
  assert.equal(later?.cpuNs, then?.cpuNs);
  assert.ok((later?.fuel ?? 0) > 1_000_000, "the fuel of an aborted guest is booked");
  assert.equal(later?.memoryBytes, 0);
});

test("a guest that talks too much loses lines and is told how many", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, logs, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { logBytesPerSecondMax: 20_000 } });
  assert.equal((await get("/spam?lines=20000")).status, 200);
  const dropped = (): number => logs.map((line) => Number(/^dropped (\d+) lines/.exec(line.line)?.[1] ?? 0)).reduce((sum, count) => sum + count, 0);
  await until(() => dropped() > 0, "a line about the loss");
  await until(() => dropped() + logs.filter((line) => line.stream === "stdout").length === 20_000, "every line was sent or counted");
  assert.ok(logs.length < 1_000);
  assert.ok(((await runner.usage())["a"]?.logLinesDropped ?? 0) > 19_000);
});

test("keep-alive: a second request on a connection, and a pipelined one, are answered in order", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port } = await serving(t, cache.directory);
  await load("a", "rogue");
  const socket = connect(port, "127.0.0.1");
  let text = "";
  socket.setEncoding("latin1").on("data", (chunk) => (text += chunk));
  const one = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a.localhost\r\n\r\n`;
  socket.write(one("/status?code=201"));
  await until(() => text.includes("201"), "the first answer");
  socket.write(one("/status?code=202") + one("/status?code=203"));
  await until(() => text.includes("203"), "all answers");
  socket.destroy();
  assert.deepEqual([...text.matchAll(/HTTP\/1.1 (\d+)/g)].map((match) => match[1]), ["201", "202", "203"]);
});

test("what is not HTTP is refused and hurts nobody", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port, runner } = await serving(t, cache.directory);
  await load("a", "rogue");
  const { pid } = runner;
  const garbage = ["\x00\x01\x02\x03\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz"];
  for (const bytes of garbage) {
    await new Promise<void>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => socket.end(bytes, "latin1"));
      socket.on("error", () => {}).on("close", () => resolve()).resume();
    });
  }
  assert.equal((await get(port, "/")).status, 200);
  assert.equal(runner.pid, pid);
});

test("the environment of a deployment is its own, and the machine's is not to be seen", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get } = await serving(t, cache.directory);
  await load("a", "hello", { environment: { GREETING: "Ahoy" } });
  await load("b", "hello");
  const [a, b] = [await get("/"), await get("/", { host: "b.localhost" })];
  assert.notEqual(a.text, b.text);
  assert.match(a.text, /Ahoy/);
});

test("a limit above the maximum, or a host too many, is refused", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load } = await serving(t, cache.directory);
  await assert.rejects(load("a", "rogue", { limits: { memoryBytesMax: LIMITS_MAX.memoryBytesMax + 1 } }), { code: "limit_invalid" });
  await assert.rejects(load("a", "rogue", { concurrency: 0 }), { code: "limit_invalid" });
  await assert.rejects(load("a", "rogue", { hosts: Array.from({ length: 65 }, (_, index) => `h${index}`) }), { code: "limit_invalid" });
  await assert.rejects(load("a", "rogue", { environment: { BIG: "x".repeat(100_000) } }), { code: "limit_invalid" });
  await assert.rejects(load("a", "tally"), { code: "load_failed" });
});
