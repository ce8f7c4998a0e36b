/**
 * One connection to one peer: its greeting, its streams, what waits for it, and what it may send us.
 *
 * Each side opens the streams on which it sends, one per channel, when there is something to send, and reads on those that the
 * other opened; nobody negotiates who owns one. Nothing is read before the peer has greeted (codec/hello.ts); streams that come
 * earlier wait unread. Reading stops while a peer is beyond its bytes per second, so that what it sends too fast waits on its side.
 */
import type { Connection, Stream } from "@libp2p/interface";
import { CodecError } from "#chain/codec/cbor.ts";
import { type Control, type Hello, decodeControl, decodeHello, encodeControl, encodeHello } from "#chain/codec/hello.ts";
import type { PublicKey } from "#chain/types.ts";
import { FrameReader, frameOf } from "./frames.ts";
import {
  CHANNEL_BYTES_MAX, CONTROL_BYTES_MAX, PING_INTERVAL_MS, QUEUE_BYTES_MAX, READ_BYTES_BURST, READ_BYTES_PER_SECOND, READ_MESSAGES_BURST,
  READ_MESSAGES_PER_SECOND, REOPEN_MS, STREAMS_PER_PEER_MAX, type Waits,
} from "./limits.ts";
import { Outbox, type QueuedBytes } from "./outbox.ts";
import type { Channel, Offence, PeerId } from "./transport.ts";

export type StreamName = Channel | "control";
export const protocolOf = (name: StreamName): string => `/godwit/${name}/1`;

export type LinkEvents = {
  readonly waits: Waits;
  /** Our own greeting. */
  readonly hello: () => Hello;
  /** What to do about theirs; the link reads on unless it was closed. */
  readonly onHello: (link: Link, hello: Hello) => void;
  readonly onControl: (link: Link, control: Control) => void;
  readonly onMessage: (link: Link, channel: Channel, message: Uint8Array) => void;
  readonly onOffence: (link: Link, offence: Offence) => void;
};
/** Since when a message has been under way on a stream. */
type Reading = { sinceMs: number | null };

export class Link {
  readonly connection: Connection;
  readonly machineKey: PublicKey;
  readonly openedMs: number = performance.now();
  /** Set by the greeting. */
  peer: PeerId | null = null;
  readonly #events: LinkEvents;
  readonly #queued: QueuedBytes;
  readonly #outboxes = new Map<StreamName, Outbox>();
  readonly #opening = new Set<StreamName>();
  readonly #readings = new Set<Reading>();
  readonly #early: [Channel, Stream][] = [];
  #streams = 0;
  #heardMs: number = performance.now();
  #saidMs: number = performance.now();
  #isClosed = false;
  #budgetMs: number = performance.now();
  #bytesLeft = READ_BYTES_BURST;
  #messagesLeft = READ_MESSAGES_BURST;

  constructor(connection: Connection, machineKey: PublicKey, queued: QueuedBytes, events: LinkEvents) {
    this.connection = connection;
    this.machineKey = machineKey;
    this.#queued = queued;
    this.#events = events;
    this.#write("control", frameOf(encodeHello(events.hello())));
  }
  get isClosed(): boolean {
    return this.#isClosed;
  }
  get isGreeted(): boolean {
    return this.peer !== null;
  }

  send(channel: Channel, frame: Uint8Array): boolean {
    return this.isGreeted && !this.#isClosed && this.#write(channel, frame);
  }
  sendControl(control: Control): void {
    this.#write("control", frameOf(encodeControl(control)));
  }
  /** Whether a message that came another way than over a channel is within what this peer may send. */
  mayHandOn(bytes: number): boolean {
    const nowMs = performance.now();
    this.#heardMs = nowMs;
    this.#refill(nowMs);
    this.#bytesLeft -= bytes;
    return --this.#messagesLeft >= 0 && this.#bytesLeft > -READ_BYTES_BURST;
  }
  /** The greeting was good: streams that came before it are read from now on. */
  greeted(peer: PeerId): void {
    this.peer = peer;
    for (const [channel, stream] of this.#early.splice(0)) this.#read(channel, stream);
  }
  /** The peer opened a stream. */
  accept(name: StreamName, stream: Stream): void {
    if (this.#isClosed || this.#streams >= STREAMS_PER_PEER_MAX) return stream.abort(new Error("too many streams"));
    this.#streams++;
    stream.addEventListener("close", () => { this.#streams--; });
    if (name !== "control" && !this.isGreeted) this.#early.push([name, stream]);
    else this.#read(name, stream);
  }
  /** Looks at everything that may take too long. `wasAsleep`: so were we. */
  tick(nowMs: number, wasAsleep: boolean): void {
    if (wasAsleep) this.#heardMs = nowMs;
    const { greetingMs, frameMs, stuckMs, silenceMs } = this.#events.waits;
    if (!this.isGreeted && nowMs - this.openedMs > greetingMs) return this.close("it does not greet");
    if (nowMs - this.#heardMs > silenceMs) return this.close("it is silent");
    if (nowMs - this.#saidMs >= PING_INTERVAL_MS && this.isGreeted) {
      this.#saidMs = nowMs;
      this.sendControl({ kind: "ping" });
    }
    const isStuck = [...this.#outboxes.values()].some(({ stuckSinceMs }) => stuckSinceMs !== null && nowMs - stuckSinceMs > stuckMs);
    const isSlow = [...this.#readings].some(({ sinceMs }) => sinceMs !== null && nowMs - sinceMs > frameMs);
    if (!wasAsleep && (isStuck || isSlow)) this.#offence("slow");
  }
  close(why: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const outbox of this.#outboxes.values()) outbox.close();
    this.#outboxes.clear();
    this.#readings.clear();
    this.connection.abort(new Error(why));
  }

  // ---- Sending ---------------------------------------------------------------------------------------------------------

  #write(name: StreamName, frame: Uint8Array): boolean {
    let outbox = this.#outboxes.get(name);
    if (!outbox) {
      this.#outboxes.set(name, (outbox = new Outbox(QUEUE_BYTES_MAX, this.#queued)));
      void this.#open(name, outbox);
    }
    return outbox.send(frame);
  }
  async #open(name: StreamName, outbox: Outbox): Promise<void> {
    if (this.#isClosed || this.#opening.has(name)) return;
    this.#opening.add(name);
    const again = (): void => {
      const timer = setTimeout(() => void this.#open(name, outbox), REOPEN_MS);
      timer.unref();
    };
    try {
      const stream = await this.connection.newStream(protocolOf(name));
      if (this.#isClosed) return;
      // A control stream that is lost takes its greeting along: begin anew.
      stream.addEventListener("close", () => {
        outbox.detach(stream);
        if (name === "control") this.close("its control stream ended");
        else again();
      });
      outbox.attach(stream);
    } catch (error) {
      if (this.connection.status !== "open") this.close(String(error));
      else if (name === "control") this.close(`it opens no control stream: ${String(error)}`);
      else again();
    } finally {
      this.#opening.delete(name);
    }
  }

  // ---- Reading ---------------------------------------------------------------------------------------------------------

  #read(name: StreamName, stream: Stream): void {
    const reading: Reading = { sinceMs: null };
    const reader = new FrameReader(name === "control" ? CONTROL_BYTES_MAX : CHANNEL_BYTES_MAX[name], (message) => {
      reading.sinceMs = null;
      this.#take(name, message);
    });
    this.#readings.add(reading);
    stream.addEventListener("close", () => this.#readings.delete(reading));
    stream.addEventListener("message", ({ data }) => {
      const nowMs = performance.now();
      this.#heardMs = nowMs;
      this.#refill(nowMs);
      this.#bytesLeft -= data.byteLength;
      for (const chunk of data instanceof Uint8Array ? [data] : data) {
        if (this.#isClosed) return;
        const offence = reader.push(chunk);
        if (offence !== null) return this.#offence(offence);
      }
      reading.sinceMs = reader.isInside ? (reading.sinceMs ?? nowMs) : null;
      if (this.#bytesLeft < 0 && !this.#isClosed) this.#pause(stream);
    });
  }
  #take(name: StreamName, message: Uint8Array): void {
    if (this.#isClosed) return;
    if (--this.#messagesLeft < 0) return this.#offence("flood");
    if (name !== "control") return this.#events.onMessage(this, name, message);
    try {
      if (this.isGreeted) this.#events.onControl(this, decodeControl(message));
      else this.#events.onHello(this, decodeHello(message));
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      this.#offence("malformed");
    }
  }
  #refill(nowMs: number): void {
    const seconds = (nowMs - this.#budgetMs) / 1_000;
    this.#budgetMs = nowMs;
    this.#bytesLeft = Math.min(READ_BYTES_BURST, this.#bytesLeft + seconds * READ_BYTES_PER_SECOND);
    this.#messagesLeft = Math.min(READ_MESSAGES_BURST, this.#messagesLeft + seconds * READ_MESSAGES_PER_SECOND);
  }
  #pause(stream: Stream): void {
    stream.pause();
    setTimeout(() => {
      if (!this.#isClosed && stream.status === "open") stream.resume();
    }, (1_000 * -this.#bytesLeft) / READ_BYTES_PER_SECOND + 1).unref();
  }
  #offence(offence: Offence): void {
    if (!this.#isClosed) this.#events.onOffence(this, offence);
  }
}
