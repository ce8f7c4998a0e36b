/**
 * The sandbox as the rest of Godwit sees it: inspect and compile a component, run a task, serve deployments.
 *
 * The only file that loads the addon. `runTask` executes in this process (wasmtime on threads of its own) and is for
 * `godwit run` and component tests; whatever is served to others runs in the jailed process that `startRunner` keeps alive.
 * Knows nothing of chain, machine or money.
 */
import type { Limits } from "./limits.ts";

export type Inspection = {
  readonly kind: "service" | "task";
  /** Interface names with version, such as `wasi:http/types@0.2.12`. */
  readonly imports: readonly string[];
  readonly exports: readonly string[];
};

/** Throws a SandboxError: not_wasm, core_module, component_invalid, import_unknown (the message names it), world_unknown, component_too_large. */
export async function inspect(component: Uint8Array): Promise<Inspection> {
  throw new Error(`not yet ${component.length}`);
}

export type TaskOptions = {
  readonly arguments?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Nothing given: the guest reads end of file. */
  readonly stdin?: Uint8Array | AsyncIterable<Uint8Array>;
  /** The guest waits while more than a few hundred KiB are on their way; return a promise to make it wait for you. */
  readonly stdout?: (chunk: Uint8Array) => void | Promise<void>;
  readonly stderr?: (chunk: Uint8Array) => void | Promise<void>;
  /** What is left out is LIMITS_TASK_DEFAULT. */
  readonly limits?: Partial<Limits>;
  readonly signal?: AbortSignal;
  /** Where compiled code is kept; default: the user's cache. */
  readonly cacheDirectory?: string;
};
export type TrapCode = "trap" | "fuel_limit" | "wall_time_limit" | "memory_limit" | "aborted";
export type TaskResult = {
  readonly exitCode: number;
  readonly trap?: { readonly code: TrapCode; readonly message: string };
  readonly fuel: number;
  readonly wallMs: number;
  readonly memoryBytes: number;
};

/** Runs a task's `wasi:cli/run` to its end. A trap or a limit is a result (exitCode 134), not an exception. */
export async function runTask(component: Uint8Array, options: TaskOptions = {}): Promise<TaskResult> {
  throw new Error(`not yet ${component.length} ${options.arguments}`);
}

export type Listener = { readonly fd: number; readonly address: string; readonly port: number; close(): void };

/** Binds and listens, and gives the descriptor for a runner to inherit. Port 0: any. Throws port_in_use, address_unavailable, listen_failed. */
export async function listen(address: string, port: number): Promise<Listener> {
  throw new Error(`not yet ${address} ${port}`);
}

export { SandboxError } from "./errors.ts";
export { compile, type Compiled, type CompileOptions } from "./compile.ts";
export { startRunner, type Deployment, type Runner, type RunnerOptions } from "./runner.ts";
export { nativePaths } from "./native.ts";
export type { LogLine, LogStream, Usage } from "./control.ts";
