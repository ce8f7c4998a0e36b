/** Components of other toolchains, unchanged: cargo, componentize-py, componentize-js and Go, served or run on both engines. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { type Engine, ENGINE_NAMES, openEngine } from "#sandbox/engines/engine.ts";
import { type Language, languageGuest } from "#tests/guests/languages.ts";
import { get, nativeIsThere } from "./serving.ts";

const MIB = 1024 * 1024;
const COMPILE_WALL_TIME_MS_MAX = 400_000;

/** The component, or null after a skip with a line that says what is missing. */
async function made(t: TestContext, language: Language): Promise<Uint8Array | null> {
  const guest = await languageGuest(language);
  if ("component" in guest) return guest.component;
  t.skip(`needs ${guest.missing}`);
  return null;
}

/** Asks a service twice, on each engine that is there. */
async function served(t: TestContext, language: Language, path: string, expected: string | RegExp): Promise<void> {
  const component = await made(t, language);
  if (component === null) return;
  for (const name of ENGINE_NAMES) {
    if (name === "wasmtime" && !(await nativeIsThere(t))) continue;
    const engine: Engine = await openEngine(name);
    const listener = await engine.listen("127.0.0.1", 0);
    const runner = await engine.startRunner({ listener });
    try {
      // Compiled code stays in the user's cache: an interpreter takes Cranelift twenty seconds of CPU, which may be minutes beside other tests.
      await runner.load({ id: language, hosts: ["*"], compiled: await engine.compile(component, { limits: { wallTimeMsMax: COMPILE_WALL_TIME_MS_MAX } }), limits: { memoryBytesMax: 256 * MIB }, environment: { GREETING: "Hei" } });
      for (let i = 0; i < 2; i++) {
        const { status, text, headers } = await get(listener.port, path);
        assert.deepEqual([status, headers["content-type"]], [200, "text/plain"], name);
        if (typeof expected === "string") assert.equal(text, expected, name);
        else assert.match(text, expected, name);
      }
    } finally {
      await runner.stop();
      listener.close();
    }
  }
}

test("a service that cargo built for wasm32-wasip2 runs unchanged", (t) => served(t, "rust", "/a?b=1", "Hei from Rust: /a?b=1\n"));
test("a program sees its environment, clocks, random numbers and an empty stdin, and no file, no socket and no name", (t) =>
  served(t, "rust", "/world", new RegExp([
    "^arguments 0", "variables GREETING", String.raw`seconds \d{10}`, "clock forward true", "random numbers 4", "stdin 0 bytes", "folder refused", "file refused", "written refused", "connection refused", "datagram refused", "name refused\n$",
  ].join("\n"))));
test("a service that componentize-py made runs unchanged", (t) => served(t, "python", "/a?b=1", "Hei from Python: /a?b=1\n"));
test("a service that componentize-js made runs unchanged", (t) => served(t, "javascript", "/a?b=1", "Hello from JavaScript: /a\n"));

test("a task that Go built for wasip1 runs unchanged behind the adapter: stdin, stdout, stderr, environment, exit code", async (t) => {
  const component = await made(t, "go");
  if (component === null) return;
  for (const name of ENGINE_NAMES) {
    if (name === "wasmtime" && !(await nativeIsThere(t))) continue;
    const engine = await openEngine(name);
    for (const [argument, exitCode] of [["", 0], ["fail", 1]] as const) {
      let [out, err] = ["", ""];
      const result = await engine.runTask(component, {
        arguments: [argument], environment: { NAME: "go" }, stdin: new TextEncoder().encode("one\ntwo"),
        stdout: (chunk) => void (out += new TextDecoder().decode(chunk)), stderr: (chunk) => void (err += new TextDecoder().decode(chunk)),
      });
      assert.deepEqual([result.exitCode, out, err, result.trap], [exitCode, "ONE\nTWO\n", "go: 2 lines\n", undefined], name);
    }
  }
});
