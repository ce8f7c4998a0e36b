/**
 * For the tests: bindings of a world → core module → component → an instance in V8. What is slow is kept in the user's cache by
 * a hash of everything that goes into it.
 */
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { generateBindings, type GenerateOptions, type Generated } from "#workloads/sdk/bindgen/generate.ts";
import type { WitSources } from "#workloads/sdk/bindgen/packages.ts";
import { withWasi, witText } from "#workloads/sdk/bindgen/sources.ts";

const ROOT = join(import.meta.dirname, "../../..");
const RUNTIME = join(ROOT, "workloads/sdk/assembly/canonical.ts");

const CACHE = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "godwit", "bindgen");

export type Runtime = "incremental" | "minimal" | "stub";

export type CompileOptions = GenerateOptions & {
  readonly runtime?: Runtime;
  readonly optimise?: boolean;
  /** Modules beside the bindings; "program.ts" is what they call (the stub when it is missing). */
  readonly modules?: Readonly<Record<string, string>>;
  /** A full collection before everything the runtime does: what is freed too early is found at once. */
  readonly isStressed?: boolean;
  /** The runtime gets a function `left`: blocks that are pinned, held or lent. After a call there is none. */
  readonly isCounted?: boolean;
};

type BinaryenModule = { getExport(name: string): number; removeExport(name: string): void; addFunctionExport(internal: string, external: string): number };
type Asc = {
  main(args: string[], options: {
    readFile(name: string): string | null;
    writeFile(name: string, contents: Uint8Array | string): void;
    listFiles(): string[];
    transforms: object[];
  }): Promise<{ error: Error | null; stderr: { toString(): string } }>;
};
type Memory = { readonly buffer: ArrayBuffer };
type Guest = { instantiate(core: (name: string) => object, imports: object, instantiateCore: (module: object, imports: object) => object): Record<string, unknown> };
/** Node has it; its types come with those of browsers only. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: Readonly<Record<string, Memory | undefined>> };
};

const ascSpecifier = "assemblyscript/asc";

export const sources = (main: string, ...dependencies: string[]): WitSources => ({
  main: [{ name: "main.wit", text: main }],
  dependencies: dependencies.map((text, i) => [{ name: `dep${i}.wit`, text }]),
});

/** The core module of a world's bindings with a program. */
export async function compileCore(wit: WitSources, options: CompileOptions = {}): Promise<{ core: Uint8Array; generated: Generated }> {
  const generated = generateBindings(wit, options);
  const files: Record<string, string> = { "gen/canonical.ts": await runtimeText(options) };
  for (const [path, text] of generated.files) files[`gen/${path}`] = text;
  files["program.ts"] = (generated.files.get("stub.ts") ?? "").replaceAll('from "./', 'from "./gen/');
  for (const [path, text] of Object.entries(options.modules ?? {})) files[path] = text;
  const flags = [
    "gen/world.ts", "--outFile", "core.wasm", "--exportStart", "_initialize", "--runtime", options.runtime ?? "incremental", "--use", "abort=gen/canonical/abort",
    "--optimizeLevel", options.optimise === true ? "3" : "0", "--noColors", "--disableWarning",
  ];
  const key = await keyOf(JSON.stringify([files, flags, generated.exportNames]));
  const core = await cached(`${key}.core.wasm`, () => runAsc(flags, files, generated.exportNames));
  return { core, generated };
}

async function runAsc(flags: string[], files: Readonly<Record<string, string>>, names: Readonly<Record<string, string>>): Promise<Uint8Array> {
  const asc: Asc = await import(ascSpecifier);
  let core: Uint8Array | null = null;
  const rename_ = {
    async afterCompile(this: { binaryen?: unknown }, module: BinaryenModule): Promise<void> {
      for (const [from, to] of Object.entries(names)) {
        module.removeExport(from);
        module.addFunctionExport(`gen/world/${from}`, to);
      }
    },
  };
  const { error, stderr } = await asc.main(flags, {
    readFile: (name) => files[name] ?? null,
    writeFile(_name, contents) {
      if (contents instanceof Uint8Array) core = contents;
    },
    listFiles: () => [],
    transforms: [rename_],
  });
  if (error !== null || core === null) throw new Error(`asc: ${stderr.toString().slice(0, 4_000)}`, { cause: error });
  return core;
}

async function runtimeText({ isStressed, isCounted }: CompileOptions): Promise<string> {
  let text = await readFile(RUNTIME, "utf8");
  // In functions only: a constructor or a class may run where an object is half made.
  if (isStressed === true) text = text.replace(/^(export function (?!abort|end|setTakingBack)[^{]*\{)$/gm, "$1 __collect();").replace("return moved;", "__collect(); return moved;");
  if (isCounted === true) {
    text = `${text.replace(/\b__(pin|unpin)\(/g, "_$1(")}
let pins: i32 = 0;
function _pin(pointer: usize): usize { pins++; return __pin(pointer); }
function _unpin(pointer: usize): void { pins--; __unpin(pointer); }
export function left(): i32 { return pins + held.length + borrowed.length; }
`;
  }
  return text;
}

/** A program of the folder assembly/, whose bindings will be in gen/. */
export async function program(name: string): Promise<string> {
  return (await readFile(join(import.meta.dirname, "assembly", `${name}.ts`), "utf8")).replaceAll('"../gen/', '"./gen/');
}

/** What belongs to a key of the cache beside what is compiled. */
let versionsRead: Promise<string> | null = null;
const versions = (): Promise<string> => (versionsRead ??= Promise.all(["assemblyscript", "@bytecodealliance/jco-transpile", "@bytecodealliance/jco"].map((name) => readFile(join(ROOT, "node_modules", name, "package.json"), "utf8"))).then((texts) => texts.join("\n")));

async function keyOf(...parts: (string | Uint8Array)[]): Promise<string> {
  const hash = createHash("sha256").update(await versions());
  for (const part of parts) hash.update("\0").update(part);
  return hash.digest("hex").slice(0, 32);
}

/** The component around a core module. */
export async function component(core: Uint8Array, wit: WitSources, { world }: Generated): Promise<Uint8Array> {
  const witSource = witText(wit, world.substitutes);
  return cached(`${await keyOf(core, witSource, world.name)}.wasm`, async () => {
    const { componentEmbed, componentNew } = await import("@bytecodealliance/jco-transpile/wasm-tools");
    return componentNew(await componentEmbed({ binary: core, witSource, world: world.name, stringEncoding: "utf8", features: { tag: "all" } }));
  });
}

/** The dummy module that wasm-tools makes for a world. */
export async function dummyModule(wit: WitSources, { world }: Pick<Generated, "world">): Promise<Uint8Array> {
  const witSource = witText(wit, world.substitutes);
  return cached(`${await keyOf(witSource, world.name)}.dummy.wasm`, async () => {
    const { componentEmbed } = await import("@bytecodealliance/jco-transpile/wasm-tools");
    return componentEmbed({ dummy: true, witSource, world: world.name, stringEncoding: "utf8", features: { tag: "all" } });
  });
}

/** The exports of a component that is linked with JavaScript imports, in V8. */
export async function instantiate(bytes: Uint8Array, imports: object = {}): Promise<{ exports: Record<string, unknown>; memoryBytes: () => number }> {
  const folder = join(CACHE, `${await keyOf(bytes)}.v8`);
  const isKnown = await readdir(folder).then(() => true, () => false);
  if (!isKnown) await transpileInto(bytes, folder);
  const modules = new Map<string, object>();
  for (const name of await readdir(folder)) if (name.endsWith(".wasm")) modules.set(name, new WebAssembly.Module(new Uint8Array(await readFile(join(folder, name)))));
  const guest: Guest = await import(pathToFileURL(join(folder, "guest.mjs")).href);
  const memories: Memory[] = [];
  const exports = guest.instantiate((name) => {
    const module = modules.get(name);
    if (module === undefined) throw new Error(`There is no module ${name}`);
    return module;
  }, imports, (module, coreImports) => {
    const instance = new WebAssembly.Instance(module, coreImports);
    if (instance.exports["memory"] !== undefined) memories.push(instance.exports["memory"]);
    return instance;
  });
  return {
    exports,
    memoryBytes: () => {
      const [memory] = memories;
      if (memory === undefined) throw new Error("This component has no memory");
      return memory.buffer.byteLength;
    },
  };
}

async function transpileInto(bytes: Uint8Array, folder: string): Promise<void> {
  const { transpileBytes } = await import("@bytecodealliance/jco-transpile");
  const { files } = await transpileBytes(bytes, { name: "guest", instantiation: "sync", emitTypescriptDeclarations: false, validLiftingOptimization: false });
  const temporary = `${folder}.${process.pid}`;
  for (const [name, contents] of Object.entries(files)) {
    const path = join(temporary, name.replace(/\.js$/, ".mjs"));
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, contents);
  }
  // Another test process may have been first.
  await rename(temporary, folder).catch(() => rm(temporary, { recursive: true, force: true }));
}

/** Runs `make` unless its result is in the cache. */
export async function cached(name: string, make: () => Promise<Uint8Array>): Promise<Uint8Array> {
  const file = join(CACHE, name);
  const known = await readFile(file).catch(() => null);
  if (known !== null) return new Uint8Array(known);
  const made = await make();
  await mkdir(CACHE, { recursive: true });
  // Another test process may make the same: whoever renames last leaves the same bytes.
  const temporary = `${file}.${process.pid}`;
  await writeFile(temporary, made);
  await rename(temporary, file);
  return made;
}

/** A world with WASI at hand. */
export const wasiSources = (main: string): Promise<WitSources> => withWasi(sources(main));
