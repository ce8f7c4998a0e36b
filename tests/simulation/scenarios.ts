/**
 * The worlds that are run: by name, each with what it adds to the plain one. They are the scenarios of the design report,
 * §7.3: network, process, misbehaving validators, membership, application.
 */

import type { Role, Scenario } from "./scenario.ts";

export const plain: Scenario = {
  name: "honest", weights: [[1, 1, 1, 1]], epochBlocks: null, followers: 1, deltaMs: 100, cast: [],
  gstMs: 8_000, calmMs: [5, 104], checkUs: 0, blockIntervalMs: 50, tailMs: 12_000, dropPercent: 10, duplicatePercent: 2, delayMsMax: 3_000, partition: "random", slowMs: 0,
  skewMsMax: 400, oddClockMs: 0, stopsClock: false, diskMsMax: 20, restarts: 0, downMsMax: 3_000, finds: "all", isCareful: true, away: 0, forgetful: 0, mustHalt: false, diesSpeaking: false,
  blackouts: 0, lost: 0, busyPercent: 10, ledger: false, blocksMin: 6, mayFork: false,
};
const seven = [1, 1, 1, 1, 1, 1, 1];
const one = (role: Role): Scenario["cast"] => [{ role, weight: 1 }];
const world = (name: string, changes: Partial<Scenario>): Scenario => ({ ...plain, name, ...changes });

/** Networks. */
export const NETWORKS: readonly Scenario[] = [
  plain,
  world("a third of all messages is lost", { dropPercent: 30, delayMsMax: 6_000, tailMs: 15_000 }),
  world("everything comes twice, in any order", { duplicatePercent: 100, dropPercent: 0 }),
  ...(["half", "ring", "single", "bridge", "one way"] as const).map((partition) => world(`partition: ${partition}`, { partition })),
  world("one slow validator", { slowMs: 1_500, tailMs: 20_000, blocksMin: 5 }),
  world("a network slower than delta", { deltaMs: 10, dropPercent: 0, tailMs: 20_000 }),
  world("alone", { weights: [[5]], restarts: 5 }),
  world("weights", { weights: [[3, 1, 1, 1, 1]], cast: [{ role: "equivocator", weight: 2 }], blocksMin: 5 }),
  world("a third and one more", { weights: [[3, 2, 2, 2]], cast: [{ role: "silent", weight: 2 }], tailMs: 20_000, blocksMin: 4 }),
];

/** Machines, clocks and disks. */
export const FAULTS: readonly Scenario[] = [
  world("restarts", { restarts: 8, blocksMin: 5 }),
  world("restarts without the blocks", { restarts: 6, finds: "votes", blocksMin: 4 }),
  world("restarts and a liar", { restarts: 6, cast: one("equivocator"), tailMs: 20_000, blocksMin: 5 }),
  world("restart storm", { restarts: 40, downMsMax: 800, diskMsMax: 60, tailMs: 15_000, blocksMin: 4 }),
  world("blackout", { blackouts: 2 }),
  world("blackout and a loss", { blackouts: 1, lost: 1, diskMsMax: 100, gstMs: 10_000, tailMs: 20_000 }),
  world("blackout and a liar", { blackouts: 2, cast: one("equivocator"), tailMs: 30_000 }),
  world("no disk", { restarts: 5, finds: "nothing", tailMs: 15_000, blocksMin: 4 }),
  world("no disk and a liar of seven", { weights: [seven], restarts: 4, finds: "nothing", cast: one("equivocator"), tailMs: 15_000, blocksMin: 4 }),
  world("no disk, again and again", { restarts: 20, downMsMax: 40, busyPercent: 100, diesSpeaking: true, gstMs: 12_000, finds: "nothing", tailMs: 12_000, blocksMin: 4 }),
  world("no disk, carelessly", { restarts: 12, finds: "nothing", isCareful: false, blocksMin: null }),
  world("two forget at once", { weights: [seven], forgetful: 2, tailMs: 15_000, blocksMin: 4 }),
  world("more than a third forget at once", { forgetful: 2, mustHalt: true, blocksMin: null }),
  world("a clock five seconds fast", { oddClockMs: 5_000, tailMs: 20_000, blocksMin: 4 }),
  world("a clock five seconds slow", { oddClockMs: -5_000, tailMs: 20_000, blocksMin: 4 }),
  world("a clock that stops", { stopsClock: true, tailMs: 20_000, blocksMin: 4 }),
];

/** The cast. */
export const LIARS: readonly Scenario[] = [
  world("equivocator", { cast: one("equivocator"), busyPercent: 60, blocksMin: 5 }),
  world("forker", { cast: one("forker"), busyPercent: 60, blocksMin: 5 }),
  world("silent", { cast: one("silent"), partition: "none", dropPercent: 0, tailMs: 20_000 }),
  world("nuller", { cast: one("nuller"), tailMs: 20_000 }),
  world("late voter", { cast: one("late voter"), tailMs: 20_000 }),
  world("withholder", { cast: one("withholder"), tailMs: 20_000, blocksMin: 5 }),
  world("liar in sync", { cast: one("liar in sync"), restarts: 3, finds: "votes", blocksMin: 4 }),
  world("liar in sync, no disk, of seven", { weights: [seven], cast: one("liar in sync"), restarts: 3, finds: "nothing", tailMs: 15_000, blocksMin: 4 }),
  world("twins", { cast: one("twins"), busyPercent: 60, blocksMin: 5 }),
  world("spammer", { cast: one("spammer"), gstMs: 5_000, tailMs: 8_000, blocksMin: 3 }),
  world("two liars of seven", { weights: [seven], cast: [{ role: "equivocator", weight: 1 }, { role: "forker", weight: 1 }], gstMs: 6_000, blocksMin: 5 }),
  world("more than a third lies", { cast: [{ role: "equivocator", weight: 2 }], partition: "split", dropPercent: 0, delayMsMax: 500, blocksMin: null, mayFork: true }),
  world("more than a third forks", { weights: [seven], cast: [{ role: "forker", weight: 3 }], partition: "split", dropPercent: 0, delayMsMax: 500, gstMs: 6_000, tailMs: 6_000, blocksMin: null, mayFork: true }),
  world("more than a third are twins", { cast: [{ role: "twins", weight: 2 }], partition: "split", dropPercent: 0, delayMsMax: 500, gstMs: 6_000, tailMs: 6_000, blocksMin: null, mayFork: true }),
];

/** Membership: sets that change at epochs, of six blocks so that a world sees many. */
export const EPOCHS: readonly Scenario[] = [
  world("epochs", { epochBlocks: 6, blocksMin: 5 }),
  world("epochs: four, seven, five", { weights: [[1, 1, 1, 1, 0, 0, 0], [...seven], [0, 1, 1, 1, 1, 1, 0]], epochBlocks: 6, blocksMin: 5 }),
  world("epochs and a liar", { weights: [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]], epochBlocks: 5, cast: one("equivocator"), blocksMin: 4 }),
  world("epochs and restarts", { epochBlocks: 6, restarts: 8, blocksMin: 4 }),
  world("epochs and a blackout", { epochBlocks: 4, blackouts: 2, lost: 1, tailMs: 30_000, blocksMin: 4 }),
  world("epochs, no disk", { epochBlocks: 6, restarts: 4, finds: "nothing", tailMs: 18_000, blocksMin: 4 }),
  world("away for epochs", { epochBlocks: 5, away: 3, busyPercent: 60, tailMs: 25_000, blocksMin: 4 }),
  world("away for epochs, out of the set and in again", { weights: [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1]], epochBlocks: 5, away: 4, busyPercent: 60, tailMs: 25_000, blocksMin: 4 }),
  world("away for epochs, and a liar of seven", { weights: [seven], epochBlocks: 5, away: 3, cast: one("equivocator"), busyPercent: 60, tailMs: 25_000, blocksMin: 4 }),
  world("away for epochs, no disk", { epochBlocks: 5, away: 3, finds: "nothing", busyPercent: 60, tailMs: 25_000, blocksMin: 4 }),
  world("one validator gets more than a third", { weights: [[1, 1, 1, 1], [2, 1, 1, 1], [3, 1, 1, 1]], epochBlocks: 6, blocksMin: 4 }),
];

/** The real ledger in every node. */
export const LEDGERS: readonly Scenario[] = [
  world("ledger", { ledger: true, busyPercent: 50, gstMs: 6_000, tailMs: 12_000, blocksMin: 4 }),
  world("ledger, a liar and restarts", { ledger: true, busyPercent: 50, gstMs: 6_000, tailMs: 18_000, cast: one("equivocator"), restarts: 4, blocksMin: 4 }),
  world("ledger and epochs", { ledger: true, busyPercent: 50, gstMs: 5_000, tailMs: 16_000, epochBlocks: 6, cast: one("forker"), blocksMin: 4 }),
];

export const SCENARIOS: readonly Scenario[] = [...NETWORKS, ...FAULTS, ...LIARS, ...EPOCHS, ...LEDGERS];

export function scenario(name: string): Scenario {
  const found = SCENARIOS.find((s) => s.name === name);
  if (!found) throw new RangeError(`no scenario is called ${name}`);
  return found;
}
