/**
 * What a machine asks for resources, and whether it has them: functions of a few of its fields, and of nothing else in the state.
 */
import { BOND_PER_CORE, BOND_PER_GIB } from "#chain/ledger/limits.ts";
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
