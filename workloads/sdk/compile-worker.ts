/**
 * The thread that compiles: AssemblyScript → core module → component, one program at a time, warm between programs.
 *
 * A thread of its own because a compiler crash ends the process it is in (asc calls exit) and a panic inside wasm-tools leaves
 * it unusable; the build then throws the thread away. The same sources give the same bytes: no time, path or random number
 * goes in, and the paths in abort messages are relative to the project.
 */
import { readFile } from "node:fs/promises";
import { readFileSync, readdirSync } from "node:fs";
import { findPackageJSON } from "node:module";
import { dirname, join } from "node:path";
import { parentPort } from "node:worker_threads";
import { componentEmbed, componentNew } from "@bytecodealliance/jco-transpile/wasm-tools";
import { assetsModule, NO_ASSETS_MODULE } from "./assets.ts";
import { coverageTransform, type Line } from "./coverage.ts";
import { ENTRY_FILE, entrySource, EXPORTS, testEntrySource } from "./entry.ts";
import type { Symbols } from "./symbols.ts";
import { splitSymbols, withoutNames } from "./symbols.ts";
import type { WorkloadKind } from "./worlds.ts";
import { witSource } from "./worlds.ts";

export type CompileJob = {
  readonly directory: string;
  readonly entry: string;
  readonly kind: WorkloadKind;
  readonly optimise: boolean;
  /** Folder of files that go into the component, a path from `directory`. */
  readonly assets?: string;
  /** Modules of tests; then they are built, and `entry` is only what messages name. */
  readonly tests?: readonly string[];
  /** The program tells which of the author's lines it reaches. */
  readonly coverage?: boolean;
};

/** Where in the sources something is wrong; line and column count from 1, and 0 means the whole file. */
export type Diagnostic = {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly code: string;
  readonly message: string;
};

export type CompileResult =
  | { readonly ok: true; readonly component: Uint8Array; readonly symbols: Symbols | null; readonly warnings: Diagnostic[]; /** With coverage: what the numbers of lines mean. */ readonly lines: Line[] }
  | { readonly ok: false; readonly diagnostics: Diagnostic[] };

type AscRange = { start: number; source: { normalizedPath: string } | null };
type AscDiagnostic = { message: string; code: number; category: number; range: AscRange | null };
type BinaryenModule = {
  getExport(name: string): number;
  removeExport(name: string): void;
  addFunctionExport(internal: string, external: string): number;
};
type Asc = {
  libraryFiles: Record<string, string>;
  main(
    args: string[],
    options: {
      readFile(name: string, base: string): Promise<string | null>;
      writeFile(name: string, contents: Uint8Array | string): void;
      listFiles(): string[];
      reportDiagnostic(diagnostic: AscDiagnostic): void;
      transforms: object[];
    },
  ): Promise<{ error: Error | null }>;
};
const ASC_ERROR = 3; // asc's DiagnosticCategory.Error

// The specifier is a variable because the compiler's own declarations would put i32, max and all its globals into our scope.
const ascSpecifier = "assemblyscript/asc";
const asc: Asc = await import(ascSpecifier);

/** Our part of `~lib`: imported as "godwit/http" and so on, from any folder. */
function addLibrary(folder: string, prefix: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const name = entry.name.replace(/\.ts$/, "");
    if (entry.isDirectory()) addLibrary(join(folder, entry.name), name === "bindings" ? "bindings/" : `${prefix}${name}/`);
    else if (entry.name.endsWith(".ts")) asc.libraryFiles[`${prefix}${name}`] = readFileSync(join(folder, entry.name), "utf8");
  }
}
addLibrary(join(import.meta.dirname, "assembly"), "godwit/");

/** json-as lies beside it, so that what it makes of a program does not depend on the folder where it is installed. */
for (const [name, folders] of Object.entries({ "json-as": ["assembly", "lib"], "xjb-as": ["assembly"] })) {
  const folder = dirname(findPackageJSON(name, import.meta.url) ?? "");
  asc.libraryFiles[`${name}/index`] = readFileSync(join(folder, "index.ts"), "utf8");
  for (const inner of folders) addLibrary(join(folder, inner), `${name}/${inner}/`);
}

/**
 * incremental: a program may run long and allocate much in one call. 4 pages to begin with put the collector's first step at
 * about 100 KiB of garbage, so a short request never pays for one.
 */
const FLAGS = [
  "--outFile", "core.wasm", "--debug", "--sourceMap", "--exportStart", "_initialize", "--runtime", "incremental", "--initialMemory", "4",
  "--use", "abort=~lib/godwit/runtime/abort", "--use", "seed=~lib/godwit/runtime/seed", "--use", "trace=~lib/godwit/runtime/trace",
];

function flags(optimise: boolean): string[] {
  return [...FLAGS, "--optimizeLevel", optimise ? "3" : "0", "--shrinkLevel", optimise ? "0" : "0"];
}

async function compile(job: CompileJob): Promise<CompileResult> {
  const diagnostics: Diagnostic[] = [];
  const warnings: Diagnostic[] = [];
  const texts = new Map<string, string>();
  let core: Uint8Array | null = null;
  let map = "";

  const place = (range: AscRange | null): { file: string; line: number; column: number } => {
    const file = range?.source?.normalizedPath;
    if (range === null || file === undefined) return { file: job.entry, line: 0, column: 0 };
    const text = texts.get(file) ?? asc.libraryFiles[file.replace(/^~lib\//, "").replace(/\.ts$/, "")] ?? "";
    return { file, ...position(text, range.start) };
  };

  const assets = job.assets === undefined ? { text: NO_ASSETS_MODULE } : await assetsModule(join(job.directory, job.assets));
  if ("refusal" in assets) return { ok: false, diagnostics: [{ file: job.assets ?? "", line: 0, column: 0, code: "assets_invalid", message: assets.refusal }] };
  asc.libraryFiles["godwit/assets/files"] = assets.text;
  const lines: Line[] = [];
  const covering = job.coverage === true ? [await coverageTransform(lines, isCovered)] : [];
  const { error } = await asc.main([ENTRY_FILE, ...flags(job.optimise)], {
    async readFile(name, base) {
      const text = name === ENTRY_FILE ? await entryText(job) : await readSource(join(job.directory, base, name));
      if (text !== null) texts.set(name, text);
      return text;
    },
    writeFile(_name, contents) {
      if (contents instanceof Uint8Array) core = contents;
      else map = contents;
    },
    listFiles: () => [],
    reportDiagnostic(diagnostic) {
      const found = { ...place(diagnostic.range), code: `AS${diagnostic.code}`, message: diagnostic.message };
      (diagnostic.category === ASC_ERROR ? diagnostics : warnings).push(found);
    },
    transforms: [...covering, (await import("json-as" as string)).default, renameExports(EXPORTS[job.kind])],
  });
  if (diagnostics.length > 0) return { ok: false, diagnostics };
  if (error !== null) throw error;
  if (core === null) throw new Error("The compiler wrote no module");

  try {
    const split = splitSymbols(core, map);
    const binary = await componentEmbed({ binary: split.core, witSource: await witSource(), world: job.kind, stringEncoding: "utf8" });
    const component = withoutNames(await componentNew(binary));
    return { ok: true, component, symbols: split.symbolsFor(component), warnings, lines };
  } catch (cause) {
    const unknown = unknownImport(String(cause), job, texts);
    if (unknown === null) throw cause;
    return { ok: false, diagnostics: [unknown] };
  }
}

async function entryText({ directory, entry, kind, tests, coverage }: CompileJob): Promise<string> {
  const text = tests === undefined ? entrySource(kind, entry, (await readSource(join(directory, entry))) ?? "") : testEntrySource(tests);
  return coverage === true ? `import "godwit/coverage";\n${text}` : text;
}

/** The author's own modules, without tests and what they are made of. */
const isCovered = (file: string): boolean => !file.startsWith("~lib/") && !file.includes("node_modules/") && !file.endsWith(".test.ts") && file !== ENTRY_FILE;

/** An import that the world does not have, out of wasm-tools' error, at the place where the author declares it. */
function unknownImport(error: string, job: CompileJob, texts: ReadonlyMap<string, string>): Diagnostic | null {
  const [, module, name] = /failed to resolve import `(.+)::(.+?)`/.exec(error) ?? [];
  if (module === undefined || name === undefined) return null;
  const problem = { code: "import_unknown", message: `a ${job.kind} cannot import "${name}" from "${module}": its world does not have it` };
  for (const [file, text] of texts) {
    for (const sign of [`"${name}"`, `function ${name}(`]) {
      const at = file === ENTRY_FILE ? -1 : text.indexOf(sign);
      if (at >= 0) return { file, ...position(text, at), ...problem };
    }
  }
  return { file: job.entry, line: 0, column: 0, ...problem };
}

function position(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset).split("\n");
  return { line: before.length, column: (before.at(-1) ?? "").length + 1 };
}

/** A transform of asc: it runs after compilation and before optimisation. */
function renameExports(names: Readonly<Record<string, string>>): object {
  return {
    async afterCompile(this: { binaryen?: unknown }, module: BinaryenModule): Promise<void> {
      for (const [from, to] of Object.entries(names)) {
        // An export of the entry has the internal name "<file>/<identifier>".
        module.removeExport(from);
        module.addFunctionExport(`${ENTRY_FILE.replace(/\.ts$/, "")}/${from}`, to);
      }
    },
  };
}

async function readSource(path: string): Promise<string | null> {
  if (!path.endsWith(".ts")) return null; // An asconfig.json of the project must not change what is built.
  try {
    return await readFile(path, "utf8");
  } catch {
    return null; // asc asks for several names until one is there.
  }
}

parentPort?.on("message", async (job: CompileJob) => {
  try {
    parentPort?.postMessage({ result: await compile(job) });
  } catch (error) {
    parentPort?.postMessage({ crash: error instanceof Error ? error.message : String(error) });
  }
});
