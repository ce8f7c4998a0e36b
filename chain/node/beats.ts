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
 * - Of a machine that beats more often than it has to, the rest is dropped unread.
 * - Suspicions are held until a block took them or their time is over, one of each witness and machine, and only of witnesses who may
 *   speak about it (L7).
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
import { type HostEffect, type HostEvent, type HostState, type HostedLease, newHost, stepHost, wakeMs as wakeHostMs } from "#chain/liveness/host.ts";
import { BEAT_MS, FENCE_MS, VOID_MS } from "#chain/liveness/rules.ts";
import { downOf } from "#chain/liveness/verdict.ts";
import { type LivenessView, competentSets } from "#chain/liveness/witnesses.ts";
import { type WitnessEffect, type WitnessEvent, type WitnessState, newWitness, step, suspects, wakeMs as wakeWitnessMs } from "#chain/liveness/witness.ts";
import type { Clock } from "#chain/network/clock.ts";
import { type PeerId, type Transport, peerId } from "#chain/network/transport.ts";
import { type ChainId, type Hex, type PublicKey, address, fromHex, hex, publicKey } from "#chain/types.ts";
import { BEATS_BURST, BEATS_PER_SECOND, BEAT_WAKE_MS_MIN, SUSPICIONS_PER_WITNESS_MAX, SUSPICION_BLOCKS_AHEAD_MAX } from "./limits.ts";
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
  /** Until when tasks may run (L13), in ms of the computer's monotonic clock: for who must know it even while this process is stopped. */
  readonly onFence?: (untilMs: number) => void;
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
  /** By machine and witness. */
  readonly #held = new Map<Hex, Map<Hex, Held>>();
  /** Machines of whom a witness' suspicions are held, oldest first. */
  readonly #heldOf = new Map<Hex, Set<Hex>>();
  /** What takes a machine down in the next block. */
  readonly #downs = new Map<Hex, readonly Uint8Array[]>();
  #candidates: readonly Uint8Array[] = [];
  readonly #rates = new Map<Hex, { left: number; atMs: bigint }>();
  /** Where the newest beat of each machine came from. */
  readonly #peerOf = new Map<Hex, PeerId>();
  /** Keys of witnesses and of all validators, by id, of this epoch and the one before. */
  #keys: ReadonlyMap<Hex, PublicKey> = new Map();
  #epoch = -1;
  #liveness: LivenessView | null = null;
  readonly #sealedUps = new Map<Hex, Uint8Array>();
  readonly #suspected = new Set<Hex>();
  /** By validator: the machines that host it. One that was replaced stays down for ever, and says nothing of the new one. */
  #hosts: ReadonlyMap<Hex, readonly Hex[]> = new Map();
  #startedMs = 0n;
  /** The next tick, and when it is. */
  #cancel: (() => void) | null = null;
  #wakeMs = 0n;
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
    if (isWhole) {
      this.#hosts = hostsOf(liveness);
      for (const known of [this.#peerOf, this.#rates]) for (const id of known.keys()) if (!liveness.machines.has(id)) known.delete(id);
    }
    this.#stepWitness({ kind: "final", nowMs: this.#nowMs(), view: liveness });
    this.#stepHost({ kind: "final", nowMs: this.#nowMs(), view: liveness, leases: this.#parts.machine?.leases() ?? [] });
    this.#parts.votes?.forgetSilence(view.timeMs - BigInt(VOID_MS));
    this.#review([...new Set([...this.#held.keys(), ...this.#downs.keys()])]);
    if (this.#cancel !== null) this.#wake();
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
    if (!this.#mayBeat(beat.machine)) return;
    if (!beatHolds(this.#parts.chainId, beat, known.key)) return this.#parts.transport.report(from, "forged");
    this.#peerOf.set(beat.machine, from);
    this.#stepWitness({ kind: "beat", nowMs: this.#nowMs(), beat });
  }

  /** A bucket of so many, filled again as time passes. */
  #mayBeat(machine: Hex): boolean {
    const nowMs = this.#nowMs();
    const rate = this.#rates.get(machine) ?? { left: BEATS_BURST, atMs: nowMs };
    rate.left = Math.min(BEATS_BURST, rate.left + (Number(nowMs - rate.atMs) * BEATS_PER_SECOND) / 1_000);
    rate.atMs = nowMs;
    this.#rates.set(machine, rate);
    if (rate.left < 1) return false;
    rate.left -= 1;
    return true;
  }

  #takeAcknowledgement(from: Hex, acknowledgement: Acknowledgement): void {
    const clearMs = this.#host?.clearMs;
    this.#stepHost({ kind: "acknowledgement", nowMs: this.#nowMs(), from, acknowledgement });
    // What waits behind the fence may begin.
    if (this.#host?.clearMs !== clearMs && this.#cancel !== null) this.#wake();
  }

  #takeSuspicion(from: PeerId, bytes: Uint8Array): void {
    if (this.#self === null) return;
    const { chainId, transport } = this.#parts;
    const opened = openSuspicion(chainId, bytes);
    const { witness, machine, beat, base } = opened.statement;
    const key = this.#keys.get(witness);
    const watched = this.#parts.view().machine(address(fromHex(machine)));
    const before = this.#held.get(machine)?.get(witness);
    if (key === undefined || watched === null || !this.#maySpeak(witness, machine) || base > this.#liveness!.height + SUSPICION_BLOCKS_AHEAD_MAX) return;
    if (watched.state === "down" || hex(watched.bootId) !== opened.statement.bootId) return;
    if (before && before.suspicion.base >= base) return;
    if (!suspicionHolds(opened, key) || (beat !== null && !beatHolds(chainId, beat, watched.key))) return transport.report(from, "forged");
    this.#hold({ bytes, suspicion: opened.statement });
    this.#stepWitness({ kind: "suspicion", nowMs: this.#nowMs(), suspicion: opened.statement });
    if (this.#cancel !== null) this.#wake();
  }
  /** L7. */
  #maySpeak(witness: Hex, machine: Hex): boolean {
    const watched = this.#liveness?.machines.get(machine);
    return watched !== undefined && competentSets(this.#liveness!.sets, this.#liveness!.timeMs, watched.validator).some((set) => set.has(witness));
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
    this.#cancel = null;
    this.#wake();
  }

  /** Sees to it that the next tick is in time. What is due later than it is looked at then. */
  #wake(): void {
    if (this.#isStopped) return;
    const nowMs = this.#nowMs();
    let wakeMs = nowMs + BigInt(BEAT_MS);
    for (const one of [this.#host && wakeHostMs(this.#host, nowMs), this.#witness && wakeWitnessMs(this.#witness, nowMs)]) if (one !== null && one < wakeMs) wakeMs = one;
    if (this.#cancel !== null && this.#wakeMs <= wakeMs) return;
    this.#cancel?.();
    this.#wakeMs = wakeMs;
    this.#cancel = this.#parts.clock.setTimer(() => this.#tick(), Math.max(BEAT_WAKE_MS_MIN, Number(wakeMs - nowMs)));
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
    const witness = this.#witness;
    for (const validator of this.#suspected) {
      if (this.#hosts.get(validator)?.every((machine) => suspects(witness, machine))) continue;
      this.#suspected.delete(validator);
      this.#parts.onSuspected(validator, false);
    }
    for (const [validator, machines] of this.#hosts) {
      if (this.#suspected.has(validator) || !machines.every((machine) => suspects(witness, machine))) continue;
      this.#suspected.add(validator);
      this.#parts.onSuspected(validator, true);
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
    const clearMs = this.#host.clearMs;
    const effects = stepHost(this.#host, event)[1];
    if (this.#host.clearMs !== null && this.#host.clearMs !== clearMs) machine.onFence?.(this.#onComputersClock(this.#host.clearMs + BigInt(FENCE_MS)));
    for (const effect of effects) {
      switch (effect.kind) {
        case "beat": {
          const beat = signBeat(chainId, effect.beat, machine.seed);
          const bytes = encodeLivenessMessage({ kind: "beat", bytes: encodeBeat(chainId, beat) });
          for (const to of effect.to) {
            const key = this.#keys.get(to);
            if (to === this.#self) this.#stepWitness({ kind: "beat", nowMs: this.#nowMs(), beat });
            else if (key && !transport.send(peerId(key), "beats", bytes)) this.#seek(to, key);
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

  /** A witness to whom there is no connection: a machine that hosts it can be looked for. */
  #seek(witness: Hex, key: PublicKey): void {
    const { transport, view } = this.#parts;
    if (transport.machineOf(peerId(key)) !== null) return;
    for (const id of this.#hosts.get(witness) ?? []) {
      const host = view().machine(address(fromHex(id)));
      if (host !== null) transport.seek(host.key);
    }
  }

  /** A moment of this node's clock on that of the computer, which is read first: a stop in between makes it earlier, never later. */
  #onComputersClock(atMs: bigint): number {
    const computersMs = process.hrtime.bigint() / 1_000_000n;
    return Number(computersMs + (atMs - this.#nowMs()));
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
    const of = getOr(this.#heldOf, witness, () => new Set<Hex>());
    of.delete(machine);
    of.add(machine);
    getOr(this.#held, machine, () => new Map<Hex, Held>()).set(witness, held);
    if (of.size <= SUSPICIONS_PER_WITNESS_MAX) return this.#review([machine]);
    const oldest = of.values().next().value!;
    this.#letGo(oldest, witness);
    this.#review([machine, oldest]);
  }
  #letGo(machine: Hex, witness: Hex): void {
    const held = this.#held.get(machine);
    held?.delete(witness);
    if (held?.size === 0) this.#held.delete(machine);
    const of = this.#heldOf.get(witness);
    of?.delete(machine);
    if (of?.size === 0) this.#heldOf.delete(witness);
  }

  /** Of these machines: what is over goes, and what takes one down waits for a block. */
  #review(ids: readonly Hex[]): void {
    if (this.#liveness === null || ids.length === 0) return;
    const view = this.#parts.view();
    const court = view.court();
    const bases = new Map(court.blocks.map(({ height, timeMs }) => [height, timeMs]));
    for (const id of ids) {
      const watched = this.#liveness.machines.get(id);
      const bytesOf = new Map<Suspicion, Uint8Array>();
      for (const [witness, { suspicion, bytes }] of this.#held.get(id) ?? []) {
        const baseMs = bases.get(suspicion.base);
        const isOver = !watched || watched.isDown || watched.bootId !== suspicion.bootId
          || (baseMs === undefined ? suspicion.base <= view.height : view.timeMs > baseMs + BigInt(VOID_MS));
        if (isOver) this.#letGo(id, witness);
        else bytesOf.set(suspicion, bytes);
      }
      const verdict = watched && downOf(court, id, watched, bytesOf.keys());
      if (verdict) this.#downs.set(id, verdict.by.map((suspicion) => bytesOf.get(suspicion)!));
      else this.#downs.delete(id);
    }
    const candidates: Uint8Array[] = [];
    for (const by of this.#downs.values()) if (candidates.length + by.length <= SUSPICIONS_PER_BLOCK_MAX) candidates.push(...by);
    const isChanged = candidates.length !== this.#candidates.length;
    this.#candidates = candidates;
    if (isChanged) this.#parts.onWaiting();
  }
}

function hostsOf({ machines }: LivenessView): Map<Hex, Hex[]> {
  const hosts = new Map<Hex, Hex[]>();
  for (const [id, { validator }] of machines) if (validator !== null) getOr(hosts, validator, () => []).push(id);
  return hosts;
}

function getOr<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const value = map.get(key) ?? make();
  map.set(key, value);
  return value;
}
