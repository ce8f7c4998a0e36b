/**
 * One seed, one world: some machines, a network that loses, delays, doubles and cuts until it calms down (GST), and perhaps
 * liars. Single-threaded, without a clock or sockets, so a seed that fails fails again, and the whole run has one digest.
 */

import { isSeal, lastHeightOf } from "#chain/codec/epoch.ts";
import { quorumOf, signersOf, weightOf, weightSumOf } from "#chain/codec/quorum.ts";
import type { Certificate } from "#chain/codec/schema.ts";
import type { BlockRef, DueMs, Effect, Event } from "#chain/consensus/events.ts";
import * as rejoinModule from "#chain/consensus/rejoin.ts";
import * as stateModule from "#chain/consensus/state.ts";
import * as stepModule from "#chain/consensus/step.ts";
import type { Pace } from "#chain/consensus/pacing.ts";
import type { Configuration } from "#chain/consensus/state.ts";
import { sha256 } from "#chain/crypto.ts";
import * as ledgerModule from "#chain/ledger/ledger.ts";
import { chainId, digest, epoch as epochOf, height, timeMs } from "#chain/types.ts";
import type { TimeMs, View } from "#chain/types.ts";
import { Accounts, Bank, type Content, type LedgerCode } from "./accounts.ts";
import { CAST, type Liar } from "./cast.ts";
import { chance } from "./chance.ts";
import type { Chance } from "./chance.ts";
import { Checkers } from "./checkers.ts";
import { Network } from "./network.ts";
import { genesisBlock, Node } from "./node.ts";
import type { Message, SimulatedBlock } from "./node.ts";
import { Queue } from "./queue.ts";
import type { Role, Scenario } from "./scenario.ts";

/** The consensus and the ledger that run in a world; others when a planted bug is to be found. */
export type Code = Pick<typeof stateModule, "createState" | "wantsVote" | "wantsCertificate" | "wantsProposal" | "certificateFor" | "leaderOf">
  & Pick<typeof stepModule, "step"> & Pick<typeof rejoinModule, "statusOf"> & { readonly ledger: LedgerCode };
export const CODE: Code = { ...stateModule, ...stepModule, ...rejoinModule, ledger: ledgerModule };

export type Outcome = {
  readonly seed: number; readonly faults: readonly string[]; readonly steps: number; readonly messages: number; readonly evidence: number; readonly forked: boolean;
  readonly heightMin: number; readonly blocksAfterGst: number; readonly views: number; readonly epochs: number; readonly digest: string;
};

const STEPS_MAX = 600_000;
const CHAIN = chainId(new Uint8Array(8));
const PACE: Pace = { deltaMs: 100, blockIntervalMsMin: 50, idleIntervalMs: 1_000, clockSkewMsMax: 2_000, transactionsPerBlockMax: 1000 };
/** A liar proposes at once: it is worst while the parent is not yet final. */
const HASTY: Pace = { ...PACE, idleIntervalMs: 60 };
/** In a calm network whoever comes back has its memory and signs again after so long. */
const CALM_MS = 4_000;
/** A world without epochs. */
const EPOCH_BLOCKS_NEVER = 1_000_000;

export class World {
  readonly scenario: Scenario;
  readonly consensus: Code;
  readonly chance: Chance;
  readonly queue: Queue = new Queue();
  readonly checkers: Checkers;
  readonly nodes: readonly Node[];
  readonly genesis: SimulatedBlock;
  readonly epochBlocks: number;
  readonly roles: Map<number, Role> = new Map();
  nowMs: number = 0;
  /** Who wants to hear everything: the trace. */
  onStep: ((node: Node, event: Event, effects: readonly Effect[]) => void) | null = null;
  onEpoch: ((node: Node, configuration: Configuration) => void) | null = null;
  /** … and of blocks that are made, messages that leave, and blocks that are final. */
  onMade: ((block: SimulatedBlock) => void) | null = null;
  onSend: ((node: Node, message: Message) => void) | null = null;
  onFinal: ((node: Node, block: SimulatedBlock) => void) | null = null;
  checks: number = 0;
  stepsMax: number = STEPS_MAX;
  readonly #busyMs = new Map<number, number>();
  readonly #seed: number;
  readonly #bank: Bank | null;
  readonly #network: Network;
  readonly #lost = new Set<number>();
  readonly #members: number[][] = [];
  /** Honest, but on a machine that nobody may depend on. */
  readonly #weak: number | null;
  #steps = 0;
  #messages = 0;
  #hash = 0x811c_9dc5;

  constructor(seed: number, scenario: Scenario, code: Code = CODE) {
    this.#seed = seed;
    this.scenario = scenario;
    this.consensus = code;
    this.chance = chance(seed);
    this.epochBlocks = scenario.epochBlocks ?? EPOCH_BLOCKS_NEVER;
    this.genesis = genesisBlock(sha256(new Uint8Array([seed & 0xff])), digest(new Uint8Array(32)), timeMs(1_700_000_000_000n));
    this.#bank = scenario.ledger ? new Bank(this.genesis.timeMs, this.chance) : null;
    const order = this.#shuffled(scenario.weights[0]!.length);
    this.#drawCast(order);
    this.#weak = scenario.slowMs > 0 || scenario.oddClockMs !== 0 || scenario.stopsClock ? (order.find((key) => this.isHonest(key) && scenario.weights[0]![key]! > 0) ?? null) : null;
    this.checkers = new Checkers((epoch) => ({ weights: this.weightsOf(epoch), isHonest: (validator) => this.isHonest(this.membersOf(epoch)[validator]!) }), scenario.mayFork);
    const machines = scenario.weights[0]!.length + scenario.followers;
    const twins = [...this.roles].filter(([, role]) => role === "twins").map(([key]) => key);
    this.nodes = Array.from({ length: machines + twins.length }, (_, index) =>
      new Node(this, index, index < machines ? index : twins[index - machines]!, this.chance.below(2 * scenario.skewMsMax + 1) - scenario.skewMsMax));
    this.#network = new Network(scenario, this.chance, this.nodes.map((node) => this.#bankOf(node)), scenario.slowMs > 0 ? this.#weak : null);
  }

  run(): Outcome {
    const { scenario, queue } = this;
    for (const node of this.nodes) if (this.roles.get(node.key) !== "silent") queue.push(this.chance.below(500), () => node.start());
    this.#planClocks();
    for (const at of this.#network.cutTimes()) queue.push(at, () => this.#network.cut());
    this.#planCrashes();
    this.#planTransactions();
    let heightAtGst = 0;
    queue.push(scenario.gstMs, () => {
      this.#network.heal();
      heightAtGst = Math.max(...this.#honestNodes().map((n) => n.final.height));
    });
    const endMs = scenario.gstMs + scenario.tailMs;
    for (let entry = queue.pop(); entry && entry.atMs <= endMs && this.checkers.faults.length === 0; entry = queue.pop()) {
      this.nowMs = entry.atMs;
      if (++this.#steps > this.stepsMax) {
        this.checkers.fault(`more than ${this.stepsMax} steps`);
        break;
      }
      this.#guarded(entry.run);
    }
    return this.#outcome(heightAtGst);
  }

  // ---- Who is who ----------------------------------------------------------------------------------------------------------

  isHonest(key: number): boolean { return !this.roles.has(key); }
  liarOf(node: Node): Liar | null {
    const role = this.roles.get(node.key);
    return role === undefined ? null : CAST[role];
  }
  /** Where a machine stands when the network is split for good: the honest here and there, twins on both banks; liars reach all. */
  #bankOf({ index, key }: Node): number | null {
    const role = this.roles.get(key);
    if (role === "twins") return index === key ? 0 : 1;
    return role === undefined ? [...Array(key).keys()].filter((other) => this.isHonest(other)).length % 2 : null;
  }
  cheatsInSync(node: Node): boolean { return this.roles.get(node.key) === "liar in sync"; }

  /** Keys of an epoch's validators, in the order of their indices. */
  membersOf(epoch: number): readonly number[] {
    const { weights } = this.scenario;
    return (this.#members[epoch] ??= weights[Math.min(epoch, weights.length - 1)]!.flatMap((weight, key) => (weight > 0 ? [key] : [])));
  }
  weightsOf(epoch: number): readonly number[] {
    const weights = this.scenario.weights[Math.min(epoch, this.scenario.weights.length - 1)]!;
    return this.membersOf(epoch).map((key) => weights[key]!);
  }
  validatorOf(epoch: number, key: number): number | null {
    const index = this.membersOf(epoch).indexOf(key);
    return index < 0 ? null : index;
  }

  configurationOf(node: Node): Configuration {
    const { epoch } = node;
    return {
      chainId: CHAIN, epoch, weights: this.weightsOf(epoch), self: this.validatorOf(epoch, node.key), pace: { ...(this.liarOf(node)?.isHasty ? HASTY : PACE), deltaMs: this.scenario.deltaMs, blockIntervalMsMin: this.scenario.blockIntervalMs },
      leaderSeed: sha256(this.genesis.id, new Uint8Array([epoch & 0xff])), lastHeight: lastHeightOf(epoch, this.epochBlocks),
    };
  }

  isSeal(at: number, epoch: number): boolean { return isSeal({ height: height(at), epoch: epochOf(epoch) }, this.epochBlocks); }

  openAccounts(): Accounts | null { return this.#bank && new Accounts(this.consensus.ledger, this.#bank, this.genesis); }

  // ---- What nodes ask of the world -------------------------------------------------------------------------------------

  broadcast(from: Node, message: Message): void {
    const liar = this.liarOf(from);
    if (liar?.broadcast) return liar.broadcast(this, from, message);
    this.onSend?.(from, message);
    for (const to of this.nodes) this.send(from, to.index, message);
    const { diesSpeaking, downMsMax, finds, gstMs } = this.scenario;
    if (!diesSpeaking || message.kind !== "proposal" || this.nowMs > gstMs || !this.#mayRestart(from) || !this.chance.percent(15)) return;
    from.later(0, () => this.#crash(from, 20 + this.chance.below(downMsMax), finds));
  }

  send(from: Node, to: number, message: Message): void {
    if (from.index === to) return;
    this.#messages += 1;
    for (const delayMs of this.#network.arrivals(this.nowMs, from.index, to)) this.#deliver(delayMs, from.index, to, message);
  }

  /** R10: the validator that should have it, then one after the other. */
  request(from: Node, { request, attempt, from: validator }: Effect & { kind: "request" }): void {
    const members = this.membersOf(from.epoch);
    const first = members[validator % members.length]!;
    const to = first === from.index ? from.index + 1 + (attempt % Math.max(1, this.nodes.length - 1)) : first + attempt;
    this.send(from, to % this.nodes.length, { kind: "request", request });
  }

  /** Every signature in it was made, and they weigh a quorum. */
  isGenuine({ kind, epoch, view: of, id, bitmap }: Certificate): boolean {
    const weights = this.weightsOf(epoch);
    const signers = signersOf(bitmap, weights.length);
    if (!signers || weightOf(signers, weights) < quorumOf(weightSumOf(weights))) return false;
    return signers.every((index) => this.checkers.isSigned(epoch, index, kind, of, id));
  }

  makeBlock(of: {
    epoch: number; view: View; parent: BlockRef; parentCertificate: Certificate | null; timeMs: TimeMs; proposer: number; valid: boolean; salt: number; content: Content | null; heightStep?: number;
  }): SimulatedBlock {
    const name = `${of.epoch} ${of.view} ${of.proposer} ${of.valid} ${of.salt} ${of.heightStep ?? 1} ${of.timeMs} ${of.parent.id.toHex()} ${of.content?.stateRoot.toHex()}`;
    const block: SimulatedBlock = {
      id: sha256(new TextEncoder().encode(name)), epoch: epochOf(of.epoch), view: of.view, height: height(of.parent.height + (of.heightStep ?? 1)), parentView: of.parent.view,
      parentId: of.parent.id, timeMs: of.timeMs, proposer: of.proposer, valid: of.valid, parentCertificate: of.parentCertificate, content: of.content,
    };
    this.checkers.made(block);
    this.onMade?.(block);
    return block;
  }

  /** Something is due some time after one block in three: the same for all, as it would be computed from the state. */
  dueAfter(block: BlockRef): DueMs {
    return block.id[0]! % 3 === 0 ? timeMs(block.timeMs + BigInt(block.id[1]! * 8)) : null;
  }

  /** What an honest node may not do; a liar, or one of twins, may. */
  fault(node: Node, what: string): void {
    if (this.isHonest(node.key)) this.checkers.fault(`node ${node.index} ${what}`);
  }
  halted(node: Node, reason: string): void {
    if (this.isHonest(node.key) && !this.scenario.mayFork) this.checkers.fault(`node ${node.index} halted: ${reason}`);
  }

  /** After every step: what a node keeps is bounded by the views it is ahead of its final block. */
  checkMemory({ index, state }: Node): void {
    const { records, blocks, requests } = state;
    const views = state.view - state.final.view;
    if (records.size > views + 74 || blocks.size > 2 * (views + 74) || requests.size > 64) {
      this.checkers.fault(`node ${index} keeps ${records.size} views, ${blocks.size} blocks, ${requests.size} requests at ${views} views above its final block`);
    }
  }

  /** R14: what is final is of the epoch of its height. */
  committed(node: Node, block: SimulatedBlock, stateRoot: string | null): void {
    if (!this.isHonest(node.key)) return;
    if (this.isSeal(block.height, block.epoch)) this.fault(node, `committed a seal at height ${block.height}`);
    this.checkers.committed(node.index, node.final, block, stateRoot);
    this.onFinal?.(node, block);
  }

  mixStep(node: number, kind: string, effects: number): void {
    this.#mix(this.nowMs);
    this.#mix(node * 64 + kind.length);
    this.#mix(effects);
  }
  mixBytes(bytes: Uint8Array): void {
    for (const byte of bytes) this.#mix(byte);
  }

  // ---- Plans of the seed -------------------------------------------------------------------------------------------------

  #shuffled(count: number): number[] {
    const order = Array.from({ length: count }, (_, index) => index);
    for (let i = count - 1; i > 0; i--) {
      const j = this.chance.below(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }

  #drawCast(order: readonly number[]): void {
    for (const { role, weight } of this.scenario.cast) {
      let left = weight;
      for (const key of order) {
        const own = this.scenario.weights[0]![key]!;
        if (own === 0 || own > left || this.roles.has(key)) continue;
        this.roles.set(key, role);
        left -= own;
      }
    }
  }

  #planClocks(): void {
    const { oddClockMs, stopsClock, gstMs } = this.scenario;
    if (this.#weak === null) return;
    const node = this.nodes[this.#weak]!;
    if (oddClockMs !== 0) node.skewMs = oddClockMs;
    if (stopsClock) node.stopsMs = this.chance.below(gstMs);
  }

  #planCrashes(): void {
    const { scenario, chance: draw, queue } = this;
    for (let i = 0; i < scenario.restarts; i++) {
      queue.push(1_000 + draw.below(scenario.gstMs), () => {
        const up = this.#honestNodes().filter((n) => n.isUp && this.#mayRestart(n));
        // Worst is who has just signed: what it said may not have arrived anywhere.
        const busy = up.filter((n) => n.state.records.get(n.state.view)?.own.notarize);
        if (up.length > 0) this.#crash(draw.pick(busy.length > 0 && draw.percent(70) ? busy : up), 20 + draw.below(scenario.downMsMax), scenario.finds);
      });
    }
    for (let i = 0; i < scenario.away; i++) queue.push(1_000 + draw.below(scenario.gstMs + (scenario.tailMs >> 1)), () => this.#sendAway());
    if (scenario.forgetful > 0) queue.push(scenario.gstMs >> 1, () => {
      for (const node of this.#honestNodes().filter((n) => n.isValidator && n.isUp).slice(0, scenario.forgetful)) this.#crash(node, 200 + draw.below(500), "nothing");
    });
    if (scenario.mustHalt) queue.push(scenario.gstMs + scenario.tailMs, () => {
      for (const node of this.#honestNodes()) if (node.disk.mutes.size > 0) this.checkers.fault(`node ${node.index} rejoined, though too few could tell it how far it had signed`);
    });
    for (let i = 1; i <= scenario.blackouts; i++) queue.push(Math.floor((scenario.gstMs * i) / (scenario.blackouts + 1)), () => {
      const lost = i === 1 ? this.#honestNodes().filter((n) => n.isValidator).slice(0, scenario.lost) : [];
      for (const node of this.nodes) if (node.isUp) this.#crash(node, lost.includes(node) ? null : 200 + draw.below(1_000), "all");
    });
  }

  /** Ends the life of a machine until nobody has the block after its newest. One at a time: of four the other three go on. */
  #sendAway(): void {
    if (!this.#honestNodes().every((n) => n.isUp && this.#mayRestart(n))) return;
    const node = this.chance.pick(this.#honestNodes().filter((n) => n.isValidator));
    const epoch = node.epoch;
    node.crash();
    if (this.scenario.finds === "nothing") node.disk.loseEverything();
    const look = (): void => {
      // Too late to be calm again when the world ends.
      if (this.nowMs > this.scenario.gstMs + this.scenario.tailMs - CALM_MS) return void this.#lost.add(node.index);
      const ahead = this.#honestNodes().filter((n) => n.isUp && n.disk.finalization !== null && n.disk.finalization.epoch >= epoch + 2);
      if (ahead.length === 0) return this.queue.push(this.nowMs + 100, look);
      node.disk.beginAnew(this.chance.pick(ahead).disk);
      node.start();
    };
    look();
  }

  /** R12 promises to go on while no more than a third is away, rejoining or mute. */
  #mayRestart(node: Node): boolean {
    const { finds, isCareful } = this.scenario;
    if (finds === "all" || !isCareful) return true;
    // What is final must stay somewhere.
    if (finds === "votes") return this.#honestNodes().some((n) => n !== node && n.isUp && n.disk.chain.length >= node.final.height + 1);
    return this.#honestNodes().every((n) => n.isUp && !n.disk.isLost && n.state.rejoin === null && n.state.view > n.state.mute + 1);
  }

  /** Ends the life of a machine; the next one begins after so long, or never. */
  #crash(node: Node, downMs: number | null, finds: Scenario["finds"]): void {
    node.crash();
    if (finds === "votes") node.disk.loseBlocks();
    if (finds === "nothing") node.disk.loseEverything();
    if (downMs === null) this.#lost.add(node.index);
    else this.queue.push(this.nowMs + downMs, () => node.start());
  }

  #planTransactions(): void {
    const { scenario, chance: draw } = this;
    for (let at = 500; at < scenario.gstMs + scenario.tailMs; at += 500) {
      this.queue.push(at, () => {
        for (let i = draw.below(4); this.#bank && i > 0; i--) {
          this.#bank.offer(timeMs(this.genesis.timeMs + BigInt(this.nowMs)), this.consensus.ledger.feeFor, { feeBase: 10_000n, feePerByte: 10n });
        }
        for (const node of this.nodes) {
          if (node.isUp && draw.percent(scenario.busyPercent)) node.step({ kind: "waiting", count: draw.below(2) * draw.below(2_000) });
        }
      });
    }
  }

  #deliver(delayMs: number, from: number, to: number, message: Message): void {
    const { life } = this.nodes[from]!;
    this.queue.push(this.nowMs + delayMs, () => {
      const node = this.nodes[to]!;
      if (!node.isUp || (this.scenario.diesSpeaking && this.nodes[from]!.life !== life)) return;
      const waitMs = this.scenario.checkUs === 0 ? 0 : this.#checkMs(node, message);
      if (waitMs > 0) return this.queue.push(this.nowMs + waitMs, () => { if (node.isUp) node.receive(message, from); });
      const liar = this.liarOf(node);
      if (liar?.answer?.(this, node, message, from)) return;
      node.receive(message, from);
      liar?.heard?.(this, node, message);
    });
  }

  /** How long until the signatures of a message are checked, behind those of all before it; what nobody wants is dropped unread. */
  #checkMs(node: Node, message: Message): number {
    const { consensus } = this;
    const ofCertificate = (c: Certificate): number => (consensus.wantsCertificate(node.state, c) ? c.signatures.length / 64 : 0);
    const count = message.kind === "vote" ? (consensus.wantsVote(node.state, message.vote) ? 1 : 0) : message.kind === "certificate" ? ofCertificate(message.certificate)
      : message.kind === "proposal" ? 1 + [...(message.block.parentCertificate ? [message.block.parentCertificate] : []), ...message.justification].reduce((sum, c) => sum + ofCertificate(c), 0) : 0;
    this.checks += count;
    const freeMs = Math.max(this.nowMs, this.#busyMs.get(node.index) ?? 0) + (count * this.scenario.checkUs) / 1000;
    this.#busyMs.set(node.index, freeMs);
    return freeMs - this.nowMs;
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
    const depended = honest.filter((n) => n.index !== this.#weak || this.scenario.slowMs > 0);
    const heightMin = Math.min(...depended.map((n) => n.final.height));
    const blocksAfterGst = heightMin - heightAtGst;
    const { faults, forked, evidenceCount } = this.checkers;
    if (faults.length === 0 && this.scenario.blocksMin !== null && blocksAfterGst < this.scenario.blocksMin) {
      this.checkers.fault(`stalled: ${blocksAfterGst} blocks after GST, not ${this.scenario.blocksMin}`);
    }
    if (faults.length === 0 && this.scenario.blocksMin !== null) for (const node of depended) this.#checkCalm(node);
    this.checkers.proveFork();
    return {
      seed: this.#seed, faults, steps: this.#steps, messages: this.#messages, evidence: evidenceCount, forked, heightMin, blocksAfterGst,
      views: Math.max(...honest.map((n) => n.state?.view ?? 0)), epochs: Math.max(...honest.map((n) => n.epoch)), digest: (this.#hash >>> 0).toString(16).padStart(8, "0"),
    };
  }

  /** In a calm network little is kept, and whoever came back signs again. */
  #checkCalm({ index, state: { records, blocks, requests, view, final, rejoin, mute } }: Node): void {
    const ahead = view - final.view + (this.scenario.cast.some(({ role }) => role === "spammer") ? 64 : 0);
    if (records.size > ahead + 12 || blocks.size > ahead + 12 || requests.size > 20) {
      this.checkers.fault(`node ${index} keeps ${records.size} views, ${blocks.size} blocks, ${requests.size} requests at ${ahead} views above its final block in a calm network`);
    }
    // An epoch may just have begun, with its first views mute; a liar is believed no more than a view per validator.
    if (rejoin !== null || mute > view + this.nodes.length) this.checkers.fault(`node ${index} is still mute in view ${view}, up to ${rejoin ? "whatever others say" : mute}`);
  }

  #honestNodes(): Node[] { return this.nodes.filter((n) => this.isHonest(n.key) && !this.#lost.has(n.index)); }

  #mix(value: number): void { this.#hash = Math.imul(this.#hash ^ value, 0x0100_0193); }
}

export const simulate = (seed: number, scenario: Scenario, code: Code = CODE): Outcome => new World(seed, scenario, code).run();
