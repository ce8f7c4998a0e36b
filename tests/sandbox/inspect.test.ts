/** What is refused before anything is done with it, by code; and what is compiled, and out of which cache it may come. */
import assert from "node:assert/strict";
import { mkdir, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { after } from "node:test";
import { HEADER_BYTES, readHeader } from "#sandbox/cache.ts";
import { whatEnded } from "#sandbox/compile.ts";
import { LIMITS_MAX } from "#sandbox/limits.ts";
import { compile, engineId, inspect, SandboxError } from "#sandbox/sandbox.ts";
import { coreModule, guest, importUnknown, worldUnknown } from "#tests/guests/build.ts";
import { nativeIsThere, sharedCache } from "./serving.ts";

const cache = sharedCache();
after(cache.remove);

test("inspect() tells a service from a task, and what each imports", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const service = await inspect(await guest("hello"));
  assert.equal(service.kind, "service");
  assert.ok(service.imports.some((name) => name.startsWith("wasi:http/types@0.2.")));
  assert.ok(service.exports.some((name) => name.startsWith("wasi:http/incoming-handler@0.2.")));
  assert.equal((await inspect(await guest("tally"))).kind, "task");
});

test("inspect() refuses by code", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const hello = await guest("hello");
  const torn = hello.slice(0, hello.length - 100);
  const wrong = hello.slice();
  wrong.fill(0xff, 200, 300);
  const table: [string, Uint8Array][] = [
    ["not_wasm", new Uint8Array()],
    ["not_wasm", new TextEncoder().encode("#!/bin/sh\n")],
    ["not_wasm", new Uint8Array([0, 0x61, 0x73])],
    ["core_module", coreModule()],
    ["component_invalid", torn],
    ["component_invalid", wrong],
    ["component_invalid", new Uint8Array([0, 0x61, 0x73, 0x6d, 0x99, 0, 1, 0])],
    ["import_unknown", await importUnknown()],
    ["world_unknown", await worldUnknown()],
    ["component_too_large", new Uint8Array(LIMITS_MAX.componentBytesMax + 1)],
  ];
  for (const [code, bytes] of table) await assert.rejects(inspect(bytes), { name: "SandboxError", code }, code);
  await assert.rejects(inspect(await importUnknown()), /example:weather\/forecast@1\.0\.0/);
});

test("no prefix and no flipped bit of a component crashes the inspection", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const component = await guest("tally");
  for (let index = 0; index < component.length; index += 97) {
    const flipped = component.slice();
    flipped[index] = (flipped[index] ?? 0) ^ (1 << (index % 8));
    for (const bytes of [component.subarray(0, index), flipped]) {
      await inspect(bytes).catch((error: unknown) => assert.ok(error instanceof SandboxError));
    }
  }
});

test("compile() makes an entry once, and only for the digest that was named", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const component = await guest("rogueTask");
  const cacheDirectory = join(cache.directory, "once");
  await assert.rejects(compile(component, { cacheDirectory, digest: "00".repeat(32) }), { code: "digest_mismatch" });
  const [first, second] = await Promise.all([compile(component, { cacheDirectory }), compile(component, { cacheDirectory })]);
  assert.deepEqual([first.cached, second.cached], [false, true]);
  assert.equal((await compile(component, { cacheDirectory, digest: first.digest })).path, first.path);
  assert.deepEqual(await readdir(join(cacheDirectory, "compiled")), [`${first.digest}-${engineId()}.code`]);
  assert.equal((await stat(join(cacheDirectory, "key"))).mode & 0o777, 0o600);
});

test("a changed byte, a forged header, another engine: compiled again", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const component = await guest("rogueTask");
  const cacheDirectory = join(cache.directory, "tamper");
  const { path, digest } = await compile(component, { cacheDirectory });
  const good = await readFile(path);
  const flip = (index: number): Uint8Array => {
    const bytes = Uint8Array.from(good);
    bytes[index] = (bytes[index] ?? 0) ^ 1;
    return bytes;
  };
  const elsewhere = join(cache.directory, "elsewhere");
  await compile(component, { cacheDirectory: elsewhere });
  const table: [string, Uint8Array][] = [
    ["a bit of the code", flip(HEADER_BYTES + 5_000)],
    ["the last byte", flip(good.length - 1)],
    ["a bit of the header", flip(40)],
    ["torn", good.subarray(0, good.length - 1)],
    ["longer", Buffer.concat([good, new Uint8Array(1)])],
    ["empty", new Uint8Array()],
    ["made under another key", await readFile(path.replace(cacheDirectory, elsewhere))],
    ["of another engine", Buffer.from(good.toString("latin1").replace(engineId(), engineId().replace(/\d/, "9")), "latin1")],
  ];
  for (const [what, bytes] of table) {
    await writeFile(path, bytes);
    assert.equal((await compile(component, { cacheDirectory })).cached, false, what);
    assert.equal((await compile(component, { cacheDirectory })).cached, true, what);
  }
  // An entry of ours, but under the name of another component.
  const other = await compile(await guest("tally"), { cacheDirectory });
  await writeFile(path, await readFile(other.path));
  assert.equal(await readHeader(cacheDirectory, digest, engineId()), null);
  assert.equal((await compile(component, { cacheDirectory })).cached, false);
});

test("a compiler that refuses, and one that is aborted, leave nothing behind", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const cacheDirectory = join(cache.directory, "nothing");
  await mkdir(join(cacheDirectory, "compiled"), { recursive: true });
  await assert.rejects(compile(coreModule(), { cacheDirectory }), { code: "compile_failed" });
  await assert.rejects(compile(new Uint8Array(100), { cacheDirectory }), { code: "compile_failed" });
  await assert.rejects(compile(await guest("rogue"), { cacheDirectory, signal: AbortSignal.abort() }), { code: "aborted" });
  await assert.rejects(compile(await guest("rogue"), { cacheDirectory, signal: AbortSignal.timeout(20) }), { code: "aborted" });
  assert.deepEqual(await readdir(join(cacheDirectory, "compiled")), []);
});

test("a compiler that is killed from outside, comes late or cannot begin says nothing of its component; one that used its time or its memory up does", () => {
  const limits = { memoryBytesMax: 1, cpuSecondsMax: 60, wallTimeMsMax: 120_000 };
  const ended = (code: number | null, signal: string | null, elapsedMs: number, isLate = false): string => whatEnded({ code, signal }, isLate, elapsedMs, limits);
  assert.equal(ended(null, "SIGKILL", 100), "compile_interrupted");
  assert.equal(ended(null, "SIGKILL", 60_000), "compile_limit");
  assert.equal(ended(null, "SIGKILL", 120_000, true), "compile_interrupted");
  assert.equal(ended(2, null, 10), "compile_interrupted");
  assert.equal(ended(3, null, 10), "compile_interrupted");
  assert.equal(ended(null, "SIGABRT", 100), "compile_limit");
});

test("a compile that has no room to begin, or no time to end, is compile_interrupted, and is made when there is", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const cacheDirectory = join(cache.directory, "limits");
  const component = await guest("rogue");
  await assert.rejects(compile(component, { cacheDirectory, limits: { memoryBytesMax: 14 * 1024 * 1024 } }), { code: "compile_interrupted" });
  await assert.rejects(compile(component, { cacheDirectory, limits: { wallTimeMsMax: 20 } }), { code: "compile_interrupted" });
  assert.equal((await compile(component, { cacheDirectory })).cached, false);
});
