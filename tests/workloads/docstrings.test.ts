/** What authors import is documented where they see it: in their editor, on the symbol itself. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const SDK = join(import.meta.dirname, "..", "..", "workloads", "sdk", "assembly");
const MODULES = ["assets", "cli", "clock", "env", "http", "json", "log", "random", "test"];

const DECLARATION = /^export (?:abstract )?(?:function|class|const|let|enum|type|interface|namespace) (\w+)/;
const CLASS = /^export (?:abstract )?class (\w+)/;
const MEMBER = /^ {2}(?!private |protected |constructor\b|return\b|if\b|for\b|while\b)(?:static |readonly |abstract |get |set )*(\w+)(?:<[^(]*>)?(?:\(|[?!]?: )/;
const RE_EXPORTED = /^export \{([^}]*)\} from "(\.[^"]+)";/gm;

/** `symbol` for each exported one without a docstring, `Class.member` for public members; `wanted` are those that the module is imported for. */
function silent(file: string, wanted: ReadonlySet<string> | null, seen: Set<string>): string[] {
  const text = readFileSync(join(SDK, `${file}.ts`), "utf8");
  const found: string[] = [];
  for (const [, names = "", from = ""] of text.matchAll(RE_EXPORTED)) found.push(...silent(join(file, "..", from), new Set(names.split(",").map((name) => name.trim().split(" ")[0] ?? "")), seen));
  const lines = text.split("\n");
  let owner: string | null = null;
  for (const [i, line] of lines.entries()) {
    if (line.startsWith("}")) owner = null;
    const declared = DECLARATION.exec(line)?.[1];
    const isWanted = declared !== undefined && (wanted === null || wanted.has(declared)) && !declared.startsWith("__");
    if (isWanted && CLASS.test(line)) owner = declared;
    const member = owner === null || declared !== undefined ? undefined : MEMBER.exec(line)?.[1];
    const symbol = isWanted ? declared : member === undefined || member.startsWith("_") ? null : `${owner}.${member}`;
    if (symbol === null) continue;
    // Decorators stand between. A setter or an overload has its twin's.
    let above = i - 1;
    while (/^\s*(?:@\w|\/\/ @ts-|\/\/ (?:oxlint|eslint))/.test(lines[above] ?? "")) above--;
    const isDocumented = /\*\/\s*$/.test(lines[above] ?? "") || seen.has(`${file}#${symbol}`);
    seen.add(`${file}#${symbol}`);
    if (!isDocumented) found.push(`${file}.ts:${i + 1} ${symbol}`);
  }
  return found;
}

test("every public symbol of the SDK has a docstring", () => {
  const seen = new Set<string>();
  assert.deepEqual(MODULES.flatMap((module) => silent(module, null, seen)), []);
  assert(seen.size > 120, `${seen.size} symbols were looked at`);
});
