/**
 * Which faults befall a devnet, and when: the same seed, the same schedule. Pure.
 *
 * Faults come one after the other, each with a rest behind it in which all is well again: what is measured is one fault, not a heap.
 * Kinds are dealt like cards, so that each comes before one comes twice. At most a third of the machines, rounded down, is faulty at a
 * time; `halt` and `blackout` are beyond that on purpose: then the chain stands still, and must go on.
 */
import { chance } from "#tests/simulation/chance.ts";

export const KINDS = ["kill", "partition", "pause", "halt", "skew", "slow", "blackout"] as const;
export type Kind = (typeof KINDS)[number];
/** `machines` are places, from 0; `offsetMs` is of `skew`, and of `slow`. */
export type Fault = { readonly kind: Kind; readonly atMs: number; readonly durationMs: number; readonly machines: readonly number[]; readonly offsetMs: number };
export type ScheduleOptions = { readonly seed: number; readonly machines: number; readonly totalMs: number; readonly kinds?: readonly Kind[]; readonly firstMs?: number; readonly restMs?: number };

/** A machine that is back may be called on when its witnesses are over their grace (L8: 10 s), and it was up a moment. */
export const REST_MS = 16_000;
const FIRST_MS = 1_000;
/** Least and most; a chain that halts must halt for longer than a stall (L8). */
const DURATIONS_MS: Readonly<Record<Kind, readonly [least: number, most: number]>> = {
  kill: [6_000, 14_000], partition: [4_000, 12_000], pause: [3_000, 9_000], halt: [6_000, 15_000], skew: [6_000, 12_000], slow: [6_000, 12_000], blackout: [1_000, 4_000],
};
/** A clock that runs a little wrong, and one that was never set. */
const OFFSETS_MS = [-600_000, -5_000, 5_000, 600_000] as const;
/** Another country, another side of the earth, and a line that is hardly one. */
const SLOW_MS = [30, 150, 400] as const;

export function schedule({ seed, machines, totalMs, kinds = KINDS, firstMs = FIRST_MS, restMs = REST_MS }: ScheduleOptions): Fault[] {
  const { below, pick } = chance(seed);
  const dealt = <T>(cards: readonly T[]): T[] => {
    const left = [...cards];
    return cards.map(() => left.splice(below(left.length), 1)[0]!);
  };
  const places = Array.from({ length: machines }, (_, place) => place);
  const third = Math.floor((machines - 1) / 3);
  const possible = kinds.filter((kind) => third > 0 || kind === "halt" || kind === "blackout");
  const count: Readonly<Record<Kind, number>> = { kill: third, partition: third, pause: third, skew: third, slow: third, halt: third + 1, blackout: machines };
  const faults: Fault[] = [];
  for (let [atMs, deck] = [firstMs, [] as Kind[]]; possible.length > 0;) {
    if (deck.length === 0) deck = dealt(possible);
    const kind = deck.pop()!;
    const [least, most] = DURATIONS_MS[kind];
    const durationMs = least + below(most - least + 1);
    const offsetMs = kind === "skew" ? pick(OFFSETS_MS) : kind === "slow" ? pick(SLOW_MS) : 0;
    if (atMs + durationMs + restMs > totalMs) break;
    faults.push({ kind, atMs, durationMs, machines: dealt(places).slice(0, count[kind]).toSorted((a, b) => a - b), offsetMs });
    atMs += durationMs + restMs;
  }
  return faults;
}
