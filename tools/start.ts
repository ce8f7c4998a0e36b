/**
 * `npm start`: one machine on loopback, the hello example deployed by the public path, and a bill that moves.
 *
 *   npm start -- [--data DIR] [--fresh] [--api-port N] [--http-port N] [--metrics [A:]P] [--no-demo] [--parameters PRESET]
 *
 * Each step is said with its elapsed time. Ctrl-C stops everything within 2 s; the next start goes on with the same chain. Exit code
 * 0 stopped as asked, 1 failed (`error code: message`), 2 wrong usage.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rm } from "node:fs/promises";
import { isIP } from "node:net";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { addressText } from "#chain/codec/address.ts";
import { PRESETS, type PresetName } from "#chain/constants.ts";
import { multiaddressOf } from "#chain/network/addresses.ts";
import { DELAY_MS_MAX } from "#chain/network/slow.ts";
import { lockFolder } from "#chain/node/folderLock.ts";
import type { Listener } from "#os/agent.ts";
import { LEFT_BEHIND } from "#os/boot/ending.ts";
import { type DevelopmentAgent, type DevelopmentOptions, startDevelopment } from "#os/development.ts";
import type { Bill, Deployment } from "./cli/answers.ts";
import { ApiClient } from "./cli/client.ts";
import { runwayPhrase, secondsRun } from "./cli/commands/bill.ts";
import { writeDevelopmentApi } from "./cli/keys.ts";
import { rateText, tokensText } from "./cli/money.ts";

const USAGE = `npm start -- [options]
  --data DIR       data folder (~/.godwit/dev)
  --fresh          begin a new chain: what the data folder holds is deleted
  --api-port N     port of the HTTP API (7480; 0: any)
  --http-port N    port of the ingress (7481; 0: any)
  --address A      address of both (127.0.0.1; 0.0.0.0 where other machines are to reach it)
  --metrics [A:]P  answer /metrics (Prometheus) on that port, on 127.0.0.1 or that address: for the operator alone
  --no-demo        do not deploy the hello example
  --genesis FILE   be one machine of a chain of several (godwit chain genesis), with
  --listen H:P     where to listen for the others (0.0.0.0:7482), and
  --peer H:P       machines to begin with; may be given several times
  --slow-ms N      what it sends to the others leaves N ms later (devnets)
  --parameters P   protocol parameters of a new chain: default, or minimal (short holds, for tests)`;
const API_PORT_DEFAULT = 7480;
const HTTP_PORT_DEFAULT = 7481;
const LOOPBACK = "127.0.0.1";
const LISTEN_DEFAULT = "0.0.0.0:7482";
const EXAMPLE = join(import.meta.dirname, "..", "workloads", "examples", "hello");
const EXAMPLE_NAME = "hello";
const BILL_INTERVAL_MS = 1_000;
/** Where output is no terminal a line cannot move: one in this many seconds is printed. */
const BILL_LINE_EVERY = 10;
const PARENT_CHECK_INTERVAL_MS = 1_000;
/** Everything is stopped in steps that end by themselves; this is for a step that does not. */
const STOP_MS_MAX = 2_000;
/** What a data folder of a development machine holds; its keys, by which it is known for one, go last. */
const DATA_ENTRIES = ["api.json", "chain", "compiled", "components", "configurations", "logs", "keys"];

type Options = { readonly directory: string; readonly fresh: boolean; readonly address?: string; readonly apiPort: number; readonly httpPort: number; readonly metrics?: Listener; readonly demo: boolean; readonly parameters: PresetName;
  readonly chain?: { readonly genesisFile: string; readonly listen: readonly string[]; readonly peers: readonly string[]; readonly delayMs: number } };
/** What to do about a refusal that a second start meets. */
const ADVICE: Readonly<Record<string, string>> = {
  data_folder_in_use: "Ctrl-C where it runs ends it; beside it, start one with --data DIR --api-port 0 --http-port 0",
  data_folder_version: "npm start -- --fresh begins a new chain in that folder: its deployments and what was paid are gone then; --data DIR keeps it for the program of before",
  port_in_use: "choose others with --api-port N and --http-port N (0: any)",
};
class UsageError extends Error {}
class StartError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const dataDefault = (): string => join(homedir(), ".godwit", "dev");
const shellText = (text: string): string => (/^[\w./:@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
const startedAtMs = Number(process.env["GODWIT_STARTED_AT_MS"] ?? Date.now());
const elapsed = (): string => `${((Date.now() - startedAtMs) / 1000).toFixed(2)} s`;
const isTerminal = process.stdout.isTTY === true;
const say = (label: string, text: string): boolean => process.stdout.write(`${isTerminal ? "\r\u001b[K" : ""}${label.padEnd(9)} ${text}\n`);

function readOptions(argv: readonly string[]): Options | null {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...argv], strict: true,
      options: { data: { type: "string" }, fresh: { type: "boolean" }, "api-port": { type: "string" }, "http-port": { type: "string" }, metrics: { type: "string" }, address: { type: "string" }, "no-demo": { type: "boolean" }, parameters: { type: "string" }, genesis: { type: "string" }, listen: { type: "string", multiple: true }, peer: { type: "string", multiple: true }, "slow-ms": { type: "string" }, help: { type: "boolean", short: "h" } },
    }));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  if (values.help === true) return null;
  return {
    directory: resolve(values.data ?? dataDefault()), fresh: values.fresh === true, demo: values["no-demo"] !== true,
    parameters: preset(values.parameters ?? "default"), ...(values.address === undefined ? {} : { address: ipAddress(values.address) }),
    ...(values.genesis === undefined ? {} : { chain: { genesisFile: resolve(values.genesis), listen: addresses("--listen", values.listen ?? [LISTEN_DEFAULT]), peers: addresses("--peer", values.peer ?? []), delayMs: delay(values["slow-ms"] ?? "0") } }),
    apiPort: port("--api-port", values["api-port"], API_PORT_DEFAULT), httpPort: port("--http-port", values["http-port"], HTTP_PORT_DEFAULT), ...(values.metrics === undefined ? {} : { metrics: listener(values.metrics) }),
  };
}

function ipAddress(written: string): string {
  if (isIP(written) === 0) throw new UsageError(`--address must be an IP address, not "${written}"`);
  return written;
}

function listener(written: string): Listener {
  const [, address = LOOPBACK, digits] = /^(?:(.+):)?(\d{1,5})$/.exec(written) ?? [];
  if (digits === undefined || Number(digits) > 65_535 || isIP(address) === 0) throw new UsageError(`--metrics must be PORT or ADDRESS:PORT, not "${written}"`);
  return { address, port: Number(digits) };
}

function addresses(option: string, written: readonly string[]): string[] {
  return written.map((text) => {
    const found = multiaddressOf(text);
    if (found === null) throw new UsageError(`${option} must be HOST:PORT, not "${text}"`);
    return found;
  });
}

function delay(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > DELAY_MS_MAX) throw new UsageError(`--slow-ms must be from 0 to ${DELAY_MS_MAX}, not "${text}"`);
  return Number(text);
}

function preset(name: string): PresetName {
  if (!Object.hasOwn(PRESETS, name)) throw new UsageError(`--parameters must be one of ${Object.keys(PRESETS).join(", ")}, not "${name}"`);
  return name as PresetName;
}

function port(option: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw new UsageError(`${option} must be a port from 0 to 65535, not "${text}"`);
  return Number(text);
}

/** Deletes what an earlier machine left in the folder, and nothing else: not while one runs there, and not in a folder that is no data folder. */
async function clear(directory: string): Promise<void> {
  const entries = await readdir(directory).catch((): string[] => []);
  if (entries.length === 0) return;
  if (!existsSync(join(directory, "keys", "machine"))) throw new StartError("not_a_data_folder", `Cannot begin anew in ${directory} as it holds files and no machine's key: give an empty folder, or delete it yourself`);
  const lock = await lockFolder(directory);
  try {
    for (const entry of DATA_ENTRIES) await rm(join(directory, entry), { recursive: true, force: true });
  } finally {
    await lock.release();
  }
}

/** The demo's deployment: the one that is there, or a new one by the same command that an author types. */
async function deployDemo(agent: DevelopmentAgent, client: ApiClient, directory: string, signal: AbortSignal): Promise<Deployment | null> {
  const there = (await client.allDeployments(addressText(agent.account.address))).find(({ name, state }) => name === EXAMPLE_NAME && state !== "closing");
  if (there !== undefined) {
    say("demo", `${EXAMPLE_NAME} is deployed already (${there.state})  ${elapsed()}`);
    return there;
  }
  say("demo", `building and deploying workloads/examples/${EXAMPLE_NAME} …`);
  const child = spawn(process.execPath, [join(import.meta.dirname, "cli", "main.ts"), "deploy", EXAMPLE, "--json"], {
    stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, GODWIT_API: agent.api, GODWIT_DATA: directory, GODWIT_ACCOUNT: "dev" }, signal,
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((settle) => child.on("error", () => settle(null)).on("close", settle));
  if (signal.aborted) return null;
  if (code !== 0) {
    say("demo", `could not be deployed; the machine runs on without it: ${stderr.trim()}`);
    return null;
  }
  const { id } = JSON.parse(stdout) as { id: string };
  const deployment = await client.deployment(id);
  say("demo", `${EXAMPLE_NAME} deployed and ready  ${elapsed()}`);
  return deployment;
}

/** Seconds run × rate per second = total, and the runway (or that it is closed). */
function billText(bill: Bill): string {
  const rates = new Set(bill.segments.map(({ rate }) => rate));
  const seconds = secondsRun(bill);
  const sum = rates.size === 1 && bill.earlier.segments === 0 ? `${seconds} s × ${tokensText([...rates][0]!)} =` : `${seconds} s in ${bill.segments.length + (bill.earlier.segments ?? 0)} segments, now ${rateText(bill.ratePerSecond)}:`;
  return `${sum} ${tokensText(bill.total)} tokens; ${runwayPhrase(bill)}`;
}

/** Shows the bill once a second until the signal, or until it can change no more; a failed look is left out. */
async function showBill(client: ApiClient, id: string, signal: AbortSignal): Promise<void> {
  for (let tick = 0; !signal.aborted; tick++) {
    const bill = await client.bill(id).catch(() => null);
    if (bill !== null && !signal.aborted) {
      if (isTerminal) process.stdout.write(`\r\u001b[K${"bill".padEnd(9)} ${billText(bill)}`);
      else if (bill.closed || tick % BILL_LINE_EVERY === 0) say("bill", billText(bill));
      if (bill.closed) break;
    }
    await sleep(BILL_INTERVAL_MS, undefined, { signal }).catch(() => {});
  }
}

/** Aborted by Ctrl-C, by SIGTERM, and when whoever started us is gone without a word. From then on there are STOP_MS_MAX, whatever is under way. */
function stopOnSignals(): AbortController {
  const stop = new AbortController();
  stop.signal.addEventListener("abort", () => setTimeout(() => process.exit(1), STOP_MS_MAX).unref(), { once: true });
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => stop.abort());
  const parent = process.ppid;
  setInterval(() => process.ppid !== parent && stop.abort(), PARENT_CHECK_INTERVAL_MS).unref();
  return stop;
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (options === null) {
    console.log(USAGE);
    return 0;
  }
  const stop = stopOnSignals();
  if (options.fresh) await clear(options.directory);
  await mkdir(join(options.directory, ".."), { recursive: true });
  const { chain, ...machine } = options;
  const joined = chain === undefined ? {} : { chain: { ...chain, genesis: new Uint8Array(await readFile(chain.genesisFile)) } };
  // Left behind, it begins anew with a snapshot.
  while (await run({ ...machine, ...joined }, options, stop) === LEFT_BEHIND);
  return 0;
}

/** Until it is stopped, or the machine ends by itself: then why. */
async function run(machine: DevelopmentOptions, options: Options, stop: AbortController): Promise<string | null> {
  const { signal } = stop;
  const { chain } = options;
  let why: string | null = null;
  const ended = new AbortController();
  const agent = await startDevelopment({ ...machine, onLog: (line) => say("machine", line) });
  void agent.ended.then((code) => {
    why = code;
    ended.abort();
  });
  const client = new ApiClient({ url: agent.api, signer: { address: agent.account.address, seed: agent.account.seed } });
  try {
    await writeDevelopmentApi(options.directory, agent.api);
    say("machine", `${addressText(agent.machine)}, chain at height ${agent.node.head().height}  ${elapsed()}`);
    say("account", `${addressText(agent.account.address)} (development, funded)`);
    say("api", agent.api);
    say("ingress", `http://127.0.0.1:${agent.httpPort}`);
    if (machine.metrics !== undefined) say("metrics", `http://${isIP(machine.metrics.address) === 6 ? `[${machine.metrics.address}]` : machine.metrics.address}:${agent.metricsPort}/metrics`);
    const deployment = options.demo && chain === undefined && !signal.aborted ? await deployDemo(agent, client, options.directory, signal) : null;
    // Where `godwit` looks by itself is another machine, or none.
    if (options.directory !== resolve(dataDefault()) && chain === undefined) say("godwit", `export GODWIT_DATA=${shellText(options.directory)}    in the terminal where you type it`);
    if (deployment !== null) say("try", `curl http://${new URL(deployment.url).host}/`);
    if (!signal.aborted) say("stop", "Ctrl-C");
    const over = AbortSignal.any([signal, ended.signal]);
    if (deployment !== null) await showBill(client, deployment.id, over);
    if (!over.aborted) await new Promise((resolve) => over.addEventListener("abort", resolve, { once: true }));
  } finally {
    say("stopping", "…");
    if (why !== LEFT_BEHIND || signal.aborted) stop.abort();
    await client.close();
    await agent.stop();
    say("stopped", "the next start goes on from here");
  }
  return signal.aborted ? null : why;
}

try {
  process.exitCode = await main();
} catch (error) {
  const code = error instanceof UsageError ? "usage" : error instanceof Error && "code" in error ? String(error.code) : "internal";
  const text = error instanceof Error ? (code === "internal" ? (error.stack ?? error.message) : error.message) : String(error);
  const more = error instanceof UsageError ? USAGE : ADVICE[code];
  process.stderr.write(`error ${code}: ${text}\n${more === undefined ? "" : `${more}\n`}`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
