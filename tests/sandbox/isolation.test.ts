/** Deployments with a runner of their own: behind the same ingress, with the same promises, and apart from all others. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import test, { after } from "node:test";
import { ISOLATED_MAX } from "#sandbox/limits.ts";
import { isAlive } from "#tests/os/grid.ts";
import { nativeIsThere, serving, sharedCache, until } from "./serving.ts";

const cache = sharedCache();
after(cache.remove);
const alone = { isolation: "process" } as const;

test("isolation = process gives a deployment a runner of its own, with its answers, log, usage and limits", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner, logs } = await serving(t, cache.directory);
  await load("a", "rogue", { ...alone, limits: { requestBodyBytesMax: 1_000, wallTimeMsMax: 500 } });
  await load("b", "hello");
  const [own, shared] = [await runner.pidOf("a"), await runner.pidOf("b")];
  assert.ok(own !== null && shared === runner.pid && own !== shared, `${own} and ${shared}`);
  const chunked = { method: "GET", headers: { "transfer-encoding": "chunked", connection: "x-mine", "x-mine": "1" } } as const;
  assert.equal((await get("/count", { ...chunked, body: [new Uint8Array(5), new Uint8Array(6)] })).text, "11", "a GET of unknown length has its body");
  assert.ok(!/x-mine|godwit-/i.test((await get("/headers", chunked)).text), "what is meant for the ingress stays there");
  const answer = await get("/both");
  assert.deepEqual([answer.status, answer.text], [200, "ok\n"]);
  await until(() => logs.filter(({ id, requestId }) => id === "a" && requestId === answer.headers["x-request-id"]).length === 2, "its lines, under the id that the client has");
  assert.equal((await runner.usage())["a"]?.requests, 3);
  assert.match((await get("/", { host: "b.localhost" })).text, /^Hello/);

  assert.equal((await get("/count", { body: new Uint8Array(900) })).text, "900");
  assert.equal((await get("/count", { body: new Uint8Array(2_000) })).code, "body_too_large");
  assert.equal((await get("/slow?ms=60000")).code, "wall_time_limit");
  assert.equal((await get("/trap")).code, "trap");
  assert.equal((await get("/", { method: "HEAD" })).text, "");
  assert.equal((await get("/big?bytes=3000000")).text.length, 3_000_000);
  const cut = await get("/cut");
  assert.ok(!cut.complete || cut.status === 500, "what breaks off behind breaks off in front");

  await runner.unload("a");
  assert.deepEqual([(await get("/")).status, await runner.pidOf("a")], [404, null]);
  await until(() => !isAlive(own), "its process has ended");
});

test("a connection may ask now one, now another: each request goes to the runner of its Host", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port } = await serving(t, cache.directory);
  await load("a", "rogue", alone);
  await load("b", "rogue");
  const socket = connect(port, "127.0.0.1");
  t.after(() => socket.destroy());
  let text = "";
  socket.setEncoding("latin1").on("data", (chunk) => (text += chunk));
  const codes = [201, 202, 203, 206, 210, 211];
  for (const [index, code] of codes.entries()) {
    socket.write(`GET /status?code=${code} HTTP/1.1\r\nHost: ${index % 2 === 0 ? "a" : "b"}.localhost\r\n\r\n`);
    if (index === 2) await until(() => text.includes(" 203"), "the answers so far");
  }
  await until(() => text.includes(" 211"), "all answers");
  assert.deepEqual([...text.matchAll(/HTTP\/1.1 (\d+)/g)].map((match) => Number(match[1])), codes);
});

test("the end of an own runner is its tenant's alone: neighbours lose nothing, who comes meanwhile waits, and it is back with what it had", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner, exits } = await serving(t, cache.directory);
  await load("a", "rogue", alone);
  await load("c", "rogue", alone);
  await load("b", "hello");
  let open = true;
  const neighbours = ["b", "c"].map(async (id) => {
    let count = 0;
    for (; open; count += 1) assert.equal((await get("/", { host: `${id}.localhost` })).status, 200, id);
    return count;
  });
  for (let round = 0; round < 3; round += 1) {
    const pid = (await runner.pidOf("a")) ?? assert.fail();
    const writing = get("/slow?ms=5000", { body: new Uint8Array(1) });
    await until(async () => (await runner.usage())["a"]?.running === 1, "a request that runs");
    const reading = get("/slow?ms=300");
    process.kill(pid, "SIGKILL");
    // For milliseconds after that its connections look well, and what is sent over them is lost with it.
    const answers = await Promise.all([...Array.from({ length: 4 }, () => get("/")), reading]);
    assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200, 200, 200]);
    const broken = await writing;
    assert.ok(broken.status === 503 || !broken.complete, `what may have been begun is not begun again: status ${broken.status}`);
    assert.notEqual(await runner.pidOf("a"), pid);
  }
  const shared = runner.pid ?? 0;
  open = false;
  assert.ok((await Promise.all(neighbours)).every((count) => count > 0));
  assert.deepEqual([exits.length, runner.pid], [3, shared]);

  process.kill(shared, "SIGKILL");
  assert.deepEqual([(await get("/")).status, (await get("/", { host: "b.localhost" })).status], [200, 200], "the front comes back with its hops");
});

test("loading again replaces without losing a request, from shared to own and back", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue", alone);
  let open = true;
  const asking = Array.from({ length: 3 }, async () => {
    while (open) assert.equal((await get("/")).status, 200);
  });
  for (const options of [alone, {}, alone]) await load("a", "rogue", options);
  await assert.rejects(load("a", "deadOnArrival", alone), { code: "load_failed" });
  await assert.rejects(load("b", "rogue", { hosts: ["a.localhost"] }), { code: "host_in_use" });
  await assert.rejects(load("b", "rogue", { ...alone, hosts: ["a.localhost"] }), { code: "host_in_use" });
  assert.equal(await runner.pidOf("b"), null);
  open = false;
  await Promise.all(asking);
});

test("a computer has so many runners and no more: one more is refused with a code of its own", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get, runner } = await serving(t, cache.directory);
  for (let n = 0; n < ISOLATED_MAX; n += 1) await load(`a${n}`, "rogue", alone);
  await assert.rejects(load("more", "rogue", alone), { code: "isolation_full" });
  await load("more", "rogue");
  await runner.unload("a0");
  await load("a0", "rogue", alone);
  const answers = await Promise.all(Array.from({ length: ISOLATED_MAX }, (_, n) => get("/", { host: `a${n}.localhost` })));
  assert.ok(answers.every(({ status }) => status === 200));
});
