/**
 * Money as people write and read it: tokens with up to nine decimals, held as base units in a bigint (1 token = 10^9).
 *
 * Exact both ways: no float ever holds money. Durations are here too, because a bill shows both side by side.
 */
import { U64_MAX } from "#chain/types.ts";
import { UsageError } from "./command.ts";

const DECIMALS = 9;
const TOKEN = 10n ** BigInt(DECIMALS);
const SECONDS_PER_HOUR = 3600n;

/** "2.5" → 2500000000n. At most nine decimals, no sign, no exponent. */
export function parseTokens(what: string, text: string): bigint {
  const match = /^(\d{1,20})(?:\.(\d{1,9}))?$/.exec(text);
  if (match === null) throw new UsageError(`${what} must be tokens such as 2.5 (at most ${DECIMALS} decimals), not "${text}"`);
  const units = BigInt(match[1] ?? "0") * TOKEN + BigInt((match[2] ?? "").padEnd(DECIMALS, "0"));
  if (units > U64_MAX) throw new UsageError(`${what} "${text}" is more money than there can be`);
  return units;
}

/** 2500000000n → "2.5". */
export function tokensText(units: bigint): string {
  const sign = units < 0n ? "-" : "";
  const positive = units < 0n ? -units : units;
  const fraction = (positive % TOKEN).toString().padStart(DECIMALS, "0").replace(/0+$/, "");
  return `${sign}${positive / TOKEN}${fraction === "" ? "" : `.${fraction}`}`;
}

/** All nine decimals, so that a column of amounts lines up. */
export const tokensColumn = (units: bigint): string => `${units / TOKEN}.${(units % TOKEN).toString().padStart(DECIMALS, "0")}`;

/** Rates are tiny per second, so they are shown per hour as well. */
export const rateText = (unitsPerSecond: bigint): string => `${tokensText(unitsPerSecond)}/s (${tokensText(unitsPerSecond * SECONDS_PER_HOUR)}/h)`;

/** 93784n → "1d 2h 3m 4s"; the two largest parts are enough above an hour. */
export function durationText(seconds: bigint): string {
  const units: [bigint, string][] = [[86_400n, "d"], [3_600n, "h"], [60n, "m"], [1n, "s"]];
  const parts: string[] = [];
  let left = seconds;
  for (const [size, letter] of units) {
    const count = left / size;
    left %= size;
    if (count > 0n || (size === 1n && parts.length === 0)) parts.push(`${count}${letter}`);
  }
  return parts.slice(0, 2).join(" ");
}

/** "7.5" or "7.5%" → 750: hundredths of a percent. */
export function parsePercent(what: string, text: string): number {
  const found = /^(\d{1,3})(?:\.(\d{1,2}))?%?$/.exec(text);
  const bps = found === null ? Number.NaN : Number(found[1]) * 100 + Number((found[2] ?? "").padEnd(2, "0"));
  if (!(bps <= 10_000)) throw new UsageError(`${what} must be a percentage from 0 to 100 with at most two decimals, not "${text}"`);
  return bps;
}
/** 750 → "7.5%". */
export const percentText = (bps: number): string => `${bps / 100}%`;
