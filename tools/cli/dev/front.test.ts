/** The front of `godwit dev` before a stand-in for the runner: what it hands on is what came, as it comes. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, type RequestListener, type RequestOptions, createServer, request } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import test, { type TestContext } from "node:test";
import { Front } from "./front.ts";

async function fronted(t: TestContext, runner: RequestListener): Promise<{ front: Front; ask(options: RequestOptions, body?: string): Promise<{ answer: IncomingMessage; body: string }>; at: RequestOptions }> {
  const server = createServer(runner).listen(0, "127.0.0.1");
  await once(server, "listening");
  const front = await Front.open({ project: ".", address: "127.0.0.1", port: 0 });
  t.after(async () => {
    await front.stop();
    server.closeAllConnections();
    server.close();
  });
  front.serve({ address: "127.0.0.1", port: (server.address() as AddressInfo).port });
  const at = { host: "127.0.0.1", port: front.address.port, agent: false } as const;
  return { front, at, async ask(options, body) {
    const sending = request({ ...at, ...options });
    sending.end(body);
    const [answer] = (await once(sending, "response")) as [IncomingMessage];
    let text = "";
    for await (const chunk of answer.setEncoding("utf8")) text += String(chunk);
    return { answer, body: text };
  } };
}

test("request and answer pass as they came: method, target, each header in its order, status, and a HEAD without a body", async (t) => {
  const { ask } = await fronted(t, (asked, response) => {
    response.sendDate = false;
    response.writeHead(207, "So", ["Set-Cookie", "a=1", "set-cookie", "b=2", "Location", "/elsewhere"]);
    response.end(JSON.stringify([asked.method, asked.url, asked.rawHeaders.filter((_, i, all) => !["connection", "transfer-encoding"].includes((all[i - (i % 2)] ?? "").toLowerCase()))]));
  });
  const { answer, body } = await ask({ method: "PURGE", path: "/a%2Fb/../c?x=//", headers: { HOST: "any.example", "X-B": "1", "x-a": ["2", "3"], "content-length": 2 } }, "{}");
  assert.deepEqual(JSON.parse(body), ["PURGE", "/a%2Fb/../c?x=//", ["HOST", "any.example", "X-B", "1", "x-a", "2", "x-a", "3", "content-length", "2"]]);
  assert.deepEqual([answer.statusCode, answer.statusMessage, answer.rawHeaders.slice(0, 6)], [207, "So", ["Set-Cookie", "a=1", "set-cookie", "b=2", "Location", "/elsewhere"]]);
  const head = await ask({ method: "HEAD", path: "/" });
  assert.deepEqual([head.answer.statusCode, head.body], [207, ""]);
});

test("bodies stream both ways, and an answer that breaks off breaks off", async (t) => {
  const { at } = await fronted(t, (asked, response) => {
    asked.on("data", (chunk: Buffer) => (chunk.toString() === "break" ? response.destroy() : response.write(chunk)));
  });
  const sending = request({ ...at, method: "POST" });
  sending.on("error", () => undefined);
  sending.write("one");
  const [answer] = (await once(sending, "response")) as [IncomingMessage];
  assert.equal(String((await once(answer, "data"))[0]), "one");
  const next = once(answer, "data");
  sending.write("two");
  assert.equal(String((await next)[0]), "two");
  const failed = once(answer, "error");
  sending.write("break");
  assert.equal(((await failed)[0] as NodeJS.ErrnoException).code, "ECONNRESET");
});

test("a client that goes is gone for the runner as well", async (t) => {
  const left = Promise.withResolvers<void>();
  const { at } = await fronted(t, (_, response) => {
    response.on("close", () => left.resolve());
    response.write("begun");
  });
  const sending = request({ ...at });
  sending.on("error", () => undefined).end();
  const [answer] = (await once(sending, "response")) as [IncomingMessage];
  answer.on("error", () => undefined);
  sending.destroy();
  await left.promise;
});

test("a problem that the program answers itself is passed on to a browser too; one of the runner is a page, and only there", async (t) => {
  const problem = '{"status":500,"code":"trap","requestId":"r1"}\n';
  const { ask, front } = await fronted(t, (asked, response) => {
    const id = asked.url === "/trap" ? "r1" : "r2";
    response.writeHead(500, { "content-type": "application/problem+json", "x-request-id": id, "content-length": problem.length }).end(problem);
    // The log takes its own way, and may be later.
    if (id === "r1") setTimeout(() => front.log({ id: "dev", requestId: id, stream: "system", timeMs: 0, line: "trap: why" }), 50);
  });
  const browser = { headers: { accept: "text/html" } };
  assert.equal((await ask({ path: "/own", ...browser })).body, problem);
  assert.equal((await ask({ path: "/trap" })).body, problem);
  const { answer, body } = await ask({ path: "/trap", ...browser });
  assert.deepEqual([answer.statusCode, answer.headers["content-type"], answer.headers["x-request-id"]], [500, "text/html; charset=utf-8", "r1"]);
  assert.match(body, /trap: why/);
});

test("pages load again when another version serves", async (t) => {
  const { front, at } = await fronted(t, (_, response) => response.end());
  const [answer] = (await once(request({ ...at, path: "/.godwit/reload" }).end(), "response")) as [IncomingMessage];
  const told = once(answer.setEncoding("utf8"), "data");
  front.serve({ address: "127.0.0.1", port: 1 });
  assert.deepEqual([answer.headers["content-type"], await told], ["text/event-stream", ["data: reload\n\n"]]);
  answer.on("error", () => undefined);
});

test("an answer that cannot be handed on ends its own connection and nothing else", async (t) => {
  const { ask, front } = await fronted(t, (_asked, response) => void response.end("well"));
  // A status line that Node reads and does not write.
  const odd = createTcpServer((socket) => void socket.on("data", () => socket.write("HTTP/1.1 200 O\u0001K\r\ncontent-length: 2\r\n\r\nhi"))).listen(0, "127.0.0.1");
  t.after(() => void odd.close());
  await once(odd, "listening");
  const { body } = await ask({ path: "/" });
  assert.equal(body, "well");
  front.serve({ address: "127.0.0.1", port: (odd.address() as AddressInfo).port });
  await assert.rejects(ask({ path: "/" }), (error: NodeJS.ErrnoException) => error.code === "ECONNRESET");
  await assert.rejects(ask({ path: "/" }), (error: NodeJS.ErrnoException) => error.code === "ECONNRESET", "the front is still there");
});
