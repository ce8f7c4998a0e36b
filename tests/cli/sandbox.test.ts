/** `godwit build`, `run` and `serve` with real components in the real sandbox, as processes of their own. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { sha256 } from "#chain/crypto.ts";
import { hex } from "#chain/types.ts";
import { needs } from "#tests/require.ts";
import { descendants, remaining } from "#tests/e2e/stage.ts";
import { openTerminal } from "./terminal.ts";

const root = join(import.meta.dirname, "..", "..");
const launcher = join(root, "tools", "godwit");
const example = (name: string): string => join(root, "workloads", "examples", name);
const STOP_MS_MAX = 20_000;

let folder = "";
const file = (name: string): string => join(folder, name);

/** One task and one service for all tests, built without optimisation to save time. */
before(() => {
  folder = mkdtempSync(join(tmpdir(), "godwit-cli-sandbox-"));
});
after(() => rmSync(folder, { recursive: true, force: true }));

type Ran = { code: number | null; stdout: string; stderr: string };
function godwit(args: readonly string[], input = ""): Ran {
  const { status, stdout, stderr } = spawnSync(launcher, args, { cwd: folder, input, encoding: "utf8", timeout: 60_000, env: { ...process.env, NO_COLOR: "1" } });
  return { code: status, stdout, stderr };
}

function project(name: string, kind: string, source: string): string {
  const path = file(name);
  mkdirSync(join(path, "assembly"), { recursive: true });
  writeFileSync(join(path, "godwit.toml"), `name = "${name}"\nkind = "${kind}"\n`);
  writeFileSync(join(path, "assembly", "index.ts"), source);
  return path;
}

test("build writes the component and says its digest and size, its exports and imports, and what each allows it to do", async (t) => {
  const terminal = openTerminal(t);
  const hello = await terminal.json("build", example("hello"), "--debug", "-o", file("hello.wasm"));
  const bytes = new Uint8Array(readFileSync(file("hello.wasm")));
  assert.deepEqual([hello["digest"], hello["bytes"], hello["kind"], hello["name"]], [`sha256:${hex(sha256(bytes))}`, bytes.length, "service", "hello"]);
  const tally = await terminal.json("build", example("tally"), "--debug", "-o", file("tally.wasm"));
  assert.equal(tally["kind"], "task");
  if (!needs(t, "cargo")) return;
  assert.deepEqual(hello["exports"], [{ name: "wasi:http/incoming-handler@0.2.12", allows: "answer requests" }]);
  const imports = hello["imports"] as { name: string; allows: string }[];
  assert(imports.some(({ name }) => name === "wasi:http/types@0.2.12") && imports.every(({ allows }) => allows.length > 10), JSON.stringify(imports));
  assert(!imports.some(({ name }) => name.startsWith("wasi:http/outgoing-handler")), "hello sends no requests, and says so");
  const { stdout } = await terminal.run("build", example("hello"), "--debug", "-o", file("hello.wasm"));
  assert.match(stdout, /^ +INTERFACE +ALLOWS IT TO\nexports {2}wasi:http\/incoming-handler@0\.2\.12 +answer requests\nimports /m);
});

test("a mistake in a program is told with file, line and column", async (t) => {
  const terminal = openTerminal(t);
  const path = project("broken", "task", 'export function main(args: string[]): i32 {\n  return "x";\n}\n');
  const { code, stderr } = await terminal.run("build", path, "--debug", "--json");
  assert.equal(code, 1);
  const { error } = JSON.parse(stderr) as { error: { code: string; diagnostics: { file: string; line: number }[] } };
  assert.equal(error.code, "compile_error");
  assert.deepEqual([error.diagnostics[0]?.file, error.diagnostics[0]?.line], ["assembly/index.ts", 2]);
  assert.deepEqual(await terminal.errorOf("build", folder), { exit: 1, code: "manifest_missing" });
});

test("run passes arguments, stdin, stdout, stderr and the exit code on", (t) => {
  if (!needs(t, "cargo")) return;
  const good = godwit(["run", "tally.wasm", "--", "city", "amount"], "city,amount\nOslo,12.50\nLagos,7\nOslo,0.75\n");
  assert.deepEqual(good, { code: 0, stdout: "         13.25  Oslo (2)\n          7.00  Lagos (1)\n         20.25  in all\n", stderr: "" });
  const bad = godwit(["run", "tally.wasm", "city", "--help"], "city,amount\n");
  assert.deepEqual([bad.code, bad.stdout], [1, ""]);
  assert.match(bad.stderr, /^tally: no column "--help"/);
});

test("a trap and a limit exit 1 with their code, and the trap with file, line and column of the sources", async (t) => {
  if (!needs(t, "cargo")) return;
  const terminal = openTerminal(t);
  const source = 'import { stdout } from "godwit/cli";\nexport function main(args: string[]): i32 {\n  stdout.writeLine("here");\n  stdout.flush();\n  if (args.length > 0) while (true) {}\n  unreachable();\n  return 0;\n}\n';
  await terminal.json("build", project("trap", "task", source), "--debug", "-o", file("trap.wasm"));
  const trap = godwit(["run", "trap.wasm"]);
  assert.deepEqual([trap.code, trap.stdout], [1, "here\n"]);
  assert.match(trap.stderr, /^error trap: .*unreachable/s);
  assert.match(trap.stderr, /wasm backtrace:\n +at main \(assembly\/index\.ts:6:3\)\n/);
  const fuel = godwit(["run", "--json", "--fuel", "100000000", "trap.wasm", "forever"]);
  assert.equal(fuel.code, 1);
  assert.equal((JSON.parse(fuel.stderr) as { error: { code: string } }).error.code, "fuel_limit");
  const wall = godwit(["run", "--timeout", "1", "trap.wasm", "forever"]);
  assert.deepEqual([wall.code, wall.stderr.split(":")[0]], [1, "error wall_time_limit"]);
});

test("run ends with its program though stdin stays open, and on SIGINT while its program does not end", async (t) => {
  if (!needs(t, "cargo")) return;
  const start = (...args: string[]): ChildProcess => {
    const child = spawn(launcher, ["run", ...args], { cwd: folder, stdio: ["pipe", "pipe", "pipe"], timeout: 20_000, killSignal: "SIGKILL", env: { ...process.env, NO_COLOR: "1" } });
    t.after(() => child.kill("SIGKILL"));
    return child;
  };
  assert.deepEqual(await once(start("tally.wasm"), "exit"), [1, null]);
  const endless = start("--json", "trap.wasm", "forever");
  let stderr = "";
  endless.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  await Promise.race([once(endless.stdout ?? assert.fail(), "data"), once(endless, "close")]);
  assert.equal(endless.exitCode, null, stderr);
  endless.kill("SIGINT");
  assert.deepEqual(await once(endless, "close"), [1, null]);
  assert.equal((JSON.parse(stderr) as { error: { code: string } }).error.code, "aborted");
});

test("what is no component, or of the wrong kind, is refused with a code", (t) => {
  if (!needs(t, "cargo")) return;
  writeFileSync(file("text.wasm"), "hello");
  writeFileSync(file("core.wasm"), Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));
  const rows: [string[], string][] = [
    [["run", "text.wasm"], "not_wasm"], [["run", "core.wasm"], "core_module"], [["serve", "text.wasm", "--port", "0"], "not_wasm"],
    [["run", "hello.wasm"], "not_a_task"], [["serve", "tally.wasm", "--port", "0"], "not_a_service"], [["run", "nothing.wasm"], "file_missing"],
  ];
  for (const [args, code] of rows) {
    const ran = godwit(args);
    assert.deepEqual([ran.code, ran.stderr.split(":")[0]], [1, `error ${code}`], args.join(" "));
  }
});

function get(port: number, path: string, host: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", port, path, headers: { host }, agent: false }, (answer) => {
      let body = "";
      answer.setEncoding("utf8").on("data", (chunk: string) => (body += chunk)).on("end", () => resolve({ status: answer.statusCode ?? 0, body }));
    }).on("error", reject).end();
  });
}

test("serve answers under every Host, prints what the service logs, survives its runner, and leaves nothing behind", async (t) => {
  if (!needs(t, "cargo")) return;
  const child = spawn(launcher, ["serve", "hello.wasm", "--port", "0", "--env", "GREETING=Moin"], { cwd: folder, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, NO_COLOR: "1" } });
  t.after(() => child.kill("SIGKILL"));
  const texts = { stdout: "", stderr: "" };
  child.stderr.on("data", (chunk: Buffer) => (texts.stderr += chunk.toString()));
  child.stdout.on("data", (chunk: Buffer) => (texts.stdout += chunk.toString()));
  const until = async (pattern: RegExp): Promise<string> => {
    for (;;) {
      const found = pattern.exec(texts.stdout)?.[1];
      if (found !== undefined) return found;
      if (child.exitCode !== null) throw new Error(`serve ended: ${texts.stderr}`);
      await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
    }
  };
  const port = Number(await until(/^serving hello\.wasm at http:\/\/127\.0\.0\.1:(\d+)\/$/m));
  for (const host of ["localhost", "anything.example"]) assert.deepEqual(await get(port, "/", host), { status: 200, body: "Moin from a godwit 👋\n" });
  await until(/^(GET \/ 200)$/m);
  const children = descendants(child.pid ?? 0);
  assert(children.length > 0);
  for (const pid of children) process.kill(pid, "SIGKILL");
  assert.deepEqual(await get(port, "/", "localhost"), { status: 200, body: "Moin from a godwit 👋\n" });
  const successors = descendants(child.pid ?? 0);
  assert(successors.length > 0 && successors.every((pid) => !children.includes(pid)));
  const startedMs = performance.now();
  child.kill("SIGINT");
  const [code] = (await once(child, "exit")) as [number | null];
  assert.equal(code, 0, texts.stderr);
  assert(performance.now() - startedMs < STOP_MS_MAX);
  assert.deepEqual(await remaining(successors), []);
});

test("serve on a port that is taken fails with port_in_use", async (t) => {
  if (!needs(t, "cargo")) return;
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const ran = godwit(["serve", "hello.wasm", "--port", String((server.address() as AddressInfo).port)]);
  assert.deepEqual([ran.code, ran.stderr.split(":")[0]], [1, "error port_in_use"]);
});
