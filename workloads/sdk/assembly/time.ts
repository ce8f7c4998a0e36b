/** `godwit/time`: waiting. The time of day is Date.now(); a stopwatch is performance.now(). */
import { sleepNs } from "./wasi/clocks";

/** Waits without using the processor; the wall time limit of the call runs on. */
export function sleep(milliseconds: u32): void {
  sleepNs(<u64>milliseconds * 1_000_000);
}
