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

async function freePort(): Promise<number> {
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
  await writeFile(genesisFile, genesis);
  return { directory, genesisFile, ports: await Promise.all(keys.map(freePort)), accounts: keys.map(({ account }) => account), machines: keys.map(({ machine }) => machine.address) };
}

export async function startSiteMachine({ directory, genesisFile, ports }: Site, index: number): Promise<MachineProcess> {
  const peers = ports.flatMap((port, other) => (other === index ? [] : ["--peer", `127.0.0.1:${port}`]));
  const child = spawn(process.execPath, [
    join(import.meta.dirname, "..", "start.ts"), "--data", join(directory, String(index)), "--api-port", "0", "--http-port", "0", "--genesis", genesisFile, "--listen", `127.0.0.1:${ports[index]}`, ...peers,
  ], { stdio: ["ignore", "pipe", "pipe"], detached: true });
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
  const api = await printed(/^api\s+(http:\S+)/m);
  return { process: child, api, httpPort: Number(await printed(/^ingress\s+http:\S+:(\d+)/m)), output: () => output, signal, stop };
}
