/**
 * One escrow per deployment: a budget with a hard stop, kept by timestamps (design 4.1).
 *
 * No accumulator and no loop over streams: between two operations an escrow is `balance`, `owed`, `rate` and `at`, and what a
 * stream is owed follows from its own `paidUntil`. Times are whole seconds of money time, amounts bigint; nothing is divided
 * but to find the second in which the escrow is dry, and the chain's share.
 *
 * Invariants, after every operation, at its `at`:
 *   owed = Σ streams rate × (at − paidUntil) + Σ ended rate × (end − paidUntil),  rate = Σ streams rate,  0 ≤ owed ≤ balance;
 *   so every open stream is funded in full; and any partition of the same time gives the same state.
 */
import assert from "node:assert";
import type { Parameters } from "#chain/constants.ts";
import { sameBytes } from "#chain/ledger/block.ts";
import { type Address, type Refusal, refuse } from "#chain/types.ts";

export type MoneyRules = Pick<Parameters, "holdSeconds" | "runwaySecondsMin" | "unpaidSegmentsMax" | "shareBps">;
/** Money per second to the operator of the machine that runs lease `index`. */
export type Stream = {
  readonly index: number;
  readonly machine: Address;
  readonly operator: Address;
  readonly rate: bigint;
  readonly openedAt: bigint;
  readonly paidUntil: bigint;
};
/** A stream that ended; paid at `end` + hold, until when an earlier end may still be proven. */
export type Segment = Stream & { readonly end: bigint };
export type Escrow = {
  /** All money in it, owed or not. */
  readonly balance: bigint;
  readonly owed: bigint;
  readonly rate: bigint;
  readonly at: bigint;
  /** The second in which it ran dry, until its leases are closed: nothing opens meanwhile. */
  readonly dry: bigint | null;
  /** Ascending by index, one per index. */
  readonly streams: readonly Stream[];
  readonly ended: readonly Segment[];
};
export type Payment = Stream & { readonly from: bigint; readonly until: bigint; readonly amount: bigint; readonly share: bigint };
export type EscrowResult = { readonly ok: true; readonly escrow: Escrow } | Refusal;
export type Opening = { readonly index: number; readonly machine: Address; readonly operator: Address; readonly rate: bigint };

export const newEscrow = (balance: bigint, at: bigint): Escrow => ({ balance, owed: 0n, rate: 0n, at, dry: null, streams: [], ended: [] });

/** The second in which the last full payment of all streams is over; null when none runs. */
export const dryAt = (escrow: Escrow): bigint | null => (escrow.rate === 0n ? null : escrow.at + (escrow.balance - escrow.owed) / escrow.rate);
/** What is in it and owed to nobody at `at`. */
export const freeOf = (escrow: Escrow): bigint => escrow.balance - escrow.owed;
/** Whether it may pay `more` per second on top: the rule of raising, 60 seconds of the rate afterwards. */
export const isFunded = (escrow: Escrow, more: bigint, rules: MoneyRules): boolean => freeOf(escrow) >= (escrow.rate + more) * rules.runwaySecondsMin;

/** What a lease is paid by now; undefined: it does not run, or the escrow is dry. */
export const streamOf = ({ streams }: Escrow, index: number): Stream | undefined => streams.find((stream) => stream.index === index);

/** The next second in which something must happen to it by itself: running dry, or paying an ended segment. */
export function dueSecond(escrow: Escrow, rules: MoneyRules): bigint | null {
  const due = escrow.dry ?? dryAt(escrow);
  const firstEnd = firstEndOf(escrow.ended);
  return firstEnd === null || (due !== null && due <= firstEnd + rules.holdSeconds) ? due : firstEnd + rules.holdSeconds;
}
const firstEnds = new WeakMap<readonly Segment[], bigint | null>();
/** Kept by the list's identity: an escrow changes often, and its up to 2,048 unpaid segments seldom. */
function firstEndOf(ended: readonly Segment[]): bigint | null {
  const known = firstEnds.get(ended);
  if (known !== undefined) return known;
  let first: bigint | null = null;
  for (const { end } of ended) if (first === null || end < first) first = end;
  firstEnds.set(ended, first);
  return first;
}

/** Brings the escrow to second t; every operation starts with it. Past dryAt all streams have ended at dryAt. */
export function touch(escrow: Escrow, t: bigint): Escrow {
  assert(t >= escrow.at, "money time runs backwards");
  const dry = dryAt(escrow);
  if (dry === null || t < dry) return t === escrow.at ? escrow : { ...escrow, owed: escrow.owed + escrow.rate * (t - escrow.at), at: t };
  const ended = escrow.streams.filter((stream) => dry > stream.openedAt).map((stream): Segment => ({ ...stream, end: dry }));
  return { ...escrow, owed: escrow.owed + escrow.rate * (dry - escrow.at), at: t, rate: 0n, dry, streams: [], ended: [...escrow.ended, ...ended] };
}

/** Opens streams at t, all or none. */
export function open(escrow: Escrow, t: bigint, openings: readonly Opening[], rules: MoneyRules): EscrowResult {
  const now = touch(escrow, t);
  if (now.dry !== null) return refuse("escrow_dry", `Cannot open a stream as the escrow ran dry in second ${now.dry} and its leases are not closed yet`);
  const more = sumOf(openings);
  for (const { index, rate } of openings) {
    assert(rate >= 1n, "a stream pays at least one unit a second");
    assert(!now.streams.some((stream) => stream.index === index), "a lease has one stream");
    if (hasManySegments(now, index, rules)) return tooMany(index, rules);
  }
  if (!isFunded(now, more, rules)) return unfunded(now, more, rules);
  const streams = [...now.streams, ...openings.map((opening): Stream => ({ ...opening, openedAt: t, paidUntil: t }))];
  return { ok: true, escrow: { ...now, rate: now.rate + more, streams: streams.sort((a, b) => a.index - b.index) } };
}

/** Gives running streams new rates at t: one segment closes and the next opens in the same second. All or none. */
export function reprice(escrow: Escrow, t: bigint, rates: ReadonlyMap<number, bigint>, rules: MoneyRules): EscrowResult {
  const now = touch(escrow, t);
  const changed = now.streams.filter(({ index, rate }) => (rates.get(index) ?? rate) !== rate);
  const openings = changed.map(({ index, machine, operator }): Opening => ({ index, machine, operator, rate: rates.get(index) as bigint }));
  const stopped = changed.reduce((state, { index }) => stop(state, t, index, t), now);
  for (const { index } of changed) if (hasManySegments(stopped, index, rules)) return tooMany(index, rules);
  if (stopped.rate + sumOf(openings) <= now.rate) return open(stopped, t, openings, { ...rules, runwaySecondsMin: 0n });
  return open(stopped, t, openings, rules);
}

/** Ends a stream at `end` ≤ t, or where it was paid up to. What later seconds were owed is free again. No stream, no change. */
export function stop(escrow: Escrow, t: bigint, index: number, end: bigint): Escrow {
  const now = touch(escrow, t);
  const stream = now.streams.find((candidate) => candidate.index === index);
  if (!stream) return now;
  const until = clamp(end, stream.paidUntil, t);
  const ended = until > stream.openedAt ? [...now.ended, { ...stream, end: until }] : now.ended;
  return { ...now, owed: now.owed - stream.rate * (t - until), rate: now.rate - stream.rate, streams: now.streams.filter((other) => other !== stream), ended };
}

/** A proof that `machine` was gone by `end`: holds for its open streams and for its segments that are not paid yet. */
export function down(escrow: Escrow, t: bigint, machine: Address, end: bigint): Escrow {
  const isHere = (stream: Stream): boolean => sameBytes(stream.machine, machine);
  const touched = touch(escrow, t);
  const now = touched.streams.filter(isHere).reduce((state, { index }) => stop(state, t, index, end), touched);
  let freed = 0n;
  const ended = now.ended.flatMap((segment) => {
    if (!isHere(segment) || segment.end <= end) return [segment];
    const until = clamp(end, segment.paidUntil, segment.end);
    freed += segment.rate * (segment.end - until);
    return until > segment.openedAt ? [{ ...segment, end: until }] : [];
  });
  return { ...now, owed: now.owed - freed, ended };
}

/** Pays every segment whose hold is over: earliest end first. */
export function payDue(escrow: Escrow, t: bigint, rules: MoneyRules): { escrow: Escrow; payments: readonly Payment[] } {
  const now = touch(escrow, t);
  const isDue = (segment: Segment): boolean => t >= segment.end + rules.holdSeconds;
  const due = now.ended.filter(isDue).sort((a, b) => (a.end < b.end ? -1 : a.end > b.end ? 1 : a.index - b.index));
  const payments = due.map((segment) => paymentOf(segment, segment.end, rules));
  const amount = payments.reduce((sum, payment) => sum + payment.amount, 0n);
  return { escrow: { ...now, balance: now.balance - amount, owed: now.owed - amount, ended: now.ended.filter((segment) => !isDue(segment)) }, payments };
}

/** Pays a running stream up to `until`, at most up to `hold` ago. */
export function claim(escrow: Escrow, t: bigint, index: number, until: bigint, rules: MoneyRules): { escrow: Escrow; payment: Payment | null } {
  const now = touch(escrow, t);
  const stream = now.streams.find((candidate) => candidate.index === index);
  const latest = until < t - rules.holdSeconds ? until : t - rules.holdSeconds;
  if (!stream || latest <= stream.paidUntil) return { escrow: now, payment: null };
  const payment = paymentOf(stream, latest, rules);
  const streams = now.streams.map((other) => (other === stream ? { ...stream, paidUntil: latest } : other));
  return { escrow: { ...now, balance: now.balance - payment.amount, owed: now.owed - payment.amount, streams }, payment };
}

export const topUp = (escrow: Escrow, t: bigint, amount: bigint): Escrow => {
  const now = touch(escrow, t);
  return { ...now, balance: now.balance + amount };
};

/** Takes what nobody is owed when nothing runs: the end of a deployment. */
export function takeFree(escrow: Escrow, t: bigint): { escrow: Escrow; amount: bigint } {
  const now = touch(escrow, t);
  assert(now.streams.length === 0, "nothing is taken from under a running stream");
  return { escrow: { ...now, balance: now.owed }, amount: freeOf(now) };
}

/** Checks the invariants above; O(streams). Names what is wrong, or null. */
export function faultOf(escrow: Escrow): string | null {
  let owed = 0n;
  for (const { rate, paidUntil } of escrow.streams) owed += rate * (escrow.at - paidUntil);
  for (const { rate, paidUntil, end } of escrow.ended) owed += rate * (end - paidUntil);
  if (owed !== escrow.owed) return `owed is ${escrow.owed}, its parts are ${owed}`;
  if (sumOf(escrow.streams) !== escrow.rate) return `rate is ${escrow.rate}, its parts are ${sumOf(escrow.streams)}`;
  if (escrow.owed < 0n || escrow.owed > escrow.balance) return `owed ${escrow.owed} is not within the balance ${escrow.balance}`;
  return null;
}

/** The chain's share is cumulative from the opening, so that it does not depend on how time is cut. */
function paymentOf(stream: Stream, until: bigint, rules: MoneyRules): Payment {
  const shareUntil = (second: bigint): bigint => (stream.rate * (second - stream.openedAt) * rules.shareBps) / 10_000n;
  const { index, machine, operator, rate, openedAt, paidUntil } = stream;
  const amount = rate * (until - paidUntil);
  return { index, machine, operator, rate, openedAt, paidUntil, from: paidUntil, until, amount, share: shareUntil(until) - shareUntil(paidUntil) };
}

const hasManySegments = (escrow: Escrow, index: number, rules: MoneyRules): boolean =>
  escrow.ended.reduce((count, segment) => count + (segment.index === index ? 1 : 0), 0) >= rules.unpaidSegmentsMax;
const tooMany = (index: number, rules: MoneyRules): Refusal =>
  refuse("too_many_changes", `Cannot open another segment of lease ${index} as ${rules.unpaidSegmentsMax} of it are not paid yet`);
const unfunded = (escrow: Escrow, more: bigint, rules: MoneyRules): Refusal =>
  refuse("insufficient_funds", `Cannot pay ${escrow.rate + more} per second from ${freeOf(escrow)} as that is less than ${rules.runwaySecondsMin} seconds of it`);
const sumOf = (parts: readonly { readonly rate: bigint }[]): bigint => parts.reduce((sum, { rate }) => sum + rate, 0n);
const clamp = (value: bigint, least: bigint, most: bigint): bigint => {
  const raised = value > least ? value : least;
  return raised < most ? raised : most;
};
