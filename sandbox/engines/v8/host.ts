/** What an instance sees of the world: its setting, its streams, and the one way in which it waits. Nothing of ours is in it. */
import { HostTrap } from "./trap.ts";
import type { FromLane, GuestRequest, Headers, Setting, ToLane } from "./protocol.ts";

/** The lane's ends of its channel. `next` waits until `untilMs` (of performance.now) and gives null when nothing came. */
export type Channel = {
  post(message: FromLane): void;
  next(untilMs: number): ToLane | null;
};

export type Ok<T> = { readonly tag: "ok"; readonly value: T };
export type Err<E> = { readonly tag: "error"; readonly value: E };
export const ok = <T>(value: T): Ok<T> => ({ tag: "ok", value });
export const err = <E>(value: E): Err<E> => ({ tag: "error", value });

/** What a guest may have written that has not gone on. */
const UNTAKEN_BYTES_MAX = 256 * 1024;
/** Of an answer, before it is sent although the guest has not ended or waited. */
const ANSWER_BYTES_KEPT = 64 * 1024;
const ANSWER_KEPT_MS = 5;

/** What a guest reads: the body of its request, or stdin. */
export class Source {
  readonly #chunks: Uint8Array[] = [];
  #ended = false;
  #wanted = false;
  readonly #ask: () => void;
  /** Why it ended before its end, as an error code of wasi:http. */
  error: string | null = null;
  constructor(ask: () => void, whole: Uint8Array | null) {
    this.#ask = ask;
    if (whole !== null) this.give(whole.length > 0 ? whole : null);
    if (whole !== null && whole.length > 0) this.give(null);
  }

  give(bytes: Uint8Array | null): void {
    this.#wanted = false;
    if (bytes === null) this.#ended = true;
    else this.#chunks.push(bytes);
  }

  /** Something can be read, or the end be seen; if not, it is asked for. */
  isReady(): boolean {
    if (this.#chunks.length > 0 || this.#ended) return true;
    if (!this.#wanted) this.#ask();
    this.#wanted = true;
    return false;
  }

  /** Up to `length` bytes, none when there are none now, null at the end. */
  read(length: number): Uint8Array | null {
    const [first] = this.#chunks;
    if (first === undefined) return this.#ended ? null : new Uint8Array();
    if (first.length <= length) {
      this.#chunks.shift();
      return first;
    }
    this.#chunks[0] = first.subarray(length);
    return first.subarray(0, length);
  }
}

/** A request of the guest's: what has come of it. */
export class SentRequest {
  readonly source: Source;
  outcome: { readonly status: number; readonly headers: Headers } | { readonly error: string } | null = null;
  constructor(host: Host, call: number) {
    this.source = new Source(() => host.post({ type: "wantPart", call }), null);
    host.sent.set(call, this);
  }

  hear(message: Extract<ToLane, { type: "response" | "unanswered" | "part" }>): void {
    if (message.type === "part") {
      this.source.error = message.error;
      this.source.give(message.bytes);
    } else this.outcome = message.type === "response" ? { status: message.status, headers: message.headers } : { error: message.error };
  }
}

/** The guest's answer as far as it has not been sent. */
export type Answer = { readonly status: number; readonly headers: Headers; readonly body: { chunks: Uint8Array[]; bytes: number; trailers: Headers } | null };

export class Host {
  readonly setting: Setting;
  readonly request: GuestRequest | null;
  readonly headerBytesMax: number;
  readonly source: Source;
  answer: Answer | null = null;
  /** The guest's own requests, by number. */
  readonly sent: Map<number, SentRequest> = new Map<number, SentRequest>();
  readonly #channel: Channel;
  #isHeadSent = false;
  #answeredMs = 0;
  #untaken = 0;

  constructor(channel: Channel, setting: Setting, request: GuestRequest | null, input: Uint8Array | null, headerBytesMax: number) {
    this.#channel = channel;
    this.setting = setting;
    this.request = request;
    this.headerBytesMax = headerBytesMax;
    this.source = new Source(() => this.post({ type: "want" }), input);
  }

  post(message: FromLane): void {
    this.#channel.post(message);
  }

  /** Takes what has come, and waits for it when `isReady` does not hold yet; `untilMs` is when it holds by itself. */
  waitUntil(isReady: () => boolean, untilMs: () => number = () => Infinity): void {
    for (this.#takeAll(); !isReady(); ) {
      this.flush();
      const message = this.#channel.next(untilMs());
      if (message !== null) this.#take(message);
    }
  }

  #takeAll(): void {
    for (let message = this.#channel.next(0); message !== null; message = this.#channel.next(0)) this.#take(message);
  }

  #take(message: ToLane): void {
    if (message.type === "chunk") this.source.give(message.bytes);
    else if (message.type === "response" || message.type === "unanswered" || message.type === "part") this.sent.get(message.call)?.hear(message);
    else if (message.type === "taken") this.#untaken -= message.bytes;
  }

  /** Room for what a guest may write now. */
  get room(): number {
    this.#takeAll();
    return Math.max(0, UNTAKEN_BYTES_MAX - this.#untaken);
  }
  hasRoom(): boolean {
    return this.room > 0;
  }

  write(stream: 1 | 2, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.waitUntil(() => this.#untaken < UNTAKEN_BYTES_MAX);
    this.#untaken += bytes.length;
    this.post({ type: "write", stream, bytes });
  }

  setAnswer(answer: Answer): void {
    if (this.answer !== null) throw new HostTrap("The answer is set already");
    this.answer = answer;
    this.#answeredMs = performance.now();
  }

  /** The guest wrote to a body; it may be one that is no answer's. */
  wrote(body: { bytes: number }): void {
    if (this.answer?.body !== body) return;
    if (body.bytes < ANSWER_BYTES_KEPT && performance.now() - this.#answeredMs < ANSWER_KEPT_MS) return;
    this.flush();
    this.waitUntil(() => this.#untaken < UNTAKEN_BYTES_MAX);
  }

  /** Sends what there is of the answer; `isEnd`: the guest has ended, nothing more comes. */
  flush(isEnd: boolean = false): void {
    const { answer } = this;
    if (answer === null) return;
    const chunks = answer.body?.chunks.splice(0) ?? [];
    if (answer.body !== null) {
      this.#untaken += answer.body.bytes;
      answer.body.bytes = 0;
    }
    if (!this.#isHeadSent) this.post({ type: "answer", status: answer.status, headers: answer.headers, chunks, isWhole: isEnd });
    else if (chunks.length > 0) this.post({ type: "body", chunks });
    this.#isHeadSent = true;
  }
}
