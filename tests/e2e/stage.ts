/**
 * The stage of the end-to-end tests: real processes, seen from outside.
 *
 * `startMachine` runs what `npm start` runs after its set-up, in a folder of its own and on free ports; `cli` runs the command line
 * as a user would. Everything that was started is stopped at the end of the test, and a machine's group is killed if it is left.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { type IncomingHttpHeaders, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

export const root: string = join(import.meta.dirname, "..", "..");
const START_TIMEOUT_MS = 120_000;
const CLI_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 30_000;

export type Exit = { readonly code: number | null; readonly signal: string | null; readonly stdout: string; readonly stderr: string };
export type Machine = {
  readonly process: ChildProcess;
  readonly directory: string;
  readonly api: string;
  readonly httpPort: number;
  /** All that it has printed so far. */
  output(): string;
  /** Resolves with the match as soon as the output has one. */
  printed(pattern: RegExp): Promise<RegExpExecArray>;
  /** Sends the signal and waits for the end; resolves to how long that took. */
  stop(signal?: NodeJS.Signals): Promise<{ elapsedMs: number; code: number | null }>;
};

/** A folder that is gone after the test. */
export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "godwit-e2e-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export async function startMachine(t: TestContext, directory: string, options: readonly string[] = ["--no-demo"]): Promise<Machine> {
  const child = spawn(process.execPath, [join(root, "tools", "start.ts"), "--data", directory, ...portsUnlessGiven(options), ...options], { stdio: ["ignore", "pipe", "pipe"], detached: true });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  let ended = false;
  child.on("close", () => (ended = true));
  const closed = once(child, "close") as Promise<[number | null, string | null]>;
  t.after(() => killGroup(child));
  const printed = (pattern: RegExp): Promise<RegExpExecArray> =>
    eventually(`the machine prints ${pattern}`, async () => {
      const match = pattern.exec(output);
      if (match === null && ended) throw new Error(`The machine ended before it printed ${pattern}:\n${output}`);
      return match;
    }, START_TIMEOUT_MS).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${output}`);
    });
  const stop = async (signal: NodeJS.Signals = "SIGINT"): Promise<{ elapsedMs: number; code: number | null }> => {
    const startedMs = performance.now();
    child.kill(signal);
    const timer = setTimeout(() => killGroup(child), STOP_TIMEOUT_MS);
    const [code] = await closed;
    clearTimeout(timer);
    return { elapsedMs: performance.now() - startedMs, code };
  };
  const api = (await printed(/^api\s+(http:\S+)/m))[1]!;
  const httpPort = Number((await printed(/^ingress\s+http:\S+:(\d+)/m))[1]!);
  return { process: child, directory, api, httpPort, output: () => output, printed, stop };
}

const portsUnlessGiven = (options: readonly string[]): string[] =>
  ["--api-port", "--http-port"].filter((option) => !options.includes(option)).flatMap((option) => [option, "0"]);

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // It has ended, as it should.
  }
}

/** Runs to its end whatever its exit code; for a machine that must refuse to start. */
export async function runStart(options: readonly string[]): Promise<Exit> {
  return finish(spawn(process.execPath, [join(root, "tools", "start.ts"), ...options], { stdio: ["ignore", "pipe", "pipe"] }));
}

/** The command line against a machine, as its development account unless the environment says otherwise. */
export async function cli(machine: Machine | null, args: readonly string[], options: { environment?: Record<string, string>; input?: string; folder?: string } = {}): Promise<Exit> {
  const environment = { ...process.env, NO_COLOR: "1", ...(machine ? { GODWIT_API: machine.api, GODWIT_DATA: machine.directory } : {}), ...options.environment };
  const child = spawn(join(root, "tools", "godwit"), args, { stdio: ["pipe", "pipe", "pipe"], env: environment, cwd: options.folder });
  child.stdin.end(options.input ?? "");
  return finish(child);
}

/** The same, for a command that must succeed: its `--json` answer. */
export async function cliJson<T = any>(machine: Machine | null, args: readonly string[], options: { environment?: Record<string, string>; folder?: string } = {}): Promise<T> { // eslint-disable-line typescript/no-explicit-any
  const { code, stdout, stderr } = await cli(machine, [...args, "--json"], options);
  if (code !== 0) throw new Error(`godwit ${args.join(" ")} ended with ${code}: ${stderr}${stdout}`);
  return JSON.parse(stdout) as T;
}

async function finish(child: ChildProcess): Promise<Exit> {
  let [stdout, stderr] = ["", ""];
  child.stdout?.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const timer = setTimeout(() => child.kill("SIGKILL"), CLI_TIMEOUT_MS);
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  clearTimeout(timer);
  return { code, signal, stdout, stderr };
}

export type HttpAnswer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: string; readonly elapsedMs: number };

/** One request on a connection of its own. */
export function http(port: number, host: string, options: { path?: string; method?: string; headers?: Readonly<Record<string, string>>; body?: string | Uint8Array; timeoutMs?: number } = {}): Promise<HttpAnswer> {
  const startedMs = performance.now();
  return new Promise((resolve, reject) => {
    const call = request({ host: "127.0.0.1", port, path: options.path ?? "/", method: options.method ?? "GET", headers: { host, ...options.headers }, agent: false }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("error", reject);
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks).toString(), elapsedMs: performance.now() - startedMs }));
    });
    call.setTimeout(options.timeoutMs ?? 30_000, () => call.destroy(new Error("no answer in time")));
    call.on("error", reject);
    call.end(options.body);
  });
}

/** Polls until `look` gives something, or throws what was waited for. */
export async function eventually<T>(what: string, look: () => Promise<T | null | undefined | false>, timeoutMs = 60_000): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== null && found !== undefined && found !== false) return found;
    if (performance.now() > deadline) throw new Error(`Waited ${timeoutMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Ids of the processes below `pid`, from /proc. */
export function descendants(pid: number): number[] {
  const parents = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "latin1");
      return [[Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1])] as const];
    } catch {
      return [];
    }
  });
  const below = (parent: number): number[] => parents.filter(([, its]) => its === parent).flatMap(([child]) => [child, ...below(child)]);
  return below(pid);
}

/** Those that are still there after a moment: what was told to end is ended by the kernel, and reaped by whoever inherits it, a little later. */
export async function remaining(pids: readonly number[]): Promise<number[]> {
  const endMs = performance.now() + 1_000;
  while (pids.some(isAlive) && performance.now() < endMs) await new Promise((resolve) => setTimeout(resolve, 10));
  return pids.filter(isAlive);
}

export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
};
