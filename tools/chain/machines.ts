/**
 * Whole machines as processes on one computer, each with a validator: what `npm start` runs, told of each other. For benchmarks and
 * tests that kill them; the genesis is made here, so nothing is to be set up.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { encodeGenesis } from "#chain/codec/genesis.ts";
import type { PresetName } from "#chain/constants.ts";
import { type Address, timeMs } from "#chain/types.ts";
import { openDevelopmentAccount } from "#os/development.ts";
import { type KeyPair, openKey } from "#os/keys.ts";

const TOKEN = 1_000_000_000n;
const START_MS_MAX = 60_000;
const STOP_MS_MAX = 10_000;

export type Site = { readonly directory: string; readonly genesisFile: string; readonly ports: readonly number[]; readonly accounts: readonly KeyPair[]; readonly machines: readonly Address[] };
export type MachineProcess = {
  readonly process: ChildProcess;
  readonly api: string;
  readonly httpPort: number;
  output(): string;
  /** To it and everything that it started, as a power cut does, or a pause of the whole. */
  signal(signal: NodeJS.Signals): void;
  stop(signal?: NodeJS.Signals): Promise<void>;
};

/** Below those that the kernel gives to outgoing connections: a machine that is killed finds it free when it comes back. */
const PORTS = { first: 10_240, count: 22_000 } as const;

export async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.first + randomInt(PORTS.count);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true)));
    if (!isFree) continue;
    server.close();
    await once(server, "close");
    return port;
  }
}

/** Folders, keys and the genesis of so many machines, of which the first `validators` validate (default: all). */
export async function makeSite(directory: string, count: number, { validators = count, parameters = "minimal" }: { validators?: number; parameters?: PresetName } = {}): Promise<Site> {
  const own = (index: number): string => join(directory, String(index));
  const keysOf = async (index: number): Promise<{ validator: KeyPair; operator: KeyPair; machine: KeyPair; account: KeyPair }> => {
    await mkdir(join(own(index), "keys"), { recursive: true, mode: 0o700 });
    const [validator, operator, machine] = await Promise.all(["validator", "operator", "machine"].map((name) => openKey(join(own(index), "keys", name)))) as [KeyPair, KeyPair, KeyPair];
    return { validator, operator, machine, account: await openDevelopmentAccount(own(index)) };
  };
  const keys = await Promise.all(Array.from({ length: count }, (_, index) => keysOf(index)));
  const genesis = encodeGenesis({
    version: 1, name: "site", timeMs: timeMs(BigInt(Date.now())), deltaMs: 100, parameters,
    validators: keys.slice(0, validators).map(({ validator, operator }) => ({ publicKey: validator.publicKey, weight: 1, operator: operator.address })),
    accounts: keys.flatMap(({ operator, account }) => [{ address: operator.address, balance: 20_000n * TOKEN }, { address: account.address, balance: 20_000n * TOKEN }]),
  });
  const genesisFile = join(directory, "genesis");
  // A site that was here before goes on: its keys are the same, and so is its chain.
  await writeFile(genesisFile, genesis, { flag: "wx" }).catch((error: NodeJS.ErrnoException) => { if (error.code !== "EEXIST") throw error; });
  return { directory, genesisFile, ports: await Promise.all(keys.map(freePort)), accounts: keys.map(({ account }) => account), machines: keys.map(({ machine }) => machine.address) };
}

/** Where a machine of a site runs, when not simply here. */
export type Placement = {
  /** What runs before `node`: `ip netns exec NAME`, for one. */
  readonly prefix?: readonly string[];
  /** HOST:PORT at which a machine listens for the others. */
  readonly place?: (index: number) => string;
  /** Of its two doors, where others are to reach it. */
  readonly address?: string;
  readonly apiPort?: number;
  readonly httpPort?: number;
  /** Of Node, before the program, and of the program. */
  readonly flags?: readonly string[];
  readonly options?: readonly string[];
  /** The others that it is told of; all, when left out. */
  readonly knows?: readonly number[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Aborted while it starts: it is killed. */
  readonly abort?: AbortSignal;
};

export async function startSiteMachine({ directory, genesisFile, ports }: Site, index: number, placement: Placement = {}): Promise<MachineProcess> {
  const { prefix = [], place = (of) => `127.0.0.1:${ports[of]}`, address, apiPort = 0, httpPort = 0, flags = [], options = [], knows, environment = {}, abort } = placement;
  const peers = ports.flatMap((_, other) => (other === index || knows?.includes(other) === false ? [] : ["--peer", place(other)]));
  const [program, ...words] = [
    ...prefix, process.execPath, ...flags, join(import.meta.dirname, "..", "start.ts"), "--data", join(directory, String(index)), "--api-port", String(apiPort), "--http-port", String(httpPort), ...(address === undefined ? [] : ["--address", address]),
    "--genesis", genesisFile, "--listen", place(index), ...peers, ...options,
  ];
  const child = spawn(program!, words, { stdio: ["ignore", "pipe", "pipe"], detached: true, env: { ...process.env, ...environment } });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const closed = once(child, "close");
  let isClosed = false;
  void closed.then(() => (isClosed = true));
  const signal = (name: NodeJS.Signals): void => {
    try {
      process.kill(-child.pid!, name);
    } catch {
      // It has ended.
    }
  };
  const stop = async (name: NodeJS.Signals = "SIGINT"): Promise<void> => {
    if (name === "SIGINT") child.kill(name);
    else signal(name);
    const timer = setTimeout(() => signal("SIGKILL"), STOP_MS_MAX);
    await closed;
    clearTimeout(timer);
  };
  const printed = async (pattern: RegExp): Promise<string> => {
    for (const endMs = performance.now() + START_MS_MAX; performance.now() < endMs && !isClosed;) {
      const found = pattern.exec(output)?.[1];
      if (found !== undefined) return found;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    signal("SIGKILL");
    throw new Error(`Machine ${index} did not print ${pattern}:\n${output}`);
  };
  const kill = (): void => signal("SIGKILL");
  abort?.addEventListener("abort", kill, { once: true });
  using _ = { [Symbol.dispose]: () => abort?.removeEventListener("abort", kill) };
  if (abort?.aborted) kill();
  const api = await printed(/^api\s+(http:\S+)/m);
  return { process: child, api, httpPort: Number(await printed(/^ingress\s+http:\S+:(\d+)/m)), output: () => output, signal, stop };
}
