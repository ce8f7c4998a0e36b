/**
 * Who leads which view: one cycle per epoch, known to all from the weights and a seed.
 *
 * Each validator has slots in proportion to its stake (largest remainder), spread as evenly as integers allow (smooth weighted
 * round robin), ties in an order drawn from the seed. Nobody leads twice in a row, around the end of the cycle too, where
 * that can be avoided: with at most half of the slots it can.
 */

import assert from "node:assert";
import { LEADER_SLOTS_PER_VALIDATOR } from "../constants.ts";

export function leaderCycle(weights: readonly number[], seed: Uint8Array): readonly number[] {
  const count = weights.length;
  if (count === 1) return [0];
  const slots = slotsOf(weights, count * LEADER_SLOTS_PER_VALIDATOR);
  const order = shuffled(count, seed);
  const length = slots.reduce((sum, n) => sum + n, 0);
  const credit = slots.map(() => 0);
  const cycle: number[] = [];
  for (let at = 0; at < length; at++) {
    let chosen = order[0]!;
    for (const index of order) {
      credit[index]! += slots[index]!;
      if (credit[index]! > credit[chosen]!) chosen = index;
    }
    credit[chosen]! -= length;
    cycle.push(chosen);
  }
  separate(cycle);
  return cycle;
}

export function leaderAt(cycle: readonly number[], view: number): number {
  assert(view >= 1);
  return cycle[(view - 1) % cycle.length]!;
}

/** Slots by largest remainder; who is owed less than half a slot has none. */
function slotsOf(weights: readonly number[], length: number): number[] {
  const sum = weights.reduce((a, b) => a + b, 0);
  // weight × length stays below 2^31 × 2^12: exact in a number.
  const slots = weights.map((weight) => Math.floor((weight * length) / sum));
  const remainders = weights.map((weight, index) => ({ index, rest: (weight * length) % sum }));
  remainders.sort((a, b) => b.rest - a.rest || a.index - b.index);
  let left = length - slots.reduce((a, b) => a + b, 0);
  for (const { index } of remainders) if (left-- > 0) slots[index]! += 1;
  return slots;
}

/** Swaps away neighbours that are alike, while there is somebody to swap with. */
function separate(cycle: number[]): void {
  const length = cycle.length;
  const alike = (i: number): boolean =>
    cycle[i] === cycle[(i + 1) % length] || cycle[i] === cycle[(i + length - 1) % length];
  for (let i = 0; i < length; i++) {
    if (cycle[i] !== cycle[(i + 1) % length]) continue;
    for (let step = 2; step < length; step++) {
      const j = (i + step) % length;
      [cycle[i], cycle[j]] = [cycle[j]!, cycle[i]!];
      if (!alike(i) && !alike(j)) break;
      [cycle[i], cycle[j]] = [cycle[j]!, cycle[i]!];
    }
  }
}

/** Fisher–Yates with a 32-bit xorshift: the seed is public, so this need only be the same everywhere. */
function shuffled(count: number, seed: Uint8Array): number[] {
  let x = 0x9e37_79b9;
  for (const byte of seed) x = (Math.imul(x ^ byte, 0x0100_0193) >>> 0) || 1;
  const order = Array.from({ length: count }, (_, index) => index);
  for (let i = count - 1; i > 0; i--) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    const j = (x >>> 0) % (i + 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
