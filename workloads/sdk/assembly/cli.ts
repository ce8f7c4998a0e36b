/**
 * `godwit/cli`: write a task as one function from its arguments to an exit code.
 *
 *     import { stdin, stdout } from "godwit/cli";
 *
 *     export function main(args: string[]): i32 {
 *       for (let line = stdin.readLine(); line !== null; line = stdin.readLine()) stdout.writeLine(line.toUpperCase());
 *       return 0;
 *     }
 *
 * `args` is what follows the program's name. wasi:cli knows success and failure only: any code but 0 arrives as 1.
 */
import { setBeforeLine, writeGathered } from "./runtime";
import { exit as wasiExit, getStderr, getStdin, getStdout } from "./wasi/cli";
import { InputStream, OutputStream, WRITE_BYTES_MAX } from "./wasi/io";

const READ_BYTES: u64 = 65536;
const NEWLINE: u8 = 0x0a;
const CARRIAGE_RETURN: u8 = 0x0d;

/** Standard input, read as lines, as text or as bytes. */
export class Input {
  private stream: InputStream | null = null;
  private piece: Uint8Array = new Uint8Array(0);
  private position: i32 = 0;
  private ended: bool = false;

  /** Waits for the next bytes, as many as come at once; null at the end. */
  read(): Uint8Array | null {
    if (!this.fill()) return null;
    const rest = this.piece.subarray(this.position);
    this.position = this.piece.length;
    return rest;
  }

  /** The next line without its end (\n or \r\n); null after the last. */
  readLine(): string | null {
    if (!this.fill()) return null;
    let line: Uint8Array = new Uint8Array(0);
    while (this.fill()) {
      const start = this.position;
      let end = start;
      while (end < this.piece.length && unchecked(this.piece[end]) != NEWLINE) end++;
      const found = end < this.piece.length;
      line = joined(line, this.piece.subarray(start, end));
      this.position = found ? end + 1 : end;
      if (found) break;
    }
    let length = line.length;
    if (length && line[length - 1] == CARRIAGE_RETURN) length--;
    return String.UTF8.decodeUnsafe(line.dataStart, length);
  }

  /** Everything that is left. */
  readBytes(): Uint8Array {
    let all: Uint8Array = new Uint8Array(0);
    for (let piece = this.read(); piece; piece = this.read()) all = joined(all, piece);
    return all;
  }

  /** Everything that is left, as UTF-8 text. */
  readText(): string {
    const bytes = this.readBytes();
    return String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length);
  }

  /** Makes sure that a byte is there; false at the end. */
  private fill(): bool {
    while (this.position == this.piece.length) {
      if (this.ended) return false;
      let stream = this.stream;
      if (!stream) {
        stream = getStdin();
        this.stream = stream;
      }
      writeGathered(); // A question is seen before its answer is waited for.
      const next = stream.read(READ_BYTES);
      if (!next) {
        this.ended = true;
        stream.drop();
        return false;
      }
      this.piece = Uint8Array.wrap(next);
      this.position = 0;
    }
    return true;
  }
}

/** Standard output or standard error. Small writes are gathered; all is out when the task ends, waits for input or `sleep`s, a console line comes or it throws. */
export class Output {
  /** Made with the first byte: most tasks write nothing to standard error. */
  private buffer: Uint8Array = new Uint8Array(0);
  private used: i32 = 0;

  constructor(private isError: bool) {}

  /** Writes text as UTF-8. */
  write(text: string): void {
    this.writeBytes(Uint8Array.wrap(String.UTF8.encode(text)));
  }

  /** Writes text and the end of a line. */
  writeLine(text: string): void {
    this.write(text + "\n");
  }

  /** Writes bytes as they are. */
  writeBytes(bytes: Uint8Array): void {
    if (!this.buffer.length) this.buffer = new Uint8Array(<i32>WRITE_BYTES_MAX);
    let offset = 0;
    while (offset < bytes.length) {
      const count = min(bytes.length - offset, this.buffer.length - this.used);
      memory.copy(this.buffer.dataStart + this.used, bytes.dataStart + offset, count);
      this.used += count;
      offset += count;
      if (this.used == this.buffer.length) this.flush();
    }
  }

  /** Sends what was gathered, now. */
  flush(): void {
    if (!this.used) return;
    const stream: OutputStream = this.isError ? getStderr() : getStdout();
    stream.write(this.buffer.buffer, 0, this.used);
    stream.drop();
    this.used = 0;
  }
}

/** Standard input. */
export const stdin: Input = new Input();
/** Standard output: what the task is for. */
export const stdout: Output = new Output(false);
/** Standard error: what a person is told. */
export const stderr: Output = new Output(true);
setBeforeLine(flushAll); // console.log comes after what was written before it, and a throw loses nothing.

/** Ends the task at once with a code; `return` from `main` is the usual way. */
export function exit(code: i32): void {
  flushAll();
  wasiExit(code != 0);
}

/** For the SDK: writes out what is still gathered. */
export function flushAll(): void {
  stdout.flush();
  stderr.flush();
}

function joined(head: Uint8Array, tail: Uint8Array): Uint8Array {
  if (!head.length) return tail;
  const all = new Uint8Array(head.length + tail.length);
  memory.copy(all.dataStart, head.dataStart, head.length);
  memory.copy(all.dataStart + head.length, tail.dataStart, tail.length);
  return all;
}
