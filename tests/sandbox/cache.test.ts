/** Compiled code in the cache: only what was signed here, for this component, engine and settings, is ever executed. */
import assert from "node:assert/strict";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import test, { after } from "node:test";
import { entryPath, HEADER_BYTES, readCode, writeEntry } from "#sandbox/cache.ts";
import { compile, engineId } from "#sandbox/sandbox.ts";
import { guest } from "#tests/guests/build.ts";
import { nativeIsThere, serving, sharedCache } from "./serving.ts";

const cache = sharedCache();
after(cache.remove);
const cacheDirectory = cache.directory;

test("code with a flipped byte, in its header or anywhere in it, is refused and compiled again", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, runner, get } = await serving(t, cacheDirectory);
  const component = await guest("hello");
  for (const at of [20, 300, HEADER_BYTES, HEADER_BYTES + 5_000, -1]) {
    const compiled = await compile(component, { cacheDirectory });
    const bytes = await readFile(compiled.path);
    bytes[at < 0 ? bytes.length + at : at]! ^= 1;
    await writeFile(compiled.path, bytes);
    // A byte of the header's padding says nothing.
    if ((await readCode(cacheDirectory, compiled.digest, engineId())) !== null) continue;
    await assert.rejects(runner.load({ id: "a", hosts: ["a.localhost"], compiled }), { code: "artefact_corrupt" }, `byte ${at}`);
    assert.equal((await compile(component, { cacheDirectory })).cached, false, `byte ${at}`);
    await load("a", "hello");
    assert.match((await get("/")).text, /^Hello/);
  }
});

test("code of another engine version, of other settings or of another component is refused and compiled again", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, runner, get } = await serving(t, cacheDirectory);
  const component = await guest("hello");
  const { digest, path } = await compile(component, { cacheDirectory });
  const code = await readCode(cacheDirectory, digest, engineId());
  assert.ok(code);
  const settings = engineId().replace(/-[0-9a-f]{16}-/, "-0123456789abcdef-");
  assert.notEqual(settings, engineId(), "the settings are part of the name");
  const other = await compile(await guest("rogue"), { cacheDirectory });
  const wrong = [await entryOf(engineId().replace("48", "47")), await entryOf(settings), other.path];
  for (const entry of wrong) {
    await copyFile(entry, path);
    await assert.rejects(runner.load({ id: "a", hosts: ["a.localhost"], compiled: { digest } }), { code: "artefact_corrupt" }, entry);
    assert.equal((await compile(component, { cacheDirectory })).cached, false, entry);
  }
  await load("a", "hello");
  assert.match((await get("/")).text, /^Hello/);

  async function entryOf(engine: string): Promise<string> {
    await writeEntry(cacheDirectory, digest, engine, code!);
    return entryPath(cacheDirectory, digest, engine);
  }
});

test("code that was signed and yet is of another version of wasmtime is refused by the runner, and compiled again", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { load, runner, get } = await serving(t, cacheDirectory);
  const component = await guest("hello");
  const { digest } = await compile(component, { cacheDirectory });
  const code = Buffer.from((await readCode(cacheDirectory, digest, engineId()))!);
  // wasmtime writes its major version before the name of the target.
  const target = code.indexOf("x86_64");
  const at = code.lastIndexOf("48", target);
  assert.ok(at > 0 && target - at < 16, "its version is in it");
  code[at + 1] = "7".charCodeAt(0);
  await writeEntry(cacheDirectory, digest, engineId(), code);
  await assert.rejects(runner.load({ id: "b", hosts: ["b.localhost"], compiled: { digest } }), { code: "artefact_corrupt" });
  assert.equal((await compile(component, { cacheDirectory })).cached, false);
  await load("a", "hello");
  assert.match((await get("/")).text, /^Hello/);
});
