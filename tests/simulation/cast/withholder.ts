/**
 * Tells its proposals to few, without the justification that goes along, and never gives out a block or a certificate that it is
 * asked for: what only it has must not hold up the others.
 */

import type { Liar } from "../cast.ts";
import { spread } from "./forging.ts";

export const withholder: Liar = {
  isHasty: true,
  broadcast(world, liar, message) {
    if (message.kind !== "proposal") return spread(world, liar, message, 100);
    spread(world, liar, world.chance.percent(50) ? { ...message, justification: [] } : message, world.chance.pick([30, 60, 90]));
  },
  answer: (_world, _liar, message) => message.kind === "request",
};
