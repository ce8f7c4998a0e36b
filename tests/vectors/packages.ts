/**
 * Public test vectors, taken from the packages that carry them and kept in the user's cache: they are other people's work and
 * never in this repository. Asked for by exact version through the ordinary client, once.
 */

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const FETCH_TIMEOUT_MS = 120_000;

const cacheFolder = (): string => join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "godwit", "vectors");

/** The unpacked sources of a crate. Throws when cargo cannot have it. */
export function crateFolder(name: string, version: string): string {
  const project = join(cacheFolder(), `${name}-${version}`);
  const folder = join(project, "vendor", name);
  if (existsSync(join(folder, "Cargo.toml"))) return folder;
  mkdirSync(project, { recursive: true });
  writeFileSync(join(project, "lib.rs"), "");
  writeFileSync(join(project, "Cargo.toml"), `[package]
name = "vectors"
version = "0.0.0"
edition = "2021"
[lib]
path = "lib.rs"
[dependencies]
${name} = { version = "=${version}", default-features = false }
[workspace]
`);
  execFileSync("cargo", ["vendor", "vendor"], { cwd: project, stdio: "pipe", timeout: FETCH_TIMEOUT_MS });
  return folder;
}

/** The unpacked sources of a Go module, in Go's own module cache; null without Go. Throws when Go cannot have it. */
export function goModuleFolder(path: string, version: string): string | null {
  try {
    execFileSync("go", ["version"], { stdio: "pipe" });
  } catch {
    return null;
  }
  mkdirSync(cacheFolder(), { recursive: true });
  const output = execFileSync("go", ["mod", "download", "-json", `${path}@${version}`], { cwd: cacheFolder(), stdio: "pipe", timeout: FETCH_TIMEOUT_MS });
  return (JSON.parse(String(output)) as { Dir: string }).Dir;
}
