/**
 * Proposes on the block before the last notarized one, as if what came between had never been: it hopes that some have seen the
 * view between nullified, while it was final for others. It votes for its fork, and for both sides of every other.
 */

import { hex } from "#chain/types.ts";
import type { Liar } from "../cast.ts";
import { branchOff, forgeVote, signEverything, spread } from "./forging.ts";

export const forker: Liar = {
  isHasty: true,
  broadcast(world, liar, message) {
    if (message.kind !== "proposal") return spread(world, liar, message, 90);
    const fork = branchOff(world, liar, message.block);
    liar.blocks.set(hex(fork.id), fork);
    spread(world, liar, { ...message, block: fork }, 95);
    forgeVote(world, liar, "notarize", fork.view, fork.id, 90);
    forgeVote(world, liar, "finalize", fork.view, fork.id, 90);
  },
  heard: signEverything,
};
