/**
 * How much a route has to do, from what the runner has counted: the last few samples, as thousandths of what its replicas here should have at
 * most, and since when it had no request. Pure: whoever samples says when.
 *
 * A level holds until it is clearly left: too much above the target until below nine tenths of it, too little below 40 % until above 45 %
 * (chain/ledger/scalingRule.ts says why 40). A window that is not full says nothing.
 */
import type { Metric } from "#chain/codec/scalingOperations.ts";
import type { Level } from "#chain/ledger/scalingHeld.ts";
import type { Usage } from "#sandbox/control.ts";
import { LOAD_HIGH_PERMILLE, LOAD_LOW_PERMILLE, LOAD_NOT_HIGH_PERMILLE, LOAD_NOT_LOW_PERMILLE, LOAD_SAMPLES } from "../limits.ts";

/** What a route is measured by: the rule, and the replicas that it stands for. */
export type Measured = { readonly metric: Metric; readonly target: number; readonly replicas: number; readonly cpuMillis: number };
export type Counted = Pick<Usage, "requests" | "cpuNs" | "running" | "waiting">;
type Sample = Counted & { readonly atMs: number };
export type Meter = {
  /** The oldest first. */
  readonly samples: readonly Sample[];
  /** null: not known yet. */
  readonly level: Level | null;
  readonly permille: number;
  /** When the last request was seen, or the route itself. */
  readonly activeMs: number;
};

/** One more sample. Of requests the machine's own checks of its health do not count (`checks`, all there were so far). */
export function measure(before: Meter | undefined, { metric, target, replicas, cpuMillis }: Measured, counted: Counted, checks: number, atMs: number): Meter {
  const now: Sample = { ...counted, requests: counted.requests - checks, atMs };
  const last = before?.samples.at(-1);
  // A clock that was set, or a route that was loaded anew: it begins anew.
  const isAnew = last === undefined || atMs <= last.atMs || now.cpuNs < last.cpuNs;
  const samples = isAnew ? [now] : [...(before as Meter).samples, now].slice(-LOAD_SAMPLES);
  const isActive = isAnew || now.requests > Math.max(...samples.slice(0, -1).map(({ requests }) => requests)) || (checks === 0 && now.running + now.waiting > 0);
  const activeMs = before === undefined || isActive ? atMs : Math.min(before.activeMs, atMs);
  if (samples.length < LOAD_SAMPLES) return { samples, level: before?.level ?? null, permille: before?.permille ?? 0, activeMs };
  const first = samples[0] as Sample;
  const elapsedMs = now.atMs - first.atMs;
  const part = {
    // Nanoseconds in a millisecond are millionths of a core.
    cpu: () => ((now.cpuNs - first.cpuNs) / elapsedMs / Math.max(1, cpuMillis)) * 1_000,
    concurrency: () => (samples.reduce((sum, { running, waiting }) => sum + running + waiting, 0) / samples.length) * 1_000,
    requests: () => ((now.requests - first.requests) * 1_000_000) / elapsedMs,
  }[metric]();
  // A target of CPU is in thousandths already.
  const permille = Math.max(0, Math.floor(part / target / Math.max(1, replicas)));
  return { samples, level: levelAfter(before?.level ?? null, permille), permille, activeMs };
}

function levelAfter(before: Level | null, permille: number): Level {
  if (permille > LOAD_HIGH_PERMILLE || (before === 2 && permille >= LOAD_NOT_HIGH_PERMILLE)) return 2;
  if (permille < LOAD_LOW_PERMILLE || (before === 0 && permille <= LOAD_NOT_LOW_PERMILLE)) return 0;
  return 1;
}
