/** wasi:random: bytes and numbers from the host's secure source. */
import { RETURN_AREA, liftBytes } from "../abi";

// @ts-ignore: decorator
@external("wasi:random/random@0.2.12", "get-random-u64")
declare function getRandomU64(): u64;
// @ts-ignore: decorator
@external("wasi:random/random@0.2.12", "get-random-bytes")
declare function getRandomBytesInto(length: u64, result: usize): void;

export function randomU64(): u64 {
  return getRandomU64();
}

export function randomBytes(length: u64): ArrayBuffer {
  getRandomBytesInto(length, RETURN_AREA);
  return liftBytes(load<usize>(RETURN_AREA), load<usize>(RETURN_AREA, 4));
}
