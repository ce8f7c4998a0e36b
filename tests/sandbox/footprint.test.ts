/** No data footprint remains: markers that a guest holds are found while it runs, and nowhere when it has ended. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { after } from "node:test";
import { compile } from "#sandbox/sandbox.ts";
import { cliJson, startMachine, temporaryFolder } from "#tests/e2e/stage.ts";
import { needs } from "#tests/require.ts";
import { buildComponent } from "#workloads/sdk/build.ts";
import { needles, searchFolder, searchProcess } from "./search.ts";
import { get, nativeIsThere, serving, sharedCache, until } from "./serving.ts";

const cache = sharedCache();
after(cache.remove);
const text = (): string => randomBytes(16).toString("hex");
/** What the guest makes of the seed: see assembly/secrets.ts. */
const turned = (seed: string): string => seed.split("").toReversed().map((digit) => String.fromCharCode(103 + (digit.charCodeAt(0) % 16))).join("");

test("nothing of an instance's memory, heap tables, log, headers, bodies or environment is left when it ends", async (t) => {
  if (!needs(t, "root") || !(await nativeIsThere(t))) return;
  const { runner, port, logs } = await serving(t, cache.directory);
  const { component } = await buildComponent(join(import.meta.dirname, "assembly"), "secrets.ts", "service");
  const compiled = await compile(component, { cacheDirectory: cache.directory });
  const [seed, header, body, environment] = [text(), text(), text(), text()];
  await runner.load({ id: "a", hosts: ["a"], compiled, environment: { SECRET: environment } });
  const pid = runner.pid ?? 0;
  const ofRequest = [...needles("made", turned(seed)), ...needles("seed", seed), ...needles("header", header), ...needles("body", body)];
  const all = [...ofRequest, ...needles("environment", environment)];
  const ask = (path: string, signal?: AbortSignal) =>
    get(port, `${path}?seed=${seed}`, { host: "a", headers: { "x-secret": header }, body: Buffer.from(body), ...(signal && { signal }) });

  const leaving = new AbortController();
  const waiting = ask("/wait", leaving.signal);
  await until(() => logs.some(({ line }) => line.includes(turned(seed))), "the guest at work");
  const held = searchProcess(pid, all);
  for (const name of ["made (utf8)", "made (utf16le)", "header (utf16le)", "body (utf16le)", "environment (utf16le)"]) assert.ok(held.includes(name), `${name} is not found while the guest runs: ${held.join(", ")}`);
  leaving.abort();
  await waiting;

  assert.equal((await ask("/")).status, 200);
  assert.equal((await ask("/trap")).status, 500);
  await until(async () => (await runner.usage())["a"]?.running === 0, "its end");
  await until(() => searchProcess(pid, ofRequest).length === 0, `the end of what it held: ${searchProcess(pid, ofRequest).join(", ")}`);
  assert.deepEqual(searchProcess(pid, needles("environment", environment)).length > 0, true, "the deployment is still there, and with it its environment");
  assert.deepEqual(searchFolder(cache.directory, all), []);

  await runner.unload("a");
  await until(() => searchProcess(pid, all).length === 0, `the end of the deployment: ${searchProcess(pid, all).join(", ")}`);
  assert.equal(runner.pid, pid);
});

/** Frames of so many words that are zero, below which the secret lies: more than the runner takes for the end of a stack. */
const WIDE_WORDS = 2_600;
const wideProgram = (): string => {
  const each = (of: (index: number) => string): string => Array.from({ length: WIDE_WORDS }, (_, index) => of(index)).join("");
  return `import { deep } from "./stack";
export function wide(zeros: usize, secret: u64, wait: bool): u64 {
${each((index) => `  const a${index} = load<u64>(zeros, ${index * 8});\n`)}
  let end = deep(3, secret, wait);
${each((index) => `  end ^= a${index} + ${index};\n`)}
  return end;
}
`;
};

test("what a guest kept on its stack is nowhere when it has ended, however deep it went and however large its frames were", async (t) => {
  if (!needs(t, "root") || !(await nativeIsThere(t))) return;
  const { runner, port } = await serving(t, cache.directory);
  const project = temporaryFolder(t);
  copyFileSync(join(import.meta.dirname, "assembly", "stack.ts"), join(project, "stack.ts"));
  writeFileSync(join(project, "wide.ts"), wideProgram());
  const { component } = await buildComponent(project, "stack.ts", "service");
  await runner.load({ id: "a", hosts: ["a"], compiled: await compile(component, { cacheDirectory: cache.directory }) });
  const pid = runner.pid ?? 0;
  for (const path of ["/deep", "/wide"]) {
    const seed = randomBytes(8).readBigUInt64BE();
    const secret = Buffer.alloc(8);
    secret.writeBigUInt64LE(BigInt.asUintN(64, (seed << 13n) | (seed >> 51n)) ^ 0x5bd1e995c2b2ae35n);
    const wanted = [{ name: path, bytes: secret }];
    const ask = (query: string, signal?: AbortSignal) => get(port, `${path}?seed=${seed.toString(16)}${query}`, { host: "a", ...(signal && { signal }) });
    const leaving = new AbortController();
    const waiting = ask("&wait", leaving.signal);
    await until(() => searchProcess(pid, wanted).length > 0, "the guest at work");
    leaving.abort();
    await waiting;
    assert.equal((await ask("")).status, 200);
    await until(async () => (await runner.usage())["a"]?.running === 0, "its end");
    await until(() => searchProcess(pid, wanted).length === 0, `the end of what it held (${path})`);
  }
});

test("when a deployment was removed, its log is not in the folder of the machine any more, and nothing of it in the runner", async (t) => {
  if (!needs(t, "root") || !(await nativeIsThere(t))) return;
  const directory = temporaryFolder(t);
  const project = temporaryFolder(t);
  const [seed, environment] = [text(), text()];
  mkdirSync(join(project, "assembly"));
  copyFileSync(join(import.meta.dirname, "assembly", "secrets.ts"), join(project, "assembly", "index.ts"));
  writeFileSync(join(project, "godwit.toml"), `name = "secrets"\nkind = "service"\n\n[environment]\nSECRET = "${environment}"\n`);
  const machine = await startMachine(t, directory);
  const { url } = await cliJson(machine, ["deploy", project]);
  const made = needles("log", turned(seed));
  assert.equal((await get(machine.httpPort, `/?seed=${seed}`, { host: new URL(url).hostname, headers: { "x-secret": text() }, body: Buffer.from(text()) })).status, 200);
  const logs = join(directory, "logs");
  await until(() => searchFolder(logs, made).length > 0, "its log on the disk");
  await cliJson(machine, ["rm", "secrets"]);
  await until(() => searchFolder(directory, made).length === 0, "the end of its log", 45_000);
  const pid = (await cliJson(machine, ["status"])).runner.pid as number;
  assert.deepEqual(searchProcess(pid, [...made, ...needles("environment", environment)]), []);
  await machine.stop();
});

test("the runner holds no key of the machine and nothing of the agent: not in its memory, not by a descriptor, not in its environment", async (t) => {
  if (!needs(t, "root") || !(await nativeIsThere(t))) return;
  const secret = randomBytes(32);
  process.env["GODWIT_TEST_KEY"] = secret.toString("hex");
  t.after(() => delete process.env["GODWIT_TEST_KEY"]);
  const { runner, load } = await serving(t, cache.directory);
  await load("a", "hello");
  const pid = runner.pid ?? 0;
  const key = readFileSync(join(cache.directory, "key"));
  const wanted = [{ name: "key of the cache", bytes: key }, { name: "key of the machine", bytes: secret }, ...needles("its environment", secret.toString("hex"))];
  assert.ok(searchProcess(process.pid, wanted.slice(1)).length > 0, "they are found where they are");
  assert.deepEqual(searchProcess(pid, wanted), []);
  assert.equal(readFileSync(`/proc/${pid}/environ`, "utf8"), "");
  const descriptors = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
  assert.deepEqual(descriptors.filter((name) => !/^(socket:|pipe:|anon_inode:|\/memfd:godwit-code|\/dev\/null|.*\/pagemap)/.test(name)), []);
});
