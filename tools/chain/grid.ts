/**
 * Several real validators of one chain as child processes: keys and genesis in a folder, and each process under a handle by which it
 * is asked, stopped, killed and started again. The benchmark and the end-to-end tests stand on it.
 *
 * Children run with the flags that validators run with (`--max-semi-space-size=2`, one malloc arena) and end with their parent.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { addressOf } from "#chain/codec/address.ts";
import { chainIdOf, encodeGenesis, type GenesisAccount } from "#chain/codec/genesis.ts";
import type { PresetName } from "#chain/constants.ts";
import { type ChainId, timeMs } from "#chain/types.ts";
import { openKey } from "#os/keys.ts";
import type { Ask, ProcessOptions, Status, Told } from "./validatorProcess.ts";

export const VALIDATOR_FLAGS: readonly string[] = ["--max-semi-space-size=2"];
/** As `tools/godwit` starts it: what the stripping of types needs is 26 MiB, and with its results on the disk it is not loaded. */
export const VALIDATOR_ENVIRONMENT: Readonly<Record<string, string>> = {
  // What a burst has freed goes back: 8 MiB less at 10^5 accounts.
  MALLOC_ARENA_MAX: "1", MALLOC_TRIM_THRESHOLD_: "131072", MALLOC_MMAP_THRESHOLD_: "131072", NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"] ?? join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "godwit", "node-compile"),
};
const PROGRAM = join(import.meta.dirname, "validatorProcess.ts");
const START_MS_MAX = 90_000;

export type Chain = { readonly directory: string; readonly genesis: Uint8Array; readonly genesisFile: string; readonly chainId: ChainId };
export type ChainOptions = { readonly validators: number; readonly accounts: readonly GenesisAccount[]; readonly deltaMs?: number; readonly parameters?: PresetName };

/** Folders `DIRECTORY/0` … with the keys of each validator, and the genesis that names them. */
export async function makeChain(directory: string, { validators, accounts, deltaMs = 100, parameters = "minimal" }: ChainOptions): Promise<Chain> {
  const keys = await Promise.all(Array.from({ length: validators }, (_, index) => openKey(join(directory, String(index), "keys", "validator"))));
  const genesis = encodeGenesis({
    version: 1, name: "grid", timeMs: timeMs(BigInt(Date.now() - 1_000)), deltaMs, parameters, accounts,
    validators: keys.map(({ publicKey }) => ({ publicKey, weight: 1, operator: addressOf(publicKey) })),
  });
  const genesisFile = join(directory, "genesis");
  await mkdir(directory, { recursive: true });
  await writeFile(genesisFile, genesis);
  return { directory, genesis, genesisFile, chainId: chainIdOf(genesis) };
}

export type SpawnOptions = {
  readonly listen: readonly string[];
  readonly peers: readonly string[];
  readonly tellsFinal?: boolean;
  readonly clockOffsetMs?: number;
  readonly snapshotBlocks?: number;
  readonly votesLost?: boolean;
  /** What runs before `node`: `ip netns exec NAME`, for one. */
  readonly prefix?: readonly string[];
  readonly flags?: readonly string[];
  /** Beside what all validators have. */
  readonly environment?: Readonly<Record<string, string>>;
};

type Answer = Told & { readonly call: number };
type AskBody = Ask extends infer A ? (A extends { readonly call: number } ? Omit<A, "call"> : never) : never;

export class ValidatorHandle {
  readonly process: ChildProcess;
  readonly listening: readonly string[];
  onFinal: ((told: Told & { kind: "final" }) => void) | null = null;
  halted: string | null = null;
  readonly #calls = new Map<number, (answer: Answer) => void>();
  #count = 0;

  constructor(child: ChildProcess, listening: readonly string[]) {
    this.process = child;
    this.listening = listening;
    child.on("message", (told: Told) => {
      if (told.kind === "final") this.onFinal?.(told);
      else if (told.kind === "halt") this.halted = told.code;
      else if (told.kind !== "up") {
        this.#calls.get(told.call)?.(told);
        this.#calls.delete(told.call);
      }
    });
  }
  get pid(): number {
    return this.process.pid!;
  }
  get isAlive(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }
  async submit(transactions: readonly Uint8Array[]): Promise<readonly (string | null)[]> {
    return (await this.#ask({ kind: "submit", transactions }) as Told & { kind: "submitted" }).codes;
  }
  async status(): Promise<Status> {
    return (await this.#ask({ kind: "status" }) as Told & { kind: "status" }).status;
  }
  async block(height: number): Promise<(Told & { kind: "block" })["block"]> {
    return (await this.#ask({ kind: "block", height }) as Told & { kind: "block" }).block;
  }
  signal(name: NodeJS.Signals): void {
    this.process.kill(name);
  }
  async stop(name: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (!this.isAlive) return;
    const ended = once(this.process, "exit");
    this.process.kill(name);
    await ended;
  }

  #ask(ask: AskBody): Promise<Answer> {
    const call = this.#count++;
    return new Promise((resolve, reject) => {
      this.#calls.set(call, resolve);
      this.process.send({ ...ask, call }, (error: Error | null) => { if (error) reject(error); });
    });
  }
}

/** Starts validator `index` of the chain and waits until it listens. */
export async function startProcess(chain: Chain, index: number, { listen, peers, tellsFinal = false, clockOffsetMs = 0, prefix = [], flags = [], environment = {}, ...more }: SpawnOptions): Promise<ValidatorHandle> {
  const options: ProcessOptions = { directory: join(chain.directory, String(index)), genesisFile: chain.genesisFile, listen, peers, tellsFinal, clockOffsetMs, ...more };
  const [command, ...rest] = [...prefix, process.execPath, ...VALIDATOR_FLAGS, ...flags, PROGRAM, JSON.stringify(options)];
  const child = spawn(command!, rest, { stdio: ["ignore", "inherit", "inherit", "ipc"], serialization: "advanced", env: { ...process.env, ...VALIDATOR_ENVIRONMENT, ...environment } });
  const listening = await new Promise<readonly string[]>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`Validator ${index} did not start within ${START_MS_MAX} ms`));
    }, START_MS_MAX);
    child.once("message", (told: Told) => { if (told.kind === "up") resolve(told.listening); });
    child.once("exit", (code, signal) => reject(new Error(`Validator ${index} ended before it was up: ${signal ?? code}`)));
    child.once("message", () => clearTimeout(timer));
  });
  return new ValidatorHandle(child, listening);
}
