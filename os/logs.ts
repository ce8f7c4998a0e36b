/**
 * The log of each deployment on this machine: a bounded ring of lines in memory and a file with a size cap beside it.
 *
 * Invariants: `sequence` grows by one per line of a deployment and goes on after a restart; memory per deployment is bounded by
 * lines and by bytes, and of all by LOGS_MEMORY_BYTES_MAX while the disk works; a file is at most two halves of LOG_FILE_BYTES_MAX; a follower that does not drain never slows the writer
 * (it is told what it gets by the caller's listener, which skips). Losing the last LOG_FLUSH_MS of lines with the machine is fine.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { appendFile, mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Hex } from "#chain/types.ts";
import { codeOf } from "./error.ts";
import {
  LOGS_MAX, LOGS_MEMORY_BYTES_MAX, LOG_FILE_BYTES_MAX, LOG_FLUSH_MS, LOG_LINES_MAX, LOG_LINE_BYTES_MAX, LOG_MEMORY_BYTES_MAX, LOG_UNWRITTEN_LINES_MAX,
} from "./limits.ts";

export type LogStream = "stdout" | "stderr" | "system";
export type LogLine = {
  readonly sequence: number;
  readonly timeMs: number;
  readonly stream: LogStream;
  readonly requestId: string | null;
  readonly line: string;
};
type Log = {
  lines: LogLine[];
  memoryBytes: number;
  nextSequence: number;
  fileBytes: number;
  unwritten: string[];
  readonly listeners: Set<(line: LogLine) => void>;
};
/** What a line costs in memory beside its text. */
const LINE_OVERHEAD_BYTES = 96;
const ID_TEXT = /^[0-9a-f]{40}$/;

export class LogStore {
  readonly #directory: string;
  /** null: there is a file, and nobody has asked for it since the start. */
  readonly #logs: Map<Hex, Log | null> = new Map();
  #timer: NodeJS.Timeout | null = null;
  #flushing: Promise<void> = Promise.resolve();
  readonly #onFault: (error: unknown) => void;
  readonly #memoryBytesMax: number;
  #memoryBytes = 0;
  #isFaulty = false;

  private constructor(directory: string, onFault: (error: unknown) => void, memoryBytesMax: number) {
    this.#directory = directory;
    this.#onFault = onFault;
    this.#memoryBytesMax = memoryBytesMax;
  }

  /** Opens the folder; a log's newest lines are read back when they are first needed. A disk that fails is told once, until it works again. */
  static async open(directory: string, onFault: (error: unknown) => void = () => {}, memoryBytesMax: number = LOGS_MEMORY_BYTES_MAX): Promise<LogStore> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const store = new LogStore(directory, onFault, memoryBytesMax);
    const found: { id: Hex; timeMs: number }[] = [];
    for (const name of await readdir(directory)) {
      const id = name.replace(/\.log$/, "");
      if (ID_TEXT.test(id)) found.push({ id: id as Hex, timeMs: (await stat(join(directory, name))).mtimeMs });
    }
    found.sort((a, b) => a.timeMs - b.timeMs);
    for (const { id } of found) store.#logs.set(id, null);
    store.#evict();
    return store;
  }

  append(id: Hex, entry: Omit<LogLine, "sequence">): void {
    const log = this.#touch(id);
    const text = cut(entry.line);
    const line: LogLine = { sequence: log.nextSequence, timeMs: entry.timeMs, stream: entry.stream, requestId: entry.requestId, line: text };
    log.nextSequence += 1;
    const before = log.memoryBytes;
    remember(log, line);
    this.#memoryBytes += log.memoryBytes - before;
    if (log.unwritten.length < LOG_UNWRITTEN_LINES_MAX) log.unwritten.push(`${JSON.stringify(line)}\n`);
    for (const listener of log.listeners) listener(line);
    this.#flushLater();
  }

  /** The newest `count` lines, oldest first. */
  tail(id: Hex, count: number): readonly LogLine[] {
    return count === 0 ? [] : (this.#open(id)?.lines.slice(-count) ?? []);
  }

  /** At most `limit` lines after a sequence number, oldest first. */
  after(id: Hex, sequence: number, limit: number): readonly LogLine[] {
    const lines = this.#open(id)?.lines ?? [];
    const start = lines.findIndex((line) => line.sequence > sequence);
    return start < 0 ? [] : lines.slice(start, start + limit);
  }

  follow(id: Hex, listener: (line: LogLine) => void): () => void {
    const { listeners } = this.#touch(id);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  has(id: Hex): boolean {
    return this.#logs.has(id);
  }

  ids(): readonly Hex[] {
    return [...this.#logs.keys()];
  }

  activity(id: Hex): { readonly nextSequence: number; readonly isFollowed: boolean } {
    const log = this.#open(id);
    return { nextSequence: log?.nextSequence ?? 0, isFollowed: (log?.listeners.size ?? 0) > 0 };
  }

  /** From memory and disk. */
  remove(id: Hex): void {
    const log = this.#logs.get(id);
    if (!this.#logs.delete(id)) return;
    this.#memoryBytes -= log?.memoryBytes ?? 0;
    this.#flushing = this.#flushing.then(() => removeFiles(this.#path(id)));
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#flushSoon();
    await this.#flushing;
  }

  #path(id: Hex): string {
    return join(this.#directory, `${id}.log`);
  }

  #open(id: Hex): Log | undefined {
    const log = this.#logs.get(id);
    if (log !== null) return log;
    const read = readBack(this.#path(id));
    this.#logs.set(id, read);
    this.#memoryBytes += read.memoryBytes;
    this.#flushLater();
    return read;
  }

  /** The log of a deployment, moved to the end of the order in which logs are given up. */
  #touch(id: Hex): Log {
    const log = this.#open(id) ?? emptyLog();
    this.#logs.delete(id);
    this.#logs.set(id, log);
    this.#evict();
    return log;
  }

  #evict(): void {
    for (const [id, log] of this.#logs) {
      if (this.#logs.size <= LOGS_MAX) return;
      if ((log?.listeners.size ?? 0) > 0) continue;
      this.remove(id);
    }
  }

  #flushLater(): void {
    this.#timer ??= setTimeout(() => this.#flushSoon(), LOG_FLUSH_MS);
  }

  #flushSoon(): void {
    this.#timer = null;
    this.#flushing = this.#flushing.then(() => this.#flush());
  }

  async #flush(): Promise<void> {
    for (const [id, log] of this.#logs) {
      if (log === null || log.unwritten.length === 0) continue;
      const text = log.unwritten.join("");
      log.unwritten = [];
      try {
        log.fileBytes = await appendTurning(this.#path(id), text, log.fileBytes);
        this.#isFaulty = false;
      } catch (error) {
        // A full disk must not end the agent: the lines are still in memory.
        if (!this.#isFaulty) this.#onFault(error);
        this.#isFaulty = true;
      }
    }
    if (!this.#isFaulty) this.#spill();
  }

  /** What is on disk need not be in memory. */
  #spill(): void {
    for (const [id, log] of this.#logs) {
      if (this.#memoryBytes <= this.#memoryBytesMax) return;
      if (log === null || log.listeners.size > 0 || log.unwritten.length > 0) continue;
      this.#logs.set(id, null);
      this.#memoryBytes -= log.memoryBytes;
    }
  }
}

const emptyLog = (): Log => ({ lines: [], memoryBytes: 0, nextSequence: 1, fileBytes: 0, unwritten: [], listeners: new Set() });

function remember(log: Log, line: LogLine): void {
  log.lines.push(line);
  log.memoryBytes += line.line.length * 2 + LINE_OVERHEAD_BYTES;
  while (log.lines.length > LOG_LINES_MAX || (log.memoryBytes > LOG_MEMORY_BYTES_MAX && log.lines.length > 1)) {
    const oldest = log.lines.shift();
    if (oldest !== undefined) log.memoryBytes -= oldest.line.length * 2 + LINE_OVERHEAD_BYTES;
  }
}

function cut(line: string): string {
  return line.length <= LOG_LINE_BYTES_MAX ? line : `${line.slice(0, LOG_LINE_BYTES_MAX)}…`;
}

async function appendTurning(path: string, text: string, fileBytes: number): Promise<number> {
  let bytes = fileBytes;
  if (bytes > LOG_FILE_BYTES_MAX) {
    await rename(path, `${path}.1`).catch((error: unknown) => {
      if (codeOf(error) !== "ENOENT") throw error;
    });
    bytes = 0;
  }
  await appendFile(path, text, { mode: 0o600 });
  return bytes + Buffer.byteLength(text);
}

async function removeFiles(path: string): Promise<void> {
  await rm(path, { force: true });
  await rm(`${path}.1`, { force: true });
}

/** Reads the end of a log file, at once: half a MiB, once for each log. A torn or foreign line is left out. */
function readBack(path: string): Log {
  const log = emptyLog();
  let content: string;
  try {
    content = readEnd(path, log);
  } catch {
    // A file that cannot be read is a log without a past.
    return log;
  }
  // A line that a crash cut must not swallow the next one.
  if (content !== "" && !content.endsWith("\n")) log.unwritten.push("\n");
  for (const text of content.split("\n")) {
    const line = parseLine(text);
    if (line === null || line.sequence < log.nextSequence) continue;
    remember(log, line);
    log.nextSequence = line.sequence + 1;
  }
  return log;
}

function readEnd(path: string, log: Log): string {
  const file = openSync(path, "r");
  try {
    log.fileBytes = fstatSync(file).size;
    const bytes = new Uint8Array(Math.min(log.fileBytes, LOG_MEMORY_BYTES_MAX));
    return new TextDecoder().decode(bytes.subarray(0, readSync(file, bytes, 0, bytes.length, log.fileBytes - bytes.length)));
  } finally {
    closeSync(file);
  }
}

function parseLine(text: string): LogLine | null {
  try {
    const { sequence, timeMs, stream, requestId, line } = JSON.parse(text) as Record<string, unknown>;
    if (typeof sequence !== "number" || !Number.isSafeInteger(sequence) || sequence < 1) return null;
    if (typeof timeMs !== "number" || typeof line !== "string") return null;
    if (stream !== "stdout" && stream !== "stderr" && stream !== "system") return null;
    return { sequence, timeMs, stream, requestId: typeof requestId === "string" ? requestId : null, line };
  } catch {
    return null;
  }
}
