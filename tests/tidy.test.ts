/**
 * The shape of the repository: who may import whom, what pure code may not touch, what every folder and file has.
 * The tables below are the law; change them together with the code, with a reason in the commit.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import test from "node:test";

const root = join(import.meta.dirname, "..");
const TOP_LEVEL = ["CHANGELOG.md", "LICENSE", "README.md", "chain", "os", "package-lock.json", "package.json", "sandbox", "tests", "tools", "tsconfig.json", "workloads"];

const BASE = ["chain/constants", "chain/types", "chain/codec", "chain/crypto", "chain/verification", "chain/recent"];
/** The longest prefix that matches a file decides; tests (`*.test.ts`) may import anything. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "chain/constants": BASE, "chain/types": BASE, "chain/codec": BASE, "chain/crypto": BASE, "chain/verification": [], "chain/recent": [],
  "chain/consensus": ["chain/types", "chain/constants", "chain/codec", "chain/consensus"],
  // What a block makes of suspicions is liveness' to say: pure, too.
  "chain/ledger": [...BASE, "chain/ledger", "chain/liveness"],
  "chain/light": [...BASE, "chain/light"],
  "chain/liveness": [...BASE, "chain/liveness"],
  "chain/network": [...BASE, "chain/network"],
  "chain/node": ["chain"],
  sandbox: ["sandbox"],
  "workloads/manifest": ["chain/types", "sandbox/limits", "sandbox/outgoing", "workloads/tomlPlaces"],
  "workloads/blueprint": ["workloads/manifest", "workloads/tomlPlaces"],
  "workloads/tomlPlaces": [],
  "workloads/sdk": ["sandbox/wit", "workloads/manifest", "workloads/sdk"],
  "workloads/sdk/testing": ["sandbox", "workloads"],
  // Projects of their own, which are copied to where nothing of ours is.
  "workloads/templates": ["workloads/templates"],
  os: ["chain", "sandbox", "workloads/manifest", "os"],
  tools: ["chain", "sandbox", "workloads", "os", "tools"],
  // The simulated world is a test's; the command runs one seed of it.
  "tools/simulate": ["chain", "tests/simulation", "tests/golden", "tools"],
  "tools/campaign": ["tests/simulation"],
  "tools/simulateLiveness": ["tests/simulation"],
  "tools/simulateGrid": ["chain", "tools", "tests/ledger"],
  "tools/trace": ["tests/simulation"],
  "tools/mutants": ["tests/simulation"],
  // A schedule of faults is drawn with the chance of the simulated worlds.
  "tools/devnet/schedule": ["tests/simulation/chance"],
  // The hostile cast is made of tests' guests; the commands play it.
  "tools/hostile": ["sandbox", "tests/guests", "tools/hostile"],
  // Components of other languages are tests' guests; the benchmark puts their sizes beside ours.
  "tools/bench/sizes": ["workloads", "tests/guests", "tools"],
  // A chain with its cast of actors is what the histories of the ledger make; the benchmark makes a large one.
  "tools/bench/placement": ["chain", "tests/ledger", "tools"],
  tests: ["chain", "sandbox", "workloads", "os", "tools", "tests"],
};

/** Pure code: imports `node:assert` at most, reads no clock, draws no random number, awaits nothing. */
const PURE = ["chain/consensus", "chain/ledger", "chain/liveness", "chain/codec", "os/supervisor/plan.ts", "os/boot/cmdline.ts", "tools/devnet/schedule.ts", "workloads/manifest.ts", "workloads/blueprint.ts", "workloads/tomlPlaces.ts", "sandbox/limits.ts", "sandbox/outgoing.ts"];
const IMPURE: readonly (readonly [RegExp, string])[] = [
  [/\bDate\b/, "reads a clock"], [/\bMath\.(random|pow|exp|log\w*|sqrt|sin|cos)\b/, "is not the same on every computer"], [/\bsetTimeout\b|\bsetInterval\b|\bsetImmediate\b/, "sets a timer"],
  [/\bawait\b|\basync\b/, "awaits"], [/\bfetch\(/, "does I/O"], [/\bperformance\b/, "reads a clock"], [/\bprocess\./, "reads the process"], [/[^\w.$]\d+\.\d+\b/, "has a float"],
];

const walk = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name === "node_modules" || entry.name === "target" || entry.name === ".git") return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : [path];
  });
const files = walk(root).map((path) => relative(root, path));
const sources = files.filter((file) => /\.(ts|mjs)$/.test(file) && !file.includes("/assembly/") && !file.startsWith("tests/guests/"));
const text = (file: string): string => readFileSync(join(root, file), "utf8");
const within = (file: string, prefix: string): boolean => file === prefix || file.startsWith(`${prefix}/`) || file.startsWith(`${prefix}.`);
const withoutComments = (source: string): string =>
  source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|[^:"'`])\/\/[^\n]*/g, "$1").replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/g, '""');

function importsOf(file: string): string[] {
  const found = [...text(file).matchAll(/(?:^|\n)\s*(?:import|export)\b[^;"']*?from\s*"([^"]+)"|(?:^|\n)\s*import\s*"([^"]+)"|\bimport\("([^"]+)"\)/g)];
  return found.map((match) => match[1] ?? match[2] ?? match[3] ?? "");
}

test("the top level holds what the design says and nothing else", () => {
  const found = readdirSync(root).filter((name) => !name.startsWith(".") && name !== "node_modules").toSorted();
  assert.deepEqual(found, TOP_LEVEL);
});

test("who may import whom", () => {
  const wrong: string[] = [];
  for (const file of sources) {
    if (file.endsWith(".test.ts")) continue;
    const rule = Object.keys(MAY_IMPORT).filter((prefix) => within(file, prefix)).toSorted((a, b) => b.length - a.length)[0];
    assert(rule !== undefined, `${file} is in no folder of the table`);
    for (const specifier of importsOf(file)) {
      const target = specifier.startsWith("#") ? specifier.slice(1) : specifier.startsWith(".") ? relative(root, join(root, dirname(file), specifier)) : null;
      if (target === null) continue;
      if (!MAY_IMPORT[rule]!.some((prefix) => within(target, prefix))) wrong.push(`${file} imports ${target}`);
      if (specifier.startsWith(".") && target.split("/")[0] !== file.split("/")[0]) wrong.push(`${file} reaches ${target} by a relative path: use #`);
      if (!existsSync(join(root, target))) wrong.push(`${file} imports ${target}, which is not there`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("pure code imports node:assert at most, and touches no clock, chance, timer or float", () => {
  const wrong: string[] = [];
  for (const file of sources.filter((name) => !name.endsWith(".test.ts") && PURE.some((prefix) => within(name, prefix)))) {
    for (const specifier of importsOf(file))
      if (!specifier.startsWith("#") && !specifier.startsWith(".") && !/^node:assert(\/strict)?$/.test(specifier) && !(file === "workloads/manifest.ts" && specifier === "smol-toml")) wrong.push(`${file} imports ${specifier}`);
    const code = withoutComments(text(file));
    for (const [pattern, why] of IMPURE) {
      const match = pattern.exec(code);
      if (match) wrong.push(`${file} ${why}: ${match[0].trim()}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test("only sandbox.ts loads the addon, and only os/linux imports node:ffi", () => {
  for (const file of sources.filter((name) => !name.endsWith(".test.ts") && name !== "tests/tidy.test.ts")) {
    if (file !== "sandbox/sandbox.ts" && /godwit\.node/.test(withoutComments(text(file)))) assert.fail(`${file} names godwit.node`);
    if (!file.startsWith("os/linux/")) assert(!importsOf(file).includes("node:ffi"), `${file} imports node:ffi`);
  }
});

test("every source file opens by saying what it is", () => {
  const silent = sources.filter((file) => !/^(#![^\n]*\n)?\s*\/\*\*/.test(text(file)) && !file.endsWith(".test.ts"));
  assert.deepEqual(silent, []);
});

test("every folder of the layout has a README", () => {
  const FOLDERS = [".", "chain", "chain/codec", "chain/consensus", "chain/ledger", "chain/network", "chain/liveness", "chain/light", "chain/node", "sandbox", "sandbox/native", "sandbox/wit", "sandbox/engines", "workloads", "workloads/sdk", "workloads/examples", "workloads/templates", "os", "os/api", "os/boot", "os/linux", "os/supervisor", "tools", "tools/cli", "tools/devnet", "tools/netboot", "tests"];
  assert.deepEqual(FOLDERS.filter((folder) => !existsSync(join(root, folder, "README.md"))), []);
});

test("whatever a list of promises says that a test shows, there is such a test", () => {
  const wrong: string[] = [];
  for (const table of files.filter((file) => file.endsWith("PROMISES.md") || file === "tests/GRID.md")) {
    // A file in backticks, and behind it how the names of its tests begin, in quotes.
    for (const [, file, names] of text(table).matchAll(/`([\w./-]+\.(?:ts|rs))`((?:[^`"|\n]*"[^"\n]+")*)/g)) {
      const found = files.filter((known) => known === file || known.endsWith(`/${file}`));
      if (found.length === 0) wrong.push(`${table}: there is no ${file}`);
      for (const [, name] of names!.matchAll(/"([^"\n]+)"/g)) {
        if (!found.some((known) => text(known).includes(name!))) wrong.push(`${table}: no test of ${file} is called "${name}"`);
      }
    }
    for (const [, file] of text(table).matchAll(/`((?:chain|os|tests|tools)\/[\w./]+)`/g)) if (!existsSync(join(root, file!))) wrong.push(`${table}: there is no ${file}`);
  }
  assert.deepEqual(wrong, []);
});

test("the repository holds sources only, small ones, and no path or host of the computer it was written on", () => {
  const wrong: string[] = [];
  const REGISTRY = new RegExp(["registry\\.npm" + "js", "index\\.crates" + "\\.io", "static\\.crates" + "\\.io", "deb\\.debian" + "\\.org"].join("|"));
  for (const file of files) {
    if (statSync(join(root, file)).size > 400_000) wrong.push(`${file} is larger than 400 kB`);
    if (/\.(node|so|wasm|cwasm|exe|bin)$/.test(file)) wrong.push(`${file} is a build product`);
    if (!/\.(ts|mjs|rs|md|json|toml|wit|sh|lock)$/.test(file) || file === "tests/tidy.test.ts") continue;
    const content = text(file);
    if (/(^|[^\w./])\/(root|work|home\/\w+)\//m.test(content)) wrong.push(`${file} has an absolute path`);
    if (file !== "package-lock.json" && REGISTRY.test(content)) wrong.push(`${file} names a package registry's host`);
  }
  assert.deepEqual(wrong, []);
});

test("no file is named for nothing", () => {
  assert.deepEqual(sources.filter((file) => /(^|\/)(index|utils?|helpers?|misc|common)\.(ts|mjs)$/.test(file) && !file.includes("/assembly/")), []);
});

test("a second reading shares no file with what it reads", () => {
  for (const [reader, read] of [["tests/simulation/trace.ts", "chain/consensus"], ["tests/ledger/audit", "chain/ledger"], ["tools/audit", "chain/ledger"]] as const) {
    for (const file of sources.filter((name) => within(name, reader) && !name.endsWith(".test.ts"))) {
      for (const specifier of importsOf(file)) assert(!specifier.startsWith(`#${read}/`), `${file} imports ${specifier}`);
    }
  }
});
