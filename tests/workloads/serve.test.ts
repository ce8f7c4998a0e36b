/** The SDK's services in the real runner: requests, bodies, headers, streams, log lines. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, test } from "node:test";
import { compile, listen, type Listener, type LogLine, type Runner, startRunner } from "#sandbox/sandbox.ts";
import { guest } from "../guests/build.ts";

type Answer = { status: number; headers: Record<string, string | string[] | undefined>; body: Uint8Array; text: string };
type Sent = { method?: string; body?: Uint8Array | string; headers?: Record<string, string> };

let listener: Listener;
let runner: Runner;
const logs: LogLine[] = [];

before(async () => {
  listener = await listen("127.0.0.1", 0);
  runner = await startRunner({ listener, onLog: (line) => logs.push(line) });
  for (const name of ["hello", "rogue"] as const) {
    await runner.load({ id: name, hosts: [`${name}.localhost`], compiled: await compile(await guest(name), {}), environment: name === "hello" ? { GREETING: "Hei" } : {} });
  }
});
after(async () => {
  await runner.stop();
  listener.close();
});

/** Not fetch, which chooses its own Host header. */
function ask(deployment: string, path: string, { method, body, headers }: Sent = {}): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const options = { host: "127.0.0.1", port: listener.port, path, method: method ?? (body === undefined ? "GET" : "POST"), headers: { host: `${deployment}.localhost`, ...headers } };
  const sent = request(options, async (response) => {
    const parts: Uint8Array[] = [];
    try {
      for await (const part of response) parts.push(part as Uint8Array);
    } catch (error) {
      reject(error);
    }
    const bytes = new Uint8Array(Buffer.concat(parts));
    resolve({ status: response.statusCode ?? 0, headers: response.headers, body: bytes, text: new TextDecoder().decode(bytes) });
  });
  sent.on("error", reject).end(body);
  return promise;
}

test("hello greets by the environment and the decoded query", async () => {
  assert.equal((await ask("hello", "/")).text, "Hei from a godwit 👋\n");
  assert.equal((await ask("hello", "/?x=1&name=Ada%20L%C3%B8vlace+jr")).text, "Hei, Ada Løvlace jr from a godwit 👋\n");
  assert.equal((await ask("hello", "/?name=100%&name=second")).text, "Hei, 100% from a godwit 👋\n");
  assert.equal((await ask("hello", "/?names=Ada")).text, "Hei from a godwit 👋\n");
});

test("hello shows headers, tells the time as JSON, and knows what it does not have", async () => {
  const shown = await ask("hello", "/headers", { headers: { "X-Mixed-Case": "Yes, Please" } });
  assert.match(shown.text, /^x-mixed-case: Yes, Please$/m);
  assert.equal(shown.headers["content-type"], "text/plain; charset=utf-8");
  const time = await ask("hello", "/time");
  assert.equal(time.headers["content-type"], "application/json");
  assert(Math.abs(Date.parse((JSON.parse(time.text) as { now: string }).now) - Date.now()) < 60_000);
  assert.equal((await ask("hello", "/nowhere?at=all")).status, 404);
  const refused = await ask("hello", "/echo");
  assert.deepEqual([refused.status, refused.headers["allow"]], [405, "POST"]);
});

test("a body comes back byte by byte, of any size up to the limit", async () => {
  for (const length of [0, 1, 4096, 65_537, 1_000_000]) {
    const body = Uint8Array.from({ length }, (_, i) => (i * 31) & 255);
    const answer = await ask("hello", "/echo", { body, headers: { "content-type": "image/x-noise" } });
    assert.deepEqual([answer.status, answer.headers["content-type"], answer.body.length], [200, "image/x-noise", length]);
    assert.deepEqual(answer.body, body);
  }
});

test("HEAD has the headers of GET and no body", async () => {
  const head = await ask("hello", "/", { method: "HEAD" });
  assert.deepEqual([head.status, head.body.length, head.headers["content-type"]], [200, 0, "text/plain; charset=utf-8"]);
});

test("each request is one log line, and stderr is told from stdout", async () => {
  await ask("hello", "/seen-in-the-log");
  await ask("rogue", "/both");
  await until(() => logs.some(({ line }) => line === "to stderr") && logs.some(({ line }) => line === "GET /seen-in-the-log 404"));
  assert.equal(logs.filter(({ id, stream, line }) => id === "hello" && stream === "stdout" && line === "GET /seen-in-the-log 404").length, 1);
  assert.deepEqual(logs.filter(({ line }) => line.startsWith("to std")).map(({ stream, line }) => `${stream}: ${line}`).sort(), ["stderr: to stderr", "stdout: to stdout"]);
});

test("Response.stream() sends a body larger than a buffer, complete", async () => {
  const { body, headers } = await ask("rogue", "/big?bytes=3000001");
  assert.equal(body.length, 3_000_001);
  assert.equal(headers["content-type"], "application/octet-stream");
});

test("an instance starts anew for every request", async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => ask("rogue", "/count", { body: "x".repeat(i) })));
  assert.deepEqual(answers.map(({ text }) => text), Array.from({ length: 20 }, (_, i) => String(i)));
});

test("a throw is a 500 with a request id, and the log has its message, its place and a backtrace", async () => {
  const answer = await ask("rogue", "/trap");
  assert.equal(answer.status, 500);
  const { requestId } = JSON.parse(answer.text) as { requestId: string };
  const ofRequest = (): LogLine[] => logs.filter((line) => line.requestId === requestId);
  await until(() => ofRequest().some(({ line }) => line.includes("unreachable")));
  assert(ofRequest().some(({ stream, line }) => stream === "stderr" && /^abort: as asked: trap at assembly\/rogue\.ts:\d+:\d+$/.test(line)));
  assert(ofRequest().some(({ stream, line }) => stream === "system" && /^ +\d+: +0x[0-9a-f]+ - /m.test(line)));
});

/** Log lines take their own way; they are here within a moment. */
async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert(condition(), "the condition did not come true within 2 s");
}
