/** wasi:clocks: the wall clock, and a monotonic one. */
import { RETURN_AREA } from "../abi";

// @ts-ignore: decorator
@external("wasi:clocks/wall-clock@0.2.12", "now")
declare function wallClockNowInto(result: usize): void;
// @ts-ignore: decorator
@external("wasi:clocks/monotonic-clock@0.2.12", "now")
declare function monotonicClockNow(): u64;

/** Milliseconds since 1970: record datetime { seconds: u64, nanoseconds: u32 }. */
export function wallClockMs(): i64 {
  wallClockNowInto(RETURN_AREA);
  return load<i64>(RETURN_AREA) * 1000 + <i64>(load<u32>(RETURN_AREA, 8) / 1_000_000);
}

/** Nanoseconds since some moment before the start. */
export function monotonicNs(): u64 {
  return monotonicClockNow();
}
