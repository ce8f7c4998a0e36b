/**
 * A simulated network: until it calms down (GST) it loses, doubles, delays, reorders, and is cut in one of several shapes, drawn
 * again every two and a half seconds; afterwards everything arrives within `calmMs`, but for what comes from a slow machine.
 */

import type { Chance } from "./chance.ts";
import type { Scenario } from "./scenario.ts";

const CUT_EVERY_MS = 2_500;

export class Network {
  readonly #scenario: Scenario;
  readonly #chance: Chance;
  readonly #count: number;
  readonly #banks: readonly (number | null)[];
  readonly #slow: number | null;
  /** By machine and machine: whether what the first says reaches the second. */
  #reaches: (from: number, to: number) => boolean = () => true;

  constructor(scenario: Scenario, chance: Chance, banks: readonly (number | null)[], slow: number | null) {
    this.#scenario = scenario;
    this.#chance = chance;
    this.#count = banks.length;
    this.#banks = banks;
    this.#slow = slow;
  }

  /** Times at which the cuts change. */
  cutTimes(): number[] {
    const times: number[] = [];
    for (let at = 0; at < this.#scenario.gstMs && this.#scenario.partition !== "none"; at += CUT_EVERY_MS) times.push(at);
    return times;
  }

  /** Draws new cuts; half of the time there are none. */
  cut(): void {
    this.#reaches = this.#scenario.partition === "split" || this.#chance.percent(50) ? this.#shape() : () => true;
  }
  heal(): void {
    this.#reaches = () => true;
  }

  #shape(): (from: number, to: number) => boolean {
    const count = this.#count;
    const draw = this.#chance;
    const turn = draw.below(count);
    const place = (index: number): number => (index + turn) % count;
    switch (this.#scenario.partition) {
      case "none": return () => true;
      case "random": {
        const sides = Array.from({ length: count }, () => draw.below(2));
        return (from, to) => sides[from] === sides[to];
      }
      case "half": return (from, to) => place(from) * 2 < count === place(to) * 2 < count;
      case "ring": return (from, to) => [1, count - 1].includes((place(from) - place(to) + count) % count);
      case "single": return (from, to) => place(from) > 0 && place(to) > 0;
      // The last one is on both banks.
      case "bridge": return (from, to) => place(from) === count - 1 || place(to) === count - 1 || place(from) * 2 < count === place(to) * 2 < count;
      case "split": return (from, to) => this.#banks[from] === null || this.#banks[to] === null || this.#banks[from] === this.#banks[to];
      case "one way": {
        const deaf = Array.from({ length: count * count }, () => draw.percent(40));
        return (from, to) => !deaf[from * count + to];
      }
    }
  }

  /** After how long this message arrives: never, once or twice. */
  arrivals(nowMs: number, from: number, to: number): number[] {
    const { gstMs, dropPercent, delayMsMax, duplicatePercent, slowMs } = this.#scenario;
    const draw = this.#chance;
    const extraMs = from === this.#slow ? slowMs : 0;
    const calmMs = this.#scenario.calmMs[0] + draw.below(this.#scenario.calmMs[1] - this.#scenario.calmMs[0] + 1) + extraMs;
    if (nowMs >= gstMs) return [calmMs];
    if (!this.#reaches(from, to) || draw.percent(dropPercent)) return [];
    // Squared: mostly short, now and then very long.
    const x = draw.below(1000);
    const delayMs = 5 + Math.floor((delayMsMax * x * x) / 1_000_000) + extraMs;
    return draw.percent(duplicatePercent) ? [delayMs, delayMs * 2] : [delayMs];
  }
}
