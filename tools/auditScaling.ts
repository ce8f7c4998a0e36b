/**
 * Scaling, for the audit: how many leases a deployment has, and which are on standby, when no operation says so, from the operations alone.
 * Nothing here is the ledger's.
 */
import type { Operation } from "#chain/codec/transaction.ts";
import type { Parameters } from "#chain/constants.ts";
import { type Revisions, rolloutDue } from "./auditRollout.ts";

const SLOT = 256;
const STANDBY_PART = 20n;
const RATE_MIN = 100n;
/** A lease that is paid: `full` is what it costs when it is not on standby. */
export type Paid = { readonly index: number; readonly machine: string; rate: bigint; full: bigint; readonly from: bigint; runs: boolean };
type Word = { readonly machine: string; readonly level: number };
export type Scaling = { readonly least: number; readonly max: number; readonly ceiling: bigint; readonly words: Map<number, Word>; verdict: number; due: bigint | null };
/** What of a book is asked for here, and how leases are ended or go on at another rate. */
export type Holdings<S extends Paid> = {
  readonly revisions: Revisions; readonly segments: readonly S[]; readonly free: bigint; scaling: Scaling | null;
};
export type Hands<S extends Paid> = { readonly end: (segment: S, at: bigint) => void; readonly goOn: (segment: S, rate: bigint) => void; readonly forgetDry: (isOf: (index: number) => boolean) => void };
type Rules = Pick<Parameters, "scaleUpSeconds" | "scaleDownSeconds" | "runwaySecondsMin">;

const running = <S extends Paid>({ segments, revisions: { slot, replicas } }: Holdings<S>): S[] => segments.filter(({ runs, index }) => runs && index >= slot * SLOT && index < slot * SLOT + replicas);
const sum = (of: readonly Paid[], each: (one: Paid) => bigint): bigint => of.reduce((all, one) => all + each(one), 0n);

function verdictOf<S extends Paid>(book: Holdings<S>, { words }: Scaling): number {
  const levels = running(book).map(({ index, machine, rate, full }) => {
    const word = words.get(index);
    return rate < full ? 0 : word?.machine === machine ? word.level : 1;
  });
  const count = levels.length;
  const [high, low] = [levels.filter((level) => level === 2).length, levels.filter((level) => level === 0).length];
  // More than half of them, or half and one of an even number.
  return count === 0 ? 1 : 2 * high >= count + (count % 2 === 0 ? 2 : 1) ? 2 : 2 * low >= count + (count % 2 === 0 ? 2 : 1) ? 0 : 1;
}

function arm<S extends Paid>(book: Holdings<S>, rules: Rules, t: bigint, anew: boolean, couldNot: boolean = false): void {
  const { scaling, revisions: { replicas } } = book;
  if (scaling === null) return;
  const verdict = verdictOf(book, scaling);
  if (verdict === scaling.verdict && !anew) return;
  const goesUp = verdict === 2 && replicas < scaling.max;
  const goesDown = verdict === 0 && replicas > scaling.least;
  [scaling.verdict, scaling.due] = [verdict, goesUp ? t + (couldNot ? rules.scaleDownSeconds : rules.scaleUpSeconds) : goesDown ? t + rules.scaleDownSeconds : null];
}

/** A step up that could not be taken: a lease got ready, money came, or one revision is left. */
export function sooner<S extends Paid>({ scaling }: Holdings<S>, rules: Rules, t: bigint): void {
  if (scaling !== null && scaling.verdict === 2 && scaling.due !== null && scaling.due > t + rules.scaleUpSeconds) scaling.due = t + rules.scaleUpSeconds;
}

/** Whether the step is due before the new revision's turn comes. */
export const isBeforeRollout = <S extends Paid>({ scaling, revisions }: Holdings<S>): boolean => {
  const rollout = rolloutDue(revisions);
  return scaling !== null && scaling.due !== null && rollout !== null && scaling.due < rollout;
};

export function passScaling<S extends Paid>(book: Holdings<S>, hands: Hands<S>, rules: Rules, t: bigint): void {
  const { scaling, revisions } = book;
  if (scaling === null || scaling.due === null || scaling.due > t) return;
  const before = revisions.replicas;
  const isSame = verdictOf(book, scaling) === scaling.verdict;
  if (isSame && revisions.rollout === null) setNumber(book, hands, t, numberAfter(book, scaling, rules));
  arm(book, rules, t, true, isSame && revisions.replicas === before);
}

function setNumber<S extends Paid>({ revisions, segments }: Holdings<S>, { end, forgetDry }: Hands<S>, t: bigint, replicas: number): void {
  const isOver = (index: number): boolean => index - revisions.slot * SLOT >= replicas && index >= revisions.slot * SLOT && index < (revisions.slot + 1) * SLOT;
  for (const segment of segments.filter(({ runs, index }) => runs && isOver(index))) end(segment, t);
  forgetDry(isOver);
  revisions.replicas = replicas;
}

function numberAfter<S extends Paid>(book: Holdings<S>, { verdict, least, max, ceiling }: Scaling, { runwaySecondsMin }: Rules): number {
  const { revisions: { replicas: now }, free } = book;
  const leases = running(book);
  if (verdict === 1) return now;
  if (verdict === 0) return Math.max(least, now - (now < 8 ? 1 : Math.floor(now / 4)));
  if (leases.length < now) return now;
  const rate = sum(leases, ({ full }) => full);
  const average = (rate + BigInt(now) - 1n) / BigInt(now);
  let to = now;
  // One after the other, as long as there is money and room for it.
  while (to < max && to < now + Math.ceil(now / 2)) {
    const more = BigInt(to + 1 - now);
    if (ceiling > 0n && rate + more * average > ceiling) break;
    if ((free / runwaySecondsMin) < rate + more * (average > RATE_MIN ? average : RATE_MIN)) break;
    to += 1;
  }
  return to;
}

export function operateScaling<S extends Paid>(op: Operation, sender: string, book: Holdings<S>, hands: Hands<S>, rules: Rules, t: bigint): void {
  const wakeAll = (): void => { for (const segment of book.segments.filter(({ runs, rate, full }) => runs && rate < full)) hands.goOn(segment, segment.full); };
  const mine = "index" in op ? book.segments.find(({ runs, index, machine }) => runs && index === op.index && machine === sender) : undefined;
  const { scaling } = book;
  if (op.kind === "autoscale") {
    if (op.max === 0 || op.min > 0) wakeAll();
    book.scaling = op.max === 0 ? null : { least: op.min || 1, max: op.max, ceiling: op.rateMax, words: new Map(), verdict: 1, due: null };
    const { replicas } = book.revisions;
    if (book.scaling !== null) setNumber(book, hands, t, Math.min(op.max, Math.max(book.scaling.least, replicas)));
    arm(book, rules, t, true);
  } else if (op.kind === "ready" || op.kind === "topUp") sooner(book, rules, t);
  else if (op.kind === "close") book.scaling = null;
  else if (op.kind === "scale") arm(book, rules, t, true);
  else if (op.kind === "load" && scaling !== null) {
    for (const [index, { machine }] of scaling.words) if (!book.segments.some((one) => one.runs && one.index === index && one.machine === machine)) scaling.words.delete(index);
    scaling.words.set(op.index, { machine: sender, level: op.level });
    arm(book, rules, t, false);
  } else if (op.kind === "wake" && mine) {
    const rate = sum(book.segments.filter(({ runs }) => runs), (one) => (one === mine ? one.full : one.rate));
    if (book.free >= rate * rules.runwaySecondsMin) hands.goOn(mine, mine.full);
    else hands.end(mine, t);
    arm(book, rules, t, false);
  } else if (op.kind === "standby" && mine) {
    const last = t - BigInt(op.idleSeconds);
    hands.end(mine, last > mine.from ? last : mine.from + 1n);
    hands.goOn(mine, (mine.full + STANDBY_PART - 1n) / STANDBY_PART);
    arm(book, rules, t, false);
  }
}
