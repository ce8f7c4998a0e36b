/**
 * Which validators keep the state where a power cut leaves it. A third of the weight may be lost with all it has, so validators of more than
 * that keep it on a disk, or a site that is switched off at once is gone; `godwit status` warns where that cannot be so.
 *
 *   channel "sync": [1, 9] do you keep it?  →  [1, 10, 1 or 0]   0: all it has is in memory, or it has halted
 *
 * A validator is asked when it comes and once a minute, and its last word stays when it goes: so does its disk. It is its own word; nothing hangs on it but a warning.
 */
import { statfs } from "node:fs/promises";
import type { ValidatorSet } from "#chain/codec/certificate.ts";
import { quorumOf, weightSumOf } from "#chain/codec/quorum.ts";
import type { Clock } from "#chain/network/clock.ts";
import { type PeerId, type Transport, peerId } from "#chain/network/transport.ts";
import { KEEPERS_ASKED_EVERY_MS } from "./limits.ts";
import { encodeSnapshotMessage } from "./snapshotWire.ts";

/** Weights of this epoch's validators: of those that keep it, of those that have said so or otherwise, the least that has to keep it, and all. */
export type StateKept = { readonly weight: number; readonly weightKnown: number; readonly weightMin: number; readonly weightAll: number };

export type KeepersOptions = {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly validators: () => ValidatorSet;
  /** This node among them, or null. */
  readonly self: () => number | null;
  readonly keepsState: () => boolean;
};

export class Keepers {
  readonly #options: KeepersOptions;
  readonly #said = new Map<PeerId, boolean>();
  #cancel: (() => void) | null = null;

  constructor(options: KeepersOptions) {
    this.#options = options;
  }

  start(): void {
    const { transport, clock } = this.#options;
    for (const peer of transport.peers()) this.ask(peer);
    this.#cancel = clock.setTimer(() => this.start(), KEEPERS_ASKED_EVERY_MS);
  }
  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }
  /** If it is a validator. */
  ask(peer: PeerId): void {
    if (this.#peers().includes(peer)) this.#options.transport.send(peer, "sync", encodeSnapshotMessage({ kind: "doYouKeep" }));
  }
  note(peer: PeerId, keeps: boolean): void {
    const peers = this.#peers();
    if (peers.includes(peer)) this.#said.set(peer, keeps);
    for (const one of this.#said.keys()) if (!peers.includes(one)) this.#said.delete(one);
  }

  kept(): StateKept {
    const { validators, self, keepsState } = this.#options;
    const weights = validators().validators.map(({ weight }) => weight);
    const said = this.#peers().map((peer, index) => (index === self() ? keepsState() : this.#said.get(peer)));
    const of = (counts: (keeps: boolean | undefined) => boolean): number => weights.reduce((sum, weight, index) => sum + (counts(said[index]) ? weight : 0), 0);
    const weightAll = weightSumOf(weights);
    return { weight: of((keeps) => keeps === true), weightKnown: of((keeps) => keeps !== undefined), weightMin: weightAll - quorumOf(weightAll) + 1, weightAll };
  }

  #peers(): PeerId[] {
    return this.#options.validators().validators.map(({ publicKey }) => peerId(publicKey));
  }
}

/** Linux' numbers of tmpfs and ramfs. */
const IN_MEMORY: readonly number[] = [0x0102_1994, 0x8584_58f6];
/** Whether a folder outlives the power. */
export async function isOnDisk(directory: string): Promise<boolean> {
  return !IN_MEMORY.includes((await statfs(directory)).type);
}
