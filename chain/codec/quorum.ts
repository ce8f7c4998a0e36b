/**
 * Bitmaps of signers and the weight they stand for: integer arithmetic that consensus, the node and light clients share.
 *
 * Quorum is floor(2W/3) + 1 of the stake W. Two quorums overlap in more than W/3, so in an honest validator: the whole safety
 * of Simplex hangs on that `+ 1` (research/chain.md §1.5).
 */

import assert from "node:assert";
import { VALIDATORS_MAX, WEIGHT_SUM_MAX } from "../constants.ts";

/** The sum of all weights, checked: one validator to 200 of them, each with a weight, exact in an u32 when doubled. */
export function weightSumOf(weights: readonly number[]): number {
  assert(weights.length >= 1 && weights.length <= VALIDATORS_MAX);
  let sum = 0;
  for (const weight of weights) {
    assert(Number.isInteger(weight) && weight >= 1);
    sum += weight;
  }
  assert(sum <= WEIGHT_SUM_MAX);
  return sum;
}

export function quorumOf(weightSum: number): number {
  const quorum = (2 * weightSum - ((2 * weightSum) % 3)) / 3 + 1;
  assert(3 * quorum > 2 * weightSum && quorum <= weightSum);
  return quorum;
}

/** Bit i of byte i >> 3, lowest bit first. */
export function bitmapOf(signers: Iterable<number>, validatorCount: number): Uint8Array {
  const bitmap = new Uint8Array((validatorCount + 7) >> 3);
  for (const index of signers) {
    assert(index < validatorCount);
    bitmap[index >> 3]! |= 1 << (index & 7);
  }
  return bitmap;
}

/** Indices in ascending order; null when the bitmap is not exactly as long as the set or names somebody outside it. */
export function signersOf(bitmap: Uint8Array, validatorCount: number): number[] | null {
  if (bitmap.length !== (validatorCount + 7) >> 3) return null;
  const signers: number[] = [];
  for (let index = 0; index < bitmap.length * 8; index++) {
    if ((bitmap[index >> 3]! & (1 << (index & 7))) === 0) continue;
    if (index >= validatorCount) return null;
    signers.push(index);
  }
  return signers;
}

export function weightOf(signers: Iterable<number>, weights: readonly number[]): number {
  let sum = 0;
  for (const index of signers) sum += weights[index]!;
  return sum;
}
