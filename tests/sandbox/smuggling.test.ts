/** One request is one request: whatever could be read as another number of them, or as another length, is refused. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import test, { after } from "node:test";
import { nativeIsThere, serving, sharedCache, type Serving } from "./serving.ts";

const cache = sharedCache();
after(cache.remove);

const HOST = "Host: a.localhost\r\n";
/** What would be a second request, if somebody read one. */
const SECOND = `GET /status?code=202 HTTP/1.1\r\n${HOST}\r\n`;

type Exchange = { readonly text: string; readonly statuses: number[]; readonly ended: "end" | "reset" | "open" };

/** Sends bytes as they are, in pieces, and takes what comes until the server closes. */
function exchange(port: number, pieces: readonly string[], waitMs = 3_000): Promise<Exchange> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect({ port, host: "127.0.0.1", noDelay: true }, async () => {
      for (const [index, piece] of pieces.entries()) {
        if (index > 0) await new Promise((next) => setTimeout(next, 5));
        if (!socket.destroyed) socket.write(piece, "latin1");
      }
    });
    const done = (ended: Exchange["ended"]): void => {
      socket.destroy();
      resolve({ text, ended, statuses: [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status)) });
    };
    socket.setTimeout(waitMs, () => done("open"));
    socket.setEncoding("latin1").on("data", (chunk: string) => (text += chunk));
    socket.on("end", () => done("end")).on("error", () => done("reset"));
  });
}

async function served(t: Parameters<typeof serving>[0]): Promise<Serving> {
  const serving_ = await serving(t, cache.directory);
  await serving_.load("a", "rogue");
  return serving_;
}

const HEADS: Readonly<Record<string, string>> = {
  "Content-Length and Transfer-Encoding": `POST / HTTP/1.1\r\n${HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  "Transfer-Encoding and Content-Length": `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n`,
  "two Content-Lengths that differ": `POST / HTTP/1.1\r\n${HOST}Content-Length: 0\r\nContent-Length: 4\r\n\r\n`,
  "two Content-Lengths that agree": `POST / HTTP/1.1\r\n${HOST}Content-Length: 0\r\nContent-Length: 0\r\n\r\n`,
  "a list of Content-Lengths": `POST / HTTP/1.1\r\n${HOST}Content-Length: 0, 0\r\n\r\n`,
  "a signed Content-Length": `POST / HTTP/1.1\r\n${HOST}Content-Length: +0\r\n\r\n`,
  "a negative Content-Length": `POST / HTTP/1.1\r\n${HOST}Content-Length: -1\r\n\r\n`,
  "a hexadecimal Content-Length": `POST / HTTP/1.1\r\n${HOST}Content-Length: 0x0\r\n\r\n`,
  "a Content-Length beyond all numbers": `POST / HTTP/1.1\r\n${HOST}Content-Length: 18446744073709551616\r\n\r\n`,
  "an empty Content-Length": `POST / HTTP/1.1\r\n${HOST}Content-Length:\r\n\r\n`,
  "another Transfer-Encoding": `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip\r\n\r\n`,
  "a Transfer-Encoding before chunked": `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  "a Transfer-Encoding after chunked": `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
  "chunked twice": `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  "chunked twice in a list": `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`,
  "chunked with a tail": `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n`,
  "chunked in quotes": `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n`,
  "chunked behind a vertical tab": `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`,
  "chunked in HTTP/1.0": `POST / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  "a space before the colon": `POST / HTTP/1.1\r\n${HOST}Content-Length : 4\r\n\r\n`,
  "a tab before the colon": `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n`,
  "a folded header": `POST / HTTP/1.1\r\n${HOST}X: a\r\n Content-Length: 4\r\n\r\n`,
  "a fold before the first header": `POST / HTTP/1.1\r\n ${HOST}\r\n`,
  "a bare LF after a header": `POST / HTTP/1.1\r\n${HOST}X: a\nContent-Length: 4\r\n\r\n`,
  "a bare LF after the request line": `POST / HTTP/1.1\n${HOST}\r\n`,
  "a head that ends in bare LF": `POST / HTTP/1.1\r\n${HOST}X: a\n\n`,
  "a bare CR in a value": `POST / HTTP/1.1\r\n${HOST}X: a\rContent-Length: 4\r\n\r\n`,
  "a bare CR in the request line": `POST /\r HTTP/1.1\r\n${HOST}\r\n`,
  "a NUL in a value": `POST / HTTP/1.1\r\n${HOST}X: a\0b\r\n\r\n`,
  "a NUL in a name": `POST / HTTP/1.1\r\n${HOST}X\0: a\r\n\r\n`,
  "a control character in a value": `POST / HTTP/1.1\r\n${HOST}X: a\x01b\r\n\r\n`,
  "a name with a space": `POST / HTTP/1.1\r\n${HOST}X Y: a\r\n\r\n`,
  "no name": `POST / HTTP/1.1\r\n${HOST}: a\r\n\r\n`,
  "no colon": `POST / HTTP/1.1\r\n${HOST}nothing\r\n\r\n`,
  "two spaces in the request line": `GET  / HTTP/1.1\r\n${HOST}\r\n`,
  "a tab in the request line": `GET\t/ HTTP/1.1\r\n${HOST}\r\n`,
  "a space at the end of the request line": `GET / HTTP/1.1 \r\n${HOST}\r\n`,
  "no version": `GET /\r\n${HOST}\r\n`,
  "another version": `GET / HTTP/1.2\r\n${HOST}\r\n`,
  "a version in lower case": `GET / http/1.1\r\n${HOST}\r\n`,
  "a target that is no path": `GET index HTTP/1.1\r\n${HOST}\r\n`,
  "a target with a fragment": `GET /#x HTTP/1.1\r\n${HOST}\r\n`,
  "a target with bytes beyond ASCII": `GET /\xe9 HTTP/1.1\r\n${HOST}\r\n`,
  "an asterisk for GET": `GET * HTTP/1.1\r\n${HOST}\r\n`,
  "a target of another scheme": `GET ftp://a.localhost/ HTTP/1.1\r\n${HOST}\r\n`,
  "an absolute target that is not the Host": `GET http://b.localhost/ HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`,
  "no Host": "GET / HTTP/1.1\r\n\r\n",
  "two Hosts": `GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`,
  "an empty Host": "GET / HTTP/1.1\r\nHost:\r\n\r\n",
  "a Host with a path": "GET / HTTP/1.1\r\nHost: a.localhost/x\r\n\r\n",
  "a Host with a user": "GET / HTTP/1.1\r\nHost: x@a.localhost\r\n\r\n",
  "a list of Hosts": "GET / HTTP/1.1\r\nHost: a.localhost, b.localhost\r\n\r\n",
  "a Host with another port than a number": "GET / HTTP/1.1\r\nHost: a.localhost:8o\r\n\r\n",
  "two empty lines before a request": `\r\n\r\nGET / HTTP/1.1\r\n${HOST}\r\n`,
  "what is not HTTP": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
};

test("a head that can be read in two ways is 400, the connection closed, and nothing after it is a request", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { port, runner } = await served(t);
  const before = (await runner.usage())["a"]?.requests;
  const outcomes = await Promise.all(Object.entries(HEADS).flatMap(([what, head]) => [[head + SECOND], [...head.split(""), SECOND]].map(async (pieces) => ({ what, pieces: pieces.length, ...(await exchange(port, pieces)) }))));
  const wrong = outcomes.filter(({ statuses, ended }) => statuses.length !== 1 || statuses[0] !== 400 || ended !== "end");
  assert.deepEqual(wrong.map(({ what, pieces, statuses, ended }) => `${what}, in ${pieces} pieces: ${statuses.join(" ")} ${ended}`), []);
  assert.equal((await runner.usage())["a"]?.requests, before);
});

const BODIES: Readonly<Record<string, string>> = {
  "no chunk size": "\r\nhello\r\n0\r\n\r\n",
  "a chunk size that is no number": "g\r\nhello\r\n0\r\n\r\n",
  "a hexadecimal prefix": "0x5\r\nhello\r\n0\r\n\r\n",
  "a signed chunk size": "+5\r\nhello\r\n0\r\n\r\n",
  "a negative chunk size": "-5\r\nhello\r\n0\r\n\r\n",
  "a chunk size that overflows": "100000000000000005\r\nhello\r\n0\r\n\r\n",
  "a chunk size with zeros in front of it, without end": `${"0".repeat(40)}5\r\nhello\r\n0\r\n\r\n`,
  "a space after a chunk size": "5 \r\nhello\r\n0\r\n\r\n",
  "a chunk extension": "5;a=b\r\nhello\r\n0\r\n\r\n",
  "a chunk extension with a newline in quotes": '5;a="\r\n\r\n"\r\nhello\r\n0\r\n\r\n',
  "a bare LF after a chunk size": "5\nhello\r\n0\r\n\r\n",
  "a bare CR after a chunk size": "5\rxhello\r\n0\r\n\r\n",
  "a chunk longer than its size": "5\r\nhello!\r\n0\r\n\r\n",
  "a bare LF after a chunk": "5\r\nhello\n0\r\n\r\n",
  "a bare LF at the end": "5\r\nhello\r\n0\r\n\n",
  "a trailer without colon": "5\r\nhello\r\n0\r\nnothing\r\n\r\n",
  "a trailer that says a length": "5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
  "a trailer without end": `5\r\nhello\r\n0\r\nX: ${"x".repeat(20_000)}\r\n\r\n`,
};

test("a body whose end is not plain is 400, the connection closed, and nothing after it is a request", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { port, runner } = await served(t);
  const head = `POST /count HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`;
  const before = (await runner.usage())["a"]?.requests ?? 0;
  const outcomes = await Promise.all(Object.entries(BODIES).flatMap(([what, body]) => [[head + body + SECOND], [head, ...(body.length < 100 ? body.split("") : [body]), SECOND]].map(async (pieces) => ({ what, pieces: pieces.length, ...(await exchange(port, pieces)) }))));
  for (const { what, pieces, statuses, ended, text } of outcomes) {
    assert.ok(statuses.length === 1 && statuses[0] === 400 && ended !== "open", `${what}, in ${pieces} pieces: ${ended} ${text}`);
  }
  assert.ok(((await runner.usage())["a"]?.requests ?? 0) - before <= outcomes.length);
});

test("what is plain passes: both lengths, trailers, an empty line before, an absolute target, and requests in a row, however they are cut", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { port } = await served(t);
  const last = `GET /status?code=203 HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;
  const requests = [
    `POST /count HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
    `POST /count HTTP/1.1\r\n${HOST}Transfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n`,
    `\r\nGET /status?code=201 HTTP/1.1\r\nHost: A.localhost:80\r\nX: \xe9\t-\r\nEmpty:\r\n\r\n`,
    `GET http://a.localhost/status?code=202 HTTP/1.1\r\n${HOST}\r\n`,
  ];
  const all = requests.join("") + last;
  for (const pieces of [[all], [...requests, last], all.split("")]) {
    const { statuses, text, ended } = await exchange(port, pieces);
    assert.deepEqual([statuses, ended], [[200, 200, 201, 202, 203], "end"], `in ${pieces.length} pieces`);
    assert.match(text, /\r\n5(HTTP|\r\n).*\r\n15(HTTP|\r\n)/s);
  }
});

test("what is wrong behind requests in a row is refused, after they are answered", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { port } = await served(t);
  const wrong = `GET / HTTP/1.1\r\n${HOST}Content-Length: +1\r\n\r\n`;
  for (const pieces of [[SECOND + SECOND + wrong], [SECOND, SECOND + wrong], [SECOND, SECOND, wrong], (SECOND + SECOND + wrong).split(""), [SECOND + wrong + SECOND]]) {
    const { statuses, ended } = await exchange(port, pieces, 30_000);
    const before = pieces.join("").split(wrong)[0]!.split(SECOND).length - 1;
    assert.deepEqual([statuses, ended], [[...Array<number>(before).fill(202), 400], "end"], `in ${pieces.length} pieces`);
  }
});

test("a head that is too long, or has too many fields, is 431", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { port, load, get } = await served(t);
  for (const head of [`GET / HTTP/1.1\r\n${HOST}X: ${"x".repeat(200_000)}\r\n\r\n`, `GET /${"x".repeat(200_000)} HTTP/1.1\r\n${HOST}\r\n`, `GET / HTTP/1.1\r\n${HOST}${"X: y\r\n".repeat(300)}\r\n`]) {
    assert.deepEqual((await exchange(port, [head])).statuses, [431]);
    // In pieces the server may have said so, and closed, before the last of them was sent.
    assert.deepEqual((await exchange(port, [head.slice(0, 50_000), head.slice(50_000, 100_000), head.slice(100_000)])).statuses, [431]);
  }
  await load("a", "rogue", { limits: { headerBytesMax: 2_000 } });
  assert.deepEqual([(await get("/", { headers: { x: "x".repeat(2_000) } })).code, (await get("/")).status], ["header_too_large", 200]);
});

test("an expectation that nobody has heard of is 417, and 100-continue is continued", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { port } = await served(t);
  assert.deepEqual((await exchange(port, [`POST / HTTP/1.1\r\n${HOST}Expect: 200-ok\r\nContent-Length: 1\r\n\r\n`])).statuses, [417]);
  const head = `POST /count HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nConnection: close\r\nContent-Length: 5\r\n\r\n`;
  assert.deepEqual((await exchange(port, [head, "hello"])).statuses, [100, 200]);
});

test("CONNECT and TRACE are refused, an upgrade is not taken up, and HEAD has no body", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { port, get } = await served(t);
  for (const request of [`CONNECT a.localhost:80 HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`, `TRACE / HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`]) {
    assert.deepEqual((await exchange(port, [request])).statuses, [501], request);
  }
  for (const protocol of ["websocket", "h2c", "TLS/1.3"]) {
    const upgrade = `GET /status?code=201 HTTP/1.1\r\n${HOST}Connection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`;
    const { statuses, ended } = await exchange(port, [upgrade + SECOND + `GET / HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`]);
    assert.deepEqual([statuses, ended], [[201, 202, 200], "end"], protocol);
  }
  const head = await get("/big?bytes=1000", { method: "HEAD" });
  assert.deepEqual([head.status, head.text, head.complete], [200, "", true]);
});
