/** The runner as a process: jailed, replaced at once when it dies, and gone when it should be. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import test, { after } from "node:test";
import { compile, listen, nativePaths, startRunner } from "#sandbox/sandbox.ts";
import { guest } from "#tests/guests/build.ts";
import { needs } from "#tests/require.ts";
import { get, nativeIsThere, serving, sharedCache, until } from "./serving.ts";

const ROUNDS_CALM = 2;
const STARTS_KILLED = 30;
const STARTS_KILLED_STEP_MS = 0.7;
const SPARE_MIB_MAX = 8;
const cache = sharedCache();
after(cache.remove);

const alive = (pid: number): boolean => existsSync(`/proc/${pid}/stat`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));

test("a killed runner is back with everything loaded, and a client that connects meanwhile is answered", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner, exits, lost } = await serving(t, cache.directory);
  for (const id of Array.from({ length: 20 }, (_, index) => `d${index}`)) await load(id, "hello");
  await load("a", "rogue");
  await get("/");
  assert.equal((await runner.usage())["a"]?.requests, 1);
  const times: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const pid = runner.pid ?? 0;
    process.kill(pid, "SIGKILL");
    const answer = await get("/");
    assert.equal(answer.status, 200);
    assert.notEqual(runner.pid, pid);
    times.push(answer.elapsedMs);
    assert.equal((await get("/", { host: "d19.localhost" })).status, 200);
    // Long enough for the process to count as well started, and for another to wait beside it.
    if (round < ROUNDS_CALM) await new Promise((resolve) => setTimeout(resolve, 2_100));
  }
  t.diagnostic(`SIGKILL to answer with 21 deployments: ${times.map((ms) => `${ms.toFixed(0)} ms`).join(", ")}`);
  await until(() => exits.length === 5, "word of each end");
  assert.ok(exits.every((exit) => exit.signal === "SIGKILL"));
  assert.deepEqual(lost, []);
  assert.ok(((await runner.usage())["a"]?.requests ?? 0) >= 2, "what was counted before is kept");
});

test("more than fits into one control message is back after a kill", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner, lost } = await serving(t, cache.directory);
  const environment = { LARGE: "x".repeat(60_000) };
  for (let index = 0; index < 150; index += 1) await load(`d${index}`, "hello", { environment });
  process.kill(runner.pid ?? 0, "SIGKILL");
  const first = await get("/", { host: "d0.localhost" });
  assert.deepEqual([first.status, (await get("/", { host: "d149.localhost" })).status, lost.length], [200, 200, 0]);
  t.diagnostic(`150 deployments and 9 MB of environment: ${first.elapsedMs.toFixed(0)} ms`);
});

test("a runner that hangs is replaced as one that died", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner, exits } = await serving(t, cache.directory, { askEveryMs: 100 });
  await load("a", "rogue");
  const pid = runner.pid ?? 0;
  process.kill(pid, "SIGSTOP");
  await until(() => /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, "utf8")), "a runner that stands still");
  const answer = await get("/");
  assert.equal(answer.status, 200);
  assert.notEqual(runner.pid, pid);
  await until(() => exits.length === 1, "its end");
});

test("calls that a dying runner did not answer are answered by the next one", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue");
  process.kill(runner.pid ?? 0, "SIGKILL");
  const [usage] = await Promise.all([runner.usage(), load("b", "hello"), runner.unload("a")]);
  assert.equal(usage["a"] === undefined || usage["a"].requests === 0, true);
  assert.equal((await get("/", { host: "b.localhost" })).status, 200);
  assert.equal((await get("/")).status, 404);
});

test("a call that is made while there is no process is told to the next one", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  // Whoever dies soon is replaced later, so that at some time there is none.
  for (let kills = 0; runner.pid !== null; kills += 1) {
    assert.ok(kills < 1_000);
    const { pid } = runner;
    process.kill(pid, "SIGKILL");
    await until(() => runner.pid !== pid, "its end");
  }
  const calls = [load("a", "rogue"), runner.elsewhere!.peers([], []), runner.usage()];
  assert.equal(runner.pid, null);
  await Promise.all(calls);
  assert.equal((await get("/")).status, 200);
});

test("changed code is not executed: not at load, and not after a respawn", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner, lost } = await serving(t, cache.directory);
  await load("a", "rogue");
  await load("b", "hello");
  const component = await guest("rogue");
  const compiled = await compile(component, { cacheDirectory: cache.directory });
  const bytes = await readFile(compiled.path);
  bytes[bytes.length - 100] = (bytes[bytes.length - 100] ?? 0) ^ 1;
  await writeFile(compiled.path, bytes);
  await assert.rejects(runner.load({ id: "c", hosts: ["c"], compiled }), { code: "artefact_corrupt" });
  process.kill(runner.pid ?? 0, "SIGKILL");
  assert.equal((await get("/", { host: "b.localhost" })).status, 200);
  // What is not asked is not mapped: it is found out at the first request.
  assert.equal((await get("/")).code, "overloaded");
  await until(() => lost.length === 1, "word of the loss");
  assert.deepEqual(lost, ["a artefact_corrupt"]);
  assert.equal((await get("/")).status, 404);
  assert.equal((await compile(component, { cacheDirectory: cache.directory })).cached, false);
  await load("a", "rogue");
  assert.equal((await get("/")).status, 200);
});

test("the process has no privileges to gain, a filter on every thread, no environment, and only its own descriptors", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue");
  await get("/loop", { signal: AbortSignal.timeout(100) });
  const proc = `/proc/${runner.pid}`;
  const threads = readdirSync(`${proc}/task`);
  assert.ok(threads.length >= 4);
  for (const thread of threads) {
    const status = readFileSync(`${proc}/task/${thread}/status`, "utf8");
    assert.match(status, /^NoNewPrivs:\s+1$/m);
    assert.match(status, /^Seccomp:\s+2$/m);
    assert.match(status, /^CapEff:\s+0+$/m);
    assert.match(status, /^CapPrm:\s+0+$/m);
  }
  assert.equal(readFileSync(`${proc}/environ`, "utf8"), "");
  const held = readdirSync(`${proc}/fd`).map((fd) => readlinkSync(`${proc}/fd/${fd}`)).filter((name) => !/^(\/dev\/null|socket:|pipe:|anon_inode:|\/memfd:)/.test(name));
  assert.deepEqual(held.filter((name) => !name.endsWith("/pagemap")), []);
});

test("as root, the runner has a network of its own with nothing in it", async (t) => {
  if (!needs(t, "root") || !(await nativeIsThere(t))) return;
  const { runner } = await serving(t, cache.directory);
  assert.notEqual(readlinkSync(`/proc/${runner.pid}/ns/net`), readlinkSync("/proc/self/ns/net"));
  assert.doesNotMatch(readFileSync(`/proc/${runner.pid}/net/route`, "utf8"), /\n./);
});

test("stop() leaves no process, and calls after it are refused", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, runner } = await serving(t, cache.directory);
  await load("a", "rogue");
  const pid = runner.pid ?? 0;
  assert.ok(alive(pid));
  await runner.stop();
  assert.equal(alive(pid), false);
  assert.equal(runner.pid, null);
  await assert.rejects(runner.usage(), { code: "runner_stopped" });
  await runner.stop();
});

test("a parent that is killed leaves no runner", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const program = `
    import { listen, startRunner } from "#sandbox/sandbox.ts";
    const runner = await startRunner({ listener: await listen("127.0.0.1", 0), cacheDirectory: ${JSON.stringify(cache.directory)} });
    console.log(runner.pid);`;
  const parent = spawn(process.execPath, ["--input-type=module-typescript", "-e", program], { cwd: join(import.meta.dirname, "../.."), stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(parent.stdout, "data")) as [Buffer];
  const pid = Number(line.toString());
  assert.ok(alive(pid));
  parent.kill("SIGKILL");
  await until(() => !alive(pid), "the runner is gone", 2_000);
});

/** What was started with `mark` among its arguments, and its forks. */
const marked = (mark: string): string[] =>
  readdirSync("/proc").filter((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, "latin1").includes(mark) && alive(Number(name));
    } catch {
      return false;
    }
  });

test("a runner that is killed at any moment of its start leaves no process, though its sockets stay open", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const listener = await listen("127.0.0.1", 0);
  t.after(() => listener.close());
  const mark = `/nowhere/${randomUUID()}`;
  const children = Array.from({ length: STARTS_KILLED }, (_, round) => {
    const child = spawn(nativePaths().runner, [String(process.pid), `--cgroup=${mark}`], { stdio: ["ignore", "ignore", "ignore", "pipe", listener.fd, "pipe"], env: {}, cwd: "/" });
    const endMs = performance.now() + round * STARTS_KILLED_STEP_MS;
    while (performance.now() < endMs);
    child.kill("SIGKILL");
    return child;
  });
  await until(() => marked(mark).length === 0, "the end of all of them");
  assert.ok(children.some(({ pid }) => pid !== undefined));
});

test("beside a runner waits another that is up, jailed and small; it takes over when the first is killed, and another waits", async (t) => {
  if (!needs(t, "root") || !(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue");
  const first = runner.pid ?? 0;
  const running = await spareOf(first);
  const mib = ["Private_Clean", "Private_Dirty"].map((name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(readFileSync(`/proc/${running}/smaps_rollup`, "utf8"))?.[1]) / 1024);
  t.diagnostic(`the spare has ${(mib[0]! + mib[1]!).toFixed(1)} MiB of its own`);
  assert.ok(mib[0]! + mib[1]! < SPARE_MIB_MAX);
  assert.match(readFileSync(`/proc/${running}/status`, "utf8"), /^Seccomp:\s+2$/m);
  process.kill(first, "SIGKILL");
  assert.equal((await get("/")).status, 200);
  assert.equal(runner.pid, running);
  const next = await spareOf(running);
  await runner.stop();
  assert.deepEqual([first, running, next].filter(alive), []);
});

/** The process under this one that serves nobody and is up. */
async function spareOf(serving: number): Promise<number> {
  const childrenOf = (pid: number): number[] => readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim().split(" ").filter(Boolean).map(Number);
  let found = 0;
  await until(() => {
    const runners = childrenOf(process.pid).filter((pid) => alive(pid) && readFileSync(`/proc/${pid}/cmdline`, "latin1").startsWith(nativePaths().runner));
    found = runners.map((pid) => childrenOf(pid).at(-1) ?? 0).find((pid) => pid !== 0 && pid !== serving && /^Seccomp:\s+2$/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))) ?? 0;
    return found !== 0;
  }, "a spare");
  return found;
}

test("a runner that cannot start is an error at once, with its reason", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const notASocket = openSync("/dev/null", "r");
  try {
    await assert.rejects(startRunner({ listener: { fd: notASocket }, cacheDirectory: cache.directory }), { code: "runner_failed" });
  } finally {
    closeSync(notASocket);
  }
  const orphan = spawnSync(nativePaths().runner, ["1"], { encoding: "utf8" });
  assert.notEqual(orphan.status, 0);
});

test("listen(): port_in_use, address_unavailable, and both families", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  await assert.rejects(listen("127.0.0.1", port), { code: "port_in_use" });
  other.close();
  await once(other, "close");
  const listener = await listen("127.0.0.1", port);
  assert.equal(listener.port, port);
  listener.close();
  listener.close();
  for (const address of ["192.0.2.1", "localhost", "", "1.2.3"]) await assert.rejects(listen(address, 0), { code: "address_unavailable" }, address);
  await assert.rejects(listen("127.0.0.1", 70_000), { code: "address_unavailable" });
});

test("a port is one runner's, and free again when it has stopped", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const listener = await listen("127.0.0.1", 0);
  const runner = await startRunner({ listener, cacheDirectory: cache.directory });
  await runner.load({ id: "a", hosts: ["*"], compiled: await compile(await guest("rogue"), { cacheDirectory: cache.directory }) });
  assert.equal((await get(listener.port, "/")).status, 200);
  await assert.rejects(listen("127.0.0.1", listener.port), { code: "port_in_use" });
  await runner.stop();
  listener.close();
  const again = await listen("127.0.0.1", listener.port);
  again.close();
});
