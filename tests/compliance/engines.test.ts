/** One suite, both engines: what a workload and whoever asks it see is the same on wasmtime and on V8. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test, type TestContext } from "node:test";
import { type Engine, ENGINE_NAMES, openEngine } from "#sandbox/engines/engine.ts";
import type { Limits } from "#sandbox/limits.ts";
import { type OutgoingPlace, parseOutgoing } from "#sandbox/outgoing.ts";
import type { Listener, LogLine, Runner, TaskOptions, TaskResult } from "#sandbox/sandbox.ts";
import { coreModule, guest, type GuestName, importUnknown, worldUnknown } from "#tests/guests/build.ts";
import { get, nativeIsThere, sharedCache, until } from "../sandbox/serving.ts";

const MIB = 1024 * 1024;
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const cache = sharedCache();
after(cache.remove);

for (const name of ENGINE_NAMES) describe(name, () => {
  let engine: Engine;
  let listener: Listener;
  let runner: Runner;
  const logs: LogLine[] = [];
  const isThere = async (t: TestContext): Promise<boolean> => name === "v8" || nativeIsThere(t);

  const load = async (id: string, guestName: GuestName, limits: Partial<Limits> = {}, concurrency = 8, environment: Record<string, string> = {}): Promise<void> =>
    runner.load({ id, hosts: [`${id}.localhost`], compiled: await engine.compile(await guest(guestName), { cacheDirectory: cache.directory }), limits, concurrency, environment });
  const ask = (path: string, options: Parameters<typeof get>[2] = {}): ReturnType<typeof get> => get(listener.port, path, { host: "rogue.localhost", ...options });
  const linesOf = (requestId: string | string[] | undefined): LogLine[] => logs.filter((line) => line.requestId === requestId);

  type Ran = TaskResult & { out: string; err: string };
  const run = async (what: string, options: TaskOptions = {}): Promise<Ran> => {
    let [out, err] = ["", ""];
    const result = await engine.runTask(await guest("rogueTask"), {
      cacheDirectory: cache.directory, arguments: [what], stdout: (chunk) => void (out += new TextDecoder().decode(chunk)), stderr: (chunk) => void (err += new TextDecoder().decode(chunk)), ...options,
    });
    return { ...result, out, err };
  };

  before(async (t) => {
    if (!(await isThere(t as TestContext))) return;
    engine = await openEngine(name);
    listener = await engine.listen("127.0.0.1", 0);
    runner = await engine.startRunner({ listener, cacheDirectory: cache.directory, onLog: (line) => logs.push(line) });
    await load("rogue", "rogue", { memoryBytesMax: 16 * MIB, wallTimeMsMax: 10_000 }, 8);
    await load("hurried", "rogue", { wallTimeMsMax: 700 });
    await load("hello", "hello", {}, 8, { GREETING: "Hei" });
  });
  after(async () => {
    await runner?.stop();
    listener?.close();
  });

  test("answers have the guest's status, headers and body, and a length when they are whole", async (t) => {
    if (!(await isThere(t))) return;
    const hello = await ask("/?name=Ada%20L", { host: "hello.localhost:8080" });
    assert.deepEqual([hello.status, hello.headers["content-type"], hello.headers["content-length"]], [200, "text/plain; charset=utf-8", String(hello.text.length)]);
    assert.equal(Buffer.from(hello.text, "latin1").toString(), "Hei, Ada L from a godwit 👋\n");
    assert.match(String(hello.headers["x-request-id"]), /^[0-9a-f]{16}$/);
    assert.equal((await ask("/nowhere", { host: "hello.localhost" })).status, 404);
    assert.equal((await ask("/status?code=299")).status, 299);
    const shown = await ask("/headers", { host: "hello.localhost", headers: { "X-Mixed-Case": "Yes", "keep-alive": "5", "x-request-id": "mine" } });
    assert.match(shown.text, /^x-mixed-case: Yes$/m);
    assert.doesNotMatch(shown.text, /keep-alive|^host|mine/m);
    assert.match(shown.text, new RegExp(`^x-request-id: ${String(shown.headers["x-request-id"])}$`, "m"));
  });

  test("HEAD has the headers of GET and no body", async (t) => {
    if (!(await isThere(t))) return;
    const head = await ask("/", { method: "HEAD", host: "hello.localhost" });
    assert.deepEqual([head.status, head.text, head.headers["content-type"], head.complete], [200, "", "text/plain; charset=utf-8", true]);
  });

  test("bodies arrive byte by byte, with a length and in chunks, up to the limit", async (t) => {
    if (!(await isThere(t))) return;
    const body = Uint8Array.from({ length: 300_001 }, (_, i) => (i * 31) & 255);
    const echoed = await ask("/echo", { host: "hello.localhost", body });
    assert.deepEqual(Buffer.from(echoed.text, "latin1"), Buffer.from(body));
    assert.equal((await ask("/count", { body: [body, body] })).text, "600002");
    assert.equal((await ask("/count", { body: new Uint8Array() })).text, "0");
    await load("tiny", "rogue", { requestBodyBytesMax: 1_000 });
    for (const large of [new Uint8Array(1_001), [new Uint8Array(600), new Uint8Array(600)]]) {
      assert.deepEqual(await ask("/count", { host: "tiny.localhost", body: large }).then(({ status, code }) => [status, code]), [413, "body_too_large"]);
    }
    const big = await ask("/big?bytes=3000001");
    assert.deepEqual([big.status, big.text.length, big.complete], [200, 3_000_001, true]);
  });

  test("what was flushed is on its way while the guest goes on", async (t) => {
    if (!(await isThere(t))) return;
    const drip = await ask("/drip?ms=150");
    assert.deepEqual([drip.status, drip.text, drip.headers["content-length"], drip.complete], [200, "one\ntwo\n", undefined, true]);
  });

  test("an instance is one request's, and requests run side by side", async (t) => {
    if (!(await isThere(t))) return;
    const begunMs = performance.now();
    const answers = await Promise.all(Array.from({ length: 6 }, () => ask("/slow?ms=3000")));
    assert.deepEqual(answers.map(({ status }) => status), Array.from({ length: 6 }, () => 200));
    assert.ok(performance.now() - begunMs < 15_000, "one after the other they take 18,000 ms");
  });

  test("a request of an unknown host, with too large a header or one too many has the code for it", async (t) => {
    if (!(await isThere(t))) return;
    assert.deepEqual(await ask("/", { host: "unknown.localhost" }).then(({ status, code }) => [status, code]), [404, "host_unknown"]);
    assert.deepEqual(await ask("/", { headers: { "x-long": "x".repeat(20_000) } }).then(({ status, code }) => [status, code]), [431, "header_too_large"]);
    await load("narrow", "rogue", { queueLengthMax: 1, queueWaitMsMax: 1_500 }, 1);
    const three = await Promise.all([0, 1, 2].map((i) => new Promise((resolve) => setTimeout(resolve, i * 300)).then(() => ask("/slow?ms=5000", { host: "narrow.localhost" }))));
    assert.deepEqual(three.map(({ status, code }) => [status, code]), [[200, undefined], [503, "queue_timeout"], [503, "queue_full"]]);
    await runner.unload("narrow");
    assert.equal((await ask("/", { host: "narrow.localhost" })).code, "host_unknown");
  });

  test("a trap is a 500 with code and request id, and the log has message, cause and the function it was in", async (t) => {
    if (!(await isThere(t))) return;
    const trapped = await ask("/trap");
    assert.deepEqual([trapped.status, trapped.code], [500, "trap"]);
    await until(() => linesOf(trapped.headers["x-request-id"]).some(({ line }) => line.includes("wasm trap: wasm `unreachable` instruction executed")), "the cause in the log");
    const lines = linesOf(trapped.headers["x-request-id"]);
    assert.ok(lines.some(({ stream, line }) => stream === "stderr" && /^abort: as asked: trap at assembly\/rogue\.ts:\d+:\d+$/.test(line)));
    assert.ok(lines.some(({ stream, line }) => stream === "system" && /^\s+\d+:\s+0x[0-9a-f]+ - /.test(line)));
    for (const path of ["/unreachable", "/index", "/recurse"]) assert.deepEqual(await ask(path).then(({ status, code }) => [status, code]), [500, "trap"], path);
  });

  test("an offset in a trace is one of the component, the same on both engines", async (t) => {
    if (!(await isThere(t))) return;
    const { trap } = await run("trap");
    offsets.set(name, [...(trap?.message ?? "").matchAll(/^\s+\d+:\s+(0x[0-9a-f]+) - /gm)].map((match) => match[1] ?? ""));
    assert.ok(offsets.get(name)!.length >= 3, `${trap?.message}`);
    const [first, second] = ENGINE_NAMES.map((engineName) => offsets.get(engineName));
    if (first !== undefined && second !== undefined) assert.deepEqual(first, second);
  });

  test("memory ends at its limit and wall time at its own; neighbours and later requests are answered", async (t) => {
    if (!(await isThere(t))) return;
    assert.deepEqual(await ask("/hog").then(({ status, code }) => [status, code]), [500, "memory_limit"]);
    const hurried = { host: "hurried.localhost" };
    const [late, beside, blocked] = await Promise.all([ask("/loop", hurried), ask("/slow?ms=200"), ask("/slow?ms=60000", hurried)]);
    assert.deepEqual([late.status, late.code, beside.status, blocked.status, blocked.code], [504, "wall_time_limit", 200, 504, "wall_time_limit"]);
    assert.ok(late.elapsedMs >= 690, `${late.elapsedMs} ms`);
    assert.deepEqual(await Promise.all([ask("/"), ask("/", hurried)]).then((all) => all.map(({ status }) => status)), [200, 200]);
  });

  test("an answer that HTTP does not allow, is too large or breaks off never looks complete", async (t) => {
    if (!(await isThere(t))) return;
    assert.equal((await ask("/status?code=42")).status, 500);
    assert.deepEqual(await ask("/status?code=103").then(({ status, code }) => [status, code]), [500, "guest_error"]);
    const cut = await ask("/cut");
    assert.ok(cut.status === 500 || !cut.complete);
    const large = await ask("/big?bytes=20000000");
    assert.ok(large.status === 500 || !large.complete);
  });

  test("a request of the guest's goes where the deployment allows, and what does not go has its code", async (t) => {
    if (!(await isThere(t))) return;
    t.mock.method(console, "error", () => {});
    const seen: string[] = [];
    const upstream = createServer((request, response) => {
      let bytes = 0;
      request.on("data", (chunk: Uint8Array) => (bytes += chunk.length)).on("end", () => {
        seen.push(`${request.method} ${request.headers.host} ${request.url} ${bytes}`);
        response.writeHead(203).end(request.url === "/large" ? "x".repeat(200_000) : "from upstream");
      });
    }).listen(0, "127.0.0.1");
    await once(upstream, "listening");
    const { port } = upstream.address() as AddressInfo;
    const place = (text: string): OutgoingPlace => parseOutgoing(text) ?? assert.fail(text);
    const own = await engine.listen("127.0.0.1", 0);
    const sender = await engine.startRunner({ listener: own, cacheDirectory: cache.directory, outgoing: { resolve: async (host) => (host === "nowhere.example" ? [] : ["127.0.0.1"]), test: { addresses: ["127.0.0.1"] } } });
    t.after(async () => {
      await sender.stop();
      own.close();
      upstream.close();
      upstream.closeAllConnections();
    });
    const compiled = await engine.compile(await guest("fetcher"), { cacheDirectory: cache.directory });
    const outgoing = ["http://api.example", "http://nowhere.example", "http://127.0.0.2"].map((host) => place(`${host}:${port}`));
    await sender.load({ id: "fetcher", hosts: ["*"], compiled, outgoing, limits: { outgoingRequestBytesMax: 150_000 } });
    const fetched = async (url: string, more = ""): Promise<string> => (await get(own.port, `/?url=${encodeURIComponent(url)}${more}`)).text;
    assert.equal(await fetched(`http://api.example:${port}/path?q=1`), "203 from upstream");
    assert.equal(await fetched(`http://api.example:${port}/upload`, "&method=POST&bytes=100000"), "203 from upstream");
    assert.equal(await fetched(`http://api.example:${port}/large`, "&count=1"), "203 200000");
    assert.deepEqual(seen, [`GET api.example:${port} /path?q=1 0`, `POST api.example:${port} /upload 100000`, `GET api.example:${port} /large 0`]);
    for (const [url, error] of [
      [`http://other.example:${port}/`, "HTTP-request-denied"], [`https://api.example:${port}/`, "HTTP-request-denied"], ["http://api.example/", "HTTP-request-denied"],
      [`http://127.0.0.2:${port}/`, "destination-IP-prohibited"], [`http://nowhere.example:${port}/`, "DNS-error"],
    ] as const) assert.equal(await fetched(url), `error ${error}`, url);
    assert.equal(seen.length, 3);
  });

  test("usage counts requests and errors", async (t) => {
    if (!(await isThere(t))) return;
    const before = (await runner.usage())["hello"]!;
    await ask("/", { host: "hello.localhost" });
    const now = (await runner.usage())["hello"]!;
    assert.deepEqual([now.requests - before.requests, now.errors - before.errors], [1, 0]);
    assert.ok((await runner.usage())["rogue"]!.errors > 5);
  });

  test("what cannot begin is refused at load, with what it trapped with", async (t) => {
    if (!(await isThere(t))) return;
    await assert.rejects(load("dead", "deadOnArrival"), { code: "load_failed" });
    await assert.rejects(load("small", "rogue", { memoryBytesMax: 65_536 }), { code: "load_failed" });
    await assert.rejects(load("rogue-again", "rogue", { memoryBytesMax: 2 ** 40 }), { code: "limit_invalid" });
    await assert.rejects(runner.load({ id: "thief", hosts: ["rogue.localhost"], compiled: await engine.compile(await guest("hello"), { cacheDirectory: cache.directory }) }), { code: "host_in_use" });
  });

  test("what is no workload is refused with the code that says why", async (t) => {
    if (!(await isThere(t))) return;
    const cases: readonly (readonly [Uint8Array, string])[] = [
      [utf8("not wasm"), "not_wasm"], [coreModule(), "core_module"], [await importUnknown(), "import_unknown"], [await worldUnknown(), "world_unknown"], [(await guest("hello")).subarray(0, 3_000), "component_invalid"],
    ];
    for (const [bytes, code] of cases) await assert.rejects(engine.inspect(bytes), { code }, code);
    assert.equal((await engine.inspect(await guest("hello"))).kind, "service");
    assert.equal((await engine.inspect(await guest("tally"))).kind, "task");
    await assert.rejects(engine.runTask(await guest("hello"), { cacheDirectory: cache.directory }), { code: "world_unknown" });
    await assert.rejects(engine.compile(await guest("hello"), { digest: "0".repeat(64), cacheDirectory: cache.directory }), { code: "digest_mismatch" });
  });

  test("a task has its arguments, environment, stdin, stdout and stderr, and nothing else", async (t) => {
    if (!(await isThere(t))) return;
    assert.equal((await run("arguments", { arguments: ["arguments", "zwölf", "a b", ""] })).out, "arguments|zwölf|a b|");
    assert.equal((await run("environment", { environment: { B: "2", A: "één" } })).out, "A=één\nB=2\n");
    assert.equal((await run("upper", { stdin: utf8("one\ntwo") })).out, "ONE\nTWO\n");
    const pieces = async function* (): AsyncGenerator<Uint8Array> {
      for (const length of [1, 0, 70_000, 1_000_000]) yield new Uint8Array(length);
    };
    assert.equal((await run("count", { stdin: pieces() })).out, "1070001");
    const both = await run("both");
    assert.deepEqual([both.exitCode, both.out, both.err, both.trap], [0, "to stdout\n", "to stderr\n", undefined]);
  });

  test("exit codes: 0, an error, exit() in the middle, a trap with its message, a limit, an abort", async (t) => {
    if (!(await isThere(t))) return;
    assert.equal((await run("fail")).exitCode, 1);
    const left = await run("exit");
    assert.deepEqual([left.exitCode, left.out, left.trap], [1, "before\n", undefined]);
    const trapped = await run("order");
    assert.deepEqual([trapped.exitCode, trapped.trap?.code, trapped.out], [134, "trap", "one\ntwo\nthree\n"]);
    assert.match(trapped.err, /^abort: after three at assembly\/rogueTask\.ts:\d+:\d+\n$/);
    assert.match(trapped.trap?.message ?? "", /wasm trap: wasm `unreachable` instruction executed/);
    const hog = await run("hog", { limits: { memoryBytesMax: 8 * MIB } });
    assert.deepEqual([hog.exitCode, hog.trap?.code], [134, "memory_limit"]);
    assert.ok(hog.memoryBytes <= 8 * MIB);
    const late = await run("loop", { limits: { wallTimeMsMax: 200 } });
    assert.deepEqual([late.exitCode, late.trap?.code], [134, "wall_time_limit"]);
    assert.ok(late.wallMs >= 200 && late.wallMs < 30_000);
    const abort = new AbortController();
    let bytes = 0;
    const spam = await run("spam", { signal: abort.signal, stdout: (chunk) => {
      bytes += chunk.length;
      if (bytes > MIB) abort.abort();
    } });
    assert.deepEqual([spam.exitCode, spam.trap?.code], [134, "aborted"]);
    assert.ok(bytes < 4 * MIB, `${bytes} bytes`);
  });

  test("clocks go forward, sleeping takes its time, random numbers differ", async (t) => {
    if (!(await isThere(t))) return;
    const [slept, backwards] = (await run("clocks")).out.split(" ").map(Number);
    assert.ok(slept! >= 20 && slept! < 30_000 && backwards === 0, `${slept} ${backwards}`);
    const draws = [await run("random"), await run("random")].map(({ out }) => out);
    assert.notEqual(draws[0], draws[1]);
    const beforeMs = Date.now();
    const told = Date.parse((await run("date")).out);
    assert.ok(told >= beforeMs - 1 && told <= Date.now() + 1);
  });
});

/** By engine: of the frames of one trap. */
const offsets = new Map<string, string[]>();

test("a process that holds keys runs no guest on any engine", async () => {
  const { spawnSync } = await import("node:child_process");
  const program = `
    import { forbidTasks } from "#sandbox/sandbox.ts";
    import { v8 } from "#sandbox/engines/v8.ts";
    import { guest } from "#tests/guests/build.ts";
    const task = await guest("tally"), listener = await v8.listen("127.0.0.1", 0);
    forbidTasks();
    const codes = [];
    await v8.runTask(task).catch((error) => codes.push(error.code));
    await v8.startRunner({ listener }).catch((error) => codes.push(error.code));
    console.log(codes.join());
    process.exit(0);`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module-typescript", "-e", program], { cwd: new URL("../..", import.meta.url), encoding: "utf8", timeout: 60_000 });
  assert.equal(stdout, "task_forbidden,task_forbidden\n", stderr);
});
