/**
 * The one interface of an engine, and which there are: wasmtime, in native processes, and V8, in this one's threads.
 *
 * wasmtime is what machines serve tenants with. V8 is for an author's own programs on a computer without the native parts.
 */
import type { Compiled, CompileOptions } from "../compile.ts";
import type { Runner, RunnerOptions } from "../runner.ts";
import type { Inspection, Listener, TaskOptions, TaskResult } from "../sandbox.ts";

export type EngineName = "wasmtime" | "v8";
export const ENGINE_NAMES: readonly EngineName[] = ["wasmtime", "v8"];

export type Engine = {
  readonly name: EngineName;
  /** Throws not_wasm, core_module, component_invalid, import_unknown, world_unknown, component_too_large (and on v8 component_unsupported). */
  inspect(component: Uint8Array): Promise<Inspection>;
  /** Before a load. Throws compile_failed, digest_mismatch and what `inspect` throws. */
  compile(component: Uint8Array, options?: CompileOptions): Promise<Compiled>;
  listen(address: string, port: number): Promise<Listener>;
  /** With a listener of the same engine. */
  startRunner(options: RunnerOptions): Promise<Runner>;
  runTask(component: Uint8Array, options?: TaskOptions): Promise<TaskResult>;
};

export async function openEngine(name: EngineName): Promise<Engine> {
  return name === "v8" ? (await import("./v8.ts")).v8 : (await import("./wasmtime.ts")).wasmtime;
}
