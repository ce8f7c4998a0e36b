/** What a guest writes, as lines of its log: cut at a length, and dropped and counted where there are too many bytes in a second. */
import type { LogStream } from "../../control.ts";

const LINE_BYTES_MAX = 16 * 1024;
const NEWLINE = 10;
const STREAMS: readonly LogStream[] = ["stdout", "stderr"];

export class LogLines {
  readonly #bytesPerSecondMax: number;
  readonly #emit: (stream: LogStream, line: string) => void;
  readonly #onDrop: () => void;
  readonly #parts = new Map<LogStream, Uint8Array[]>();
  #second = 0;
  #bytes = 0;
  #dropped = 0;

  constructor(bytesPerSecondMax: number, emit: (stream: LogStream, line: string) => void, onDrop: () => void) {
    this.#bytesPerSecondMax = bytesPerSecondMax;
    this.#emit = emit;
    this.#onDrop = onDrop;
  }

  push(stream: LogStream, bytes: Uint8Array): void {
    let from = 0;
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, from)) {
      this.#keep(stream, bytes.subarray(from, at));
      this.#line(stream);
      from = at + 1;
    }
    if (from < bytes.length) this.#keep(stream, bytes.subarray(from));
  }

  /** What has no newline yet is a line, too. */
  end(): void {
    for (const stream of STREAMS) if (this.#parts.has(stream)) this.#line(stream);
    if (this.#dropped > 0) this.#emit("system", `${this.#dropped} log lines dropped: more than ${this.#bytesPerSecondMax} bytes in a second`);
    this.#dropped = 0;
  }

  #keep(stream: LogStream, bytes: Uint8Array): void {
    const parts = this.#parts.get(stream) ?? [];
    this.#parts.set(stream, parts);
    parts.push(bytes);
    if (parts.reduce((sum, part) => sum + part.length, 0) >= LINE_BYTES_MAX) this.#line(stream);
  }

  #line(stream: LogStream): void {
    const line = new TextDecoder().decode(Buffer.concat(this.#parts.get(stream) ?? []).subarray(0, LINE_BYTES_MAX));
    this.#parts.delete(stream);
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) [this.#second, this.#bytes] = [second, 0];
    this.#bytes += line.length + 1;
    if (this.#bytes <= this.#bytesPerSecondMax) return this.#emit(stream, line);
    this.#dropped += 1;
    this.#onDrop();
  }
}
