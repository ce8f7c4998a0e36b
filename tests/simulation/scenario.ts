/** What a simulated world is made of: its validators and who of them misbehaves, its network, clocks, disks and faults. */

/** Who misbehaves, and how: one file each in `cast/`. */
export const ROLES = ["equivocator", "forker", "silent", "nuller", "late voter", "withholder", "liar in sync", "twins", "spammer"] as const;
export type Role = (typeof ROLES)[number];

export type Partition = "none" | "random" | "half" | "ring" | "single" | "bridge" | "one way" | "split";

export type Scenario = {
  readonly name: string;
  /** By epoch, from the first on, the last one for ever: the weight of each validator, by machine; 0: it is none in this epoch. */
  readonly weights: readonly (readonly number[])[];
  /** Blocks of an epoch; null: one epoch for ever. */
  readonly epochBlocks: number | null;
  /** Nodes without weight, which only follow. */
  readonly followers: number;
  /** So much weight (of the first epoch) plays each role, drawn by the seed. */
  readonly cast: readonly { readonly role: Role; readonly weight: number }[];

  /** The delay that the validators believe the network to keep; it needs up to `calmMs`. */
  readonly deltaMs: number;
  /** Until it calms down (GST) the network is bad; afterwards it delivers within a delta. */
  readonly gstMs: number;
  /** Afterwards a message takes so long at least, and at most. */
  readonly calmMs: readonly [number, number];
  /** A node checks signatures one after the other, so long each; 0: in no time. */
  readonly checkUs: number;
  readonly blockIntervalMs: number;
  readonly tailMs: number;
  readonly dropPercent: number;
  readonly duplicatePercent: number;
  readonly delayMsMax: number;
  readonly partition: Partition;
  /** Messages of one honest validator, drawn by the seed, take this long, and for good. */
  readonly slowMs: number;

  /** Clocks are off by at most so much, to either side. */
  readonly skewMsMax: number;
  /** One more honest validator's clock, which nobody depends on: off by so much for good. */
  readonly oddClockMs: number;
  /** … or it stops in the middle of the bad time. */
  readonly stopsClock: boolean;

  readonly diskMsMax: number;
  readonly restarts: number;
  readonly downMsMax: number;
  /** What a restart finds: all that was flushed; that but the blocks; or nothing (R12). */
  readonly finds: "all" | "votes" | "nothing";
  /** Restarts without memory wait until nobody else is mute; else they come as they come. */
  readonly isCareful: boolean;
  /** So many times one is away until the others are two epochs further and have pruned what it lacks: it begins anew with the snapshot of one of them. */
  readonly away: number;
  /** So many validators lose their memory at the same time, in the middle. */
  readonly forgetful: number;
  /** Dies now and then just as it proposes, and with a machine dies what it said and nobody has heard yet. */
  readonly diesSpeaking: boolean;
  /** That is too many: none of them may ever sign again. */
  readonly mustHalt: boolean;
  /** All machines lose their power at once, so many times in the bad time. */
  readonly blackouts: number;
  /** So many of them, of the honest, never come back from the first. */
  readonly lost: number;

  /** Percent of half seconds in which a node's waiting transactions come or go. */
  readonly busyPercent: number;
  /** Blocks hold transactions of the real ledger. */
  readonly ledger: boolean;
  /** Least blocks between GST and the end, on the slowest honest node; null: nothing is promised but safety. */
  readonly blocksMin: number | null;
  /** More than a third misbehaves: a fork may be, and then it proves them all. */
  readonly mayFork: boolean;
};
