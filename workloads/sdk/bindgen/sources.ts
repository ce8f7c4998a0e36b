/**
 * WIT from disk: a file, or a folder with its dependencies in `deps/` (a file or folder each). What is not there and is WASI
 * comes from the installed jco, which is where the SDK has it from: it is not ours to copy.
 */
import { readFile, readdir, stat } from "node:fs/promises";
import { findPackageJSON } from "node:module";
import { basename, dirname, join } from "node:path";
import { FILES_MAX, SOURCE_LENGTH_MAX } from "./limits.ts";
import { parse } from "./parser.ts";
import { packageText, type WitSources } from "./packages.ts";
import { WitError, type SourceFile } from "./wit-error.ts";

/** The WASI release that completes what is missing. */
export const WASI_VERSION = "0.2.12";
const WASI_PACKAGES = ["cli", "clocks", "filesystem", "http", "io", "random", "sockets"] as const;

/** Reads WIT and everything it depends on. */
export async function readWit(path: string): Promise<WitSources> {
  const main = await readFolder(path, basename(path));
  const folders: SourceFile[][] = [];
  if ((await stat(path)).isDirectory()) {
    const deps = join(path, "deps");
    const names = (await readdir(deps).catch(() => [])).toSorted();
    for (const name of names) {
      const files = await readFolder(join(deps, name), `${basename(path)}/deps/${name}`);
      if (files.length > 0) folders.push(files);
    }
  }
  const own = [...main, ...folders.flat()];
  if (own.length > FILES_MAX) throw tooLarge(path, `there are ${own.length} files, at most ${FILES_MAX} are read`);
  if (own.reduce((sum, { text }) => sum + text.length, 0) > SOURCE_LENGTH_MAX) throw tooLarge(path, `all files together are larger than ${SOURCE_LENGTH_MAX} characters`);
  return withWasi({ main, dependencies: folders });
}

/** Adds the packages of WASI that the sources do not bring themselves. */
export async function withWasi({ main, dependencies }: WitSources): Promise<WitSources> {
  const present = new Set([...main, ...dependencies.flat()].flatMap((file) => parse(file)).flatMap(({ name }) => (name === null ? [] : [`${name.namespace}:${name.name}`])));
  const missing = WASI_PACKAGES.filter((name) => !present.has(`wasi:${name}`));
  return { main, dependencies: [...dependencies, ...await Promise.all(missing.map(async (name) => [await wasiFile(name)]))] };
}

async function wasiFile(name: string): Promise<SourceFile> {
  const manifest = findPackageJSON("@bytecodealliance/jco", import.meta.url);
  if (manifest === undefined) throw new Error("Cannot find the WIT of WASI as @bytecodealliance/jco is not installed");
  const path = join(dirname(manifest), "lib/wit/builtin", WASI_VERSION, `wasi-${name}`, "package.wit");
  return { name: `wasi:${name}@${WASI_VERSION}`, text: await readFile(path, "utf8") };
}

/** The WIT files of one folder, or one file. */
async function readFolder(path: string, name: string): Promise<SourceFile[]> {
  const found = await stat(path);
  if (!found.isDirectory()) return name.endsWith(".wit") ? [await readSource(path, name, found.size)] : [];
  const names = (await readdir(path)).filter((file) => file.endsWith(".wit")).toSorted();
  if (names.length > FILES_MAX) throw tooLarge(name, `there are ${names.length} files, at most ${FILES_MAX} are read`);
  const files: SourceFile[] = [];
  for (const file of names) files.push(await readSource(join(path, file), `${name}/${file}`, (await stat(join(path, file))).size));
  return files;
}

async function readSource(path: string, name: string, bytes: number): Promise<SourceFile> {
  if (bytes > SOURCE_LENGTH_MAX) throw tooLarge(name, `this file is larger than ${SOURCE_LENGTH_MAX} bytes`);
  return { name, text: await readFile(path, "utf8") };
}

const tooLarge = (name: string, message: string): WitError => new WitError("wit_too_large", { file: { name, text: "" }, offset: 0 }, message);

/**
 * All sources as one text, every package but the main one nested: what componentEmbed takes as `witSource`. Versions that were
 * not at hand read as those that stood in for them (see packages.ts).
 */
export function witText(sources: WitSources, substitutes: ReadonlyMap<string, string> = new Map()): string {
  const main = sources.main.map(split);
  const dependencies = sources.dependencies.flatMap((files) => {
    const parts = files.map(split);
    const bodies = parts.map(({ body }) => body).join("\n");
    const head = parts.find(({ name }) => name !== null)?.name ?? null;
    return head === null ? [bodies] : [`package ${head} {\n${bodies}\n}`];
  });
  const head = main.find(({ name }) => name !== null)?.name ?? null;
  let text = [...(head === null ? [] : [`package ${head};`]), ...main.map(({ body }) => body), ...dependencies].join("\n");
  for (const [asked, given] of substitutes) {
    const [name = "", version = ""] = asked.split("@");
    const pattern = new RegExp(`(${escaped(name)}/[\\w-]+)@${escaped(version)}(?![\\w-]|\\.\\d)`, "g");
    text = text.replace(pattern, `$1@${given.split("@")[1] ?? ""}`);
  }
  return text;
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** The package that a file says it is, and the file without saying so. */
function split(file: SourceFile): { name: string | null; body: string } {
  const [first] = parse(file);
  if (first === undefined || first.name === null) return { name: null, body: file.text };
  const { offset } = first.at;
  const end = file.text.indexOf(";", offset) + 1;
  return { name: packageText(first.name), body: file.text.slice(0, offset) + file.text.slice(end) };
}

/** The text of canonical.ts, which goes beside the generated modules. */
export function readRuntime(): Promise<string> {
  return readFile(new URL("../assembly/canonical.ts", import.meta.url), "utf8");
}
