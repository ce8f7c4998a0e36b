/** Gives up every view at once, whatever comes: it never notarizes, says nothing for, and nullifies also what it was about to finalize. */

import { next } from "#chain/consensus/state.ts";
import type { Liar } from "../cast.ts";
import { forgeVote } from "./forging.ts";

export const nuller: Liar = {
  broadcast(world, liar, message) {
    if (message.kind === "vote" && message.vote.kind !== "nullify") return;
    if (message.kind === "proposal") return;
    for (const { index } of world.nodes) world.send(liar, index, message);
  },
  heard(world, liar) {
    for (const view of [liar.state.view, next(liar.state.view)]) forgeVote(world, liar, "nullify", view, null, 100);
  },
};
