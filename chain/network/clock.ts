/**
 * Time as the shell sees it, behind an interface, so that a whole network can live in simulated time. `nowMs` is wall time
 * in whole milliseconds, for headers; timers run on the monotonic clock and may be late, never early.
 */
export type Clock = {
  nowMs(): number;
  /** Milliseconds that no hand moves; where it is left out, `nowMs` is such. */
  monotonicMs?(): number;
  /** Calls back once after `delayMs`, always in a later turn; the returned function cancels. */
  setTimer(callback: () => void, delayMs: number): () => void;
};

/** setTimeout counts in a signed 32-bit number and fires at once above it. */
const TIMER_MS_MAX = 0x7fff_ffff;

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer: (callback, delayMs) => {
    const timer = setTimeout(callback, Math.min(TIMER_MS_MAX, Math.max(0, Math.ceil(delayMs))));
    return () => clearTimeout(timer);
  },
};
