/**
 * What peers did wrong, in points that fade, and who is banned. A ban is by name: a new key is free, so what limits strangers is
 * how many of them are let in at one time (limits.ts), and validators are few and known.
 */
import { BAN_MS, BAN_POINTS, OFFENCE_POINTS, SCORES_MAX, SCORE_HALF_LIFE_MS } from "./limits.ts";
import type { Offence } from "./transport.ts";

type Score = { points: number; atMs: number; bannedUntilMs: number };

export class Scores {
  readonly #scores = new Map<string, Score>();
  readonly #counts = new Map<Offence, number>();

  /** One offence of a peer, under each of its names. True when it is one too many: the peer is banned from now on. */
  add(names: readonly string[], offence: Offence, nowMs: number): boolean {
    this.#counts.set(offence, (this.#counts.get(offence) ?? 0) + 1);
    return names.map((name) => this.#add(name, offence, nowMs)).includes(true);
  }
  #add(name: string, offence: Offence, nowMs: number): boolean {
    const score = this.#scores.get(name) ?? { points: 0, atMs: nowMs, bannedUntilMs: 0 };
    this.#scores.delete(name);
    this.#scores.set(name, score);
    if (this.#scores.size > SCORES_MAX) this.#scores.delete(this.#scores.keys().next().value!);
    score.points = score.points * 2 ** -((nowMs - score.atMs) / SCORE_HALF_LIFE_MS) + OFFENCE_POINTS[offence];
    score.atMs = nowMs;
    if (score.points < BAN_POINTS) return false;
    score.points = 0;
    score.bannedUntilMs = nowMs + BAN_MS;
    return true;
  }
  isBanned(name: string, nowMs: number): boolean {
    return (this.#scores.get(name)?.bannedUntilMs ?? 0) > nowMs;
  }
  /** Offences since the start, by kind. */
  counts(): Readonly<Partial<Record<Offence, number>>> {
    return Object.fromEntries(this.#counts);
  }
}
