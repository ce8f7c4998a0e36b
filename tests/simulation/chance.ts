/** Seeded chance for simulated worlds: integers only, so that a seed means the same world on every version of Node. */

export type Chance = {
  /** An integer from 0 to n − 1. */
  below(n: number): number;
  /** True in `percent` of 100 draws. */
  percent(percent: number): boolean;
  pick<T>(items: readonly T[]): T;
};

export function chance(seed: number): Chance {
  let a = Math.imul(seed + 1, 0x9e37_79b1) >>> 0;
  const draw = (): number => {
    a = (a + 0x6d2b_79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
  const below = (n: number): number => draw() % n;
  return {
    below,
    percent: (percent) => below(100) < percent,
    pick: (items) => items[below(items.length)]!,
  };
}
