/**
 * Entities by the slot of their leaf. Most accounts of a chain have only been paid: such a one is two numbers, and is made when it is
 * asked for. A hundred bytes less each is what lets a machine keep a hundred thousand of them.
 */
import assert from "node:assert";
import type { Account, Archive, Entity } from "#chain/ledger/model.ts";
import { type Address, address } from "#chain/types.ts";

export type Hashed = Exclude<Entity, Archive>;
const CAPACITY_MIN = 64;
/** All of an account that nothing was sent from, but for its numbers. */
const NO_KEYS: Account["keys"] = [];
const plainAccount = (id: Address, balance: bigint, nonce: bigint): Account => ({ kind: "account", address: id, balance, nonce, keys: NO_KEYS, threshold: 1 });
const isPlain = (entity: Hashed): entity is Account => entity.kind === "account" && entity.keys.length === 0 && entity.threshold === 1;

export class Rows {
  readonly #rows: (Hashed | "plain" | null)[];
  /** Balance and nonce of a plain account, two for a slot. */
  #numbers: BigUint64Array;

  constructor(rows: (Hashed | "plain" | null)[] = [], numbers: BigUint64Array = new BigUint64Array(2 * CAPACITY_MIN)) {
    this.#rows = rows;
    this.#numbers = numbers;
  }

  /** `key` is the slot's. */
  get(slot: number, key: string): Hashed | undefined {
    const row = this.#rows[slot] ?? undefined;
    if (row !== "plain") return row;
    return plainAccount(address(Uint8Array.fromHex(key.slice(2, 42))), this.#numbers[2 * slot] as bigint, this.#numbers[2 * slot + 1] as bigint);
  }
  set(slot: number, entity: Hashed): void {
    assert(slot >= 0, "an entity has a slot");
    while (this.#rows.length <= slot) this.#rows.push(null);
    if (!isPlain(entity)) {
      this.#rows[slot] = entity;
      return;
    }
    if (2 * slot >= this.#numbers.length) {
      const wide = new BigUint64Array(2 * Math.max(slot + 1, this.#numbers.length));
      wide.set(this.#numbers);
      this.#numbers = wide;
    }
    this.#rows[slot] = "plain";
    this.#numbers[2 * slot] = entity.balance;
    this.#numbers[2 * slot + 1] = entity.nonce;
  }
  clear(slot: number): void {
    this.#rows[slot] = null;
  }
  /** As they are now: entities are values. */
  copy(): Rows {
    return new Rows(this.#rows.slice(), this.#numbers.slice());
  }
}
