/**
 * Components of other languages, made of workloads/examples by their own toolchains, once for each state of the sources.
 *
 * Toolchains that are packages are installed into the user's cache and never become dependencies of ours. What a computer lacks
 * is said in a line and not a failure.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { cacheDirectory } from "#sandbox/native/directory.mjs";
import { buildProject } from "#workloads/sdk/build.ts";

export type Language = "rust" | "go" | "python" | "javascript";
export type Made = { readonly component: Uint8Array } | { readonly missing: string };

const ROOT = join(import.meta.dirname, "../..");
const COMPONENTIZE_PY = "0.25.1";
const COMPONENTIZE_JS = "0.23.0";
const INSTALL_TIME_MS_MAX = 300_000;
const exec = promisify(execFile);
const runs = async (program: string, args: readonly string[], cwd?: string): Promise<string | null> =>
  exec(program, args, { timeout: INSTALL_TIME_MS_MAX, ...(cwd !== undefined && { cwd }) }).then(({ stdout }) => stdout, () => null);

/** The folder to add to PATH (empty for none), or what is missing. */
const TOOLCHAINS: Readonly<Record<Language, () => Promise<{ path: string } | { missing: string }>>> = {
  async rust() {
    const root = (await runs("rustc", ["--print", "sysroot"]))?.trim();
    const isThere = root !== undefined && existsSync(join(root, "lib/rustlib/wasm32-wasip2"));
    return isThere ? { path: "" } : { missing: "Rust with the target wasm32-wasip2 (rustup target add wasm32-wasip2)" };
  },
  async go() {
    return (await runs("go", ["version"])) === null ? { missing: "Go" } : { path: "" };
  },
  python: () => installed(`componentize-py-${COMPONENTIZE_PY}`, "bin", async (folder) =>
    (await runs("python3", ["-m", "venv", folder])) !== null && (await runs(join(folder, "bin/pip"), ["install", "--quiet", `componentize-py==${COMPONENTIZE_PY}`])) !== null),
  javascript: () => installed(`componentize-js-${COMPONENTIZE_JS}`, "node_modules/.bin", async (folder) =>
    (await runs("npm", ["install", "--no-audit", "--no-fund", "--prefix", folder, `@bytecodealliance/componentize-js@${COMPONENTIZE_JS}`], folder)) !== null),
};

async function installed(name: string, bin: string, install: (folder: string) => Promise<boolean>): Promise<{ path: string } | { missing: string }> {
  const folder = join(cacheDirectory(), "toolchains", name);
  const stamp = join(folder, "installed");
  if (!existsSync(stamp)) {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    if (!(await install(folder))) return { missing: `${name}, which could not be installed` };
    await writeFile(stamp, "");
  }
  return { path: join(folder, bin) };
}

export async function languageGuest(language: Language): Promise<Made> {
  const example = join(ROOT, "workloads/examples", language);
  const file = join(cacheDirectory(), "languages", `${language}-${await keyOf(example)}.wasm`);
  const known = await readFile(file).catch(() => null);
  if (known !== null) return { component: new Uint8Array(known) };
  const made = await withToolchain(language, buildProject);
  if ("missing" in made) return made;
  await mkdir(join(file, ".."), { recursive: true });
  await writeFile(`${file}.${process.pid}`, made.component);
  await rename(`${file}.${process.pid}`, file);
  return { component: made.component };
}

/** Does something with a copy of the example, with the toolchain on the PATH; else says what is missing. */
export async function withToolchain<Result extends object>(language: Language, use: (project: string) => Promise<Result>): Promise<Result | { readonly missing: string }> {
  const toolchain = await TOOLCHAINS[language]();
  if ("missing" in toolchain) return toolchain;
  const project = await mkdtemp(join(tmpdir(), `godwit-${language}-`));
  const pathBefore = process.env["PATH"];
  try {
    await cp(join(ROOT, "workloads/examples", language), project, { recursive: true });
    process.env["PATH"] = [toolchain.path, pathBefore].filter(Boolean).join(delimiter);
    return await use(project);
  } finally {
    process.env["PATH"] = pathBefore;
    await rm(project, { recursive: true, force: true });
  }
}

async function keyOf(example: string): Promise<string> {
  const hash = createHash("sha256").update(`${COMPONENTIZE_PY} ${COMPONENTIZE_JS}`);
  const names = (await readdir(example, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile() && !entry.name.endsWith(".md") && !/target|\.godwit/.test(entry.parentPath));
  for (const path of names.map((entry) => join(entry.parentPath, entry.name)).sort()) hash.update(await readFile(path));
  for (const name of ["sandbox/wit/worlds.wit", "workloads/sdk/foreign.ts", "workloads/sdk/worlds.ts"]) hash.update(await readFile(join(ROOT, name)));
  return hash.digest("hex").slice(0, 16);
}
