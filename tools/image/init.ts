/** PID 1 of the image, built from `sandbox/native/init`: static, since it runs before the C library's root is in place. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { workspaceDirectory } from "#sandbox/native/directory.mjs";
import { stripElf } from "./elf.ts";
import { run } from "./processes.ts";

const TRIPLE = "x86_64-unknown-linux-gnu";
/** Small, without paths of this computer, and at a fixed place: nothing attacks a program that reads only what we wrote. */
const FLAGS = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static", `--remap-path-prefix=${workspaceDirectory}=/`, "-Clink-arg=-Wl,--build-id=none"];
const PROFILE = { CARGO_PROFILE_RELEASE_PANIC: "abort", CARGO_PROFILE_RELEASE_OPT_LEVEL: "s", CARGO_PROFILE_RELEASE_LTO: "fat", CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "1" };

export async function buildInit(cache: string): Promise<Uint8Array> {
  const target = join(cache, "init");
  await mkdir(target, { recursive: true });
  await run("cargo", ["build", "--release", "--locked", "-p", "godwit-init", "--target", TRIPLE], {
    cwd: workspaceDirectory, environment: { ...PROFILE, CARGO_TARGET_DIR: target, CARGO_ENCODED_RUSTFLAGS: FLAGS.join("\u001f") },
  });
  return stripElf(await readFile(join(target, TRIPLE, "release", "godwit-init")));
}
