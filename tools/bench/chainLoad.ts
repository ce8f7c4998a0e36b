/**
 * Transfers for the chain's benchmark: senders made from numbers, transactions signed before the clock runs, and what became of each,
 * as a client sees it: handed to one validator, told by another that it is final there.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { addressOf } from "#chain/codec/address.ts";
import { type TransactionBody, encodeBody, signTransaction, txidOf } from "#chain/codec/transaction.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import { type Address, type ChainId, address, hex } from "#chain/types.ts";
import type { ValidatorHandle } from "#tools/chain/grid.ts";

export const FEE = 200_000n;
const SUBMIT_BATCH = 10;
const PACE_MS = 5;
/** A transaction that waits this long after the load has ended is lost. */
const LOST_MS = 10_000;

export type Sender = { readonly seed: Uint8Array; readonly address: Address; nonce: bigint };
export const senders = (count: number): Sender[] => Array.from({ length: count }, (_, index) => {
  const seed = sha256(new TextEncoder().encode(`bench sender ${index}`));
  return { seed, address: addressOf(publicKeyOf(seed)), nonce: 0n };
});
export const strangers = (count: number): Address[] => Array.from({ length: count }, (_, index) => address(sha256(new TextEncoder().encode(`account ${index}`)).slice(0, 20)));

export type Signed = { readonly bytes: Uint8Array; readonly txid: string };

export function sign(chainId: ChainId, sender: Sender, ops: TransactionBody["ops"]): Signed {
  const body: TransactionBody = { chainId, sender: sender.address, nonce: sender.nonce++, validUntilMs: BigInt(Date.now() + 3_000_000), fee: FEE, ops };
  return { bytes: signTransaction(body, [sender.seed]), txid: hex(txidOf(encodeBody(body))) };
}
/** Taken from the front: what one load leaves the next one goes on with, as nonces have no gaps. */
export type Feed = { readonly transactions: readonly Signed[]; next: number };
export const feedOf = (transactions: readonly Signed[]): Feed => ({ transactions, next: 0 });
export const transfers = (chainId: ChainId, from: readonly Sender[], count: number, to: readonly Address[]): Feed =>
  feedOf(Array.from({ length: count }, (_, index) => sign(chainId, from[index % from.length]!, [{ kind: "transfer", to: to[(index * 7_919) % to.length]!, amount: 1_000n }])));

export type LoadResult = {
  readonly offered: number; readonly refused: number; readonly final: number; readonly lost: number; readonly seconds: number; readonly perSecond: number;
  readonly finalityMs: Quantiles; readonly blockGapMs: Quantiles; readonly blocks: number; readonly codes: Readonly<Record<string, number>>;
};
export type Quantiles = { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number };
export function quantiles(values: readonly number[]): Quantiles {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? -1);
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

/** Watches one validator for what becomes final. */
export class Watch {
  readonly #sent = new Map<string, number>();
  readonly latenciesMs: number[] = [];
  readonly finalsAtMs: number[] = [];
  /** How many were final then. */
  readonly #finalThen: number[] = [];
  final = 0;
  #onFinal: (() => void) | null = null;

  constructor(handle: ValidatorHandle) {
    handle.onFinal = ({ txids }) => {
      const nowMs = performance.now();
      this.finalsAtMs.push(nowMs);
      for (const txid of txids) {
        const sentMs = this.#sent.get(txid);
        if (sentMs === undefined) continue;
        this.#sent.delete(txid);
        this.latenciesMs.push(nowMs - sentMs);
        this.final++;
      }
      this.#finalThen.push(this.final);
      this.#onFinal?.();
    };
  }
  /**
   * From the `from`-th block that was told on to the newest: what came after the one, in the time between the two. They come by the
   * interval, so that a measurement that begins and ends anywhere would count one of them too few or too many. Null: there are no two.
   */
  ratePerSecond(from: number): number | null {
    const last = this.finalsAtMs.length - 1;
    return last > from ? ((this.#finalThen[last]! - this.#finalThen[from]!) * 1_000) / (this.finalsAtMs[last]! - this.finalsAtMs[from]!) : null;
  }
  get waiting(): number {
    return this.#sent.size;
  }
  sent(txid: string): void {
    this.#sent.set(txid, performance.now());
  }
  forget(txid: string): void {
    this.#sent.delete(txid);
  }
  /** Until something more is final, or `ms` have passed. */
  next(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#onFinal = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

export type LoadOptions = {
  readonly to: ValidatorHandle;
  readonly watch: Watch;
  readonly feed: Feed;
  readonly seconds: number;
  /** Most of them to offer; else all. */
  readonly countMax?: number;
  /** Offered each second; null: as fast as they become final, with at most `inFlightMax` under way. */
  readonly rate: number | null;
  readonly inFlightMax?: number;
  /** How long what is under way at the end is waited for. */
  readonly lostMs?: number;
  /** Called after so many seconds. */
  readonly at?: { readonly seconds: number; readonly run: () => void };
};

export async function load({ to, watch, feed, countMax = Infinity, seconds, rate, inFlightMax = 4_000, lostMs = LOST_MS, at }: LoadOptions): Promise<LoadResult> {
  const codes: Record<string, number> = {};
  const startedMs = performance.now();
  const [finalBefore, gapsBefore] = [watch.final, watch.finalsAtMs.length];
  const elapsed = (): number => (performance.now() - startedMs) / 1_000;
  let [offered, refused, isTold] = [0, 0, false];
  const answers = new Set<Promise<void>>();
  const push = (count: number): void => {
    const some = feed.transactions.slice(feed.next, feed.next + count);
    feed.next += some.length;
    offered += some.length;
    for (const { txid } of some) watch.sent(txid);
    const answer = to.submit(some.map(({ bytes }) => bytes)).then((answered) => {
      for (const [index, code] of answered.entries()) {
        if (code === null) continue;
        refused++;
        codes[code] = (codes[code] ?? 0) + 1;
        watch.forget(some[index]!.txid);
      }
    }).catch(() => undefined).finally(() => answers.delete(answer));
    answers.add(answer);
  };
  const left = (): number => Math.min(countMax - offered, feed.transactions.length - feed.next);
  while (elapsed() < seconds && left() > 0) {
    if (at && !isTold && elapsed() >= at.seconds) {
      isTold = true;
      at.run();
    }
    const room = rate === null ? inFlightMax - watch.waiting : Math.floor(elapsed() * rate) - offered;
    for (let now = Math.min(room, left()); now > 0; now -= SUBMIT_BATCH) push(Math.min(now, SUBMIT_BATCH));
    if (rate === null && room <= 0) await watch.next(50);
    else await sleep(PACE_MS);
  }
  const loadSeconds = elapsed();
  const finalInTime = watch.final - finalBefore;
  const perSecond = watch.ratePerSecond(gapsBefore) ?? finalInTime / loadSeconds;
  await Promise.all(answers);
  for (const endMs = performance.now() + lostMs; watch.waiting > 0 && performance.now() < endMs; ) await sleep(20);
  const gaps = watch.finalsAtMs.slice(gapsBefore).map((ms, index, all) => ms - (all[index - 1] ?? ms)).slice(1);
  return {
    offered, refused, final: watch.final - finalBefore, lost: watch.waiting, seconds: loadSeconds, perSecond: Math.round(perSecond),
    finalityMs: quantiles(watch.latenciesMs.splice(0)), blockGapMs: quantiles(gaps), blocks: gaps.length, codes,
  };
}
