/** `godwit dev`, as an author uses it: saves, mistakes, traps and Ctrl-C, against the real compiler and the real sandbox. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test, { type TestContext } from "node:test";
import { descendants, remaining } from "#tests/e2e/stage.ts";
import { guest } from "#tests/guests/build.ts";
import { needs } from "#tests/require.ts";
import { openTerminal } from "./terminal.ts";

const launcher = join(import.meta.dirname, "..", "..", "tools", "godwit");
const STOP_MS_MAX = 20_000;
const LIFE_MS_MAX = 60_000;

type DevEvent = { readonly event: string; readonly [fact: string]: unknown };
type Dev = {
  readonly folder: string;
  readonly child: ChildProcess;
  /** Waits for the next event of a kind, and forgets those before it. */
  next(event: string): Promise<DevEvent>;
  /** Waits until it has written something like this to a stream that people read. */
  until(stream: "stdout" | "stderr", pattern: RegExp): Promise<RegExpExecArray>;
  read(file: string): string;
  save(file: string, text: string): void;
  /** Ctrl-C: it ends with 0, in time, and nothing of it is left. */
  stop(): Promise<void>;
};

/** A project of a template, with `change` made to it before, under `godwit dev`. */
async function startDev(t: TestContext, template: string, args: readonly string[], change?: (folder: string) => void): Promise<Dev> {
  const terminal = openTerminal(t);
  await terminal.json("new", "shop", "--template", template);
  const folder = join(terminal.home, "shop");
  change?.(folder);
  const temporary = join(terminal.home, "tmp");
  mkdirSync(temporary);
  const child = spawn(launcher, ["dev", ...args], { cwd: folder, stdio: ["ignore", "pipe", "pipe"], timeout: LIFE_MS_MAX, killSignal: "SIGKILL", env: { ...process.env, NO_COLOR: "1", TMPDIR: temporary } });
  t.after(() => child.kill("SIGKILL"));
  const texts = { stdout: "", stderr: "" };
  const seen: DevEvent[] = [];
  let wake = (): void => {};
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].on("data", (chunk: Buffer) => {
      texts[stream] += chunk.toString();
      wake();
    });
  }
  if (args.includes("--json")) createInterface(child.stdout).on("line", (line) => {
    seen.push(JSON.parse(line) as DevEvent);
    wake();
  });
  child.on("exit", () => wake());
  const more = async (what: string): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) assert.fail(`godwit dev ended before ${what}: ${JSON.stringify(texts)}`);
    await new Promise<void>((resolve) => (wake = resolve));
  };
  return {
    folder, child,
    async until(stream, pattern) {
      for (;;) {
        const found = pattern.exec(texts[stream]);
        if (found !== null) return found;
        await more(String(pattern));
      }
    },
    async next(event) {
      for (;;) {
        const at = seen.findIndex((one) => one.event === event);
        if (at >= 0) return seen.splice(0, at + 1)[at] ?? assert.fail();
        await more(event);
      }
    },
    read: (file) => readFileSync(join(folder, file), "utf8"),
    save: (file, text) => writeFileSync(join(folder, file), text),
    async stop() {
      const processes = descendants(child.pid ?? 0);
      const exited = once(child, "exit");
      const startedMs = performance.now();
      child.kill("SIGINT");
      assert.deepEqual(await exited, [0, null], JSON.stringify(texts));
      assert(performance.now() - startedMs < STOP_MS_MAX);
      assert.deepEqual(await remaining(processes), []);
      assert.deepEqual(readdirSync(temporary), []);
    },
  };
}

type Answer = { readonly status: number; readonly headers: Readonly<Record<string, unknown>>; readonly body: string };
function ask(url: unknown, path = "", headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request(new URL(path, String(url)), { headers, agent: false }, (answer) => {
      let body = "";
      answer.setEncoding("utf8").on("data", (chunk: string) => (body += chunk)).on("end", () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body }));
    }).on("error", reject).end();
  });
}

test("a save is served, a mistake is told while the last good version serves, a trap shows its place, and no request is lost", async (t) => {
  if (!needs(t, "cargo")) return;
  const dev = await startDev(t, "http", ["--port", "0", "--json", "--env", "OTHER=x"]);
  const { url } = await dev.next("serving");
  assert.equal((await ask(url, "", { host: "any.example" })).body, "Hello, world!\n");
  const { requestId, stream, line } = await dev.next("log");
  assert.deepEqual([stream, line, String(requestId).length], ["stdout", "GET / 200", 16]);

  // From here to the end somebody asks all the time.
  let asking = true;
  const answers: Answer[] = [];
  const crowd = (async () => { while (asking) answers.push(await ask(url)); })();

  const source = dev.read("assembly/index.ts");
  dev.save("assembly/index.ts", source.replace('"!\\n"', '"!!\\n"'));
  const served = await dev.next("served");
  assert.deepEqual(served["files"], ["assembly/index.ts"]);
  assert.equal((await ask(url)).body, "Hello, world!!\n");

  dev.save("assembly/index.ts", source.replace("return greet(request);", "return greet(reqest);"));
  const failed = await dev.next("failed");
  const [mistake] = failed["diagnostics"] as { file: string; line: number; column: number }[];
  const lines = source.split("\n");
  const lineNumber = lines.findIndex((text) => text.includes("return greet(request)")) + 1;
  assert.deepEqual([failed["code"], failed["isServing"], mistake?.file, mistake?.line, mistake?.column], ["compile_error", true, "assembly/index.ts", lineNumber, (lines[lineNumber - 1] ?? "").indexOf("request)") + 1]);
  assert.equal((await ask(url)).body, "Hello, world!!\n");
  dev.save("godwit.toml", 'name = "Shop"\nkind = "service"\n');
  assert.equal((await dev.next("failed"))["code"], "manifest_invalid");
  assert.equal((await ask(url)).body, "Hello, world!!\n");

  // Mended, with a new module in a new folder, a new environment, and the way in which many editors save.
  dev.save("godwit.toml", 'name = "shop"\nkind = "service"\n[environment]\nGREETING = "Moin"\n');
  mkdirSync(join(dev.folder, "assembly", "parts"));
  dev.save("assembly/parts/end.ts", 'export const END: string = ".\\n";\n');
  const mended = `import { END } from "./parts/end";\n${source.replace('"!\\n"', "END").replace("  return Response.text(\"There is", '  if (request.path == "/trap") throw new Error("as <b>&</b> asked");\n  return Response.text("There is')}`;
  dev.save("assembly/index.ts.new", mended);
  renameSync(join(dev.folder, "assembly/index.ts.new"), join(dev.folder, "assembly/index.ts"));
  do await dev.next("served"); while ((await ask(url)).body !== "Moin, world.\n");

  const trapped = await ask(url, "trap");
  assert.equal(trapped.status, 500);
  const thrownAt = mended.split("\n").findIndex((text) => text.includes("throw new Error")) + 1;
  const ofTrap: DevEvent[] = [];
  while (!ofTrap.some((one) => String(one["line"]).includes("at handle ("))) {
    const one = await dev.next("log");
    if (one["requestId"] === trapped.headers["x-request-id"]) ofTrap.push(one);
  }
  assert(ofTrap.some((one) => one["stream"] === "stderr" && String(one["line"]).startsWith(`abort: as <b>&</b> asked at assembly/index.ts:${thrownAt}:`)));
  assert(ofTrap.some((one) => String(one["line"]).startsWith("trap")));

  // A browser gets a page for the same; its text cannot become markup, and no other client gets one.
  const page = await ask(url, "trap", { accept: "text/html,*/*" });
  assert.deepEqual([page.status, page.headers["content-type"]], [500, "text/html; charset=utf-8"]);
  const text = page.body.replaceAll(/<[^>]*>/g, "").replaceAll("&quot;", '"').replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
  assert.match(text, new RegExp(`as <b>&</b> asked\nassembly/index\\.ts:${thrownAt}:\\d+\n`));
  assert(text.includes(`${thrownAt}    if (request.path == "/trap") throw new Error("as <b>&</b> asked");`), text);
  assert.match(text, new RegExp(`route assembly/index\\.ts:${thrownAt}:\\d+\nhandle assembly/index\\.ts:\\d+:\\d+`));
  assert(page.body.includes(String(page.headers["x-request-id"])) && !page.body.includes("<b>&"));
  assert.equal(trapped.headers["content-type"], "application/problem+json");
  assert.equal((await ask(url, "", { accept: "text/html" })).body, "Moin, world.\n");
  assert(ofTrap.some((one) => one["stream"] === "system" && String(one["line"]).includes(`at route (assembly/index.ts:${thrownAt}:`) || String(one["line"]).includes(`at handle (assembly/index.ts:${thrownAt}:`)));

  asking = false;
  await crowd;
  assert(answers.length > 20);
  assert.deepEqual(answers.filter(({ status, body }) => status !== 200 || !["Hello, world!\n", "Hello, world!!\n", "Moin, world.\n"].includes(body)), []);
  await dev.stop();
});

test("a project that never built answers with its errors, as text or as a page, until it builds; people read the same in the terminal", async (t) => {
  if (!needs(t, "cargo")) return;
  let good = "";
  const dev = await startDev(t, "http", [".", "--port", "0"], (folder) => {
    const file = join(folder, "assembly", "index.ts");
    good = readFileSync(file, "utf8");
    writeFileSync(file, 'export function handle(request: Wrong<"&">): i32 {}\n');
  });
  await dev.until("stderr", /^building .*, not optimised/);
  const [, message = ""] = await dev.until("stderr", /^error compile_error: (The program does not compile:\nassembly\/index\.ts:1:\d+: [^]*)\nnothing serves yet; /m);
  const [, url] = await dev.until("stderr", /^nothing serves yet; (http:\S+) shows this$/m);
  const html = await ask(url, "any/path", { accept: "text/html,*/*" });
  assert.deepEqual([html.status, html.headers["content-type"]], [500, "text/html; charset=utf-8"]);
  assert.match(html.body, /assembly\/index\.ts:1:\d+ /);
  assert.match(html.body, /Wrong&lt;&quot;&amp;&quot;&gt;/);
  const text = await ask(url, "any/path", { accept: "*/*" });
  assert.deepEqual([text.status, text.headers["content-type"], text.body], [500, "text/plain; charset=utf-8", `${message}\n`]);
  dev.save("assembly/index.ts", good);
  await dev.until("stdout", new RegExp(`^serving shop at ${url}; `, "m"));
  const { headers } = await ask(url);
  await dev.until("stdout", new RegExp(`^${String(headers["x-request-id"])} GET / 200$`, "m"));
  dev.save("assembly/index.ts", good.replace("}", "]"));
  await dev.until("stderr", /^assembly\/index\.ts:\d+:\d+: [^]*^the last good version still serves$/m);
  dev.save("assembly/index.ts", good.replace("!", "?"));
  await dev.until("stdout", /^served assembly\/index\.ts, \d+ ms after it was saved$/m);
  await dev.stop();
});

test("a program of another language is built by its own command at each save; while that fails the last good version serves", async (t) => {
  if (!needs(t, "cargo")) return;
  const make = 'import { readFileSync, copyFileSync, mkdirSync } from "node:fs";\nconst name = readFileSync("which.txt", "utf8").trim();\nif (name === "broken") { console.error("which.txt:1: it is broken"); process.exit(3); }\n' +
    'mkdirSync("dist", { recursive: true });\ncopyFileSync(`${name}.wasm`, "dist/shop.wasm");\n';
  const [first, second] = [await guest("hello"), await guest("markdown")];
  const dev = await startDev(t, "http", ["--port", "0", "--json"], (folder) => {
    rmSync(join(folder, "assembly"), { recursive: true });
    writeFileSync(join(folder, "godwit.toml"), `name = "shop"\nkind = "service"\ncomponent = "dist/shop.wasm"\nbuild = [${JSON.stringify(process.execPath)}, "make.mjs"]\n`);
    for (const [name, content] of [["make.mjs", make], ["which.txt", "hello"], ["hello.wasm", first], ["markdown.wasm", second]] as const) writeFileSync(join(folder, name), content);
  });
  const { url } = await dev.next("serving");
  assert.match((await ask(url)).body, /^Hello/);
  dev.save("which.txt", "broken\n");
  const failed = await dev.next("failed");
  assert.deepEqual([failed["code"], failed["isServing"]], ["build_failed", true]);
  assert.match(String(failed["message"]), /which\.txt:1: it is broken/);
  assert.match((await ask(url)).body, /^Hello/);
  dev.save("which.txt", "markdown\n");
  assert.deepEqual((await dev.next("served"))["files"], ["which.txt"]);
  assert.doesNotMatch((await ask(url)).body, /^Hello/);
  // What the build wrote has not begun another: the next that is told is this save.
  dev.save("which.txt", "markdown \n");
  assert.deepEqual((await dev.next("unchanged"))["files"], ["which.txt"]);
  await dev.stop();
});

test("a task runs at each save with its arguments and its input; one that never ends is ended by the next save, and by Ctrl-C", async (t) => {
  if (!needs(t, "cargo")) return;
  const dev = await startDev(t, "task", [".", "--json", "--stdin", "text.txt", "--", "1"], (folder) => writeFileSync(join(folder, "text.txt"), "b a b\n"));
  const output = await dev.next("output");
  assert.deepEqual([output["stream"], output["text"]], ["stdout", "     2  b\n"]);
  assert.equal((await dev.next("ended"))["exitCode"], 0);
  const source = dev.read("assembly/index.ts");
  const endless = (word: string): string => source.replace("  const tallies", `  console.log("${word}");\n  while (true) {}\n  const tallies`);
  dev.save("assembly/index.ts", endless("one"));
  assert.equal((await dev.next("output"))["text"], "one\n");
  dev.save("assembly/index.ts", source.replace(".padStart(6)", ""));
  assert.equal((await dev.next("output"))["text"], "2  b\n");
  await dev.next("ended");
  dev.save("assembly/index.ts", endless("two"));
  assert.equal((await dev.next("output"))["text"], "two\n");
  await dev.stop();
});

test("Ctrl-C in the middle of the first build leaves nothing", async (t) => {
  if (!needs(t, "cargo")) return;
  const dev = await startDev(t, "http", ["--port", "0"]);
  await dev.until("stderr", /^building /);
  await dev.stop();
});

test("what cannot begin is refused with a code", async (t) => {
  if (!needs(t, "cargo")) return;
  const terminal = openTerminal(t);
  await terminal.run("new", "shop");
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  assert.deepEqual(await terminal.errorOf("dev"), { exit: 1, code: "manifest_missing" });
  assert.deepEqual(await terminal.errorOf("dev", "shop", "--port", String(port)), { exit: 1, code: "port_in_use" });
  for (const args of [["--", "argument"], ["--stdin", "x"], ["--port", "x"]]) assert.deepEqual(await terminal.errorOf("dev", "shop", ...args), { exit: 2, code: "usage" });
  writeFileSync(join(terminal.home, "shop", "godwit.toml"), 'name = "shop"\nkind = "servce"\n');
  assert.deepEqual(await terminal.errorOf("dev", "shop"), { exit: 1, code: "manifest_invalid" });
});
