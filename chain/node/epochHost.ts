/**
 * Consensus of the epoch that is (R14): one host after the other, each begun from the final block and what the vote log has of its epoch.
 * The next one begins when the last block of an epoch is final; who speaks of another epoch is asked for what is missing here, or told how
 * the one before ended.
 */
import { randomBytes } from "node:crypto";
import type { GenesisFacts } from "#chain/codec/genesis.ts";
import { type Certificate, NONCE_BYTES, decodeCertificate, decodeSignedVote, encodeMessage } from "#chain/codec/schema.ts";
import type { BlockRef, Memory } from "#chain/consensus/events.ts";
import type { Parameters } from "#chain/constants.ts";
import type { Clock } from "#chain/network/clock.ts";
import type { PeerId, Transport } from "#chain/network/transport.ts";
import { type ChainId, view } from "#chain/types.ts";
import type { BlockWork } from "./blockWork.ts";
import { ConsensusHost } from "./consensusHost.ts";
import type { DataFolder } from "./dataFolder.ts";
import type { EpochFacts } from "./epochs.ts";
import type { NodeError } from "./errors.ts";
import type { Executor } from "./executor.ts";
import type { FinalBlocks } from "./finalBlocks.ts";
import type { FinalHead } from "./finalHead.ts";
import { type HeldBlock, type HeldBlocks, heldFromBytes } from "./heldBlocks.ts";
import { HINT_EVERY_MS, PEERS_MUTED_MAX } from "./limits.ts";
import { traceEpoch, traceStep } from "./trace.ts";

export type EpochHostParts = {
  readonly chainId: ChainId;
  readonly genesis: GenesisFacts;
  readonly rules: Parameters;
  readonly clock: Clock;
  readonly folder: DataFolder;
  readonly transport: Transport;
  readonly seed: Uint8Array | null;
  readonly trace?: (line: string) => void;
  readonly held: HeldBlocks;
  readonly final: FinalBlocks;
  readonly executor: Executor;
  readonly work: BlockWork;
  /** Of the epoch that a child of the final block belongs to. */
  readonly facts: () => EpochFacts;
  readonly head: FinalHead;
  /** Started, neither stopped nor halted. */
  readonly isRunning: () => boolean;
  readonly commit: (held: HeldBlock, finalization: Certificate) => void;
  /** The block on which the next one will be built is another. */
  readonly onTip: () => void;
  /** It has begun: what waits, and who is suspected, it is to be told. */
  readonly onStart: () => void;
  readonly onBehind: (finalization: Certificate) => void;
  /** A peer is in a later epoch. */
  readonly onLater: (from: PeerId) => void;
  readonly onHalt: (error: NodeError) => void;
};

export class EpochHost {
  readonly #parts: EpochHostParts;
  #host: ConsensusHost;
  /** What ended the epoch before, for peers that are late. */
  #ended: Certificate | null;
  readonly #toldMs = new Map<PeerId, number>();

  constructor(parts: EpochHostParts) {
    this.#parts = parts;
    const { finalization } = parts.head;
    this.#ended = finalization !== null && finalization.epoch < parts.facts().epoch ? finalization : null;
    this.#host = this.#create();
  }
  get host(): ConsensusHost {
    return this.#host;
  }

  /** From the final block, with all that the vote log has of it. */
  start(): void {
    const { folder: { votes }, rules, genesis, held, executor, onStart } = this.#parts;
    const { epoch: now, validator } = this.#parts.facts();
    const { ref, finalization } = this.#parts.head;
    // R14: the last block of the epoch before is this one's genesis.
    const begins = ref.height % rules.epochBlocks === 0 || ref.height === genesis.era?.height;
    const final: BlockRef = begins ? { ...ref, view: view(0), parentView: view(0) } : ref;
    const ofNow = <T extends { readonly epoch: number; readonly view: number }>(items: readonly T[] = []): T[] => items.filter((one) => one.epoch === now && one.view > final.view);
    const logged = ofNow(votes?.blocks()).filter((block) => block.height > final.height);
    const blocks = logged.map((block) => heldFromBytes(block.bytes)).filter((block) => held.add(block));
    this.#host.start({
      kind: "start", final, dueMs: executor.finalDueMs(), finalization: begins ? null : finalization,
      votes: validator === null ? [] : ofNow(votes?.votes()).map((vote) => decodeSignedVote(vote.bytes)),
      certificates: ofNow(votes?.certificates()).map((one) => decodeCertificate(one.bytes)), blocks: blocks.map((block) => block.ref), memory: this.#memory(),
    });
    onStart();
  }

  /** R14: the last block of an epoch is final, by this certificate. */
  end(finalization: Certificate): void {
    this.#ended = finalization;
  }
  /** R14: leaves the epoch that is over; does nothing while it is not. */
  change(): void {
    const { isRunning, facts, transport } = this.#parts;
    if (!isRunning() || this.#host.epoch === facts().epoch) return;
    this.#host.stop();
    this.#host = this.#create();
    this.start();
    queueMicrotask(() => { for (const peer of transport.peers()) this.#host.greet(peer); });
  }

  #create(): ConsensusHost {
    const { chainId, rules, seed, transport, trace, clock, folder, held, final, executor, work, commit, onTip, onBehind, onHalt } = this.#parts;
    const { epoch: now, set, validator, checks, leaderSeed, lastHeight } = this.#parts.facts();
    const configuration = { chainId, epoch: now, weights: set.weights, self: validator, pace: rules, leaderSeed, lastHeight };
    trace?.(traceEpoch(validator ?? -1, configuration));
    return new ConsensusHost({
      configuration, ...(trace ? { onStep: (event, effects) => trace(traceStep(validator ?? -1, event, effects)) } : {}),
      validators: set, seed: validator === null ? null : seed, votes: folder.votes, transport, clock, checks, onHalt,
    }, {
      held,
      blockById: (id) => held.get(id) ?? final.heldById(id),
      validate: (block) => work.validate(block),
      build: (effect) => work.build(effect),
      commit,
      tipWanted: (id) => {
        executor.moveTo(id);
        onTip();
      },
      behind: onBehind,
      sealed: () => this.change(),
      otherEpoch: (from, of) => this.#other(from, of),
      accuse: (evidence) => work.accuse(evidence),
    });
  }

  #memory(): Memory {
    const { votes } = this.#parts.folder;
    const { epoch: now, validator } = this.#parts.facts();
    if (!votes || validator === null) return { kind: "whole" };
    if (votes.isLost) return { kind: "lost", nonce: new Uint8Array(randomBytes(NONCE_BYTES)) };
    const upTo = votes.mutedUpTo(now);
    return upTo > 0 ? { kind: "mute", upTo: view(upTo) } : { kind: "whole" };
  }

  /** R14: who is in a later epoch has blocks that this node lacks; who is in the one before is told how it ended. */
  #other(from: PeerId, of: number): void {
    const { facts, clock, transport, onLater } = this.#parts;
    if (of > facts().epoch) return onLater(from);
    const nowMs = clock.nowMs();
    if (this.#ended?.epoch !== of || Math.abs(nowMs - (this.#toldMs.get(from) ?? 0)) < HINT_EVERY_MS) return;
    this.#toldMs.set(from, nowMs);
    if (this.#toldMs.size > PEERS_MUTED_MAX) this.#toldMs.delete(this.#toldMs.keys().next().value!);
    transport.send(from, "consensus", encodeMessage({ kind: "certificate", certificate: this.#ended }));
  }
}
