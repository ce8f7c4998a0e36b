/** `godwit/clock`: the time of day, a stopwatch, and waiting. `Date.now()`, `new Date(…)` and `performance.now()` are the same clocks. */
import { writeGathered } from "./runtime";
import { monotonicNs, sleepNs, wallClockMs } from "./wasi/clocks";

/** Milliseconds since 1970. */
export function nowMs(): i64 {
  return wallClockMs();
}

/** Nanoseconds since some moment before the start: only differences mean something, and they never go back. */
export function elapsedNs(): u64 {
  return monotonicNs();
}

/** Waits without using the processor; the wall time limit of the call runs on. What a task has written is out before it waits. */
export function sleep(milliseconds: u32): void {
  writeGathered();
  sleepNs(<u64>milliseconds * 1_000_000);
}
