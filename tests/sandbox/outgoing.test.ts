/** Requests that guests send: where they may go, over what, and what a guest sees of what went wrong. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createServer as createTcpServer, type AddressInfo, type Server as TcpServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, type TestContext } from "node:test";
import { parseOutgoing } from "#sandbox/outgoing.ts";
import type { Deployment, OutgoingOptions } from "#sandbox/sandbox.ts";
import { nativeIsThere, serving, sharedCache, type Serving, until } from "./serving.ts";

const cache = sharedCache();
after(cache.remove);

type Fetching = Serving & { readonly fetch: (url: string, more?: string) => Promise<string> };

/** One guest that may send requests to `places`, where names are those of this machine, for this test only. */
async function fetching(t: TestContext, places: readonly string[], more: Partial<Deployment> = {}, outgoing: OutgoingOptions = {}): Promise<Fetching> {
  t.mock.method(console, "error", () => {});
  const test = { addresses: ["127.0.0.1"], ...outgoing.test };
  const served = await serving(t, cache.directory, { outgoing: { resolve: async () => ["127.0.0.1"], ...outgoing, test } });
  const allowed = places.map((place) => parseOutgoing(place) ?? assert.fail(place));
  await served.load("a", "fetcher", { outgoing: allowed, ...more });
  const fetch = async (url: string, more = ""): Promise<string> => (await served.get(`/?url=${encodeURIComponent(url)}${more}`)).text;
  return { ...served, fetch };
}

async function listening<T extends Server | TcpServer>(t: TestContext, server: T): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    if ("closeAllConnections" in server) server.closeAllConnections();
  });
  return (server.address() as AddressInfo).port;
}

test("a request goes where the manifest allows, with Host and body, and its answer comes back", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const seen: string[] = [];
  const answer: RequestListener = (request, response) => {
    let bytes = 0;
    request.on("data", (chunk: Uint8Array) => (bytes += chunk.length)).on("end", () => {
      seen.push(`${request.method} ${request.headers.host} ${request.url} ${bytes}`);
      response.writeHead(203, { "x-upstream": "yes" }).end("from upstream");
    });
  };
  const port = await listening(t, createServer(answer));
  const { fetch } = await fetching(t, [`http://api.example:${port}`]);
  assert.equal(await fetch(`http://api.example:${port}/path?q=1`), "203 from upstream");
  assert.equal(await fetch(`http://API.example:${port}/upload`, "&method=POST&bytes=100000"), "203 from upstream");
  assert.deepEqual(seen, [`GET api.example:${port} /path?q=1 0`, `POST API.example:${port} /upload 100000`]);
});

test("denied unless the manifest allows scheme, host and port; nothing is asked or dialled", async (t) => {
  if (!(await nativeIsThere(t))) return;
  let connections = 0;
  const port = await listening(t, createTcpServer((socket) => {
    connections += 1;
    socket.destroy();
  }));
  let asked = 0;
  const resolve = async (): Promise<string[]> => {
    asked += 1;
    return ["127.0.0.1"];
  };
  const { fetch, load } = await fetching(t, [`https://api.example:${port}`], {}, { resolve });
  for (const url of [`http://api.example:${port}`, `https://api.example`, `https://other.example:${port}`, `https://api.example.:${port}`, `https://127.0.0.1:${port}`]) {
    assert.equal(await fetch(url), "error HTTP-request-denied", url);
  }
  for (const url of [`https://user@api.example:${port}`, `https://api.example:${port}@evil.example`]) assert.match(await fetch(url), /^error HTTP-/, url);
  await load("a", "fetcher");
  assert.equal(await fetch(`https://api.example:${port}`), "error HTTP-request-denied");
  assert.deepEqual([connections, asked], [0, 0]);
});

test("private addresses are refused although the manifest names them, and a name that moves to one after it was allowed", async (t) => {
  if (!(await nativeIsThere(t))) return;
  let connections = 0;
  const port = await listening(t, createServer((_, response) => {
    connections += 1;
    response.end("inside");
  }));
  const answers = ["127.0.0.1", "127.0.0.2", "::ffff:127.0.0.2", "169.254.169.254"];
  const { fetch } = await fetching(t, [`http://127.0.0.2:${port}`, `http://[::1]:${port}`, `http://rebinding.example:${port}`], {}, { resolve: async () => [answers.shift() ?? "127.0.0.2"] });
  assert.equal(await fetch(`http://127.0.0.2:${port}/`), "error destination-IP-prohibited");
  assert.equal(await fetch(`http://[::1]:${port}/`), "error destination-IP-prohibited");
  // The first answer is the one address that this test allows.
  assert.equal(await fetch(`http://rebinding.example:${port}/`), "200 inside");
  for (let round = 0; round < 4; round += 1) assert.equal(await fetch(`http://rebinding.example:${port}/`), "error destination-IP-prohibited");
  assert.equal(connections, 1);
});

test("a redirect is a new request: followed where it is allowed, denied where it is not, forbidden where it points inside", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const targets: Record<string, string> = {};
  const port = await listening(t, createServer((request, response) => {
    const location = targets[request.url ?? ""];
    if (location === undefined) response.end("arrived");
    else response.writeHead(302, { location }).end();
  }));
  targets["/same"] = `http://api.example:${port}/end`;
  targets["/other"] = `http://other.example:${port}/end`;
  targets["/inside"] = `http://127.0.0.2:${port}/end`;
  const { fetch } = await fetching(t, [`http://api.example:${port}`, `http://127.0.0.2:${port}`]);
  assert.equal(await fetch(`http://api.example:${port}/same`), "200 arrived");
  assert.equal(await fetch(`http://api.example:${port}/other`), "error HTTP-request-denied");
  assert.equal(await fetch(`http://api.example:${port}/inside`), "error destination-IP-prohibited");
  assert.equal(await fetch(`http://api.example:${port}/other`, "&redirects=0"), "302 ");
});

test("what goes wrong on the way has its code of wasi:http", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const closed = createTcpServer();
  const closedPort = await listening(t, closed);
  closed.close();
  const replies: Record<string, string> = { "/garbage": "SSH-2.0-nothing\r\n\r\n", "/upgrade": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "/close": "" };
  const port = await listening(t, createTcpServer((socket: Socket) => {
    socket.on("error", () => {}).once("data", (chunk) => {
      socket.end(replies[/ (\S+) /.exec(chunk.toString("latin1"))?.[1] ?? ""] ?? `HTTP/1.1 200 OK\r\nx-long: ${"x".repeat(100_000)}\r\n\r\n`);
    });
  }));
  const resolve = async (name: string): Promise<string[]> => (name === "nowhere.example" ? [] : ["127.0.0.1"]);
  const { fetch, get } = await fetching(t, [`http://api.example:${port}`, `http://api.example:${closedPort}`, `http://nowhere.example:${port}`], {}, { resolve });
  assert.equal(await fetch(`http://api.example:${closedPort}/`), "error connection-refused");
  assert.equal(await fetch(`http://nowhere.example:${port}/`), "error DNS-error");
  assert.equal(await fetch(`http://api.example:${port}/garbage`), "error HTTP-protocol-error");
  assert.equal(await fetch(`http://api.example:${port}/upgrade`), "error HTTP-upgrade-failed");
  assert.equal(await fetch(`http://api.example:${port}/close`), "error connection-terminated");
  assert.equal(await fetch(`http://api.example:${port}/long`), "error HTTP-response-header-section-size");
  for (const method of ["CONNECT", "TRACE"]) assert.match(await fetch(`http://api.example:${port}/`, `&method=${method}`), /^error HTTP-request-method-invalid/, method);
  assert.equal((await get("/")).status, 400);
});

test("connections, bytes and time of a deployment's requests are bounded", async (t) => {
  if (!(await nativeIsThere(t))) return;
  let open = 0;
  const port = await listening(t, createServer((request, response) => {
    if (request.url === "/never") return;
    if (request.url === "/drip") {
      response.writeHead(200);
      const timer = setInterval(() => response.write("."), 20);
      response.on("close", () => clearInterval(timer));
      return;
    }
    // What is written in one piece is announced with its length.
    if (request.url === "/chunked") response.write(new Uint8Array(60_000));
    request.resume().on("end", () => response.end(new Uint8Array(request.url === "/small" ? 100 : 200_000)));
  }).on("connection", (socket) => {
    open += 1;
    socket.on("close", () => (open -= 1));
  }));
  const limits = { outgoingConnectionsMax: 4, outgoingRequestBytesMax: 50_000, outgoingResponseBytesMax: 100_000, outgoingTimeMsMax: 400 };
  const { fetch } = await fetching(t, [`http://api.example:${port}`], { limits });
  const url = `http://api.example:${port}`;
  assert.equal(await fetch(`${url}/small`, "&count"), "200 100");
  assert.equal(await fetch(`${url}/small`, "&method=POST&bytes=50000&count"), "200 100");
  assert.equal(await fetch(`${url}/small`, "&method=POST&bytes=50001&count"), "error HTTP-request-body-size");
  assert.match(await fetch(`${url}/announced`, "&count"), /^error HTTP-response-body-size/);
  const [, bytes = ""] = (await fetch(`${url}/chunked`, "&count")).split(" ");
  assert.ok(Number(bytes) <= 100_000, `${bytes} bytes`);
  const begun = performance.now();
  assert.equal(await fetch(`${url}/never`), "error HTTP-response-timeout");
  assert.match(await fetch(`${url}/drip`, "&count"), /^200 \d+$/);
  assert.ok(performance.now() - begun < 5_000);
  assert.equal(await fetch(`${url}/chunked`, "&times=5"), "error connection-limit-reached");
  await until(async () => (await fetch(`${url}/small`, "&count")) === "200 100", "the connections of an instance that has ended are free again");
  await until(() => open === 0, "no connection is left open");
});

test("TLS is checked against public roots, by name; and what a server says in plain text is no TLS", async (t) => {
  if (!(await nativeIsThere(t))) return;
  if (spawnSync("openssl", ["version"]).status !== 0) return t.skip("needs openssl, to make a certificate");
  const directory = mkdtempSync(join(tmpdir(), "godwit-tls-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const [keyFile, certificateFile] = [join(directory, "key.pem"), join(directory, "certificate.pem")];
  const subject = ["-subj", "/CN=secure.example", "-addext", "subjectAltName=DNS:secure.example,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout", keyFile, "-out", certificateFile, ...subject], { stdio: "ignore" });
  const certificate = readFileSync(certificateFile);
  const der = Buffer.from(certificate.toString().replace(/-----[^-]+-----|\s/g, ""), "base64");
  const port = await listening(t, createTlsServer({ key: readFileSync(keyFile), cert: certificate }, (_, response) => response.end("secret")));
  const plain = await listening(t, createServer((_, response) => response.end("plain")));
  const places = [`https://secure.example:${port}`, `https://wrong.example:${port}`, `https://127.0.0.1:${port}`, `https://secure.example:${plain}`];
  const trusting = await fetching(t, places, {}, { test: { roots: [new Uint8Array(der)] } });
  assert.equal(await trusting.fetch(`https://secure.example:${port}/`), "200 secret");
  assert.equal(await trusting.fetch(`https://127.0.0.1:${port}/`), "200 secret");
  assert.equal(await trusting.fetch(`https://wrong.example:${port}/`), "error TLS-certificate-error");
  assert.equal(await trusting.fetch(`https://secure.example:${plain}/`), "error TLS-protocol-error");
  const strict = await fetching(t, places);
  assert.equal(await strict.fetch(`https://secure.example:${port}/`), "error TLS-certificate-error");
});

test("a runner that was killed comes back with its deployments' ways out", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const port = await listening(t, createServer((_, response) => response.end("up")));
  const { fetch, runner } = await fetching(t, [`http://api.example:${port}`]);
  assert.equal(await fetch(`http://api.example:${port}/`), "200 up");
  process.kill(runner.pid ?? 0, "SIGKILL");
  assert.equal(await fetch(`http://api.example:${port}/`), "200 up");
});
