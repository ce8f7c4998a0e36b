/**
 * The in-memory twin of the transport: a network of one process whose delays and losses come from a seed. The same seed,
 * clock and order of calls give the same deliveries.
 *
 * Each pair and channel is a stream: a message is never delivered before one sent earlier on it. Cut links lose what is sent
 * and what is under way, as a broken connection does.
 */
import { systemClock, type Clock } from "./clock.ts";
import { BAN_MS, CHANNEL_BYTES_MAX, QUEUE_BYTES_MAX } from "./limits.ts";
import type { PublicKey } from "#chain/types.ts";
import { Scores } from "./scores.ts";
import type { Channel, MessageListener, Offence, PeerId, Transport } from "./transport.ts";

export type MemoryNetworkOptions = {
  readonly seed?: number;
  readonly clock?: Clock;
  readonly delayMsMin?: number;
  readonly delayMsMax?: number;
  /** Messages lost in a thousand. */
  readonly lossPerMille?: number;
  readonly queueBytesMax?: number;
};
type Stream = { dueMs: number; queuedBytes: number; readonly waiting: Uint8Array[] };

export class MemoryNetwork {
  readonly #options: Required<Omit<MemoryNetworkOptions, "seed">>;
  readonly #members = new Map<PeerId, Member>();
  readonly #streams = new Map<string, Stream>();
  readonly #cut = new Set<string>();
  #random: number;

  constructor({ seed = 1, clock = systemClock, delayMsMin = 0, delayMsMax = 0, lossPerMille = 0, queueBytesMax = QUEUE_BYTES_MAX }: MemoryNetworkOptions = {}) {
    this.#options = { clock, delayMsMin, delayMsMax, lossPerMille, queueBytesMax };
    this.#random = seed >>> 0;
  }

  /** A member that joins again after `close` is a process that was restarted. */
  join(self: PeerId, machineKey: PublicKey | null = null): Transport {
    if (this.#members.has(self)) throw new Error(`Cannot join as ${self}: a member of that name is there`);
    const member = new Member(self, machineKey, this);
    this.#members.set(self, member);
    for (const [peer, other] of this.#members) {
      if (peer === self) continue;
      this.#later(0, () => { if (this.connected(self, peer)) other.peerCame(self); });
      this.#later(0, () => { if (this.connected(self, peer)) member.peerCame(peer); });
    }
    return member;
  }

  cut(a: PeerId, b: PeerId): void {
    this.#cut.add(pair(a, b));
  }
  heal(a: PeerId, b: PeerId): void {
    if (!this.#cut.delete(pair(a, b)) || !this.connected(a, b)) return;
    this.#later(0, () => this.#members.get(a)?.peerCame(b));
    this.#later(0, () => this.#members.get(b)?.peerCame(a));
  }
  connected(a: PeerId, b: PeerId): boolean {
    return this.#members.has(a) && this.#members.has(b) && !this.#cut.has(pair(a, b));
  }
  machineOf(peer: PeerId): PublicKey | null {
    return this.#members.get(peer)?.machineKey ?? null;
  }
  peersOf(self: PeerId): PeerId[] {
    return [...this.#members.keys()].filter((peer) => peer !== self && this.connected(self, peer));
  }

  carry(from: Member, to: PeerId, channel: Channel, bytes: Uint8Array): boolean {
    const receiver = this.#members.get(to);
    if (!receiver || to === from.self || !this.connected(from.self, to) || bytes.length > CHANNEL_BYTES_MAX[channel]) return false;
    const { clock, delayMsMin, delayMsMax, lossPerMille, queueBytesMax } = this.#options;
    const key = `${from.self}>${to}/${channel}`;
    let stream = this.#streams.get(key);
    if (!stream) this.#streams.set(key, (stream = { dueMs: 0, queuedBytes: 0, waiting: [] }));
    if (stream.queuedBytes + bytes.length > queueBytesMax) return false;
    const lost = this.#draw(1000) < lossPerMille;
    const nowMs = clock.nowMs();
    stream.dueMs = Math.max(stream.dueMs, nowMs + delayMsMin + this.#draw(delayMsMax - delayMsMin + 1));
    stream.queuedBytes += bytes.length;
    stream.waiting.push(bytes.slice());
    const { waiting } = stream;
    this.#later(stream.dueMs - nowMs, () => {
      // Whichever timer comes first takes the first message: real timers of different lengths may swap within a millisecond.
      const copy = waiting.shift()!;
      stream.queuedBytes -= copy.length;
      // A receiver that closed and joined again is another process: it does not get what was meant for the one before.
      if (!lost && this.#members.get(to) === receiver && this.#members.get(from.self) === from && this.connected(from.self, to)) receiver.receive(from.self, channel, copy);
    });
    return true;
  }
  /** A ban is a cut that heals by itself. */
  ban(a: PeerId, b: PeerId): void {
    if (!this.connected(a, b)) return;
    this.cut(a, b);
    this.#later(BAN_MS, () => this.heal(a, b));
  }
  nowMs(): number {
    return this.#options.clock.nowMs();
  }
  leave(member: Member): void {
    if (this.#members.get(member.self) === member) this.#members.delete(member.self);
  }

  #later(delayMs: number, callback: () => void): void {
    this.#options.clock.setTimer(callback, delayMs);
  }
  /** 0 ≤ n < bound, by xorshift32. */
  #draw(bound: number): number {
    let x = this.#random || 0x9e37_79b9;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x >>> 0;
    return this.#random % bound;
  }
}

class Member implements Transport {
  readonly self: PeerId;
  readonly machineKey: PublicKey | null;
  readonly #network: MemoryNetwork;
  readonly #listeners = new Set<MessageListener>();
  readonly #peerListeners = new Set<(peer: PeerId) => void>();
  readonly #scores = new Scores();
  #closed = false;

  constructor(self: PeerId, machineKey: PublicKey | null, network: MemoryNetwork) {
    this.self = self;
    this.machineKey = machineKey;
    this.#network = network;
  }
  peers(): readonly PeerId[] {
    return this.#closed ? [] : this.#network.peersOf(this.self);
  }
  send(to: PeerId, channel: Channel, bytes: Uint8Array): boolean {
    return !this.#closed && this.#network.carry(this, to, channel, bytes);
  }
  broadcast(channel: Channel, bytes: Uint8Array): number {
    let count = 0;
    for (const peer of this.peers()) if (this.send(peer, channel, bytes)) count++;
    return count;
  }
  onMessage(listener: MessageListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  onPeer(listener: (peer: PeerId) => void): () => void {
    this.#peerListeners.add(listener);
    return () => this.#peerListeners.delete(listener);
  }
  addresses(): readonly string[] {
    return [];
  }
  machineOf(peer: PeerId): PublicKey | null {
    return this.#network.machineOf(peer);
  }
  /** Everybody is connected to everybody here. */
  setValidators(): void {}
  seek(): void {}
  report(peer: PeerId, offence: Offence): void {
    if (this.#scores.add([peer], offence, this.#network.nowMs())) this.#network.ban(this.self, peer);
  }
  close(): Promise<void> {
    this.#closed = true;
    this.#network.leave(this);
    return Promise.resolve();
  }
  receive(from: PeerId, channel: Channel, bytes: Uint8Array): void {
    if (!this.#closed) for (const listener of this.#listeners) listener(from, channel, bytes);
  }
  peerCame(peer: PeerId): void {
    if (!this.#closed) for (const listener of this.#peerListeners) listener(peer);
  }
}

const pair = (a: PeerId, b: PeerId): string => (a < b ? `${a}|${b}` : `${b}|${a}`);
