/**
 * Blocks that are not final yet, by id: proposals seen, blocks fetched, blocks built here. Which are worth holding consensus
 * decides (`wantsProposal`, its own requests); here they only wait with their bytes, and leave when their height or their view is
 * final: then consensus has forgotten them, and a liar's block of a high height would stay for long.
 */
import type { BlockRef } from "#chain/consensus/events.ts";
import { BLOCKS_HELD_MAX } from "#chain/constants.ts";
import { type Block, decodeBlock, encodeBlock, headerId } from "#chain/codec/schema.ts";
import { type Digest, type Hex, type Signature, hex } from "#chain/types.ts";

export type HeldBlock = {
  readonly ref: BlockRef;
  readonly block: Block;
  readonly bytes: Uint8Array;
  /** Of the leader; null when the block came without its proposal. */
  readonly signature: Signature | null;
};

export function heldBlock(block: Block, signature: Signature | null, bytes: Uint8Array = encodeBlock(block)): HeldBlock {
  const { view, height, parentView, parentId, timeMs } = block.header;
  return { ref: { id: headerId(block.header), view, height, parentView, parentId, timeMs }, block, bytes, signature };
}
export const heldFromBytes = (bytes: Uint8Array): HeldBlock => heldBlock(decodeBlock(bytes), null, bytes);

export class HeldBlocks {
  readonly #blocks = new Map<Hex, HeldBlock>();

  /** False when there is no room: consensus holds no more than this either. */
  add(held: HeldBlock): boolean {
    const key = hex(held.ref.id);
    const before = this.#blocks.get(key);
    if (!before && this.#blocks.size >= BLOCKS_HELD_MAX) return false;
    if (!before || before.signature === null) this.#blocks.set(key, held);
    return true;
  }
  get(id: Digest): HeldBlock | null {
    return this.#blocks.get(hex(id)) ?? null;
  }
  prune(heightFinal: number, viewFinal: number): void {
    for (const [key, { ref }] of this.#blocks) if (ref.height <= heightFinal || ref.view <= viewFinal) this.#blocks.delete(key);
  }
}
