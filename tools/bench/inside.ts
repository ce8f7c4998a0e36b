/** Runs `godwit-bench` (sandbox/native/bench): what can only be measured from inside of a process with instances. */
import { execFile, spawn, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheDirectory, workspaceDirectory } from "#sandbox/native/directory.mjs";
import { nativePaths } from "#sandbox/native.ts";
import { LINKED_AS_ONE } from "#tools/native.mjs";
import { COMPILE_CPU_SECONDS_MAX, COMPILE_MEMORY_BYTES_MAX } from "#sandbox/limits.ts";

const run = promisify(execFile);

/** Built as the products are, in the same folder of cargo's, so that only this one small program is new. */
export function buildInside(): string {
  const target = join(cacheDirectory(), "target");
  const { status } = spawnSync("cargo", ["build", "--release", "--locked", "-p", "godwit-bench"], { cwd: workspaceDirectory, env: { ...process.env, ...LINKED_AS_ONE, CARGO_TARGET_DIR: target }, stdio: ["ignore", 2, 2] });
  if (status !== 0) throw new Error("Cannot build godwit-bench: see above");
  return join(target, "release", "godwit-bench");
}

export async function inside<T>(program: string, args: readonly string[]): Promise<T> {
  const { stdout } = await run(program, args);
  return JSON.parse(stdout) as T;
}

/** Code of a component in a file, as the compiler writes it; `metered` as every product is. */
export async function compileTo(file: string, component: Uint8Array, metered: boolean): Promise<string> {
  const child = spawn(nativePaths().compiler, [String(process.pid), String(COMPILE_MEMORY_BYTES_MAX), String(COMPILE_CPU_SECONDS_MAX), ...(metered ? [] : ["--without-fuel"])], { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.end(component);
  const chunks: Uint8Array[] = [];
  for await (const chunk of child.stdout) chunks.push(chunk as Uint8Array);
  const code = Buffer.concat(chunks);
  if (code.length === 0) throw new Error(`Cannot compile ${file}: see above`);
  writeFileSync(file, code);
  return file;
}

/** The same component under another digest: with a custom section of its own at the end. */
export function variant(component: Uint8Array, number: number): Uint8Array {
  const [name, text] = ["bench", String(number).padStart(8, "0")].map((part) => new TextEncoder().encode(part)) as [Uint8Array, Uint8Array];
  return Uint8Array.from([...component, 0, 1 + name.length + text.length, name.length, ...name, ...text]);
}
