/** L7: who may speak about a machine, and what a final block says about machines and their witnesses. */
import { WITNESSES_MAX, OVERLAP_MS } from "#chain/liveness/rules.ts";
import type { Hex } from "#chain/types.ts";

/** Stake by witness. */
export type Weights = ReadonlyMap<Hex, number>;
export type WitnessSets = { readonly current: Weights; readonly previous: Weights | null; /** Header time at which the epoch began. */ readonly sinceMs: bigint };

export type WatchedMachine = {
  /** The validator that this machine hosts. */
  readonly validator: Hex | null;
  readonly bootId: Hex;
  readonly isDown: boolean;
  /** The block that took the last `up` or `down`. */
  readonly sinceHeight: number;
};

/** What liveness reads from a final block's state. */
export type LivenessView = {
  readonly height: number;
  readonly timeMs: bigint;
  /** All validators of the epoch, witness or not. */
  readonly validators: Weights;
  readonly sets: WitnessSets;
  readonly machines: ReadonlyMap<Hex, WatchedMachine>;
};

/** This epoch's set, and the one before in its first 20 s; never the machine's own validator, unless it is the only one. */
export function competentSets({ current, previous, sinceMs }: WitnessSets, timeMs: bigint, own: Hex | null): Weights[] {
  const sets = previous !== null && timeMs - sinceMs < BigInt(OVERLAP_MS) ? [current, previous] : [current];
  return sets.map((set) => {
    if (own === null || !set.has(own) || set.size === 1) return set;
    const others = new Map(set);
    others.delete(own);
    return others;
  });
}

export function sumOf(set: Weights): number {
  let sum = 0;
  for (const weight of set.values()) sum += weight;
  return sum;
}

export function weightIn(set: Weights, witnesses: Iterable<Hex>): number {
  let sum = 0;
  for (const witness of witnesses) sum += set.get(witness) ?? 0;
  return sum;
}

/** The witnesses of an epoch: all validators, or those `WITNESSES_MAX` whose draws are lowest. `drawOf` is a hash of epoch and witness. */
export function drawWitnesses(validators: Weights, drawOf: (witness: Hex) => Hex): Weights {
  if (validators.size <= WITNESSES_MAX) return validators;
  const drawn = [...validators].map(([witness, weight]) => ({ witness, weight, draw: drawOf(witness) }));
  drawn.sort((a, b) => (a.draw < b.draw ? -1 : a.draw > b.draw ? 1 : 0));
  return new Map(drawn.slice(0, WITNESSES_MAX).map(({ witness, weight }) => [witness, weight]));
}
