/**
 * Gives this node's newest snapshot to others, chunk by chunk (snapshotWire.ts), and the validators that each epoch left.
 *
 * A snapshot that was asked for stays open while chunks of it are, so that a newer one does not take it away from under a reader. Who asks when
 * the newest is old has a new one made, once in a while. One peer gets so many answers a second; the rest of its questions is dropped.
 */
import type { Clock } from "#chain/network/clock.ts";
import type { PeerId, Transport } from "#chain/network/transport.ts";
import type { BlockStore } from "./blockStore.ts";
import { heldFromBytes } from "./heldBlocks.ts";
import { SNAPSHOTS_OPEN_MAX, SNAPSHOT_SERVED_MS, SYNC_ANSWERS_BURST, SYNC_ANSWERS_PER_SECOND } from "./limits.ts";
import type { StoredChunks } from "./snapshotFile.ts";
import { type SnapshotMessage, encodeSnapshotMessage } from "./snapshotWire.ts";

export type SnapshotServerOptions = {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly blocks: BlockStore;
  /** The newest snapshot on the disk, made anew when that one is old; null when there is none. */
  readonly open: () => Promise<StoredChunks | null>;
  /** The proof of the validators after an epoch; null when this node has it not. */
  readonly proveEpoch: (epoch: number) => Uint8Array | null;
  /** Whether this node's disk has the state. */
  readonly keepsState: () => boolean;
  readonly onKeeps: (peer: PeerId, keeps: boolean) => void;
};
type Open = { readonly chunks: StoredChunks; usedMs: number };

export class SnapshotServer {
  readonly #options: SnapshotServerOptions;
  readonly #budgets = new AnswerBudgets();
  readonly #open = new Map<number, Open>();
  #opening: Promise<Open | null> | null = null;

  constructor(options: SnapshotServerOptions) {
    this.#options = options;
  }
  async close(): Promise<void> {
    await this.#opening?.catch(() => null);
    await Promise.all([...this.#open.values()].map(({ chunks }) => chunks.close()));
    this.#open.clear();
  }
  /** Whether this peer has an answer left in this second. */
  mayAsk(peer: PeerId): boolean {
    return this.#budgets.take(peer, this.#options.clock.nowMs());
  }

  async answer(to: PeerId, message: SnapshotMessage): Promise<void> {
    const send = (answer: SnapshotMessage): void => void this.#options.transport.send(to, "sync", encodeSnapshotMessage(answer));
    switch (message.kind) {
      case "whichSnapshot": {
        const open = await (this.#opening ??= this.#openNewest().finally(() => { this.#opening = null; }));
        const stored = open && this.#options.blocks.read(open.chunks.height);
        if (!open || !stored) return send({ kind: "noSnapshot" });
        return send({ kind: "snapshot", block: heldFromBytes(stored.bytes), finalization: open.chunks.finalization, count: open.chunks.count });
      }
      case "wantChunk": {
        const open = this.#open.get(message.height);
        const bytes = open?.chunks.chunk(message.index);
        if (!open || !bytes) return;
        open.usedMs = this.#options.clock.nowMs();
        return send({ kind: "chunk", height: message.height, index: message.index, bytes });
      }
      case "wantEpoch": {
        const answer = this.#options.proveEpoch(message.epoch);
        if (answer) send({ kind: "epochEnd", epoch: message.epoch, answer });
        return;
      }
      case "doYouKeep": return send({ kind: "keeps", keeps: this.#options.keepsState() });
      case "keeps": return this.#options.onKeeps(to, message.keeps);
      // Answers that nobody here asked for.
      case "snapshot": case "noSnapshot": case "chunk": case "epochEnd": return this.#options.transport.report(to, "useless");
    }
  }

  async #openNewest(): Promise<Open | null> {
    const nowMs = this.#options.clock.nowMs();
    for (const [height, { chunks, usedMs }] of this.#open) {
      if (this.#open.size < SNAPSHOTS_OPEN_MAX && nowMs - usedMs < SNAPSHOT_SERVED_MS) continue;
      this.#open.delete(height);
      await chunks.close();
    }
    const chunks = await this.#options.open();
    if (chunks === null) return null;
    const known = this.#open.get(chunks.height);
    if (known) {
      await chunks.close();
      return known;
    }
    const open = { chunks, usedMs: nowMs };
    this.#open.set(chunks.height, open);
    return open;
  }
}

/** A bucket of answers for each peer; those that are full again are forgotten. */
class AnswerBudgets {
  readonly #left = new Map<PeerId, { count: number; atMs: number }>();

  take(peer: PeerId, nowMs: number): boolean {
    const budget = this.#left.get(peer) ?? { count: SYNC_ANSWERS_BURST, atMs: nowMs };
    budget.count = Math.min(SYNC_ANSWERS_BURST, budget.count + (Math.max(0, nowMs - budget.atMs) * SYNC_ANSWERS_PER_SECOND) / 1_000);
    budget.atMs = nowMs;
    this.#left.set(peer, budget);
    if (this.#left.size > PEERS_REMEMBERED) this.#left.delete(this.#left.keys().next().value!);
    if (budget.count < 1) return false;
    budget.count--;
    return true;
  }
}
const PEERS_REMEMBERED = 1_024;
