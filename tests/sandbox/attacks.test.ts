/** A guest that turns the host against others: by what the host does for it, by what it says of its answers, by ending its process. */
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, type TestContext } from "node:test";
import { LIMITS_MAX } from "#sandbox/limits.ts";
import { compile, listen, type LogLine, type RunnerExit, startRunner } from "#sandbox/sandbox.ts";
import { buildComponent } from "#workloads/sdk/build.ts";
import { nativeIsThere, serving, sharedCache, type Serving, until } from "./serving.ts";

const ASSEMBLY = join(import.meta.dirname, "assembly");
const FOR_EVER_MS = "9e15";
const cache = sharedCache();
after(cache.remove);

async function attacked(t: TestContext): Promise<Serving> {
  const served = await serving(t, cache.directory);
  await served.load("a", "attacks", { limits: { wallTimeMsMax: 1_000, logBytesPerSecondMax: LIMITS_MAX.logBytesPerSecondMax } });
  return served;
}

/** Everything that comes back until `done`, or until the server closes. */
function exchange(port: number, text: string, done: (answer: string) => boolean): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(text));
    socket.setTimeout(3_000, () => socket.destroy());
    socket.setEncoding("latin1").on("data", (chunk: string) => {
      answer += chunk;
      if (done(answer)) socket.destroy();
    });
    socket.on("error", () => {}).on("close", () => resolve(answer));
  });
}
const statuses = (text: string): string[] => [...text.matchAll(/HTTP\/1.1 (\d+)/g)].map((match) => match[1] ?? "");

test("log lines that grow as JSON do not end the runner", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { get, runner, logs, exits } = await attacked(t);
  const { pid } = runner;
  const answers = Array.from({ length: 4 }, () => get("/escapes"));
  // While the agent does something else, lines gather.
  await new Promise((resolve) => setTimeout(resolve, 20));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 700);
  await Promise.all(answers);
  await until(() => logs.filter((line) => line.line.startsWith("\x01")).length > 400, "the lines");
  assert.deepEqual([runner.pid, exits.length], [pid, 0]);
});

test("an answer shorter than it says takes no byte of the next one", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { port } = await attacked(t);
  const one = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a.localhost\r\n\r\n`;
  for (const path of ["/announced", "/short", "/long"]) {
    const answer = await exchange(port, one(path) + one("/"), (text) => text.endsWith("ok\n"));
    assert.deepEqual(statuses(answer), ["500", "200"], path);
    assert.doesNotMatch(answer, /content-length: 100/i);
  }
});

test("a status that is no answer is 500 with its code", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { get } = await attacked(t);
  const answer = await get("/switch");
  assert.deepEqual([answer.status, answer.code], [500, "guest_error"]);
});

test("a header name or value that HTTP does not allow never leaves", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { get } = await attacked(t);
  assert.equal((await get("/smuggle")).text, "taken: ");
});

test("an answer that its guest never ends is cut at its wall time, and never looks whole", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { get } = await attacked(t);
  for (const path of ["/stuck", "/endless"]) {
    const answer = await get(path);
    // A reset may overtake the head.
    assert.ok(answer.status === 200 || answer.status === 0, `${path}: ${answer.status}`);
    assert.equal(answer.complete, false, path);
    assert.ok(answer.elapsedMs < 30_000, path);
  }
});

test("a request with two hosts is nobody's", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { port } = await attacked(t);
  for (const hosts of [["a.localhost", "b.localhost"], ["a.localhost", "a.localhost"]]) {
    const head = hosts.map((host) => `Host: ${host}\r\n`).join("");
    assert.match(await exchange(port, `GET / HTTP/1.1\r\n${head}\r\n`, (text) => text.includes("\n}") || text.includes("}\n")), /^HTTP\/1.1 400 .*request_malformed/s);
  }
});

test("what the host keeps or makes for a guest has a limit", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { get } = await attacked(t);
  assert.equal((await get("/fields")).code, "trap");
  assert.equal((await get("/random")).code, "trap");
  const newlines = await get("/newlines");
  assert.ok(newlines.elapsedMs < 15_000, `${newlines.elapsedMs} ms`);
  assert.equal((await get("/")).status, 200);
});

test("host calls without end are ended in time, and others are served meanwhile", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { get, load } = await attacked(t);
  await load("b", "hello");
  let isOver = false;
  const calls = Promise.all(Array.from({ length: 4 }, () => get("/arguments"))).finally(() => (isOver = true));
  let slowestMs = 0;
  while (!isOver) slowestMs = Math.max(slowestMs, (await get("/", { host: "b.localhost" })).elapsedMs);
  for (const { code, elapsedMs } of await calls) {
    assert.equal(code, "wall_time_limit");
    assert.ok(elapsedMs < 20_000, `after ${elapsedMs.toFixed(0)} ms`);
    t.diagnostic(`ended after ${elapsedMs.toFixed(0)} ms`);
  }
  t.diagnostic(`the slowest of the others in ${slowestMs.toFixed(0)} ms`);
  assert.ok(slowestMs < 5_000, `others waited ${slowestMs.toFixed(0)} ms`);
});

test("a load that ends its process again and again is refused, and what was loaded before is served throughout", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { get, load, runner } = await serving(t, cache.directory);
  await load("a", "hello");
  const { component } = await buildComponent(ASSEMBLY, "beginning.ts", "service");
  const compiled = await compile(component, { cacheDirectory: cache.directory });
  const slow = runner.load({ id: "a", hosts: ["a.localhost"], compiled, environment: { LOOPS_UNTIL_MS: FOR_EVER_MS } });
  let isOver = false;
  const refused = assert.rejects(slow, { code: "load_failed", message: /ended 3 times/ }).finally(() => (isOver = true));
  // One that ends before it was told of the load does not count against it.
  for (let round = 0; !isOver && round < 10; round += 1) {
    assert.match((await get("/")).text, /^Hello/);
    const { pid } = runner;
    if (pid !== null && !isOver) process.kill(pid, "SIGKILL");
    await until(() => isOver || (runner.pid !== null && runner.pid !== pid), "the next runner");
  }
  await refused;
  assert.match((await get("/")).text, /^Hello/);
  assert.ok((await runner.usage())["a"]);
});

/** What a tenant who owns the runner could make it say. */
const IMPOSTOR = `#!${process.execPath}
const { Socket } = require("node:net");
const control = new Socket({ fd: 3 });
const send = (message) => {
  const body = Buffer.from(JSON.stringify(message));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  control.write(Buffer.concat([length, body]));
};
control.once("data", () => {
  send({ type: "started", call: 1, engine: "x" });
  setTimeout(() => send({ type: "logs", lines: [{ id: "../../elsewhere", requestId: "", stream: "stdout", timeMs: 1, line: "x" }] }), 100);
});
setTimeout(() => {}, 60_000);
`;

test("a runner that speaks of a deployment it was never given is not believed, and ended", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const directory = mkdtempSync(join(tmpdir(), "godwit-impostor-"));
  writeFileSync(join(directory, "godwit-runner"), IMPOSTOR);
  chmodSync(join(directory, "godwit-runner"), 0o700);
  const listener = await listen("127.0.0.1", 0);
  const before = process.env["GODWIT_NATIVE"];
  process.env["GODWIT_NATIVE"] = directory;
  const lines: LogLine[] = [];
  const exits: RunnerExit[] = [];
  try {
    const runner = await startRunner({ listener, cacheDirectory: cache.directory, onLog: (line) => lines.push(line), onExit: (exit) => exits.push(exit) });
    await until(() => exits.length > 0, "its end");
    await runner.stop();
  } finally {
    if (before === undefined) delete process.env["GODWIT_NATIVE"];
    else process.env["GODWIT_NATIVE"] = before;
    listener.close();
    rmSync(directory, { recursive: true });
  }
  assert.deepEqual([lines, exits[0]?.signal], [[], "SIGKILL"]);
});
