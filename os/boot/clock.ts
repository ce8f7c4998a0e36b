/**
 * Keeps the machine's clock where `decideTime` (time.ts) says: by NTP before anything is joined, then by the final blocks of the chain too.
 *
 * A chain is live when, over ten seconds of this machine's monotonic time, its headers went on by as much: old blocks that are caught up with come faster, and those
 * of a chain that stands still do not come.
 *
 * A slow machine has blocks late, by more and by less, and none early: so what time it is at least is told by the block that came with the least delay, not by the
 * newest. That bound only grows, so that a clock is put back once at most, and never to and fro with the load.
 */
import { setClock } from "../linux/power.ts";
import type { NtpSample } from "./ntp.ts";
import { askNtp, decideTime } from "./time.ts";

const LIVE_AFTER_MS = 10_000;
const LIVE_DIFFERENCE_MS = 5_000;
/** While a chain is caught up with, each block is newer: the clock need not follow every one, nor are all remembered. */
const LOOK_MS = 2_000;
/** Two minutes of looks, however fast blocks come. */
const SEEN_MAX = 64;
/** For how long the block with the least delay counts: a monotonic clock that is off by 100 ppm drifts by 0.4 s meanwhile. */
const LEAST_LATE_MS = 3_600_000;

type Seen = { readonly atMs: number; readonly headerMs: number };
const aheadOf = ({ atMs, headerMs }: Seen): number => headerMs - atMs;
export type ChainClock = { /** A final block has come. */ final(headerMs: number): void };

/** What NTP says at the start, within what can be, applied; the line for the screen. `builtMs`: when the image was made. */
export async function setByNtp(servers: readonly string[], builtMs: number, set: (toMs: number) => void = setClock, clockMs: () => number = Date.now): Promise<{ readonly sample: NtpSample | null; readonly text: string }> {
  const sample = servers.length === 0 ? null : await askNtp(servers);
  const beforeMs = clockMs();
  const decision = decideTime({ clockMs: beforeMs, builtMs, ntp: sample, chain: null });
  if (decision.kind === "set") set(decision.toMs);
  const heard = servers.length === 0 ? "no time server is named" : sample === null ? `${servers.join(", ")} did not answer` : `${servers.join(", ")} answered`;
  return { sample, text: decision.kind === "keep" ? heard : `${heard}; set by ${Math.round(decision.toMs - beforeMs)} ms to the time of the ${decision.source}` };
}

export function followChain(builtMs: number, say: (line: string) => void, set: (toMs: number) => void = setClock, clockMs: () => number = Date.now, monotonicMs: () => number = () => performance.now()): ChainClock {
  const seen: Seen[] = [];
  let leastLate: Seen | null = null;
  let lookedMs = Number.NEGATIVE_INFINITY;
  return {
    final: (headerMs) => {
      const atMs = monotonicMs();
      if (atMs - lookedMs < LOOK_MS) return;
      lookedMs = atMs;
      seen.push({ atMs, headerMs });
      if (seen.length > SEEN_MAX) seen.shift();
      const isLive = seen.some((one) => atMs - one.atMs >= LIVE_AFTER_MS && Math.abs(headerMs - one.headerMs - (atMs - one.atMs)) <= LIVE_DIFFERENCE_MS);
      if (leastLate === null || atMs - leastLate.atMs > LEAST_LATE_MS) leastLate = seen.reduce((a, b) => (aheadOf(b) >= aheadOf(a) ? b : a));
      else if (headerMs - atMs >= aheadOf(leastLate)) leastLate = { atMs, headerMs };
      const decision = decideTime({ clockMs: clockMs(), builtMs, ntp: null, chain: { headerMs: leastLate.headerMs, ageMs: atMs - leastLate.atMs, isLive } });
      if (decision.kind === "keep") return;
      const offMs = decision.toMs - clockMs();
      set(decision.toMs);
      say(`the clock was off by ${Math.round(offMs / 1000)} s: set to what a quorum of validators signed`);
    },
  };
}
