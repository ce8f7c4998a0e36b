/** The worlds that are run: by name, each with what it adds to the plain one. */

import type { Scenario } from "./world.ts";

const plain: Scenario = {
  name: "honest", weights: [1, 1, 1, 1], followers: 1, byzantineWeight: 0, silent: [], restarts: 0, blackout: false, lost: 0,
  gstMs: 10_000, tailMs: 15_000, dropPercent: 10, delayMsMax: 3_000, partitions: true, skewMsMax: 400, diskMsMax: 20, busyPercent: 10,
  blocksMin: 8,
};

export const SCENARIOS: readonly Scenario[] = [
  plain,
  { ...plain, name: "equivocator", byzantineWeight: 1, busyPercent: 60, blocksMin: 5 },
  { ...plain, name: "weights", weights: [3, 1, 1, 1, 1], byzantineWeight: 2, blocksMin: 5 },
  { ...plain, name: "restarts", restarts: 8, blocksMin: 5 },
  { ...plain, name: "restarts and a liar", restarts: 6, byzantineWeight: 1, blocksMin: 5 },
  { ...plain, name: "blackout", blackout: true },
  { ...plain, name: "blackout and a loss", blackout: true, lost: 1, tailMs: 40_000 },
  { ...plain, name: "blackout and a liar", blackout: true, byzantineWeight: 1, tailMs: 40_000 },
  { ...plain, name: "silent", silent: [2], partitions: false, dropPercent: 0, tailMs: 40_000 },
  { ...plain, name: "healing", dropPercent: 30, delayMsMax: 8_000, gstMs: 20_000 },
  { ...plain, name: "alone", weights: [5], restarts: 5, followers: 1 },
  { ...plain, name: "seven", weights: [1, 1, 1, 1, 1, 1, 1], byzantineWeight: 2, blocksMin: 5 },
];

export function scenario(name: string): Scenario {
  const found = SCENARIOS.find((s) => s.name === name);
  if (!found) throw new RangeError(`no scenario is called ${name}`);
  return found;
}
