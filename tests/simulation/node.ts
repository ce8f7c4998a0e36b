/**
 * A simulated machine: the shell around `step`, with a clock that is off, a disk that loses what was not flushed, and lives
 * that end in the middle of things. It promises to consensus what `events.ts` demands, and checks what consensus promises.
 */

import type { Certificate, SignedVote, Vote } from "#chain/codec/schema.ts";
import type { BlockRef, Effect, Event, Outgoing, Request } from "#chain/consensus/events.ts";
import type { Configuration, State } from "#chain/consensus/state.ts";
import { hex, signature, timeMs } from "#chain/types.ts";
import type { Hex, TimeMs } from "#chain/types.ts";
import type { World } from "./world.ts";

/** What the world knows of a block beside what consensus is told. */
export type SimulatedBlock = BlockRef & { readonly proposer: number; readonly valid: boolean; readonly parentCertificate: Certificate | null };

export type Message =
  | { readonly kind: "proposal"; readonly block: SimulatedBlock; readonly justification: readonly Certificate[] }
  | { readonly kind: "vote"; readonly vote: SignedVote }
  | { readonly kind: "certificate"; readonly certificate: Certificate }
  | { readonly kind: "block"; readonly block: SimulatedBlock }
  | { readonly kind: "request"; readonly request: Request; readonly from: number };

type EventOf<E> = E extends unknown ? Omit<E, "nowMs"> : never;

type Disk = {
  votes: SignedVote[];
  /** What permitted the votes, by kind and view. */
  certificates: Map<string, Certificate>;
  blocks: Map<Hex, SimulatedBlock>;
  /** Committed blocks, genesis first, and the newest finalization. */
  chain: BlockRef[];
  finalization: Certificate | null;
};

export class Node {
  readonly index: number;
  readonly disk: Disk;
  isUp: boolean = false;
  life: number = 0;
  state!: State;
  /** Committed in this life or an earlier one, flushed or not. */
  final: BlockRef;
  blocks: Map<Hex, SimulatedBlock> = new Map();
  readonly #world: World;
  readonly #configuration: Configuration;
  readonly #skewMs: number;
  #timers = new Map<string, number>();
  #timerCount = 0;
  #executed = new Set<Hex>();
  #diskFreeMs = 0;

  constructor(world: World, index: number, configuration: Configuration, skewMs: number) {
    this.#world = world;
    this.index = index;
    this.#configuration = configuration;
    this.#skewMs = skewMs;
    this.final = world.genesis;
    this.disk = { votes: [], certificates: new Map(), blocks: new Map(), chain: [world.genesis], finalization: null };
  }

  get isValidator(): boolean { return this.#configuration.self !== null; }

  get clockMs(): TimeMs { return timeMs(this.#world.genesis.timeMs + BigInt(this.#world.nowMs + this.#skewMs)); }

  start(): void {
    this.isUp = true;
    this.#timers.clear();
    this.#diskFreeMs = 0;
    this.state = this.#world.consensus.createState(this.#configuration);
    this.final = this.disk.chain.at(-1)!;
    this.blocks = new Map(this.disk.blocks);
    this.#executed = new Set([hex(this.final.id)]);
    const blocks = [...this.blocks.values()].filter((b) => b.view > this.final.view);
    const { finalization, votes, certificates } = this.disk;
    this.step({
      kind: "start", final: this.final, dueMs: this.#world.dueAfter(this.final), finalization, votes, certificates: [...certificates.values()], blocks, sealing: null, memory: { kind: "whole" },
    });
  }

  crash(): void {
    this.isUp = false;
    this.life += 1;
  }

  step(event: EventOf<Event>): void {
    const [, effects] = this.#world.consensus.step(this.state, { ...event, nowMs: this.clockMs } as Event);
    this.#world.trace(this.index, event.kind, effects.length);
    for (const effect of effects) this.#carryOut(effect);
  }

  /** In this life, after a while, unless it ends before. */
  later(delayMs: number, run: () => void): void {
    const { life } = this;
    this.#world.queue.push(this.#world.nowMs + delayMs, () => {
      if (this.isUp && this.life === life) run();
    });
  }

  receive(message: Message, from: number): void {
    const { consensus, checkers } = this.#world;
    switch (message.kind) {
      case "vote":
        if (!consensus.wantsVote(this.state, message.vote)) return;
        if (!checkers.isSigned(message.vote.validator, message.vote.kind, message.vote.view, message.vote.id)) return;
        return this.step({ kind: "vote", vote: message.vote });
      case "certificate":
        if (this.#takes(message.certificate)) this.step({ kind: "certificate", certificate: message.certificate });
        return;
      case "proposal": {
        const { block, justification } = message;
        const given = block.parentCertificate ? [block.parentCertificate, ...justification] : justification;
        const certificates = given.filter((c) => this.#takes(c));
        if (block.proposer === consensus.leaderOf(this.state, block.view) && consensus.wantsProposal(this.state, block)) {
          this.blocks.set(hex(block.id), block);
          this.step({ kind: "proposal", block, certificates });
        } else for (const certificate of certificates) this.step({ kind: "certificate", certificate });
        return;
      }
      case "block":
        this.blocks.set(hex(message.block.id), message.block);
        return this.step({ kind: "block", block: message.block });
      case "request": return this.#answer(message.request, from);
      default: message satisfies never;
    }
  }

  #answer(request: Request, to: number): void {
    if (request.kind === "blockRequest") {
      const block = this.blocks.get(hex(request.id));
      if (block) this.#world.send(this.index, to, { kind: "block", block });
    } else {
      const certificate = this.#world.consensus.certificateFor(this.state, request.certificateKind, request.view);
      if (certificate) this.#world.send(this.index, to, { kind: "certificate", certificate });
    }
  }

  #takes(certificate: Certificate): boolean {
    return this.#world.consensus.wantsCertificate(this.state, certificate) && this.#world.isGenuine(certificate);
  }

  #carryOut(effect: Effect): void {
    const world = this.#world;
    switch (effect.kind) {
      case "persist": return this.#persist(effect.vote, effect.certificate);
      case "broadcast": return world.broadcast(this, this.#outgoing(effect.message));
      case "request": {
        const others = world.nodes.length - 1;
        const to = effect.from === this.index ? this.index + 1 + (effect.attempt % others) : effect.from + effect.attempt;
        return world.send(this.index, to % world.nodes.length, { kind: "request", request: effect.request, from: this.index });
      }
      case "timer": {
        const token = ++this.#timerCount;
        this.#timers.set(effect.timer, token);
        return this.later(effect.delayMs, () => {
          if (this.#timers.get(effect.timer) === token) this.step({ kind: "timer", timer: effect.timer, view: effect.view });
        });
      }
      case "build": {
        const { parent, parentCertificate, view } = effect;
        this.#mustBeExecuted(parent, "build on");
        const block = world.makeBlock({ view, parent, parentCertificate, timeMs: effect.timeMs, proposer: this.index, valid: true, salt: this.life });
        return this.later(1 + world.chance.below(10), () => {
          this.blocks.set(hex(block.id), block);
          this.#executed.add(hex(block.id));
          this.step({ kind: "built", view, block, dueMs: world.dueAfter(block) });
        });
      }
      case "validate": {
        const block = this.blocks.get(hex(effect.block.id))!;
        if (hex(effect.block.parentId) !== hex(this.final.id)) this.#mustBeExecuted({ id: block.parentId }, "validate on");
        return this.later(1 + world.chance.below(10), () => {
          if (block.valid) this.#executed.add(hex(block.id));
          this.step({ kind: "validated", id: block.id, valid: block.valid, dueMs: world.dueAfter(block) });
        });
      }
      case "commit": return this.#commit(effect.block, effect.finalization);
      case "evidence": return world.checkers.evidence(effect.evidence);
      case "sealed": case "muted": return world.checkers.fault(`node ${this.index} ${effect.kind}`);
      case "behind": return this.later(200 + world.chance.below(800), () => this.#sync());
      case "halt": return world.halted(this.index, effect.reason);
      default: effect satisfies never;
    }
  }

  /** Fetches and executes the final chain of whoever has more of it, as a range sync would. */
  #sync(): void {
    const world = this.#world;
    const ahead = world.nodes.filter((n) => n.isUp && n.final.height > this.final.height && n.state.finalization);
    if (ahead.length === 0) return;
    const peer = world.chance.pick(ahead);
    const path: SimulatedBlock[] = [];
    for (let id = peer.final.id; hex(id) !== hex(this.final.id);) {
      const block = peer.blocks.get(hex(id));
      if (!block || block.height <= this.final.height) return;
      path.push(block);
      id = block.parentId;
    }
    for (const block of path.toReversed()) {
      this.blocks.set(hex(block.id), block);
      this.#executed.add(hex(block.id));
      this.#commit(block, peer.state.finalization!);
    }
    this.step({ kind: "synced", final: this.final, dueMs: world.dueAfter(this.final), finalization: peer.state.finalization! });
  }

  #outgoing(message: Outgoing): Message {
    if (message.kind === "statusRequest") throw new Error("no node of this world loses its vote log");
    if (message.kind !== "proposal") {
      if (message.kind === "vote") this.#mustBeOnDisk(message.vote);
      return message;
    }
    const block = this.blocks.get(hex(message.id))!;
    const own = this.disk.votes.find((v) => v.kind === "notarize" && v.view === block.view);
    if (!own || hex(own.id!) !== hex(block.id)) this.#world.checkers.fault(`node ${this.index} proposed before its vote was on disk`);
    return { kind: "proposal", block, justification: message.justification };
  }

  /** First in, first out; what is in the queue of a disk when its machine dies is gone. */
  #persist(vote: Vote, certificate: Certificate | null): void {
    const world = this.#world;
    const atMs = Math.max(this.#diskFreeMs, world.nowMs + 1 + world.chance.below(world.scenario.diskMsMax));
    this.#diskFreeMs = atMs;
    this.later(atMs - world.nowMs, () => {
      const signed: SignedVote = { ...vote, validator: this.index, signature: signature(new Uint8Array(64).fill(this.index + 1)) };
      if (vote.kind === "notarize") this.disk.blocks.set(hex(vote.id!), this.blocks.get(hex(vote.id!))!);
      if (certificate) this.disk.certificates.set(`${certificate.kind} ${certificate.view}`, certificate);
      this.disk.votes.push(signed);
      world.checkers.signed(signed);
      this.step({ kind: "persisted", vote: signed });
    });
  }

  #commit(block: BlockRef, finalization: Certificate): void {
    this.#mustBeExecuted(block, "commit");
    this.#world.checkers.committed(this.index, this.final, block);
    this.#world.traceBytes(block.id);
    this.final = block;
    this.later(this.#world.chance.below(200), () => {
      if (block.height !== this.disk.chain.length) return;
      this.disk.chain.push(block);
      this.disk.blocks.set(hex(block.id), this.blocks.get(hex(block.id))!);
      this.disk.finalization = finalization;
      this.disk.votes = this.disk.votes.filter((v) => v.view > block.view - 8);
      for (const [key, certificate] of this.disk.certificates) if (certificate.view <= block.view) this.disk.certificates.delete(key);
    });
  }

  #mustBeExecuted(block: { id: BlockRef["id"] }, what: string): void {
    if (!this.#executed.has(hex(block.id))) this.#world.checkers.fault(`node ${this.index} was to ${what} a block it had not executed`);
  }

  #mustBeOnDisk(vote: SignedVote): void {
    if (vote.validator === this.index && !this.#world.checkers.isSigned(this.index, vote.kind, vote.view, vote.id)) {
      this.#world.checkers.fault(`node ${this.index} sent a vote that is not on its disk`);
    }
  }
}

