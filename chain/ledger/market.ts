/**
 * The machines that take leases, as rows of plain numbers in the order of the list `c` (model.ts): what placement looks at a thousand times for
 * each lease. A part of the state that is worked out, and in step with it after every change, whether a block makes or takes it back.
 *
 * Numbers are exact: what they could not be (a rate beyond 2^53) is Infinity, and compared by its bigint.
 */
import assert from "node:assert";
import { BOND_PER_CORE, BOND_PER_GIB, LEASES_PER_MACHINE_MAX } from "#chain/ledger/limits.ts";
import { type Machine, hex20 } from "#chain/ledger/model.ts";
import { rateOf } from "#chain/ledger/offer.ts";
import { type Hex, hex } from "#chain/types.ts";

export type Row = {
  /** As it stands in the list. */
  readonly entry: string;
  readonly id: Hex;
  readonly operator: Hex;
  readonly machine: Machine;
  readonly isFull: boolean;
  readonly memoryMibUsed: number;
  readonly cpuMillisUsed: number;
  readonly memoryMibFree: number;
  readonly cpuMillisFree: number;
  readonly bond: number;
  readonly gib: number;
  readonly core: number;
};

/** Where it stands in the list of those that take leases; null: it takes none. */
export const offerEntry = ({ id, up, draining, pricePerGibSecond, pricePerCoreSecond }: Machine): string | null =>
  (up && !draining ? `c${hex20(pricePerGibSecond + pricePerCoreSecond)}${id.toHex()}` : null);

const EXACT_MAX = Number.MAX_SAFE_INTEGER;
const exactly = (value: bigint): number => (value > BigInt(EXACT_MAX) ? EXACT_MAX : Number(value));

function rowOf(entry: string, machine: Machine): Row {
  const { id, operator, leases, memoryMib, cpuMillis, memoryMibUsed, cpuMillisUsed, bond, pricePerGibSecond, pricePerCoreSecond } = machine;
  return {
    entry, machine, id: hex(id), operator: hex(operator), isFull: leases >= LEASES_PER_MACHINE_MAX, memoryMibUsed, cpuMillisUsed,
    memoryMibFree: memoryMib - memoryMibUsed, cpuMillisFree: cpuMillis - cpuMillisUsed, bond: exactly(bond), gib: exactly(pricePerGibSecond), core: exactly(pricePerCoreSecond),
  };
}

export class Market {
  readonly #rows: Row[] = [];

  /** Ascending by entry. Not to be kept: it changes with the state. */
  get rows(): readonly Row[] {
    return this.#rows;
  }

  note(before: Machine | undefined, after: Machine | undefined): void {
    const [old, now] = [before ? offerEntry(before) : null, after ? offerEntry(after) : null];
    if (now !== null && now === old) {
      this.#rows[this.#find(now)] = rowOf(now, after as Machine);
      return;
    }
    if (old !== null) this.#rows.splice(this.#find(old), 1);
    if (now !== null) this.#rows.splice(this.#find(now, true), 0, rowOf(now, after as Machine));
  }

  #find(entry: string, isNew: boolean = false): number {
    let [low, high] = [0, this.#rows.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#rows[middle] as Row).entry < entry) low = middle + 1;
      else high = middle;
    }
    assert((this.#rows[low]?.entry === entry) !== isNew, "the market has what the list has");
    return low;
  }
}

// 10^9 a GiB is 1,953,125 half units a MiB, and as much a core 10^6 a thousandth: with 2^25 MiB and 2^21 m far below 2^53.
assert(BOND_PER_GIB === 1_000_000_000n && BOND_PER_CORE === 1_000_000_000n);
/** `bondFor` of offer.ts, in numbers. */
export const bondNumber = (memoryMib: number, cpuMillis: number): number => {
  const halves = memoryMib * 1_953_125;
  return (halves + (halves % 2)) / 2 + cpuMillis * 1_000_000;
};

const RATE_DIVISOR = 1_024_000;
const SUM_MAX: number = 2 ** 52;
/** `rateOf` of offer.ts; Infinity where it needs more than 53 bits on the way. */
export function rateNumber({ gib, core, machine }: Row, memoryMib: number, cpuMillis: number): number {
  const [memory, cpu] = [memoryMib * 1_000 * gib, cpuMillis * 1_024 * core];
  if (memory > SUM_MAX || cpu > SUM_MAX) {
    const rate = rateOf(machine, memoryMib, cpuMillis);
    return rate > BigInt(EXACT_MAX) ? Number.POSITIVE_INFINITY : Number(rate);
  }
  const exact = memory + cpu;
  if (exact > EXACT_MAX) return Number(rateOf(machine, memoryMib, cpuMillis));
  const rest = exact % RATE_DIVISOR;
  const rate = (exact - rest) / RATE_DIVISOR + (rest > 0 ? 1 : 0);
  return rate < 1 ? 1 : rate;
}
