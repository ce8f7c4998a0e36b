/**
 * Carries consensus out: turns messages, timers and finished work into events, and effects into disk writes, sends and work.
 *
 * Rules of this file:
 * - `step` never runs inside `step`: events queue, and what an effect starts answers in a later turn.
 * - A vote is signed, written to the vote log and flushed, its block before it; only then consensus hears `persisted`, and
 *   only that makes it broadcast or count the vote. So nothing that holds an unsaved vote of ours can leave.
 * - What comes from a peer is decoded, asked for (`wants…`) and checked, in this order; checks of one peer are bounded, its
 *   certificates come one after the other, and after one that is forged it is not heard for a while (`PEER_MUTED_MS`).
 * - After a failed write, a refused vote or a broken assertion the host stops signing for good (`onHalt`).
 */
import type { BlockRef, DueMs, Effect, Event, Evidence, Outgoing, Request, TimerName } from "#chain/consensus/events.ts";
import { type Configuration, type State, certificateFor, createState, leaderOf, notarizedIn, wantsCertificate, wantsProposal, wantsVote } from "#chain/consensus/state.ts";
import { statusOf } from "#chain/consensus/rejoin.ts";
import { step } from "#chain/consensus/step.ts";
import { BLOCK_BYTES_MAX } from "#chain/constants.ts";
import { CodecError } from "#chain/codec/cbor.ts";
import { encodeEvidence, evidenceBetween, type Evidence as Proof } from "#chain/codec/evidence.ts";
import { type ValidatorSet, signProposal, signVote, verifyProposal, verifyVoteAsync } from "#chain/codec/certificate.ts";
import { type Certificate, type ConsensusMessage, type Proposal, type SignedVote, type Status, decodeMessage, encodeCertificate, encodeMessage, encodeSignedVote } from "#chain/codec/schema.ts";
import type { Clock } from "#chain/network/clock.ts";
import { type PeerId, type Transport, peerId } from "#chain/network/transport.ts";
import { type Digest, type View, hex, timeMs } from "#chain/types.ts";
import type { CertificateChecks } from "./certificateChecks.ts";
import { NodeError } from "./errors.ts";
import { type HeldBlock, type HeldBlocks, heldBlock } from "./heldBlocks.ts";
import { CHECKS_PER_PEER_MAX, GREETED_VIEWS_MAX, LATE_DELTAS, PEERS_MUTED_MAX, PEER_MUTED_MS } from "./limits.ts";
import { FINALIZE, NOTARIZE, NULLIFY, type VoteLog } from "./voteLog.ts";

type EventBody = Event extends infer E ? (E extends Event ? Omit<E, "nowMs"> : never) : never;
type Build = Effect & { kind: "build" };
const waitingLevel = (count: number): number => (count === 0 ? 0 : 1 + Math.min(16, count >> 6));
const KINDS = { notarize: NOTARIZE, nullify: NULLIFY, finalize: FINALIZE } as const;

/** What the host needs of the chain around it. */
export type HostChain = {
  readonly held: HeldBlocks;
  /** Final blocks too, as far back as peers may still ask. */
  blockById(id: Digest): HeldBlock | null;
  validate(held: HeldBlock): Promise<{ valid: boolean; dueMs: DueMs }>;
  /** Null when sync has left that parent behind. */
  build(effect: Build): { held: HeldBlock; dueMs: DueMs } | null;
  commit(held: HeldBlock, finalization: Certificate): void;
  /** The newest notarized block changed: the next one will be its child. */
  tipWanted(id: Digest): void;
  behind(finalization: Certificate): void;
  /** R14: the epoch is over. */
  sealed(finalization: Certificate): void;
  /** R14: a peer speaks of another epoch. */
  otherEpoch(from: PeerId, epoch: number): void;
  /** R13: encoded evidence, for a block. */
  accuse(evidence: Uint8Array): void;
};
export type HostOptions = {
  readonly configuration: Configuration;
  readonly validators: ValidatorSet;
  readonly seed: Uint8Array | null;
  readonly votes: VoteLog | null;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly checks: CertificateChecks;
  readonly onHalt: (error: NodeError) => void;
  /** Everything that consensus was told, and what it decided: for a trace. */
  readonly onStep?: (event: Event, effects: readonly Effect[]) => void;
};

export class ConsensusHost {
  readonly #options: HostOptions;
  readonly #chain: HostChain;
  readonly #state: State;
  readonly #validatorOf = new Map<PeerId, number>();
  readonly #timers = new Map<TimerName, () => void>();
  readonly #checking = new Map<PeerId, number>();
  /** Of each peer the check of its newest certificate. */
  readonly #certificateChecks = new Map<PeerId, Promise<boolean>>();
  /** What cancels the end of each. */
  readonly #muted = new Map<PeerId, () => void>();
  /** The view whose timer was put off as its block has this node's vote: what ends that wait. */
  #giveUp: { readonly view: View; readonly now: () => void } | null = null;
  #events: EventBody[] = [];
  #turning = false;
  #stopped = false;
  #waiting = 0;
  #tipWanted = "";

  constructor(options: HostOptions, chain: HostChain) {
    this.#options = options;
    this.#chain = chain;
    this.#state = createState(options.configuration);
    for (const [index, { publicKey }] of options.validators.validators.entries()) this.#validatorOf.set(peerId(publicKey), index);
  }

  get epoch(): number {
    return this.#options.configuration.epoch;
  }
  /** Mute two views beyond, too: until then others may still count on what it has forgotten (R12, its hazard). */
  get signing(): "no" | "rejoining" | "mute" | "yes" {
    const { configuration: { self }, rejoin, view, mute } = this.#state;
    if (self === null || this.#stopped) return "no";
    return rejoin !== null ? "rejoining" : mute > 0 && view <= mute + 2 ? "mute" : "yes";
  }
  get view(): number {
    return this.#state.view;
  }

  start(event: Omit<Event & { kind: "start" }, "nowMs">): void {
    this.#dispatch(event);
  }
  stop(): void {
    this.#stopped = true;
    for (const cancel of [...this.#timers.values(), ...this.#muted.values()]) cancel();
    this.#timers.clear();
    this.#muted.clear();
    this.#events = [];
  }
  /** Transactions that a child of the tip could take; consensus hears of it when none turn into some, and back. */
  waiting(count: number): void {
    // None or some decides when a block is wanted; how many, in steps of 64, how long its view may take.
    if (waitingLevel(count) === waitingLevel(this.#waiting)) return;
    this.#waiting = count;
    this.#dispatch({ kind: "waiting", count });
  }
  /** R7: its views are passed over while its machine is suspected. */
  suspected(validator: number, suspected: boolean): void {
    this.#dispatch({ kind: "suspected", validator, suspected });
  }
  synced(final: BlockRef, dueMs: DueMs, finalization: Certificate): void {
    this.#dispatch({ kind: "synced", final, dueMs, finalization });
  }
  wantsCertificate(certificate: Certificate): boolean {
    return wantsCertificate(this.#state, certificate);
  }

  /**
   * R9 for one peer that comes: what may have been lost while it was away. After a power cut of the whole site this, and not
   * the standstill timer, brings together votes that are only in logs any more.
   */
  greet(peer: PeerId): void {
    const { final, finalization, records, configuration } = this.#state;
    if (finalization) this.#send(peer, { kind: "certificate", certificate: finalization });
    const views = [...records.keys()].filter((of) => of > final.view).toSorted((a, b) => a - b).slice(0, GREETED_VIEWS_MAX);
    for (const of of views) {
      const record = records.get(of)!;
      for (const certificate of [record.notarization, record.nullification]) if (certificate) this.#send(peer, { kind: "certificate", certificate });
      const own = configuration.self === null ? undefined : record.ballots.get(configuration.self);
      for (const vote of [own?.notarize, own?.nullify, own?.finalize]) if (vote) this.#send(peer, { kind: "vote", vote });
    }
  }

  receive(from: PeerId, bytes: Uint8Array): void {
    if (this.#stopped || this.#muted.has(from)) return;
    const running = this.#checking.get(from) ?? 0;
    if (running >= CHECKS_PER_PEER_MAX) return;
    this.#checking.set(from, running + 1);
    void this.#take(from, bytes).catch((error: unknown) => {
      // Nonsense is the sender's mistake. Anything else is ours, but nothing was decided yet: `step` has not seen the message.
      if (error instanceof CodecError) this.#options.transport.report(from, "malformed");
      else process.emitWarning(`Cannot read a consensus message of ${from}: ${String(error)}`, { code: "godwit_message" });
    }).finally(() => {
      const left = this.#checking.get(from)! - 1;
      if (left > 0) this.#checking.set(from, left);
      else this.#checking.delete(from);
    });
  }

  // ---- Messages → events ---------------------------------------------------------------------------------------------------

  async #take(from: PeerId, bytes: Uint8Array): Promise<void> {
    const message = decodeMessage(bytes);
    const of = epochIn(message);
    if (of !== null && of !== this.#options.configuration.epoch) return this.#chain.otherEpoch(from, of);
    switch (message.kind) {
      case "vote":
        if (!wantsVote(this.#state, message.vote) || !(await verifyVoteAsync(this.#options.validators, message.vote))) return;
        this.#dispatch(message);
        if (message.vote.kind === "nullify" && message.vote.view === this.#giveUp?.view) this.#giveUp.now();
        return;
      case "certificate":
        if (this.wantsCertificate(message.certificate) && (await this.#holds(from, message.certificate))) this.#dispatch(message);
        return;
      case "proposal": return this.#takeProposal(from, message.proposal);
      case "blockRequest": {
        const held = this.#chain.blockById(message.id);
        if (held) this.#send(from, { kind: "block", block: held.block });
        return;
      }
      case "block": {
        const held = heldBlock(message.block, null);
        if (held.bytes.length > BLOCK_BYTES_MAX || !this.#state.requests.has(`block ${hex(held.ref.id)}`)) return;
        if (this.#chain.held.add(held)) this.#dispatch({ kind: "block", block: held.ref });
        return;
      }
      case "certificateRequest": {
        const certificate = certificateFor(this.#state, message.certificateKind, message.view);
        if (certificate) this.#send(from, { kind: "certificate", certificate });
        return;
      }
      case "statusRequest": {
        const status = statusOf(this.#state);
        if (status) this.#send(from, { kind: "status", status: { nonce: message.nonce, epoch: this.#options.configuration.epoch, ...status } });
        return;
      }
      case "status": return this.#takeStatus(from, message.status);
    }
  }

  /** R12: the word of the validator that the transport has authenticated. */
  async #takeStatus(from: PeerId, { nonce, epoch, view, admitting, finalization }: Status): Promise<void> {
    const validator = this.#validatorOf.get(from);
    if (validator === undefined || this.#state.rejoin === null || epoch !== this.#options.configuration.epoch) return;
    const certificates = [finalization, admitting].filter((one) => one !== null && this.wantsCertificate(one)) as Certificate[];
    for (const certificate of certificates) if (!(await this.#holds(from, certificate))) return;
    this.#dispatch({ kind: "status", validator, nonce, view, certificates });
  }

  async #takeProposal(from: PeerId, { block, signature, justification }: Proposal): Promise<void> {
    const { header, body } = block;
    const { validators, configuration } = this.#options;
    if (hex(header.chainId) !== hex(configuration.chainId) || header.epoch !== configuration.epoch || header.view < 1) return;
    if (header.proposer !== leaderOf(this.#state, header.view)) return;
    const held = heldBlock(block, signature);
    if (held.bytes.length > BLOCK_BYTES_MAX || !wantsProposal(this.#state, held.ref)) return;
    if (!verifyProposal(validators, header.proposer, held.ref.id, signature)) return;
    const certificates = [...(body.parentCertificate ? [body.parentCertificate] : []), ...justification].filter((one) => this.wantsCertificate(one));
    for (const certificate of certificates) if (!(await this.#holds(from, certificate))) return;
    if (!wantsProposal(this.#state, held.ref) || !this.#chain.held.add(held)) return;
    this.#dispatch({ kind: "proposal", block: held.ref, certificates });
  }

  /** One certificate of a peer after the other, and none after a forged one: all that a liar sends at once costs what one does. */
  async #holds(from: PeerId, certificate: Certificate): Promise<boolean> {
    const before = this.#certificateChecks.get(from) ?? Promise.resolve(true);
    const check = before.catch(() => false).then(async () => {
      if (this.#stopped || this.#muted.has(from)) return false;
      const holds = await this.#options.checks.holds(certificate);
      // Of another epoch it may be honest: this node is late or early.
      if (!holds && certificate.epoch === this.#options.configuration.epoch) this.#mute(from);
      return holds;
    });
    this.#certificateChecks.set(from, check);
    try {
      return await check;
    } finally {
      if (this.#certificateChecks.get(from) === check) this.#certificateChecks.delete(from);
    }
  }

  /** Honest peers pass on only what they have checked. The transport cannot close a connection, so its messages are dropped. */
  #mute(peer: PeerId): void {
    if (this.#stopped || this.#muted.has(peer)) return;
    const [longest] = this.#muted;
    if (longest && this.#muted.size >= PEERS_MUTED_MAX) {
      longest[1]();
      this.#muted.delete(longest[0]);
    }
    this.#muted.set(peer, this.#options.clock.setTimer(() => this.#muted.delete(peer), PEER_MUTED_MS));
    process.emitWarning(`Peer ${peer} sent a forged certificate: it is not heard for ${PEER_MUTED_MS} ms`, { code: "godwit_forged" });
    this.#options.transport.report(peer, "forged");
  }

  // ---- Events → effects ----------------------------------------------------------------------------------------------------

  #dispatch(event: EventBody): void {
    if (this.#stopped) return;
    this.#events.push(event);
    if (this.#turning) return;
    this.#turning = true;
    queueMicrotask(() => this.#turn());
  }

  #turn(): void {
    try {
      for (let event = this.#events.shift(); event && !this.#stopped; event = this.#events.shift()) {
        const full = { ...event, nowMs: timeMs(BigInt(this.#options.clock.nowMs())) } as Event;
        const [, effects] = step(this.#state, full);
        this.#options.onStep?.(full, effects);
        for (const effect of effects) this.#carryOut(effect);
        if (!this.#stopped) this.#reportTip();
      }
    } catch (error) {
      this.#halt(error);
    }
    this.#turning = false;
  }

  #carryOut(effect: Effect): void {
    if (this.#stopped) return;
    switch (effect.kind) {
      case "persist": return this.#persist(effect);
      case "broadcast": return this.#broadcast(effect.message);
      case "request": return this.#request(effect);
      case "timer": return this.#setTimer(effect.timer, effect.view, effect.delayMs);
      case "build": return this.#later(async () => {
        const built = this.#chain.build(effect);
        // Without room for its block the view passes without a proposal, as one of a slow leader.
        if (built && this.#chain.held.add(built.held)) this.#dispatch({ kind: "built", view: effect.view, block: built.held.ref, dueMs: built.dueMs });
      });
      case "validate": return this.#later(async () => {
        const held = this.#chain.blockById(effect.block.id);
        // Gone since the step: a rival became final. Consensus learns of that, and asks no more.
        if (!held) return;
        const { valid, dueMs } = await this.#chain.validate(held);
        this.#dispatch({ kind: "validated", id: effect.block.id, valid, dueMs });
      });
      case "commit": return this.#chain.commit(this.#blockOf(effect.block), effect.finalization);
      case "evidence": return this.#accuse(effect.evidence);
      case "sealed": return this.#chain.sealed(effect.finalization);
      // R12. In the log's order: whatever is signed from here on comes after it.
      case "muted": return this.#later(() => this.#options.votes!.mute(this.#options.configuration.epoch, effect.upTo));
      case "behind": return this.#chain.behind(effect.finalization);
      case "halt":
        for (const one of evidenceOfHalt(this.#options.validators, effect.certificates)) this.#chain.accuse(encodeEvidence(one));
        return this.#halt(new NodeError("consensus_halted", `Cannot go on with consensus in view ${this.#state.view}: ${effect.reason}`));
      default: effect satisfies never;
    }
  }

  /** R11: on the disk first, with what a restart needs to go on from it. */
  #persist({ vote, certificate }: Effect & { kind: "persist" }): void {
    const { seed, votes, configuration } = this.#options;
    if (seed === null || votes === null || configuration.self === null) throw new NodeError("not_a_validator", "Cannot sign a vote: this node has no validator key");
    const kind = KINDS[vote.kind];
    const id = vote.id ?? new Uint8Array(0);
    const refusal = votes.refusal({ epoch: vote.epoch, view: vote.view, kind, id });
    if (refusal !== null) throw new NodeError(refusal, `Cannot sign ${vote.kind} in view ${vote.view}: the vote log has something else`);
    const held = vote.kind === "notarize" && vote.id ? this.#chain.blockById(vote.id) : null;
    // Sync has taken a rival of its block, and consensus does not know yet: such a vote is of no use to anybody.
    if (vote.kind === "notarize" && !held) return;
    const signed: SignedVote = signVote(seed, vote, configuration.self);
    const block = held ? { epoch: vote.epoch, view: vote.view, height: held.ref.height, id: held.ref.id, bytes: held.bytes } : undefined;
    const permit = certificate ? { epoch: certificate.epoch, view: certificate.view, kind: KINDS[certificate.kind], bytes: encodeCertificate(certificate) } : undefined;
    this.#later(async () => {
      await votes.record({ epoch: vote.epoch, view: vote.view, kind, id, bytes: encodeSignedVote(signed) }, block, permit);
      this.#dispatch({ kind: "persisted", vote: signed });
    });
  }

  /** R13: with the bytes that prove it. A block that was fetched without its proposal has no signature of its leader. */
  #accuse(evidence: Evidence): void {
    if (evidence.kind === "votes") return this.#chain.accuse(encodeEvidence({ kind: "votes", a: evidence.a, b: evidence.b }));
    const [a, b] = [evidence.a, evidence.b].map((id) => this.#chain.held.get(id));
    if (!a?.signature || !b?.signature) return;
    this.#chain.accuse(encodeEvidence({ kind: "proposals", a: { header: a.block.header, signature: a.signature }, b: { header: b.block.header, signature: b.signature } }));
  }

  #blockOf({ id }: { readonly id: Digest }): HeldBlock {
    const held = this.#chain.blockById(id);
    if (!held) throw new NodeError("block_missing", `Cannot go on: block ${hex(id)}, which consensus holds, is gone`);
    return held;
  }

  #later(work: () => Promise<void>): void {
    void Promise.resolve().then(work).catch((error: unknown) => this.#halt(error));
  }

  #setTimer(timer: TimerName, view: View, delayMs: number): void {
    this.#timers.get(timer)?.();
    const { clock, configuration: { pace } } = this.#options;
    const monotonicMs = (): number => clock.monotonicMs?.() ?? clock.nowMs();
    if (timer === "view") this.#giveUp = null;
    const ring = (): void => {
      this.#timers.delete(timer);
      this.#dispatch({ kind: "timer", timer, view });
    };
    const arm = (ms: number, mayBePutOff: boolean): void => {
      const dueMs = monotonicMs() + ms;
      const cancel = clock.setTimer(() => {
        const lateMs = monotonicMs() - dueMs;
        // R1: this process did not run. Timers ring before sockets are read: what would have ended the view may be there.
        if (mayBePutOff && lateMs > pace.deltaMs * LATE_DELTAS) return arm(Math.min(lateMs, 4 * pace.deltaMs), false);
        // R1: its block is good, and on busy machines the others' votes for it are on their way.
        if (mayBePutOff && this.#hopesFor(view)) {
          arm(4 * pace.deltaMs, false);
          this.#giveUp = { view, now: () => { this.#timers.get(timer)?.(); ring(); } };
          return;
        }
        ring();
      }, ms);
      this.#timers.set(timer, cancel);
    };
    arm(delayMs, timer === "view");
  }
  /** Its block has this node's vote, and nobody is known to have given it up. */
  #hopesFor(view: View): boolean {
    const record = this.#state.records.get(view);
    return record !== undefined && record.own.notarize !== null && !record.own.nullify && [...record.ballots.values()].every(({ nullify }) => !nullify);
  }

  #broadcast(message: Outgoing): void {
    const { seed, transport } = this.#options;
    if (message.kind !== "proposal") return void transport.broadcast("consensus", encodeMessage(message));
    const { id, justification } = message;
    const held = this.#chain.blockById(id);
    if (held) transport.broadcast("consensus", encodeMessage({ kind: "proposal", proposal: { block: held.block, signature: signProposal(seed!, id), justification } }));
  }
  #send(to: PeerId, message: ConsensusMessage): void {
    this.#options.transport.send(to, "consensus", encodeMessage(message));
  }
  /** R10: the validator that should have it, then one after the other; without any, whoever is there. */
  #request({ request, attempt, from }: { readonly request: Request; readonly attempt: number; readonly from: number }): void {
    const { validators } = this.#options.validators;
    const peers = this.#options.transport.peers();
    const connected = new Set(peers);
    for (let offset = 0; offset < validators.length; offset++) {
      const peer = peerId(validators[(from + attempt + offset) % validators.length]!.publicKey);
      if (connected.has(peer)) return this.#send(peer, request);
    }
    const other = peers[attempt % Math.max(1, peers.length)];
    if (other) this.#send(other, request);
  }

  /** Tells the chain which block the next one will have as its parent, when that changes. */
  #reportTip(): void {
    for (let view = this.#state.view - 1; view >= this.#state.final.view; view--) {
      const id = notarizedIn(this.#state, view);
      if (id === null) continue;
      if (hex(id) === this.#tipWanted) return;
      this.#tipWanted = hex(id);
      return this.#chain.tipWanted(id);
    }
  }

  #halt(error: unknown): void {
    if (this.#stopped) return;
    this.stop();
    this.#options.onHalt(error instanceof NodeError ? error : new NodeError("node_failed", `Cannot go on with consensus: ${error instanceof Error ? error.stack ?? error.message : String(error)}`, { cause: error }));
  }
}

/** The epoch that a message speaks of; requests speak of none. */
function epochIn(message: ConsensusMessage): number | null {
  switch (message.kind) {
    case "vote": return message.vote.epoch;
    case "certificate": return message.certificate.epoch;
    case "proposal": return message.proposal.block.header.epoch;
    case "status": return message.status.epoch;
    case "block": case "blockRequest": case "certificateRequest": case "statusRequest": return null;
  }
}

function evidenceOfHalt(set: ValidatorSet, [one, other]: readonly Certificate[]): readonly Proof[] {
  return one && other ? evidenceBetween(set, one, other) : [];
}
