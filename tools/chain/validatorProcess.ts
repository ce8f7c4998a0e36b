/**
 * One validator as a process that its parent drives over IPC: `validatorProcess.ts OPTIONS`, OPTIONS in JSON (`ProcessOptions`).
 *
 *     parent → { kind: "submit", call, transactions } | { kind: "status", call } | { kind: "block", call, height } | { kind: "stop" }
 *     child  → { kind: "up", listening } · an answer with the call's number · { kind: "final", height, timeMs, txids } if asked to · { kind: "halt", code }
 *
 * What is told as final can be read from this node at that moment.
 */
import { readFile } from "node:fs/promises";
import { flushCompileCache } from "node:module";
import type { Offence } from "#chain/network/transport.ts";
import { type ChainNode, NodeError } from "#chain/node/node.ts";
import { hex } from "#chain/types.ts";
import { signaturesCheckedBy, verifyNatively } from "#os/verification.ts";
import { type RunningValidator, type ValidatorOptions, startValidator } from "./validator.ts";

/** What of a validator's options crosses a process boundary, and what its parent wants to hear. */
export type ProcessOptions = Omit<ValidatorOptions, "genesis" | "checkpoint" | "trace" | "onHalt" | "onLeftBehind"> & { readonly genesisFile: string; readonly tellsFinal: boolean };
export type Ask =
  | { readonly kind: "submit"; readonly call: number; readonly transactions: readonly Uint8Array[] }
  | { readonly kind: "status"; readonly call: number }
  | { readonly kind: "block"; readonly call: number; readonly height: number }
  | { readonly kind: "stop" };
export type Status = {
  readonly height: number; readonly stateRoot: string; readonly view: number; readonly peers: number; readonly heightFirst: number; readonly waiting: number; readonly halted: string | null;
  readonly offences: Readonly<Partial<Record<Offence, number>>>; readonly heapBytes: number;
  readonly signaturesBy: "native" | "openssl";
};
export type Told =
  | { readonly kind: "up"; readonly listening: readonly string[] }
  | { readonly kind: "submitted"; readonly call: number; /** null: taken. */ readonly codes: readonly (string | null)[] }
  | { readonly kind: "status"; readonly call: number; readonly status: Status }
  | { readonly kind: "block"; readonly call: number; readonly block: { readonly id: string; readonly txids: readonly string[] } | null }
  | { readonly kind: "final"; readonly height: number; readonly timeMs: number; readonly txids: readonly string[] }
  | { readonly kind: "halt"; readonly code: string };

const tell = (told: Told): void => { if (process.connected) process.send!(told); };

async function run(options: ProcessOptions): Promise<void> {
  verifyNatively((line) => console.error(line));
  const genesis = await readFile(options.genesisFile);
  const start = async (): Promise<RunningValidator> => {
    const started = await startValidator({ ...options, genesis, onLeftBehind: () => void again(), onHalt: ({ code, message }) => {
      console.error(`halt ${code}: ${message}`);
      tell({ kind: "halt", code });
    } });
    if (options.tellsFinal) {
      started.node.onFinal(({ height, header, outcomes }) => tell({ kind: "final", height, timeMs: Number(header.timeMs), txids: outcomes.map(({ txid }) => hex(txid)) }));
    }
    return started;
  };
  let running = await start();
  const again = async (): Promise<void> => {
    await running.stop();
    running = await start();
  };
  const end = (): void => void running.stop().finally(() => process.exit(0));
  process.on("SIGTERM", end);
  process.on("disconnect", end);
  process.on("message", (ask: Ask) => (ask.kind === "stop" ? end() : answer(ask, running)));
  tell({ kind: "up", listening: running.transport.listening() });
  // It is written at an orderly end else, and these are killed.
  flushCompileCache();
}

function answer(ask: Exclude<Ask, { readonly kind: "stop" }>, { node, transport }: RunningValidator): void {
  switch (ask.kind) {
    case "submit": {
      const taken = ask.transactions.map((bytes) => node.submit(bytes).then(() => null, (error: unknown) => (error instanceof NodeError ? error.code : String(error))));
      return void Promise.all(taken).then((codes) => tell({ kind: "submitted", call: ask.call, codes }));
    }
    case "status": {
      const { height, stateRoot } = node.head();
      const { view, peers, mempool, halted } = node.status();
      return tell({ kind: "status", call: ask.call, status: {
        height, stateRoot: hex(stateRoot), view, peers, heightFirst: heightFirst(node), waiting: mempool.count, halted, offences: transport.offences(), heapBytes: process.memoryUsage().heapUsed, signaturesBy: signaturesCheckedBy(),
      } });
    }
    case "block": {
      const block = node.block(ask.height);
      const found = block && { id: hex(block.id), txids: block.outcomes.map(({ txid }) => hex(txid)) };
      return tell({ kind: "block", call: ask.call, block: found });
    }
    default: ask satisfies never;
  }
}

/** The oldest block that is here: above 1 after joining from a snapshot. */
function heightFirst(node: ChainNode): number {
  let [low, high] = [1, node.head().height as number];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (node.block(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

if (import.meta.main) await run(JSON.parse(process.argv[2]!) as ProcessOptions);
