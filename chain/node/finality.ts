/**
 * Which transactions are final, and who waits to hear of one.
 *
 * The index keeps height and place of the newest TRANSACTION_INDEX_MAX transactions in about 60 bytes each, keyed by half of
 * their id; what became of one is read from its block.
 */
import type { Hex } from "#chain/types.ts";
import type { TransactionStatus } from "./chainNode.ts";
import { NodeError } from "./errors.ts";
import { latin1 } from "./latin1.ts";
import { TRANSACTION_INDEX_MAX, WAITERS_MAX } from "./limits.ts";

const PLACES_PER_BLOCK = 4096;
const WAIT_MS_DEFAULT = 30_000;

export class TransactionIndex {
  readonly #places = new Map<string, number>();
  readonly #countMax: number;

  constructor(countMax: number = TRANSACTION_INDEX_MAX) {
    this.#countMax = countMax;
  }
  add(height: number, txids: readonly Uint8Array[]): void {
    for (const [index, txid] of txids.entries()) this.#places.set(shortKey(txid), height * PLACES_PER_BLOCK + index);
    while (this.#places.size > this.#countMax) this.#places.delete(this.#places.keys().next().value!);
  }
  /** All of it, oldest first: 16 bytes of id and the place, again and again. */
  *dump(): Generator<Uint8Array, void> {
    const entries = [...this.#places];
    for (let at = 0; at < entries.length; at += ENTRIES_PER_ITEM) {
      const some = entries.slice(at, at + ENTRIES_PER_ITEM);
      const item = new Uint8Array(some.length * ENTRY_BYTES);
      const view = new DataView(item.buffer);
      for (const [index, [key, place]] of some.entries()) {
        item.set(Buffer.from(key, "latin1"), index * ENTRY_BYTES);
        view.setFloat64(index * ENTRY_BYTES + KEY_BYTES, place);
      }
      yield item;
    }
  }
  load(item: Uint8Array): void {
    const view = new DataView(item.buffer, item.byteOffset, item.byteLength);
    for (let at = 0; at + ENTRY_BYTES <= item.length; at += ENTRY_BYTES) this.#places.set(shortKey(item.subarray(at)), view.getFloat64(at + KEY_BYTES));
  }
  find(txid: Uint8Array): { height: number; index: number } | null {
    const place = this.#places.get(shortKey(txid));
    return place === undefined ? null : { height: Math.floor(place / PLACES_PER_BLOCK), index: place % PLACES_PER_BLOCK };
  }
}
const KEY_BYTES = 16;
const ENTRY_BYTES = 24;
const ENTRIES_PER_ITEM = 4_096;
const shortKey = (txid: Uint8Array): string => latin1(txid, 0, KEY_BYTES);

const aborted = (txid: Hex): NodeError => new NodeError("aborted", `Cannot wait for transaction ${txid} any longer: the caller gave up`);

type Waiter = { resolve(status: TransactionStatus): void; reject(error: NodeError): void };

export class Waiters {
  readonly #byTransaction = new Map<Hex, Set<Waiter>>();
  #count = 0;

  wait(txid: Hex, { timeoutMs = WAIT_MS_DEFAULT, signal }: { timeoutMs?: number; signal?: AbortSignal }): Promise<TransactionStatus> {
    if (this.#count >= WAITERS_MAX) return Promise.reject(new NodeError("overloaded", `Cannot wait for transaction ${txid}: ${WAITERS_MAX} others wait`));
    if (signal?.aborted) return Promise.reject(aborted(txid));
    return new Promise((resolve, reject) => {
      const done = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        const set = this.#byTransaction.get(txid);
        if (!set?.delete(waiter)) return;
        this.#count--;
        if (set.size === 0) this.#byTransaction.delete(txid);
      };
      const waiter: Waiter = {
        resolve: (status) => { done(); resolve(status); },
        reject: (error) => { done(); reject(error); },
      };
      const onAbort = (): void => waiter.reject(aborted(txid));
      const timer = setTimeout(() => waiter.reject(new NodeError("timeout", `Cannot say that transaction ${txid} is final: it is not after ${timeoutMs} ms`)), timeoutMs);
      signal?.addEventListener("abort", onAbort);
      this.#count++;
      const set = this.#byTransaction.get(txid);
      if (set) set.add(waiter);
      else this.#byTransaction.set(txid, new Set([waiter]));
    });
  }
  has(txid: Hex): boolean {
    return this.#byTransaction.has(txid);
  }
  get count(): number {
    return this.#count;
  }
  resolve(txid: Hex, status: TransactionStatus): void {
    for (const waiter of this.#byTransaction.get(txid) ?? []) waiter.resolve(status);
  }
  reject(txid: Hex, code: string, message: string): void {
    for (const waiter of this.#byTransaction.get(txid) ?? []) waiter.reject(new NodeError(code, message));
  }
  rejectAll(code: string, message: string): void {
    for (const txid of this.#byTransaction.keys()) this.reject(txid, code, message);
  }
}
