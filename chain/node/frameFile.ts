/**
 * An append-only file of items that survives a crash at any byte. Block store and vote log are made of it.
 *
 *   file   = "GWD1" ‖ salt 8 ‖ crc32 of both          (made, fsynced, its folder fsynced, before the first item)
 *   frame  = "GWF1" ‖ length ‖ crc32(payload) ‖ crc32 of these three ‖ payload
 *   payload = (length ‖ crc32 ‖ item) …
 *
 * A frame is what one fsync covers, and none is written before the one before it is on the disk. So only the last frame can
 * be torn, and a torn frame is short, or has a blank sector where its bytes did not arrive. It is cut off at opening.
 * Anything else that does not fit its checksum was once whole and has been damaged: `record_corrupt`, nothing is dropped.
 * The checksums start from the file's random salt, so an item's bytes cannot be made to look like a frame.
 * After a failed write or fsync the file takes nothing more: what the disk holds then is unknown until it is read again.
 */
import { randomBytes } from "node:crypto";
import { closeSync, constants, openSync, readSync } from "node:fs";
import { type FileHandle, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { NodeError } from "./errors.ts";
import { APPENDS_WAITING_MAX, FRAME_BYTES_MAX } from "./limits.ts";

const FILE_MAGIC = 0x31445747;
const FRAME_MAGIC = 0x31465747;
const HEADER_BYTES = 16;
const ITEM_HEADER_BYTES = 8;
const SECTOR_BYTES = 512;

/** Where an item lies: offset of its bytes in the file, and their number. */
export type Position = { readonly offset: number; readonly length: number };
export type FoundItem = Position & { readonly bytes: Uint8Array };
type Waiting = { readonly item: Uint8Array; resolve(at: Position): void; reject(error: unknown): void };

export type FrameFileOptions = {
  /** Called for each item found at opening, in order. */
  readonly onItem: (item: FoundItem) => void;
  /** Only the newest file of a series can have a torn tail; in an older one it is damage. */
  readonly tailMayBeTorn?: boolean;
  /** Tests put a failing or slow disk here. */
  readonly sync?: (handle: FileHandle) => Promise<void>;
};

export class FrameFile {
  readonly path: string;
  /** Bytes cut off at opening as a torn tail. */
  readonly repairedBytes: number;
  readonly #handle: FileHandle;
  readonly #readDescriptor: number;
  readonly #salt: number;
  readonly #sync: (handle: FileHandle) => Promise<void>;
  #end: number;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | null = null;
  #broken: NodeError | null = null;
  #closed = false;

  private constructor(path: string, handle: FileHandle, salt: number, end: number, repairedBytes: number, sync: (handle: FileHandle) => Promise<void>) {
    this.path = path;
    this.#handle = handle;
    this.#readDescriptor = openSync(path, "r");
    this.#salt = salt;
    this.#end = end;
    this.repairedBytes = repairedBytes;
    this.#sync = sync;
  }

  static async open(path: string, options: FrameFileOptions): Promise<FrameFile> {
    const sync = options.sync ?? ((handle: FileHandle): Promise<void> => handle.datasync());
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      let bytes: Uint8Array = await readFile(path);
      let repaired = 0;
      if (bytes.length < HEADER_BYTES) {
        // Born in a crash: nothing can have been put into it yet.
        repaired = bytes.length;
        bytes = fileHeader();
        await handle.truncate(0);
        await writeAll(handle, bytes, 0);
        await handle.sync();
        await syncDirectory(dirname(path));
      }
      const salt = saltOf(bytes, path);
      const end = readFrames(bytes, salt, path, options);
      if (end < bytes.length) {
        repaired += bytes.length - end;
        await handle.truncate(end);
        await handle.sync();
      }
      return new FrameFile(path, handle, salt, end, repaired, sync);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  get bytesTotal(): number {
    return this.#end;
  }

  /** Resolves when the item is on the disk. What is appended while an fsync runs shares the next one. */
  append(item: Uint8Array): Promise<Position> {
    if (this.#broken !== null) return Promise.reject(this.#broken);
    if (this.#closed) return Promise.reject(new NodeError("store_closed", `Cannot append to ${this.path}: it is closed`));
    if (item.length + ITEM_HEADER_BYTES > FRAME_BYTES_MAX) return Promise.reject(new NodeError("record_too_large", `Cannot append ${item.length} bytes to ${this.path}: a frame holds ${FRAME_BYTES_MAX}`));
    if (this.#waiting.length >= APPENDS_WAITING_MAX) return Promise.reject(new NodeError("store_overloaded", `Cannot append to ${this.path}: ${this.#waiting.length} items wait for the disk`));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#writing ??= this.#drain();
    });
  }

  /** Resolves when all that was appended is on the disk. */
  async settled(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
    if (this.#broken !== null) throw this.#broken;
  }

  read(at: Position): Uint8Array {
    const bytes = new Uint8Array(ITEM_HEADER_BYTES + at.length);
    const count = readSync(this.#readDescriptor, bytes, 0, bytes.length, at.offset - ITEM_HEADER_BYTES);
    const view = new DataView(bytes.buffer);
    const item = bytes.subarray(ITEM_HEADER_BYTES);
    if (count !== bytes.length || view.getUint32(0, true) !== at.length || view.getUint32(4, true) !== crc32(item, this.#salt)) {
      throw new NodeError("record_corrupt", `Cannot read ${at.length} bytes at ${at.offset} of ${this.path}: the checksum does not fit`);
    }
    return item;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    while (this.#writing !== null) await this.#writing;
    closeSync(this.#readDescriptor);
    await this.#handle.close();
  }

  async #drain(): Promise<void> {
    // One turn later, so that everything appended in this turn shares a frame.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = takeFrame(this.#waiting);
      try {
        const { bytes, positions } = encodeFrame(batch.map((entry) => entry.item), this.#end, this.#salt);
        const { size } = await this.#handle.stat();
        if (size !== this.#end) throw new NodeError("foreign_write", `Cannot append to ${this.path}: it has ${size} bytes where this process left ${this.#end}; another process writes to it`);
        await writeAll(this.#handle, bytes, this.#end);
        await this.#sync(this.#handle);
        this.#end += bytes.length;
        for (let index = 0; index < batch.length; index++) batch[index]!.resolve(positions[index]!);
      } catch (cause) {
        this.#broken = cause instanceof NodeError ? cause : new NodeError("store_write_failed", `Cannot append to ${this.path}: ${String(cause)}`, { cause });
        for (const entry of [...batch, ...this.#waiting]) entry.reject(this.#broken);
        this.#waiting = [];
      }
    }
    this.#writing = null;
  }
}

/** A new file with these items in it, on the disk under its name or not there at all: write aside, fsync, rename, fsync the folder. */
export async function replaceFrameFile(path: string, items: readonly Uint8Array[]): Promise<void> {
  const aside = `${path}.new`;
  const handle = await open(aside, "w", 0o600);
  try {
    const header = fileHeader();
    await writeAll(handle, header, 0);
    let end = header.length;
    const salt = saltOf(header, aside);
    const rest = items.map((item) => ({ item }));
    while (rest.length > 0) {
      const { bytes } = encodeFrame(takeFrame(rest).map((entry) => entry.item), end, salt);
      await writeAll(handle, bytes, end);
      end += bytes.length;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(aside, path);
  await syncDirectory(dirname(path));
}

/** A file's name is durable only when its folder is (cometbft#6031). */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function takeFrame<T extends { readonly item: Uint8Array }>(waiting: T[]): T[] {
  let bytes = 0;
  let count = 0;
  for (const { item } of waiting) {
    bytes += ITEM_HEADER_BYTES + item.length;
    if (count > 0 && bytes > FRAME_BYTES_MAX) break;
    count++;
  }
  return waiting.splice(0, count);
}

function encodeFrame(items: readonly Uint8Array[], start: number, salt: number): { bytes: Uint8Array; positions: Position[] } {
  const length = items.reduce((sum, item) => sum + ITEM_HEADER_BYTES + item.length, 0);
  const bytes = new Uint8Array(HEADER_BYTES + length);
  const view = new DataView(bytes.buffer);
  const positions: Position[] = [];
  let at = HEADER_BYTES;
  for (const item of items) {
    view.setUint32(at, item.length, true);
    view.setUint32(at + 4, crc32(item, salt), true);
    bytes.set(item, at + ITEM_HEADER_BYTES);
    positions.push({ offset: start + at + ITEM_HEADER_BYTES, length: item.length });
    at += ITEM_HEADER_BYTES + item.length;
  }
  view.setUint32(0, FRAME_MAGIC, true);
  view.setUint32(4, length, true);
  view.setUint32(8, crc32(bytes.subarray(HEADER_BYTES), salt), true);
  view.setUint32(12, crc32(bytes.subarray(0, 12), salt), true);
  return { bytes, positions };
}

/** Reads every whole frame; returns where the file ends, or throws when what follows is damage and not a torn tail. */
function readFrames(file: Uint8Array, salt: number, path: string, options: FrameFileOptions): number {
  let at = HEADER_BYTES;
  while (at < file.length) {
    const frame = frameAt(file, at, salt);
    if (frame === null) {
      if ((options.tailMayBeTorn ?? true) && isTorn(file, at, salt)) return at;
      throw new NodeError("record_corrupt", `Cannot read ${path} from byte ${at}: what is there was written whole and has changed since; restore the file from a copy, or start in an empty folder and sync`);
    }
    readItems(file, at + HEADER_BYTES, frame.end, path, options.onItem);
    at = frame.end;
  }
  return at;
}

function readItems(file: Uint8Array, start: number, end: number, path: string, onItem: (item: FoundItem) => void): void {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let at = start;
  while (at < end) {
    const length = at + ITEM_HEADER_BYTES <= end ? view.getUint32(at, true) : end;
    const offset = at + ITEM_HEADER_BYTES;
    if (offset + length > end) throw new NodeError("record_corrupt", `Cannot read ${path} at byte ${at}: an item is longer than its frame`);
    onItem({ offset, length, bytes: file.subarray(offset, offset + length) });
    at = offset + length;
  }
}

function frameAt(file: Uint8Array, at: number, salt: number): { end: number } | null {
  const header = headerAt(file, at, salt);
  if (header === null || header.end > file.length) return null;
  return crc32(file.subarray(at + HEADER_BYTES, header.end), salt) === header.crc ? { end: header.end } : null;
}

function headerAt(file: Uint8Array, at: number, salt: number): { end: number; crc: number } | null {
  if (at + HEADER_BYTES > file.length) return null;
  const view = new DataView(file.buffer, file.byteOffset + at, HEADER_BYTES);
  if (view.getUint32(0, true) !== FRAME_MAGIC || view.getUint32(12, true) !== crc32(file.subarray(at, at + 12), salt)) return null;
  return { end: at + HEADER_BYTES + view.getUint32(4, true), crc: view.getUint32(8, true) };
}

function isTorn(file: Uint8Array, at: number, salt: number): boolean {
  const rest = file.length - at;
  if (rest > HEADER_BYTES + FRAME_BYTES_MAX) return false;
  for (let next = indexOfMagic(file, at + 1); next >= 0; next = indexOfMagic(file, next + 1)) {
    if (frameAt(file, next, salt) !== null) return false;
  }
  if (rest < HEADER_BYTES) return true;
  const header = headerAt(file, at, salt);
  return (header !== null && header.end > file.length) || hasBlankSector(file, at);
}

function indexOfMagic(file: Uint8Array, from: number): number {
  return Buffer.from(file.buffer, file.byteOffset, file.byteLength).indexOf("GWF1", from, "latin1");
}

/** A sector is written whole or not at all, and reads as zeros when it was not. */
function hasBlankSector(file: Uint8Array, from: number): boolean {
  for (let start = from; start < file.length; ) {
    const end = Math.min(file.length, start - (start % SECTOR_BYTES) + SECTOR_BYTES);
    if (file.subarray(start, end).every((byte) => byte === 0)) return true;
    start = end;
  }
  return false;
}

function fileHeader(): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, FILE_MAGIC, true);
  bytes.set(randomBytes(8), 4);
  view.setUint32(12, crc32(bytes.subarray(0, 12)), true);
  return bytes;
}

function saltOf(file: Uint8Array, path: string): number {
  const view = new DataView(file.buffer, file.byteOffset, HEADER_BYTES);
  if (view.getUint32(0, true) !== FILE_MAGIC || view.getUint32(12, true) !== crc32(file.subarray(0, 12))) {
    throw new NodeError("record_corrupt", `Cannot read ${path}: its first ${HEADER_BYTES} bytes are not those of a godwit file`);
  }
  return crc32(file.subarray(4, 12));
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) done += (await handle.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
}
