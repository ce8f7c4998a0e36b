/** HTTP/2 in the clear, for clients that know beforehand: served as HTTP/1.1 is, and bounded where it can be abused. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect as connectHttp2, constants, type ClientHttp2Session } from "node:http2";
import { connect, type Socket } from "node:net";
import test, { after, type TestContext } from "node:test";
import { nativeIsThere, serving, sharedCache, until } from "./serving.ts";

const MIB = 1024 * 1024;
const cache = sharedCache();
after(cache.remove);

type Answer = { readonly status: number; readonly text: string; readonly error: string | undefined };

function session(t: TestContext, port: number): ClientHttp2Session {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  t.after(() => session.destroy());
  return session;
}

function ask(session: ClientHttp2Session, path: string, headers: Readonly<Record<string, string>> = {}, body?: Uint8Array): Promise<Answer> {
  return new Promise((resolve) => {
    const stream = session.request({ ":path": path, ":authority": "a.localhost", ":method": body === undefined ? "GET" : "POST", ...headers });
    let [status, text, error] = [0, "", undefined as string | undefined];
    stream.on("response", (head) => (status = Number(head[":status"])));
    stream.setEncoding("latin1").on("data", (chunk: string) => (text += chunk));
    stream.on("error", (cause: NodeJS.ErrnoException) => (error = cause.code));
    stream.on("close", () => resolve({ status, text, error }));
    stream.end(body);
  });
}

/** A frame of RFC 9113. */
function frame(type: number, flags: number, stream: number, payload: Uint8Array = new Uint8Array()): Uint8Array {
  const bytes = Buffer.alloc(9 + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes.writeUInt8(type, 3);
  bytes.writeUInt8(flags, 4);
  bytes.writeUInt32BE(stream, 5);
  bytes.set(payload, 9);
  return bytes;
}
const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const [HEADERS, RST_STREAM, SETTINGS, CONTINUATION] = [1, 3, 4, 9];
const [END_STREAM, END_HEADERS] = [1, 4];
/** :method GET, :scheme http, :path /, :authority a.localhost */
const HEAD = Buffer.concat([Buffer.from([0x82, 0x86, 0x84, 0x41, 11]), Buffer.from("a.localhost")]);

async function raw(t: TestContext, port: number): Promise<{ socket: Socket; received: () => Uint8Array; ended: () => boolean }> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  const chunks: Uint8Array[] = [];
  let ended = false;
  socket.on("data", (chunk: Uint8Array) => chunks.push(chunk)).on("close", () => (ended = true)).on("error", () => (ended = true));
  t.after(() => socket.destroy());
  await once(socket, "connect");
  socket.write(PREFACE);
  socket.write(frame(SETTINGS, 0, 0));
  return { socket, received: () => Buffer.concat(chunks), ended: () => ended };
}

test("requests in parallel on one connection are answered, each by its own instance, with bodies both ways", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port } = await serving(t, cache.directory);
  await load("a", "rogue", { concurrency: 32 });
  const one = session(t, port);
  const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => ask(one, `/status?code=${200 + index}`)));
  assert.deepEqual(answers.map(({ status }) => status), Array.from({ length: 20 }, (_, index) => 200 + index), "204 has no body, whatever its guest says");
  assert.equal((await ask(one, "/count", {}, new Uint8Array(200_000))).text, "200000");
  assert.equal((await ask(one, `/big?bytes=${2 * MIB}`)).text.length, 2 * MIB);
  assert.deepEqual(await ask(one, "/big?bytes=1000", { ":method": "HEAD" }), { status: 200, text: "", error: undefined });
  assert.match((await ask(one, "/", { ":authority": "b.localhost" })).text, /host_unknown/);
});

test("limits are those of HTTP/1.1: 413, 431, 501, 400 for two hosts; an answer that is cut ends with a reset of its stream", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { requestBodyBytesMax: 1_000, responseBodyBytesMax: MIB, headerBytesMax: 2_000 } });
  const one = session(t, port);
  assert.equal((await ask(one, "/count", {}, new Uint8Array(1_001))).status, 413);
  assert.equal((await ask(one, "/", { x: "x".repeat(2_000) })).status, 431);
  assert.equal((await ask(one, "/", { ":method": "TRACE" })).status, 501);
  assert.equal((await ask(one, "/", { host: "b.localhost" })).status, 400);
  const cut = await ask(one, `/big?bytes=${4 * MIB}`);
  assert.deepEqual([cut.status, cut.error], [200, "ERR_HTTP2_STREAM_ERROR"]);
  assert.ok(cut.text.length <= MIB);
  assert.equal((await ask(one, "/")).status, 200, "other streams live on");
});

test("streams at once are bounded: what is over waits or is refused, and all of it is answered", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port } = await serving(t, cache.directory);
  await load("a", "rogue", { concurrency: 200 });
  const one = session(t, port);
  await once(one, "remoteSettings");
  assert.equal(one.remoteSettings.maxConcurrentStreams, 100);
  const answers = await Promise.all(Array.from({ length: 300 }, () => ask(one, "/")));
  assert.ok(answers.every(({ status }) => status === 200));
});

test("a rapid reset (CVE-2023-44487) ends its connection, and costs others nothing", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue", { limits: { queueLengthMax: 1_000 } });
  const { socket, ended } = await raw(t, port);
  const cancel = Buffer.alloc(4);
  cancel.writeUInt32BE(constants.NGHTTP2_CANCEL);
  for (let stream = 1; stream < 20_000 && !ended(); stream += 2) {
    socket.write(Buffer.concat([frame(HEADERS, END_STREAM | END_HEADERS, stream, HEAD), frame(RST_STREAM, 0, stream, cancel)]));
    if (stream % 500 === 1) await new Promise((resolve) => setImmediate(resolve));
  }
  await until(ended, "the connection ends");
  assert.equal((await get("/")).status, 200);
  await until(async () => (await runner.usage())["a"]?.running === 0, "nothing is left running");
  assert.ok(((await runner.usage())["a"]?.requests ?? Infinity) < 5_000, "most were never taken");
});

test("a head of endless CONTINUATION frames ends its connection, and takes no memory", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port, get, runner } = await serving(t, cache.directory);
  await load("a", "rogue");
  const residentBytes = (): number => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${runner.pid}/status`, "utf8"))?.[1]) * 1024;
  await get("/");
  const before = residentBytes();
  const { socket, ended } = await raw(t, port);
  // A literal field without a place in the table, again and again.
  const field = Buffer.concat([Buffer.from([0, 1]), Buffer.from("x"), Buffer.from([0x7f, 0x81, 0x1e]), Buffer.alloc(4_096, "y")]);
  socket.write(frame(HEADERS, END_STREAM, 1, HEAD));
  for (let count = 0; count < 20_000 && !ended(); count += 1) {
    if (!socket.write(frame(CONTINUATION, 0, 1, field))) await Promise.race([once(socket, "drain"), new Promise((resolve) => setTimeout(resolve, 100))]).catch(() => {});
  }
  await until(ended, "the connection ends");
  assert.ok(residentBytes() - before < 8 * MIB);
  assert.equal((await get("/")).status, 200);
});

test("an idle connection is told to go, and one that has work is not", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, port } = await serving(t, cache.directory, { ingress: { headMsMax: 300 } });
  await load("a", "rogue");
  const one = session(t, port);
  assert.equal((await ask(one, "/slow?ms=900")).status, 200);
  await until(() => one.closed || one.destroyed, "the session is closed");
});
