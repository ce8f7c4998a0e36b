/** Where the native products are. tools/native.mjs makes them. */
import { existsSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { cacheDirectory, nativeDirectory } from "./native/directory.mjs";
import { SandboxError } from "./errors.ts";

export type NativePaths = { readonly addon: string; readonly runner: string; readonly compiler: string; readonly verify: string };

export function nativePaths(): NativePaths {
  const directory = nativeDirectory();
  return {
    addon: join(directory, "godwit.node"),
    runner: join(directory, "godwit-runner"),
    compiler: join(directory, "godwit-compiler"),
    verify: join(directory, "godwit-verify.node"),
  };
}

/** Where compiled code goes when the caller does not care. */
export const defaultCacheDirectory = (): string => join(cacheDirectory(), "code");

let engine: string | undefined;
/** What code is good for: version and settings of the code generator, and the processor whose instructions it uses. */
export function engineId(): string {
  if (engine === undefined) {
    let version: string;
    try {
      version = readFileSync(join(nativeDirectory(), "engine"), "utf8").trim();
    } catch (cause) {
      throw missing(cause);
    }
    const processor = (cpus()[0]?.model ?? "unknown").replace(/[^A-Za-z0-9]+/g, "-");
    engine = `${version}-${processor}`;
  }
  return engine;
}

/** Whether this computer has the native engine; tools/native.mjs writes the file `engine` last. */
export const isNativeBuilt = (): boolean => existsSync(join(nativeDirectory(), "engine"));

export const missing = (cause: unknown): SandboxError =>
  new SandboxError("native_missing", "The native parts of the sandbox are not built: run `npm start` or `npm test` once", { cause });
