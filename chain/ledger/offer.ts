/**
 * What a machine asks for resources, and whether a lease can be placed on it: functions of a few of its fields, and of nothing else in the
 * state. Placement asks them, and so does `godwit plan`, `deploy` and `ps --why` of what the API says of a machine.
 */
import { BOND_PER_CORE, BOND_PER_GIB, LEASES_PER_MACHINE_MAX } from "#chain/ledger/limits.ts";
import type { Machine } from "#chain/ledger/model.ts";

export type Prices = Pick<Machine, "pricePerGibSecond" | "pricePerCoreSecond">;
export type Room = Pick<Machine, "memoryMib" | "cpuMillis" | "memoryMibUsed" | "cpuMillisUsed" | "bond">;

export const ceilDiv = (a: bigint, b: bigint): bigint => (a + b - 1n) / b;

/** Price × resources, summed over the vector and rounded up once; at least 1. */
export function rateOf(machine: Prices, memoryMib: number, cpuMillis: number): bigint {
  // Over the common denominator 1024 × 1000 of GiB and cores.
  const exact = BigInt(memoryMib) * machine.pricePerGibSecond * 1000n + BigInt(cpuMillis) * machine.pricePerCoreSecond * 1024n;
  const rate = ceilDiv(exact, 1_024_000n);
  return rate < 1n ? 1n : rate;
}

export const bondFor = (memoryMib: number, cpuMillis: number): bigint =>
  ceilDiv(BigInt(memoryMib) * BOND_PER_GIB, 1024n) + ceilDiv(BigInt(cpuMillis) * BOND_PER_CORE, 1000n);

/** Whether a machine can take so much more, by what it offers and by what its bond covers. */
export const hasRoom = (machine: Room, memoryMib: number, cpuMillis: number): boolean =>
  machine.memoryMibUsed + memoryMib <= machine.memoryMib && machine.cpuMillisUsed + cpuMillis <= machine.cpuMillis &&
  bondFor(machine.memoryMibUsed + memoryMib, machine.cpuMillisUsed + cpuMillis) <= machine.bond;

/** What a lease needs of a machine. Operators are names that compare as texts do: bytes in hexadecimal, or addresses. */
export type Need = {
  readonly memoryMib: number;
  readonly cpuMillis: number;
  /** 0: any. */
  readonly rateMax: bigint;
  /** Empty: any. Of labels a machine must have all. */
  readonly regions?: readonly string[];
  readonly operators?: readonly string[];
  readonly labels?: readonly string[];
};
export type Offer = Prices & Room & Pick<Machine, "up" | "draining" | "leases" | "placeableFrom" | "region" | "labels">;
/** Why a machine cannot take one more lease. */
export type Obstacle =
  | "not_up" | "draining" | "resting" | "leases_full" | "memory_full" | "cpu_full" | "bond_small" | "price_high" | "region_other" | "operator_other" | "label_missing";

/** The first thing in the way, in an order that says most; null: it can be placed. */
export function obstacleOf(need: Need, offer: Offer, operator: string, second: bigint): Obstacle | null {
  const { memoryMib, cpuMillis, rateMax, regions, operators, labels } = need;
  if (!offer.up) return "not_up";
  if (offer.draining) return "draining";
  if (operators && operators.length > 0 && !operators.includes(operator)) return "operator_other";
  if (regions && regions.length > 0 && !regions.includes(offer.region)) return "region_other";
  if (labels && !labels.every((label) => offer.labels.includes(label))) return "label_missing";
  if (offer.placeableFrom > second) return "resting";
  if (offer.leases >= LEASES_PER_MACHINE_MAX) return "leases_full";
  if (rateMax > 0n && rateOf(offer, memoryMib, cpuMillis) > rateMax) return "price_high";
  if (offer.memoryMibUsed + memoryMib > offer.memoryMib) return "memory_full";
  if (offer.cpuMillisUsed + cpuMillis > offer.cpuMillis) return "cpu_full";
  return hasRoom(offer, memoryMib, cpuMillis) ? null : "bond_small";
}

/** A machine that qualifies, as one lease sees it. */
export type Rank = { readonly isAvoided: boolean; readonly shared: number; readonly sharedOperator: number; readonly rate: bigint; readonly freeMib: number };
/** Which comes first: the one place that says so. 0: a hash decides. */
export function compareRanks(a: Rank, b: Rank): number {
  if (a.isAvoided !== b.isAvoided) return a.isAvoided ? 1 : -1;
  if (a.shared !== b.shared) return a.shared - b.shared;
  if (a.sharedOperator !== b.sharedOperator) return a.sharedOperator - b.sharedOperator;
  if (a.rate !== b.rate) return a.rate < b.rate ? -1 : 1;
  return b.freeMib - a.freeMib;
}
