/** wasi:clocks: the wall clock, and a monotonic one. */
import { RETURN_AREA } from "../abi";

// @ts-ignore: decorator
@external("wasi:clocks/wall-clock@0.2.12", "now")
declare function wallClockNowInto(result: usize): void;
// @ts-ignore: decorator
@external("wasi:clocks/monotonic-clock@0.2.12", "now")
declare function monotonicClockNow(): u64;

// @ts-ignore: decorator
@external("wasi:clocks/monotonic-clock@0.2.12", "subscribe-duration")
declare function monotonicClockSubscribeDuration(durationNs: u64): i32;
// @ts-ignore: decorator
@external("wasi:io/poll@0.2.12", "[method]pollable.block")
declare function pollableBlock(self: i32): void;
// @ts-ignore: decorator
@external("wasi:io/poll@0.2.12", "[resource-drop]pollable")
declare function pollableDrop(handle: i32): void;

/** Milliseconds since 1970: record datetime { seconds: u64, nanoseconds: u32 }. */
export function wallClockMs(): i64 {
  wallClockNowInto(RETURN_AREA);
  return load<i64>(RETURN_AREA) * 1000 + <i64>(load<u32>(RETURN_AREA, 8) / 1_000_000);
}

/** Nanoseconds since some moment before the start. */
export function monotonicNs(): u64 {
  return monotonicClockNow();
}

/** Waits without using the processor. */
export function sleepNs(durationNs: u64): void {
  const pollable = monotonicClockSubscribeDuration(durationNs);
  pollableBlock(pollable);
  pollableDrop(pollable);
}
