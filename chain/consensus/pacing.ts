/**
 * When a block is wanted and how long a view may take (design §4, pacing). Integers only: floats grow apart between versions.
 *
 * The next block comes at once when transactions wait, but `blockIntervalMsMin` after its parent at the earliest; else when
 * the next thing is due; else after `idleIntervalMs`. A view gets from then on four delays of the network, half as much again
 * for each view since the last final one, and a millisecond for five waiting transactions.
 */

import { VIEW_GRACE_MS_MAX } from "../constants.ts";
import type { Parameters } from "../constants.ts";
import { timeMs } from "../types.ts";
import type { TimeMs } from "../types.ts";
import type { DueMs } from "./events.ts";

export type Pace = Pick<Parameters, "deltaMs" | "blockIntervalMsMin" | "idleIntervalMs" | "clockSkewMsMax" | "transactionsPerBlockMax">;

/** The least time that a child of a block of this time may carry. */
export const childTimeMsMin = (pace: Pace, parentTimeMs: TimeMs): TimeMs => timeMs(parentTimeMs + BigInt(pace.blockIntervalMsMin));

/**
 * The time that a block carries which is built at `nowMs`: when it was wanted, though it comes a little late, as timers ring late and a child's
 * time counts from its parent's: else the lateness of all blocks would add up. Who is later than half of the interval goes by the clock.
 */
export function blockTimeMs(pace: Pace, parentTimeMs: TimeMs, wantedMs: TimeMs, nowMs: TimeMs): TimeMs {
  const earliest = childTimeMsMin(pace, parentTimeMs);
  const time = nowMs - wantedMs <= BigInt(pace.blockIntervalMsMin >> 1) ? wantedMs : nowMs;
  return time > earliest ? time : earliest;
}

export function blockWantedMs(pace: Pace, parentTimeMs: TimeMs, dueMs: DueMs, waiting: number): TimeMs {
  const earliest = childTimeMsMin(pace, parentTimeMs);
  if (waiting > 0) return earliest;
  const idle = timeMs(parentTimeMs + BigInt(pace.idleIntervalMs));
  if (dueMs === null || dueMs >= idle) return idle;
  return dueMs > earliest ? dueMs : earliest;
}

/** 4Δ × 1.5^k, rounded down at each step, at most `VIEW_GRACE_MS_MAX`. */
export function graceMs(pace: Pace, viewsSinceFinal: number): number {
  let grace = 4 * pace.deltaMs;
  for (let k = 0; k < viewsSinceFinal && grace < VIEW_GRACE_MS_MAX; k++) grace += grace >> 1;
  return Math.min(grace, VIEW_GRACE_MS_MAX);
}

/** T(v). The wait for the block is bounded by `idleIntervalMs`, whatever the clocks say. */
export function viewTimeoutMs(pace: Pace, wantedMs: TimeMs, nowMs: TimeMs, viewsSinceFinal: number, waiting: number): number {
  const wait = wantedMs > nowMs ? Math.min(Number(wantedMs - nowMs), pace.idleIntervalMs) : 0;
  return wait + graceMs(pace, viewsSinceFinal) + Math.floor(Math.min(waiting, pace.transactionsPerBlockMax) / 5);
}
