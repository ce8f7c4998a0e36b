/**
 * The real ledger inside a simulated node: accounts that send each other money, executed on the branch that consensus asks for,
 * taken back when it asks for another. After every commit all money must be there, and every account as a second, simple reckoning
 * of the same transfers has it.
 */

import { addressOf } from "#chain/codec/address.ts";
import { type Genesis, chainIdOf, encodeGenesis } from "#chain/codec/genesis.ts";
import { type DecodedTransaction, decodeTransaction, signTransaction } from "#chain/codec/transaction.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import type * as ledgerModule from "#chain/ledger/ledger.ts";
import type { BlockRef } from "#chain/consensus/events.ts";
import { type Digest, type Hex, type TimeMs, hex } from "#chain/types.ts";
import type { Chance } from "./chance.ts";

export type LedgerCode = Pick<typeof ledgerModule, "openLedger" | "buildBlock" | "applyBlock" | "revert" | "nextMoneySecond" | "faultOfLedger" | "feeFor">;
/** What a block of such a world has inside. */
export type Content = { readonly transactions: readonly DecodedTransaction[]; readonly moneySecond: bigint; readonly stateRoot: Digest };

const SEEDS = [1, 2, 3, 4, 5].map((byte) => new Uint8Array(32).fill(byte));
const ADDRESSES = SEEDS.map((seed) => addressOf(publicKeyOf(seed)));
const VALIDATORS = 4;
const POOL_MAX = 60;

/** One for all nodes of a world: its genesis, and the transactions that anybody may put into a block. */
export class Bank {
  readonly genesis: Genesis;
  readonly pool: DecodedTransaction[] = [];
  readonly #chance: Chance;
  readonly #nonces = ADDRESSES.map(() => 0n);

  constructor(genesisTimeMs: TimeMs, chance: Chance) {
    this.#chance = chance;
    this.genesis = {
      version: 1, name: "simulated", timeMs: genesisTimeMs, deltaMs: 100, parameters: "minimal",
      validators: Array.from({ length: VALIDATORS }, (_, index) => ({ publicKey: publicKeyOf(new Uint8Array(32).fill(100 + index)), weight: 1, operator: ADDRESSES[0]! })),
      accounts: ADDRESSES.map((address) => ({ address, balance: 50_000_000n })),
    };
  }

  /** A transfer: mostly the next of its account; now and then one that was used, is far ahead, or is more than there is. */
  offer(nowMs: TimeMs, feeFor: LedgerCode["feeFor"], rules: Parameters<LedgerCode["feeFor"]>[0]): void {
    const draw = this.#chance;
    const from = draw.below(SEEDS.length);
    const odd = draw.below(10);
    const nonce = odd === 0 ? this.#nonces[from]! / 2n : this.#nonces[from]! + (odd === 1 ? 7n : 0n);
    if (odd > 1) this.#nonces[from]! += 1n;
    const amount = BigInt(draw.below(odd === 2 ? 80_000_000 : 1_000_000));
    const bytes = signTransaction({
      chainId: chainIdOf(encodeGenesis(this.genesis)), sender: ADDRESSES[from]!, nonce, validUntilMs: nowMs + BigInt(1_000 + draw.below(60_000)),
      fee: feeFor(rules, 400), ops: [{ kind: "transfer", to: draw.pick(ADDRESSES), amount: amount / 2n }, { kind: "transfer", to: draw.pick(ADDRESSES), amount }],
    }, [SEEDS[from]!]);
    this.pool.push(decodeTransaction(bytes));
    // What could not be executed for so long blocks its account: begin again behind it.
    if (this.pool.length > POOL_MAX) this.pool.splice(0, POOL_MAX / 2);
    if (draw.percent(10)) this.#nonces[from] = this.nextNonce(from);
  }

  /** As the first node that committed last sees it. */
  nextNonce: (account: number) => bigint = () => 0n;
}

type Applied = { readonly id: Hex; readonly content: Content; readonly undo: Parameters<LedgerCode["revert"]>[1] };

export class Accounts {
  readonly ledger: ReturnType<LedgerCode["openLedger"]>;
  readonly #code: LedgerCode;
  readonly #bank: Bank;
  /** From the final block up to the tip; and every block ever executed, to go back to it. */
  readonly #path: Applied[] = [];
  readonly #executed = new Map<Hex, { readonly block: BlockRef; readonly content: Content }>();
  readonly #simple = new Map<Hex, { balance: bigint; nonce: bigint }>();
  #final: BlockRef;

  constructor(code: LedgerCode, bank: Bank, genesis: BlockRef) {
    this.#code = code;
    this.#bank = bank;
    this.ledger = code.openLedger(bank.genesis);
    for (const { address, balance } of bank.genesis.accounts) this.#simple.set(hex(address), { balance, nonce: 0n });
    this.#final = genesis;
    this.#bank.nextNonce = (account) => this.ledger.state.account(ADDRESSES[account]!)?.nonce ?? 0n;
  }

  build(parent: BlockRef, timeMs: TimeMs): Content {
    this.#moveTo(parent.id);
    const moneySecond = this.#code.nextMoneySecond(this.ledger, timeMs);
    const built = this.#code.buildBlock(this.ledger, { height: this.ledger.state.totals.height + 1, timeMs, moneySecond, previousId: parent.id, transactions: [...this.#bank.pool] });
    if (!built.ok) throw new Error(`the ledger builds nothing on its own tip: ${built.message}`);
    this.#code.revert(this.ledger, built.undo);
    return { transactions: built.transactions, moneySecond, stateRoot: built.stateRoot };
  }

  /** Whether the block's transactions lead from its parent's state to the root that it names. */
  execute(block: BlockRef, content: Content): boolean {
    this.#moveTo(block.parentId);
    if (!this.#apply(block, content)) return false;
    this.#executed.set(hex(block.id), { block, content });
    return true;
  }

  /** Names what is wrong with the state after a final block; null when nothing is. */
  commit(block: BlockRef): string | null {
    this.#moveTo(block.id);
    const { content } = this.#path.shift()!;
    this.#final = block;
    for (const [key, other] of this.#executed) if (other.block.height <= block.height) this.#executed.delete(key);
    for (const { body } of content.transactions) {
      if (body.validUntilMs < block.timeMs) return "a transaction was executed that had expired";
      const fault = this.#reckon(body);
      if (fault !== null) return fault;
    }
    return this.#path.length > 0 ? null : (this.#difference() ?? this.#code.faultOfLedger(this.ledger));
  }

  /** What a transaction does, in the plainest words: a nonce, a fee, and all its transfers or none. */
  #reckon({ sender, nonce, fee, ops }: DecodedTransaction["body"]): string | null {
    const from = this.#simple.get(hex(sender))!;
    if (nonce !== from.nonce) return `nonce ${nonce} was executed where ${from.nonce} was next`;
    from.nonce += 1n;
    from.balance -= fee;
    const before = [...this.#simple.values()].map((account) => account.balance);
    for (const op of ops) {
      if (op.kind !== "transfer") continue;
      if (from.balance < op.amount) {
        for (const [at, account] of [...this.#simple.values()].entries()) account.balance = before[at]!;
        return null;
      }
      from.balance -= op.amount;
      this.#simple.get(hex(op.to))!.balance += op.amount;
    }
    return null;
  }

  #difference(): string | null {
    for (const address of ADDRESSES) {
      const [one, other] = [this.#simple.get(hex(address))!, this.ledger.state.account(address)];
      if (one.balance !== other?.balance || one.nonce !== other.nonce) return `an account has ${other?.balance} at nonce ${other?.nonce}, and should have ${one.balance} at ${one.nonce}`;
    }
    return null;
  }

  #apply(block: BlockRef, content: Content): boolean {
    const { height } = this.ledger.state.totals;
    const applied = this.#code.applyBlock(this.ledger, { height: height + 1, timeMs: block.timeMs, moneySecond: content.moneySecond, previousId: block.parentId, transactions: content.transactions });
    if (!applied.ok) return false;
    if (hex(applied.stateRoot) !== hex(content.stateRoot)) {
      this.#code.revert(this.ledger, applied.undo);
      return false;
    }
    this.#path.push({ id: hex(block.id), content, undo: applied.undo });
    return true;
  }

  #moveTo(id: Digest): void {
    const wanted: { block: BlockRef; content: Content }[] = [];
    let at = hex(id);
    while (at !== hex(this.#final.id) && !this.#path.some((one) => one.id === at)) {
      const one = this.#executed.get(at);
      if (!one) throw new Error(`block ${at} was not executed`);
      wanted.push(one);
      at = hex(one.block.parentId);
    }
    while (this.#path.length > 0 && this.#path.at(-1)!.id !== at) this.#code.revert(this.ledger, this.#path.pop()!.undo);
    for (const one of wanted.reverse()) if (!this.#apply(one.block, one.content)) throw new Error("what was executed once is refused");
  }
}

/** A root nobody computes: of a block that is wrong. */
export const WRONG_ROOT: Digest = sha256(new Uint8Array(1));
