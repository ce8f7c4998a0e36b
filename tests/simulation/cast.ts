/** Who misbehaves how: the table of the cast, and what a liar can do. None of them can forge a signature of somebody else. */

import { equivocator } from "./cast/equivocator.ts";
import { forker } from "./cast/forker.ts";
import { lateVoter } from "./cast/lateVoter.ts";
import { liarInSync } from "./cast/liarInSync.ts";
import { nuller } from "./cast/nuller.ts";
import { spammer } from "./cast/spammer.ts";
import { withholder } from "./cast/withholder.ts";
import type { Message, Node } from "./node.ts";
import type { Role } from "./scenario.ts";
import type { World } from "./world.ts";

/** It runs the honest rules, to stay plausible, and bends what they say. */
export type Liar = {
  /** It proposes as soon as it may. */
  readonly isHasty?: boolean;
  /** What leaves it, instead of going to everybody. */
  broadcast?(world: World, liar: Node, message: Message): void;
  /** True: this message is dealt with, and the honest rules do not see it. */
  answer?(world: World, liar: Node, message: Message, from: number): boolean;
  /** After the honest rules have seen a message. */
  heard?(world: World, liar: Node, message: Message): void;
};

export const CAST: Readonly<Record<Role, Liar>> = {
  equivocator, forker, nuller, withholder, spammer, "late voter": lateVoter, "liar in sync": liarInSync,
  // Never started at all.
  silent: {},
  // Two machines with one key, each honest, neither knowing of the other: a disk that was copied.
  twins: {},
};
