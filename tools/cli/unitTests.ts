/**
 * The tests that authors write in AssemblyScript (`godwit/test`), each in a sandbox of its own.
 *
 * They are one task: without arguments it lists its tests, with a number it runs one. What ends a test is a trap, and told by what the
 * program wrote before it and by the author's own lines in the backtrace.
 */
import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import type { Engine } from "#sandbox/engines/engine.ts";
import { buildTests } from "#workloads/sdk/build.ts";
import { type Coverage, expectLines, note, taken } from "#workloads/sdk/coverage.ts";
import { type Symbols, sourceLines } from "#workloads/sdk/symbols.ts";
import { type Captured, runCaptured } from "#workloads/sdk/testing/captured.ts";

export type UnitResult = { readonly name: string; readonly ok: boolean; readonly wallMs: number; /** Why not; empty when it passed. */ readonly message: string; readonly output: string };

const TEST_FILE = /\.test\.ts$/;
/** Of the author's own lines in a backtrace: the place of the statement, and where it was called from. */
const FRAMES_SHOWN = 3;

/** The modules with tests, paths from the project's folder. */
export async function unitTestFiles(project: string): Promise<string[]> {
  const entries = await readdir(join(project, "assembly"), { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile() && TEST_FILE.test(entry.name)).map((entry) => relative(project, join(entry.parentPath, entry.name))).toSorted();
}

/** Builds the modules once (with `coverage` so that they tell of their lines, which are noted there) and runs each test whose name matches. Throws a BuildError. */
export async function* runUnitTests(engine: Engine, project: string, files: readonly string[], matches: (name: string) => boolean, signal: AbortSignal, coverage: Coverage | null): AsyncGenerator<UnitResult> {
  const { component, symbols, lines } = await buildTests(project, files, { coverage: coverage !== null });
  if (coverage !== null) expectLines(coverage, lines);
  const listed = await run(engine, component, [], signal);
  if (listed.trap !== null) throw new Error(`The tests cannot begin: ${told(listed.stderr, listed.trap, symbols)}`);
  const names = listed.stdout.split("\n").slice(0, -1);
  for (const [index, name] of names.entries()) {
    if (!matches(name) || signal.aborted) continue;
    const { stdout, stderr: all, trap, wallMs } = await run(engine, component, [String(index)], signal);
    const stderr = coverage === null ? all : taken(all, (number) => note(coverage, lines, number));
    yield { name, ok: trap === null, wallMs, message: trap === null ? "" : told(stderr, trap, symbols), output: stdout };
  }
}

const run = (engine: Engine, component: Uint8Array, args: readonly string[], signal: AbortSignal): Promise<Captured> => runCaptured(engine, component, { name: "test", arguments: args, signal });

function told(stderr: string, trap: string, symbols: Symbols | null): string {
  const written = stderr.trimEnd().split("\n").map((line) => line.replace(/^abort: (.*) at ~lib\/godwit\/test\.ts:\d+:\d+$/, "$1"));
  const lines = sourceLines(symbols)(trap).split("\n");
  const own = lines.filter((line) => /^\s*at .*\((?!~lib)/.test(line)).map((line) => line.replace(/at start:.*?~anonymous\|\d+ /, "at the test ").trim()).slice(0, FRAMES_SHOWN);
  const cause = stderr === "" ? [lines.findLast((line) => line.trim() !== "")?.trim() ?? trap] : [];
  return [...written.filter((line) => line !== ""), ...cause, ...own].join("\n");
}
