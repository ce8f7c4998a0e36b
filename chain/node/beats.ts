/**
 * Carries liveness out (`chain/liveness`): beats, acknowledgements and suspicions over direct streams, on the monotonic clock.
 *
 *     machine: stepHost ─ beat ─► peers      peers ─ beat ─► witness: step ─ acknowledgement, suspicion ─► peers, blocks
 *
 * Rules of this file:
 * - What comes from a peer is decoded, looked up and checked, in this order: nothing of a machine or witness that the ledger does
 *   not know is verified. A beat counts when it came over its own machine's stream, or within a suspicion.
 * - What a witness says of silence is in the vote log before it leaves (L11). Who has lost that log is no witness while a
 *   suspicion that it may have signed can still be taken.
 * - Suspicions are held until a block took them or their time is over, one of each witness and machine.
 */
import { addressOf } from "#chain/codec/address.ts";
import { CodecError } from "#chain/codec/cbor.ts";
import {
  type Acknowledgement, type Beat, type LivenessMessage, type Suspicion, beatHolds, decodeAcknowledgement, decodeBeat, decodeLivenessMessage, encodeAcknowledgement, encodeBeat,
  encodeLivenessMessage, openSuspicion, openUpAcknowledgement, sealSuspicion, sealUpAcknowledgement, signBeat, suspicionHolds, upAcknowledgementHolds,
} from "#chain/codec/liveness.ts";
import { SUSPICIONS_PER_BLOCK_MAX, UP_ACKNOWLEDGEMENTS_MAX } from "#chain/constants.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import type { LedgerView } from "#chain/ledger/view.ts";
import { type HostEffect, type HostEvent, type HostState, type HostedLease, newHost, stepHost } from "#chain/liveness/host.ts";
import { VOID_MS } from "#chain/liveness/rules.ts";
import { downOf } from "#chain/liveness/verdict.ts";
import type { LivenessView } from "#chain/liveness/witnesses.ts";
import { type WitnessEffect, type WitnessEvent, type WitnessState, newWitness, step, suspects } from "#chain/liveness/witness.ts";
import type { Clock } from "#chain/network/clock.ts";
import { type PeerId, type Transport, peerId } from "#chain/network/transport.ts";
import { type ChainId, type Hex, type PublicKey, address, fromHex, hex, publicKey } from "#chain/types.ts";
import { BEAT_TICK_MS, SUSPICIONS_HELD_MAX } from "./limits.ts";
import type { VoteLog } from "./voteLog.ts";

/** The machine that this node runs on; without it nothing beats here. */
export type NodeMachine = {
  readonly seed: Uint8Array;
  readonly bootId: Hex;
  /** What the final state has on it. */
  readonly leases: () => readonly HostedLease[];
  /** Witnesses enough say that this boot lives: for `up`, each sealed. */
  readonly onAcknowledged: (acknowledgements: readonly Uint8Array[]) => void;
  readonly onLease: (effect: Extract<HostEffect, { kind: "start" | "stop" }>) => void;
  /** Another machine has this one's key: it stops everything (L14). */
  readonly onHalt: (code: "machine_key_in_use") => void;
};
export type BeatsParts = {
  readonly chainId: ChainId;
  readonly transport: Transport;
  readonly clock: Clock;
  /** The final state. */
  readonly view: () => LedgerView;
  readonly validatorSeed: Uint8Array | null;
  readonly votes: VoteLog | null;
  readonly machine: NodeMachine | null;
  /** A block could take a machine down, or none can any more. */
  readonly onWaiting: () => void;
  /** L16: by the consensus key's id. */
  readonly onSuspected: (validator: Hex, isSuspected: boolean) => void;
  readonly onFailure: (error: unknown) => void;
};
type Held = { readonly bytes: Uint8Array; readonly suspicion: Suspicion };

export class Beats {
  readonly #parts: BeatsParts;
  /** This node's names as witness and as machine. */
  readonly #self: Hex | null;
  readonly #machine: Hex | null;
  #witness: WitnessState | null = null;
  #host: HostState | null = null;
  readonly #held = new Map<string, Held>();
  #candidates: readonly Uint8Array[] = [];
  /** Where the newest beat of each machine came from. */
  readonly #peerOf = new Map<Hex, PeerId>();
  /** Keys of witnesses and of all validators, by id, of this epoch and the one before. */
  #keys: ReadonlyMap<Hex, PublicKey> = new Map();
  #epoch = -1;
  #liveness: LivenessView | null = null;
  readonly #sealedUps = new Map<Hex, Uint8Array>();
  readonly #suspected = new Set<Hex>();
  /** Validators that machines host. */
  #hosted: readonly (readonly [machine: Hex, validator: Hex])[] = [];
  #startedMs = 0n;
  #cancel: (() => void) | null = null;
  #isStopped = false;

  constructor(parts: BeatsParts) {
    this.#parts = parts;
    this.#self = parts.validatorSeed === null ? null : hex(addressOf(publicKeyOf(parts.validatorSeed)));
    this.#machine = parts.machine === null ? null : hex(addressOf(publicKeyOf(parts.machine.seed)));
  }

  start(): void {
    const { machine } = this.#parts;
    this.#startedMs = this.#nowMs();
    if (machine !== null) this.#host = newHost(this.#machine!, machine.bootId, this.#startedMs);
    this.#openWitness();
    this.final();
    this.#tick();
  }
  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
  }

  /** Sealed suspicions that take somebody down in the next block, as far as the final state tells. */
  candidates(): readonly Uint8Array[] {
    return this.#candidates;
  }
  get suspected(): ReadonlySet<Hex> {
    return this.#suspected;
  }

  /** A block became final; `view` shows it. Without an event of a machine all machines are as they were: a thousand are not read at every block. */
  final(isChanged: boolean = true): void {
    if (this.#isStopped || this.#startedMs === 0n) return;
    const view = this.#parts.view();
    const isWhole = isChanged || this.#liveness === null || view.epoch !== this.#epoch;
    const liveness = isWhole ? view.liveness() : { ...this.#liveness!, height: view.height, timeMs: view.timeMs, sets: view.court().sets };
    this.#liveness = liveness;
    if (view.epoch !== this.#epoch) {
      this.#epoch = view.epoch;
      this.#keys = new Map([view.epoch, view.epoch - 1].flatMap((epoch) => view.validatorsOf(epoch) ?? []).map(({ id, key }) => [hex(id), key]));
    }
    if (isWhole) this.#hosted = [...liveness.machines].flatMap(([id, { validator }]) => (validator === null ? [] : [[id, validator] as const]));
    if (isWhole) for (const id of this.#peerOf.keys()) if (!liveness.machines.has(id)) this.#peerOf.delete(id);
    this.#stepWitness({ kind: "final", nowMs: this.#nowMs(), view: liveness });
    this.#stepHost({ kind: "final", nowMs: this.#nowMs(), view: liveness, leases: this.#parts.machine?.leases() ?? [] });
    this.#parts.votes?.forgetSilence(view.timeMs - BigInt(VOID_MS));
    this.#review();
  }
  /** Something waits for a block. */
  due(): void {
    this.#stepWitness({ kind: "due", nowMs: this.#nowMs() });
  }

  receive(from: PeerId, bytes: Uint8Array): void {
    if (this.#isStopped || this.#startedMs === 0n) return;
    try {
      this.#take(from, decodeLivenessMessage(bytes));
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      this.#parts.transport.report(from, "malformed");
    }
  }

  // ---- What comes ------------------------------------------------------------------------------------------------------------

  #take(from: PeerId, { kind, bytes }: LivenessMessage): void {
    switch (kind) {
      case "beat": return this.#takeBeat(from, decodeBeat(this.#parts.chainId, bytes));
      case "acknowledgement": return this.#takeAcknowledgement(hex(addressOf(publicKey(fromHex(from)))), decodeAcknowledgement(bytes));
      case "suspicion": return this.#takeSuspicion(from, bytes);
      case "upAcknowledgement": return this.#takeUp(from, bytes);
      default: kind satisfies never;
    }
  }

  #takeBeat(from: PeerId, beat: Beat): void {
    if (this.#witness === null) return;
    const known = this.#parts.view().machine(address(fromHex(beat.machine)));
    const over = this.#parts.transport.machineOf(from);
    if (known === null || over === null || hex(over) !== hex(known.key)) return;
    if (!beatHolds(this.#parts.chainId, beat, known.key)) return this.#parts.transport.report(from, "forged");
    this.#peerOf.set(beat.machine, from);
    this.#stepWitness({ kind: "beat", nowMs: this.#nowMs(), beat });
  }

  #takeAcknowledgement(from: Hex, acknowledgement: Acknowledgement): void {
    this.#stepHost({ kind: "acknowledgement", nowMs: this.#nowMs(), from, acknowledgement });
  }

  #takeSuspicion(from: PeerId, bytes: Uint8Array): void {
    if (this.#self === null) return;
    const { chainId, transport } = this.#parts;
    const opened = openSuspicion(chainId, bytes);
    const { witness, machine, beat, base } = opened.statement;
    const key = this.#keys.get(witness);
    const watched = this.#parts.view().machine(address(fromHex(machine)));
    const before = this.#held.get(`${machine}/${witness}`);
    if (key === undefined || watched === null || watched.state === "down" || hex(watched.bootId) !== opened.statement.bootId) return;
    if (before && before.suspicion.base >= base) return;
    if (!suspicionHolds(opened, key) || (beat !== null && !beatHolds(chainId, beat, watched.key))) return transport.report(from, "forged");
    this.#hold({ bytes, suspicion: opened.statement });
    this.#stepWitness({ kind: "suspicion", nowMs: this.#nowMs(), suspicion: opened.statement });
    this.#review();
  }

  #takeUp(from: PeerId, bytes: Uint8Array): void {
    const { chainId, transport } = this.#parts;
    const opened = openUpAcknowledgement(chainId, bytes);
    const { witness, machine } = opened.statement;
    const key = this.#keys.get(witness);
    if (machine !== this.#machine || key === undefined) return;
    if (!upAcknowledgementHolds(opened, key)) return transport.report(from, "forged");
    this.#sealedUps.set(witness, bytes);
    this.#stepHost({ kind: "upAcknowledgement", nowMs: this.#nowMs(), acknowledgement: opened.statement });
  }

  // ---- Steps and their effects -------------------------------------------------------------------------------------------------

  #nowMs(): bigint {
    const { clock } = this.#parts;
    return BigInt(Math.floor(clock.monotonicMs?.() ?? clock.nowMs())) + 1n;
  }

  /** The machine first: what stood still for a while beats before it judges others. */
  #tick(): void {
    if (this.#isStopped) return;
    this.#stepHost({ kind: "tick", nowMs: this.#nowMs() });
    this.#openWitness();
    this.#stepWitness({ kind: "tick", nowMs: this.#nowMs() });
    this.#cancel = this.#parts.clock.setTimer(() => this.#tick(), BEAT_TICK_MS);
  }

  #openWitness(): void {
    const { votes } = this.#parts;
    if (this.#witness !== null || this.#self === null || votes === null) return;
    if (votes.wasLost && this.#nowMs() < this.#startedMs + BigInt(VOID_MS)) return;
    this.#witness = newWitness(this.#self, this.#nowMs(), votes.silences());
    if (this.#liveness !== null) this.#stepWitness({ kind: "final", nowMs: this.#nowMs(), view: this.#liveness });
  }

  #stepWitness(event: WitnessEvent): void {
    if (this.#witness === null || this.#isStopped) return;
    const [, effects] = step(this.#witness, event);
    for (const effect of effects) this.#carryOut(effect);
    for (const [machine, validator] of this.#hosted) {
      const isSuspected = suspects(this.#witness, machine);
      if (isSuspected === this.#suspected.has(validator)) continue;
      if (isSuspected) this.#suspected.add(validator);
      else this.#suspected.delete(validator);
      this.#parts.onSuspected(validator, isSuspected);
    }
  }

  #carryOut(effect: WitnessEffect): void {
    const { chainId, validatorSeed } = this.#parts;
    switch (effect.kind) {
      case "acknowledge": return this.#answer(effect.machine, { kind: "acknowledgement", bytes: encodeAcknowledgement(effect.acknowledgement) });
      case "acknowledgeUp": {
        const { machine } = effect.acknowledgement;
        const bytes = sealUpAcknowledgement(chainId, effect.acknowledgement, validatorSeed!);
        return this.#logged(machine, effect.signed, () => this.#answer(machine, { kind: "upAcknowledgement", bytes }));
      }
      case "suspect": {
        const bytes = sealSuspicion(chainId, effect.suspicion, validatorSeed!);
        return this.#logged(effect.suspicion.machine, effect.signed, () => {
          this.#parts.transport.broadcast("beats", encodeLivenessMessage({ kind: "suspicion", bytes }));
          this.#hold({ bytes, suspicion: effect.suspicion });
          this.#review();
        });
      }
      default: effect satisfies never;
    }
  }

  /** L11. */
  #logged(machine: Hex, signed: { readonly bootId: Hex; readonly baseMs: bigint } | null, then: () => void): void {
    if (signed === null) return then();
    this.#parts.votes!.recordSilence(machine, signed).then(() => { if (!this.#isStopped) then(); }).catch((error: unknown) => this.#parts.onFailure(error));
  }

  #answer(machine: Hex, message: LivenessMessage): void {
    if (machine === this.#machine) return this.#take(this.#parts.transport.self, message);
    const peer = this.#peerOf.get(machine);
    if (peer) this.#parts.transport.send(peer, "beats", encodeLivenessMessage(message));
  }

  #stepHost(event: HostEvent): void {
    const { machine, chainId, transport } = this.#parts;
    if (this.#host === null || machine === null || this.#isStopped) return;
    for (const effect of stepHost(this.#host, event)[1]) {
      switch (effect.kind) {
        case "beat": {
          const beat = signBeat(chainId, effect.beat, machine.seed);
          const bytes = encodeLivenessMessage({ kind: "beat", bytes: encodeBeat(chainId, beat) });
          for (const to of effect.to) {
            const key = this.#keys.get(to);
            if (to === this.#self) this.#stepWitness({ kind: "beat", nowMs: this.#nowMs(), beat });
            else if (key) transport.send(peerId(key), "beats", bytes);
          }
          break;
        }
        case "up": machine.onAcknowledged(this.#sealedOf(effect.acknowledgements.map(({ witness }) => witness))); break;
        case "start": case "stop": machine.onLease(effect); break;
        case "halt": machine.onHalt(effect.code); break;
        default: effect satisfies never;
      }
    }
  }

  /** Of this epoch's set first; a transaction has no room for two. */
  #sealedOf(witnesses: readonly Hex[]): Uint8Array[] {
    const current = this.#liveness?.sets.current;
    const ordered = witnesses.toSorted((a, b) => Number(current?.has(b)) - Number(current?.has(a)));
    return ordered.flatMap((witness) => this.#sealedUps.get(witness) ?? []).slice(0, UP_ACKNOWLEDGEMENTS_MAX);
  }

  // ---- Suspicions that wait ----------------------------------------------------------------------------------------------------

  #hold(held: Held): void {
    const { machine, witness } = held.suspicion;
    const name = `${machine}/${witness}`;
    this.#held.delete(name);
    this.#held.set(name, held);
    if (this.#held.size > SUSPICIONS_HELD_MAX) this.#held.delete(this.#held.keys().next().value!);
  }

  /** What is over goes; what takes somebody down waits for a block. */
  #review(): void {
    if (this.#liveness === null || (this.#held.size === 0 && this.#candidates.length === 0)) return;
    const view = this.#parts.view();
    const court = view.court();
    const { machines } = this.#liveness;
    const bases = new Map(court.blocks.map(({ height, timeMs }) => [height, timeMs]));
    const bytesOf = new Map<Suspicion, Uint8Array>();
    for (const [name, { suspicion, bytes }] of this.#held) {
      const watched = machines.get(suspicion.machine);
      const baseMs = bases.get(suspicion.base);
      const isOver = !watched || watched.isDown || watched.bootId !== suspicion.bootId
        || (baseMs === undefined ? suspicion.base <= view.height : view.timeMs > baseMs + BigInt(VOID_MS));
      if (isOver) this.#held.delete(name);
      else bytesOf.set(suspicion, bytes);
    }
    const candidates: Uint8Array[] = [];
    for (const id of new Set([...bytesOf.keys()].map(({ machine }) => machine))) {
      const verdict = downOf(court, id, machines.get(id)!, bytesOf.keys());
      if (verdict && candidates.length + verdict.by.length <= SUSPICIONS_PER_BLOCK_MAX) candidates.push(...verdict.by.map((suspicion) => bytesOf.get(suspicion)!));
    }
    const isChanged = candidates.length !== this.#candidates.length;
    this.#candidates = candidates;
    if (isChanged) this.#parts.onWaiting();
  }
}
