/** Connections: how many, for how long, and how an answer ends. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import test, { after, type TestContext } from "node:test";
import { nativeIsThere, serving, sharedCache, until } from "./serving.ts";

const MIB = 1024 * 1024;
const HEAD_MS_MAX = 300;
const cache = sharedCache();
after(cache.remove);

type Client = { readonly socket: Socket; text: string; ended: "open" | "end" | "reset" };

/** A connection that takes what comes and remembers how it ended. */
async function client(t: TestContext, port: number, localAddress = "127.0.0.1"): Promise<Client> {
  const socket = connect({ port, host: "127.0.0.1", localAddress, noDelay: true });
  const client: Client = { socket, text: "", ended: "open" };
  socket.setEncoding("latin1").on("data", (chunk: string) => (client.text += chunk));
  socket.on("end", () => (client.ended = "end")).on("error", () => (client.ended = "reset"));
  t.after(() => socket.destroy());
  await once(socket, "connect");
  return client;
}
const closed = (one: Client, what: string, timeoutMs?: number): Promise<void> => until(() => one.ended !== "open" || one.socket.closed, what, timeoutMs);
const request = (path: string, version = "1.1", more = ""): string => `GET ${path} HTTP/${version}\r\nHost: a.localhost\r\n${more}\r\n`;

test("a head must be complete in time, and a connection without a request goes: silent, dripping, or after an answer", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port, get } = await serving(t, cache.directory, { ingress: { headMsMax: HEAD_MS_MAX } });
  await load("a", "rogue");
  const begun = performance.now();
  const [silent, dripping, kept, half] = await Promise.all([client(t, port), client(t, port), client(t, port), client(t, port)]);
  const drops = setInterval(() => dripping.socket.write("X"), 20);
  t.after(() => clearInterval(drops));
  dripping.socket.write("GET / HTTP/1.1\r\nHost: a.localhost\r\nX: ");
  kept.socket.write(request("/"));
  half.socket.write("PRI * HT");
  await Promise.all([closed(silent, "a silent connection ends"), closed(dripping, "a dripping head ends"), closed(kept, "an idle connection ends"), closed(half, "half a preface ends")]);
  const elapsedMs = performance.now() - begun;
  assert.ok(elapsedMs >= HEAD_MS_MAX - 50 && elapsedMs < 30_000, `after ${elapsedMs} ms`);
  assert.match(kept.text, /^HTTP\/1\.1 200 /);
  assert.deepEqual([silent.text, half.text], ["", ""]);
  assert.equal((await get("/")).status, 200);
});

test("a body that does not come holds no instance: silent or dripping it is 408 long before its wall time", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port, runner } = await serving(t, cache.directory, { ingress: { bodyWaitMsMax: 300, bodyBytesPerSecondMin: 10 } });
  await load("a", "rogue", { limits: { wallTimeMsMax: 600_000 } });
  const head = (length: number): string => `POST /count HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: ${length}\r\n\r\n`;
  const [silent, dripping] = await Promise.all([client(t, port), client(t, port)]);
  silent.socket.write(head(10));
  dripping.socket.write(head(1_000_000));
  const drops = setInterval(() => dripping.socket.write("X"), 150);
  t.after(() => clearInterval(drops));
  await until(() => /body_too_slow/.test(silent.text) && /body_too_slow/.test(dripping.text), "both are told why");
  for (const one of [silent, dripping]) assert.match(one.text, /^HTTP\/1\.1 408 /);
  await until(async () => (await runner.usage())["a"]?.running === 0, "no instance waits any more");
});

test("a client that asks much and reads late gets every answer, whole and in order", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port, runner } = await serving(t, cache.directory);
  await load("a", "rogue");
  const late = await client(t, port);
  late.socket.pause();
  // More than the kernel keeps for both ends, in answers that are small each.
  const bytes = Array.from({ length: 5_000 }, (_, number) => 2_900 + (number % 100));
  late.socket.write(bytes.map((count) => request(`/big?bytes=${count}`)).join(""));
  const answered = async (): Promise<number> => (await runner.usage())["a"]?.requests ?? 0;
  let before = 0;
  await until(async () => {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const now = await answered();
    const stands = now > 0 && now === before;
    before = now;
    return stands;
  }, "the server waits for its client", 60_000);
  t.diagnostic(`it waited after ${before} answers`);
  late.socket.resume();
  const heads = (): string[] => late.text.split(/\0+(?:\r\n0\r\n\r\n)?/);
  await until(async () => (await answered()) >= bytes.length, "all are answered", 60_000);
  await until(() => heads().length > bytes.length, "all are there", 60_000);
  const bodies = late.text.match(/\0+/g)?.map((body) => body.length);
  assert.deepEqual(bodies, bytes);
  assert.ok(heads().slice(0, -1).every((head) => head.startsWith("HTTP/1.1 200 ")));
});

test("a body that does not come ends with the request's time, and its instance with it", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { wallTimeMsMax: 400 } });
  const slow = await client(t, port);
  const drops = setInterval(() => slow.socket.write("x"), 20);
  t.after(() => clearInterval(drops));
  slow.socket.write("POST /count HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 100000\r\n\r\n");
  await until(() => slow.text.includes("wall_time_limit"), "504");
  await closed(slow, "the connection ends");
  assert.equal((await runner.usage())["a"]?.running, 0);
});

test("a client that closes its half is done with: what it asked for ends, and others are served", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port, runner, get } = await serving(t, cache.directory);
  await load("a", "rogue");
  const half = await client(t, port);
  half.socket.write("POST /count HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 5\r\n\r\nhe");
  await until(async () => (await runner.usage())["a"]?.running === 1, "one that waits for its body");
  half.socket.end();
  await closed(half, "the connection ends");
  await until(async () => (await runner.usage())["a"]?.running === 0, "nothing runs");
  assert.equal((await get("/")).status, 200);
});

test("one client cannot have every connection, and who is refused is told by a close", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port } = await serving(t, cache.directory, { ingress: { clientConnectionsMax: 20 } });
  await load("a", "rogue");
  const many = await Promise.all(Array.from({ length: 20 }, () => client(t, port)));
  const over = await client(t, port);
  await closed(over, "the connection over the limit is closed");
  const other = await client(t, port, "127.0.0.2");
  other.socket.write(request("/"));
  await until(() => other.text.startsWith("HTTP/1.1 200"), "another client is served");
  assert.ok(many.every((one) => one.ended === "open"));
  many[0]?.socket.destroy();
  await until(async () => {
    const again = await client(t, port);
    again.socket.write(request("/"));
    await until(() => again.text !== "" || again.ended !== "open" || again.socket.closed, "an answer or a close");
    return again.text.startsWith("HTTP/1.1 200");
  }, "a place that was given up is free again");
});

test("HTTP/1.0: closed after the answer, kept open on request, and refused nothing that 1.1 gets", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port } = await serving(t, cache.directory);
  await load("a", "rogue");
  const plain = await client(t, port);
  plain.socket.write(request("/status?code=201", "1.0"));
  await closed(plain, "closed after the answer");
  assert.match(plain.text, /^HTTP\/1\.0 201 /);
  const kept = await client(t, port);
  for (const code of [201, 202]) {
    kept.socket.write(request(`/status?code=${code}`, "1.0", "Connection: keep-alive\r\n"));
    await until(() => kept.text.includes(`${code} `) && kept.text.endsWith("ok\n"), "an answer");
  }
  assert.equal(kept.ended, "open");
  // Of unknown length: its end is the end of the connection, and a clean one.
  const long = await client(t, port);
  long.socket.write(request(`/big?bytes=${MIB}`, "1.0"));
  await closed(long, "the end");
  assert.equal(long.ended, "end");
  assert.equal(long.text.split("\r\n\r\n")[1]?.length, MIB);
  assert.doesNotMatch(long.text, /transfer-encoding/i);
});

test("an answer that its guest did not finish ends with a reset in HTTP/1.0 and 1.1, never with a clean end", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { responseBodyBytesMax: MIB, wallTimeMsMax: 2_000 } });
  for (const version of ["1.0", "1.1"]) {
    const cut = await client(t, port);
    cut.socket.write(request(`/big?bytes=${4 * MIB}`, version));
    await closed(cut, "the answer is cut");
    assert.deepEqual([cut.ended, cut.text.startsWith(`HTTP/${version} 200`)], ["reset", true], version);
    assert.doesNotMatch(cut.text, /\r\n0\r\n\r\n$/);
  }
});

test("a status or a header that HTTP does not allow never leaves; a cookie stays with its host; what is between two hops stays there", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, get } = await serving(t, cache.directory);
  await load("a", "rogue");
  for (const code of [100, 101, 199, 600, 999]) assert.ok((await get(`/status?code=${code}`)).status >= 500, `${code}`);
  for (const code of [200, 204, 304, 418, 599]) assert.equal((await get(`/status?code=${code}`)).status, code);
  const echoed = await get("/headers", { headers: { "x-request-id": "forged", "x-mine": "1", te: "trailers", connection: "x-hop, keep-alive", "x-hop": "1", "keep-alive": "timeout=5", "proxy-connection": "keep-alive" } });
  const lines = echoed.text.split("\n");
  assert.deepEqual(lines.filter((line) => /^(connection|keep-alive|proxy-connection|te|x-hop|transfer-encoding|upgrade):/.test(line)), []);
  assert.ok(lines.includes("x-mine: 1"));
  assert.deepEqual(lines.filter((line) => line.startsWith("x-request-id:")), [`x-request-id: ${String(echoed.headers["x-request-id"])}`]);
  const cookies = (await get("/cookies")).headers["set-cookie"];
  assert.deepEqual(cookies, ["a=1; Path=/; Secure", "b=2"]);
});

test("1,000 idle connections cost less than 20 MiB", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port, runner, get } = await serving(t, cache.directory);
  await load("a", "rogue");
  await get("/");
  const residentBytes = (): number => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${runner.pid}/status`, "utf8"))?.[1]) * 1024;
  const before = residentBytes();
  // Every other has been served once, and is kept alive. One after the other: it is not instances that are measured.
  for (let index = 0; index < 1_000; index += 1) {
    const one = await client(t, port);
    if (index % 2 === 1) continue;
    one.socket.write(request("/"));
    await once(one.socket, "data");
  }
  const bytes = residentBytes() - before;
  t.diagnostic(`1,000 idle connections: ${(bytes / MIB).toFixed(1)} MiB`);
  assert.ok(bytes < 20 * MIB, `${bytes} bytes`);
  assert.equal((await get("/")).status, 200);
});
