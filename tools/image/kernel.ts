/**
 * The kernel: Debian's source package with our fragment on top of `make tinyconfig`, built once and kept under a key of its inputs.
 *
 * Bit-identical for the same source, fragment, flags and compiler. Ten minutes on two cores; everything else of an image takes one.
 * An option of the fragment that the kernel's own dependencies drop is an error, and not found out on a machine.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdir, readFile, rename, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { ImageError } from "./errors.ts";
import { unpacked } from "./packages.ts";
import { KERNEL_SOURCE } from "./pins.ts";
import { run } from "./processes.ts";

const FRAGMENT = join(import.meta.dirname, "kernel.fragment");
const FLAGS = { KBUILD_BUILD_TIMESTAMP: "2026-01-01 00:00:00 UTC", KBUILD_BUILD_USER: "godwit", KBUILD_BUILD_HOST: "godwit" };
/** Progress is told by objects compiled; the number is that of this source and fragment, near enough. */
const OBJECTS = 2_400;
const TELL_EVERY_MS = 5_000;

export type Kernel = { readonly file: string; readonly key: string };

/** What a kernel is kept under. The compiler is not part of it, as the products of cargo are not keyed by rustc: it is in the SBOM. */
export async function kernelKey(): Promise<string> {
  const hash = createHash("sha256");
  for (const part of [KERNEL_SOURCE.sha256, await readFile(FRAGMENT), JSON.stringify(FLAGS)]) hash.update(part).update("\0");
  return hash.digest("hex").slice(0, 16);
}

/** What compiled it; null: a kernel without its configuration. */
export async function compilerOf(cache: string): Promise<string | null> {
  const config = await readFile(join(cache, "kernel", `${await kernelKey()}-config`), "utf8").catch(() => "");
  return /^CONFIG_CC_VERSION_TEXT="(.*)"$/m.exec(config)?.[1] ?? null;
}

export async function kernelInCache(cache: string): Promise<Kernel | null> {
  const key = await kernelKey();
  const file = join(cache, "kernel", `${key}-bzImage`);
  return existsSync(file) ? { file, key } : null;
}

export async function buildKernel(cache: string, log: (line: string) => void, again = false): Promise<Kernel> {
  const there = again ? null : await kernelInCache(cache);
  if (there !== null) return there;
  const key = await kernelKey();
  const work = join(cache, "kernel", `work-${process.pid}`);
  await mkdir(join(work, "out"), { recursive: true });
  try {
    log(`kernel: fetching ${KERNEL_SOURCE.name} ${KERNEL_SOURCE.version} (146 MB)`);
    const files = await unpacked(KERNEL_SOURCE, cache);
    await run("tar", ["-xf", join(files, "usr", "src", `${KERNEL_SOURCE.name}.tar.xz`), "-C", work]);
    const source = join(work, KERNEL_SOURCE.name);
    const make = (...words: string[]): Promise<string> => run("make", ["-C", source, `O=${join(work, "out")}`, ...words], { environment: FLAGS });
    await make("tinyconfig");
    await run(join(source, "scripts", "kconfig", "merge_config.sh"), ["-m", ".config", FRAGMENT], { cwd: join(work, "out"), environment: FLAGS });
    await make("olddefconfig");
    await checkFragment(join(work, "out", ".config"));
    await compile(source, join(work, "out"), log);
    const file = join(cache, "kernel", `${key}-bzImage`);
    await copyFile(join(work, "out", ".config"), join(cache, "kernel", `${key}-config`));
    await copyFile(join(work, "out", "arch", "x86", "boot", "bzImage"), `${file}.${process.pid}`);
    await rename(`${file}.${process.pid}`, file);
    return { file, key };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function compile(source: string, out: string, log: (line: string) => void): Promise<void> {
  const begun = Date.now();
  let objects = 0;
  let told = begun;
  const onLine = (line: string): void => {
    if (/^\s+(CC|AS|LD)\s/.test(line)) objects += 1;
    if (Date.now() - told < TELL_EVERY_MS) return;
    told = Date.now();
    log(`kernel: ${Math.min(99, Math.floor((objects * 100) / OBJECTS))} %, ${Math.round((told - begun) / 1000)} s`);
  };
  await run("nice", ["-n", "10", "make", "-C", source, `O=${out}`, `-j${availableParallelism()}`, "bzImage"], { environment: FLAGS, onLine });
}

/** Every line of the fragment is in the configuration that came out. */
async function checkFragment(configFile: string): Promise<void> {
  const made = new Set((await readFile(configFile, "utf8")).split("\n"));
  const wanted = (await readFile(FRAGMENT, "utf8")).split("\n").filter((line) => /^(CONFIG_|# CONFIG_\w+ is not set)/.test(line));
  const dropped = wanted.filter((line) => !made.has(line) && !(line.endsWith("is not set") && ![...made].some((other) => other.startsWith(`${line.split(" ")[1]}=`))));
  if (dropped.length > 0) throw new ImageError("kernel_option_dropped", `Cannot build the kernel as its fragment says: ${dropped.join(", ")} did not take`);
}
