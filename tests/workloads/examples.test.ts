/** The examples as what they are: a Markdown renderer, a picture made smaller, kernels that compute, a proxy to allowed places. `hello` and `tally` are in serve and run. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
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

test("kernels: sha256, json, nbody, mandelbrot and sieve compute what JavaScript computes, to the last bit", async () => {
  const component = await guest("kernels");
  const run = async (...args: string[]): Promise<string> => {
    let out = "";
    const { exitCode } = await runTask(component, { arguments: args, stdout: (chunk) => void (out += new TextDecoder().decode(chunk)) });
    return `${exitCode} ${out.trimEnd()}`;
  };
  const piece = Uint8Array.from({ length: 65_536 }, (_, i) => i * 7);
  assert.equal(await run("sha256", "3"), `0 ${createHash("sha256").update(piece).update(piece).update(piece).digest("hex")}`);
  assert.equal(await run("json", "40"), `0 ${Array.from({ length: 40 }, (_, round) => 7 * round + 50).reduce((sum, one) => sum + one)}.0`);
  assert.equal(await run("sieve", "1000"), "0 168.0");
  assert.equal(await run("mandelbrot", "90"), `0 ${mandelbrot(90)}.0`);
  // The shortest text of a number is one of several in AssemblyScript.
  assert.equal(Number((await run("nbody", "500")).slice(2)), nbody(500));
  for (const args of [["sieve", "0"], ["fast"], ["sieve", "1", "2"]]) assert.equal(await run(...args), "1 ");
});

function mandelbrot(side: number): number {
  let inside = 0;
  for (let point = 0; point < side * side; point++) {
    const a = ((point % side) * 3) / side - 2;
    const b = (Math.floor(point / side) * 2) / side - 1;
    let [x, y, step] = [0, 0, 0];
    for (; step < 300 && x * x + y * y < 4; step++) [x, y] = [x * x - y * y + a, 2 * x * y + b];
    if (step === 300) inside++;
  }
  return inside;
}

/** Place, speed and mass of five bodies, one after the other. */
function nbody(steps: number): number {
  const all = Float64Array.from({ length: 35 }, (_, i) => ((i * 7919) % 100) / 10 + 0.1);
  const bodies = Array.from({ length: 5 }, (_, i) => all.subarray(i * 7, i * 7 + 7));
  for (let step = 0; step < steps; step++) {
    for (const [i, a] of bodies.entries()) for (const b of bodies.slice(i + 1)) {
      const apart = [0, 1, 2].map((axis) => a[axis]! - b[axis]!);
      const square = apart[0]! * apart[0]! + apart[1]! * apart[1]! + apart[2]! * apart[2]! + 0.01;
      const force = 0.001 / (square * Math.sqrt(square));
      const [massA, massB] = [a[6]! * force, b[6]! * force];
      for (const axis of [0, 1, 2]) {
        a[axis + 3]! -= apart[axis]! * massB;
        b[axis + 3]! += apart[axis]! * massA;
      }
    }
    for (const body of bodies) for (const axis of [0, 1, 2]) body[axis]! += 0.001 * body[axis + 3]!;
  }
  return all[0]!;
}

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
