/**
 * Where replicas would be placed now, at which rate, and what stands in the way: the ledger's rule of placement (chain/ledger/placement.ts)
 * over what a machine's API says of the others. Between machines that are equal in everything the ledger draws by a hash that nobody
 * knows yet; here the one with the smaller id comes first. Pure.
 */
import { type Need as LeaseNeed, type Obstacle, type Rank, compareRanks, obstacleOf, rateOf } from "#chain/ledger/offer.ts";
import type { Deployment, Machine } from "./answers.ts";

export type Need = LeaseNeed & { readonly replicas: number };
export type Placed = { readonly index: number; readonly machine: string; readonly rate: bigint };
export type Forecast = {
  readonly placed: readonly Placed[];
  /** Indices that no machine takes, and what is in the way on how many. */
  readonly unplaced: readonly number[];
  readonly obstacles: ReadonlyMap<Obstacle, number>;
  /** The least rate that any machine that is up asks, whether it has room or not; null when none is up. */
  readonly cheapest: bigint | null;
};

export function forecast(need: Need, machines: readonly Machine[], second: bigint): Forecast {
  const rooms = machines.map((machine): Room => ({ ...machine, up: machine.state === "up", shared: 0 }));
  const operators = new Map<string, number>();
  const placed: Placed[] = [];
  const unplaced: number[] = [];
  const obstacles = new Map<Obstacle, number>();
  for (let index = 0; index < need.replicas; index++) {
    const fitting = rooms.filter((machine) => obstacleOf(need, machine, machine.operator, second) === null).toSorted((a, b) => compare(need, operators, a, b));
    const [best] = fitting;
    if (best === undefined) {
      unplaced.push(index);
      continue;
    }
    placed.push({ index, machine: best.id, rate: rateOf(best, need.memoryMib, need.cpuMillis) });
    best.memoryMibUsed += need.memoryMib;
    best.cpuMillisUsed += need.cpuMillis;
    best.leases += 1;
    best.shared += 1;
    operators.set(best.operator, (operators.get(best.operator) ?? 0) + 1);
  }
  if (unplaced.length > 0) {
    for (const machine of rooms) {
      const obstacle = obstacleOf(need, machine, machine.operator, second);
      if (obstacle !== null) obstacles.set(obstacle, (obstacles.get(obstacle) ?? 0) + 1);
    }
  }
  const rates = machines.filter(({ state }) => state === "up").map((machine) => rateOf(machine, need.memoryMib, need.cpuMillis));
  return { placed, unplaced, obstacles, cheapest: rates.length === 0 ? null : rates.reduce((a, b) => (a < b ? a : b)) };
}

const WORDS: Readonly<Record<Obstacle, string>> = {
  draining: "being emptied", region_other: "of another region", operator_other: "of another operator", label_missing: "without the labels",
  not_up: "not up", resting: "resting after a failure", leases_full: "with all the leases it may have", memory_full: "without the memory", cpu_full: "without the CPU",
  bond_small: "whose bond covers no more", price_high: "above the maximum price",
};

/** "2 machines without the memory, 1 above the maximum price". */
export const obstaclesText = (obstacles: ReadonlyMap<Obstacle, number>): string =>
  obstacles.size === 0 ? "there is no machine" : [...obstacles].map(([obstacle, machines]) => `${machines} ${machines === 1 ? "machine" : "machines"} ${WORDS[obstacle]}`).join(", ");

/** Why none of these machines takes one more lease; null: one does. */
export function lackOf({ memoryMib, cpuMillis, rateMax, constraints }: Deployment, machines: readonly Machine[], second: bigint): string | null {
  const { unplaced, obstacles } = forecast({ memoryMib, cpuMillis, rateMax, ...constraints, replicas: 1 }, machines, second);
  return unplaced.length === 0 ? null : machines.length === 0 ? "there is no other machine" : obstaclesText(obstacles);
}

type Room = { -readonly [K in keyof Machine]: Machine[K] } & { readonly up: boolean; shared: number };

function compare({ memoryMib, cpuMillis }: Need, operators: ReadonlyMap<string, number>, a: Room, b: Room): number {
  const rankOf = (machine: Room): Rank => ({
    isAvoided: false, shared: machine.shared, sharedOperator: operators.get(machine.operator) ?? 0, rate: rateOf(machine, memoryMib, cpuMillis), freeMib: machine.memoryMib - machine.memoryMibUsed,
  });
  return compareRanks(rankOf(a), rankOf(b)) || (a.id < b.id ? -1 : 1);
}
