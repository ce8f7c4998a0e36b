/**
 * A sender of transactions: the machine with its `up`, `ready` and `failed`, free and signed by the machine key; or the operator
 * with the registration, which pays its fee.
 *
 * Rules: an operation is one transaction, so that one that is refused takes no other with it; nonces are given out in order, the
 * next one is the ledger's or one after the last that waits. After a transaction was lost or its nonce refused, the ledger's counts
 * again, past those that still wait: a gap is filled by the next operation, or nothing behind it would ever be final. What is not
 * final within MACHINE_TRANSACTION_VALID_MS can never become so, and its sender is told.
 */
import { type Operation, type TransactionBody, signTransaction } from "#chain/codec/transaction.ts";
import { PENDING_PER_ACCOUNT_MAX } from "#chain/node/mempool.ts";
import type { ChainNode, TransactionStatus } from "#chain/node/node.ts";
import { AgentError, codeOf } from "./error.ts";
import type { KeyPair } from "./keys.ts";
import { MACHINE_TRANSACTION_VALID_MS } from "./limits.ts";

/** What a transaction costs: so much, and so much for each of its bytes. A machine's own operations are free. */
export type Fees = { readonly base: bigint; readonly perByte: bigint };
export const FREE: Fees = { base: 0n, perByte: 0n };

/** After its expiry a transaction is told to be lost at the next block; this is for a chain that makes none. */
const FINAL_GRACE_MS = 5_000;

export class ChainSender {
  readonly #node: ChainNode;
  readonly #key: KeyPair;
  readonly #fees: Fees;
  readonly #now: () => number;
  readonly #stop: AbortController = new AbortController();
  /** Transactions that are on their way into the mempool, one after the other: their nonces must arrive in order. */
  #door: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #nonceNext: bigint | null = null;

  constructor(node: ChainNode, key: KeyPair, fees: Fees, now: () => number) {
    this.#node = node;
    this.#key = key;
    this.#fees = fees;
    this.#now = now;
  }

  /** Resolves when the operation is final and done; throws the code with which it was refused, at the door or in its block. */
  async submit(operation: Operation): Promise<void> {
    this.#waiting += 1;
    try {
      const handedIn = this.#door.catch(() => {}).then(() => this.#handIn(operation));
      this.#door = handedIn;
      const { txid } = await handedIn;
      const { ok, code } = await this.#final(txid);
      if (!ok) throw new AgentError(code ?? "refused", `Cannot ${operation.kind}: its block refused it (${code ?? "no code"})`);
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Resolves when everything submitted so far has passed, or failed, the door. */
  async handedIn(): Promise<void> {
    await this.#door.catch(() => {});
  }

  stop(): void {
    this.#stop.abort();
  }

  async #final(txid: Uint8Array): Promise<TransactionStatus> {
    try {
      return await this.#node.whenFinal(txid, { timeoutMs: MACHINE_TRANSACTION_VALID_MS + FINAL_GRACE_MS, signal: this.#stop.signal });
    } catch (error) {
      this.#nonceNext = null;
      throw error;
    }
  }

  async #handIn(operation: Operation): Promise<{ txid: Uint8Array }> {
    const known = this.#node.view().account(this.#key.address)?.nonce ?? 0n;
    let nonce = this.#nonceNext === null || this.#nonceNext < known || this.#waiting <= 1 ? known : this.#nonceNext;
    for (const last = nonce + BigInt(PENDING_PER_ACCOUNT_MAX); ; nonce += 1n) {
      try {
        const accepted = await this.#node.submit(this.#sign(operation, nonce));
        this.#nonceNext = nonce + 1n;
        return accepted;
      } catch (error) {
        const code = codeOf(error);
        // One that waits has this nonce: behind it there may be room.
        if (code === "replacement_underpriced" && nonce < last) continue;
        // A nonce that was not taken is still the next one, unless nonces are what is wrong.
        this.#nonceNext = code === "wrong_nonce" ? null : nonce;
        throw error;
      }
    }
  }

  #sign(operation: Operation, nonce: bigint): Uint8Array {
    const nowMs = BigInt(this.#now());
    const headMs = this.#node.head().timeMs;
    const body: TransactionBody = {
      chainId: this.#node.chainId, sender: this.#key.address, nonce, fee: 0n, ops: [operation],
      validUntilMs: (nowMs > headMs ? nowMs : headMs) + BigInt(MACHINE_TRANSACTION_VALID_MS),
    };
    if (this.#fees.perByte === 0n && this.#fees.base === 0n) return signTransaction(body, [this.#key.seed]);
    // The fee is part of what it pays for: a first try with a large one gives a size that is never too small.
    const sizeMax = signTransaction({ ...body, fee: 0xffff_ffff_ffffn }, [this.#key.seed]).length;
    return signTransaction({ ...body, fee: this.#fees.base + this.#fees.perByte * BigInt(sizeMax) }, [this.#key.seed]);
  }
}
