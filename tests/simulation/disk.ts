/**
 * A simulated disk: two files, written in order, each flushed after a while. When the machine dies, a prefix of what was under
 * way has reached the disk, though nobody was told, and the rest is torn off (lost tail, torn write); a file can be lost whole.
 */

import type { Certificate, SignedVote } from "#chain/codec/schema.ts";
import type { Hex, View } from "#chain/types.ts";
import type { Chance } from "./chance.ts";
import type { SimulatedBlock } from "./node.ts";

type Write = { readonly apply: () => void; isDone: boolean };

export class Disk {
  /** The vote log: what was signed, what permitted it, the blocks that were voted for, and what is mute (R12). */
  votes: SignedVote[] = [];
  readonly certificates: Map<string, Certificate> = new Map();
  readonly blocks: Map<Hex, SimulatedBlock> = new Map();
  readonly mutes: Map<number, View> = new Map();
  /** The log that belongs here is gone, and nobody has made up for it yet. */
  isLost: boolean = false;
  /** The block store: final blocks, genesis first, and the newest finalization. */
  chain: SimulatedBlock[];
  finalization: Certificate | null = null;
  readonly #files = { log: { writes: [] as Write[], freeMs: 0 }, store: { writes: [] as Write[], freeMs: 0 } };
  readonly #genesis: SimulatedBlock;

  constructor(genesis: SimulatedBlock) {
    this.#genesis = genesis;
    this.chain = [genesis];
  }

  /** Begins a write that takes so long; returns when it will be flushed, and what to do then. */
  write(file: "log" | "store", nowMs: number, takesMs: number, apply: () => void): { readonly atMs: number; flushed(): void } {
    const one = this.#files[file];
    one.freeMs = Math.max(one.freeMs, nowMs + takesMs);
    const write: Write = { apply, isDone: false };
    one.writes.push(write);
    return { atMs: one.freeMs, flushed: () => this.#flush(one.writes, one.writes.indexOf(write) + 1) };
  }

  /** The power is gone. */
  crash(chance: Chance): void {
    for (const file of [this.#files.log, this.#files.store]) {
      this.#flush(file.writes, chance.below(file.writes.length + 1));
      file.writes = [];
      file.freeMs = 0;
    }
  }

  loseBlocks(): void {
    this.chain = [this.#genesis];
    this.finalization = null;
  }

  /** Another's final state takes the place of the blocks; the vote log stays. */
  beginAnew(of: Disk): void {
    this.chain = [...of.chain];
    this.finalization = of.finalization;
  }

  loseEverything(): void {
    this.loseBlocks();
    this.votes = [];
    this.blocks.clear();
    this.certificates.clear();
    this.mutes.clear();
    this.isLost = true;
  }

  #flush(writes: Write[], count: number): void {
    for (const write of writes.splice(0, count)) write.apply();
  }
}
