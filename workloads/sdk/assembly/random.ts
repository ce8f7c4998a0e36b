/** `godwit/random`: from the host's secure source. `Math.random()` is seeded from it, and is no secret. */
import { randomBytes, randomU64 } from "./wasi/random";

/** So many random bytes. */
export function bytes(length: i32): Uint8Array {
  return Uint8Array.wrap(randomBytes(length));
}

/** 64 random bits. */
export function next(): u64 {
  return randomU64();
}

/** From 0 to `limit` − 1, each as likely as any other. */
export function below(limit: u64): u64 {
  assert(limit > 0, "Cannot draw a number below 0");
  // What is past the last whole multiple would make small numbers likelier.
  const whole = U64.MAX_VALUE - (U64.MAX_VALUE % limit);
  let drawn = randomU64();
  while (drawn >= whole) drawn = randomU64();
  return drawn % limit;
}

/** A random UUID (RFC 9562, version 4). */
export function uuid(): string {
  const drawn = bytes(16);
  drawn[6] = (drawn[6] & 0x0f) | 0x40;
  drawn[8] = (drawn[8] & 0x3f) | 0x80;
  let text = "";
  for (let i = 0; i < drawn.length; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += "-";
    text += (drawn[i] < 16 ? "0" : "") + (<u32>drawn[i]).toString(16);
  }
  return text;
}
