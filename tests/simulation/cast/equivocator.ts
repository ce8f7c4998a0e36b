/**
 * Proposes two blocks to two halves of the others, some of them blocks that do not execute or of a wrong height, signs whatever it
 * sees, three kinds of vote for one view if chance will have it, and tells everyone something else.
 */

import { hex, timeMs } from "#chain/types.ts";
import type { Liar } from "../cast.ts";
import type { Message, Node } from "../node.ts";
import type { World } from "../world.ts";
import { branchOff, forgeVote, signEverything, spread } from "./forging.ts";

export const equivocator: Liar = {
  isHasty: true,
  broadcast(world, liar, message) {
    if (message.kind === "proposal" && world.chance.percent(80)) proposeTwice(world, liar, message);
    else spread(world, liar, message, 80);
  },
  heard: signEverything,
};

function proposeTwice(world: World, liar: Node, message: Message & { kind: "proposal" }): void {
  const { block } = message;
  const other = world.chance.percent(50) ? branchOff(world, liar, block) : world.makeBlock({
    ...block, parent: liar.blocks.get(hex(block.parentId)) ?? world.genesis, timeMs: timeMs(block.timeMs + 1n), valid: world.chance.percent(70), salt: 1_000,
    heightStep: world.chance.percent(85) ? 1 : world.chance.pick([0, 2]),
  });
  liar.blocks.set(hex(other.id), other);
  const second: Message = { ...message, block: other };
  // Halves that see one each, some that see both; or nearly all see only the second.
  const secondFrom = world.chance.percent(50) ? 35 : 5;
  for (const { index } of world.nodes) {
    const draw = world.chance.below(100);
    if (draw < secondFrom + 30) world.send(liar, index, message);
    if (draw >= secondFrom) world.send(liar, index, second);
  }
  for (const { id } of [block, other]) {
    for (const kind of ["notarize", "finalize"] as const) forgeVote(world, liar, kind, block.view, id, 70);
  }
  forgeVote(world, liar, "nullify", block.view, null, 50);
}
