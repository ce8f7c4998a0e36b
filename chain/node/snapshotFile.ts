/**
 * The newest snapshot of the final state, so that a start does not execute the chain from genesis.
 *
 *   DIR/snapshot   a frame file: [version, chainId, height, id, index items] · transaction index … · state items …
 *
 * Written aside every SNAPSHOT_BLOCKS blocks and at an orderly stop, fsynced, and renamed over the one before, once its block is in
 * the store: a crash leaves the old one or the new one, whole. Encoding goes in slices between other work; the image was taken at
 * once. It saves time and decides nothing: one that is missing, damaged, of another chain or layout, ahead of the block store, or
 * whose root is not its block's, is put aside and the chain executed from genesis. `replay` never reads it.
 */
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type Cbor, CodecError, decode, encode } from "#chain/codec/cbor.ts";
import type { Genesis } from "#chain/codec/genesis.ts";
import { bytes, decodeBlock, tuple, u32 } from "#chain/codec/schema.ts";
import type { Ledger } from "#chain/ledger/ledger.ts";
import { type Image, decodeImage, encodeImage, ledgerFrom } from "#chain/ledger/snapshot.ts";
import { type ChainId, type Digest, hex } from "#chain/types.ts";
import type { ParentFacts } from "./blockCheck.ts";
import type { BlockStore } from "./blockStore.ts";
import { NodeError } from "./errors.ts";
import { FrameFile, replaceFrameFile } from "./frameFile.ts";
import { SNAPSHOT_SLICE_MS } from "./limits.ts";

/** Of this file and of the leaves in it. */
const LAYOUT_VERSION = 2;
const fileOf = (directory: string): string => join(directory, "snapshot");

export type Snapshot = { readonly height: number; readonly id: Digest; readonly image: Image; /** Of the transaction index. */ readonly index: readonly Uint8Array[] };

/** As it was read: with a ledger in its state, and what a child of its block must fit. */
export type StoredSnapshot = Snapshot & { readonly ledger: Ledger; readonly facts: ParentFacts };

/** False when `signal` made it give up, between two slices. */
export async function writeSnapshot(directory: string, chainId: ChainId, { height, id, image, index }: Snapshot, signal: AbortSignal): Promise<boolean> {
  const items: Uint8Array[] = [encode([LAYOUT_VERSION, chainId, height, id, index.length]), ...index];
  let since = performance.now();
  for (const item of encodeImage(image)) {
    items.push(item);
    if (performance.now() - since < SNAPSHOT_SLICE_MS) continue;
    await nextTurn();
    if (signal.aborted) return false;
    since = performance.now();
  }
  await replaceFrameFile(fileOf(directory), items);
  return true;
}

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
  const [version, chain, height, id, indexCount] = tuple(decode(items[0] ?? encode([])), 5) as [Cbor, Cbor, Cbor, Cbor, Cbor];
  if (version !== LAYOUT_VERSION) no(`its layout is ${String(version)}, not ${LAYOUT_VERSION}`);
  if (hex(bytes(chain, 8)) !== hex(chainId)) no("it is of another chain");
  const stored = blocks.read(u32(height));
  if (stored === null || hex(stored.id) !== hex(bytes(id, 32))) return no(`its block ${u32(height)} is not in the store`);
  const first = 1 + u32(indexCount);
  const image = decodeImage(items.slice(first));
  const ledger = ledgerFrom(genesis, image);
  const { header } = decodeBlock(stored.bytes);
  if (hex(ledger.state.root) !== hex(header.stateRoot)) no(`its state has root ${hex(ledger.state.root)}, which is not that of block ${u32(height)}`);
  const facts = { id: stored.id, height: header.height, view: header.view, timeMs: header.timeMs, moneySecond: header.moneySecond };
  return { height: header.height, id: stored.id, image, index: items.slice(1, first), ledger, facts };
}
