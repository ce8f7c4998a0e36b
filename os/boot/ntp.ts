/**
 * NTP as a client asks once (RFC 5905, SNTP): packets and the offset they give. Pure.
 *
 * Rules: the question's timestamp is a nonce, not this machine's time; an answer counts only if it repeats the nonce, comes from a
 * server that is itself set (stratum 1–15, no alarm) and took no longer than a second. Times count from 1900 and wrap in 2036: a difference of two
 * is taken modulo 2^64, so that a clock that is off by up to 68 years is put right.
 */
export const NTP_PORT = 123;
const PACKET_BYTES = 48;
const VERSION_CLIENT = 0x23;
const MODE_SERVER = 4;
const LEAP_ALARM = 3;
const STRATUM_MAX = 15;
const EPOCH_1900_SECONDS = 2_208_988_800n;
/** What took longer tells the time too badly. */
export const NTP_DELAY_MS_MAX = 1_000;
/** Answers of servers that are right differ by less. */
const AGREEMENT_MS = 1_000;

export type NtpSample = { /** To be added to this machine's clock. */ readonly offsetMs: number; readonly delayMs: number };

export function encodeQuestion(nonce: bigint): Uint8Array {
  const packet = new Uint8Array(PACKET_BYTES);
  packet[0] = VERSION_CLIENT;
  new DataView(packet.buffer).setBigUint64(40, nonce);
  return packet;
}

/** The sample in an answer, or null. The clock's readings are ms since 1970, `delayMs` is monotonic. */
export function parseAnswer(raw: Uint8Array, nonce: bigint, sentClockMs: number, delayMs: number): NtpSample | null {
  if (raw.length < PACKET_BYTES || delayMs < 0 || delayMs > NTP_DELAY_MS_MAX) return null;
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const first = view.getUint8(0);
  const stratum = view.getUint8(1);
  const [received, sent] = [view.getBigUint64(32), view.getBigUint64(40)];
  if ((first & 7) !== MODE_SERVER || first >> 6 === LEAP_ALARM || stratum === 0 || stratum > STRATUM_MAX || view.getBigUint64(24) !== nonce || sent === 0n || received === 0n) return null;
  const ask = stampOf(sentClockMs);
  const answer = stampOf(sentClockMs + delayMs);
  const offset = (signed(received - ask) + signed(sent - answer)) / 2n;
  return { offsetMs: Number((offset * 1000n) >> 32n), delayMs };
}

/** Of several servers what more than half agree on, else null; of one or two, the nearest's. */
export function agreed(samples: readonly NtpSample[]): NtpSample | null {
  const near = samples.toSorted((a, b) => a.delayMs - b.delayMs);
  if (near.length < 3) return near[0] ?? null;
  const agreeing = (one: NtpSample): number => near.filter((other) => Math.abs(other.offsetMs - one.offsetMs) <= AGREEMENT_MS).length;
  return near.find((one) => agreeing(one) * 2 > near.length) ?? null;
}

const stampOf = (clockMs: number): bigint => BigInt.asUintN(64, ((BigInt(Math.trunc(clockMs)) << 32n) / 1000n) + (EPOCH_1900_SECONDS << 32n));
const signed = (difference: bigint): bigint => BigInt.asIntN(64, difference);
