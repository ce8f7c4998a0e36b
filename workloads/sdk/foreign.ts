/**
 * Programs of other languages: their own toolchain builds them, and what it writes is taken as it is.
 *
 * A component goes through unchanged. A core module of WASI 0.1 (Go, C, Zig) becomes a component by the adapter that comes with jco,
 * read by package path. A word `{wit}` of the command is the folder with the worlds' WIT; `{wit@0.2.10}` has another release of WASI 0.2, for
 * a toolchain that knows only that one. The command is the author's own, on the author's own computer; no shell reads it.
 */
import { spawn } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { findPackageJSON } from "node:module";
import { dirname, join } from "node:path";
import { BuildError } from "./buildError.ts";
import { type WorkloadKind, WASI_VERSION, witSource } from "./worlds.ts";

/** A first `cargo build` fetches and compiles everything. */
const COMMAND_TIME_MS_MAX = 600_000;
/** Of what the command prints: the end of it has the error. */
const OUTPUT_CHARACTERS_KEPT = 8_000;
const MAGIC_CORE = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
const WASI_01 = "wasi_snapshot_preview1";

/** Runs `command` in the project, if there is one, and reads the component. */
export async function buildForeign(directory: string, file: string, command: readonly string[], kind: WorkloadKind, signal?: AbortSignal): Promise<Uint8Array> {
  if (command.length > 0) await run(directory, command, signal);
  const bytes = await readFile(join(directory, file)).catch(() => {
    const message = command.length > 0 ? `${command[0]} did not write it` : "this file is not there: build it first, or name the command as build";
    throw new BuildError("component_missing", `Cannot build ${directory} as its component ${file} is not there`, [{ file, line: 0, column: 0, code: "component_missing", message }]);
  });
  const component = new Uint8Array(bytes);
  return MAGIC_CORE.every((byte, i) => component[i] === byte) ? adapted(component, file, kind) : component;
}

/** A program of WASI 0.1 has `main` and no way to be asked over HTTP: it is a task. */
async function adapted(core: Uint8Array, file: string, kind: WorkloadKind): Promise<Uint8Array> {
  const refuse = (message: string): BuildError => new BuildError("component_invalid", `Cannot make a component of ${file}: ${message}`, [{ file, line: 0, column: 0, code: "component_invalid", message }]);
  if (kind !== "task") throw refuse("it is a core module, which can be a task only");
  const manifest = findPackageJSON("@bytecodealliance/jco", import.meta.url);
  if (manifest === undefined) throw new Error("Cannot adapt a program of WASI 0.1 as @bytecodealliance/jco is not installed");
  const adapter = new Uint8Array(await readFile(join(dirname(manifest), "lib", `${WASI_01}.command.wasm`)));
  const { componentNew } = await import("@bytecodealliance/jco-transpile/wasm-tools");
  return componentNew(core, [[WASI_01, adapter]]).catch((error: unknown) => {
    throw refuse(error instanceof Error ? error.message : String(error));
  });
}

const WIT_WORD = /^\{wit(?:@(0\.2\.\d{1,3}))?\}$/;

/** The word, or for `{wit}` the folder that it stands for, made anew. */
async function resolved(directory: string, word: string): Promise<string> {
  const match = WIT_WORD.exec(word);
  if (match === null) return word;
  const version = match[1] ?? WASI_VERSION;
  const folder = join(directory, ".godwit", `wit-${version}`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "worlds.wit"), (await witSource()).replaceAll(`@${WASI_VERSION}`, `@${version}`));
  return folder;
}

async function run(directory: string, command: readonly string[], signal: AbortSignal | undefined): Promise<void> {
  const [program = "", ...args] = await Promise.all(command.map((word) => resolved(directory, word)));
  const child = spawn(program, args, { cwd: directory, stdio: ["ignore", "pipe", "pipe"], timeout: COMMAND_TIME_MS_MAX, killSignal: "SIGKILL" });
  const stop = (): void => void child.kill("SIGTERM");
  signal?.addEventListener("abort", stop, { once: true });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text: string) => (output = (output + text).slice(-OUTPUT_CHARACTERS_KEPT)));
  const how = await new Promise<string | null>((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", (code, signal) => resolve(code === 0 ? null : `it ended with ${signal ?? code}`));
  });
  signal?.removeEventListener("abort", stop);
  if (how !== null) throw new BuildError("build_failed", `Cannot build ${directory} by ${[program, ...args].join(" ")}: ${how}${output === "" ? "" : `\n${output.trimEnd()}`}`);
}
