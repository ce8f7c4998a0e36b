/**
 * Where replicas would be placed now, at which rate, and what stands in the way: the ledger's rule of placement (chain/ledger/placement.ts)
 * over what a machine's API says of the others. Between machines that are equal in everything the ledger draws by a hash that nobody
 * knows yet; here the one with the smaller id comes first. Pure.
 */
import { hasRoom, rateOf } from "#chain/ledger/offer.ts";
import { LEASES_PER_MACHINE_MAX } from "#chain/ledger/limits.ts";
import type { Machine } from "./answers.ts";

export type Need = { readonly memoryMib: number; readonly cpuMillis: number; readonly replicas: number; /** 0: any. */ readonly rateMax: bigint };
export type Placed = { readonly index: number; readonly machine: string; readonly rate: bigint };
/** Why a machine cannot take one more replica. */
export type Obstacle = "not_up" | "resting" | "leases_full" | "memory_full" | "cpu_full" | "bond_small" | "price_high";
export type Forecast = {
  readonly placed: readonly Placed[];
  /** Indices that no machine takes, and what is in the way on how many. */
  readonly unplaced: readonly number[];
  readonly obstacles: ReadonlyMap<Obstacle, number>;
  /** The least rate that any machine that is up asks, whether it has room or not; null when none is up. */
  readonly cheapest: bigint | null;
};

export function forecast(need: Need, machines: readonly Machine[], second: bigint): Forecast {
  const rooms = machines.map((machine) => ({ ...machine, shared: 0 }));
  const placed: Placed[] = [];
  const unplaced: number[] = [];
  const obstacles = new Map<Obstacle, number>();
  for (let index = 0; index < need.replicas; index++) {
    const fitting = rooms.filter((machine) => obstacleOf(need, machine, second) === null).toSorted((a, b) => compare(need, a, b));
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
  }
  if (unplaced.length > 0) {
    for (const machine of rooms) {
      const obstacle = obstacleOf(need, machine, second);
      if (obstacle !== null) obstacles.set(obstacle, (obstacles.get(obstacle) ?? 0) + 1);
    }
  }
  const rates = machines.filter(({ state }) => state === "up").map((machine) => rateOf(machine, need.memoryMib, need.cpuMillis));
  return { placed, unplaced, obstacles, cheapest: rates.length === 0 ? null : rates.reduce((a, b) => (a < b ? a : b)) };
}

const WORDS: Readonly<Record<Obstacle, string>> = {
  not_up: "not up", resting: "resting after a failure", leases_full: "with all the leases it may have", memory_full: "without the memory", cpu_full: "without the CPU",
  bond_small: "whose bond covers no more", price_high: "above the maximum price",
};

/** "2 machines without the memory, 1 above the maximum price". */
export const obstaclesText = (obstacles: ReadonlyMap<Obstacle, number>): string =>
  obstacles.size === 0 ? "there is no machine" : [...obstacles].map(([obstacle, machines]) => `${machines} ${machines === 1 ? "machine" : "machines"} ${WORDS[obstacle]}`).join(", ");

function obstacleOf({ memoryMib, cpuMillis, rateMax }: Need, machine: Machine, second: bigint): Obstacle | null {
  if (machine.state !== "up") return "not_up";
  if (machine.placeableFrom > second) return "resting";
  if (machine.leases >= LEASES_PER_MACHINE_MAX) return "leases_full";
  if (rateMax > 0n && rateOf(machine, memoryMib, cpuMillis) > rateMax) return "price_high";
  if (machine.memoryMibUsed + memoryMib > machine.memoryMib) return "memory_full";
  if (machine.cpuMillisUsed + cpuMillis > machine.cpuMillis) return "cpu_full";
  return hasRoom(machine, memoryMib, cpuMillis) ? null : "bond_small";
}

type Room = Machine & { shared: number };

function compare({ memoryMib, cpuMillis }: Need, a: Room, b: Room): number {
  if (a.shared !== b.shared) return a.shared - b.shared;
  const [rateA, rateB] = [rateOf(a, memoryMib, cpuMillis), rateOf(b, memoryMib, cpuMillis)];
  if (rateA !== rateB) return rateA < rateB ? -1 : 1;
  const free = (machine: Room): number => machine.memoryMib - machine.memoryMibUsed;
  return free(b) - free(a) || (a.id < b.id ? -1 : 1);
}
