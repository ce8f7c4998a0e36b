/**
 * A whole state between two blocks, taken at once as copies of flat arrays, so that it can be written down while others follow
 * (`snapshot.ts`). Entities are made when they are asked for: of a large state there are never all of them at a time.
 */
import { DEPTH_MAX, KEY_BYTES } from "#chain/codec/proof.ts";
import type { Archive } from "#chain/ledger/model.ts";
import type { Hashed, Rows } from "#chain/ledger/rows.ts";
import { EMPTY_TREES, FREE, type Layout } from "#chain/ledger/tree.ts";

const HASH_BYTES = 32;

export class Image {
  readonly archives: readonly Archive[];
  readonly #layout: Layout;
  readonly #rows: Rows;

  constructor(layout: Layout, rows: Rows, archives: readonly Archive[]) {
    this.#layout = layout;
    this.#rows = rows;
    this.archives = archives;
  }
  /** Slots, with the head's and those that are free. */
  get count(): number {
    return this.#layout.count;
  }
  get depth(): number {
    return this.#layout.levels.length - 1;
  }
  /** null: the slot is free, or the head's. */
  entity(slot: number): Hashed | null {
    if (slot === 0 || this.#layout.nexts[slot] === FREE) return null;
    return this.#rows.get(slot, this.#key(slot)) as Hashed;
  }
  /** The key that the slot's leaf links to; "" where it is free. */
  next(slot: number): string {
    const next = this.#layout.nexts[slot] as number;
    return next === FREE ? "" : this.#key(next);
  }
  /** A node of the tree, level 0 being the leaves. */
  node(level: number, index: number): Uint8Array {
    const nodes = this.#layout.levels[level];
    const at = index * HASH_BYTES;
    return nodes === undefined || at >= nodes.length ? (EMPTY_TREES[Math.min(level, DEPTH_MAX)] as Uint8Array) : nodes.subarray(at, at + HASH_BYTES);
  }
  /** From 1, one after the other. */
  get slots(): Iterable<Hashed | null> {
    const { count } = this;
    const entity = (slot: number): Hashed | null => this.entity(slot);
    return { *[Symbol.iterator]() { for (let slot = 1; slot < count; slot++) yield entity(slot); } };
  }

  #key(slot: number): string {
    return this.#layout.keys.subarray(slot * KEY_BYTES, (slot + 1) * KEY_BYTES).toHex();
  }
}
