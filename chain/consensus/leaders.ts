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
  const left = slotsOf(weights, count * LEADER_SLOTS_PER_VALIDATOR);
  const slots = left.slice();
  const order = shuffled(count, seed);
  const length = count * LEADER_SLOTS_PER_VALIDATOR;
  const credit = slots.map(() => 0);
  const cycle: number[] = [];
  while (cycle.length < length) {
    for (let index = 0; index < count; index++) credit[index]! += slots[index]!;
    const able = order.filter((index) => left[index]! > 0);
    const richest = able.reduce((best, index) => (credit[index]! > credit[best]! ? index : best));
    // Who has more than half of the slots must follow himself: then credit alone decides.
    const chosen = canFollow(cycle, left, richest) ? richest
      : (able.toSorted((a, b) => credit[b]! - credit[a]!).find((index) => canFollow(cycle, left, index)) ?? richest);
    credit[chosen]! -= length;
    left[chosen]! -= 1;
    cycle.push(chosen);
  }
  return cycle;
}

/** Whether this one may come next so that nobody need follow himself until the cycle is closed. */
function canFollow(cycle: readonly number[], left: readonly number[], chosen: number): boolean {
  if (cycle.at(-1) === chosen) return false;
  const first = cycle[0] ?? chosen;
  const rest = left.reduce((sum, n) => sum + n, 0) - 1;
  if (rest === 0) return chosen !== first;
  return left.every((n, index) => {
    const needs = index === chosen ? n - 1 : n;
    // Not beside the chosen one at one end of the rest, nor beside the first at the other; and every second place between.
    const places = rest - (index === chosen ? 1 : 0) - (index === first ? 1 : 0);
    return 2 * needs <= places + 1;
  });
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
