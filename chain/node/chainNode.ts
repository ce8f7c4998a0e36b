/**
 * What the rest of a machine sees of its chain node. Everything here speaks of final blocks: what is only notarized can still
 * vanish, and nobody outside the node hears of it.
 */
import type { GenesisFacts } from "#chain/codec/genesis.ts";
import type { BlockHeader } from "#chain/codec/schema.ts";
import type { Outcome } from "#chain/ledger/ledger.ts";
import type { LedgerEvent, LedgerView } from "#chain/ledger/view.ts";
import type { Checkpoint } from "#chain/light/checkpoint.ts";
import type { Clock } from "#chain/network/clock.ts";
import type { Transport } from "#chain/network/transport.ts";
import type { ChainId, Digest, Height, MoneySecond, TimeMs } from "#chain/types.ts";
import type { NodeMachine } from "./beats.ts";
import type { NodeError } from "./errors.ts";
import type { StateKept } from "./keepers.ts";
import type { StoredChunks } from "./snapshotFile.ts";

export type NodeOptions = {
  readonly directory: string;
  readonly genesis: Uint8Array;
  /** Consensus key; without it, or while it is none of the epoch's validators', the node follows without voting. */
  readonly validatorSeed?: Uint8Array;
  /** R12: this key may have signed, and its vote log is gone. If a log is there after all, that one counts. */
  readonly votesLost?: boolean;
  /** The machine that the node runs on: it beats for it. */
  readonly machine?: NodeMachine;
  /** Belongs to the node from now on: `stop` closes it. */
  readonly transport: Transport;
  /** An empty folder begins with a snapshot of the peers, if they have one (join.ts), and one that is an epoch old at once; it costs a wait for them. */
  readonly joins?: boolean;
  /** Where a join begins to believe, instead of at genesis; a folder that holds a chain already does not need it. */
  readonly checkpoint?: Checkpoint;
  readonly clock?: Clock;
  /** A snapshot of the state every so many final blocks. */
  readonly snapshotBlocks?: number;
  /** Keeps every block, for replay and audit; else those of the last epoch and since the newest snapshot. */
  readonly archive?: boolean;
  /** Hears of every step of consensus, a line each (`trace.ts`). */
  readonly trace?: (line: string) => void;
  /** The node signs nothing any more: a person must look. What it knows can still be read. Default: a process warning. */
  readonly onHalt?: (error: NodeError) => void;
  /** Once: it was away for longer than others keep blocks. Opened again, it begins with a snapshot. Default: a process warning. */
  readonly onLeftBehind?: () => void;
};

export type { Outcome };
export type Head = { readonly height: Height; readonly id: Digest; readonly timeMs: TimeMs; readonly moneySecond: MoneySecond; readonly stateRoot: Digest };
export type FinalBlock = {
  readonly height: Height;
  readonly id: Digest;
  readonly header: BlockHeader;
  readonly outcomes: readonly Outcome[];
  readonly events: readonly LedgerEvent[];
};
export type BlockRecord = {
  readonly height: Height;
  readonly id: Digest;
  readonly bytes: Uint8Array;
  readonly certificate: Uint8Array;
  readonly outcomes: readonly Outcome[];
  readonly events: readonly LedgerEvent[];
};
export type TransactionStatus = { readonly height: Height; readonly index: number; readonly ok: boolean; readonly code?: string };

export interface ChainNode {
  readonly chainId: ChainId;
  readonly genesis: GenesisFacts;
  /** Before `start` what is submitted waits for the first block. Throws NodeError with the refusal's code. Again = the same answer. */
  submit(transaction: Uint8Array): Promise<{ txid: Digest }>;
  /** Throws NodeError: `timeout`, `aborted`, `node_stopped`, or the code with which it left the mempool. */
  whenFinal(txid: Uint8Array, options?: { timeoutMs?: number; signal?: AbortSignal }): Promise<TransactionStatus>;
  head(): Head;
  /** The final state; a live view, not a copy. */
  view(): LedgerView;
  block(height: number): BlockRecord | null;
  /** An encoded answer (`codec/proof.ts`) about a leaf of the newest final state; null while no certificate is of its very block. Throws NodeError: `overloaded`, `node_stopped`. */
  prove(key: string): Promise<Uint8Array | null>;
  /** One that leads from the validators of an epoch to those of the next; null when no such block is kept, or there is none yet. */
  proveEpoch(epoch: number): Uint8Array | null;
  /** The newest snapshot of the final state, made anew where it is old; whoever takes it closes it. Null: there is none yet. */
  newestSnapshot(): Promise<StoredChunks | null>;
  transaction(txid: Uint8Array): TransactionStatus | null;
  /** Called after `view()` shows the block, once per block, in order. */
  onFinal(listener: (block: FinalBlock) => void): () => void;
  /** The money second a block made now would have: what a live bill is drawn up for. */
  moneySecondNow(): MoneySecond;
  /** Begins consensus. */
  start(): void;
  /** Stops signing, writes out what is under way, and lets go of the folder. */
  stop(): Promise<void>;
  status(): NodeStatus;
}
export type NodeStatus = {
  readonly validators: number;
  /** This node's index among them, or null: it follows without voting. */
  readonly validator: number | null;
  readonly epoch: number;
  readonly view: number;
  /** R12: a validator without its vote log asks the others (`rejoining`), and is `mute` for a while. Restart no other until it is `yes`. */
  readonly signing: "no" | "rejoining" | "mute" | "yes";
  readonly peers: number;
  readonly mempool: { readonly count: number; readonly bytes: number };
  /** Why it signs nothing any more, or null. */
  readonly halted: string | null;
  /** How many validators keep the state on a disk. */
  readonly stateKept: StateKept;
};
