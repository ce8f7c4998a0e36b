/** Bindings in wasmtime, through the sandbox: the torture between two components, and the real resources of WASI. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runTask } from "#sandbox/sandbox.ts";
import { compose, composedEcho } from "./composed.ts";
import { compileCore, component, program, wasiSources } from "./compile.ts";
import { STORE, WASI_WORLD } from "./resources.ts";
import { TORTURE_FUNCTIONS, TORTURE_TYPES } from "./torture.ts";
import { Chance } from "./values.ts";

const WASI_LINES = [
  "arguments bindings|één||three",
  "variable NAME=value",
  "variable EMPTY=",
  "directory none",
  "directories 0",
  "terminal none",
  "wall true",
  "ready 1 1 true false",
  "waited true",
  "random 33 true true",
  "made true",
  "has true false",
  "set true",
  "append true",
  "entry a=1",
  "entry a=3",
  "entry b=x",
  "entry b=",
  "entry b=yy",
  "deleted true 0 3",
  "method true",
  "method true BREW false",
  "scheme none true true",
  "path true /path?q=1 true true",
  "authority true example.com:443",
  "timeout true true 5000000000",
  "body once true",
  "stream true",
  "sent denied",
  "finished true",
  "",
];

const MIB = 1024 * 1024;

async function run(component: Uint8Array, args: readonly string[] = [], environment: Record<string, string> = {}): Promise<{ exitCode: number; trap: string | undefined; stdout: string; stderr: string }> {
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  let [stdout, stderr] = ["", ""];
  const result = await runTask(component, {
    name: "bindings", arguments: args, environment, limits: { memoryBytesMax: 64 * MIB }, stdin: new Uint8Array(),
    stdout: (chunk) => void (stdout += decoders.stdout.decode(chunk, { stream: true })),
    stderr: (chunk) => void (stderr += decoders.stderr.decode(chunk, { stream: true })),
  });
  return { exitCode: result.exitCode, trap: result.trap === undefined ? undefined : `${result.trap.code}: ${result.trap.message}`, stdout, stderr };
}

for (const runtime of ["incremental", "minimal"] as const) {
  test(`every type goes through two components and comes back, in wasmtime under the ${runtime} runtime`, async () => {
    const component = await composedEcho(TORTURE_TYPES, TORTURE_FUNCTIONS, new Chance(5), { runtime });
    assert.deepEqual(await run(component), { exitCode: 0, trap: undefined, stdout: "", stderr: "" });
  });
}

for (const runtime of ["incremental", "minimal"] as const) {
  test(`resources of one component in the hands of another, 2,000 times, in wasmtime under the ${runtime} runtime`, async () => {
    const wit = await wasiSources(STORE);
    const build = async (world: string, name: string): Promise<Uint8Array> => {
      const { core, generated } = await compileCore(wit, { world, runtime, isCounted: true, modules: { "program.ts": await program(name) } });
      return component(core, wit, generated);
    };
    const composed = await compose(await build("keeper", "store"), await build("task", "storeTask"), "test:store/store@1.0.0");
    assert.deepEqual(await run(composed), { exitCode: 0, trap: undefined, stdout: "", stderr: "" });
  });
}

test("WASI's resources, variants and nested results, in wasmtime", async () => {
  const wit = await wasiSources(WASI_WORLD);
  for (const runtime of ["incremental", "minimal"] as const) {
    const { core, generated } = await compileCore(wit, { runtime, modules: { "program.ts": await program("wasi") } });
    const ran = await run(await component(core, wit, generated), ["één", "", "three"], { NAME: "value", EMPTY: "" });
    assert.deepEqual({ ...ran, stdout: ran.stdout.split("\n") }, { exitCode: 0, trap: undefined, stderr: "", stdout: WASI_LINES });
  }
});
