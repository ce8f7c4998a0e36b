/** What the language itself asks of its host: how a program dies, where Math.random begins, where console lines go. */
import { getStderr, getStdout } from "./wasi/cli";
import { randomU64 } from "./wasi/random";

/** What is to be written out before the next line is: godwit/cli gathers small writes, and the order is the author's. */
let beforeLine: (() => void) | null = null;

export function setBeforeLine(write: () => void): void {
  beforeLine = write;
}

export function writeGathered(): void {
  const write = beforeLine;
  if (write !== null) write();
}

/** A failed assertion, a `throw`, an index out of range: one line on stderr with the place, then a trap. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  writeError(
    "abort: " + (message === null ? "(no message)" : message) +
    " at " + (file === null ? "?" : file) + ":" + line.toString() + ":" + column.toString(),
  );
  unreachable();
}

/** Seeds Math.random. */
export function seed(): f64 {
  return reinterpret<f64>(randomU64());
}

/** The builtin trace(message, n, …): a line on stderr. */
export function trace(message: string, n: i32 = 0, a0: f64 = 0, a1: f64 = 0, a2: f64 = 0, a3: f64 = 0, a4: f64 = 0): void {
  const numbers: StaticArray<f64> = [a0, a1, a2, a3, a4];
  let line = "trace: " + message;
  for (let i = 0; i < min(n, 5); i++) line += (i ? ", " : " ") + numbers[i].toString();
  writeError(line);
}

/** One line on stdout, as a single write when it fits: a log line is not torn. */
export function writeLine(text: string): void {
  writeGathered();
  const bytes = String.UTF8.encode(text + "\n");
  const stream = getStdout();
  stream.write(bytes, 0, bytes.byteLength);
  stream.drop();
}

/** One line on stderr. */
export function writeError(text: string): void {
  writeGathered();
  const bytes = String.UTF8.encode(text + "\n");
  const stream = getStderr();
  stream.write(bytes, 0, bytes.byteLength);
  stream.drop();
}
