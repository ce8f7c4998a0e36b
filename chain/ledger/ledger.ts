/**
 * The ledger: a deterministic function from genesis and blocks to accounts, machines, deployments, leases and money.
 *
 * A block is applied in this order: 1 money time, and who signed the parent; 2 due events; 3 transactions; 4 suspicions, evidence; 5 placement; 6 after an epoch's last block what ends it (`epochs.ts`); 7 root. A transaction whose envelope is wrong (chain, signer, nonce, expiry, fee) may not be in a block; one
 * whose operations are refused is in it, pays its fee, and changes nothing else. Invariants, asserted after every block: money
 * is only moved, and `revert` of an applied block leaves the state, slots and root of before.
 *
 * A ledger is one state. Where final state must be read while later blocks are speculative, there is one behind it (`behind.ts`).
 */
import assert from "node:assert";
import { compareBytes } from "#chain/codec/envelope.ts";
import { type Genesis, chainIdOf, encodeGenesis } from "#chain/codec/genesis.ts";
import type { DecodedTransaction } from "#chain/codec/transaction.ts";
import { BLOCK_BYTES_MAX, PRESETS, type Parameters } from "#chain/constants.ts";
import { type BlockContext, accountOf, takeFreeShare } from "#chain/ledger/block.ts";
import { releaseDelegations } from "#chain/ledger/delegation.ts";
import { runDueEvents } from "#chain/ledger/due.ts";
import { type EpochEnd, endEpoch, foundSets, isEpochEnd, notePresence } from "#chain/ledger/epochs.ts";
import { faultOf } from "#chain/ledger/escrow.ts";
import { type KeysBefore, keysAfterFirst, refusalOfSigners, spendLimits } from "#chain/ledger/keys.ts";
import { releaseDry } from "#chain/ledger/leases.ts";
import { BOND_MIN, FREE_OPERATIONS_PER_MACHINE_MAX, STALL_GRACE_SECONDS, STALL_MARGIN_MS, WORK_PER_BLOCK_MAX, WORK_PER_TRANSACTION_MAX } from "#chain/ledger/limits.ts";
import { noteClock, takeSuspicions } from "#chain/ledger/liveness.ts";
import { moneyOf } from "#chain/ledger/model.ts";
import { applyOperation, isFreeOperation } from "#chain/ledger/operations.ts";
import { placePending } from "#chain/ledger/placement.ts";
import { punish } from "#chain/ledger/stake.ts";
import { State, type Undo } from "#chain/ledger/state.ts";
import { moneySecondAfter } from "#chain/ledger/time.ts";
import type { LedgerEvent } from "#chain/ledger/view.ts";
import { type ChainId, type Digest, type Hex, type Refusal, U64_MAX, refuse } from "#chain/types.ts";

export type { EpochEnd } from "#chain/ledger/epochs.ts";
export type { Undo } from "#chain/ledger/state.ts";
export type Ledger = { readonly chainId: ChainId; readonly rules: Parameters; readonly state: State };
export type BlockInput = {
  readonly height: number;
  readonly timeMs: bigint;
  readonly moneySecond: bigint;
  /** The parent's id: no proposer can choose it to win a tie in placement. */
  readonly previousId: Uint8Array;
  /** Who signed the parent, by index in its epoch's set, and who proposes this block. Left out: nobody is counted. */
  readonly parentBitmap?: Uint8Array;
  readonly proposer?: number;
  /** Each encoded (`codec/evidence.ts`); its signatures are checked here. Its reporter is the proposer's operator. */
  readonly evidence?: readonly Uint8Array[];
  /** Each sealed (`codec/liveness.ts`); signatures are checked here too. */
  readonly suspicions?: readonly Uint8Array[];
  /** Their signatures were verified by whoever let them in. */
  readonly transactions: readonly DecodedTransaction[];
};
export type Outcome = { readonly txid: Digest; readonly ok: boolean; readonly code?: string; readonly message?: string };
export type Applied = {
  readonly ok: true;
  readonly stateRoot: Digest;
  /** One per transaction of the block, in its order. */
  readonly outcomes: readonly Outcome[];
  readonly events: readonly LedgerEvent[];
  /** After the last block of an epoch: who validates from the next block on. */
  readonly epochEnd: EpochEnd | null;
  readonly undo: Undo;
};
export type Built = Applied & {
  readonly transactions: readonly DecodedTransaction[];
  /** What of it punishes somebody. */
  readonly evidence: readonly Uint8Array[];
  /** What of it takes a machine down. */
  readonly suspicions: readonly Uint8Array[];
  /** Candidates that this block cannot take; those it had no room for are not among them. */
  readonly rejected: readonly { readonly txid: Digest; readonly code: string; readonly message: string }[];
};

const TOO_MUCH_WORK = refuse("too_much_work", `Cannot do all of the transaction as it is more than ${WORK_PER_TRANSACTION_MAX.paid} changes, or ${WORK_PER_TRANSACTION_MAX.free} for nothing; send its operations one by one`);
const OVER_LIMIT = refuse("limit_exceeded", "Cannot do the transaction as it spends more than a key that signed it may");
const BLOCK_FULL = refuse("block_full", "Cannot take another transaction as the block has as many, or as much work, as one may have");
/** Header, parent certificate and frames: what of a block is not transactions. 200 validators sign 12.8 KB. */
const BLOCK_BYTES_RESERVED = 16_384;

export function openLedger(genesis: Genesis): Ledger {
  const state = new State(PRESETS[genesis.parameters]);
  let supply = 0n;
  for (const { address, balance } of genesis.accounts) {
    supply += balance;
    state.put({ ...accountOf(state, address), balance });
  }
  supply += foundSets(state, genesis.validators);
  state.put({ kind: "totals", height: 0, timeMs: genesis.timeMs, moneySecond: 0n, feePool: 0n, burnt: 0n, supply, stallUpTo: 0n, stallUntil: 0n });
  state.put({ kind: "clocks", sinceMs: genesis.timeMs, blocks: [{ height: 0, timeMs: genesis.timeMs, moneySecond: 0n }] });
  state.begin();
  return { chainId: chainIdOf(encodeGenesis(genesis)), get rules() { return state.rules; }, state };
}

/** Money second of a block that follows the ledger's last at `timeMs`. */
export const nextMoneySecond = ({ state, rules }: Ledger, timeMs: bigint): bigint =>
  moneySecondAfter(state.totals.moneySecond, state.totals.timeMs, timeMs, rules.moneyStepSecondsMax);

/** The least fee for a signed transaction of so many bytes. */
export const feeFor = (rules: Pick<Parameters, "feeBase" | "feePerByte">, sizeBytes: number): bigint => rules.feeBase + rules.feePerByte * BigInt(sizeBytes);

/** Applies a block, or says why it is not valid and changes nothing. */
export function applyBlock(ledger: Ledger, input: BlockInput): Applied | Refusal {
  const result = runBlock(ledger, input, false);
  assert(!result.ok || result.rejected.length === 0, "a block is taken whole or not at all");
  return result;
}

/**
 * Applies a block of those candidates that can be in it, in their order: the proposer's half of `applyBlock`, which gives the
 * same root for the transactions that this returns. The ledger is left at the new block; `revert` takes it back.
 */
export const buildBlock = (ledger: Ledger, input: BlockInput): Built | Refusal => runBlock(ledger, input, true);

/** Takes the last applied block back. */
export const revert = (ledger: Ledger, undo: Undo): void => ledger.state.revert(undo);

/** Why a transaction cannot be in the next block at `timeMs`; null when it can. For a mempool, which knows who spends before. */
export function refusalOf(ledger: Ledger, transaction: DecodedTransaction, timeMs: bigint, noncesAhead: bigint = 0n): Refusal | null {
  const { body } = transaction;
  const nonce = accountOf(ledger.state, body.sender).nonce;
  const isAhead = body.nonce > nonce && body.nonce <= nonce + noncesAhead;
  return refusalOfEnvelope(ledger, isAhead ? { ...transaction, body: { ...body, nonce } } : transaction, timeMs);
}

function runBlock(ledger: Ledger, input: BlockInput, skips: boolean): Built | Refusal {
  const { state } = ledger;
  const bad = refusalOfClock(ledger, input);
  if (bad) return bad;
  const savepoint = state.savepoint();
  const context = startBlock(ledger, input);
  notePresence(context, input.parentBitmap ?? new Uint8Array(0), input.proposer ?? null);
  runDueEvents(context);
  releaseDelegations(context);
  const outcomes: Outcome[] = [];
  const transactions: DecodedTransaction[] = [];
  const rejected: Built["rejected"][number][] = [];
  const work = { paid: 0, free: 0 };
  const heldOver = new Set<Hex>();
  let bytes = (input.suspicions ?? []).reduce((sum, { length }) => sum + length, 0);
  for (const transaction of input.transactions) {
    // An account's later ones wait for those that had no room.
    if (skips && heldOver.has(transaction.from)) continue;
    const [purse, workBefore] = [purseOf(transaction), state.work];
    const hasRoom = transactions.length < context.rules.transactionsPerBlockMax && bytes + transaction.sizeBytes <= BLOCK_BYTES_MAX - BLOCK_BYTES_RESERVED;
    const refusal = hasRoom && work[purse] < WORK_PER_BLOCK_MAX[purse] ? applyTransaction(ledger, context, transaction, outcomes) : BLOCK_FULL;
    work[purse] += state.work - workBefore;
    if (refusal === null) {
      transactions.push(transaction);
      bytes += transaction.sizeBytes;
    } else if (refusal === BLOCK_FULL && skips) heldOver.add(transaction.from);
    else if (skips) rejected.push({ txid: transaction.txid, code: refusal.code, message: refusal.message });
    else {
      state.rollback(savepoint);
      return refusal;
    }
  }
  const silent = takeSuspicions(context, input.suspicions ?? [], skips);
  if (!silent.ok) {
    state.rollback(savepoint);
    return silent;
  }
  const evidence: Uint8Array[] = [];
  for (const one of input.evidence ?? []) {
    const punished = punish(context, one, state.sets.current[input.proposer ?? -1]?.operator ?? null);
    if (punished.ok) evidence.push(one);
    else if (!skips) {
      state.rollback(savepoint);
      return punished;
    }
  }
  releaseDry(context);
  placePending(context);
  const epochEnd = isEpochEnd(input.height, context.rules.epochBlocks) ? endEpoch(context) : null;
  const undo = state.commit();
  return { ok: true, stateRoot: undo.rootAfter, outcomes, events: context.events, epochEnd, undo, transactions, evidence, suspicions: silent.taken, rejected };
}

function refusalOfClock(ledger: Ledger, { height, timeMs, moneySecond }: BlockInput): Refusal | null {
  const { totals } = ledger.state;
  if (height !== totals.height + 1) return refuse("wrong_height", `Cannot apply block ${height} as the ledger is at ${totals.height}`);
  if (timeMs <= totals.timeMs || timeMs > U64_MAX) return refuse("wrong_time", `Cannot apply a block of time ${timeMs} as its parent has ${totals.timeMs}`);
  const expected = nextMoneySecond(ledger, timeMs);
  if (moneySecond !== expected) return refuse("wrong_money_second", `Cannot apply a block of money second ${moneySecond} as it is ${expected}`);
  return null;
}

/** Step 1: both clocks, and whether the chain stood still. */
function startBlock({ state, rules, chainId }: Ledger, { height, timeMs, moneySecond, previousId }: BlockInput): BlockContext {
  const { totals } = state;
  const stalled = timeMs - totals.timeMs > BigInt(rules.idleIntervalMs) + STALL_MARGIN_MS;
  // A stall within the grace of another extends it: nobody was proven alive in between.
  const stall = stalled
    ? { stallUpTo: totals.moneySecond < totals.stallUntil ? totals.stallUpTo : totals.moneySecond, stallUntil: moneySecond + STALL_GRACE_SECONDS + rules.holdSeconds }
    : {};
  state.put({ ...totals, ...stall, height, timeMs, moneySecond });
  noteClock(state, { height, timeMs, moneySecond });
  return {
    state, rules, chainId, height, timeMs, second: moneySecond, parentSecond: totals.moneySecond, previousId,
    events: [], dry: new Set(), freeOperations: new Map(), keysBefore: new Map(),
  };
}

function applyTransaction(ledger: Ledger, context: BlockContext, transaction: DecodedTransaction, outcomes: Outcome[]): Refusal | null {
  const { state } = ledger;
  const { body, txid } = transaction;
  const refusal = refusalOfEnvelope(ledger, transaction, context.timeMs, context.keysBefore);
  if (refusal) return refusal;
  if (isFree(state, transaction) && !takeFreeShare(context, body.sender, body.ops.length, FREE_OPERATIONS_PER_MACHINE_MAX)) {
    return refuse("free_share_used", `Cannot take more than ${FREE_OPERATIONS_PER_MACHINE_MAX} free operations of one machine in a block`);
  }
  const account = accountOf(state, body.sender);
  state.put({ ...account, keys: keysAfterFirst(account, transaction), nonce: account.nonce + 1n, balance: account.balance - body.fee });
  if (body.fee > 0n) state.put({ ...state.totals, feePool: state.totals.feePool + body.fee });
  spendLimits(context, body.sender, transaction, body.fee);
  const savepoint = state.savepoint();
  // Of each operation by itself: what one brings in does not lend a limited key what another spends.
  let spent = 0n;
  const workMax = state.work + WORK_PER_TRANSACTION_MAX[purseOf(transaction)];
  const eventCount = context.events.length;
  for (const [opIndex, op] of body.ops.entries()) {
    const balanceBefore = accountOf(state, body.sender).balance;
    const applied = applyOperation(context, op, { sender: body.sender, nonce: body.nonce, opIndex });
    const less = balanceBefore - accountOf(state, body.sender).balance;
    if (less > 0n) spent += less;
    const isLast = opIndex === body.ops.length - 1;
    const isOver = applied.ok && isLast && !spendLimits(context, body.sender, transaction, spent);
    const result = state.work > workMax ? TOO_MUCH_WORK : isOver ? OVER_LIMIT : applied;
    if (result.ok) continue;
    state.rollback(savepoint);
    context.events.length = eventCount;
    outcomes.push({ txid, ok: false, code: result.code, message: result.message });
    return null;
  }
  for (let i = eventCount; i < context.events.length; i++) context.events[i] = { ...context.events[i]!, transaction: outcomes.length };
  outcomes.push({ txid, ok: true });
  return null;
}

function refusalOfEnvelope(ledger: Ledger, transaction: DecodedTransaction, timeMs: bigint, keysBefore: KeysBefore | null = null): Refusal | null {
  const { state, rules, chainId } = ledger;
  const { body, sizeBytes } = transaction;
  if (compareBytes(body.chainId, chainId) !== 0) return refuse("wrong_chain", `Cannot take a transaction for chain ${body.chainId.toHex()} on ${chainId.toHex()}`);
  const account = accountOf(state, body.sender);
  if (body.nonce !== account.nonce) return refuse("wrong_nonce", `Cannot take nonce ${body.nonce} as the account's next is ${account.nonce}`);
  if (account.nonce === U64_MAX) return refuse("nonce_used_up", "Cannot take another transaction of this account");
  if (body.validUntilMs < timeMs) return refuse("expired", `Cannot take a transaction that was valid until ${body.validUntilMs} at ${timeMs}`);
  if (body.validUntilMs > timeMs + rules.validityWindowMs) return refuse("expiry_too_far", `Cannot take a transaction that is valid for more than ${rules.validityWindowMs} ms`);
  const silent = refusalOfSigners(account, transaction, timeMs, keysBefore);
  if (silent) return silent;
  const least = isFree(state, transaction) ? 0n : feeFor(rules, sizeBytes);
  if (body.fee < least) return refuse("fee_too_low", `Cannot take a fee of ${body.fee} as ${least} is the least for ${sizeBytes} bytes`);
  if (account.balance < body.fee) return refuse("insufficient_funds", `Cannot take a fee of ${body.fee} as the account has ${account.balance}`);
  return null;
}

/** What pays nothing is free, or not in a block. */
const purseOf = ({ body }: DecodedTransaction): "paid" | "free" => (body.fee === 0n ? "free" : "paid");

/** What a bonded machine says of itself and its leases costs nothing. */
function isFree(state: State, { body }: DecodedTransaction): boolean {
  return body.fee === 0n && body.ops.every(isFreeOperation) && (state.machine(body.sender)?.bond ?? 0n) >= BOND_MIN;
}

/** Adds everything up, for tests and `chain check`: O(state). Names what is wrong, or null. */
export function faultOfLedger({ state }: Ledger): string | null {
  let sum = 0n;
  for (const entity of state.entities()) {
    const money = moneyOf(entity);
    if (money < 0n) return `a ${entity.kind} holds ${money}`;
    sum += money;
    const fault = entity.kind === "deployment" ? faultOf(entity.escrow) : null;
    if (fault !== null) return fault;
  }
  return sum === state.totals.supply ? null : `all pots hold ${sum} and the supply is ${state.totals.supply}`;
}
