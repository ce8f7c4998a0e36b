/**
 * Components to machine code, each in a process of its own that is jailed and then gone; results in a cache that nobody can forge.
 *
 * A compiler is a big program that reads a stranger's bytes, and what it writes is executed. So it sees no file, no network and
 * no environment, its memory and time are limited, and its only output is the code on its stdout.
 */
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { entryPath, readCode, sha256Hex, writeEntry } from "./cache.ts";
import { SandboxError } from "./errors.ts";
import { spawnFirstToGo } from "./firstToGo.ts";
import {
  COMPILED_BYTES_MAX,
  COMPILES_MAX,
  COMPILE_CPU_SECONDS_MAX,
  COMPILE_MEMORY_BYTES_MAX,
  COMPILE_WALL_TIME_MS_MAX,
  LIMITS_MAX,
} from "./limits.ts";
import { defaultCacheDirectory, engineId, missing, nativePaths } from "./native.ts";

export type CompileOptions = {
  /** sha256 of the component in hex; computed when left out, checked when given (code digest_mismatch). */
  readonly digest?: string;
  readonly cacheDirectory?: string;
  readonly signal?: AbortSignal;
  /** Of the one process; what is left out is as limits.ts says. */
  readonly limits?: Partial<CompileLimits>;
};
export type CompileLimits = { readonly memoryBytesMax: number; readonly cpuSecondsMax: number; readonly wallTimeMsMax: number };
const LIMITS: CompileLimits = { memoryBytesMax: COMPILE_MEMORY_BYTES_MAX, cpuSecondsMax: COMPILE_CPU_SECONDS_MAX, wallTimeMsMax: COMPILE_WALL_TIME_MS_MAX };

/** Names an entry of the cache. `digest` is the component's sha256 in hex. */
export type Compiled = { readonly digest: string; readonly path: string; readonly cached: boolean };

const REASON_BYTES_MAX = 64 * 1024;

/** Entries that are being made, so that the same one is not made twice. */
const making = new Map<string, Promise<unknown>>();
let running = 0;
const waiting: (() => void)[] = [];

/**
 * Throws digest_mismatch, component_too_large, compile_failed (with the compiler's reason), compile_limit (CPU time or memory), aborted; and
 * compile_interrupted, which is this computer's trouble and says nothing of the component.
 */
export async function compile(component: Uint8Array, options: CompileOptions = {}): Promise<Compiled> {
  const { cacheDirectory = defaultCacheDirectory(), signal } = options;
  if (component.length > LIMITS_MAX.componentBytesMax) {
    throw new SandboxError("component_too_large", `Cannot compile ${component.length} bytes: more than ${LIMITS_MAX.componentBytesMax}`);
  }
  const digest = sha256Hex(component);
  if (options.digest !== undefined && options.digest !== digest) {
    throw new SandboxError("digest_mismatch", `Cannot compile component ${options.digest}: its bytes have digest ${digest}`);
  }
  const engine = engineId();
  const path = entryPath(cacheDirectory, digest, engine);
  for (;;) {
    if (signal?.aborted) throw aborted(digest, signal);
    const other = making.get(path);
    if (other === undefined) break;
    await other.catch(() => {});
  }
  const made = make(component, digest, { cacheDirectory, engine, signal, limits: { ...LIMITS, ...options.limits } });
  making.set(path, made);
  try {
    return { digest, path, cached: await made };
  } finally {
    making.delete(path);
  }
}

type Place = { cacheDirectory: string; engine: string; signal: AbortSignal | undefined; limits: CompileLimits };

/** True when it was there already, and in order. */
async function make(component: Uint8Array, digest: string, place: Place): Promise<boolean> {
  if ((await readCode(place.cacheDirectory, digest, place.engine)) !== null) return true;
  if (running < COMPILES_MAX) running += 1;
  else await new Promise<void>((resolve) => waiting.push(resolve));
  try {
    const code = await compileInProcess(component, digest, place);
    await writeEntry(place.cacheDirectory, digest, place.engine, code);
    return false;
  } finally {
    // Hands the place on, if somebody waits for it.
    const next = waiting.shift();
    if (next === undefined) running -= 1;
    else next();
  }
}

async function compileInProcess(component: Uint8Array, digest: string, { signal, limits }: Place): Promise<Uint8Array> {
  if (signal?.aborted) throw aborted(digest, signal);
  const program = nativePaths().compiler;
  if (!existsSync(program)) throw missing(program);
  const startedMs = performance.now();
  const child = spawnFirstToGo(program, [process.pid, limits.memoryBytesMax, limits.cpuSecondsMax].map(String), { stdio: "pipe", env: {}, cwd: "/" });
  // Of one that could not be started, for want of descriptors, there are no streams; its error comes a moment later.
  const exited = exitOf(child);
  exited.catch(() => {});
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, limits.wallTimeMsMax);
  const onAbort = (): boolean => child.kill("SIGKILL");
  signal?.addEventListener("abort", onAbort);
  try {
    // A compiler that ends before it has read everything says why on stderr.
    child.stdin.on("error", () => {});
    child.stdin.end(component);
    const [code, reason, exit] = await Promise.all([
      collect(child, child.stdout, COMPILED_BYTES_MAX),
      collect(child, child.stderr, REASON_BYTES_MAX),
      exited,
    ]);
    if (signal?.aborted) throw aborted(digest, signal);
    if (exit.code === 0 && code.length > 0) return code;
    const text = Buffer.from(reason).toString("utf8").trim();
    if (exit.code === 1) throw new SandboxError("compile_failed", `Cannot compile component ${digest}: ${text}`);
    const how = late ? `still running after ${limits.wallTimeMsMax} ms` : `ended by ${exit.signal ?? `code ${exit.code}`} ${text}`;
    throw new SandboxError(whatEnded(exit, late, performance.now() - startedMs, limits), `Cannot compile component ${digest}: the compiler was ${how}`);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Exit codes of a compiler that had not read a byte of the component: a wall that cannot be put up, and no room for its threads. */
const COULD_NOT_BEGIN: readonly (number | null)[] = [2, 3];
/**
 * Whose fault it is that a compiler ended without a word on the component. Its limit of CPU time is a SIGKILL, and so is what the kernel does when
 * memory is short, to compilers first: only one that has run long enough on all cores can have used its time up.
 */
export function whatEnded(exit: Exit, isLate: boolean, elapsedMs: number, { cpuSecondsMax }: CompileLimits): "compile_limit" | "compile_interrupted" {
  const isKilled = exit.signal === "SIGKILL" && elapsedMs * availableParallelism() < cpuSecondsMax * 1_000;
  return isLate || isKilled || COULD_NOT_BEGIN.includes(exit.code) ? "compile_interrupted" : "compile_limit";
}

type Exit = { code: number | null; signal: string | null };
const exitOf = (child: ChildProcess): Promise<Exit> =>
  new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal }));
  });

/** What is over `bytesMax` ends the child. */
async function collect(child: ChildProcess, stream: NodeJS.ReadableStream, bytesMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > bytesMax) {
      child.kill("SIGKILL");
      break;
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const aborted = (digest: string, signal: AbortSignal): SandboxError =>
  new SandboxError("aborted", `Compile of ${digest} was aborted`, { cause: signal.reason });
