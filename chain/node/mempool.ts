/**
 * Transactions that wait for a block.
 *
 * Admission checks the cheapest thing first, and the signature last, once per node, in libuv's pool: size, form, chain,
 * nonce window, expiry, keys, fee, room, funds, signature. After the signature everything that may have moved is checked
 * again. A refusal is a normal answer with a stable code: transaction_too_large, transaction_malformed, too_many_pending,
 * replacement_underpriced, mempool_full, insufficient_funds, bad_signature, or one of the ledger's for the envelope (`refusalOf`).
 *
 * Invariants: an account has at most one transaction per nonce and PENDING_PER_ACCOUNT_MAX in all, within
 * [n, n + 16) of its nonce n at the tip; bytes and count stay below their caps, the lowest fee per byte goes first; what is
 * here has a good signature. `readyCount` counts what the child of the tip could take: runs without a gap from n.
 * A machine's free operations pay nothing and are not pushed out; their number is bounded by the machines and their 16.
 *
 * Known by txid is not enough to be known: the id does not cover the signatures. `known` compares the bytes.
 */
import { TRANSACTION_BYTES_MAX } from "#chain/constants.ts";
import { CodecError } from "#chain/codec/cbor.ts";
import { type DecodedTransaction, decodeTransaction } from "#chain/codec/transaction.ts";
import { verifyAsync } from "#chain/crypto.ts";
import { type Address, type Hex, type Refusal, hex, refuse } from "#chain/types.ts";
import { MEMPOOL_BYTES_MAX, MEMPOOL_CHECKS_MAX, MEMPOOL_COUNT_MAX, REPLACEMENT_RAISE_PERCENT } from "./limits.ts";

export const PENDING_PER_ACCOUNT_MAX = 16;

/** What the pool asks of the state at the tip. */
export type MempoolState = {
  /** null: nobody has ever paid it anything. */
  account(sender: Address): { readonly nonce: bigint; readonly balance: bigint } | null;
  /** Why the envelope is wrong: chain, nonce (up to `noncesAhead` later than the account's is right), expiry, keys, fee. */
  refusalOf(transaction: DecodedTransaction, noncesAhead: bigint): Refusal | null;
};
export type MempoolOptions = {
  readonly bytesMax?: number;
  readonly countMax?: number;
  readonly checkSignatures?: (transaction: DecodedTransaction) => Promise<boolean>;
  /** Called when something leaves without having become final: replaced, pushed out, expired, or invalid at the tip. */
  readonly onDrop?: (transaction: DecodedTransaction, code: string) => void;
};
export type Admitted = { readonly ok: true; readonly transaction: DecodedTransaction; readonly bytes: Uint8Array; /** False: it was here before. */ readonly fresh: boolean };

type Entry = {
  readonly transaction: DecodedTransaction;
  readonly bytes: Uint8Array;
  readonly key: Hex;
  readonly free: boolean;
  /** Fee per KiB, work counted as bytes: what the order goes by. */
  readonly feeRate: bigint;
  /** What the sender must own for it. */
  readonly cost: bigint;
  readonly arrival: number;
};
type Account = { readonly sender: Address; readonly entries: Map<bigint, Entry>; nonceTip: bigint; ready: number };

export class Mempool {
  readonly #state: MempoolState;
  readonly #options: MempoolOptions;
  readonly #bytesMax: number;
  readonly #countMax: number;
  readonly #entries = new Map<Hex, Entry>();
  readonly #accounts = new Map<Hex, Account>();
  readonly #checking = new Map<Hex, Promise<Admitted | Refusal>>();
  #evictable = new Heap(isDispensable);
  #bytes = 0;
  #ready = 0;
  #arrivals = 0;
  #sweptMs = 0n;

  constructor(state: MempoolState, options: MempoolOptions = {}) {
    this.#state = state;
    this.#options = options;
    this.#bytesMax = options.bytesMax ?? MEMPOOL_BYTES_MAX;
    this.#countMax = options.countMax ?? MEMPOOL_COUNT_MAX;
  }

  get count(): number {
    return this.#entries.size;
  }
  get bytesTotal(): number {
    return this.#bytes;
  }
  get readyCount(): number {
    return this.#ready;
  }
  has(txid: Hex): boolean {
    return this.#entries.has(txid);
  }
  /** All that waits, oldest first: what a peer that comes is sent. */
  *all(): Generator<Uint8Array> {
    for (const entry of this.#entries.values()) yield entry.bytes;
  }
  /** The transaction of exactly these bytes, its signature known to be good. */
  known(txid: Hex, bytes: Uint8Array): DecodedTransaction | null {
    const entry = this.#entries.get(txid);
    return entry && Buffer.compare(entry.bytes, bytes) === 0 ? entry.transaction : null;
  }

  bytesOf(txid: Hex): Uint8Array | null {
    return this.#entries.get(txid)?.bytes ?? null;
  }

  async submit(bytes: Uint8Array): Promise<Admitted | Refusal> {
    if (bytes.length > TRANSACTION_BYTES_MAX) return refuse("transaction_too_large", `Cannot take a transaction of ${bytes.length} bytes as ${TRANSACTION_BYTES_MAX} is the limit`);
    let transaction: DecodedTransaction;
    try {
      transaction = decodeTransaction(bytes);
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      return refuse("transaction_malformed", `Cannot read the transaction: ${error.message}`);
    }
    const key = hex(transaction.txid);
    const here = this.#entries.get(key);
    if (here) return { ok: true, transaction: here.transaction, bytes: here.bytes, fresh: false };
    const running = this.#checking.get(key);
    if (running) return running.then((answer) => (answer.ok ? { ...answer, fresh: false } : answer));
    const refusal = this.#refusal(transaction);
    if (refusal) return refusal;
    if (this.#checking.size >= MEMPOOL_CHECKS_MAX) return refuse("mempool_full", `Cannot take the transaction as ${MEMPOOL_CHECKS_MAX} signatures wait to be checked`);
    const check = this.#check(transaction, bytes.slice(), key).finally(() => this.#checking.delete(key));
    this.#checking.set(key, check);
    return check;
  }

  /**
   * In the order a block takes them: free operations, of half a block at most where others wait, then by fee per byte; of one account by
   * nonce, from the tip's on.
   */
  select(countMax: number, bytesMax: number): DecodedTransaction[] {
    const heap = new Heap(isBefore);
    for (const account of this.#accounts.values()) {
      const first = account.ready > 0 ? account.entries.get(account.nonceTip) : undefined;
      if (first) heap.push(first);
    }
    const chosen: DecodedTransaction[] = [];
    const later: Entry[] = [];
    let bytes = 0;
    for (let entry = heap.pop() ?? later.shift(); entry && chosen.length < countMax; entry = heap.pop() ?? later.shift()) {
      // The account's later ones depend on this one, so all of them wait for the next block.
      if (bytes + entry.bytes.length > bytesMax) continue;
      if (entry.free && heap.size > 0 && (chosen.length >= countMax / 2 || bytes + entry.bytes.length > bytesMax / 2)) {
        later.push(entry);
        continue;
      }
      chosen.push(entry.transaction);
      bytes += entry.bytes.length;
      const { sender, nonce } = entry.transaction.body;
      const next = this.#accounts.get(hex(sender))?.entries.get(nonce + 1n);
      if (next) heap.push(next);
    }
    return chosen;
  }

  /** The tip moved and these transactions with it, forward or back. */
  tipMoved(transactions: Iterable<DecodedTransaction>): void {
    for (const { body } of transactions) {
      const account = this.#accounts.get(hex(body.sender));
      if (account) this.#refresh(account);
    }
  }

  /** These are final: they and whatever had their nonces leave. */
  final(transactions: readonly DecodedTransaction[], timeMs: bigint): void {
    for (const { body, txid } of transactions) {
      const account = this.#accounts.get(hex(body.sender));
      if (!account) continue;
      for (const entry of account.entries.values()) {
        if (entry.transaction.body.nonce > body.nonce) continue;
        this.#remove(entry, entry.key === hex(txid) ? null : "wrong_nonce");
      }
    }
    // A walk over all of them, so not at every block.
    if (timeMs < this.#sweptMs + SWEEP_INTERVAL_MS) return;
    this.#sweptMs = timeMs;
    for (const entry of this.#entries.values()) if (entry.transaction.body.validUntilMs < timeMs) this.#remove(entry, "expired");
  }

  /** It cannot be in any block on this tip. */
  drop(txid: Hex, code: string): void {
    const entry = this.#entries.get(txid);
    if (entry) this.#remove(entry, code);
  }

  async #check(transaction: DecodedTransaction, bytes: Uint8Array, key: Hex): Promise<Admitted | Refusal> {
    const check = this.#options.checkSignatures ?? signaturesHoldAsync;
    if (!(await check(transaction))) return refuse("bad_signature", "Cannot take the transaction as a signature does not hold");
    const refusal = this.#refusal(transaction);
    if (refusal) return refusal;
    this.#insert(transaction, bytes, key);
    return { ok: true, transaction, bytes, fresh: true };
  }

  #refusal(transaction: DecodedTransaction): Refusal | null {
    return this.#state.refusalOf(transaction, BigInt(PENDING_PER_ACCOUNT_MAX - 1)) ?? this.#refusalOfRoom(transaction) ?? this.#refusalOfFunds(transaction);
  }

  #refusalOfRoom(transaction: DecodedTransaction): Refusal | null {
    const { body, sizeBytes } = transaction;
    const account = this.#accounts.get(hex(body.sender));
    const same = account?.entries.get(body.nonce);
    if (same) {
      const least = same.transaction.body.fee + (same.transaction.body.fee * REPLACEMENT_RAISE_PERCENT + 99n) / 100n;
      return body.fee >= least && body.fee > same.transaction.body.fee ? null : refuse("replacement_underpriced", `Cannot replace nonce ${body.nonce} for a fee of ${body.fee} as it must be ${least}`);
    }
    if (account && account.entries.size >= PENDING_PER_ACCOUNT_MAX) return refuse("too_many_pending", `Cannot take more than ${PENDING_PER_ACCOUNT_MAX} transactions of one account`);
    if (isFree(body) || (this.#bytes + sizeBytes <= this.#bytesMax && this.#entries.size < this.#countMax)) return null;
    const lowest = this.#lowest();
    return lowest && lowest.feeRate < feeRateOf(transaction) ? null : refuse("mempool_full", "Cannot take the transaction as those that wait pay more");
  }

  #refusalOfFunds({ body }: DecodedTransaction): Refusal | null {
    const balance = this.#state.account(body.sender)?.balance ?? 0n;
    let cost = costOf(body);
    for (const entry of this.#accounts.get(hex(body.sender))?.entries.values() ?? []) {
      if (entry.transaction.body.nonce < body.nonce) cost += entry.cost;
    }
    return cost <= balance ? null : refuse("insufficient_funds", `Cannot take the transaction as it and those before it need ${cost} and the account has ${balance}`);
  }

  #insert(transaction: DecodedTransaction, bytes: Uint8Array, key: Hex): void {
    const { body } = transaction;
    const sender = hex(body.sender);
    let account = this.#accounts.get(sender);
    if (!account) this.#accounts.set(sender, (account = { sender: body.sender, entries: new Map(), nonceTip: this.#state.account(body.sender)?.nonce ?? 0n, ready: 0 }));
    const replaced = account.entries.get(body.nonce);
    if (replaced) this.#unlink(replaced, account);
    const entry: Entry = { transaction, bytes, key, free: isFree(body), feeRate: feeRateOf(transaction), cost: costOf(body), arrival: this.#arrivals++ };
    account.entries.set(body.nonce, entry);
    this.#entries.set(key, entry);
    if (!entry.free) this.#evictable.push(entry);
    this.#bytes += bytes.length;
    this.#refresh(account);
    if (replaced) this.#options.onDrop?.(replaced.transaction, "replaced");
    while (this.#bytes > this.#bytesMax || this.#entries.size > this.#countMax) {
      const lowest = this.#lowest();
      if (!lowest) break;
      this.#remove(lowest, "mempool_full");
    }
  }

  #remove(entry: Entry, code: string | null): void {
    const sender = hex(entry.transaction.body.sender);
    const account = this.#accounts.get(sender)!;
    this.#unlink(entry, account);
    this.#refresh(account);
    if (account.entries.size === 0) this.#accounts.delete(sender);
    if (code !== null) this.#options.onDrop?.(entry.transaction, code);
  }

  #unlink(entry: Entry, account: Account): void {
    account.entries.delete(entry.transaction.body.nonce);
    this.#entries.delete(entry.key);
    this.#bytes -= entry.bytes.length;
  }

  #refresh(account: Account): void {
    account.nonceTip = this.#state.account(account.sender)?.nonce ?? 0n;
    let ready = 0;
    while (account.entries.has(account.nonceTip + BigInt(ready))) ready++;
    this.#ready += ready - account.ready;
    account.ready = ready;
  }

  /** What goes first when there is no room: the lowest fee per byte, of equals the youngest. */
  #lowest(): Entry | null {
    // Entries that left otherwise are still in the heap; they go as they come up, or all at once when they are many.
    if (this.#evictable.size > 2 * this.#entries.size + 1_000) {
      this.#evictable = new Heap(isDispensable);
      for (const entry of this.#entries.values()) if (!entry.free) this.#evictable.push(entry);
    }
    for (let entry = this.#evictable.peek(); entry; entry = this.#evictable.peek()) {
      if (this.#entries.get(entry.key) === entry) return entry;
      this.#evictable.pop();
    }
    return null;
  }
}

/** What pays nothing and was let in is a registered machine's: the ledger says so. */
const isFree = (body: DecodedTransaction["body"]): boolean => body.fee === 0n;
const SWEEP_INTERVAL_MS = 5_000n;

/**
 * A block has room for bytes and for work. What looks at all leases of a deployment can do 850 changes, where a transfer does 2: for the
 * same fee it would keep 300 of them out of a block, so it stands behind them.
 */
const WIDE_OPERATION_BYTES = 4_096;
const BYTES_PER_LEASE = 64;
function feeRateOf({ body: { fee, ops }, sizeBytes }: DecodedTransaction): bigint {
  let room = sizeBytes;
  for (const op of ops) {
    if (op.kind === "deploy") room += op.replicas * BYTES_PER_LEASE;
    else if (op.kind === "scale" || op.kind === "resize" || op.kind === "close") room += WIDE_OPERATION_BYTES;
  }
  return (fee * 1024n) / BigInt(room);
}

function costOf(body: DecodedTransaction["body"]): bigint {
  let cost = body.fee;
  for (const op of body.ops) {
    if (op.kind === "transfer" || op.kind === "topUp") cost += op.amount;
    else if (op.kind === "deploy") cost += op.deposit;
  }
  return cost;
}

export async function signaturesHoldAsync({ bodyBytes, signatures }: DecodedTransaction): Promise<boolean> {
  if (signatures.length === 0) return false;
  const answers = await Promise.all(signatures.map((by) => verifyAsync("transaction", by.signature, bodyBytes, by.key)));
  return answers.every((holds) => holds);
}

function isBefore(a: Entry, b: Entry): boolean {
  if (a.free !== b.free) return a.free;
  if (a.feeRate !== b.feeRate) return a.feeRate > b.feeRate;
  return a.arrival < b.arrival;
}
function isDispensable(a: Entry, b: Entry): boolean {
  return a.feeRate !== b.feeRate ? a.feeRate < b.feeRate : a.arrival > b.arrival;
}

/** Binary heap: on top is the entry that comes before all others. */
class Heap {
  readonly #entries: Entry[] = [];
  readonly #comesBefore: (a: Entry, b: Entry) => boolean;

  constructor(comesBefore: (a: Entry, b: Entry) => boolean) {
    this.#comesBefore = comesBefore;
  }
  get size(): number {
    return this.#entries.length;
  }
  peek(): Entry | undefined {
    return this.#entries[0];
  }
  push(entry: Entry): void {
    const entries = this.#entries;
    let at = entries.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#comesBefore(entries[at]!, entries[parent]!)) break;
      [entries[at], entries[parent]] = [entries[parent]!, entries[at]!];
      at = parent;
    }
  }
  pop(): Entry | undefined {
    const entries = this.#entries;
    const top = entries[0];
    const last = entries.pop();
    if (last === undefined || entries.length === 0) return top;
    entries[0] = last;
    for (let at = 0; ; ) {
      let next = at;
      for (const child of [2 * at + 1, 2 * at + 2]) if (child < entries.length && this.#comesBefore(entries[child]!, entries[next]!)) next = child;
      if (next === at) return top;
      [entries[at], entries[next]] = [entries[next]!, entries[at]!];
      at = next;
    }
  }
}
