/**
 * The state tree: a dense Merkle tree over slots, whose leaves are linked in the order of their keys (chain report §4).
 *
 *   leaf = H(leaf, key ‖ nextKey ‖ valueHash)      node = H(node, left ‖ right)      root = H(state, depth ‖ top node)
 *
 * A key takes the lowest free slot, else a new one at the end, so that the leaves alone say where the next one goes; the levels lie in flat arrays, so that a million leaves
 * are 64 MB and an update costs one hash a level. The links prove absence: a leaf (a, next c) shows that there is no b.
 * Slot 0 is the head of the list: key 0, and its next is the smallest key; the last leaf's next is key 0 again.
 *
 * `apply` is undone by `undo` with what it returned, last first: then slots, links and root are the same as before.
 */
import assert from "node:assert";
import { DEPTH_MAX, HEAD_KEY, KEY_BYTES, type Proof } from "#chain/codec/proof.ts";
import { DOMAINS, sha256, sha256Into } from "#chain/crypto.ts";
import { OrderedSet } from "#chain/ledger/ordered.ts";
import type { Digest } from "#chain/types.ts";

const HASH_BYTES = 32;
const HEAD = HEAD_KEY;
const EMPTY_LEAF = new Uint8Array(HASH_BYTES);
const CAPACITY_MIN = 64;

/** A change of one key: a hash of its value, or null to remove it. */
export type LeafChange = { readonly key: string; readonly valueHash: Uint8Array | null };
type Slot = { readonly key: string; readonly slot: number };
/** What `undo` needs: how each key came to or left its slot. */
export type TreeUndo = readonly ({ readonly kind: "inserted"; readonly fresh: boolean; readonly at: Slot } | { readonly kind: "removed"; readonly at: Slot })[];

export class StateTree {
  #levels: Uint8Array[] = [];
  #valueHashes = new Uint8Array(0);
  #capacity = 0;
  /** Slots given out so far, freed ones included. */
  #count = 0;
  /** Slots below `#count` without a key, as hex. */
  readonly #free = new OrderedSet();
  readonly #slots = new Map<string, number>();
  readonly #order = new OrderedSet();
  readonly #nextOf: string[] = [];
  readonly #keyAt: string[] = [];
  readonly #dirty = new Set<number>();
  readonly #leafScratch = scratch("leaf", 2 * KEY_BYTES + HASH_BYTES);
  readonly #nodeScratch = scratch("node", 2 * HASH_BYTES);
  readonly #rootScratch = scratch("state", 1 + HASH_BYTES);

  constructor() {
    this.#insert(HEAD, this.#count++);
  }

  get size(): number {
    return this.#slots.size - 1;
  }

  /** Applies changes in the order given, which must be the same on every machine. */
  apply(changes: readonly LeafChange[]): TreeUndo {
    const undo: TreeUndo[number][] = [];
    for (const { key, valueHash } of changes) {
      const known = this.#slots.get(key);
      if (valueHash === null) {
        if (known === undefined) continue;
        undo.push({ kind: "removed", at: { key, slot: known } });
        this.#remove(key);
        this.#free.add(slotName(known));
        continue;
      }
      if (known === undefined) {
        const lowest = this.#free.first("");
        if (lowest !== undefined) this.#free.delete(lowest);
        const slot = lowest === undefined ? this.#count++ : Number.parseInt(lowest, 16);
        this.#insert(key, slot);
        undo.push({ kind: "inserted", fresh: lowest === undefined, at: { key, slot } });
      }
      this.#set(key, valueHash);
    }
    return undo;
  }

  /** Takes `apply` back; `changes` has the value hashes of before, for all keys that are there again. */
  undo(undo: TreeUndo, changes: readonly LeafChange[]): void {
    for (const step of undo.toReversed()) {
      const { key, slot } = step.at;
      if (step.kind === "removed") {
        this.#free.delete(slotName(slot));
        this.#insert(key, slot);
      } else {
        this.#remove(key);
        if (step.fresh) assert(slot === --this.#count, "a new slot is the last one");
        else this.#free.add(slotName(slot));
      }
    }
    for (const { key, valueHash } of changes) if (valueHash !== null) this.#set(key, valueHash);
  }

  /** Keys by slot, "" where it is free, and what each links to; slot 0 is the head. With the values they make the root. */
  layout(): { readonly keys: readonly string[]; readonly nexts: readonly string[] } {
    return { keys: this.#keyAt.slice(0, this.#count), nexts: this.#nextOf.slice(0, this.#count) };
  }

  /** The leaf of a key, or the one whose link skips it, and the way from it to the root. */
  prove(key: string): Omit<Proof, "value"> {
    this.#rehash();
    const at = this.#slots.has(key) ? key : (this.#order.before(key) as string);
    const slot = this.#slots.get(at) as number;
    const siblings = Array.from({ length: depthOf(this.#count) }, (_, level) => {
      const index = (slot >>> level) ^ 1;
      return (this.#levels[level] as Uint8Array).slice(index * HASH_BYTES, (index + 1) * HASH_BYTES);
    });
    const valueHash = this.#valueHashes.slice(slot * HASH_BYTES, (slot + 1) * HASH_BYTES);
    return { slot, key: at, nextKey: this.#nextOf[slot] as string, valueHash, siblings };
  }

  /** Fills a new tree: keys by slot from 1. */
  restore(keys: readonly string[], valueHashOf: (key: string) => Uint8Array): void {
    assert(this.#count === 1, "only a new tree is restored");
    this.#count += keys.length;
    while (this.#count > this.#capacity) this.#grow();
    for (const [index, key] of keys.entries()) {
      this.#keyAt[index + 1] = key;
      this.#nextOf[index + 1] = "";
      if (key === "") this.#free.add(slotName(index + 1));
      else this.#slots.set(key, index + 1);
    }
    let before = 0;
    for (const key of keys.filter((one) => one !== "").sort()) {
      this.#order.add(key);
      this.#nextOf[before] = key;
      before = this.#slots.get(key) as number;
      this.#set(key, valueHashOf(key));
    }
    this.#nextOf[before] = HEAD;
    this.#dirty.add(0);
  }

  root(): Digest {
    this.#rehash();
    const depth = depthOf(this.#count);
    const { bytes, offset } = this.#rootScratch;
    bytes[offset] = depth;
    bytes.set((this.#levels[depth] as Uint8Array).subarray(0, HASH_BYTES), offset + 1);
    return sha256(bytes);
  }

  #insert(key: string, slot: number): void {
    if (slot >= this.#capacity) this.#grow();
    this.#slots.set(key, slot);
    this.#keyAt[slot] = key;
    if (key === HEAD) {
      this.#nextOf[slot] = HEAD;
      this.#order.add(HEAD);
    } else {
      const before = this.#slots.get(this.#order.before(key) as string) as number;
      this.#order.add(key);
      this.#nextOf[slot] = this.#nextOf[before] as string;
      this.#nextOf[before] = key;
      this.#dirty.add(before);
    }
    this.#dirty.add(slot);
  }

  #remove(key: string): void {
    const slot = this.#slots.get(key) as number;
    const before = this.#slots.get(this.#order.before(key) as string) as number;
    this.#nextOf[before] = this.#nextOf[slot] as string;
    this.#order.delete(key);
    this.#slots.delete(key);
    this.#keyAt[slot] = "";
    this.#nextOf[slot] = "";
    this.#valueHashes.fill(0, slot * HASH_BYTES, (slot + 1) * HASH_BYTES);
    this.#dirty.add(before).add(slot);
  }

  #set(key: string, valueHash: Uint8Array): void {
    const slot = this.#slots.get(key) as number;
    this.#valueHashes.set(valueHash, slot * HASH_BYTES);
    this.#dirty.add(slot);
  }

  #rehash(): void {
    const leaves = this.#levels[0] as Uint8Array;
    for (const slot of this.#dirty) this.#hashLeaf(slot, leaves.subarray(slot * HASH_BYTES, (slot + 1) * HASH_BYTES));
    let changed = [...this.#dirty].sort((a, b) => a - b);
    this.#dirty.clear();
    const depth = depthOf(this.#capacity);
    for (let level = 0; level < depth; level++) {
      const below = this.#levels[level] as Uint8Array;
      const above = this.#levels[level + 1] as Uint8Array;
      const parents: number[] = [];
      for (const index of changed) {
        const parent = index >>> 1;
        if (parents.at(-1) === parent) continue;
        parents.push(parent);
        this.#nodeScratch.bytes.set(below.subarray(parent * 2 * HASH_BYTES, (parent * 2 + 2) * HASH_BYTES), this.#nodeScratch.offset);
        sha256Into(above.subarray(parent * HASH_BYTES, (parent + 1) * HASH_BYTES), this.#nodeScratch.bytes);
      }
      changed = parents;
    }
  }

  #hashLeaf(slot: number, target: Uint8Array): void {
    const key = this.#keyAt[slot] as string;
    if (key === "") {
      target.set(EMPTY_LEAF);
      return;
    }
    const { bytes, offset } = this.#leafScratch;
    bytes.subarray(offset).setFromHex(key + (this.#nextOf[slot] as string));
    bytes.set(this.#valueHashes.subarray(slot * HASH_BYTES, (slot + 1) * HASH_BYTES), offset + 2 * KEY_BYTES);
    sha256Into(target, bytes);
  }

  #grow(): void {
    const capacity = this.#capacity === 0 ? CAPACITY_MIN : this.#capacity * 2;
    const depth = depthOf(capacity);
    const levels: Uint8Array[] = [];
    for (let level = 0; level <= depth; level++) {
      const zero = EMPTY_TREES[level] as Uint8Array;
      const wide = new Uint8Array((capacity >>> level) * HASH_BYTES);
      const old = this.#levels[level] ?? new Uint8Array(0);
      wide.set(old);
      for (let at = old.length; at < wide.length; at += HASH_BYTES) wide.set(zero, at);
      levels.push(wide);
    }
    const valueHashes = new Uint8Array(capacity * HASH_BYTES);
    valueHashes.set(this.#valueHashes);
    this.#valueHashes = valueHashes;
    this.#levels = levels;
    this.#capacity = capacity;
  }
}

const slotName = (slot: number): string => slot.toString(16).padStart(8, "0");

/** A buffer that has the domain's bytes in front already: one hash, no copying together. */
function scratch(domain: "leaf" | "node" | "state", length: number): { readonly bytes: Uint8Array; readonly offset: number } {
  const offset = DOMAINS[domain].length;
  const bytes = new Uint8Array(offset + length);
  bytes.set(DOMAINS[domain]);
  return { bytes, offset };
}

/** The least d with 2^d ≥ count. */
export function depthOf(count: number): number {
  let depth = 0;
  while (1 << depth < count) depth++;
  return depth;
}

/** The top nodes of trees without leaves, by depth. */
export const EMPTY_TREES: readonly Uint8Array[] = (() => {
  const tops: Uint8Array[] = [EMPTY_LEAF];
  const { bytes, offset } = scratch("node", 2 * HASH_BYTES);
  for (let depth = 1; depth <= DEPTH_MAX; depth++) {
    const below = tops[depth - 1] as Uint8Array;
    bytes.set(below, offset);
    bytes.set(below, offset + HASH_BYTES);
    tops.push(sha256(bytes));
  }
  return tops;
})();
