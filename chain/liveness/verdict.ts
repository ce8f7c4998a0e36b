/**
 * What a block makes of suspicions and acknowledgements: a machine is down, or up with another boot id, and from which money
 * second on what ran before is not paid. Pure, of what the block and its recent ancestors say; everybody comes to the same.
 */
import type { Moment, Suspicion, UpAcknowledgement } from "#chain/codec/liveness.ts";
import { VOID_MS, isMoreThanAThird, isMoreThanTwoThirds, isTwoThirds } from "#chain/liveness/rules.ts";
import { type WatchedMachine, type WitnessSets, competentSets, sumOf, weightIn } from "#chain/liveness/witnesses.ts";
import { type Hex, U32_MAX } from "#chain/types.ts";

export type RecentBlock = { readonly height: number; readonly timeMs: bigint; readonly moneySecond: bigint };
/** The blocks of the last 40 s of header time at least, by height; the last is the one that takes the verdict. */
export type Court = { readonly blocks: readonly RecentBlock[]; readonly sets: WitnessSets };
type Timed = { readonly second: bigint; readonly weight: number };
export type Down = { readonly endSecond: bigint; readonly by: readonly Suspicion[] };

/** L4, L6: more than two thirds of one set, all naming the same beat. Of several beats the newest counts. */
export function downOf(court: Court, id: Hex, machine: WatchedMachine, suspicions: Iterable<Suspicion>): Down | null {
  if (machine.isDown) return null;
  const byBeat = new Map<number, Map<Hex, Suspicion>>();
  for (const suspicion of suspicions) {
    if (suspicion.machine !== id || suspicion.bootId !== machine.bootId || isVoid(court, suspicion.base)) continue;
    // Of before its last `up`: that has been answered.
    if (suspicion.base < machine.sinceHeight) continue;
    const number = suspicion.beat?.number ?? 0;
    const group = byBeat.get(number) ?? new Map<Hex, Suspicion>();
    byBeat.set(number, group);
    const known = group.get(suspicion.witness);
    if (!known || known.base < suspicion.base) group.set(suspicion.witness, suspicion);
  }
  const sets = competentSets(court.sets, latest(court).timeMs, machine.validator);
  for (const number of [...byBeat.keys()].sort((a, b) => b - a)) {
    for (const set of sets) {
      const by = [...byBeat.get(number)!.values()].filter(({ witness }) => set.has(witness));
      if (!isMoreThanTwoThirds(weightIn(set, by.map(({ witness }) => witness)), sumOf(set))) continue;
      const median = lowerMedian(by.map(({ at, witness }) => ({ second: secondOf(court, at), weight: set.get(witness)! })));
      // A machine may sign two beats of one number: the older block counts, whoever comes first in the body.
      const named = by.reduce((least, { beat }) => Math.min(least, beat?.height ?? machine.sinceHeight), U32_MAX);
      return { endSecond: atLeastBlock(court, median, named), by };
    }
  }
  return null;
}

/** L12: two thirds of one set say that another boot id lives. What ran before ends at the latest second that an honest one of them vouches for. */
export function upOf(court: Court, machine: WatchedMachine, bootId: Hex, acknowledgements: Iterable<UpAcknowledgement>): { readonly endSecond: bigint } | null {
  if (machine.bootId === bootId && !machine.isDown) return null;
  const fresh = new Map<Hex, UpAcknowledgement>();
  for (const one of acknowledgements) if (one.bootId === bootId && one.height >= machine.sinceHeight && !isVoid(court, one.base)) fresh.set(one.witness, one);
  for (const set of competentSets(court.sets, latest(court).timeMs, machine.validator)) {
    const by = [...fresh.values()].filter(({ witness }) => set.has(witness));
    if (!isTwoThirds(weightIn(set, by.map(({ witness }) => witness)), sumOf(set))) continue;
    const before = by.filter((one) => one.before.bootId === machine.bootId);
    const heard = before.filter((one) => one.before.beat !== null);
    const vouching = heard.length > 0 ? heard : before;
    if (vouching.length === 0) return { endSecond: latest(court).moneySecond };
    const attested = latestAttested(vouching.map((one) => ({ second: secondOf(court, one.before.at), weight: set.get(one.witness)! })), sumOf(set));
    const newest = vouching.reduce((a, b) => ((b.before.beat?.number ?? 0) > (a.before.beat?.number ?? 0) ? b : a));
    return { endSecond: atLeastBlock(court, attested, newest.before.beat?.height ?? machine.sinceHeight) };
  }
  return null;
}

const latest = ({ blocks }: Court): RecentBlock => blocks.at(-1)!;

/** L3: header time alone decides; a block that is not among the recent is older, or was never. */
function isVoid(court: Court, base: number): boolean {
  const block = court.blocks.find(({ height }) => height === base);
  return block === undefined || latest(court).timeMs > block.timeMs + BigInt(VOID_MS);
}

function blockAt({ blocks }: Court, height: number): RecentBlock {
  return blocks.findLast((block) => block.height <= height) ?? blocks[0]!;
}

/** L5: in money time, and at most the next block's: header time may stand still where the next leader's clock is behind, and money time where the chain does. */
function secondOf(court: Court, { height, sinceMs }: Moment): bigint {
  const block = blockAt(court, height);
  const seconds = (block.timeMs + BigInt(sinceMs)) / 1000n - block.timeMs / 1000n;
  const next = court.blocks.find((one) => one.height === block.height + 1) ?? latest(court);
  return least(block.moneySecond + seconds, next.moneySecond);
}

/** L6: not before the block that the beat names, not after now. */
function atLeastBlock(court: Court, second: bigint, height: number): bigint {
  const named = blockAt(court, height).moneySecond;
  return least(second < named ? named : second, latest(court).moneySecond);
}

const least = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const ascending = (a: Timed, b: Timed): number => (a.second < b.second ? -1 : a.second > b.second ? 1 : 0);

/** L6: the smallest value with at least half of the weight at or below it. */
export function lowerMedian(times: readonly Timed[]): bigint {
  const sorted = [...times].sort(ascending);
  const whole = sorted.reduce((sum, { weight }) => sum + weight, 0);
  let below = 0;
  for (const { second, weight } of sorted) {
    below += weight;
    if (below * 2 >= whole) return second;
  }
  return sorted.at(-1)!.second;
}

/** L12: the largest value that more than a third of the whole set names or exceeds; the smallest when so many did not speak. */
export function latestAttested(times: readonly Timed[], whole: number): bigint {
  const sorted = [...times].sort(ascending).reverse();
  let above = 0;
  for (const { second, weight } of sorted) {
    above += weight;
    if (isMoreThanAThird(above, whole)) return second;
  }
  return sorted.at(-1)!.second;
}
