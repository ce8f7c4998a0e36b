/**
 * PID 1 of the image, built from `sandbox/native/init`: static, since it runs before the C library's root is in place.
 *
 * Linked by Rust's own linker with a pinned C library: the host's compiler and library have no part in its bytes.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { workspaceDirectory } from "#sandbox/native/directory.mjs";
import { stripElf } from "./elf.ts";
import { ImageError } from "./errors.ts";
import { unpacked } from "./packages.ts";
import { quoted } from "./pinnedTools.ts";
import { STATIC } from "./pins.ts";
import { run } from "./processes.ts";

const TRIPLE = "x86_64-unknown-linux-gnu";
/** Small, without paths of this computer, and at a fixed place: nothing attacks a program that reads only what we wrote. */
const FLAGS = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static", `--remap-path-prefix=${workspaceDirectory}=/`, "-Clinker-flavor=ld", "-Clink-arg=--build-id=none"];
const PROFILE = { CARGO_PROFILE_RELEASE_PANIC: "abort", CARGO_PROFILE_RELEASE_OPT_LEVEL: "s", CARGO_PROFILE_RELEASE_LTO: "fat", CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "1" };

export async function buildInit(cache: string): Promise<Uint8Array> {
  const target = join(cache, "init");
  await mkdir(target, { recursive: true });
  const linker = await writeLinker(target, cache);
  await run("cargo", ["build", "--release", "--locked", "-p", "godwit-init", "--target", TRIPLE], {
    cwd: workspaceDirectory, environment: { ...PROFILE, CARGO_TARGET_DIR: target, CARGO_ENCODED_RUSTFLAGS: [...FLAGS, `-Clinker=${linker}`].join("\u001f") },
  });
  return stripElf(await readFile(join(target, TRIPLE, "release", "godwit-init")));
}

/** What a C compiler would add around Rust's own words for the linker: where a program begins and ends, and its library. */
async function writeLinker(target: string, cache: string): Promise<string> {
  const linker = join((await run("rustc", ["--print", "sysroot"])).trim(), "lib", "rustlib", TRIPLE, "bin", "rust-lld");
  if (!existsSync(linker)) throw new ImageError("tool_missing", `Cannot build PID 1 without ${linker}: it comes with the toolchains of rustup`);
  const [libc, gcc] = await Promise.all(STATIC.map((pin) => unpacked(pin, cache))) as [string, string];
  const [libraries, own] = [join(libc, "usr/lib/x86_64-linux-gnu"), join(gcc, "usr/lib/gcc/x86_64-linux-gnu/12")];
  // libm.a names the others of its package by their whole path.
  const before = [`--sysroot=${libc}`, `${libraries}/crt1.o`, `${libraries}/crti.o`, `${own}/crtbeginT.o`];
  const after = ["-L", libraries, "-L", own, "--start-group", "-lgcc", "-lgcc_eh", "-lc", "--end-group", `${own}/crtend.o`, `${libraries}/crtn.o`];
  const text = `#!/bin/sh\nexec ${quoted([linker, "-flavor", "gnu", ...before])} "$@" ${quoted(after)}\n`;
  // Another library is another linker to cargo, which then links anew; the same one may be at work for somebody else.
  const file = join(target, `link-${createHash("sha256").update(text).digest("hex").slice(0, 16)}`);
  if (existsSync(file)) return file;
  await writeFile(`${file}.${process.pid}`, text);
  await chmod(`${file}.${process.pid}`, 0o755);
  await rename(`${file}.${process.pid}`, file);
  return file;
}
