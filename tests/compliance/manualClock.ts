/** A clock that moves only when a test says so: timers run in order of their due time, then in the order they were set. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "#chain/network/clock.ts";

type Timer = { readonly atMs: number; readonly number: number; readonly callback: () => void };

export class ManualClock implements Clock {
  #nowMs: number;
  #timers: Timer[] = [];
  #count = 0;

  constructor(nowMs = 1_800_000_000_000) {
    this.#nowMs = nowMs;
  }
  nowMs(): number {
    return this.#nowMs;
  }
  setTimer(callback: () => void, delayMs: number): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), number: this.#count++, callback };
    this.#timers.push(timer);
    return () => { this.#timers = this.#timers.filter((other) => other !== timer); };
  }
  /** Time passes, as fast as disks and threads allow, until something holds; `shown` says what there is instead. */
  async until(holds: () => boolean, stepMs: number, roundsMax: number, shown: () => string = () => ""): Promise<void> {
    for (let rounds = 0; !holds(); rounds++) {
      assert(rounds < roundsMax, `not after so long: ${shown()}`);
      this.advance(stepMs);
      await sleep(1);
    }
  }
  /** Runs everything that falls due within `ms`, with what it sets in turn. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      this.#timers.sort((a, b) => a.atMs - b.atMs || a.number - b.number);
      const next = this.#timers[0];
      if (!next || next.atMs > untilMs) break;
      this.#timers.shift();
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.callback();
    }
    this.#nowMs = untilMs;
  }
}
