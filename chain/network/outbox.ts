/**
 * What waits for one peer on one channel. `libp2p`'s own `send` never refuses, so the cap is here: bytes count from `send` until
 * the stream has handed them on, and a message that does not fit is refused whole.
 *
 * Messages of one turn leave together in a microtask, in order; a stream that says it is full is left alone until it drains.
 * When the stream is lost, what it had taken is lost with it, and the rest waits for the next one.
 */
import type { Stream } from "@libp2p/interface";
import { concat } from "#chain/crypto.ts";
import { WRITE_BYTES_MAX } from "./limits.ts";

/** Shared by all outboxes of a node. */
export type QueuedBytes = { bytes: number; readonly bytesMax: number };

export class Outbox {
  readonly #bytesMax: number;
  readonly #all: QueuedBytes;
  #frames: Uint8Array[] = [];
  #bytes = 0;
  /** Of these the ones that the stream took and has not handed on. */
  #handed = 0;
  #stream: Stream | null = null;
  #isScheduled = false;
  /** Since when the stream has been full, or missing with something to send. */
  #stuckSinceMs: number | null = null;

  constructor(bytesMax: number, all: QueuedBytes) {
    this.#bytesMax = bytesMax;
    this.#all = all;
  }
  get stuckSinceMs(): number | null {
    return this.#stuckSinceMs;
  }
  get queuedBytes(): number {
    return this.#bytes;
  }

  /** Takes a frame (`frameOf`), which nobody changes any more. */
  send(frame: Uint8Array): boolean {
    const bytes = frame.length;
    // Frames carry four bytes of length each, which are not the sender's to count.
    if (this.#bytes + bytes > this.#bytesMax + 4 * (this.#frames.length + 1) || this.#all.bytes + bytes > this.#all.bytesMax) return false;
    this.#frames.push(frame);
    this.#bytes += bytes;
    this.#all.bytes += bytes;
    this.#schedule();
    return true;
  }
  attach(stream: Stream): void {
    this.#stream = stream;
    this.#release(this.#handed);
    this.#stuckSinceMs = null;
    stream.addEventListener("drain", () => {
      if (this.#stream !== stream) return;
      this.#release(this.#handed);
      this.#stuckSinceMs = null;
      this.#schedule();
    });
    this.#schedule();
  }
  detach(stream: Stream): void {
    if (this.#stream !== stream) return;
    this.#stream = null;
    this.#release(this.#handed);
    this.#stuckSinceMs = this.#frames.length > 0 ? performance.now() : null;
  }
  close(): void {
    this.#stream = null;
    this.#frames = [];
    this.#release(this.#bytes);
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#flush();
    });
  }
  #flush(): void {
    while (this.#stream !== null && this.#handed === 0 && this.#frames.length > 0) {
      const piece = this.#piece();
      this.#handed += piece.length;
      let isTaken = false;
      try {
        isTaken = this.#stream.send(piece);
      } catch {
        // It has closed, and says so in an event of its own.
        this.detach(this.#stream);
        return;
      }
      if (isTaken) this.#release(this.#handed);
      else this.#stuckSinceMs ??= performance.now();
    }
    if (this.#stream === null && this.#frames.length > 0) this.#stuckSinceMs ??= performance.now();
  }
  /** The next frame, with those after it as long as they are short. */
  #piece(): Uint8Array {
    let [count, bytes] = [1, this.#frames[0]!.length];
    while (count < this.#frames.length && bytes + this.#frames[count]!.length <= WRITE_BYTES_MAX) bytes += this.#frames[count++]!.length;
    const frames = this.#frames.splice(0, count);
    return count === 1 ? frames[0]! : concat(frames);
  }
  #release(bytes: number): void {
    this.#handed -= Math.min(this.#handed, bytes);
    this.#bytes -= bytes;
    this.#all.bytes -= bytes;
  }
}
