/**
 * A simulated machine: the shell around `step`, with a clock that is off, a disk that loses what was not flushed, and lives
 * that end in the middle of things. It promises to consensus what `events.ts` demands, and checks what consensus promises.
 */

import { epochAfter } from "#chain/codec/epoch.ts";
import type { Certificate, SignedVote, Status } from "#chain/codec/schema.ts";
import type { BlockRef, Effect, Event, Memory, Outgoing, Request } from "#chain/consensus/events.ts";
import type { State } from "#chain/consensus/state.ts";
import { epoch as epochOf, hex, height as heightOf, signature, timeMs, view as viewOf } from "#chain/types.ts";
import type { Epoch, Hex, TimeMs } from "#chain/types.ts";
import type { Accounts, Content } from "./accounts.ts";
import { Disk } from "./disk.ts";
import type { World } from "./world.ts";

/** What the world knows of a block beside what consensus is told. */
export type SimulatedBlock = BlockRef & {
  readonly epoch: Epoch; readonly proposer: number; readonly valid: boolean; readonly parentCertificate: Certificate | null; readonly content: Content | null;
};

export type Message =
  | { readonly kind: "proposal"; readonly block: SimulatedBlock; readonly justification: readonly Certificate[] }
  | { readonly kind: "vote"; readonly vote: SignedVote }
  | { readonly kind: "certificate"; readonly certificate: Certificate }
  | { readonly kind: "block"; readonly block: SimulatedBlock }
  | { readonly kind: "request"; readonly request: Request }
  | { readonly kind: "statusRequest"; readonly nonce: Uint8Array }
  | { readonly kind: "status"; readonly status: Status };

type EventOf<E> = E extends unknown ? Omit<E, "nowMs"> : never;
const NO_SIGNATURE = signature(new Uint8Array(64));
/** A peer of an earlier epoch is told no more often how it ended. */
const TOLD_EVERY_MS = 500;

export class Node {
  readonly index: number;
  /** Whose key it has: its own, but for a twin. */
  readonly key: number;
  readonly disk: Disk;
  isUp: boolean = false;
  life: number = 0;
  epoch: Epoch = epochOf(0);
  state!: State;
  /** The epoch before, for late peers. */
  past: State | null = null;
  /** Committed in this life or an earlier one, flushed or not; and the newest finalization, of whatever epoch. */
  final: SimulatedBlock;
  finalization: Certificate | null = null;
  blocks: Map<Hex, SimulatedBlock> = new Map();
  skewMs: number;
  /** The clock stands still from here on. */
  stopsMs: number = Number.MAX_SAFE_INTEGER;
  #accounts: Accounts | null = null;
  readonly #world: World;
  #timers = new Map<string, number>();
  #timerCount = 0;
  #nonceCount = 0;
  #executed = new Set<Hex>();
  #syncs = false;
  #told = new Map<number, number>();

  constructor(world: World, index: number, key: number, skewMs: number) {
    this.#world = world;
    this.index = index;
    this.key = key;
    this.skewMs = skewMs;
    this.final = world.genesis;
    this.disk = new Disk(world.genesis);
  }

  get isValidator(): boolean { return this.#world.validatorOf(this.epoch, this.key) !== null; }

  get clockMs(): TimeMs { return timeMs(this.#world.genesis.timeMs + BigInt(Math.floor(Math.min(this.#world.nowMs, this.stopsMs)) + this.skewMs)); }

  // ---- Lives and epochs --------------------------------------------------------------------------------------------------

  start(): void {
    const { disk } = this;
    this.isUp = true;
    this.past = null;
    this.#syncs = false;
    this.final = disk.chain.at(-1)!;
    this.finalization = disk.finalization;
    this.blocks = new Map([...disk.blocks, ...disk.chain.map((block): [Hex, SimulatedBlock] => [hex(block.id), block])]);
    this.#executed = new Set([hex(this.final.id)]);
    this.#accounts = this.#world.openAccounts();
    for (const block of this.#accounts ? disk.chain.slice(1) : []) this.#commitAccounts(block, true);
    this.#enter();
  }

  crash(): void {
    this.isUp = false;
    this.life += 1;
    this.disk.crash(this.#world.chance);
  }

  /** R14: consensus of the epoch in which the next block is voted for, with all that the disk knows of it. */
  #enter(): void {
    const world = this.#world;
    this.epoch = epochAfter(this.final.height, world.epochBlocks);
    this.#timers.clear();
    const configuration = world.configurationOf(this);
    this.state = world.consensus.createState(configuration);
    world.onEpoch?.(this, configuration);
    const begins = this.final.epoch !== this.epoch || this.final.height === 0;
    const final: BlockRef = begins ? { ...this.final, view: viewOf(0), parentView: viewOf(0) } : this.final;
    const { votes, certificates } = this.disk;
    const self = configuration.self;
    this.step({
      kind: "start", final, dueMs: world.dueAfter(this.final), finalization: begins ? null : this.finalization,
      votes: self === null ? [] : votes.filter((v) => v.epoch === this.epoch && v.validator === self), certificates: [...certificates.values()].filter((c) => c.epoch === this.epoch),
      blocks: [...this.blocks.values()].filter((b) => b.epoch === this.epoch && b.view > final.view),
      memory: this.#memory(self),
    });
  }

  #memory(self: number | null): Memory {
    if (self === null) return { kind: "whole" };
    if (this.disk.isLost) return { kind: "lost", nonce: new Uint8Array([this.index, this.life, this.epoch, ++this.#nonceCount, 0, 0, 0, 0]) };
    const upTo = this.disk.mutes.get(this.epoch);
    return upTo === undefined ? { kind: "whole" } : { kind: "mute", upTo };
  }

  step(event: EventOf<Event>): void {
    const world = this.#world;
    const full = { ...event, nowMs: this.clockMs } as Event;
    const [, effects] = world.consensus.step(this.state, full);
    world.mixStep(this.index, event.kind, effects.length);
    world.onStep?.(this, full, effects);
    world.checkMemory(this);
    const { state } = this;
    for (const effect of effects) this.#carryOut(effect, state);
  }

  /** In this life and epoch, after a while, unless it ends before. */
  later(delayMs: number, run: () => void): void {
    const { life, state } = this;
    this.#world.queue.push(this.#world.nowMs + delayMs, () => {
      if (this.isUp && this.life === life && this.state === state) run();
    });
  }

  // ---- Messages → events -------------------------------------------------------------------------------------------------

  receive(message: Message, from: number): void {
    const { consensus, checkers } = this.#world;
    const of = epochIn(message);
    if (of !== null && of !== this.epoch) return this.#otherEpoch(of, from);
    switch (message.kind) {
      case "vote": {
        const { epoch, validator, kind, view, id } = message.vote;
        if (!consensus.wantsVote(this.state, message.vote)) return;
        if (checkers.isSigned(epoch, validator, kind, view, id)) this.step({ kind: "vote", vote: message.vote });
        return;
      }
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
        if (!this.state.requests.has(`block ${hex(message.block.id)}`)) return;
        this.blocks.set(hex(message.block.id), message.block);
        return this.step({ kind: "block", block: message.block });
      case "request": return this.#answer(message.request, from);
      case "statusRequest": {
        const status = consensus.statusOf(this.state);
        if (status) this.#world.send(this, from, { kind: "status", status: { nonce: message.nonce, epoch: this.epoch, ...status } });
        return;
      }
      case "status": {
        const { nonce, view, admitting, finalization } = message.status;
        const validator = this.#world.validatorOf(this.epoch, this.#world.nodes[from]!.key);
        if (validator === null || this.state.rejoin === null) return;
        const certificates = [finalization, admitting].filter((c) => c !== null).filter((c) => this.#takes(c));
        return this.step({ kind: "status", validator, nonce, view, certificates });
      }
      default: message satisfies never;
    }
  }

  /** Who is in a later epoch has what this node lacks; who is in the one before is told how that ended. */
  #otherEpoch(of: number, from: number): void {
    if (of > this.epoch) return this.#behind();
    const ended = this.finalization?.epoch === of ? this.finalization : this.past?.configuration.epoch === of ? this.past.finalization : null;
    const { nowMs } = this.#world;
    if (!ended || nowMs - (this.#told.get(from) ?? -TOLD_EVERY_MS) < TOLD_EVERY_MS) return;
    this.#told.set(from, nowMs);
    this.#world.send(this, from, { kind: "certificate", certificate: ended });
  }

  #answer(request: Request, to: number): void {
    if (request.kind === "blockRequest") {
      const block = this.blocks.get(hex(request.id));
      if (block) this.#world.send(this, to, { kind: "block", block });
    } else {
      const certificate = this.#world.consensus.certificateFor(this.state, request.certificateKind, request.view);
      if (certificate) this.#world.send(this, to, { kind: "certificate", certificate });
    }
  }

  #takes(certificate: Certificate): boolean {
    return certificate.epoch === this.epoch && this.#world.consensus.wantsCertificate(this.state, certificate) && this.#world.isGenuine(certificate);
  }

  // ---- Effects -----------------------------------------------------------------------------------------------------------

  #carryOut(effect: Effect, state: State): void {
    const world = this.#world;
    switch (effect.kind) {
      case "persist": return this.#persist(effect);
      case "broadcast": return world.broadcast(this, this.#outgoing(effect.message));
      case "request": return world.request(this, effect);
      case "timer": {
        const token = ++this.#timerCount;
        this.#timers.set(effect.timer, token);
        return this.later(effect.delayMs, () => {
          if (this.#timers.get(effect.timer) === token) this.step({ kind: "timer", timer: effect.timer, view: effect.view });
        });
      }
      case "build": return this.#build(effect);
      case "validate": return this.#validate(effect.block);
      case "commit": return this.#commit(this.blocks.get(hex(effect.block.id))!, effect.finalization);
      case "sealed":
        this.past = state;
        return this.#enter();
      case "muted": {
        const { disk, epoch } = this;
        const write = disk.write("log", world.nowMs, 1, () => {
          disk.mutes.set(epoch, effect.upTo);
          disk.mutes.set(epoch + 1, viewOf(1));
          disk.isLost = false;
        });
        return this.later(write.atMs - world.nowMs, () => write.flushed());
      }
      case "evidence": return world.checkers.evidence(this.epoch, effect.evidence);
      case "behind": return this.#behind();
      case "halt": return world.halted(this, effect.reason);
      default: effect satisfies never;
    }
  }

  #build({ parent, parentCertificate, view, timeMs: time }: Effect & { kind: "build" }): void {
    const world = this.#world;
    this.#mustBeExecuted(parent, "build on");
    const isSeal = world.isSeal(parent.height + 1, this.epoch);
    const content = this.#accounts && !isSeal ? this.#accounts.build(parent, time) : null;
    const block = world.makeBlock({ epoch: this.epoch, view, parent, parentCertificate, timeMs: time, proposer: this.state.configuration.self!, valid: true, salt: this.life * 64 + this.index, content });
    this.later(1 + world.chance.below(10), () => {
      this.blocks.set(hex(block.id), block);
      if (!this.#execute(block)) return;
      this.step({ kind: "built", view, block, dueMs: world.dueAfter(block) });
    });
  }

  #validate({ id, parentId }: BlockRef): void {
    const world = this.#world;
    const block = this.blocks.get(hex(id))!;
    if (hex(parentId) !== hex(this.final.id)) this.#mustBeExecuted({ id: parentId }, "validate on");
    this.later(1 + world.chance.below(10), () => this.step({ kind: "validated", id, valid: this.#execute(block), dueMs: world.dueAfter(block) }));
  }

  /** False also when what is final has left the block's branch. */
  #execute(block: SimulatedBlock): boolean {
    const key = hex(block.id);
    if (this.#executed.has(key)) return true;
    const isSeal = this.#world.isSeal(block.height, block.epoch);
    if (!block.valid || (block.content !== null && isSeal)) return false;
    if (this.#accounts && !isSeal) {
      if (!this.#executed.has(hex(block.parentId)) || block.height <= this.final.height) return false;
      if (block.content === null || !this.#accounts.execute(block, block.content)) return false;
    }
    this.#executed.add(key);
    return true;
  }

  /** R8, and R10 by ranges: fetches and executes the final chain of whoever has more of it. */
  #behind(): void {
    if (this.#syncs) return;
    this.#syncs = true;
    const { life } = this;
    this.#world.queue.push(this.#world.nowMs + 200 + this.#world.chance.below(800), () => {
      if (!this.isUp || this.life !== life) return;
      this.#syncs = false;
      this.#sync();
    });
  }

  #sync(): void {
    const world = this.#world;
    const ahead = world.nodes.filter((n) => n.isUp && n.final.height > this.final.height && n.finalization && !world.cheatsInSync(n));
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
      if (!this.#execute(block)) return world.fault(this, `cannot execute the final block ${block.height}`);
      this.#commit(block, peer.finalization!);
    }
    if (epochAfter(this.final.height, world.epochBlocks) !== this.epoch) this.#enter();
    else this.step({ kind: "synced", final: this.final, dueMs: world.dueAfter(this.final), finalization: peer.finalization! });
  }

  #outgoing(message: Outgoing): Message {
    if (message.kind !== "proposal") {
      if (message.kind === "vote") this.#mustBeOnDisk(message.vote);
      return message;
    }
    const block = this.blocks.get(hex(message.id))!;
    const own = this.disk.votes.find((v) => v.kind === "notarize" && v.epoch === block.epoch && v.view === block.view);
    if (!own || hex(own.id!) !== hex(block.id)) this.#world.fault(this, "proposed before its vote was on disk");
    return { kind: "proposal", block, justification: message.justification };
  }

  #persist({ vote, certificate }: Effect & { kind: "persist" }): void {
    const { disk } = this;
    const world = this.#world;
    const signed: SignedVote = { ...vote, validator: this.state.configuration.self!, signature: NO_SIGNATURE };
    const write = disk.write("log", world.nowMs, 1 + world.chance.below(world.scenario.diskMsMax), () => {
      if (vote.kind === "notarize") disk.blocks.set(hex(vote.id!), this.blocks.get(hex(vote.id!))!);
      if (certificate) disk.certificates.set(`${certificate.epoch} ${certificate.kind} ${certificate.view}`, certificate);
      disk.votes.push(signed);
      world.checkers.signed(signed);
    });
    const { life, state } = this;
    world.queue.push(write.atMs, () => {
      if (!this.isUp || this.life !== life) return;
      write.flushed();
      if (this.state === state) this.step({ kind: "persisted", vote: signed });
    });
  }

  #commit(block: SimulatedBlock, finalization: Certificate): void {
    const { disk } = this;
    const world = this.#world;
    this.#mustBeExecuted(block, "commit");
    const stateRoot = this.#commitAccounts(block, false);
    world.committed(this, block, stateRoot);
    world.mixBytes(block.id);
    this.final = block;
    this.finalization = finalization;
    const write = disk.write("store", world.nowMs, world.chance.below(200), () => {
      if (block.height !== disk.chain.length) return;
      disk.chain.push(block);
      for (const [key, { height }] of disk.blocks) if (height <= block.height) disk.blocks.delete(key);
      disk.finalization = finalization;
      disk.votes = disk.votes.filter((v) => v.epoch > block.epoch || (v.epoch === block.epoch && v.view > block.view - 8));
      for (const [key, c] of disk.certificates) if (c.epoch < block.epoch || (c.epoch === block.epoch && c.view <= block.view)) disk.certificates.delete(key);
    });
    const { life } = this;
    world.queue.push(write.atMs, () => {
      if (this.isUp && this.life === life) write.flushed();
    });
  }

  /** The root of the state after it. */
  #commitAccounts(block: SimulatedBlock, again: boolean): string | null {
    if (!this.#accounts) return null;
    if (again && !this.#accounts.execute(block, block.content!)) throw new Error(`block ${block.height} of the disk cannot be executed again`);
    const fault = this.#accounts.commit(block);
    if (fault !== null) this.#world.fault(this, `at height ${block.height}: ${fault}`);
    return hex(block.content!.stateRoot);
  }

  #mustBeExecuted(block: { id: BlockRef["id"] }, what: string): void {
    if (!this.#executed.has(hex(block.id))) this.#world.fault(this, `was to ${what} a block it had not executed`);
  }

  #mustBeOnDisk({ epoch, validator, kind, view, id }: SignedVote): void {
    if (!this.#world.checkers.isSigned(epoch, validator, kind, view, id)) this.#world.fault(this, "sent a vote that is not on its disk");
  }
}

function epochIn(message: Message): number | null {
  switch (message.kind) {
    case "vote": return message.vote.epoch;
    case "certificate": return message.certificate.epoch;
    case "proposal": return message.block.epoch;
    case "status": return message.status.epoch;
    case "block": case "request": case "statusRequest": return null;
  }
}

export const genesisBlock = (id: SimulatedBlock["id"], parentId: SimulatedBlock["id"], time: TimeMs): SimulatedBlock =>
  ({ id, view: viewOf(0), height: heightOf(0), parentView: viewOf(0), parentId, timeMs: time, epoch: epochOf(0), proposer: 0, valid: true, parentCertificate: null, content: null });
