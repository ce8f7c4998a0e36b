/**
 * What `npm start` and `npm test` run first, on whatever Node the user has (≥ 18): installs the pinned packages (with Node 26),
 * builds the native parts, and goes on in the pinned Node. Does nothing twice: packages are keyed by the lock file, native parts
 * by their inputs (tools/native.mjs).
 *
 *   node tools/setup.mjs                        set up only
 *   node tools/setup.mjs start -- [options]     then tools/start.ts
 *   node tools/setup.mjs test  -- [files]       then types, lint and all tests (or only the files named)
 *   node tools/setup.mjs run FILE [arguments]   then FILE in the pinned Node
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { buildNative } from "./native.mjs";
import { judge, parseReport, slowestOf } from "./testFiles.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const pinnedNode = join(root, "node_modules", ".bin", "node");
const stampFile = join(root, "node_modules", ".godwit-installed");
const NODE_MAJOR_MIN = 18;
// Not workloads/templates: their tests are those of projects of their own, and some are AssemblyScript.
const TEST_GLOBS = ["chain", "sandbox", "workloads/sdk", "os", "tools", "tests"].map((folder) => `${folder}/**/*.test.ts`).concat("workloads/*.test.ts");
const TEST_CONCURRENCY = 2; // files side by side: the smallest machine we support has two cores
const PROGRESS_INTERVAL_MS = 5_000;
const PARENT_CHECK_INTERVAL_MS = 1_000;
const STOP_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"];

const startedAt = Date.now();
const elapsed = () => `${((Date.now() - startedAt) / 1000).toFixed(1)} s`;
const say = (text) => process.stderr.write(`godwit: ${text}\n`);
const fail = (text) => {
  say(text);
  process.exit(1);
};

/** Runs `command` in the repository and resolves to its exit code; its output is shown only when it failed. */
function quietly(command, args, what) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output = (output + chunk).slice(-20_000)));
    const timer = setInterval(() => say(`${what} … ${elapsed()}`), PROGRESS_INTERVAL_MS);
    // npm goes on for seconds after a Ctrl-C, and a start that follows finds it in its way. What it leaves half done, the next npm ci clears.
    let isStopped = false;
    const end = () => (isStopped = child.kill("SIGKILL"));
    for (const signal of STOP_SIGNALS) process.on(signal, end);
    child.on("error", (error) => fail(`Cannot run ${command} for ${what}: ${error.message}`));
    child.on("close", (code) => {
      clearInterval(timer);
      for (const signal of STOP_SIGNALS) process.off(signal, end);
      if (isStopped) process.exit(1);
      if (code !== 0) process.stderr.write(output);
      resolve(code);
    });
  });
}

const installKey = () =>
  createHash("sha256").update(readFileSync(join(root, "package.json"))).update(readFileSync(join(root, "package-lock.json"))).digest("hex");

/** Whoever links node_modules to another folder's sees to that folder: npm ci would empty it for all who share it. */
const isShared = () => lstatSync(join(root, "node_modules"), { throwIfNoEntry: false })?.isSymbolicLink() ?? false;

async function installPackages() {
  if (isShared()) return;
  const key = installKey();
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === key) return;
  say("installing the pinned packages");
  if ((await quietly("npm", ["ci", "--loglevel=error"], "installing packages")) !== 0) fail("npm ci failed: see above");
  const version = spawnSync(pinnedNode, ["--version"], { encoding: "utf8" }).stdout ?? "";
  if (!version.startsWith("v26.")) {
    // An npm that runs no install scripts leaves the package without its binary: this is that script.
    const script = spawnSync(process.execPath, ["installArchSpecificPackage.js"], { cwd: join(root, "node_modules", "node"), encoding: "utf8" });
    if (script.status !== 0) fail(`Cannot install Node 26 from the package "node": ${script.stderr}`);
  }
  writeFileSync(stampFile, key);
  say(`packages installed, ${elapsed()}`);
}

async function buildNativeParts() {
  try {
    await buildNative({ log: say });
  } catch (error) {
    fail(error.message);
  }
}

let isStopped = false;

/** Runs the pinned Node in the foreground; signals of the terminal reach it by themselves, others are passed on. */
function runPinned(args, environment = {}) {
  return new Promise((resolve) => {
    const child = spawn(pinnedNode, args, { cwd: process.cwd(), stdio: "inherit", env: { ...process.env, ...environment } });
    // A terminal's Ctrl-C goes to the whole group: passing it on too would stop the child twice.
    for (const signal of STOP_SIGNALS)
      process.on(signal, () => {
        isStopped = true;
        if (!(signal === "SIGINT" && process.stdin.isTTY)) child.kill(signal);
      });
    // npm passes a SIGTERM on to its shell, which ends without a word to us.
    const parent = process.ppid;
    setInterval(() => process.ppid !== parent && child.kill("SIGTERM"), PARENT_CHECK_INTERVAL_MS).unref();
    child.on("error", (error) => fail(`Cannot run ${pinnedNode}: ${error.message}; delete node_modules and try again`));
    child.on("close", (code, signal) => resolve(signal ? 1 : (code ?? 1)));
  });
}

/** All side by side, and those that failed once more alone (tools/testFiles.mjs says why). */
async function runTests(patterns) {
  const folder = mkdtempSync(join(tmpdir(), "godwit-test-"));
  const report = join(folder, "files");
  try {
    const reporters = [["spec", "stdout"], [join(root, "tools", "testFiles.mjs"), report]].flatMap(([reporter, destination]) => [`--test-reporter=${reporter}`, `--test-reporter-destination=${destination}`]);
    const code = await runPinned(["--test", ...reporters, `--test-concurrency=${TEST_CONCURRENCY}`, ...patterns]);
    const files = existsSync(report) ? parseReport(readFileSync(report, "utf8")) : [];
    if (files.length > 1) say(`the longest files: ${slowestOf(files).map(({ file, elapsedMs }) => `${relative(root, file)} ${(elapsedMs / 1000).toFixed(0)} s`).join(", ")}`);
    return await judge({ code, files, isStopped: () => isStopped, runAlone: (file) => runPinned(["--test", "--test-reporter=spec", file]), say });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function main() {
  if (Number(process.versions.node.split(".")[0]) < NODE_MAJOR_MIN) fail(`Node ${process.versions.node} is too old: install Node ${NODE_MAJOR_MIN} or newer`);
  const [verb, ...rest] = process.argv.slice(2);
  const args = rest[0] === "--" ? rest.slice(1) : rest;
  await installPackages();
  await buildNativeParts();
  const environment = { GODWIT_STARTED_AT_MS: String(startedAt) };
  if (verb === undefined) return 0;
  if (verb === "start") return runPinned(["--max-semi-space-size=2", join(root, "tools", "start.ts"), ...args], environment);
  if (verb === "run") return runPinned([join(root, args[0]), ...args.slice(1)], environment);
  if (verb === "test") {
    process.chdir(root);
    const code = await runPinned([join(root, "tools", "check.ts")]);
    if (code !== 0) return code;
    return runTests(args.length > 0 ? args : TEST_GLOBS);
  }
  fail(`Cannot run "${verb}": expected start, test or run`);
}

process.exitCode = await main();
