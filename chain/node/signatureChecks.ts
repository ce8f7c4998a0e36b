/**
 * Signatures of transactions, checked in libuv's pool, once per node.
 *
 * Whoever hands transactions in is a *source*: a peer, or a client of this machine's API. Each source has a queue of its own and they are
 * served in turn, so that a flood of forgeries from one costs the others nothing but its share of the turns; when all queues
 * together are full, the longest gives up its newest. What a block needs is checked at once, before all queues.
 */
import type { DecodedTransaction } from "#chain/codec/transaction.ts";
import { verifyInPool } from "#chain/crypto.ts";
import { CHECKS_AT_ONCE, CHECKS_QUEUED_MAX } from "./limits.ts";

/** Answers in a later turn. */
export type CheckSignatures = (transaction: DecodedTransaction, done: (holds: boolean) => void) => void;
/** null: given up, as there was no room. */
export type Verdict = boolean | null;

export type Check = {
  readonly transaction: DecodedTransaction;
  readonly source: string;
  readonly done: (verdict: Verdict) => void;
  isStarted: boolean;
};

export class SignatureChecks {
  readonly #check: CheckSignatures;
  readonly #queues = new Map<string, Check[]>();
  /** Whose turn it is, first first: the sources that have a queue. */
  readonly #turns: string[] = [];
  #queued = 0;
  #running = 0;

  constructor(check: CheckSignatures = signaturesHold) {
    this.#check = check;
  }
  get queuedCount(): number {
    return this.#queued;
  }

  /** `done` is called in a later turn. Null: there is no room for this source. */
  add(source: string, transaction: DecodedTransaction, done: (verdict: Verdict) => void): Check | null {
    let queue = this.#queues.get(source);
    if (this.#queued >= CHECKS_QUEUED_MAX && !this.#makeRoom(queue?.length ?? 0)) return null;
    if (!queue) {
      this.#queues.set(source, (queue = []));
      this.#turns.push(source);
    }
    const check: Check = { transaction, source, done, isStarted: false };
    queue.push(check);
    this.#queued++;
    this.#pump();
    return check;
  }
  /** A block needs it: not in its turn but now. */
  hurry(check: Check): void {
    if (!check.isStarted) this.#start(check);
  }
  now(transaction: DecodedTransaction): Promise<boolean> {
    return new Promise((resolve) => this.#check(transaction, resolve));
  }

  #pump(): void {
    while (this.#running < CHECKS_AT_ONCE && this.#turns.length > 0) {
      const source = this.#turns.shift()!;
      const queue = this.#queues.get(source)!;
      const check = queue.shift()!;
      this.#queued--;
      // To the end of the line.
      if (queue.length > 0) this.#turns.push(source);
      else this.#queues.delete(source);
      if (!check.isStarted) this.#start(check);
    }
  }
  #start(check: Check): void {
    check.isStarted = true;
    this.#running++;
    this.#check(check.transaction, (holds) => {
      this.#running--;
      check.done(holds);
      this.#pump();
    });
  }
  #makeRoom(lengthOfOwn: number): boolean {
    let longest: Check[] = [];
    for (const queue of this.#queues.values()) if (queue.length > longest.length) longest = queue;
    if (longest.length <= lengthOfOwn + 1) return false;
    const given = longest.pop()!;
    this.#queued--;
    if (!given.isStarted) {
      given.isStarted = true;
      queueMicrotask(() => given.done(null));
    }
    return true;
  }
}

export function signaturesHold({ bodyBytes, signatures }: DecodedTransaction, done: (holds: boolean) => void): void {
  const [first] = signatures;
  if (first && signatures.length === 1) return verifyInPool("transaction", first.signature, bodyBytes, first.key, done);
  let left = signatures.length;
  let all = left > 0;
  if (left === 0) queueMicrotask(() => done(false));
  for (const { signature, key } of signatures) {
    verifyInPool("transaction", signature, bodyBytes, key, (holds) => {
      all &&= holds;
      if (--left === 0) done(all);
    });
  }
}
