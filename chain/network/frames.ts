/**
 * Messages on a stream: four bytes of length, most significant first, then so many bytes.
 *
 * The reader keeps what has come of one message and no more: a length above the maximum is refused before a byte of it is kept,
 * and what is kept came from the peer, so that announcing much costs it as much.
 */
import type { Offence } from "./transport.ts";

const LENGTH_BYTES = 4;

export function frameOf(message: Uint8Array): Uint8Array {
  const frame = new Uint8Array(LENGTH_BYTES + message.length);
  new DataView(frame.buffer).setUint32(0, message.length);
  frame.set(message, LENGTH_BYTES);
  return frame;
}

export class FrameReader {
  readonly #bytesMax: number;
  readonly #onMessage: (message: Uint8Array) => void;
  #chunks: Uint8Array[] = [];
  /** Of the chunks, from `#at` in the first on. */
  #bytes = 0;
  #at = 0;
  #length: number | null = null;

  /** `onMessage` gets memory of its own. */
  constructor(bytesMax: number, onMessage: (message: Uint8Array) => void) {
    this.#bytesMax = bytesMax;
    this.#onMessage = onMessage;
  }
  /** Whether a message has begun and not ended. */
  get isInside(): boolean {
    return this.#bytes > 0 || this.#length !== null;
  }
  push(chunk: Uint8Array): Offence | null {
    if (chunk.length > 0) this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    for (;;) {
      if (this.#length === null) {
        if (this.#bytes < LENGTH_BYTES) return null;
        const head = this.#take(LENGTH_BYTES);
        this.#length = new DataView(head.buffer).getUint32(0);
        if (this.#length > this.#bytesMax) return "oversize";
      }
      if (this.#bytes < this.#length) return null;
      const message = this.#take(this.#length);
      this.#length = null;
      this.#onMessage(message);
    }
  }

  #take(count: number): Uint8Array {
    const taken = new Uint8Array(count);
    for (let done = 0; done < count; ) {
      const chunk = this.#chunks[0]!;
      const some = Math.min(count - done, chunk.length - this.#at);
      taken.set(chunk.subarray(this.#at, this.#at + some), done);
      done += some;
      this.#at += some;
      if (this.#at < chunk.length) continue;
      this.#chunks.shift();
      this.#at = 0;
    }
    this.#bytes -= count;
    return taken;
  }
}
