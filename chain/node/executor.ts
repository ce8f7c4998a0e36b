/**
 * Executes blocks. One ledger, the *tip*, which goes forward and back along branches; and behind it the *final* state, which everybody
 * outside reads: it holds what the blocks between the two found, and no more (`ledger/behind.ts`).
 *
 * The tip stands on one path of executed blocks above the final one; `moveTo` takes it to another by taking blocks back and
 * applying others again. A block is executed when its state root came out as its header says; what is executed once is
 * remembered until it, or a rival of its height, is final.
 */
import assert from "node:assert";
import type { DueMs } from "#chain/consensus/events.ts";
import { validatorsHash } from "#chain/codec/certificate.ts";
import { type BlockBody, type BlockHeader, type Certificate, bodyRoot, genesisId } from "#chain/codec/schema.ts";
import { decodeGenesis } from "#chain/codec/genesis.ts";
import type { DecodedTransaction } from "#chain/codec/transaction.ts";
import type { Proof } from "#chain/codec/proof.ts";
import type { Parameters } from "#chain/constants.ts";
import { type Applied, type BlockInput, type EpochEnd, type Ledger, type Undo, applyBlock, buildBlock, nextMoneySecond, openLedger, refusalOf, revert } from "#chain/ledger/ledger.ts";
import type { Changes } from "#chain/ledger/state.ts";
import { StateBehind } from "#chain/ledger/behind.ts";
import type { Image } from "#chain/ledger/image.ts";
import { type LedgerView, viewOf } from "#chain/ledger/view.ts";
import { type Address, type ChainId, type Digest, type Hex, type MoneySecond, type Refusal, type TimeMs, type View, epoch, height, hex, moneySecond, refuse, timeMs } from "#chain/types.ts";
import type { ParentFacts } from "./blockCheck.ts";
import { type HeldBlock, heldBlock } from "./heldBlocks.ts";
import type { Mempool } from "./mempool.ts";
import type { Results } from "./results.ts";
import type { StoredSnapshot } from "./snapshotFile.ts";

export type Executed = {
  readonly facts: ParentFacts;
  readonly header: BlockHeader;
  readonly transactions: readonly DecodedTransaction[];
  readonly evidence: readonly Uint8Array[];
  readonly suspicions: readonly Uint8Array[];
  readonly results: Results;
  /** Not null after the last block of an epoch: who validates from its child on. */
  readonly epochEnd: EpochEnd | null;
  /** When its child is wanted: at once if work was left over, else in the second of the next due event, else null. */
  readonly dueMs: DueMs;
};
export type BuildInput = {
  readonly view: View;
  readonly parentId: Digest;
  /** 0 in the first block of an epoch. */
  readonly parentView: View;
  readonly parentCertificate: Certificate | null;
  readonly timeMs: TimeMs;
  readonly chainId: ChainId;
  readonly epoch: number;
  readonly validatorsHash: Digest;
  readonly proposer: number;
  /** Not on the chain yet; what would punish nobody is left out. */
  readonly evidence?: readonly Uint8Array[];
  /** What would take nobody down is left out. */
  readonly suspicions?: readonly Uint8Array[];
  readonly rules: Parameters;
  readonly pool: Mempool;
};
/** What of a block is not transactions: header, the certificate of 200 validators, heads of byte strings. */
const BLOCK_BYTES_RESERVED = 16_384;
type Step = { readonly executed: Executed; readonly undo: Undo; readonly changes: Changes };

export class Executor {
  readonly tip: LedgerView;
  readonly final: LedgerView;
  readonly #tipLedger: Ledger;
  readonly #finalState: StateBehind;
  /** From the final block up to the tip. */
  readonly #path: Step[] = [];
  readonly #executed = new Map<Hex, Executed>();
  readonly #onTipMoved: (transactions: readonly DecodedTransaction[]) => void;
  #finalFacts: ParentFacts;

  /** From genesis, or from the state that a final block left. */
  constructor(genesisBytes: Uint8Array, onTipMoved: (transactions: readonly DecodedTransaction[]) => void, from: Pick<StoredSnapshot, "ledger" | "facts"> | null = null) {
    const genesis = decodeGenesis(genesisBytes);
    this.#tipLedger = from?.ledger ?? openLedger(genesis);
    this.#finalState = new StateBehind(this.#tipLedger.state);
    this.tip = viewOf(this.#tipLedger);
    this.final = viewOf({ ...this.#tipLedger, state: this.#finalState });
    this.#onTipMoved = onTipMoved;
    this.#finalFacts = from?.facts ?? { id: genesisId(genesisBytes), height: 0, view: 0, timeMs: genesis.timeMs, moneySecond: moneySecond(0n) };
  }

  /** As it is at the tip; null: nobody has ever paid it anything. */
  account(id: Address): { readonly nonce: bigint; readonly balance: bigint } | null {
    return this.#tipLedger.state.account(id) ?? null;
  }
  refusalOf(transaction: DecodedTransaction, nowMs: bigint, noncesAhead: bigint): Refusal | null {
    return refusalOf(this.#tipLedger, transaction, nowMs, noncesAhead);
  }
  get entityCount(): number {
    return this.#finalState.entityCount;
  }
  /** The final state at this moment, to be written down while it changes. */
  image(): Image {
    return this.#atFinal(() => this.#tipLedger.state.image());
  }
  /** Of the final state; all in one go, as the path is taken back for it. */
  prove(keys: readonly string[]): Proof[] {
    return this.#atFinal(() => keys.map((key) => this.#tipLedger.state.prove(key)));
  }
  get finalFacts(): ParentFacts {
    return this.#finalFacts;
  }
  factsOf(id: Digest): ParentFacts | null {
    return hex(id) === hex(this.#finalFacts.id) ? this.#finalFacts : (this.#executed.get(hex(id))?.facts ?? null);
  }
  finalDueMs(): DueMs {
    return dueMsOf(this.final);
  }
  /** Never before the final block's, whatever the clock says. */
  moneySecondAt(nowMs: TimeMs): MoneySecond {
    const { timeMs: finalMs } = this.#finalFacts;
    return moneySecond(nextMoneySecond({ ...this.#tipLedger, state: this.#finalState }, nowMs > finalMs ? nowMs : finalMs));
  }

  /** The header's static facts were checked; here the transactions are applied and the root compared. */
  execute(held: HeldBlock, transactions: readonly DecodedTransaction[]): Executed | Refusal {
    const key = hex(held.ref.id);
    const known = this.#executed.get(key);
    if (known) return known;
    const { header, body: { evidence, suspicions } } = held.block;
    if (!this.moveTo(header.parentId)) return refuse("parent_unknown", `Cannot execute block ${header.height}: its parent was not executed`);
    if (Buffer.compare(header.nextValidatorsHash, this.#nextValidatorsHash()) !== 0) return refuse("validators_differ", `Cannot take block ${header.height}: its next validators are not those of its parent's state`);
    const applied = applyBlock(this.#tipLedger, inputOf({ header, evidence, suspicions, transactions }));
    if (!applied.ok) return applied;
    if (Buffer.compare(applied.stateRoot, header.stateRoot) !== 0) {
      revert(this.#tipLedger, applied.undo);
      return refuse("state_root_differs", `Cannot take block ${header.height}: its state root is ${hex(header.stateRoot)} and here ${hex(applied.stateRoot)} comes out`);
    }
    return this.#push(held.ref.id, { header, evidence, suspicions, transactions }, applied);
  }

  /** A block of what waits, on an executed parent. What cannot be in it leaves the mempool. */
  build(input: BuildInput): { held: HeldBlock; dueMs: DueMs } {
    const moved = this.moveTo(input.parentId);
    assert(moved, "a block is built on an executed parent");
    const parent = this.factsOf(input.parentId)!;
    const { pool, rules } = input;
    const second = moneySecond(nextMoneySecond(this.#tipLedger, input.timeMs));
    const suspicions = input.suspicions ?? [];
    const candidates = pool.select(rules.transactionsPerBlockMax, rules.blockBytesMax - BLOCK_BYTES_RESERVED - suspicions.reduce((sum, { length }) => sum + length, 0));
    const parentBitmap = input.parentCertificate?.bitmap ?? new Uint8Array(0);
    const nextValidatorsHash = this.#nextValidatorsHash();
    const built = buildBlock(this.#tipLedger, {
      height: parent.height + 1, timeMs: input.timeMs, moneySecond: second, previousId: input.parentId, parentBitmap, proposer: input.proposer,
      evidence: input.evidence ?? [], suspicions, transactions: candidates,
    });
    if (!built.ok) throw new Error(`buildBlock refused an executed parent: ${built.message}`);
    const chosen = built.transactions.map((transaction) => pool.bytesOf(transaction.id)!);
    const body: BlockBody = { parentCertificate: input.parentCertificate, transactions: chosen, evidence: built.evidence, suspicions: built.suspicions };
    const header: BlockHeader = {
      chainId: input.chainId, epoch: epoch(input.epoch), view: input.view, height: height(parent.height + 1), parentView: input.parentView, parentId: parent.id,
      parentBitmap, timeMs: input.timeMs, moneySecond: second, bodyRoot: bodyRoot(body), stateRoot: built.stateRoot,
      validatorsHash: input.validatorsHash, nextValidatorsHash, proposer: input.proposer,
    };
    const held = heldBlock({ header, body }, null);
    const { dueMs } = this.#push(held.ref.id, { header, evidence: built.evidence, suspicions: built.suspicions, transactions: built.transactions }, built);
    for (const { txid, code } of built.rejected) if (!STAYS.has(code)) pool.drop(hex(txid), code);
    return { held, dueMs };
  }

  /** Takes the tip to an executed block; false when it is none. */
  moveTo(id: Digest): boolean {
    const wanted: Executed[] = [];
    let at = hex(id);
    while (at !== hex(this.#finalFacts.id) && !this.#path.some((one) => hex(one.executed.facts.id) === at)) {
      const executed = this.#executed.get(at);
      if (!executed) return false;
      wanted.push(executed);
      at = hex(executed.header.parentId);
    }
    while (this.#path.length > 0 && hex(this.#path.at(-1)!.executed.facts.id) !== at) this.#takeBack();
    for (const executed of wanted.reverse()) this.#again(executed);
    return true;
  }

  /** Makes an executed child of the final block final. */
  commit(id: Digest): Executed {
    const executed = this.#executed.get(hex(id));
    assert(executed, "what is final was executed");
    assert(hex(executed.header.parentId) === hex(this.#finalFacts.id), "blocks become final in order");
    if (hex(this.#path[0]?.executed.facts.id ?? new Uint8Array(0)) !== hex(id)) this.moveTo(id);
    const { undo, changes } = this.#path.shift()!;
    this.#finalState.reached(changes, undo);
    this.#finalFacts = executed.facts;
    for (const [key, other] of this.#executed) if (other.facts.height <= executed.facts.height) this.#executed.delete(key);
    return executed;
  }

  /** Of the epoch after the one that a child of the tip belongs to. */
  #nextValidatorsHash(): Digest {
    const { sets } = this.#tipLedger.state;
    return validatorsHash(sets.next.map(({ key, weight }) => ({ publicKey: key, weight })));
  }

  #push(id: Digest, { header, evidence, suspicions, transactions }: Pick<Executed, "header" | "evidence" | "suspicions" | "transactions">, applied: Pick<Applied, "outcomes" | "events" | "epochEnd" | "undo">): Executed {
    const facts = { id, height: header.height, view: header.view, timeMs: header.timeMs, moneySecond: header.moneySecond };
    const executed = { facts, header, evidence, suspicions, transactions, results: { outcomes: applied.outcomes, events: applied.events }, epochEnd: applied.epochEnd, dueMs: dueMsOf(this.tip) };
    this.#executed.set(hex(id), executed);
    this.#extend(executed, applied.undo);
    return executed;
  }

  #again(executed: Executed): void {
    const applied = applyBlock(this.#tipLedger, inputOf(executed));
    assert(applied.ok, "what was executed can be executed again");
    assert(Buffer.compare(applied.stateRoot, executed.header.stateRoot) === 0, "and gives the same root");
    this.#extend(executed, applied.undo);
  }

  #extend(executed: Executed, undo: Undo): void {
    this.#path.push({ executed, undo, changes: this.#tipLedger.state.changesOf(undo) });
    this.#finalState.passed(undo);
    this.#onTipMoved(executed.transactions);
  }

  #takeBack(): void {
    const { executed, undo } = this.#path.pop()!;
    revert(this.#tipLedger, undo);
    this.#finalState.takenBack(undo);
    this.#onTipMoved(executed.transactions);
  }

  /** With the tip taken back to the final block for a moment: what is read from the tree itself, of which there is one. */
  #atFinal<T>(read: () => T): T {
    const { state } = this.#tipLedger;
    for (const { undo } of this.#path.toReversed()) state.revert(undo);
    try {
      return read();
    } finally {
      for (const { undo, changes } of this.#path) state.redo(undo, changes);
    }
  }
}

const inputOf = ({ header, evidence, suspicions, transactions }: Pick<Executed, "header" | "evidence" | "suspicions" | "transactions">): BlockInput => ({
  height: header.height, timeMs: header.timeMs, moneySecond: header.moneySecond, previousId: header.parentId, parentBitmap: header.parentBitmap, proposer: header.proposer,
  evidence, suspicions, transactions,
});

/** Rejected for this block only: the machine's share is used up, or one before it in its account was rejected. */
const STAYS: ReadonlySet<string> = new Set(["free_share_used", "wrong_nonce"]);
/** Money seconds ahead beyond which nothing is due soon: an idle block comes first anyway. */
const DUE_SECONDS_AHEAD_MAX = 3_600n;

function dueMsOf(state: LedgerView): DueMs {
  const due = state.nextDueMoneySecond();
  if (due === null || due > state.moneySecond + DUE_SECONDS_AHEAD_MAX) return null;
  if (due <= state.moneySecond) return timeMs(state.timeMs);
  return timeMs((state.timeMs / 1000n + (due - state.moneySecond)) * 1000n);
}
