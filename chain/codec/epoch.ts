/**
 * Which epoch a height belongs to: epochs have `epochBlocks` blocks each, so the height alone says it.
 *
 * After the last block of an epoch its validators make *seals* until that block is final: empty blocks above it, with its
 * state, in its epoch. Nothing of a seal is kept: the next epoch's first block has the last block as its parent.
 */

import * as types from "../types.ts";
import type { Epoch, Height } from "../types.ts";
import type { BlockHeader } from "./schema.ts";

/** Block 0 belongs to epoch 0, before its first block. */
export const epochOf = (height: number, epochBlocks: number): Epoch => types.epoch(height === 0 ? 0 : ((height - 1) - ((height - 1) % epochBlocks)) / epochBlocks);

export const lastHeightOf = (epoch: number, epochBlocks: number): Height => types.height((epoch + 1) * epochBlocks);

/** The epoch in which a child of this final block is voted for. */
export const epochAfter = (height: number, epochBlocks: number): Epoch => epochOf(height + 1, epochBlocks);

export const isSeal = ({ height, epoch }: Pick<BlockHeader, "height" | "epoch">, epochBlocks: number): boolean => height > lastHeightOf(epoch, epochBlocks);
