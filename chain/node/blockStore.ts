/**
 * The final blocks of one node on its disk, in order of height without a gap: from 1, or from the block of a snapshot with which the
 * node joined (join.ts), or from the first file that `prune` has left.
 *
 *   DIR/000001.blocks, 000002.blocks …   frame files (frameFile.ts); an item is CBOR [height, id, block, certificate, results]
 *
 * Append only. Every block is fsynced before the next is written; a torn tail is cut off at opening, and the blocks it held
 * come again from the vote log or from peers. Damage anywhere else, a gap, or a parent that is not the block before is an
 * error: `record_corrupt`, `block_store_gap`. `results` (outcomes and events as the executor encoded them) ride along, so
 * that a question about an old block reads one item; they are no part of what is agreed, and replay recomputes them.
 */
import { mkdir, readdir, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Cbor, decode, encode } from "#chain/codec/cbor.ts";
import { type Digest, type Height, digest, height } from "#chain/types.ts";
import { NodeError } from "./errors.ts";
import { FrameFile, type FrameFileOptions, type Position, syncDirectory } from "./frameFile.ts";
import { SEGMENT_BYTES_MAX } from "./limits.ts";

export type StoredBlock = {
  readonly height: Height;
  readonly id: Digest;
  readonly bytes: Uint8Array;
  /** Of this block, or of the descendant that made it final. */
  readonly certificate: Uint8Array;
  readonly results: Uint8Array;
};
type Place = { readonly file: FrameFile; readonly position: Position };

export type BlockStoreOptions = { readonly segmentBytesMax?: number; readonly sync?: FrameFileOptions["sync"] };

export class BlockStore {
  readonly #directory: string;
  readonly #options: BlockStoreOptions;
  readonly #segments: FrameFile[] = [];
  /** Height of the block before the first one: 0 unless the node joined later. */
  #base = 0;
  /** Place of height h at h − 1 − base; a block is here only once it is on the disk. */
  #places: Place[] = [];
  #segmentNext = 1;
  #rolls = false;
  /** Appended and not yet on the disk. */
  readonly #pending = new Map<number, StoredBlock>();
  #heightAppended = 0;
  #appends: Promise<void> = Promise.resolve();

  private constructor(directory: string, options: BlockStoreOptions) {
    this.#directory = directory;
    this.#options = options;
  }

  static async open(directory: string, options: BlockStoreOptions = {}): Promise<BlockStore> {
    const store = new BlockStore(directory, options);
    try {
      await store.#openSegments();
    } catch (error) {
      await store.close();
      throw error;
    }
    return store;
  }

  /** The height of the newest block, on the disk or on its way there; 0 when there is none. */
  get height(): Height {
    return height(this.#heightAppended);
  }
  /** The newest block that a power cut cannot take away. */
  get heightDurable(): Height {
    return height(this.#heightWritten);
  }
  get #heightWritten(): number {
    return this.#places.length === 0 ? 0 : this.#base + this.#places.length;
  }
  /** The oldest block that is here; 0 when there is none. */
  get heightFirst(): Height {
    return height(this.#heightAppended === 0 ? 0 : this.#base + 1);
  }
  get repairedBytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.repairedBytes, 0);
  }

  /** Resolves when the block is on the disk. Blocks come in order of height. */
  append(block: StoredBlock): Promise<void> {
    if (block.height !== this.#heightAppended + 1) throw new NodeError("block_store_gap", `Cannot store block ${block.height} as the newest one is ${this.#heightAppended}`);
    this.#heightAppended = block.height;
    this.#pending.set(block.height, block);
    const write = this.#appends.then(() => this.#write(block));
    this.#appends = write;
    // The caller hears of it through `write`; the chain of appends alone must not be an unhandled rejection.
    write.catch(() => undefined);
    return write;
  }

  /** The first block of an empty store, at any height. */
  appendFirst(block: StoredBlock): Promise<void> {
    if (this.#heightAppended > 0) throw new NodeError("block_store_gap", `Cannot begin at block ${block.height}: there are blocks already`);
    this.#base = block.height - 1;
    this.#heightAppended = this.#base;
    return this.append(block);
  }

  read(at: number): StoredBlock | null {
    const pending = this.#pending.get(at);
    if (pending) return pending;
    const place = this.#places[at - 1 - this.#base];
    if (!place) return null;
    const block = decodeItem(place.file.read(place.position), place.file.path);
    if (block.height !== at) throw new NodeError("record_corrupt", `Cannot read block ${at} from ${place.file.path}: block ${block.height} is in its place`);
    return block;
  }

  /** The next block begins a new file, so that what comes before it can be pruned. */
  roll(): void {
    this.#appends = this.#appends.then(() => { this.#rolls = true; });
  }
  /** Deletes the files, oldest first, all of whose blocks are below this height; never the last one. */
  prune(below: number): Promise<void> {
    const work = this.#appends.then(async () => {
      for (let [oldest, next] = this.#segments; oldest && next; [oldest, next] = this.#segments) {
        const gone = oldest;
        const count = this.#places.findIndex(({ file }) => file !== gone);
        if (count < 0 || this.#base + count >= below) return;
        this.#segments.shift();
        this.#places = this.#places.slice(count);
        this.#base += count;
        await gone.close();
        await unlink(gone.path);
        await syncDirectory(this.#directory);
      }
    });
    this.#appends = work;
    work.catch(() => undefined);
    return work;
  }

  /** Resolves when all that was appended is on the disk. */
  settled(): Promise<void> {
    return this.#appends;
  }

  async close(): Promise<void> {
    await this.#appends.catch(() => undefined);
    for (const segment of this.#segments) await segment.close();
  }

  async #write(block: StoredBlock): Promise<void> {
    const item = encode([block.height, block.id, block.bytes, block.certificate, block.results]);
    let file = this.#segments.at(-1);
    if (!file || this.#rolls || file.bytesTotal + item.length > (this.#options.segmentBytesMax ?? SEGMENT_BYTES_MAX)) {
      file = await this.#openSegment(this.#segmentNext, true);
      this.#rolls = false;
    }
    const position = await file.append(item);
    this.#places.push({ file, position });
    this.#pending.delete(block.height);
  }

  async #openSegments(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await syncDirectory(dirname(this.#directory));
    const names = (await readdir(this.#directory)).filter((name) => name.endsWith(".blocks")).sort();
    // Files before the first one were pruned; what is missing between two is lost.
    const first = names[0] === undefined ? 1 : Number.parseInt(names[0], 10);
    for (const [index, name] of names.entries()) {
      if (name !== segmentName(first + index)) throw new NodeError("block_store_gap", `Cannot open ${this.#directory}: ${segmentName(first + index)} is missing before ${name}`);
      await this.#openSegment(first + index, index === names.length - 1);
    }
    this.#heightAppended = this.#heightWritten;
  }

  async #openSegment(number: number, tailMayBeTorn: boolean): Promise<FrameFile> {
    const path = join(this.#directory, segmentName(number));
    const found: Position[] = [];
    const file = await FrameFile.open(path, {
      tailMayBeTorn,
      ...(this.#options.sync ? { sync: this.#options.sync } : {}),
      onItem: ({ offset, length, bytes }) => {
        const at = decodeItem(bytes, path).height;
        if (this.#places.length + found.length === 0) this.#base = at - 1;
        const expected = this.#base + this.#places.length + found.length + 1;
        if (at !== expected) throw new NodeError("block_store_gap", `Cannot open ${path}: block ${at} is where block ${expected} belongs`);
        found.push({ offset, length });
      },
    });
    this.#segments.push(file);
    this.#segmentNext = number + 1;
    for (const position of found) this.#places.push({ file, position });
    return file;
  }
}

const segmentName = (number: number): string => `${String(number).padStart(6, "0")}.blocks`;

function decodeItem(item: Uint8Array, path: string): StoredBlock {
  try {
    const [at, id, bytes, certificate, results] = decode(item) as [Cbor, Cbor, Cbor, Cbor, Cbor];
    if (bytes instanceof Uint8Array && certificate instanceof Uint8Array && results instanceof Uint8Array) {
      return { height: height(at as number), id: digest(id as Uint8Array), bytes, certificate, results };
    }
  } catch (cause) {
    throw new NodeError("record_corrupt", `Cannot read a block of ${path}: ${String(cause)}`, { cause });
  }
  throw new NodeError("record_corrupt", `Cannot read a block of ${path}: it is not five fields`);
}
