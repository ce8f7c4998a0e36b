/** What is wrong with WIT, and where: a code, a line and a column for each mistake; and texts that want to hurt. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { generateBindings } from "#workloads/sdk/bindgen/generate.ts";
import { WitError } from "#workloads/sdk/bindgen/wit-error.ts";
import { sources } from "./compile.ts";

type Mistake = { code: string; line: number; column: number };

function mistakeOf(main: string, ...dependencies: string[]): Mistake | null {
  try {
    generateBindings(sources(main, ...dependencies), { world: "w" });
    return null;
  } catch (error) {
    if (!(error instanceof WitError)) throw error;
    return { code: error.code, line: error.line, column: error.column };
  }
}

/** `@` marks the place that the error names; the text is what follows the header. */
function at(text: string): { source: string; line: number; column: number } {
  const source = `package t:t@1.2.3;\n${text}`;
  const offset = source.indexOf("¶");
  const before = source.slice(0, offset).split("\n");
  return { source: source.replace("¶", ""), line: before.length, column: (before.at(-1) ?? "").length + 1 };
}

const W = "world w { import i; }";
const CASES: readonly (readonly [code: string, text: string])[] = [
  // Characters and words.
  ["wit_character", "interface i { ¶# }"],
  ["wit_character", "interface i {\n  // a comment with \u202e¶".replace("\u202e¶", "¶\u202e") + "\n}"],
  ["wit_character", "interface i { ¶\0 }"],
  ["wit_syntax", "¶/* no end /* nested */"],
  ["wit_syntax", "interface i {\n  f: func()¶\n".replace("¶\n", "\n¶")],
  ["wit_syntax", "interface i { f ¶func(); }"],
  ["wit_syntax", "interface i { f: func(a: u8 ¶b: u8); }"],
  ["wit_syntax", "interface i { f: func(a: ¶); }"],
  ["wit_syntax", "interface i { record r { a: u8 ¶b: u8 } }"],
  ["wit_syntax", "interface i { type t = list<u8¶; }"],
  ["wit_syntax", "interface i { type t = ¶<u8>; }"],
  ["wit_syntax", "interface i { f: func(¶list: u8); }"],
  ["wit_syntax", "¶nonsense i {}"],
  ["wit_syntax", "interface ¶{}"],
  ["wit_syntax", "interface i {}\n¶package a:b;"],
  ["wit_syntax", "world w { ¶whatever i; }"],
  ["wit_syntax", "interface i { type t = result<_¶>; }"],
  ["wit_name_invalid", "interface ¶myInterface {}"],
  ["wit_name_invalid", "interface i { f: func(¶a--b: u8); }"],
  ["wit_name_invalid", "interface i { ¶a-: func(); }"],
  ["wit_version_invalid", "world w { import a:b/c@¶1.2; }"],
  ["wit_too_large", `interface ¶${"a".repeat(300)} {}`],
  // Names that are there twice or not at all.
  ["wit_name_duplicate", `interface i { f: func(); ¶f: func(); } ${W}`],
  ["wit_name_duplicate", `interface i { f: func(); ¶F: func(); } ${W}`],
  ["wit_name_duplicate", `interface i { f: func(a: u8, ¶a: u8); } ${W}`],
  ["wit_name_duplicate", `interface i { record r { a: u8, ¶a: u8 } } ${W}`],
  ["wit_name_duplicate", `interface i { resource r { a: func(); ¶a: static func(); } } ${W}`],
  ["wit_name_duplicate", `interface i { resource r { a: func(¶self: u8); } } ${W}`],
  ["wit_name_duplicate", `interface i {} interface ¶i {} ${W}`],
  ["wit_name_duplicate", `interface i {} world w { import f: func(); import ¶f: func(); }`],
  ["wit_name_duplicate", `interface i { type t = u8; } interface j { use i.{t}; type ¶t = u8; } world w { import j; }`],
  ["wit_name_duplicate", "interface i {} world w { import i; export i; import ¶i; }"],
  ["wit_type_unknown", `interface i { f: func(a: ¶missing); } ${W}`],
  ["wit_type_unknown", `interface i { use j.{¶missing}; } interface j {} ${W}`],
  ["wit_interface_unknown", `interface i { use ¶missing.{t}; } ${W}`],
  ["wit_interface_unknown", "world w { import ¶missing; }"],
  ["wit_interface_unknown", "world w { import ¶w; }"],
  ["wit_world_unknown", "world w { include ¶missing; }"],
  ["wit_package_unknown", "world w { import a:b/¶c@1.0.0; }"],
  ["wit_name_unknown", "world v { import f: func(); } world w { include v with { ¶g as h } }"],
  ["wit_name_duplicate", "world v { import f: func(); } world w { import g: func(); include v with { f as ¶g } }"],
  // Circles.
  ["wit_type_cycle", `interface i { record ¶r { a: list<r> } } ${W}`],
  ["wit_type_cycle", `interface i { type ¶a = b; type b = option<a>; } ${W}`],
  ["wit_use_cycle", `interface i { use j.{t}; } interface j { use ¶i.{t}; } ${W}`],
  ["wit_include_cycle", "world ¶w { include v; } world v { include w; }"],
  // Types that cannot be.
  ["wit_type_empty", `interface i { record ¶r {} } ${W}`],
  ["wit_type_empty", `interface i { variant ¶r {} } ${W}`],
  ["wit_type_empty", `interface i { type t = ¶tuple<>; } ${W}`],
  ["wit_type_invalid", `interface i { f: func() -> ¶borrow<r>; resource r; } ${W}`],
  ["wit_type_invalid", `interface i { f: func() -> ¶option<list<borrow<r>>>; resource r; } ${W}`],
  ["wit_type_invalid", `interface i { f: func(a: own<¶t>); type t = u8; } ${W}`],
  ["wit_type_invalid", `interface i { resource r { constructor() -> ¶u8; } } ${W}`],
  ["wit_flags_too_many", `interface i { flags ¶f { ${Array.from({ length: 33 }, (_, i) => `bit${i}`).join(", ")} } } ${W}`],
  ["wit_unsupported", `interface i { f: func(a: ¶stream<u8>); } ${W}`],
  ["wit_unsupported", `interface i { ¶f: async func(); } ${W}`],
  ["wit_unsupported", `interface i { type t = ¶list<u8, 4>; } ${W}`],
  // Gates.
  ["wit_gate_invalid", `interface i { ¶@since(version = 2.0.0) f: func(); } ${W}`],
  ["wit_gate_invalid", `interface i { ¶@sometimes f: func(); } ${W}`],
  ["wit_gate_invalid", `interface i { ¶@deprecated(version = 1.0.0) f: func(); } ${W}`],
  ["wit_interface_unknown", `@unstable(feature = new) interface i {} world w { import ¶i; }`],
  ["wit_type_unknown", `interface i { @unstable(feature = new) type t = u8; f: func(a: ¶t); } ${W}`],
];

test("each mistake has its code, line and column", () => {
  for (const [code, text] of CASES) {
    const { source, line, column } = at(text);
    assert.deepEqual(mistakeOf(source), { code, line, column }, text);
  }
});

test("a mistake in a dependency names its file", () => {
  assert.throws(() => generateBindings(sources("package t:t; world w {}", "package a:b; interface i { ! }")), (error: unknown) => error instanceof WitError && error.file === "dep0.wit" && error.code === "wit_character");
});

test("the world is the only one, or the one that is named", () => {
  const two = sources("package t:t; world a {} world b {}", "package other:p@1.0.0; world c { import f: func(); }");
  assert.throws(() => generateBindings(two), { code: "wit_world_ambiguous" });
  assert.throws(() => generateBindings(two, { world: "c" }), { code: "wit_world_unknown" });
  assert.equal(generateBindings(two, { world: "b" }).world.name, "b");
  assert.equal(generateBindings(two, { world: "other:p/c@1.0.0" }).world.root.functions.length, 1);
  assert.throws(() => generateBindings(sources("package t:t;")), { code: "wit_world_unknown" });
  assert.throws(() => generateBindings(sources("world w {}")), { code: "wit_package_missing" });
});

test("texts that want to hurt end in a refusal, soon", () => {
  const nested = (depth: number): string => `${"list<".repeat(depth)}u8${">".repeat(depth)}`;
  const chain = (count: number, next: (i: number) => string): string => Array.from({ length: count }, (_, i) => next(i)).join("\n");
  const interfaceOf = (types: string): string => `package t:t; interface i { ${types} } ${W}`;
  const rows: readonly (readonly [what: string, source: string, codes: readonly string[]])[] = [
    ["types a million deep", interfaceOf(`type t = ${nested(100_000)};`), ["wit_too_deep"]],
    ["a chain of definitions", interfaceOf(`${chain(5_000, (i) => `record r${i} { a: r${i + 1} }`)} record r5000 { a: u8 }`), ["wit_too_deep"]],
    ["aliases that double", interfaceOf(`type t0 = u8; ${chain(60, (i) => `type t${i + 1} = tuple<t${i}, t${i}>;`)}`), ["wit_too_large"]],
    ["records that double", interfaceOf(`record t0 { a: u64 } ${chain(60, (i) => `record t${i + 1} { a: t${i}, b: t${i} }`)} f: func(a: t60) -> t60;`), ["wit_too_large"]],
    ["more cases than there can be", interfaceOf(`enum e { ${chain(70_000, (i) => `c${i},`)} }`), ["wit_too_large"]],
    ["comments inside comments", `${"/*".repeat(200_000)}`, ["wit_syntax"]],
    ["worlds that include each other twice", `package t:t; ${chain(40, (i) => `world w${i} { include w${i + 1}; include w${i + 1}; }`)} world w40 {} world w { include w0; }`, ["wit_too_large"]],
    ["packages that are nested in packages", `package t:t; ${"package a:b { ".repeat(10_000)}`, ["wit_syntax"]],
  ];
  for (const [what, source, codes] of rows) {
    const startedMs = performance.now();
    const mistake = mistakeOf(source);
    assert(mistake !== null && codes.includes(mistake.code), `${what}: ${mistake?.code}`);
    assert(performance.now() - startedMs < 30_000, `${what} took ${performance.now() - startedMs} ms`);
  }
});

test("text of the author cannot leave its comment", () => {
  const { files } = generateBindings(sources("package t:t; interface i { /// ends */ unreachable(); /* here\n f: func(); } world w { import i; }"));
  assert.match(files.get("imports/t-t-i.ts") ?? "", /\/\*\* ends \*[^/]+\/\* here \*\//);
});
