/**
 * The escrow against a naive ledger that walks every second, by seed; and what one must be able to rely on, one by one.
 *
 * The naive model keeps a list of seconds for each segment and moves money second by second. After every operation what is free,
 * who runs, and at the end what each operator and the chain got, must agree to the unit.
 */
import assert from "node:assert";
import { test } from "node:test";
import {
  type Escrow, type EscrowResult, type MoneyRules, type Payment, claim, down, dryAt, dueSecond, faultOf, freeOf, newEscrow, open, payDue, reprice, stop, takeFree, topUp, touch,
} from "#chain/ledger/escrow.ts";
import { type Address, address } from "#chain/types.ts";
import { type Random, random } from "#tests/ledger/world.ts";

const RULES: MoneyRules = { holdSeconds: 30n, runwaySecondsMin: 60n, unpaidSegmentsMax: 8, shareBps: 333n };
const MACHINES = [1, 2, 3].map((n) => address(new Uint8Array(20).fill(n)));
const machineAt = (n: number): Address => MACHINES[n] as Address;
const held = (result: EscrowResult): Escrow => { assert(result.ok, "must be taken"); return result.escrow; };

type NaiveSegment = { index: number; machine: Address; rate: bigint; seconds: { second: bigint; paid: boolean }[]; end: bigint | null };

class Naive {
  free: bigint;
  t: bigint;
  segments: NaiveSegment[] = [];
  received = new Map<Address, bigint>();
  dries = 0;
  constructor(free: bigint, t: bigint) {
    this.free = free;
    this.t = t;
  }
  live(): NaiveSegment[] {
    return this.segments.filter((segment) => segment.end === null);
  }
  rate(): bigint {
    return this.live().reduce((sum, { rate }) => sum + rate, 0n);
  }
  unpaid(index: number): number {
    return this.segments.filter((segment) => segment.index === index && segment.end !== null && segment.seconds.length > 0 && segment.end + RULES.holdSeconds > this.t).length;
  }
  runTo(t: bigint): void {
    for (;; this.t++) {
      if (this.rate() > this.free) {
        for (const segment of this.live()) segment.end = this.t;
        this.dries++;
      }
      this.payEnded();
      if (this.t === t) return;
      for (const segment of this.live()) {
        this.free -= segment.rate;
        segment.seconds.push({ second: this.t, paid: false });
      }
    }
  }
  payEnded(): void {
    for (const segment of this.segments) if (segment.end !== null && segment.end + RULES.holdSeconds <= this.t) this.payUpTo(segment, segment.end);
  }
  payUpTo(segment: NaiveSegment, until: bigint): void {
    for (const each of segment.seconds) {
      if (each.paid || each.second >= until) continue;
      each.paid = true;
      this.received.set(segment.machine, (this.received.get(segment.machine) ?? 0n) + segment.rate);
    }
  }
  refundFrom(segment: NaiveSegment, end: bigint): void {
    const kept = segment.seconds.filter(({ second, paid }) => paid || second < end);
    this.free += segment.rate * BigInt(segment.seconds.length - kept.length);
    segment.seconds = kept;
    const last = kept.at(-1);
    segment.end = last === undefined ? end : last.second + 1n;
  }
  open(index: number, machine: Address, rate: bigint): void {
    this.segments.push({ index, machine, rate, seconds: [], end: null });
  }
}

type Count = { operations: number; dry: number; lowered: number; refused: number };

function playHistory(seed: number, count: Count): void {
  const r = random(seed);
  const start = 1000n;
  const balance = BigInt(r.int(20_000) + 1);
  const naive = new Naive(balance, start);
  let escrow = newEscrow(balance, start);
  // The same history, looked at in between at random: how time is cut must not matter.
  let cut = escrow;
  let into = balance;
  const got = { one: new Map<Address, bigint>(), cut: new Map<Address, bigint>(), share: 0n, cutShare: 0n };
  const note = (which: "one" | "cut") => (payment: Payment): void => {
    got[which].set(payment.machine, (got[which].get(payment.machine) ?? 0n) + payment.amount);
    if (which === "one") got.share += payment.share;
    else got.cutShare += payment.share;
  };
  const pay = (from: Escrow, t: bigint, which: "one" | "cut"): Escrow => {
    const paid = payDue(from, t, RULES);
    paid.payments.forEach(note(which));
    return paid.escrow;
  };
  const both = (change: (from: Escrow) => Escrow): void => { escrow = change(escrow); cut = change(cut); };
  const settled = (from: Escrow): Escrow => (from.dry === null ? from : { ...from, dry: null });

  for (let k = 0; k < 40; k++) {
    const t = naive.t + BigInt(r.int(40));
    for (let middle = naive.t; middle < t; middle += BigInt(r.int(9) + 1)) cut = settled(pay(touch(cut, middle), middle, "cut"));
    naive.runTo(t);
    escrow = pay(touch(escrow, t), t, "one");
    cut = pay(touch(cut, t), t, "cut");
    if (escrow.dry !== null && r.int(2) === 0) {
      const refusal = open(escrow, t, [{ index: 9, machine: machineAt(0), operator: machineAt(0), rate: 1n }], RULES);
      assert(!refusal.ok && refusal.code === "escrow_dry");
    }
    both(settled);
    count.operations++;
    playOperation(r, naive, t, both, () => escrow, note, (payment) => note("cut")(payment), count, (more) => { into += more; });
    naive.runTo(t);
    both((from) => settled(touch(from, t)));
    compare(seed, k, escrow, cut, naive);
  }

  const end = naive.t;
  for (let index = 0; index < 4; index++) both((from) => stop(from, end, index, end));
  for (const segment of naive.live()) segment.end = end;
  naive.runTo(end + RULES.holdSeconds);
  escrow = pay(escrow, naive.t, "one");
  cut = pay(cut, naive.t, "cut");
  for (const machine of MACHINES) {
    assert.strictEqual(got.one.get(machine) ?? 0n, naive.received.get(machine) ?? 0n, `seed ${seed}`);
    assert.strictEqual(got.cut.get(machine) ?? 0n, naive.received.get(machine) ?? 0n, `seed ${seed}, cut`);
  }
  const share = naive.segments.reduce((sum, { rate, seconds }) => sum + (rate * BigInt(seconds.filter(({ paid }) => paid).length) * RULES.shareBps) / 10_000n, 0n);
  assert.strictEqual(got.share, share, `seed ${seed}: the chain's share`);
  assert.strictEqual(got.cutShare, share, `seed ${seed}: the chain's share, cut`);
  assert.strictEqual(escrow.owed, 0n);
  const rest = takeFree(escrow, naive.t);
  assert.strictEqual(rest.escrow.balance, 0n);
  assert.strictEqual(rest.amount + [...got.one.values()].reduce((sum, amount) => sum + amount, 0n), into, `seed ${seed}: conserved`);
  count.dry += naive.dries;
}

function playOperation(
  r: Random, naive: Naive, t: bigint, both: (change: (from: Escrow) => Escrow) => void, now: () => Escrow, note: (which: "one" | "cut") => (payment: Payment) => void,
  noteCut: (payment: Payment) => void, count: Count, add: (more: bigint) => void,
): void {
  const index = r.int(4);
  const rate = BigInt(r.int(30) + 1);
  const machine = machineAt(r.int(3));
  const live = naive.live().find((segment) => segment.index === index);
  switch (r.int(8)) {
    case 0:
    case 1: {
      if (live) return;
      const takes = naive.free >= (naive.rate() + rate) * 60n && naive.unpaid(index) < RULES.unpaidSegmentsMax;
      const opened = open(now(), t, [{ index, machine, operator: machine, rate }], RULES);
      assert.strictEqual(opened.ok, takes);
      if (!takes) { count.refused++; return; }
      both((from) => held(open(from, t, [{ index, machine, operator: machine, rate }], RULES)));
      naive.open(index, machine, rate);
      return;
    }
    case 2: {
      const until = t - BigInt(r.int(60));
      if (live) naive.payUpTo(live, until < t - RULES.holdSeconds ? until : t - RULES.holdSeconds);
      let first = true;
      both((from) => {
        const { escrow, payment } = claim(from, t, index, until, RULES);
        if (payment) (first ? note("one") : noteCut)(payment);
        first = false;
        return escrow;
      });
      return;
    }
    case 3: {
      const end = t - BigInt(r.int(20));
      both((from) => stop(from, t, index, end));
      if (live) naive.refundFrom(live, end);
      return;
    }
    case 4: {
      const end = t - BigInt(r.int(45));
      both((from) => down(from, t, machine, end));
      for (const segment of naive.segments) {
        const isOpen = segment.end === null || segment.end + RULES.holdSeconds > t;
        if (segment.machine === machine && isOpen && (segment.end === null || segment.end > end)) { naive.refundFrom(segment, end); count.lowered++; }
      }
      return;
    }
    case 5:
    case 6: {
      const rates = new Map([[index, rate], [(index + 1) % 4, BigInt(r.int(30) + 1)]]);
      const changed = naive.live().filter((segment) => (rates.get(segment.index) ?? segment.rate) !== segment.rate);
      const after = naive.live().reduce((sum, segment) => sum + (rates.get(segment.index) ?? segment.rate), 0n);
      const isFew = changed.every((segment) => naive.unpaid(segment.index) + (segment.seconds.length > 0 ? 1 : 0) < RULES.unpaidSegmentsMax);
      const takes = isFew && (after <= naive.rate() || naive.free >= after * 60n);
      assert.strictEqual(reprice(now(), t, rates, RULES).ok, takes);
      if (!takes) { count.refused++; return; }
      both((from) => held(reprice(from, t, rates, RULES)));
      for (const segment of changed) {
        segment.end = t;
        naive.open(segment.index, segment.machine, rates.get(segment.index) as bigint);
      }
      return;
    }
    default: {
      const more = BigInt(r.int(3000));
      both((from) => topUp(from, t, more));
      naive.free += more;
      add(more);
    }
  }
}

function compare(seed: number, step: number, escrow: Escrow, cut: Escrow, naive: Naive): void {
  const where = `seed ${seed}, step ${step}`;
  assert.strictEqual(faultOf(escrow), null, where);
  assert.strictEqual(freeOf(escrow), naive.free, where);
  assert.strictEqual(escrow.streams.length, naive.live().length, where);
  assert.deepStrictEqual(cut, escrow, where);
}

test("an escrow by timestamps equals a ledger that walks every second, over 1,200 histories and any partition of their time", () => {
  const count: Count = { operations: 0, dry: 0, lowered: 0, refused: 0 };
  for (let seed = 1; seed <= 1200; seed++) playHistory(seed, count);
  // The histories reach what they are for.
  assert(count.operations === 48_000 && count.dry > 500 && count.lowered > 2000 && count.refused > 2000, JSON.stringify(count));
});

const at = (index: number, rate: bigint): Parameters<typeof open>[2][number] => ({ index, machine: machineAt(index % 3), operator: machineAt(index % 3), rate });

test("open() needs 60 seconds of the rate afterwards, and not one unit less", () => {
  assert.strictEqual(open(newEscrow(599n, 0n), 0n, [at(0, 10n)], RULES).ok, false);
  const one = held(open(newEscrow(600n, 0n), 0n, [at(0, 10n)], RULES));
  assert.strictEqual(dryAt(one), 60n);
  const two = open(one, 0n, [at(1, 1n)], RULES);
  assert(!two.ok && two.code === "insufficient_funds");
});

test("an escrow that runs dry ends all its streams in the same second, whatever is left over", () => {
  const escrow = touch(held(open(newEscrow(1207n, 0n), 0n, [at(0, 10n), at(1, 10n)], RULES)), 500n);
  assert.strictEqual(escrow.dry, 60n);
  assert.deepStrictEqual(escrow.ended.map(({ end }) => end), [60n, 60n]);
  assert.strictEqual(freeOf(escrow), 7n);
  assert.strictEqual(dueSecond(escrow, RULES), 60n);
});

test("an ended segment is paid at its end + hold and not a second sooner", () => {
  const escrow = stop(held(open(newEscrow(600n, 0n), 0n, [at(0, 10n)], RULES)), 10n, 0, 10n);
  assert.strictEqual(payDue(escrow, 39n, RULES).payments.length, 0);
  assert.strictEqual(dueSecond(escrow, RULES), 40n);
  assert.strictEqual(payDue(escrow, 40n, RULES).payments[0]?.amount, 100n);
});

test("claim() pays a running stream up to hold ago, once", () => {
  const escrow = held(open(newEscrow(6000n, 0n), 0n, [at(0, 10n)], RULES));
  assert.strictEqual(claim(escrow, 30n, 0, 30n, RULES).payment, null);
  const first = claim(escrow, 50n, 0, 50n, RULES);
  assert.strictEqual(first.payment?.amount, 200n);
  assert.strictEqual(claim(first.escrow, 50n, 0, 50n, RULES).payment, null);
  assert.strictEqual(claim(escrow, 50n, 0, 5n, RULES).payment?.amount, 50n);
});

test("the ninth unpaid segment of a lease is refused, and ending one never is", () => {
  let escrow = held(open(newEscrow(1_000_000n, 0n), 0n, [at(0, 1n)], RULES));
  for (let k = 1n; k < 8n; k++) escrow = held(reprice(escrow, k, new Map([[0, k + 1n]]), RULES));
  const refusal = reprice(escrow, 8n, new Map([[0, 100n]]), RULES);
  assert(!refusal.ok && refusal.code === "too_many_changes");
  assert.strictEqual(stop(escrow, 9n, 0, 9n).ended.length, 8);
});

test("a lower end that is proven later frees the difference, and never what was paid", () => {
  const claimed = claim(held(open(newEscrow(6000n, 0n), 0n, [at(0, 10n)], RULES)), 50n, 0, 50n, RULES).escrow;
  const ended = stop(claimed, 55n, 0, 55n);
  assert.strictEqual(freeOf(down(ended, 60n, machineAt(0), 40n)) - freeOf(ended), 150n);
  assert.strictEqual(freeOf(down(ended, 60n, machineAt(0), 0n)) - freeOf(ended), 350n);
  assert.strictEqual(freeOf(down(ended, 60n, machineAt(1), 0n)), freeOf(ended));
});
