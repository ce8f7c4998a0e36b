/**
 * `godwit test`: the tests of functions, in AssemblyScript, and the tests of the whole component, in JavaScript or TypeScript.
 *
 * The component is built once, without optimisation; `godwit/testing` in `tests/*.test.mjs` (or .ts) opens it. Exit code 1 when one failed.
 */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type Command, CliError, type Shell } from "../command.ts";
import { type Coverage, type Line, expectLines, note } from "#workloads/sdk/coverage.ts";
import { buildComponent } from "../component.ts";
import { OPTIONS_ENGINE, chooseEngine } from "../engine.ts";
import { jsonText, paint, plain, tableText } from "../table.ts";
import type { UnitResult } from "../unitTests.ts";

const COMPONENT_TEST_FILE = /\.test\.(?:mjs|js|ts|mts)$/;
const HOOKS = pathToFileURL(join(import.meta.dirname, "..", "..", "..", "workloads", "sdk", "testing", "register.mjs")).href;

export const test: Command = {
  name: "test",
  summary: "Run a project's tests: of its functions, and of the component as its clients see it",
  usage: ["[DIR] [--only TEXT] [--coverage]"],
  options: { ...OPTIONS_ENGINE, only: { type: "string", value: "TEXT", summary: "tests whose name has this in it" }, coverage: { type: "boolean", summary: "also say which lines of the program no test has run" } },
  arguments: [0, 1],
  details: "assembly/**/*.test.ts are tests of functions (godwit/test), each in a sandbox of its own;\ntests/*.test.mjs or .ts those of the component (node:test and godwit/testing).",
  async run(input, shell) {
    const project = resolve(shell.currentDirectory, input.positionals[0] ?? ".");
    const only = input.text("only");
    const counts = { passed: 0, failed: 0 };
    const { unitTestFiles } = await import("../unitTests.ts");
    const [units, components] = await Promise.all([unitTestFiles(project), componentTestFiles(project)]);
    if (units.length + components.length === 0) throw new CliError("tests_missing", `There are no tests in ${project}: neither assembly/**/*.test.ts nor tests/*.test.mjs`);
    const engine = await chooseEngine(input, shell);
    const coverage: Coverage | null = input.flag("coverage") ? new Map() : null;
    if (units.length > 0) await runUnits(shell, input.json, project, units, only, engine, counts, coverage);
    const failed = components.length > 0 && (await runComponents(shell, input.json, project, components, only, engine.name, coverage)) !== 0;
    if (coverage !== null) shell.stdout.write(`${input.json ? jsonText({ event: "coverage", files: coverageOf(coverage) }) : coverageText(coverage)}\n`);
    if (input.json) shell.stdout.write(`${jsonText({ event: "end", functions: counts, components: { files: components.length, failed } })}\n`);
    return counts.failed > 0 || failed ? 1 : 0;
  },
};

async function runUnits(shell: Shell, json: boolean, project: string, files: readonly string[], only: string | undefined, engine: Awaited<ReturnType<typeof chooseEngine>>, counts: { passed: number; failed: number }, coverage: Coverage | null): Promise<void> {
  const { BuildError } = await import("#workloads/sdk/build.ts");
  const { runUnitTests } = await import("../unitTests.ts");
  try {
    for await (const result of runUnitTests(engine, project, files, (name) => only === undefined || name.includes(only), shell.signal, coverage)) {
      counts[result.ok ? "passed" : "failed"] += 1;
      shell.stdout.write(`${json ? jsonText({ event: "test", ...result }) : resultText(shell, result)}\n`);
    }
  } catch (error) {
    if (error instanceof BuildError) throw new CliError(error.code, error.message, { diagnostics: error.diagnostics }, error);
    throw error;
  }
  if (!json) shell.stdout.write(`${counts.passed} passed, ${counts.failed} failed\n`);
}

function resultText(shell: Shell, { name, ok, wallMs, message, output }: UnitResult): string {
  const indented = (text: string): string => text.trimEnd().split("\n").map((line) => `    ${plain(line)}`).join("\n");
  const head = ok ? `${paint(shell, shell.stdout, "green", "✔")} ${plain(name)} (${Math.round(wallMs)} ms)` : `${paint(shell, shell.stdout, "red", "✖")} ${plain(name)}\n${indented(message)}`;
  return output === "" ? head : `${head}\n${indented(output)}`;
}

async function componentTestFiles(project: string): Promise<string[]> {
  const entries = await readdir(join(project, "tests"), { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile() && COMPONENT_TEST_FILE.test(entry.name)).map((entry) => relative(project, join(entry.parentPath, entry.name))).toSorted();
}

/** Node's own runner, with `godwit/testing` to import and the component built; gives its exit code. */
async function runComponents(shell: Shell, json: boolean, project: string, files: readonly string[], only: string | undefined, engine: string, coverage: Coverage | null): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "godwit-test-"));
  try {
    const { component, lines } = await buildComponent(project, shell, { optimise: false, coverage: coverage !== null });
    const file = join(folder, "component.wasm");
    await writeFile(file, component);
    const pattern = only === undefined ? [] : [`--test-name-pattern=${only.replace(/[.*+?^${}()|[\]\\/]/g, String.raw`\$&`)}`];
    const { NODE_TEST_CONTEXT: _, ...environment } = { ...process.env, ...shell.environment };
    const child = spawn(process.execPath, ["--import", HOOKS, "--test", ...pattern, ...files], {
      cwd: project, signal: shell.signal, stdio: ["ignore", "pipe", "pipe"], env: { ...environment, GODWIT_TEST_PROJECT: project, GODWIT_TEST_COMPONENT: file, GODWIT_TEST_ENGINE: engine, ...(coverage === null ? {} : { GODWIT_TEST_COVERAGE: folder }) },
    });
    // With --json stdout holds results only, one a line.
    child.stdout.on("data", (chunk: Uint8Array) => (json ? shell.stderr : shell.stdout).write(chunk));
    child.stderr.on("data", (chunk: Uint8Array) => shell.stderr.write(chunk));
    const exitCode = await new Promise<number>((done, fail) => {
      child.on("error", (error) => (shell.signal.aborted ? done(1) : fail(error)));
      child.on("close", (code) => done(code ?? 1));
    });
    if (coverage !== null) await readLines(coverage, lines, folder);
    return exitCode;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What the processes of tests have left in the folder. */
async function readLines(coverage: Coverage, lines: readonly Line[], folder: string): Promise<void> {
  expectLines(coverage, lines);
  for (const name of await readdir(folder)) {
    if (!name.endsWith(".json")) continue;
    for (const number of JSON.parse(await readFile(join(folder, name), "utf8")) as number[]) note(coverage, lines, number);
  }
}

type Covered = { readonly file: string; readonly lines: number; readonly covered: number; readonly missed: readonly number[] };

const coverageOf = (coverage: Coverage): Covered[] => [...coverage].map(([file, lines]) => {
  const missed = [...lines].filter(([, ran]) => !ran).map(([line]) => line).toSorted((a, b) => a - b);
  return { file, lines: lines.size, covered: lines.size - missed.length, missed };
}).toSorted((a, b) => (a.file < b.file ? -1 : 1));

function coverageText(coverage: Coverage): string {
  const files = coverageOf(coverage);
  const sum = (of: "lines" | "covered"): number => files.reduce((all, file) => all + file[of], 0);
  const rows = files.length < 2 ? files : [...files, { file: "all", lines: sum("lines"), covered: sum("covered"), missed: [] }];
  return tableText(rows, [
    { title: "FILE", cell: ({ file }) => plain(file) },
    { title: "LINES", align: "right", cell: ({ lines }) => String(lines) },
    { title: "RUN", align: "right", cell: ({ lines, covered }) => `${lines === 0 ? 100 : Math.floor((covered / lines) * 100)} %` },
    { title: "NOT RUN", cell: ({ missed }) => rangesText(missed) },
  ]);
}

/** `3, 7-9`. */
function rangesText(numbers: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const number of numbers) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === number - 1) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`)).join(", ");
}
