/**
 * A node's newest snapshot with its block as one string of bytes, for whoever keeps it where the folder is memory (the vault of a boot server); and back: in an empty
 * folder it is what a join would have brought (joinedFolder.ts).
 *
 * Rules: bytes of another chain, version or layout are none. Each chunk proves itself against the block's state root, and all are there. That the block is final is believed,
 * as of the folder itself: so the bytes come from whoever wrote them, unchanged. A validator that begins so has no vote log (R12).
 */
import { CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { finalizes } from "#chain/codec/certificate.ts";
import { chainIdOf } from "#chain/codec/genesis.ts";
import { bytes as bytesIn, decodeCertificate, encodeCertificate, tuple, u32 } from "#chain/codec/schema.ts";
import { type Part, areAll, verifyChunk } from "#chain/ledger/snapshot.ts";
import { hex } from "#chain/types.ts";
import type { ChainNode } from "./chainNode.ts";
import { FOLDER_VERSION } from "./dataFolder.ts";
import { heldFromBytes } from "./heldBlocks.ts";
import { holdsChain, writeJoinedState } from "./joinedFolder.ts";

export type KeptSnapshot = { readonly height: number; readonly bytes: Uint8Array };
const FORMAT = 1;
const LENGTH_BYTES = 4;

/** Null: there is none that could be kept, or it has more than `bytesMax`. */
export async function packSnapshot(node: Pick<ChainNode, "chainId" | "block" | "newestSnapshot">, bytesMax: number): Promise<KeptSnapshot | null> {
  const chunks = await node.newestSnapshot();
  if (chunks === null) return null;
  try {
    const block = node.block(chunks.height);
    if (block === null) return null;
    const items = [encode([FORMAT, FOLDER_VERSION, node.chainId, chunks.count]), block.bytes, encodeCertificate(chunks.finalization)];
    let length = lengthOf(items);
    for (let index = 0; index < chunks.count; index++) {
      const chunk = chunks.chunk(index)!;
      length += LENGTH_BYTES + chunk.length;
      if (length > bytesMax) return null;
      items.push(chunk);
    }
    return { height: chunks.height, bytes: framed(items) };
  } finally {
    await chunks.close();
  }
}

/** The height at which the folder begins now; null: the bytes are none of this chain, or there is a chain in the folder already. */
export async function unpackSnapshot(directory: string, genesis: Uint8Array, bytes: Uint8Array): Promise<number | null> {
  const chainId = chainIdOf(genesis);
  if (await holdsChain(directory)) return null;
  const [head, block, certificate, ...chunks] = items(bytes);
  if (head === undefined || block === undefined || certificate === undefined || !isOurs(head, chainId, chunks.length)) return null;
  const held = heldFromBytes(block);
  const finalization = decodeCertificate(certificate);
  const { header } = held.block;
  if (hex(header.chainId) !== hex(chainId) || !finalizes(finalization, held.ref.id)) return null;
  const parts: Part[] = [];
  for (const chunk of chunks) {
    const verdict = verifyChunk(header.stateRoot, chunk);
    if (!verdict.ok) return null;
    parts.push(verdict.part);
  }
  if (!areAll(parts)) return null;
  await writeJoinedState(directory, held, finalization, chunks);
  return held.ref.height;
}

function isOurs(head: Uint8Array, chainId: Uint8Array, chunkCount: number): boolean {
  try {
    const [format, version, chain, count] = tuple(decode(head), 4);
    return u32(format) === FORMAT && u32(version) === FOLDER_VERSION && hex(bytesIn(chain, 8)) === hex(chainId) && u32(count) === chunkCount;
  } catch (error) {
    if (error instanceof CodecError) return false;
    throw error;
  }
}

const lengthOf = (all: readonly Uint8Array[]): number => all.reduce((sum, item) => sum + LENGTH_BYTES + item.length, 0);

function framed(all: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(lengthOf(all));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const item of all) {
    view.setUint32(at, item.length);
    out.set(item, at + LENGTH_BYTES);
    at += LENGTH_BYTES + item.length;
  }
  return out;
}

/** As many as are whole. */
function items(bytes: Uint8Array): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: Uint8Array[] = [];
  for (let at = 0; at + LENGTH_BYTES <= bytes.length;) {
    const end = at + LENGTH_BYTES + view.getUint32(at);
    if (end > bytes.length) return [];
    found.push(bytes.slice(at + LENGTH_BYTES, end));
    at = end;
  }
  return found;
}
