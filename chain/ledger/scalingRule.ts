/**
 * How many replicas a deployment should have, as arithmetic: from what its leases have to do, its bounds and its money. `scaling.ts` asks it,
 * placement for the ceiling, and `godwit plan` and `ps` for what things cost.
 *
 * Damping, so that a constant load never makes it go up and down: a step up adds half, and what has too much before it has at least two thirds
 * of its target after it, more than what counts as little; a step down takes at most a quarter (or one of two or three), and what had less than
 * SCALE_LOW_PERMILLE of its target has at most that twice after it, less than too much. After a step up no step down can follow, nor the
 * other way round, while the load is what it is. And each step waits its time: up a short one, down a long one.
 */
import { RATE_RESERVED_MIN, STANDBY_BPS } from "#chain/ledger/limits.ts";
import type { Level } from "#chain/ledger/scalingHeld.ts";

export type Bounds = { readonly min: number; readonly max: number };
/** Rates are of leases that run, at their full rates: what is on standby may wake in any second. */
export type Means = { readonly leases: number; readonly rate: bigint; readonly free: bigint; readonly rateMax: bigint; readonly runwaySecondsMin: bigint };

/** With `min` 0 there is one lease still, on standby when it has nothing to do. */
export const leastOf = ({ min }: Pick<Bounds, "min">): number => (min < 1 ? 1 : min);

/** What most leases say: too much, or too little, only when both in the middle say so. No machine decides alone where there are three. */
export function verdictOf(levels: readonly Level[]): Level {
  if (levels.length === 0) return 1;
  const sorted = levels.toSorted((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1] as Level, sorted[sorted.length >> 1] as Level];
  return low === high ? low : 1;
}

/** The number after one step; the same number when there is none to take. */
export function stepOf(verdict: Level, now: number, bounds: Bounds, means: Means): number {
  if (verdict === 0) {
    const fewer = now - Math.max(1, Math.floor(now / 4));
    return Math.min(now, Math.max(leastOf(bounds), fewer));
  }
  if (verdict === 1) return now;
  const wanted = Math.min(bounds.max, now + Math.ceil(now / 2));
  return Math.max(now, Math.min(wanted, now + affordable(means, Math.max(0, wanted - now))));
}

/** How many leases more, of `most`, there is money for, at what those that run cost on average. Placement looks at the real rates. */
function affordable({ leases, rate, free, rateMax, runwaySecondsMin }: Means, most: number): number {
  if (leases === 0) return 0;
  const average = (rate + BigInt(leases) - 1n) / BigInt(leases);
  const each = average < RATE_RESERVED_MIN ? RATE_RESERVED_MIN : average;
  const byMoney = (free / runwaySecondsMin - rate) / each;
  const byCeiling = rateMax === 0n ? byMoney : (rateMax - rate) / average;
  const least = byMoney < byCeiling ? byMoney : byCeiling;
  return least <= 0n ? 0 : least < BigInt(most) ? Number(least) : most;
}

/** What a lease costs a second while it is on standby; as much as else where so little is nothing less. */
export function standbyRate(rate: bigint): bigint {
  return (rate * STANDBY_BPS + 9_999n) / 10_000n;
}
