/** The examples as what they are: a Markdown renderer, a picture made smaller, a proxy to allowed places. `hello` and `tally` are in serve and run. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { compile, listen, type Listener, type Runner, runTask, startRunner } from "#sandbox/sandbox.ts";
import { parseOutgoing } from "#sandbox/outgoing.ts";
import { guest } from "../guests/build.ts";

let listener: Listener;
let runner: Runner;
const upstream = createServer((request, response) => {
  if (request.url === "/moved") response.writeHead(302, { location: "/here?x=1" }).end();
  else if (request.url === "/away") response.writeHead(302, { location: "http://elsewhere.example/" }).end();
  else response.writeHead(200, { "content-type": "text/x-from", etag: '"1"', "x-secret": "kept" }).end(`${request.method} ${request.url} ${request.headers.accept}`);
});
let place = "";

before(async () => {
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  place = `http://upstream.example:${(upstream.address() as AddressInfo).port}`;
  listener = await listen("127.0.0.1", 0);
  runner = await startRunner({ listener, onLog: () => {}, outgoing: { resolve: async () => ["127.0.0.1"], test: { addresses: ["127.0.0.1"] } } });
  for (const name of ["markdown", "proxy"] as const) {
    const outgoing = name === "proxy" ? [parseOutgoing(place) ?? assert.fail(place)] : [];
    await runner.load({ id: name, hosts: [name], compiled: await compile(await guest(name), {}), outgoing });
  }
});
after(async () => {
  await runner.stop();
  listener.close();
  upstream.close();
});

const ask = async (host: string, path: string, init: RequestInit = {}): Promise<Response> => {
  const { request } = await import("undici");
  const answer = await request(`http://127.0.0.1:${listener.port}${path}`, { method: (init.method ?? "GET") as "GET", headers: { host, accept: "text/x-wanted" }, body: (init.body as string | undefined) ?? null });
  return new Response(await answer.body.text(), { status: answer.statusCode, headers: Object.entries(answer.headers).map(([name, value]) => [name, String(value)] as [string, string]) });
};

test("markdown: blocks and marks become HTML, and what a text says never does", async () => {
  const rows: [string, string][] = [
    ["# A & B #1", "<h1>A &amp; B #1</h1>\n"],
    ["one\ntwo\n\nthree", "<p>one\ntwo</p>\n<p>three</p>\n"],
    ["- a *b* **c** `d*e`\n- f", "<ul>\n<li>a <em>b</em> <strong>c</strong> <code>d*e</code></li>\n<li>f</li>\n</ul>\n"],
    ["1. x\n2. y", "<ol>\n<li>x</li>\n<li>y</li>\n</ol>\n"],
    ["> quoted\n> # too", "<blockquote>\n<p>quoted</p>\n<h1>too</h1>\n</blockquote>\n"],
    ["```\n<b> & *x*\n```\nend", "<pre><code>&lt;b&gt; &amp; *x*\n</code></pre>\n<p>end</p>\n"],
    ["***\n[a **b**](https://x.example/?a&b) ![i](/i.png)", "<hr>\n<p><a href=\"https://x.example/?a&amp;b\">a <strong>b</strong></a> <img src=\"/i.png\" alt=\"i\"></p>\n"],
    ["<script>alert(1)</script> [x](javascript:alert(1)) [y](https://\"onclick=) 2 * 3 * 4", "<p>&lt;script&gt;alert(1)&lt;/script&gt; [x](javascript:alert(1)) <a href=\"https://&quot;onclick=\">y</a> 2 * 3 * 4</p>\n"],
    ["", ""],
    ["*".repeat(5_000), "<hr>\n"],
  ];
  for (const [text, html] of rows) {
    const answer = await ask("markdown", "/", { method: "POST", body: text });
    assert.deepEqual([answer.status, await answer.text()], [200, html]);
  }
  assert.match((await ask("markdown", "/")).headers.get("content-type") ?? "", /^text\/html/);
});

test("thumbnail: each pixel is the mean of those that it stands for; what is no picture is refused", async () => {
  const component = await guest("thumbnail");
  const run = async (args: string[], stdin: Uint8Array): Promise<{ code: number; out: Buffer; err: string }> => {
    const out: Uint8Array[] = [];
    let err = "";
    const { exitCode } = await runTask(component, { arguments: args, stdin, stdout: (chunk) => void out.push(chunk.slice()), stderr: (chunk) => void (err += new TextDecoder().decode(chunk)) });
    return { code: exitCode, out: Buffer.concat(out), err };
  };
  const picture = (width: number, height: number, colour: (x: number, y: number) => number[]): Buffer =>
    Buffer.concat([Buffer.from(`P6 # a picture\n${width} ${height}\n255\n`), Buffer.from(Array.from({ length: width * height }, (_, i) => colour(i % width, Math.floor(i / width))).flat())]);
  const small = await run(["2"], picture(4, 2, (x) => [x * 10, 255, x < 2 ? 0 : 7]));
  assert.deepEqual([small.code, small.out.toString("latin1").split("\n").slice(0, 3)], [0, ["P6", "2 1", "255"]]);
  assert.deepEqual([...small.out.subarray(-6)], [5, 255, 0, 25, 255, 7]);
  const large = await run([], picture(640, 480, (x, y) => [x & 255, y & 255, 128]));
  assert.match(large.out.subarray(0, 15).toString("latin1"), /^P6\n256 192\n255\n/);
  for (const broken of ["", "P6", "P5\n1 1\n255\nabc", "P6\n0 1\n255\n", "P6\n2 2\n255\nabc", "P6\n99999 99999\n255\n", "P6\n1 1\n65535\nabcdef"]) assert.equal((await run([], Buffer.from(broken))).code, 1, broken);
  assert.match((await run(["0"], Buffer.alloc(0))).err, /^usage:/);
});

test("proxy: an allowed place is asked and its answer passed on, also after a redirect; another is denied, also after one", async () => {
  const through = await ask("proxy", `/?url=${encodeURIComponent(`${place}/a?b=c`)}`);
  assert.deepEqual([through.status, await through.text(), through.headers.get("content-type"), through.headers.get("etag"), through.headers.get("x-secret")], [200, "GET /a?b=c text/x-wanted", "text/x-from", '"1"', null]);
  assert.equal(await (await ask("proxy", `/?url=${encodeURIComponent(`${place}/moved`)}`)).text(), "GET /here?x=1 text/x-wanted");
  for (const url of ["http://elsewhere.example/", `${place}/away`, `${place.replace("upstream", "other")}/`]) {
    const denied = await ask("proxy", `/?url=${encodeURIComponent(url)}`);
    assert.deepEqual([denied.status, await denied.text()], [403, "HTTP-request-denied\n"], url);
  }
  assert.equal((await ask("proxy", "/?url=nonsense")).status, 502);
  assert.equal((await ask("proxy", "/")).status, 400);
});
