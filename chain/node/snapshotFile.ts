/**
 * The newest snapshot of the final state, so that a start does not execute the chain from genesis.
 *
 *   DIR/snapshot   a frame file: [version, chainId, height, id, header, finalization, index items, archive items] · transaction
 *                  index … · archive … · chunks of the state …
 *
 * Written aside every SNAPSHOT_BLOCKS blocks and at an orderly stop, fsynced, and renamed over the one before, once its block is in
 * the store: a crash leaves the old one or the new one, whole. Encoding goes in slices between other work; the image was taken at
 * once. It saves time and decides nothing: one that is missing, damaged, of another chain or layout, ahead of the block store, or
 * whose root is not its block's, is put aside and the chain executed from genesis. `replay` never reads it.
 *
 * The chunks prove themselves against the header's state root, and the header is finalized: a new machine takes them from here
 * (`openChunks`) through any peer.
 */
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { CodecError, decode, encode } from "#chain/codec/cbor.ts";
import type { Genesis } from "#chain/codec/genesis.ts";
import { type BlockHeader, type Certificate, bytes, decodeCertificate, decodeHeader, encodeCertificate, encodeHeader, headerId, tuple, u32 } from "#chain/codec/schema.ts";
import type { Ledger } from "#chain/ledger/ledger.ts";
import type { Image } from "#chain/ledger/image.ts";
import { type Chunk, decodeArchive, decodeChunk, encodeArchive, encodeChunks, ledgerFrom, slotsOf } from "#chain/ledger/snapshot.ts";
import { type ChainId, type Digest, digest, hex } from "#chain/types.ts";
import type { ParentFacts } from "./blockCheck.ts";
import type { BlockStore } from "./blockStore.ts";
import { NodeError } from "./errors.ts";
import { FrameFile, type Position, replaceFrameFile } from "./frameFile.ts";
import { SNAPSHOT_SLICE_MS } from "./limits.ts";

/** Of this file and of the leaves in it. */
const LAYOUT_VERSION = 3;
const fileOf = (directory: string): string => join(directory, "snapshot");

type SnapshotHead = { readonly height: number; readonly id: Digest; readonly header: BlockHeader; readonly finalization: Certificate };
export type Snapshot = SnapshotHead & {
  readonly image: Image;
  /** Of the transaction index. */
  readonly index: readonly Uint8Array[];
};

/** As it was read: with a ledger in its state, and what a child of its block must fit. */
export type StoredSnapshot = Pick<Snapshot, "height" | "id" | "index"> & { readonly ledger: Ledger; readonly facts: ParentFacts };

/** False when `signal` made it give up, between two slices. */
export async function writeSnapshot(directory: string, chainId: ChainId, { height, id, header, finalization, image, index }: Snapshot, signal: AbortSignal): Promise<boolean> {
  const archives = image.archives.map(encodeArchive);
  const items: Uint8Array[] = [encodeHead({ height, id, header, finalization }, chainId, index.length, archives.length), ...index, ...archives];
  let since = performance.now();
  for (const chunk of encodeChunks(image)) {
    if (chunk !== null) items.push(chunk);
    if (performance.now() - since < SNAPSHOT_SLICE_MS) continue;
    await nextTurn();
    if (signal.aborted) return false;
    since = performance.now();
  }
  await replaceFrameFile(fileOf(directory), items);
  return true;
}

/** Chunks that others gave, each of which was verified, as if this node had written them. */
export const writeChunks = (directory: string, chainId: ChainId, head: SnapshotHead, chunks: readonly Uint8Array[]): Promise<void> =>
  replaceFrameFile(fileOf(directory), [encodeHead(head, chainId, 0, 0), ...chunks]);

const encodeHead = ({ height, id, header, finalization }: SnapshotHead, chainId: ChainId, indexCount: number, archiveCount: number): Uint8Array =>
  encode([LAYOUT_VERSION, chainId, height, id, encodeHeader(header), encodeCertificate(finalization), indexCount, archiveCount]);

/** The newest snapshot, if it fits the stored chain. What does not is taken away, and told as a warning. */
export async function readSnapshot(directory: string, genesis: Genesis, chainId: ChainId, blocks: BlockStore): Promise<StoredSnapshot | null> {
  const path = fileOf(directory);
  // Left by a crash while it was written.
  await rm(`${path}.new`, { force: true });
  if (!(await stat(path).then((found) => found.isFile(), () => false))) return null;
  try {
    return await read(path, genesis, chainId, blocks);
  } catch (error) {
    if (!(error instanceof NodeError) && !(error instanceof CodecError) && !(error instanceof RangeError)) throw error;
    process.emitWarning(`Cannot start from the snapshot ${path}, so all blocks are executed again: ${error.message}`, { code: "godwit_snapshot" });
    await rm(path);
    return null;
  }
}

async function read(path: string, genesis: Genesis, chainId: ChainId, blocks: BlockStore): Promise<StoredSnapshot> {
  const items: Uint8Array[] = [];
  const file = await FrameFile.open(path, { tailMayBeTorn: false, onItem: ({ bytes: item }) => items.push(item) });
  await file.close();
  const no = (why: string): never => { throw new NodeError("snapshot_unusable", why); };
  const { height, id, header, indexCount, archiveCount } = headFrom(items[0], chainId);
  const stored = blocks.read(height);
  if (stored === null || hex(stored.id) !== hex(id) || hex(headerId(header)) !== hex(id)) return no(`its block ${height} is not in the store`);
  const archivesAt = 1 + indexCount;
  const chunksAt = archivesAt + archiveCount;
  const ledger = ledgerFrom(genesis, { slots: slotsOf(decoded(items, chunksAt)), archives: items.slice(archivesAt, chunksAt).map(decodeArchive) });
  if (hex(ledger.state.root) !== hex(header.stateRoot)) no(`its state has root ${hex(ledger.state.root)}, which is not that of block ${height}`);
  const facts = { id: stored.id, height: header.height, view: header.view, timeMs: header.timeMs, moneySecond: header.moneySecond };
  return { height: header.height, id: stored.id, index: items.slice(1, archivesAt), ledger, facts };
}

/** One after the other, each let go of when it was read: all of a large state at once would be three times its size. */
function* decoded(items: Uint8Array[], from: number): Generator<Chunk, void> {
  for (let at = from; at < items.length; at++) {
    yield decodeChunk(items[at]!);
    items[at] = NONE;
  }
}
const NONE = new Uint8Array(0);

type Head = { readonly height: number; readonly id: Digest; readonly header: BlockHeader; readonly finalization: Certificate; readonly indexCount: number; readonly archiveCount: number };

function headFrom(item: Uint8Array | undefined, chainId: ChainId): Head {
  const no = (why: string): never => { throw new NodeError("snapshot_unusable", why); };
  const [version, chain, height, id, header, finalization, indexCount, archiveCount] = tuple(decode(item ?? encode([])), 8);
  if (version !== LAYOUT_VERSION) no(`its layout is ${String(version)}, not ${LAYOUT_VERSION}`);
  if (hex(bytes(chain, 8)) !== hex(chainId)) no("it is of another chain");
  return {
    height: u32(height), id: digest(bytes(id, 32)), header: decodeHeader(bytes(header)), finalization: decodeCertificate(bytes(finalization)),
    indexCount: u32(indexCount), archiveCount: u32(archiveCount),
  };
}

/** The newest snapshot as one gives it to others: a finalized header, and the chunks of the state after it. */
export type StoredChunks = Pick<Head, "height" | "header" | "finalization"> & {
  readonly count: number;
  /** null beyond the last one. */
  chunk(index: number): Uint8Array | null;
  close(): Promise<void>;
};

/** null when there is none. What was opened stays readable when a newer snapshot takes its place. */
export async function openChunks(directory: string, chainId: ChainId): Promise<StoredChunks | null> {
  const path = fileOf(directory);
  if (!(await stat(path).then((found) => found.isFile(), () => false))) return null;
  const places: Position[] = [];
  let first: Uint8Array | undefined;
  const file = await FrameFile.open(path, { tailMayBeTorn: false, onItem: ({ offset, length, bytes: item }) => {
    first ??= item.slice();
    places.push({ offset, length });
  } });
  const { height, header, finalization, indexCount, archiveCount } = headFrom(first, chainId);
  const at = 1 + indexCount + archiveCount;
  return {
    height, header, finalization, count: places.length - at, close: () => file.close(),
    chunk: (index) => (index < 0 || index >= places.length - at ? null : file.read(places[at + index]!)),
  };
}
