/** The hostile cast, played beside a neighbour; and the soak, which plays it again and again at full load and watches the memory. */
import assert from "node:assert/strict";
import { broken, COMPONENTS, type Member, SERVICES, TINY_BOMB } from "./cast.ts";
import { type Neighbour, openStage, round, type Stage } from "./stage.ts";

export type Played = { readonly guest: string; readonly expected: string; readonly got: string; readonly ok: boolean; readonly ms: number };
export type HostileReport = { readonly ok: boolean; readonly guests: readonly Played[]; readonly neighbour: Neighbour; readonly runnerExits: number; readonly seconds: number };
export type SoakReport = {
  readonly ok: boolean;
  readonly seconds: number;
  readonly rounds: number;
  readonly wrong: readonly Played[];
  readonly neighbour: Neighbour;
  readonly runnerExits: number;
  /** Medians of the second and of the last quarter of the time: what a program keeps that it meets first is in both. */
  readonly rssBytes: { readonly first: number; readonly earlier: number; readonly later: number; readonly most: number };
};

/** A few components of each kind are enough to see that the way is right; by the thousand they are looked for in the long form. */
const BROKEN_SHORT = 20;
const BROKEN_LONG = 1_000;
/** Requests of the neighbour under way where only its losses count. */
const CONNECTIONS = 2;
const SAMPLE_MS = 500;
/** Slots of the pool that were never used before keep 256 KiB each; beside them, the noise of an allocator. */
const GROWTH_BYTES_MAX: number = 12 * 1024 * 1024;
const GROWTH_PART_MAX = 0.05;

/** On a stage of the caller's, or on one of its own. */
export async function playHostile(options: { readonly short: boolean; readonly stage?: Stage; readonly onPlayed?: (played: Played) => void }): Promise<HostileReport> {
  const begunMs = performance.now();
  await using own = options.stage === undefined ? await openStage(CONNECTIONS) : null;
  const stage = options.stage ?? own;
  assert(stage !== null);
  const guests: Played[] = [];
  const components = options.short ? [TINY_BOMB, ...broken(BROKEN_SHORT)] : [...COMPONENTS, ...broken(BROKEN_LONG)];
  for (const member of [...SERVICES, ...components]) {
    const played = await play(member, stage);
    guests.push(played);
    options.onPlayed?.(played);
  }
  const neighbour = stage.neighbour();
  const ok = guests.every((played) => played.ok) && neighbour.lost === 0 && stage.exits() === 0;
  return { ok, guests, neighbour, runnerExits: stage.exits(), seconds: round((performance.now() - begunMs) / 1000) };
}

/** On a stage on which the cast was played once: what a program keeps that it meets for the first time is there already. */
export async function soak(options: { readonly seconds: number; readonly stage: Stage; readonly onRound?: (rounds: number, rssBytes: number) => void }): Promise<SoakReport> {
  const { stage, seconds } = options;
  const begunMs = performance.now();
  const samples: number[] = [stage.rssBytes()];
  const sampling = setInterval(() => samples.push(stage.rssBytes()), SAMPLE_MS);
  const wrong: Played[] = [];
  let [rounds, isOver] = [0, false];
  try {
    while (!isOver) {
      for (const member of SERVICES) {
        const played = await play(member, stage);
        if (!played.ok) wrong.push(played);
        isOver = performance.now() - begunMs >= seconds * 1000;
        if (isOver) break;
      }
      rounds += 1;
      options.onRound?.(rounds, samples.at(-1) ?? 0);
    }
  } finally {
    clearInterval(sampling);
  }
  const neighbour = stage.neighbour();
  const quarter = Math.ceil(samples.length / 4);
  const [earlier, later] = [median(samples.slice(quarter, 2 * quarter)), median(samples.slice(-quarter))];
  const isFlat = later - earlier <= Math.max(GROWTH_BYTES_MAX, earlier * GROWTH_PART_MAX);
  return {
    ok: isFlat && wrong.length === 0 && neighbour.lost === 0 && stage.exits() === 0, seconds: round((performance.now() - begunMs) / 1000), rounds, wrong, neighbour,
    runnerExits: stage.exits(), rssBytes: { first: samples[0] ?? 0, earlier, later, most: samples.reduce((most, bytes) => Math.max(most, bytes), 0) },
  };
}

async function play({ guest, expected, act }: Member, stage: Stage): Promise<Played> {
  const begunMs = performance.now();
  const got = await act(stage).catch((error: unknown) => `failed: ${String(error)}`);
  return { guest, expected: expected.join(" or "), got, ok: expected.includes(got), ms: Math.round(performance.now() - begunMs) };
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
