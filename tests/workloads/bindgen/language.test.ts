/** The rest of the language: gates, versions, includes with other names, several files, docs; and the same text from the same WIT. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { coreNames } from "#workloads/sdk/bindgen/signatures.ts";
import { generateBindings, type GenerateOptions } from "#workloads/sdk/bindgen/generate.ts";
import { readWit, witText } from "#workloads/sdk/bindgen/sources.ts";
import { callEverything } from "./call-everything.ts";
import { coreFunctions } from "./core-module.ts";
import { component, compileCore, instantiate, sources, wasiSources } from "./compile.ts";

const importsOf = (main: string, dependencies: readonly string[] = [], options: GenerateOptions = {}): string[] =>
  [...coreNames(generateBindings(sources(main, ...dependencies), { world: "w", ...options }).world).imports.keys()];

test("gates: @since is there, @unstable only when its feature is on, @deprecated is told", () => {
  const wit = `package t:t@1.2.0;
    interface i {
      @since(version = 1.1.0) old: func();
      @unstable(feature = fancy-things) fancy: func();
      @unstable(feature = other) resource other { get: func(); }
      /// Do not.
      @since(version = 1.0.0) @deprecated(version = 1.1.0) gone: func();
    }
    @unstable(feature = fancy-things) interface j { f: func(); }
    world w { import i; @unstable(feature = fancy-things) import j; }`;
  assert.deepEqual(importsOf(wit), ["t:t/i@1.2.0#old", "t:t/i@1.2.0#gone"]);
  assert.deepEqual(importsOf(wit, [], { features: ["fancy-things"] }), ["t:t/i@1.2.0#old", "t:t/i@1.2.0#fancy", "t:t/i@1.2.0#gone", "t:t/j@1.2.0#f"]);
  assert.equal(importsOf(wit, [], { features: "all" }).length, 6);
  assert.match(generateBindings(sources(wit)).files.get("imports/t-t-i.ts") ?? "", /Do not\.\n \* @deprecated since 1\.1\.0/);
});

test("versions: the one that is asked for, else a newer one that is compatible, never an older", () => {
  const io = (version: string): string => `package a:io@${version}; interface s { v${version.replaceAll(".", "-x")}: func(); }`.replace(/v(\d)/, "v$1");
  const world = (version: string): string => `package t:t; world w { import a:io/s${version}; }`;
  assert.deepEqual(importsOf(world("@0.2.0"), [io("0.2.0"), io("0.2.5")]), ["a:io/s@0.2.0#v0-x2-x0"]);
  assert.deepEqual(importsOf(world("@0.2.1"), [io("0.2.0"), io("0.2.5"), io("0.2.9"), io("0.3.0")]), ["a:io/s@0.2.9#v0-x2-x9"]);
  assert.deepEqual(importsOf(world("@1.1.0"), [io("1.4.0")]), ["a:io/s@1.4.0#v1-x4-x0"]);
  assert.deepEqual(importsOf(world(""), [io("1.4.0")]), ["a:io/s@1.4.0#v1-x4-x0"]);
  for (const [asked, given] of [["@0.2.6", "0.2.5"], ["@0.2.0", "0.3.0"], ["@0.0.1", "0.0.2"], ["@1.0.0", "2.0.0"], ["@1.0.0", "1.0.0-rc.1"]] as const) {
    assert.throws(() => importsOf(world(asked), [io(given)]), { code: "wit_package_unknown" }, `${asked} from ${given}`);
  }
});

test("two versions of a package in one world have a module each", () => {
  const both = sources("package t:t; world w { import a:b/c@1.0.0; import a:b/c@2.0.0; }", "package a:b@1.0.0; interface c { f: func(); }", "package a:b@2.0.0; interface c { g: func(); }");
  assert.deepEqual([...generateBindings(both).files.keys()].filter((name) => name.startsWith("imports/")), ["imports/a-b-c.ts", "imports/a-b-c-2_0_0.ts"]);
});

test("includes: with other names, of other packages, the same interface once", () => {
  const wit = `package t:t; use a:b/c as d; interface i { use d.{n}; f: func(x: n); }
    world v { import i; import one: func(); import inline: interface { g: func(); } export two: func(); }
    world w { include v with { one as uno, two as due, inline as dentro } import i; include a:b/other; }`;
  const other = "package a:b; interface c { type n = u8; h: func(); } world other { import c; import three: func(); }";
  const { world } = generateBindings(sources(wit, other), { world: "w" });
  assert.deepEqual([...coreNames(world).imports.keys()], ["a:b/c#h", "t:t/i#f", "dentro#g", "$root#uno", "$root#three"]);
  assert.deepEqual([...coreNames(world).exports.keys()], ["due"]);
});

test("an interface that is imported and exported is two, and each use means its side", async () => {
  const wit = sources(`package t:t@0.1.0;
    interface r { resource thing { constructor(name: string); name: func() -> string; } }
    interface user { use r.{thing}; both: func(t: thing) -> string; }
    world w { use r.{thing}; import r; export r; export user; export outside: func(t: borrow<thing>) -> string; import shout: func(text: string) -> string; }`);
  const program = `
    import * as host from "./gen/imports/t-t-r";
    import * as own from "./gen/exports/t-t-r";
    import { shout } from "./gen/imports/root";
    export namespace r { export class Thing extends own.Thing { constructor(public text: string) { super(); } name(): string { return "own " + this.text; } } }
    export namespace user { export function both(t: own.Thing): string { const h = new host.Thing("x"); const text = t.name() + " and " + h.name(); h.drop(); return text; } }
    export function outside(t: host.Thing): string { return shout(t.name()); }`;
  const { core, generated } = await compileCore(wit, { modules: { "program.ts": program } });
  class Thing {
    value: string;
    constructor(name: string) {
      this.value = name;
    }
    name(): string {
      return `host ${this.value}`;
    }
  }
  const { exports } = await instantiate(await component(core, wit, generated), { "t:t/r": { Thing }, shout: { default: (text: string) => text.toUpperCase() } });
  const { r, user, outside } = exports as { r: { Thing: new (name: string) => object }; user: { both(thing: object): string }; outside(thing: object): string }; // The world says so.
  assert.equal(user.both(new r.Thing("y")), "own y and host x");
  assert.equal(outside(new Thing("z")), "HOST Z");
});

test("a folder is read with its deps, and as one text gives the same bindings", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "godwit-wit-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await mkdir(join(folder, "deps/other"), { recursive: true });
  await writeFile(join(folder, "a.wit"), "// first\npackage t:t@1.0.0;\nuse o:o/things as these;\ninterface i { use these.{thing}; f: func(t: thing); }\n");
  await writeFile(join(folder, "b.wit"), "world w { import i; import o:p/q@1.0.0; import wasi:io/streams@0.2.0; }\n");
  await writeFile(join(folder, "deps/other/x.wit"), "package o:o;\n");
  await writeFile(join(folder, "deps/other/y.wit"), "interface things { record thing { a: u8 } }\n");
  await writeFile(join(folder, "deps/p.wit"), "package o:p@1.0.1;\ninterface q { g: func(); }\n");
  const read = await readWit(folder);
  const generated = generateBindings(read);
  assert.deepEqual([...generated.world.imports.keys()], ["o:o/things", "t:t/i@1.0.0", "o:p/q@1.0.1", "wasi:io/error@0.2.12", "wasi:io/poll@0.2.12", "wasi:io/streams@0.2.12"]);
  const text = witText(read, generated.world.substitutes);
  assert.deepEqual([...generateBindings(sources(text)).files], [...generated.files]);
});

test("the same WIT gives the same text, here and in another process", async () => {
  const wit = "package t:t; world w { include wasi:cli/command@0.2.12; include wasi:http/proxy@0.2.12; }";
  const digest = (files: ReadonlyMap<string, string>): string => createHash("sha256").update(JSON.stringify([...files])).digest("hex");
  const first = digest(generateBindings(await wasiSources(wit)).files);
  assert.equal(digest(generateBindings(await wasiSources(wit)).files), first);
  const script = `
    import { createHash } from "node:crypto";
    const { generateBindings } = await import(${JSON.stringify(import.meta.resolve("#workloads/sdk/bindgen/generate.ts"))});
    const { wasiSources } = await import(${JSON.stringify(import.meta.resolve("./compile.ts"))});
    console.log(createHash("sha256").update(JSON.stringify([...generateBindings(await wasiSources(${JSON.stringify(wit)})).files])).digest("hex"));`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
  assert.equal(stdout.trim(), first);
});

/** Words that mean something to AssemblyScript, to JavaScript or to the generated code. */
const WORDS = `abstract any array array-buffer arguments as assert async await bool boolean break case catch changetype class const constructor continue debugger declare default delete do drop dropped else enum eval
  export extends f32 f64 false finally for from function get handle i32 idof if implements import in instanceof instantiate interface is isize keyof length let load map memory module name namespace never new null number object
  of offsetof override package private protected prototype public readonly reinterpret return set static static-array store string super switch symbol take this throw to-string true try type typeof u8 uint8-array
  undefined unreachable usize v v128 value value-of var void while with yield p q i n x tag bits error ok err some result unit resource tuple2 date math`.split(/\s+/);

test("any word is a name: of functions, parameters, fields, cases, flags, methods and types", async () => {
  const all = (write: (word: string) => string): string => WORDS.map((word) => write(`%${word}`)).join(" ");
  const body = `
    record %record { ${all((word) => `${word}: string,`)} } variant %variant { ${all((word) => `${word}(string),`)} } variant bare { ${all((word) => `${word},`)} }
    enum %enum { ${all((word) => `${word},`)} } flags f0 { ${WORDS.slice(0, 32).map((word) => `%${word},`).join(" ")} }
    resource res { ${all((word) => `${word}: func(${word}: string) -> option<string>;`)} } resource stat { ${all((word) => `${word}: static func(${word}: list<string>);`)} }
    many: func(${all((word) => `${word}: list<string>,`)}) -> %record; f1: func(a: %variant, b: bare, c: %enum, d: f0) -> tuple<%variant, bare, %enum, f0>;`;
  const functions = WORDS.map((word) => `%${word}: func(%${word}: string);`).join(" ");
  const types = WORDS.map((word) => `record %${word} { %${word}: u8, a: string }`).join(" ");
  const uses = WORDS.map((word) => `f-${/^[a-z]\d*$/.test(word) ? `x${word}` : word}: func(a: %${word}) -> %${word};`).join(" ");
  const all3 = `interface a { ${body} } interface b { ${functions} } interface c { ${types} ${uses} }`;
  for (const direction of ["import", "export"] as const) {
    const wit = await wasiSources(`package t:t; ${all3} world w { ${direction} a; ${direction} b; ${direction} c; export run: func(); }`);
    const { core, generated } = await compileCore(wit, { modules: { "program.ts": callEverything(wit) } });
    const asked = coreNames(generated.world)[`${direction}s`];
    const found = coreFunctions(core)[`${direction}s`];
    assert.deepEqual([...asked.keys()].filter((name) => !found.has(name)), []);
    await component(core, wit, generated);
  }
});

test("doc comments come along: of interfaces, types, fields, cases, functions", () => {
  const wit = `package t:t; /// About i.
    interface i { /** About r.
       * Second line. */ record r { /// About a.
      a: u8 } variant v { /// About c.
      c(u8) } resource s { /// About m.
      m: func(); } /// About f.
      f: func(); // not this
    } world w { import i; }`;
  const text = generateBindings(sources(wit)).files.get("imports/t-t-i.ts") ?? "";
  for (const what of ["About i.", "About r.\n * Second line.", "About a.", "About c.", "About m.", "About f."]) assert(text.includes(what), what);
  assert(!text.includes("not this"));
});
