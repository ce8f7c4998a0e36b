/** Says nothing wrong, and everything late: its votes and proposals leave it up to four seconds after they were signed. */

import type { Liar } from "../cast.ts";

const LATE_MS_MAX = 4_000;

export const lateVoter: Liar = {
  broadcast(world, liar, message) {
    liar.later(world.chance.below(LATE_MS_MAX), () => {
      for (const { index } of world.nodes) world.send(liar, index, message);
    });
  },
};
