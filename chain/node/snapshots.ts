/**
 * When a node writes snapshots of its final state: every so many blocks, at an orderly stop if that is quick, and for a machine that
 * wants to join when the newest one is old. One is written at a time, of the state at the moment it was begun.
 */
import type { Clock } from "#chain/network/clock.ts";
import { type ChainId, hex } from "#chain/types.ts";
import { epochOf } from "#chain/codec/epoch.ts";
import { headerId } from "#chain/codec/schema.ts";
import type { BlockStore } from "./blockStore.ts";
import { SNAPSHOT_BLOCKS, SNAPSHOT_FOR_OTHERS_MS, SNAPSHOT_OLD_BLOCKS, SNAPSHOT_STOP_ENTITIES_MAX } from "./limits.ts";
import { type Snapshot, type StoredChunks, openChunks, writeSnapshot } from "./snapshotFile.ts";

export type SnapshotsOptions = {
  readonly directory: string;
  readonly chainId: ChainId;
  readonly clock: Clock;
  readonly blocks: BlockStore;
  readonly everyBlocks?: number;
  readonly epochBlocks: number;
  /** Of the newest snapshot that is there already; 0: none. */
  readonly height: number;
  /** Of the newest final block, whose finalization is its own; null when there is none. */
  readonly take: () => Snapshot | null;
};

export class Snapshots {
  readonly #options: SnapshotsOptions;
  readonly #everyBlocks: number;
  readonly #stop = new AbortController();
  #height: number;
  /** Of the newest one that is whole on the disk. */
  #heightStored: number;
  #forOthersMs = 0;
  #writing: Promise<void> | null = null;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    this.#everyBlocks = options.everyBlocks ?? SNAPSHOT_BLOCKS;
    this.#height = this.#heightStored = options.height;
  }

  /** Blocks after it are needed: a start goes on from there. */
  get heightStored(): number {
    return this.#heightStored;
  }

  /** A block with its own finalization became final. */
  committed(height: number): void {
    if (height >= this.#height + this.#everyBlocks) this.#begin();
  }
  /** For who joins: the newest one, or a new one where that is old. */
  async newestChunks(heightFinal: number): Promise<StoredChunks | null> {
    const nowMs = this.#options.clock.nowMs();
    // Who begins at a checkpoint of this epoch cannot check what those of the one before have signed.
    const isOfBefore = epochOf(this.#height, this.#options.epochBlocks) < epochOf(heightFinal, this.#options.epochBlocks);
    const isOld = this.#height === 0 || isOfBefore || heightFinal >= this.#height + SNAPSHOT_OLD_BLOCKS;
    if (isOld && heightFinal > 0 && Math.abs(nowMs - this.#forOthersMs) >= SNAPSHOT_FOR_OTHERS_MS) {
      this.#forOthersMs = nowMs;
      this.#begin();
    }
    await this.#writing;
    const chunks = await openChunks(this.#options.directory, this.#options.chainId);
    if (chunks === null || (chunks.finalization.id && hex(chunks.finalization.id) === hex(headerId(chunks.header)))) return chunks;
    await chunks.close();
    return null;
  }
  /** `entityCount` of the state says how long a last one would take; null: none is wanted. */
  async stop(heightFinal: number, entityCount: number | null): Promise<void> {
    this.#stop.abort();
    await this.#writing;
    const isQuick = entityCount !== null && entityCount <= SNAPSHOT_STOP_ENTITIES_MAX && heightFinal >= this.#height + this.#everyBlocks / 16;
    const snapshot = isQuick ? this.#options.take() : null;
    if (snapshot) await this.#write(snapshot, new AbortController().signal);
  }

  #begin(): void {
    if (this.#writing) return;
    const snapshot = this.#options.take();
    if (snapshot) this.#writing = this.#write(snapshot, this.#stop.signal).finally(() => { this.#writing = null; });
  }
  /** Once its block is on the disk. A disk that has no room for it costs time at the next start, and nothing else. */
  async #write(snapshot: Snapshot, signal: AbortSignal): Promise<void> {
    const { directory, chainId, blocks } = this.#options;
    try {
      await blocks.settled();
      if (await writeSnapshot(directory, chainId, snapshot, signal)) this.#height = this.#heightStored = snapshot.height;
    } catch (error) {
      // Not again with every block while the disk is full.
      this.#height = snapshot.height;
      process.emitWarning(`Cannot write a snapshot of block ${snapshot.height}: ${String(error)}`, { code: "godwit_snapshot" });
    }
  }
}
