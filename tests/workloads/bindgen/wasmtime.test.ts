/** Bindings in wasmtime, through the sandbox: the torture between two components, and the real resources of WASI. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runTask } from "#sandbox/sandbox.ts";
import { composedEcho } from "./composed.ts";
import { TORTURE_FUNCTIONS, TORTURE_TYPES } from "./torture.ts";
import { Chance } from "./values.ts";

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
