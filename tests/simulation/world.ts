/**
 * One seed, one world: some machines, a network that loses, delays, doubles and cuts until it calms down (GST), and perhaps
 * liars. Single-threaded, without a clock or sockets, so a seed that fails fails again, and the whole run has one digest.
 */

import { quorumOf, signersOf, weightOf, weightSumOf } from "#chain/codec/quorum.ts";
import type { Certificate } from "#chain/codec/schema.ts";
import type { BlockRef, DueMs } from "#chain/consensus/events.ts";
import * as stateModule from "#chain/consensus/state.ts";
import * as stepModule from "#chain/consensus/step.ts";
import type { Pace } from "#chain/consensus/pacing.ts";
import { sha256 } from "#chain/crypto.ts";
import { chainId, digest, epoch, height, timeMs, view } from "#chain/types.ts";
import type { TimeMs, View } from "#chain/types.ts";
import { chance } from "./chance.ts";
import type { Chance } from "./chance.ts";
import { Checkers } from "./checkers.ts";
import { equivocate, signEverything } from "./cast/equivocator.ts";
import { Node } from "./node.ts";
import type { Message, SimulatedBlock } from "./node.ts";
import { Queue } from "./queue.ts";

/** The consensus that runs in a world; another one when a planted bug is to be found. */
export type Consensus = Pick<typeof stateModule, "createState" | "wantsVote" | "wantsCertificate" | "wantsProposal" | "certificateFor" | "leaderOf">
  & Pick<typeof stepModule, "step">;
export const CONSENSUS: Consensus = { ...stateModule, ...stepModule };

export type Scenario = {
  readonly name: string;
  readonly weights: readonly number[];
  /** Nodes without weight, which only follow. */
  readonly followers: number;
  /** Liars of so much weight, drawn by the seed. */
  readonly byzantineWeight: number;
  /** Validators that never say a word, by index. */
  readonly silent: readonly number[];
  readonly restarts: number;
  /** All machines lose their power at once, in the middle of the bad time. */
  readonly blackout: boolean;
  /** So many of them, of those that are not liars, never come back from it. */
  readonly lost: number;
  readonly gstMs: number;
  readonly tailMs: number;
  readonly dropPercent: number;
  readonly delayMsMax: number;
  readonly partitions: boolean;
  readonly skewMsMax: number;
  readonly diskMsMax: number;
  /** Percent of half seconds in which a node's waiting transactions come or go. */
  readonly busyPercent: number;
  /** Least blocks between GST and the end, on the slowest honest node. */
  readonly blocksMin: number;
};

export type Outcome = {
  readonly seed: number; readonly faults: readonly string[]; readonly steps: number; readonly messages: number;
  readonly heightMin: number; readonly blocksAfterGst: number; readonly views: number; readonly digest: string;
};

const STEPS_MAX = 400_000;
const EPOCH = epoch(0);
const CHAIN = chainId(new Uint8Array(8));
const PACE: Pace = { deltaMs: 100, blockIntervalMsMin: 50, idleIntervalMs: 1_000, clockSkewMsMax: 2_000, transactionsPerBlockMax: 1000 };
/** A liar proposes at once: it is worst while the parent is not yet final. */
const HASTY: Pace = { ...PACE, idleIntervalMs: 60 };

export class World {
  readonly scenario: Scenario;
  readonly consensus: Consensus;
  readonly chance: Chance;
  readonly queue: Queue = new Queue();
  readonly checkers: Checkers;
  readonly nodes: readonly Node[];
  readonly genesis: BlockRef;
  readonly byzantine: Set<number> = new Set();
  readonly #lost: Set<number> = new Set();
  nowMs: number = 0;
  readonly #seed: number;
  #sides: number[] | null = null;
  #steps = 0;
  #messages = 0;
  #hash = 0x811c_9dc5;

  constructor(seed: number, scenario: Scenario, consensus: Consensus = CONSENSUS) {
    this.#seed = seed;
    this.scenario = scenario;
    this.consensus = consensus;
    this.chance = chance(seed);
    this.genesis = {
      id: sha256(new Uint8Array([seed & 0xff])), view: view(0), height: height(0), parentView: view(0),
      parentId: digest(new Uint8Array(32)), timeMs: timeMs(1_700_000_000_000n),
    };
    this.#drawLiars();
    this.checkers = new Checkers(scenario.weights, (index) => this.isHonest(index));
    const count = scenario.weights.length + scenario.followers;
    this.nodes = Array.from({ length: count }, (_, index) => new Node(this, index, {
      chainId: CHAIN, epoch: EPOCH, weights: scenario.weights, self: index < scenario.weights.length ? index : null,
      pace: this.isHonest(index) ? PACE : HASTY,
      leaderSeed: this.genesis.id, lastHeight: Number.MAX_SAFE_INTEGER,
    }, this.chance.below(scenario.skewMsMax + 1)));
  }

  run(): Outcome {
    const { scenario, queue } = this;
    for (const node of this.nodes) if (!this.#isSilent(node.index)) queue.push(this.chance.below(500), () => node.start());
    this.#planNetwork();
    this.#planCrashes();
    this.#planTransactions();
    let heightAtGst = 0;
    queue.push(scenario.gstMs, () => {
      this.#sides = null;
      heightAtGst = Math.max(...this.#honestNodes().map((n) => n.final.height));
    });
    const endMs = scenario.gstMs + scenario.tailMs;
    for (let entry = queue.pop(); entry && entry.atMs <= endMs && this.checkers.faults.length === 0; entry = queue.pop()) {
      this.nowMs = entry.atMs;
      if (++this.#steps > STEPS_MAX) {
        this.checkers.fault(`more than ${STEPS_MAX} steps`);
        break;
      }
      this.#guarded(entry.run);
    }
    return this.#outcome(heightAtGst);
  }

  // ---- What nodes ask of the world -------------------------------------------------------------------------------------

  isHonest(index: number): boolean { return !this.byzantine.has(index); }

  broadcast(from: Node, message: Message): void {
    if (!this.isHonest(from.index)) return equivocate(this, from, message);
    for (const to of this.nodes) this.send(from.index, to.index, message);
  }

  send(from: number, to: number, message: Message): void {
    if (from === to) return;
    this.#messages += 1;
    const { scenario, chance: draw } = this;
    let delayMs = 5 + draw.below(100);
    if (this.nowMs < scenario.gstMs) {
      if (this.#sides && this.#sides[from] !== this.#sides[to]) return;
      if (draw.percent(scenario.dropPercent)) return;
      // Squared: mostly short, now and then very long.
      const x = draw.below(1000);
      delayMs = 5 + Math.floor((scenario.delayMsMax * x * x) / 1_000_000);
      if (draw.percent(2)) this.#deliver(delayMs * 2, from, to, message);
    }
    this.#deliver(delayMs, from, to, message);
  }

  /** Every signature in it was made, and they weigh a quorum. */
  isGenuine({ kind, view: of, id, bitmap }: Certificate): boolean {
    const { weights } = this.scenario;
    const signers = signersOf(bitmap, weights.length);
    if (!signers || weightOf(signers, weights) < quorumOf(weightSumOf(weights))) return false;
    return signers.every((index) => this.checkers.isSigned(index, kind, of, id));
  }

  makeBlock(of: {
    view: View; parent: BlockRef; parentCertificate: Certificate | null; timeMs: TimeMs; proposer: number; valid: boolean; salt: number; heightStep?: number;
  }): SimulatedBlock {
    const name = `${of.view} ${of.proposer} ${of.valid} ${of.salt} ${of.heightStep ?? 1} ${of.timeMs} ${of.parent.id.toHex()}`;
    const block: SimulatedBlock = {
      id: sha256(new TextEncoder().encode(name)), view: of.view, height: height(of.parent.height + (of.heightStep ?? 1)), parentView: of.parent.view,
      parentId: of.parent.id, timeMs: of.timeMs, proposer: of.proposer, valid: of.valid, parentCertificate: of.parentCertificate,
    };
    this.checkers.made(block);
    return block;
  }

  /** Something is due some time after one block in three: the same for all, as it would be computed from the state. */
  dueAfter(block: BlockRef): DueMs {
    return block.id[0]! % 3 === 0 ? timeMs(block.timeMs + BigInt(block.id[1]! * 8)) : null;
  }

  halted(index: number, reason: string): void {
    if (this.isHonest(index)) this.checkers.fault(`node ${index} halted: ${reason}`);
  }

  trace(node: number, kind: string, effects: number): void {
    this.#mix(this.nowMs);
    this.#mix(node * 64 + kind.length);
    this.#mix(effects);
  }

  traceBytes(bytes: Uint8Array): void {
    for (const byte of bytes) this.#mix(byte);
  }

  // ---- Plans of the seed -------------------------------------------------------------------------------------------------

  #drawLiars(): void {
    let left = this.scenario.byzantineWeight;
    const order = this.scenario.weights.map((_, index) => index);
    for (let i = order.length - 1; i > 0; i--) {
      const j = this.chance.below(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    for (const index of order) {
      if (this.scenario.weights[index]! > left || this.#isSilent(index)) continue;
      this.byzantine.add(index);
      left -= this.scenario.weights[index]!;
    }
  }

  #planNetwork(): void {
    if (!this.scenario.partitions) return;
    for (let at = 0; at < this.scenario.gstMs; at += 2_500) {
      this.queue.push(at, () => {
        this.#sides = this.chance.percent(50) ? this.nodes.map(() => this.chance.below(2)) : null;
      });
    }
  }

  #planCrashes(): void {
    const { scenario, chance: draw } = this;
    for (let i = 0; i < scenario.restarts; i++) {
      this.queue.push(1_000 + draw.below(scenario.gstMs), () => {
        const up = this.#honestNodes().filter((n) => n.isUp);
        if (up.length > 0) this.#crash(draw.pick(up), 50 + draw.below(4_000));
      });
    }
    if (!scenario.blackout) return;
    this.queue.push(scenario.gstMs >> 1, () => {
      const lost = this.#honestNodes().filter((n) => n.isValidator).slice(0, scenario.lost);
      for (const node of this.nodes) if (node.isUp) this.#crash(node, lost.includes(node) ? null : 200 + draw.below(1_000));
    });
  }

  /** Ends the life of a machine; the next one begins after so long, or never. */
  #crash(node: Node, downMs: number | null): void {
    node.crash();
    if (downMs === null) this.#lost.add(node.index);
    else this.queue.push(this.nowMs + downMs, () => node.start());
  }

  #planTransactions(): void {
    const { scenario, chance: draw } = this;
    for (let at = 500; at < scenario.gstMs + scenario.tailMs; at += 500) {
      this.queue.push(at, () => {
        for (const node of this.nodes) {
          if (node.isUp && draw.percent(scenario.busyPercent)) node.step({ kind: "waiting", count: draw.below(2) * draw.below(2_000) });
        }
      });
    }
  }

  #deliver(delayMs: number, from: number, to: number, message: Message): void {
    this.queue.push(this.nowMs + delayMs, () => {
      const node = this.nodes[to]!;
      if (!node.isUp) return;
      node.receive(message, from);
      if (!this.isHonest(to)) signEverything(this, node, message);
    });
  }

  #guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.checkers.fault(`threw: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    }
  }

  #outcome(heightAtGst: number): Outcome {
    const honest = this.#honestNodes();
    const heightMin = Math.min(...honest.map((n) => n.final.height));
    const blocksAfterGst = heightMin - heightAtGst;
    if (this.checkers.faults.length === 0 && blocksAfterGst < this.scenario.blocksMin) {
      this.checkers.fault(`stalled: ${blocksAfterGst} blocks after GST, not ${this.scenario.blocksMin}`);
    }
    for (const node of honest) {
      if (this.checkers.faults.length > 0) break;
      const { records, blocks, requests } = node.state;
      if (records.size > 40 || blocks.size > 40 || requests.size > 20) {
        this.checkers.fault(`node ${node.index} keeps ${records.size} views, ${blocks.size} blocks, ${requests.size} requests`);
      }
    }
    return {
      seed: this.#seed, faults: this.checkers.faults, steps: this.#steps, messages: this.#messages, heightMin, blocksAfterGst,
      views: Math.max(...honest.map((n) => n.state?.view ?? 0)), digest: (this.#hash >>> 0).toString(16).padStart(8, "0"),
    };
  }

  #isSilent(index: number): boolean { return this.scenario.silent.includes(index); }

  #honestNodes(): Node[] { return this.nodes.filter((n) => this.isHonest(n.index) && !this.#isSilent(n.index) && !this.#lost.has(n.index)); }

  #mix(value: number): void { this.#hash = Math.imul(this.#hash ^ value, 0x0100_0193); }
}

export const simulate = (seed: number, scenario: Scenario, consensus: Consensus = CONSENSUS): Outcome =>
  new World(seed, scenario, consensus).run();
