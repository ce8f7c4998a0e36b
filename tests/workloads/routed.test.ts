/** What `godwit/http` and its neighbours give an author: routes, cookies, JSON bodies, log lines with fields, random, clock. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { after, before, test } from "node:test";
import { compile, listen, type Listener, type LogLine, type Runner, startRunner } from "#sandbox/sandbox.ts";
import { guest } from "../guests/build.ts";

let listener: Listener;
let runner: Runner;
const logs: LogLine[] = [];

before(async () => {
  listener = await listen("127.0.0.1", 0);
  runner = await startRunner({ listener, onLog: (line) => logs.push(line) });
  await runner.load({ id: "routed", hosts: ["*"], compiled: await compile(await guest("routed"), {}) });
});
after(async () => {
  await runner.stop();
  listener.close();
});

async function ask(path: string, init: RequestInit = {}): Promise<{ status: number; text: string; headers: Headers }> {
  const answer = await fetch(`http://127.0.0.1:${listener.port}${path}`, init);
  return { status: answer.status, text: await answer.text(), headers: answer.headers };
}

test("a Router finds the first route that fits, with its parts decoded, before and after it", async () => {
  assert.deepEqual((await ask("/")).text, "root\n");
  assert.deepEqual((await ask("/items/a%20b/sizes/%C3%BC+1")).text, "a b|ü+1");
  assert.deepEqual((await ask("/items/x", { method: "PUT" })).text, "put x");
  assert.equal((await ask("/items/x", { method: "DELETE" })).status, 204);
  assert.deepEqual((await ask("/files/a/b%2Fc?d")).text, "a/b/c");
  assert.deepEqual((await ask("/query?tag=a&x&tag=b%20c")).text, "a|b c?tag=a&x&tag=b%20c");
  assert.deepEqual((await ask("/any", { method: "PATCH" })).text, "PATCH");
  const blocked = await ask("/", { headers: { "x-blocked": "1" } });
  assert.deepEqual([blocked.status, blocked.text, blocked.headers.get("x-app")], [403, "blocked", "routed"]);
});

test("a Router answers 405 with what is allowed, 404 by its own function, and HEAD like GET", async () => {
  const refused = await ask("/items/x", { method: "POST" });
  assert.deepEqual([refused.status, refused.headers.get("allow")], [405, "PUT, DELETE"]);
  const nowhere = await ask("/nowhere");
  assert.deepEqual([nowhere.status, nowhere.text], [404, "no /nowhere"]);
  assert.equal((await ask("/items//sizes/1")).status, 404);
  const head = await ask("/", { method: "HEAD" });
  assert.deepEqual([head.status, head.text, head.headers.get("x-app")], [200, "", "routed"]);
});

test("a part that the route does not name is the author's mistake, and traps", async () => {
  assert.equal((await ask("/missing-param")).status, 500);
});

test("a JSON body becomes a class and back, and what is no JSON is null, not the end of the program", async () => {
  const order = { lines: [{ item: "tea \"x\" ü", count: -2 }], note: null };
  const taken = await ask("/orders", { method: "POST", body: JSON.stringify(order) });
  assert.equal(taken.status, 201);
  assert.equal(taken.headers.get("content-type"), "application/json");
  assert.deepEqual(JSON.parse(taken.text), { ...order, note: "1 lines" });
  for (const body of ["", "{", "{\"lines\":[}", "[1,]", "{\"lines\":[]} x", "\"\\u12\"", "01", "nul", "[".repeat(100) + "]".repeat(100), "{\"a\":\"\n\"}"]) {
    assert.equal((await ask("/orders", { method: "POST", body })).status, 400, body);
  }
});

test("bodies stream both ways: each piece is answered while the request goes on, and an answer begins before its request has ended", async () => {
  const sending = request({ host: "127.0.0.1", port: listener.port, path: "/louder", method: "POST" });
  const answered = once(sending, "response");
  sending.write("one,");
  const [answer] = (await answered) as [IncomingMessage];
  answer.setEncoding("utf8");
  assert.equal((await once(answer, "data"))[0], "ONE,");
  for (const word of ["two,", "three"]) {
    const next = once(answer, "data");
    sending.write(word);
    assert.equal((await next)[0], word.toUpperCase());
  }
  const ended = once(answer, "end");
  sending.end();
  await ended;
});

test("a cookie is set with safe defaults, and comes back as it was", async () => {
  const set = (await ask("/in")).headers.get("set-cookie") ?? "";
  assert.equal(set, "session=a%20b%3B%C3%BC; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax");
  assert.equal((await ask("/me", { headers: { cookie: `other=1; ${set.split(";")[0]}` } })).text, "a b;ü");
  assert.equal((await ask("/me", { headers: { cookie: "mysession=1" } })).text, "nobody");
});

test("random, clock and escapes are the host's and RFC 3986's", async () => {
  const [id = "", drawn = "", length = ""] = (await ask("/random")).text.split(" ");
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert(Number(drawn) < 10 && length === "8");
  const [nowMs = "", clock] = (await ask("/clock")).text.split(" ");
  assert(Math.abs(Number(nowMs) - Date.now()) < 60_000 && clock === "runs");
  assert.equal((await ask("/escape")).text, "a%2Fb%20%C3%BC~ a/b+c%zz");
});

test("a log line has its level and its fields, in one line whatever they hold", async () => {
  await ask("/log");
  const written = (): string[] => logs.filter(({ line }) => line.startsWith("level=")).map(({ stream, line }) => `${stream} ${line}`);
  for (let i = 0; i < 100 && written().length < 2; i++) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(written().toSorted(), ['stderr level=warn msg=low', 'stdout level=info msg=sold item=tea to="A \\"B\\"\\nC"']);
});
