/** tools/godwit: from any directory, through any symlink, on the pinned Node; what passes through it. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";

const launcher = join(import.meta.dirname, "..", "..", "tools", "godwit");
const TIMEOUT_MS = 60_000;

function start(t: TestContext, file: string, args: readonly string[], options: { cwd?: string; environment?: Record<string, string> } = {}): ChildProcess {
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"], timeout: TIMEOUT_MS, killSignal: "SIGKILL", ...(options.cwd === undefined ? {} : { cwd: options.cwd }), env: { ...process.env, ...options.environment } });
  t.after(() => child.kill("SIGKILL"));
  return child;
}

async function end(child: ChildProcess): Promise<{ code: number | null; signal: string | null; stdout: string; stderr: string }> {
  const texts = { stdout: "", stderr: "" };
  child.stdout?.on("data", (chunk: Buffer) => (texts.stdout += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (texts.stderr += chunk.toString()));
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  return { code, signal, ...texts };
}

function folder(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), "godwit launcher "));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

test("it runs from another directory, and through a chain of absolute and relative symlinks", async (t) => {
  const elsewhere = folder(t);
  mkdirSync(join(elsewhere, "bin"));
  symlinkSync(launcher, join(elsewhere, "first"));
  symlinkSync("../first", join(elsewhere, "bin", "godwit"));
  for (const file of [launcher, join(elsewhere, "first"), "./bin/godwit"]) {
    const { code, stdout, stderr } = await end(start(t, file, ["--version"], { cwd: elsewhere }));
    assert.deepEqual([code, stderr], [0, ""], file);
    assert.match(stdout, /^godwit /);
  }
});

test("exit codes pass through", async (t) => {
  assert.equal((await end(start(t, launcher, ["frob"]))).code, 2);
  assert.equal((await end(start(t, launcher, ["status", "--api", "http://127.0.0.1:9"]))).code, 1);
});

test("where nothing is installed it says in one line what to do", async (t) => {
  const bare = folder(t);
  mkdirSync(join(bare, "tools"));
  copyFileSync(launcher, join(bare, "tools", "godwit"));
  const { code, stdout, stderr } = await end(start(t, join(bare, "tools", "godwit"), ["ps"]));
  assert.deepEqual([code, stdout], [1, ""]);
  assert.match(stderr, /^error not_installed: [^\n]*npm start[^\n]*\n$/);
});

test("a signal reaches the command, which ends what it began", async (t) => {
  // A machine that never answers: the command waits until it is told to stop.
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const server = createServer(() => resolve());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const child = start(t, launcher, ["status", "--json", "--api", `http://127.0.0.1:${(server.address() as AddressInfo).port}`]);
  const ended = end(child);
  await asked;
  child.kill("SIGTERM");
  const { code, signal, stderr } = await ended;
  assert.deepEqual([code, signal], [1, null]);
  assert.equal((JSON.parse(stderr) as { error: { code: string } }).error.code, "interrupted");
});

test("a reader that has enough of the output is no failure", async (t) => {
  const { code, stderr } = await end(start(t, "/bin/sh", ["-c", `"${launcher}" --help | true`]));
  assert.deepEqual([code, stderr], [0, ""]);
});
