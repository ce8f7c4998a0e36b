/**
 * Floods: votes for views far ahead and long ago, votes in the name of others with signatures that do not hold, a dozen proposals of
 * one view, requests without end. What others keep of it must stay bounded.
 */

import { VIEWS_AHEAD_MAX } from "#chain/constants.ts";
import { sha256 } from "#chain/crypto.ts";
import { hex, signature, timeMs, view } from "#chain/types.ts";
import type { Liar } from "../cast.ts";
import type { Node } from "../node.ts";
import type { World } from "../world.ts";
import { forgeVote, spread } from "./forging.ts";

const PROPOSALS = 12;

export const spammer: Liar = {
  isHasty: true,
  broadcast(world, liar, message) {
    spread(world, liar, message, 100);
    if (message.kind !== "proposal") return;
    for (let i = 0; i < PROPOSALS; i++) {
      const parent = liar.blocks.get(hex(message.block.parentId)) ?? world.genesis;
      spread(world, liar, { ...message, block: world.makeBlock({ ...message.block, parent, timeMs: timeMs(message.block.timeMs + BigInt(i)), salt: 3_000 + i }) }, 50);
    }
  },
  heard(world, liar) {
    if (world.chance.percent(20)) flood(world, liar);
  },
};

function flood(world: World, liar: Node): void {
  const { chance } = world;
  const { configuration: { chainId, epoch, weights }, view: now } = liar.state;
  const id = sha256(new Uint8Array([chance.below(256)]));
  forgeVote(world, liar, chance.pick(["notarize", "finalize"]), view(now + chance.below(2 * VIEWS_AHEAD_MAX)), id, 50);
  forgeVote(world, liar, "nullify", view(Math.max(1, now - chance.below(20))), null, 50);
  const of = view(now + chance.below(4));
  spread(world, liar, { kind: "vote", vote: { kind: "notarize", chainId, epoch, view: of, id, validator: chance.below(weights.length), signature: signature(new Uint8Array(64)) } }, 50);
  spread(world, liar, { kind: "request", request: chance.percent(50) ? { kind: "blockRequest", id } : { kind: "certificateRequest", certificateKind: "notarize", view: of } }, 50);
}
