/**
 * Bytes by their sha256 from any peer that has them: components, configurations, whatever is named by its digest.
 *
 *   channel "blobs": [1, 0, call, digest, offset]   →   [1, 1, call, bytes in all, some bytes]   or   [1, 2, call]: not here
 *
 * A blob is asked of one peer after the other, part by part, and believed when all of it hashes to its name; a peer whose bytes do not is
 * let go of. What comes is bounded by who asks (`bytesMax`) before it is kept, and who asks for much waits for its own answers.
 *
 *                                            or   [1, 4, call]: there, but not for you, or not to be read now
 *   [1, 3, call, digest]   →   [1, 5, call]: it is there   or   [1, 2, call]
 *
 * That a blob is missing is said only when all that are connected have said so: who is silent, or may not give it yet as it is a block
 * behind, has not said that.
 */
import { type Cbor, CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { bytes, bytesUpTo, list, u32, version } from "#chain/codec/schema.ts";
import { WIRE_VERSION } from "#chain/constants.ts";
import { concat, sha256 } from "#chain/crypto.ts";
import { type Digest, type Hex, U32_MAX, digest as digestOf, hex } from "#chain/types.ts";
import { type Clock, systemClock } from "./clock.ts";
import { BLOBS_SERVED_MAX, BLOB_ANSWERS_PER_PEER_MAX, BLOB_CHUNK_BYTES, BLOB_FETCHES_MAX, BLOB_PEERS_MAX, BLOB_SERVED_MS, BLOB_TIMEOUT_MS } from "./limits.ts";
import type { PeerId, Transport } from "./transport.ts";

export class BlobError extends Error {
  readonly code: "blob_missing" | "blob_unanswered" | "blob_too_large" | "aborted" | "overloaded";
  constructor(code: BlobError["code"], message: string) {
    super(message);
    this.name = "BlobError";
    this.code = code;
  }
}
export type BlobExchangeOptions = {
  readonly transport: Transport;
  readonly clock?: Clock;
  /** The blob; null: it is not here. A throw, or `withheld`: it is, and this peer does not get it now. */
  readonly read: (digest: Hex, peer: PeerId) => Promise<Uint8Array | "withheld" | null>;
  /** Whether it is here, answered at once; left out: that is not told. */
  readonly holds?: (digest: Hex) => boolean;
};
type Part = { readonly total: number; readonly bytes: Uint8Array };
/** missing: the peer says that it does not have it; unanswered: it says nothing, or that it may not give it now. */
type Lack = "missing" | "unanswered";
type Call = { readonly peer: PeerId; readonly done: (part: Part | Lack) => void };
type Held = Uint8Array | "withheld" | null;

export class BlobExchange {
  readonly #options: BlobExchangeOptions;
  readonly #clock: Clock;
  readonly #calls = new Map<number, Call>();
  readonly #answering = new Map<PeerId, number>();
  readonly #served = new Map<Hex, { readonly bytes: Promise<Held>; readonly untilMs: number; readonly peer: PeerId }>();
  readonly #unsubscribe: () => void;
  #count = 0;
  #fetches = 0;

  constructor(options: BlobExchangeOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#unsubscribe = options.transport.onMessage((from, channel, message) => { if (channel === "blobs") this.#receive(from, message); });
  }

  /** Throws BlobError. `peers`: who probably has it, asked first. */
  async fetch(digest: Digest, { bytesMax, peers = [], signal }: { bytesMax: number; peers?: readonly PeerId[]; signal?: AbortSignal }): Promise<Uint8Array> {
    if (this.#fetches >= BLOB_FETCHES_MAX) throw new BlobError("overloaded", `Cannot fetch ${hex(digest)} now: ${BLOB_FETCHES_MAX} others are under way`);
    this.#fetches++;
    try {
      const connected = this.#options.transport.peers();
      const asked = [...new Set([...peers.filter((peer) => connected.includes(peer)), ...connected])].slice(0, BLOB_PEERS_MAX);
      let [tooLarge, isUnanswered] = [false, connected.length > asked.length];
      for (const peer of asked) {
        if (signal?.aborted) throw new BlobError("aborted", `Cannot fetch ${hex(digest)} any longer: the caller gave up`);
        const found = await this.#fetchFrom(peer, digest, bytesMax);
        if (found === "too large") tooLarge = true;
        else if (found === "unanswered") isUnanswered = true;
        else if (found !== "missing" && hex(sha256(found)) === hex(digest)) return found;
        else if (found !== "missing") this.#options.transport.report(peer, "forged");
      }
      if (tooLarge) throw new BlobError("blob_too_large", `Cannot take ${hex(digest)} as it has more than ${bytesMax} bytes`);
      if (isUnanswered) throw new BlobError("blob_unanswered", `Cannot fetch ${hex(digest)} now: of ${connected.length} peers not all have answered, and none gave it`);
      throw new BlobError("blob_missing", `Cannot find ${hex(digest)}: none of ${asked.length} peers gave it`);
    } finally {
      this.#fetches--;
    }
  }
  /** Whether this peer says that it has it; null: it did not answer. */
  async isAt(peer: PeerId, digest: Digest): Promise<boolean | null> {
    const answer = await this.#ask(peer, [3, digest]);
    return answer === "unanswered" ? null : answer !== "missing";
  }
  stop(): void {
    this.#unsubscribe();
    for (const { done } of this.#calls.values()) done("unanswered");
    this.#calls.clear();
  }

  async #fetchFrom(peer: PeerId, digest: Digest, bytesMax: number): Promise<Uint8Array | "too large" | Lack> {
    const parts: Uint8Array[] = [];
    let [at, total] = [0, 0];
    do {
      const part = await this.#ask(peer, [0, digest, at]);
      if (part === "missing" || part === "unanswered") return part;
      if (part.total > bytesMax) return "too large";
      const isMore = at + part.bytes.length < part.total;
      if ((at > 0 && part.total !== total) || at + part.bytes.length > part.total || (isMore && part.bytes.length === 0)) {
        this.#options.transport.report(peer, "malformed");
        return "missing";
      }
      parts.push(part.bytes);
      at += part.bytes.length;
      total = part.total;
    } while (at < total);
    return concat(parts);
  }
  #ask(peer: PeerId, [kind, ...rest]: readonly [number, ...Cbor[]]): Promise<Part | Lack> {
    const call = this.#count++ % U32_MAX;
    return new Promise((resolve) => {
      const cancel = this.#clock.setTimer(() => done("unanswered"), BLOB_TIMEOUT_MS);
      const done = (part: Part | Lack): void => {
        cancel();
        this.#calls.delete(call);
        resolve(part);
      };
      this.#calls.set(call, { peer, done });
      if (!this.#options.transport.send(peer, "blobs", encode([WIRE_VERSION, kind, call, ...rest]))) done("unanswered");
    });
  }

  #receive(from: PeerId, message: Uint8Array): void {
    try {
      const [first, kind, call, ...rest] = list(decode(message), 5);
      version(first);
      switch (u32(kind)) {
        case 0: return this.#answer(from, u32(call), digestOf(bytes(rest[0], 32)), u32(rest[1]));
        case 1: return this.#take(from, u32(call), rest);
        case 2: return this.#take(from, u32(call), "missing");
        case 3: return this.#tell(from, u32(call), hex(digestOf(bytes(rest[0], 32))));
        case 4: return this.#take(from, u32(call), "unanswered");
        case 5: return this.#take(from, u32(call), [0, new Uint8Array(0)]);
        default: throw new CodecError("codec_value", `${u32(kind)} is no kind of message`);
      }
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      this.#options.transport.report(from, "malformed");
    }
  }
  #take(from: PeerId, call: number, rest: readonly Cbor[] | Lack): void {
    const waiting = this.#calls.get(call);
    // Late, or never asked for.
    if (!waiting || waiting.peer !== from) return this.#options.transport.report(from, "useless");
    waiting.done(typeof rest === "string" ? rest : { total: u32(rest[0]), bytes: bytesUpTo(rest[1], BLOB_CHUNK_BYTES) });
  }

  #tell(to: PeerId, call: number, digest: Hex): void {
    const { holds, transport } = this.#options;
    if (holds !== undefined) transport.send(to, "blobs", encode([WIRE_VERSION, holds(digest) ? 5 : 2, call]));
  }
  #answer(to: PeerId, call: number, digest: Digest, offset: number): void {
    const running = this.#answering.get(to) ?? 0;
    if (running >= BLOB_ANSWERS_PER_PEER_MAX) return this.#options.transport.report(to, "useless");
    this.#answering.set(to, running + 1);
    void this.#read(hex(digest), to).catch((): Held => "withheld").then((blob) => {
      const left = this.#answering.get(to)! - 1;
      if (left > 0) this.#answering.set(to, left);
      else this.#answering.delete(to);
      const answer: Cbor = blob === "withheld" ? [WIRE_VERSION, 4, call] : blob === null || offset > blob.length ? [WIRE_VERSION, 2, call]
        : [WIRE_VERSION, 1, call, blob.length, blob.subarray(offset, offset + BLOB_CHUNK_BYTES)];
      this.#options.transport.send(to, "blobs", encode(answer));
    });
  }
  /** The parts of one blob are asked for one after the other: it is read once. Whether a peer may have it is asked for each peer. */
  #read(digest: Hex, peer: PeerId): Promise<Held> {
    const nowMs = this.#clock.nowMs();
    for (const [key, { untilMs }] of this.#served) if (untilMs <= nowMs || this.#served.size > BLOBS_SERVED_MAX) this.#served.delete(key);
    const known = this.#served.get(digest);
    if (known && known.peer === peer) return known.bytes;
    const read = this.#options.read(digest, peer);
    const served = { bytes: read, untilMs: nowMs + BLOB_SERVED_MS, peer };
    this.#served.set(digest, served);
    // What is not here now may be here the next time.
    const forget = (): void => { if (this.#served.get(digest) === served) this.#served.delete(digest); };
    read.then((held) => { if (held === null || held === "withheld") forget(); }, forget);
    return read;
  }
}
