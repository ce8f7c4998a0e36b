/**
 * Transactions that wait for a block.
 *
 * Admission checks the cheapest thing first, and the signature last (signatureChecks.ts): whether it is here, size, form, chain, nonce
 * window, expiry, keys, fee, room, funds, signature. After the signature everything that may have moved is checked again. A refusal is
 * a normal answer with a stable code: transaction_too_large, transaction_malformed, too_many_pending, replacement_underpriced,
 * mempool_full, insufficient_funds, bad_signature, or one of the ledger's for the envelope (`refusalOf`).
 *
 * Invariants: an account has at most one transaction per nonce and PENDING_PER_ACCOUNT_MAX in all, within
 * [n, n + 16) of its nonce n at the tip; a peer has brought at most PENDING_PER_PEER_MAX; bytes and count stay below their caps, the
 * lowest fee per byte goes first; what is here has a good signature. `readyCount` counts what the child of the tip could take: runs
 * without a gap from n. A machine's free operations pay nothing and are not pushed out; their number is bounded by the machines.
 *
 * Known by txid is not enough to be known: the id does not cover the signatures, so that bytes are compared. They are found by the
 * end of the last signature, which nobody can choose for a signature that holds.
 */
import { TRANSACTION_BYTES_MAX } from "#chain/constants.ts";
import { CodecError } from "#chain/codec/cbor.ts";
import { type DecodedTransaction, type Operation, decodeTransaction } from "#chain/codec/transaction.ts";
import { REVISION_SLOT } from "#chain/ledger/limits.ts";
import { type Address, type Hex, type Refusal, refuse } from "#chain/types.ts";
import { Heap } from "./heap.ts";
import { latin1 } from "./latin1.ts";
import { MEMPOOL_BYTES_MAX, MEMPOOL_COUNT_MAX, PENDING_PER_PEER_MAX, REPLACEMENT_RAISE_PERCENT } from "./limits.ts";
import { type Check, type CheckSignatures, SignatureChecks } from "./signatureChecks.ts";

export const PENDING_PER_ACCOUNT_MAX = 16;
/** The source of what was submitted here. */
export const LOCAL = "local";

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
  readonly perPeerMax?: number;
  readonly checkSignatures?: CheckSignatures;
  /** Called when something leaves without having become final: replaced, pushed out, expired, or invalid at the tip. */
  readonly onDrop?: (transaction: DecodedTransaction, code: string) => void;
  /** A signature does not hold, or the bytes are no transaction: no honest source hands such a thing on. */
  readonly onForged?: (source: string, code: "bad_signature" | "transaction_malformed") => void;
};
export type Admitted = { readonly ok: true; readonly transaction: DecodedTransaction; readonly bytes: Uint8Array; /** False: it was here before. */ readonly fresh: boolean };
export type Admission = (answer: Admitted | Refusal) => void;

type Entry = {
  readonly transaction: DecodedTransaction;
  readonly bytes: Uint8Array;
  readonly nonce: bigint;
  readonly tail: string;
  readonly source: string;
  readonly free: boolean;
  /** Fee per KiB, work counted as bytes: what the order goes by. */
  readonly feeRate: bigint;
  /** What the sender must own for it. */
  readonly cost: bigint;
  readonly arrival: number;
};
/** `entries` by nonce, lowest first: seldom more than one. */
type Account = { readonly sender: Address; readonly entries: Entry[]; nonceTip: bigint; ready: number; /** At which of the pool's tips `nonceTip` was read. */ tip: number };
type Checking = { readonly bytes: Uint8Array; /** At which of the pool's tips its envelope was right. */ readonly tip: number; check: Check | null; readonly waiting: Admission[]; readonly verdicts: ((holds: boolean | null) => void)[] };

export class Mempool {
  readonly #state: MempoolState;
  readonly #options: MempoolOptions;
  readonly #bytesMax: number;
  readonly #countMax: number;
  readonly #perPeerMax: number;
  readonly #checks: SignatureChecks;
  readonly #entries = new Map<Hex, Entry>();
  readonly #byTail = new Map<string, Entry>();
  readonly #accounts = new Map<Hex, Account>();
  readonly #bySource = new Map<string, number>();
  readonly #checking = new Map<string, Checking>();
  #evictable = new Heap<Entry>(isDispensable);
  #bytes = 0;
  #ready = 0;
  #arrivals = 0;
  /** Counts the moves of the tip: what was right at one is right until the next. */
  #tip = 0;
  #sweptMs = 0n;

  constructor(state: MempoolState, options: MempoolOptions = {}) {
    this.#state = state;
    this.#options = options;
    this.#bytesMax = options.bytesMax ?? MEMPOOL_BYTES_MAX;
    this.#countMax = options.countMax ?? MEMPOOL_COUNT_MAX;
    this.#perPeerMax = options.perPeerMax ?? PENDING_PER_PEER_MAX;
    this.#checks = new SignatureChecks(options.checkSignatures);
  }

  get count(): number {
    return this.#entries.size;
  }
  /** Entries that are held on to, those that have left and are not forgotten yet among them. */
  get heldCount(): number {
    return Math.max(this.#entries.size, this.#evictable.size);
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
  known(bytes: Uint8Array): DecodedTransaction | null {
    return this.#entryOf(bytes, tailOf(bytes))?.transaction ?? null;
  }
  /** Whether the signatures of a block's transaction hold: at once, and together with a check of the same bytes that is under way. */
  holds(transaction: DecodedTransaction, bytes: Uint8Array): Promise<boolean> {
    const running = this.#checking.get(tailOf(bytes));
    if (!running?.check || Buffer.compare(running.bytes, bytes) !== 0) return this.#checks.now(transaction);
    const { verdicts, check } = running;
    return new Promise((resolve) => {
      verdicts.push((verdict) => resolve(verdict ?? this.#checks.now(transaction)));
      this.#checks.hurry(check);
    });
  }
  bytesOf(txid: Hex): Uint8Array | null {
    return this.#entries.get(txid)?.bytes ?? null;
  }

  submit(bytes: Uint8Array, source: string = LOCAL): Promise<Admitted | Refusal> {
    return new Promise((resolve) => this.offer(bytes, source, resolve));
  }
  /** The same with a callback, which may come before this returns. */
  offer(bytes: Uint8Array, source: string, done: Admission): void {
    if (bytes.length > TRANSACTION_BYTES_MAX) return done(refuse("transaction_too_large", `Cannot take a transaction of ${bytes.length} bytes as ${TRANSACTION_BYTES_MAX} is the limit`));
    const tail = tailOf(bytes);
    const same = this.#entryOf(bytes, tail);
    if (same) return done({ ok: true, transaction: same.transaction, bytes: same.bytes, fresh: false });
    const running = this.#checking.get(tail);
    if (running && Buffer.compare(running.bytes, bytes) === 0) return void running.waiting.push((answer) => done(answer.ok ? { ...answer, fresh: false } : answer));
    let transaction: DecodedTransaction;
    // Whose memory they came in is not known, nor how much else is in it.
    const own = bytes.slice();
    try {
      transaction = decodeTransaction(own);
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      this.#options.onForged?.(source, "transaction_malformed");
      return done(refuse("transaction_malformed", `Cannot read the transaction: ${error.message}`));
    }
    const here = this.#entries.get(transaction.id);
    if (here) return done({ ok: true, transaction: here.transaction, bytes: here.bytes, fresh: false });
    const refusal = this.#refusal(transaction, source);
    if (refusal) return done(refusal);
    this.#check(transaction, own, tail, source, done);
  }

  /**
   * In the order a block takes them: free operations, of half a block at most where others wait, one machine's after the other's, then by fee per
   * byte; of one account by nonce, from the tip's on.
   */
  select(countMax: number, bytesMax: number): DecodedTransaction[] {
    const heap = new Heap<Candidate>(isBefore);
    const turnOf = new Map<Hex, number>();
    const push = (entry: Entry): void => {
      // Only what is free takes turns.
      const turn = entry.free ? (turnOf.get(entry.transaction.from) ?? 0) : 0;
      if (entry.free) turnOf.set(entry.transaction.from, turn + 1);
      heap.push({ entry, turn });
    };
    for (const account of this.#accounts.values()) {
      const first = account.ready > 0 ? entryAt(account, account.nonceTip) : undefined;
      if (first) push(first);
    }
    const chosen: DecodedTransaction[] = [];
    const later: Entry[] = [];
    let bytes = 0;
    for (let entry = heap.pop()?.entry ?? later.shift(); entry && chosen.length < countMax; entry = heap.pop()?.entry ?? later.shift()) {
      // The account's later ones depend on this one, so all of them wait for the next block.
      if (bytes + entry.bytes.length > bytesMax) continue;
      if (entry.free && heap.size > 0 && (chosen.length >= countMax / 2 || bytes + entry.bytes.length > bytesMax / 2)) {
        later.push(entry);
        continue;
      }
      chosen.push(entry.transaction);
      bytes += entry.bytes.length;
      const account = this.#accounts.get(entry.transaction.from);
      const next = account && account.entries.length > 1 ? entryAt(account, entry.nonce + 1n) : undefined;
      if (next) push(next);
    }
    return chosen;
  }

  /** The tip moved and these transactions with it, forward or back. */
  tipMoved(transactions: Iterable<DecodedTransaction>): void {
    this.#tip++;
    for (const { from } of transactions) {
      const account = this.#accounts.get(from);
      if (account && account.tip !== this.#tip) this.#refresh(account);
    }
  }

  /** These are final: they and whatever had their nonces leave. */
  final(transactions: readonly DecodedTransaction[], timeMs: bigint): void {
    for (const { body, id, from } of transactions) {
      const account = this.#accounts.get(from);
      for (let first = account?.entries[0]; account && first && first.nonce <= body.nonce; first = account.entries[0]) this.#remove(first, first.transaction.id === id ? null : "wrong_nonce");
    }
    // A walk over all of them, so not at every block.
    if (timeMs < this.#sweptMs + SWEEP_INTERVAL_MS) return;
    this.#sweptMs = timeMs;
    for (const entry of this.#entries.values()) {
      const { validUntilMs } = entry.transaction.body;
      if (validUntilMs < timeMs) this.#remove(entry, "expired");
      // Taken while this machine's clock was far ahead: no block takes it, and it would hold its nonce until then.
      else if (validUntilMs > timeMs + FAR_MS && this.#state.refusalOf(entry.transaction, NONCES_AHEAD_MAX)?.code === "expiry_too_far") this.#remove(entry, "expiry_too_far");
    }
  }

  /** It cannot be in any block on this tip. */
  drop(txid: Hex, code: string): void {
    const entry = this.#entries.get(txid);
    if (entry) this.#remove(entry, code);
  }

  #check(transaction: DecodedTransaction, bytes: Uint8Array, tail: string, source: string, done: Admission): void {
    const checking: Checking = { bytes, tip: this.#tip, check: null, waiting: [done], verdicts: [] };
    checking.check = this.#checks.add(source, transaction, (holds) => {
      if (this.#checking.get(tail) === checking) this.#checking.delete(tail);
      const answer = holds === true ? this.#admit(transaction, bytes, tail, source, checking.tip) : this.#unproven(holds, source);
      for (const told of checking.waiting) told(answer);
      for (const told of checking.verdicts) told(holds);
    });
    if (checking.check === null) done(this.#unproven(null, source));
    // Another of the same tail and other bytes, which only a forger makes, is checked all the same, but found by nobody.
    else if (!this.#checking.has(tail)) this.#checking.set(tail, checking);
  }
  #unproven(holds: false | null, source: string): Refusal {
    if (holds === null) return refuse("mempool_full", "Cannot take the transaction as too many signatures wait to be checked");
    this.#options.onForged?.(source, "bad_signature");
    return refuse("bad_signature", "Cannot take the transaction as a signature does not hold");
  }
  #admit(transaction: DecodedTransaction, bytes: Uint8Array, tail: string, source: string, tip: number): Admitted | Refusal {
    const here = this.#entries.get(transaction.id);
    if (here) return { ok: true, transaction: here.transaction, bytes: here.bytes, fresh: false };
    const refusal = this.#refusal(transaction, source, tip);
    if (refusal) return refusal;
    this.#insert(transaction, bytes, tail, source);
    return { ok: true, transaction, bytes, fresh: true };
  }

  /** `tip`: where its envelope was found right before. */
  #refusal(transaction: DecodedTransaction, source: string, tip: number = -1): Refusal | null {
    const account = this.#accounts.get(transaction.from);
    return (tip === this.#tip ? null : this.#state.refusalOf(transaction, NONCES_AHEAD_MAX)) ?? this.#refusalOfRoom(transaction, account, source) ?? this.#refusalOfFunds(transaction, account);
  }

  #refusalOfRoom(transaction: DecodedTransaction, account: Account | undefined, source: string): Refusal | null {
    const { body, sizeBytes } = transaction;
    const same = account && entryAt(account, body.nonce);
    if (same) {
      const least = same.transaction.body.fee + (same.transaction.body.fee * REPLACEMENT_RAISE_PERCENT + 99n) / 100n;
      return body.fee >= least && body.fee > same.transaction.body.fee ? null : refuse("replacement_underpriced", `Cannot replace nonce ${body.nonce} for a fee of ${body.fee} as it must be ${least}`);
    }
    if (account && account.entries.length >= PENDING_PER_ACCOUNT_MAX) return refuse("too_many_pending", `Cannot take more than ${PENDING_PER_ACCOUNT_MAX} transactions of one account`);
    if (source !== LOCAL && (this.#bySource.get(source) ?? 0) >= this.#perPeerMax) return refuse("too_many_pending", `Cannot take more than ${this.#perPeerMax} transactions from one peer`);
    if (isFree(body) || (this.#bytes + sizeBytes <= this.#bytesMax && this.#entries.size < this.#countMax)) return null;
    const lowest = this.#lowest();
    return lowest && lowest.feeRate < feeRateOf(transaction) ? null : refuse("mempool_full", "Cannot take the transaction as those that wait pay more");
  }

  #refusalOfFunds({ body }: DecodedTransaction, account: Account | undefined): Refusal | null {
    const balance = this.#state.account(body.sender)?.balance ?? 0n;
    let cost = costOf(body);
    if (account) for (const entry of account.entries) if (entry.nonce < body.nonce) cost += entry.cost;
    return cost <= balance ? null : refuse("insufficient_funds", `Cannot take the transaction as it and those before it need ${cost} base units (10^9 are a token) and the account has ${balance}`);
  }

  #insert(transaction: DecodedTransaction, bytes: Uint8Array, tail: string, source: string): void {
    const { body, id, from } = transaction;
    let account = this.#accounts.get(from);
    if (!account) this.#accounts.set(from, (account = { sender: body.sender, entries: [], nonceTip: 0n, ready: 0, tip: -1 }));
    const replaced = entryAt(account, body.nonce);
    if (replaced) this.#unlink(replaced, account);
    const entry: Entry = { transaction, bytes, nonce: body.nonce, tail, source, free: isFree(body), feeRate: feeRateOf(transaction), cost: costOf(body), arrival: this.#arrivals++ };
    const { entries } = account;
    let at = entries.length;
    while (at > 0 && entries[at - 1]!.nonce > entry.nonce) at--;
    if (at === entries.length) entries.push(entry);
    else entries.splice(at, 0, entry);
    this.#entries.set(id, entry);
    this.#byTail.set(tail, entry);
    this.#bySource.set(source, (this.#bySource.get(source) ?? 0) + 1);
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
    const account = this.#accounts.get(entry.transaction.from)!;
    this.#unlink(entry, account);
    if (account.entries.length > 0) this.#refresh(account);
    else {
      this.#ready -= account.ready;
      this.#accounts.delete(entry.transaction.from);
    }
    if (code !== null) this.#options.onDrop?.(entry.transaction, code);
  }

  #unlink(entry: Entry, account: Account): void {
    if (account.entries[0] === entry) account.entries.shift();
    else account.entries.splice(account.entries.indexOf(entry), 1);
    this.#entries.delete(entry.transaction.id);
    if (this.#byTail.get(entry.tail) === entry) this.#byTail.delete(entry.tail);
    const ofSource = this.#bySource.get(entry.source)! - 1;
    if (ofSource > 0) this.#bySource.set(entry.source, ofSource);
    else this.#bySource.delete(entry.source);
    this.#bytes -= entry.bytes.length;
    // What left is still in the heap, with all of its transaction: not for long.
    if (this.#evictable.size <= 2 * this.#entries.size + EVICTABLE_GONE_MAX) return;
    this.#evictable = new Heap<Entry>(isDispensable);
    for (const one of this.#entries.values()) if (!one.free) this.#evictable.push(one);
  }

  #refresh(account: Account): void {
    account.tip = this.#tip;
    account.nonceTip = this.#state.account(account.sender)?.nonce ?? 0n;
    let ready = 0;
    let expected = account.nonceTip;
    for (const { nonce } of account.entries) {
      if (nonce < expected) continue;
      if (nonce > expected) break;
      ready++;
      expected = nonce + 1n;
    }
    this.#ready += ready - account.ready;
    account.ready = ready;
  }

  #entryOf(bytes: Uint8Array, tail: string): Entry | null {
    const entry = this.#byTail.get(tail);
    return entry && Buffer.compare(entry.bytes, bytes) === 0 ? entry : null;
  }

  /** What goes first when there is no room: the lowest fee per byte, of equals the youngest. */
  #lowest(): Entry | null {
    // Entries that left otherwise are still in the heap, and go as they come up.
    for (let entry = this.#evictable.peek(); entry; entry = this.#evictable.peek()) {
      if (this.#entries.get(entry.transaction.id) === entry) return entry;
      this.#evictable.pop();
    }
    return null;
  }
}

const entryAt = ({ entries }: Account, nonce: bigint): Entry | undefined => entries.find((entry) => entry.nonce === nonce);

/** What pays nothing and was let in is a registered machine's: the ledger says so. */
const isFree = (body: DecodedTransaction["body"]): boolean => body.fee === 0n;
const SWEEP_INTERVAL_MS = 5_000n;
/** Beyond every genesis' window of validity: one that is valid for longer is looked at again. */
const FAR_MS: bigint = 2n * 3_600_000n;
/** Entries that have left and are still remembered where the next to be pushed out is looked up, besides as many as are there. */
const EVICTABLE_GONE_MAX = 256;
const NONCES_AHEAD_MAX = BigInt(PENDING_PER_ACCOUNT_MAX - 1);
/** The end of the last signature: 24 bytes of S. */
const TAIL_BYTES = 24;
function tailOf(bytes: Uint8Array): string {
  return latin1(bytes, Math.max(0, bytes.length - TAIL_BYTES), bytes.length);
}

/**
 * A block has room for bytes and for work. What looks at all leases of a deployment can do 850 changes, where a transfer does 2: for the
 * same fee it would keep 300 of them out of a block, so it stands behind them. A revision makes leases, as many as its deployment has, which is not known here: 256.
 */
const WIDE_OPERATION_BYTES = 4_096;
const BYTES_PER_LEASE = 64;
const WIDE: ReadonlySet<Operation["kind"]> = new Set(["scale", "resize", "close", "rollBack", "drain"] as const);
function feeRateOf({ body: { fee, ops }, sizeBytes }: DecodedTransaction): bigint {
  let room = sizeBytes;
  for (const op of ops) {
    if (op.kind === "deploy") room += op.replicas * BYTES_PER_LEASE;
    else if (op.kind === "runTask") room += BYTES_PER_LEASE;
    else if (op.kind === "update" || op.kind === "promote") room += REVISION_SLOT * BYTES_PER_LEASE;
    else if (WIDE.has(op.kind)) room += WIDE_OPERATION_BYTES;
  }
  return (fee * 1024n) / BigInt(room);
}

function costOf(body: DecodedTransaction["body"]): bigint {
  let cost = body.fee;
  for (const op of body.ops) {
    if (op.kind === "transfer" || op.kind === "topUp") cost += op.amount;
    else if (op.kind === "deploy" || op.kind === "runTask") cost += op.deposit;
  }
  return cost;
}

/** `turn`: how many of its account stand before it. */
type Candidate = { readonly entry: Entry; readonly turn: number };
function isBefore({ entry: a, turn }: Candidate, { entry: b, turn: other }: Candidate): boolean {
  if (a.free !== b.free) return a.free;
  // Each of a machine's may do what fills a block's work for free operations: its second waits for everybody's first.
  if (a.free && turn !== other) return turn < other;
  if (a.feeRate !== b.feeRate) return a.feeRate > b.feeRate;
  return a.arrival < b.arrival;
}
function isDispensable(a: Entry, b: Entry): boolean {
  return a.feeRate !== b.feeRate ? a.feeRate < b.feeRate : a.arrival > b.arrival;
}
