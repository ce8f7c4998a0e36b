/**
 * The sandbox as the rest of Godwit sees it: inspect and compile a component, run a task, serve deployments.
 *
 * `runTask` executes in this process (wasmtime on threads of its own) and is for
 * `godwit run` and component tests; whatever is served to others runs in the jailed process that `startRunner` keeps alive.
 * Knows nothing of chain, machine or money.
 */
import { addon, type RunningTask } from "./addon.ts";
import { readCode } from "./cache.ts";
import { compile } from "./compile.ts";
import { createDial, type OutgoingOptions } from "./dial.ts";
import { SandboxError, type SandboxErrorCode } from "./errors.ts";
import { refuseWhereForbidden } from "./guestsHere.ts";
import { completeLimits, LIMITS_MAX, LIMITS_TASK_DEFAULT, type Limits } from "./limits.ts";
import { defaultCacheDirectory, engineId } from "./native.ts";
import type { Mock } from "./engines/v8/mock.ts";
import type { OutgoingPlace } from "./outgoing.ts";
import { startRunner as keepRunner, type Runner, type RunnerOptions, type TaskRunner } from "./runner.ts";
import { startTrustClasses } from "./trustClasses.ts";

export { SandboxError, type SandboxErrorCode } from "./errors.ts";
export { forbidTasks } from "./guestsHere.ts";
export { compile, type Compiled, type CompileOptions } from "./compile.ts";
export type { Deployment, Task } from "./load.ts";
export type { OutgoingPlace } from "./outgoing.ts";
export type { Runner, RunnerExit, RunnerOptions, TaskRunner } from "./runner.ts";
export type { OutgoingOptions, OutgoingTest } from "./dial.ts";
export { defaultCacheDirectory, engineId, nativePaths } from "./native.ts";
export type { HopCounts, LogLine, LogStream, Part, PeerKey, Places, TaskEnd, Usage } from "./control.ts";
export type { Elsewhere, Endpoint, Reach } from "./elsewhere.ts";

export type Inspection = {
  readonly kind: "service" | "task";
  /** Interface names with version, such as `wasi:http/types@0.2.12`. */
  readonly imports: readonly string[];
  readonly exports: readonly string[];
};

/** Throws a SandboxError: not_wasm, core_module, component_invalid, import_unknown (the message names it), world_unknown, component_too_large. */
export async function inspect(component: Uint8Array): Promise<Inspection> {
  if (component.length > LIMITS_MAX.componentBytesMax) {
    throw new SandboxError("component_too_large", `The component has ${component.length} bytes, more than ${LIMITS_MAX.componentBytesMax}`);
  }
  const { code, message, kind, imports, exports } = await addon().inspect(component);
  if (code !== "") throw new SandboxError(code as SandboxErrorCode, `The component cannot run here: ${message}`);
  return { kind, imports, exports };
}

export type Listener = { readonly fd: number; readonly address: string; readonly port: number; close(): void };

/** Binds and listens, and gives the descriptor for a runner to inherit. Port 0: any. Throws port_in_use, address_unavailable, listen_failed. */
export async function listen(address: string, port: number): Promise<Listener> {
  const native = addon();
  const { fd, address: bound, port: actual, code, message } = native.listen(address, port);
  if (code !== "") throw new SandboxError(code as SandboxErrorCode, `Cannot listen on ${address} port ${port}: ${message}`);
  let open = true;
  const close = (): void => {
    if (open) native.closeDescriptor(fd);
    open = false;
  };
  return { fd, address: bound, port: actual, close };
}

/** A runner over a listening socket; see runner.ts. Throws runner_failed when the first process does not come up, native_missing. */
export const startRunner = async (options: RunnerOptions): Promise<Runner & TaskRunner> =>
  startTrustClasses({ ...options, listen, startRunner: (each) => keepRunner(each, addon()) });

export type TaskOptions = {
  /** The guest's argument 0; what a program's own arguments begin after. */
  readonly name?: string;
  readonly arguments?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Nothing given: the guest reads end of file. */
  readonly stdin?: Uint8Array | AsyncIterable<Uint8Array>;
  /** The guest waits while more than a few hundred KiB are on their way; return a promise to make it wait for you. */
  readonly stdout?: (chunk: Uint8Array) => void | Promise<void>;
  readonly stderr?: (chunk: Uint8Array) => void | Promise<void>;
  /** What is left out is LIMITS_TASK_DEFAULT. */
  readonly limits?: Partial<Limits>;
  /** Where its requests may go; default: nowhere. */
  readonly outgoing?: readonly OutgoingPlace[];
  /** For tests, on the v8 engine only. */
  readonly mock?: Mock;
  /** How they are dialled. */
  readonly dialling?: OutgoingOptions;
  readonly signal?: AbortSignal;
  /** Where compiled code is kept; default: the user's cache. */
  readonly cacheDirectory?: string;
};
export type TrapCode = "trap" | "fuel_limit" | "cpu_time_limit" | "wall_time_limit" | "memory_limit" | "table_limit" | "aborted";
export type TaskResult = {
  readonly exitCode: number;
  readonly trap?: { readonly code: TrapCode; readonly message: string };
  readonly fuel: number;
  readonly wallMs: number;
  readonly memoryBytes: number;
};

/** Runs a task's `wasi:cli/run` to its end. A trap or a limit is a result (exitCode 134), not an exception. */
export async function runTask(component: Uint8Array, options: TaskOptions = {}): Promise<TaskResult> {
  refuseWhereForbidden();
  if (options.mock !== undefined) throw new SandboxError("limit_invalid", "Cannot run a task with a mock: only the v8 engine has them");
  const { kind } = await inspect(component);
  if (kind !== "task") throw new SandboxError("world_unknown", "The component is a service: serve it, it has no wasi:cli/run to run");
  const cacheDirectory = options.cacheDirectory ?? defaultCacheDirectory();
  const { signal } = options;
  const { digest } = await compile(component, { cacheDirectory, ...(signal && { signal }) });
  const code = await readCode(cacheDirectory, digest, engineId());
  if (code === null) throw new SandboxError("artefact_corrupt", `The code of component ${digest} was changed as it was to be run`);

  const settings = settingsOf(code, options);
  const output = new Output(options);
  const allowed = options.outgoing ?? [];
  const dial = createDial(addon().dial, options.dialling);
  const task = new (addon().RunningTask)(
    settings,
    (stream, chunk) => {
      if (stream === 0) void input.pull(task);
      else output.write(task, stream, chunk);
    },
    (call, scheme, host, port, timeoutMs) => void dial("task", allowed, { scheme, host, port, timeoutMs }).then(({ fd, code }) => task.dialled(call, fd, code)),
  );
  const input = new Input(options.stdin);
  const abort = (): void => task.abort();
  signal?.addEventListener("abort", abort);
  // Native threads do not keep Node alive.
  const alive = setInterval(() => {}, 2 ** 30);
  try {
    if (signal?.aborted) abort();
    const { exitCode, trapCode, trapMessage, fuel, wallMs, memoryBytes, writtenBytes } = await task.run();
    await output.drained(writtenBytes);
    const trap = { code: trapCode as TrapCode, message: trapMessage };
    return { exitCode, ...(trapCode !== "" && { trap }), fuel, wallMs, memoryBytes };
  } finally {
    clearInterval(alive);
    signal?.removeEventListener("abort", abort);
    input.close();
  }
}

function settingsOf(code: Uint8Array, options: TaskOptions): object {
  const limits = completeLimits(options.limits, LIMITS_TASK_DEFAULT);
  return {
    code,
    arguments: [options.name ?? "task", ...(options.arguments ?? [])],
    environment: Object.entries(options.environment ?? {}).flat(),
    memoryBytesMax: limits.memoryBytesMax,
    fuelMax: limits.fuelPerCallMax,
    cpuTimeMsMax: limits.cpuTimeMsMax,
    wallTimeMsMax: limits.wallTimeMsMax,
    tableElementsMax: limits.tableElementsMax,
    instancesMax: limits.instancesMax,
    resourceHandlesMax: limits.resourceHandlesMax,
    headerCountMax: limits.headerCountMax,
    headerBytesMax: limits.headerBytesMax,
    outgoingConnectionsMax: limits.outgoingConnectionsMax,
    outgoingRequestBytesMax: limits.outgoingRequestBytesMax,
    outgoingResponseBytesMax: limits.outgoingResponseBytesMax,
    outgoingTimeMsMax: limits.outgoingTimeMsMax,
    outgoing: options.outgoing ?? [],
    roots: options.dialling?.test?.roots ?? [],
  };
}

/** Hands on what the guest writes, in order, and tells it when it may go on. The first error of a callback ends the task. */
class Output {
  readonly #options: TaskOptions;
  #arrived = 0;
  #expected = Infinity;
  #tail: Promise<void> = Promise.resolve();
  #failure: unknown;
  #wake: () => void = () => {};
  constructor(options: TaskOptions) {
    this.#options = options;
  }

  write(task: RunningTask, stream: number, chunk: Uint8Array): void {
    this.#arrived += chunk.length;
    const take = stream === 1 ? this.#options.stdout : this.#options.stderr;
    this.#tail = this.#tail.then(async () => {
      try {
        if (this.#failure === undefined) await take?.(chunk);
      } catch (error) {
        this.#failure = error;
        task.abort();
      }
      task.acknowledge(stream, chunk.length);
    });
    if (this.#arrived >= this.#expected) this.#wake();
  }

  async drained(bytes: number): Promise<void> {
    this.#expected = bytes;
    if (this.#arrived < bytes) await new Promise<void>((resolve) => (this.#wake = resolve));
    await this.#tail;
    if (this.#failure !== undefined) throw this.#failure;
  }
}

/** Gives the guest its stdin one chunk at a time, when it asks. */
class Input {
  readonly #chunks: AsyncIterator<Uint8Array>;
  constructor(source: Uint8Array | AsyncIterable<Uint8Array> | undefined) {
    const once = async function* (bytes: Uint8Array): AsyncGenerator<Uint8Array> {
      yield bytes;
    };
    const iterable = source === undefined || source instanceof Uint8Array ? once(source ?? new Uint8Array()) : source;
    this.#chunks = iterable[Symbol.asyncIterator]();
  }

  async pull(task: RunningTask): Promise<void> {
    for (;;) {
      const next = await this.#chunks.next().catch(() => ({ done: true as const, value: undefined }));
      if (next.done) return task.pushInput(new Uint8Array());
      if (next.value.length > 0) return task.pushInput(next.value);
    }
  }

  /** Whoever reads a terminal stops reading it. */
  close(): void {
    void this.#chunks.return?.()?.catch(() => {});
  }
}
