/** Commands without the native parts: no cargo, an empty cache, nothing but what npm installed. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { guest } from "#tests/guests/build.ts";

const ROOT = join(import.meta.dirname, "../..");
const GODWIT = join(ROOT, "tools/godwit");
/** Where neither cargo nor rustc is. */
const PATH = "/usr/bin:/bin";

type Bare = { readonly folder: string; readonly env: NodeJS.ProcessEnv };
function bare(t: TestContext): Bare {
  const folder = mkdtempSync(join(tmpdir(), "godwit-bare-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return { folder, env: { PATH, HOME: folder, XDG_CACHE_HOME: join(folder, "cache"), NO_COLOR: "1" } };
}

/** Starts a command, reads until its first line of JSON, and ends it after the test. */
async function serving(t: TestContext, args: readonly string[], { env }: Bare): Promise<{ url: string; stderr: () => string }> {
  const child = spawn(GODWIT, [...args, "--port", "0", "--json"], { env });
  t.after(() => child.kill("SIGKILL"));
  let [out, err] = ["", ""];
  child.stderr.on("data", (chunk) => (err += String(chunk)));
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const timer = setTimeout(() => reject(new Error(`no line within 30 s: ${err}`)), 30_000);
  child.on("exit", () => reject(new Error(`it ended: ${err}`)));
  child.stdout.on("data", (chunk) => {
    out += String(chunk);
    const url = /"url":"([^"]+)"/.exec(out)?.[1];
    if (url !== undefined) resolve(url);
  });
  const url = await promise.finally(() => clearTimeout(timer));
  return { url, stderr: () => err };
}

test("godwit run works without the native parts, and says in one line that it is on v8", async (t) => {
  const place = bare(t);
  const file = join(place.folder, "tally.wasm");
  writeFileSync(file, await guest("tally"));
  const { status, stdout, stderr } = spawnSync(GODWIT, ["run", file, "city", "amount"], { env: place.env, input: "city,amount\nOslo,1.50\n", encoding: "utf8", timeout: 30_000 });
  assert.deepEqual([status, stdout], [0, "          1.50  Oslo (1)\n          1.50  in all\n"], stderr);
  assert.match(stderr, /^warning [^\n]*native engine is not built[^\n]*v8[^\n]*\n$/);
  const quiet = spawnSync(GODWIT, ["run", "--engine", "v8", file], { env: place.env, input: "", encoding: "utf8", timeout: 30_000 });
  assert.deepEqual([quiet.status, quiet.stderr], [1, "tally: usage: tally KEY VALUE < table.csv\n"]);
  const asked = spawnSync(GODWIT, ["run", "--engine", "wasmtime", file], { env: place.env, input: "", encoding: "utf8", timeout: 30_000 });
  assert.equal(asked.status, 1);
  assert.match(asked.stderr, /^error native_missing: /);
});

test("godwit serve works without the native parts", async (t) => {
  const place = bare(t);
  const file = join(place.folder, "hello.wasm");
  writeFileSync(file, await guest("hello"));
  const { url } = await serving(t, ["serve", file], place);
  assert.equal(await (await fetch(`${url}?name=Ada`)).text(), "Hello, Ada from a godwit 👋\n");
});

test("godwit dev builds, serves and answers without the native parts", async (t) => {
  const place = bare(t);
  const project = join(place.folder, "hello");
  cpSync(join(ROOT, "workloads/examples/hello"), project, { recursive: true });
  const { url } = await serving(t, ["dev", project], place);
  assert.equal((await fetch(`${url}nowhere`)).status, 404);
});

test("godwit test runs a project's tests without the native parts, of functions and of the component", (t) => {
  const place = bare(t);
  assert.equal(spawnSync(GODWIT, ["new", "--template", "http", "shop"], { env: place.env, cwd: place.folder, encoding: "utf8", timeout: 30_000 }).status, 0);
  const { status, stdout, stderr } = spawnSync(GODWIT, ["test", "shop"], { env: place.env, cwd: place.folder, encoding: "utf8", timeout: 60_000 });
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /pass [1-9]/);
});

test("--engine takes wasmtime and v8, and what is neither is wrong usage", () => {
  const { status, stderr } = spawnSync(GODWIT, ["dev", "--engine", "v9", "workloads/examples/hello"], { encoding: "utf8", cwd: ROOT, timeout: 30_000 });
  assert.equal(status, 2, stderr);
});

test("building the native parts without cargo fails with one line that says what to install", (t) => {
  const { env } = bare(t);
  const program = 'import { buildNative } from "#tools/native.mjs"; await buildNative().catch(({ code, message }) => console.log(`${code}: ${message}`));';
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], { env, cwd: ROOT, encoding: "utf8", timeout: 30_000 });
  assert.match(stdout, /^cargo_missing: [^\n]*Rust 1\.\d+[^\n]*rustup\.rs[^\n]*\n$/, stderr);
});
