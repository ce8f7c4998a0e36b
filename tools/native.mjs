/**
 * Builds the native products (addon, runner, compiler, the check of signatures) once per state of their sources, and says how far it is.
 *
 * Plain JavaScript for any Node ≥ 18: the set-up calls it before the pinned Node is there. Products lie in the user's cache,
 * outside of the repository, so a fresh clone of the same sources builds nothing. Clones with other sources share cargo's folder,
 * so one builds at a time, from the first crate to the copy of the products. Two runs of cargo, not one: in one, the features of
 * all packages are joined, and the runner would carry a compiler.
 */
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { cacheDirectory, nativeDirectory, workspaceDirectory } from "#sandbox/native/directory.mjs";
import { withFileLock } from "./fileLock.mjs";

export { nativeDirectory };

const RUST_MINOR_MIN = 95;
const PROGRESS_EVERY_MS = 2000;
/** States of the sources whose products are kept, by when they were last wanted; some 25 MB each. */
const PRODUCTS_KEPT = 6;
const PRODUCTS = { addon: "godwit.node", runner: "godwit-runner", compiler: "godwit-compiler", verify: "godwit-verify.node" };
const BUILT_AS = { addon: "libgodwit.so", runner: "godwit-runner", compiler: "godwit-compiler", verify: "libgodwit_verify.so" };
/** What runs guests is linked as one: a tenth less CPU for each request, and a smaller runner. The compiler is not worth the minutes. */
export const LINKED_AS_ONE = { CARGO_PROFILE_RELEASE_LTO: "fat", CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "1" };
/** As if it were set for the compiler: curve25519-dalek has its code for AVX-512 then, beside the others, and chooses when it runs. Without, it looks at what the compiler may use everywhere. */
const WITH_AVX512 = { CARGO_CFG_CURVE25519_DALEK_BACKEND: "avx512" };
const STEPS = [
  { packages: ["godwit-compiler"], profile: {} },
  { packages: ["godwit-addon", "godwit-runner", "godwit-verify"], profile: { ...LINKED_AS_ONE, ...WITH_AVX512 } },
];

export class NativeError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "NativeError";
    this.code = code;
  }
}

/** @returns {Promise<{addon: string, runner: string, compiler: string, verify: string, built: boolean}>} */
export async function buildNative({ log = () => {} } = {}) {
  const directory = nativeDirectory();
  const paths = Object.fromEntries(Object.entries(PRODUCTS).map(([name, file]) => [name, join(directory, file)]));
  if (isBuilt(directory)) return { ...paths, built: false };
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new NativeError("platform_unknown", `The native sandbox is for Linux on x86_64, not ${process.platform} on ${process.arch}`);
  }
  checkCargo();
  const target = join(cacheDirectory(), "target");
  mkdirSync(target, { recursive: true });
  const waiting = (pid) => log(`native: waiting for process ${pid}, which builds`);
  const built = await withFileLock(join(cacheDirectory(), "native.lock"), () => buildLocked(directory, target, log), { waiting });
  return { ...paths, built };
}

/**
 * What of the native parts is tested in Rust, unoptimised: what it needs is built once for all clones (two minutes), a change of ours
 * again in a quarter of one. Says all that cargo said.
 *
 * @returns {Promise<{code: number | null, text: string}>}
 */
export async function testNative({ log = () => {} } = {}) {
  checkCargo();
  const target = join(cacheDirectory(), "target");
  mkdirSync(target, { recursive: true });
  const waiting = (pid) => log(`native: waiting for process ${pid}, which builds`);
  return withFileLock(join(cacheDirectory(), "native.lock"), () => new Promise((resolve, reject) => {
    const child = spawn("cargo", ["test", "--locked", "--lib", "-p", "godwit-core", "--features", "run,compile"], {
      cwd: workspaceDirectory,
      env: { ...process.env, CARGO_TARGET_DIR: target, CARGO_TERM_COLOR: "never" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (part) => (text += part));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, text }));
  }), { waiting });
}

/** Tells the products in use from those of sources that are no more. */
function isBuilt(directory) {
  if (!existsSync(join(directory, "engine"))) return false;
  try {
    utimesSync(directory, new Date(), new Date());
  } catch {
    // Those of the machine image are nobody's to change.
  }
  return true;
}

async function buildLocked(directory, target, log) {
  if (isBuilt(directory)) return false;
  const begun = Date.now();
  for (const [index, { packages, profile }] of STEPS.entries()) {
    await cargo(packages, profile, target, (done, total) => {
      const seconds = Math.round((Date.now() - begun) / 1000);
      log(`native: step ${index + 1} of ${STEPS.length}, ${done}/${total} crates, ${seconds} s`);
    });
  }
  install(directory, target);
  prune(directory);
  log(`native: built in ${Math.round((Date.now() - begun) / 1000)} s`);
  return true;
}

function checkCargo() {
  const { stdout, error } = spawnSync("cargo", ["--version"], { cwd: workspaceDirectory, encoding: "utf8" });
  const version = /^cargo 1\.(\d+)/.exec(stdout ?? "");
  if (!error && version && Number(version[1]) >= RUST_MINOR_MIN) return;
  const found = version ? `found ${stdout.trim()}` : "found none";
  throw new NativeError("cargo_missing", `Godwit's sandbox needs Rust 1.${RUST_MINOR_MIN} or newer with cargo and a C compiler (${found}): install it from https://rustup.rs`);
}

function cargo(packages, profile, target, progress) {
  const environment = {
    ...process.env,
    ...profile,
    CARGO_TARGET_DIR: target,
    // Cargo draws its bar for us to read; without a terminal it would not.
    CARGO_TERM_PROGRESS_WHEN: "always",
    CARGO_TERM_PROGRESS_WIDTH: "100",
    CARGO_TERM_COLOR: "never",
  };
  const child = spawn("cargo", ["build", "--release", "--locked", ...packages.flatMap((name) => ["-p", name])], {
    cwd: workspaceDirectory,
    env: environment,
    stdio: ["ignore", "ignore", "pipe"],
  });
  return new Promise((resolve, reject) => {
    let tail = "";
    let told = 0;
    child.stderr.setEncoding("utf8").on("data", (text) => {
      tail = (tail + text).slice(-8000);
      const counts = [...text.matchAll(/(\d+)\/(\d+)/g)].pop();
      if (!counts || Date.now() - told < PROGRESS_EVERY_MS) return;
      told = Date.now();
      progress(Number(counts[1]), Number(counts[2]));
    });
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) return resolve();
      const lines = tail.split(/[\r\n]+/).filter((line) => line && !/^\s*Building \[/.test(line));
      reject(new NativeError("build_failed", `cargo build failed (${code}):\n${lines.slice(-30).join("\n")}`));
    });
  });
}

/** All or nothing: a folder that is there is complete. */
function install(directory, target) {
  const staged = `${directory}.${process.pid}`;
  rmSync(staged, { recursive: true, force: true });
  mkdirSync(staged, { recursive: true });
  for (const [name, file] of Object.entries(PRODUCTS)) copyFileSync(join(target, "release", BUILT_AS[name]), join(staged, file));
  const { stdout } = spawnSync(join(staged, PRODUCTS.compiler), ["--engine"], { encoding: "utf8" });
  if (!stdout) throw new NativeError("build_failed", "The compiler that was built does not run");
  writeFileSync(join(staged, "engine"), stdout.trim());
  try {
    renameSync(staged, directory);
  } catch (error) {
    // Somebody else was faster.
    rmSync(staged, { recursive: true, force: true });
    if (!existsSync(join(directory, "engine"))) throw error;
  }
}

/** Products of older sources go, but never those that a running machine would start its next runner from. */
function prune(directory) {
  const parent = dirname(directory);
  const running = new Set(executables().filter((path) => path.startsWith(`${parent}/`)).map((path) => basename(dirname(path))));
  const folders = readdirSync(parent).map((name) => ({ name, usedMs: statSync(join(parent, name)).mtimeMs })).sort((a, b) => b.usedMs - a.usedMs);
  for (const { name } of folders.slice(PRODUCTS_KEPT)) {
    if (!running.has(name) && name !== basename(directory)) rmSync(join(parent, name), { recursive: true, force: true });
  }
}

/** The programs that run, as far as we may know. */
function executables() {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
    try {
      return [readlinkSync(`/proc/${pid}/exe`)];
    } catch {
      return [];
    }
  });
}
