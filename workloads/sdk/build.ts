/**
 * From a project folder to a component: read godwit.toml, compile, digest.
 *
 * Compilation happens in one thread that stays warm (a first build takes seconds, the next a fraction of one) and never keeps
 * the process alive. It is thrown away when the compiler crashes or exceeds its time. Builds queue: one at a time.
 * The same sources give the same bytes, and so the same digest.
 */
import { createHash } from "node:crypto";
import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { Manifest } from "#workloads/manifest.ts";
import { parseManifest } from "#workloads/manifest.ts";
import type { CompileJob, CompileResult, Diagnostic } from "./compile-worker.ts";
import { BuildError } from "./buildError.ts";
import type { Line } from "./coverage.ts";
import { ENTRY_FILE, EXPORT_EXPECTED } from "./entry.ts";
import type { Symbols } from "./symbols.ts";
import type { WorkloadKind } from "./worlds.ts";

export { BuildError } from "./buildError.ts";
export type { Diagnostic } from "./compile-worker.ts";

export const MANIFEST_FILE = "godwit.toml";

/** A program that does not compile in a minute on a slow machine is not going to. */
const COMPILE_TIME_MS_MAX = 60_000;
/** More errors than a person reads at once are noise. */
const ERRORS_SHOWN_MAX = 20;

export type BuildOptions = {
  /** False builds several times as fast, and what it builds is larger and slower. */
  readonly optimise?: boolean;
  /** Folder of files that go into the component, a path from the project's. */
  readonly assets?: string;
  /** The program tells which of its lines it reaches, for tests. */
  readonly coverage?: boolean;
  /** Ends the command that builds a program of another language. */
  readonly signal?: AbortSignal;
};

export type Build = {
  readonly component: Uint8Array;
  /** sha256 of the component, in hex. */
  readonly digest: string;
  /** What turns the offsets of a trap into lines of the sources; it is no part of the component. */
  readonly symbols: Symbols | null;
  readonly manifest: Manifest;
  readonly warnings: readonly Diagnostic[];
  /** With coverage: what the numbers that it tells mean. */
  readonly lines: readonly Line[];
  readonly elapsedMs: number;
};

/** Builds the project in a folder with a godwit.toml. */
export async function buildProject(directory: string, options: BuildOptions = {}): Promise<Build> {
  const startedMs = performance.now();
  const manifest = await readManifest(directory);
  const { component, symbols, warnings, lines } = await program(directory, manifest, options);
  return { component, digest: digestOf(component), symbols, manifest, warnings, lines, elapsedMs: Math.round(performance.now() - startedMs) };
}

type Compiled = Pick<Build, "component" | "symbols" | "warnings" | "lines">;

async function program(directory: string, { entry, assets, component, build, kind }: Manifest, options: BuildOptions): Promise<Compiled> {
  if (component === null) return buildComponent(directory, entry, kind, { ...options, ...(assets !== null && { assets }) });
  const { buildForeign } = await import("./foreign.ts");
  return { component: await buildForeign(directory, component, build, kind, options.signal), symbols: null, warnings: [], lines: [] };
}

/** Builds one module (a path from `directory`) without a manifest. */
export async function buildComponent(
  directory: string,
  entry: string,
  kind: WorkloadKind,
  options: BuildOptions = {},
): Promise<Compiled> {
  const path = join(directory, entry);
  await access(path).catch(() => {
    throw new BuildError("entry_missing", `Cannot build ${directory} as its entry ${entry} is not there`, [
      { file: entry, line: 0, column: 0, code: "entry_missing", message: "this file is not there" },
    ]);
  });
  const result = await enqueue({ directory, entry, kind, optimise: options.optimise ?? true, coverage: options.coverage ?? false, ...(options.assets === undefined ? {} : { assets: options.assets }) });
  if (!result.ok) throw compileError(entry, kind, result.diagnostics);
  return result;
}

/** Builds a task of the tests in some modules (paths from `directory`): without arguments it lists them, with a number it runs one. */
export async function buildTests(directory: string, files: readonly string[], options: Pick<BuildOptions, "coverage"> = {}): Promise<Compiled> {
  const entry = files[0] ?? "";
  const result = await enqueue({ directory, entry, kind: "task", optimise: false, tests: files, coverage: options.coverage ?? false });
  if (!result.ok) throw compileError(entry, "task", result.diagnostics);
  return result;
}

/** Reads and checks the manifest of a project. */
export async function readManifest(directory: string): Promise<Manifest> {
  const text = await readFile(join(directory, MANIFEST_FILE), "utf8").catch((cause: unknown) => {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") {
      throw new BuildError("manifest_missing", `Cannot build ${directory} as it has no ${MANIFEST_FILE}`);
    }
    throw cause;
  });
  const parsed = parseManifest(text, MANIFEST_FILE);
  if (parsed.ok) return parsed.manifest;
  throw new BuildError("manifest_invalid", described(`${MANIFEST_FILE} has errors`, parsed.errors), parsed.errors);
}

/** `file:line:column: message (code)`, the form that editors and terminals link. */
export function diagnosticText(diagnostic: Diagnostic): string {
  const place = diagnostic.line > 0 ? `${diagnostic.file}:${diagnostic.line}:${diagnostic.column}` : diagnostic.file;
  return `${place}: ${diagnostic.message} (${diagnostic.code})`;
}

function described(what: string, diagnostics: readonly Diagnostic[]): string {
  const lines = diagnostics.slice(0, ERRORS_SHOWN_MAX).map(diagnosticText);
  const more = diagnostics.length - lines.length;
  return [`${what}:`, ...lines, ...(more > 0 ? [`and ${more} more`] : [])].join("\n");
}

/** Errors in our entry mean that the author's module does not export what the kind needs. */
function compileError(entry: string, kind: WorkloadKind, found: readonly Diagnostic[]): BuildError {
  const own = found.filter(({ file }) => file !== ENTRY_FILE);
  const first = found[0];
  if (own.length > 0) {
    const code = ["import_unknown", "assets_invalid"].find((one) => own.every((diagnostic) => diagnostic.code === one)) ?? "compile_error";
    return new BuildError(code, described("The program does not compile", own), own);
  }
  const message = `a ${kind} needs: ${EXPORT_EXPECTED[kind]} (${first?.message ?? "missing"})`;
  const diagnostics = [{ file: entry, line: 1, column: 1, code: "entry_export", message }];
  return new BuildError("entry_export", described(`${entry} does not export what a ${kind} needs`, diagnostics), diagnostics);
}

function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

let worker: Worker | null = null;
let queue: Promise<unknown> = Promise.resolve();

function enqueue(job: CompileJob): Promise<CompileResult> {
  const result = queue.then(() => compileInWorker(job));
  queue = result.catch(() => undefined);
  return result;
}

async function compileInWorker(job: CompileJob): Promise<CompileResult> {
  const thread = (worker ??= startWorker());
  thread.ref();
  const { promise, resolve, reject } = Promise.withResolvers<CompileResult>();
  const timer = setTimeout(() => {
    reject(new BuildError("build_timeout", `Cannot build ${job.directory} as it takes over ${COMPILE_TIME_MS_MAX / 1000} s`));
  }, COMPILE_TIME_MS_MAX);
  const crashed = (reason: string): void => reject(new BuildError("build_crashed", `Cannot build ${job.directory} as the compiler crashed: ${reason}`));
  const onMessage = (message: { result: CompileResult } | { crash: string }): void => {
    if ("result" in message) resolve(message.result);
    else crashed(message.crash);
  };
  const onError = (error: Error): void => crashed(error.message);
  const onExit = (): void => crashed("its thread ended");
  thread.on("message", onMessage).on("error", onError).on("exit", onExit);
  try {
    thread.postMessage(job);
    return await promise;
  } catch (error) {
    worker = null; // Whatever happened to it, the next build starts with a clean one.
    await thread.terminate();
    throw error;
  } finally {
    clearTimeout(timer);
    thread.off("message", onMessage).off("error", onError).off("exit", onExit);
    thread.unref();
  }
}

function startWorker(): Worker {
  // What the compiler prints when it crashes is not for the user's terminal. Reading it would keep the process alive.
  return new Worker(new URL("./compile-worker.ts", import.meta.url), { stdout: true, stderr: true });
}
