/**
 * The state tree: a dense Merkle tree over slots, whose leaves are linked in the order of their keys (chain report §4).
 *
 *   leaf = H(leaf, key ‖ nextKey ‖ valueHash)      node = H(node, left ‖ right)      root = H(state, depth ‖ top node)
 *
 * A key takes the lowest free slot, else a new one at the end, so that the leaves alone say where the next one goes; levels, keys and
 * links lie in flat arrays, so that a million leaves are about 135 MB and an update costs one hash a level. The links prove absence: a leaf (a, next c) shows that there is no b.
 * Slot 0 is the head of the list: key 0, and its next is the smallest key; the last leaf's next is key 0 again.
 *
 * `apply` is undone by `undo` with what it returned, last first: then slots, links and root are the same as before.
 */
import assert from "node:assert";
import { DEPTH_MAX, HEAD_KEY, KEY_BYTES, type Proof } from "#chain/codec/proof.ts";
import { DOMAINS, sha256, sha256Hex } from "#chain/crypto.ts";
import { OrderedSet } from "#chain/ledger/ordered.ts";
import { SlotOrder } from "#chain/ledger/slotOrder.ts";
import type { Digest, Hex } from "#chain/types.ts";

const HASH_BYTES = 32;
const HEAD = HEAD_KEY;
const EMPTY_LEAF = new Uint8Array(HASH_BYTES);
const CAPACITY_MIN = 64;
/** The link of a slot without a key. */
export const FREE: number = 2 ** 32 - 1;

/** A change of one key: a hash of its value (as text: bytes of their own would cost three times as much), or null to remove it. */
export type LeafChange = { readonly key: string; readonly valueHash: Hex | null };
/** Key of slot s at s × KEY_BYTES, and the slot that its leaf links to; FREE where there is none. */
export type Layout = { readonly count: number; readonly keys: Uint8Array; readonly nexts: Uint32Array; readonly levels: readonly Uint8Array[] };
type Slot = { readonly key: string; readonly slot: number };
/** What `undo` needs: how each key came to or left its slot. */
export type TreeUndo = readonly ({ readonly kind: "inserted"; readonly fresh: boolean; readonly at: Slot } | { readonly kind: "removed"; readonly at: Slot })[];

export class StateTree {
  #levels: Uint8Array[] = [];
  #valueHashes = new Uint8Array(0);
  /** By slot: the key, and the slot that its leaf links to, FREE where there is none. */
  #keys = new Uint8Array(0);
  #nexts = new Uint32Array(0);
  #capacity = 0;
  /** Slots given out so far, freed ones included. */
  #count = 0;
  /** Slots below `#count` without a key, as hex. */
  readonly #free = new OrderedSet();
  readonly #order = new SlotOrder(this.#keys);
  readonly #probe = new Uint8Array(KEY_BYTES);
  readonly #hash = new Uint8Array(HASH_BYTES);
  #size = 0;
  readonly #dirty = new Set<number>();
  readonly #leafScratch = scratch("leaf", 2 * KEY_BYTES + HASH_BYTES);
  readonly #nodeScratch = scratch("node", 2 * HASH_BYTES);
  readonly #rootScratch = scratch("state", 1 + HASH_BYTES);

  constructor() {
    this.#insert(HEAD, this.#count++);
  }

  get size(): number {
    return this.#size - 1;
  }
  /** -1: there is none. */
  slotOf(key: string): number {
    this.#probe.setFromHex(key);
    return this.#order.find(this.#probe);
  }

  /** Applies changes in the order given, which must be the same on every machine; `took` hears in which slot each is that is not removed. */
  apply(changes: readonly LeafChange[], took: (key: string, slot: number) => void = () => undefined): TreeUndo {
    const undo: TreeUndo[number][] = [];
    for (const { key, valueHash } of changes) {
      let known = this.slotOf(key);
      if (valueHash === null) {
        if (known < 0) continue;
        undo.push({ kind: "removed", at: { key, slot: known } });
        this.#remove(key);
        this.#free.add(slotName(known));
        continue;
      }
      if (known < 0) {
        const lowest = this.#free.first("");
        if (lowest !== undefined) this.#free.delete(lowest);
        const slot = lowest === undefined ? this.#count++ : Number.parseInt(lowest, 16);
        this.#insert(key, slot);
        undo.push({ kind: "inserted", fresh: lowest === undefined, at: { key, slot } });
        known = slot;
      }
      this.#set(known, valueHash);
      took(key, known);
    }
    return undo;
  }

  /** Takes `apply` back; `changes` has the value hashes of before, for all keys that are there again. */
  undo(undo: TreeUndo, changes: readonly LeafChange[], took: (key: string, slot: number) => void = () => undefined): void {
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
    for (const { key, valueHash } of changes) {
      if (valueHash === null) continue;
      const slot = this.slotOf(key);
      this.#set(slot, valueHash);
      took(key, slot);
    }
  }

  /** A copy of the keys by slot, of the slots they link to, and of all nodes up to the top one; slot 0 is the head. */
  layout(): Layout {
    this.#rehash();
    const count = this.#count;
    const levels = Array.from({ length: depthOf(count) + 1 }, (_, level) => (this.#levels[level] as Uint8Array).slice(0, Math.ceil(count / 2 ** level) * HASH_BYTES));
    return { count, keys: this.#keys.slice(0, count * KEY_BYTES), nexts: this.#nexts.slice(0, count), levels };
  }

  /** The leaf of a key, or the one whose link skips it, and the way from it to the root. */
  prove(key: string): Omit<Proof, "value"> {
    this.#rehash();
    const known = this.slotOf(key);
    const slot = known < 0 ? this.#order.before(this.#probe) : known;
    const siblings = Array.from({ length: depthOf(this.#count) }, (_, level) => {
      const index = (slot >>> level) ^ 1;
      return (this.#levels[level] as Uint8Array).slice(index * HASH_BYTES, (index + 1) * HASH_BYTES);
    });
    const valueHash = this.#valueHashes.slice(slot * HASH_BYTES, (slot + 1) * HASH_BYTES);
    return { slot, key: this.#keyAt(slot).toHex(), nextKey: this.#keyAt(this.#nexts[slot] as number).toHex(), valueHash, siblings };
  }

  /** Fills a new tree: key and value hash by slot from 1; null: free. The keys are put in order once, and every node is hashed once. */
  restore(leaves: Iterable<LeafChange | null>): void {
    assert(this.#count === 1, "only a new tree is restored");
    const taken = [0];
    for (const leaf of leaves) {
      const slot = this.#count++;
      if (slot >= this.#capacity) this.#grow();
      if (leaf === null) {
        this.#nexts[slot] = FREE;
        this.#free.add(slotName(slot));
        continue;
      }
      assert(leaf.valueHash !== null, "a key has a value");
      this.#keyAt(slot).setFromHex(leaf.key);
      this.#write(this.#valueHashes, slot, leaf.valueHash);
      taken.push(slot);
    }
    this.#size = taken.length;
    const ordered = this.#order.fill(Uint32Array.from(taken));
    for (const [at, slot] of ordered.entries()) this.#nexts[slot] = ordered[at + 1] ?? 0;
    this.#dirty.clear();
    const bottom = this.#levels[0] as Uint8Array;
    for (const slot of taken) this.#hashLeaf(slot, bottom);
    const depth = depthOf(this.#capacity);
    for (let level = 0; level < depth; level++) for (let parent = 0; parent < Math.ceil(this.#count / 2 ** (level + 1)); parent++) this.#hashNode(level, parent);
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
    const bytes = this.#keyAt(slot);
    bytes.setFromHex(key);
    const before = this.#order.before(bytes);
    this.#order.add(slot, bytes);
    // The head has nothing before it and links to itself.
    if (before >= 0) {
      this.#nexts[slot] = this.#nexts[before] as number;
      this.#nexts[before] = slot;
      this.#dirty.add(before);
    }
    this.#size++;
    this.#dirty.add(slot);
  }

  #remove(key: string): void {
    const slot = this.slotOf(key);
    const before = this.#order.before(this.#probe);
    this.#nexts[before] = this.#nexts[slot] as number;
    this.#order.delete(this.#probe);
    this.#keyAt(slot).fill(0);
    this.#nexts[slot] = FREE;
    this.#valueHashes.fill(0, slot * HASH_BYTES, (slot + 1) * HASH_BYTES);
    this.#size--;
    this.#dirty.add(before).add(slot);
  }

  #set(slot: number, valueHash: Hex): void {
    this.#write(this.#valueHashes, slot, valueHash);
    this.#dirty.add(slot);
  }
  /** The hash at a place of an array of hashes. */
  #write(hashes: Uint8Array, at: number, hash: Hex): void {
    this.#hash.setFromHex(hash);
    copyBytes(hashes, at * HASH_BYTES, this.#hash, 0, HASH_BYTES);
  }
  #keyAt(slot: number): Uint8Array {
    return this.#keys.subarray(slot * KEY_BYTES, (slot + 1) * KEY_BYTES);
  }

  #rehash(): void {
    const leaves = this.#levels[0] as Uint8Array;
    for (const slot of this.#dirty) this.#hashLeaf(slot, leaves);
    // From here on the first `count` of them, which become their parents level by level.
    const changed = Uint32Array.from(this.#dirty).sort();
    let count = changed.length;
    this.#dirty.clear();
    const depth = depthOf(this.#capacity);
    for (let level = 0; level < depth; level++) {
      let parents = 0;
      for (let at = 0; at < count; at++) {
        const parent = (changed[at] as number) >>> 1;
        if (parents > 0 && changed[parents - 1] === parent) continue;
        changed[parents++] = parent;
        this.#hashNode(level, parent);
      }
      count = parents;
    }
  }

  /** The node above two of this level. */
  #hashNode(level: number, parent: number): void {
    const { bytes, offset } = this.#nodeScratch;
    copyBytes(bytes, offset, this.#levels[level] as Uint8Array, parent * 2 * HASH_BYTES, 2 * HASH_BYTES);
    this.#write(this.#levels[level + 1] as Uint8Array, parent, sha256Hex(bytes));
  }

  #hashLeaf(slot: number, leaves: Uint8Array): void {
    if (this.#nexts[slot] === FREE) return copyBytes(leaves, slot * HASH_BYTES, EMPTY_LEAF, 0, HASH_BYTES);
    const { bytes, offset } = this.#leafScratch;
    copyBytes(bytes, offset, this.#keys, slot * KEY_BYTES, KEY_BYTES);
    copyBytes(bytes, offset + KEY_BYTES, this.#keys, (this.#nexts[slot] as number) * KEY_BYTES, KEY_BYTES);
    copyBytes(bytes, offset + 2 * KEY_BYTES, this.#valueHashes, slot * HASH_BYTES, HASH_BYTES);
    this.#write(leaves, slot, sha256Hex(bytes));
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
    const keys = new Uint8Array(capacity * KEY_BYTES);
    keys.set(this.#keys);
    this.#keys = keys;
    this.#order.moved(keys);
    const nexts = new Uint32Array(capacity);
    nexts.set(this.#nexts);
    this.#nexts = nexts;
    this.#levels = levels;
    this.#capacity = capacity;
  }
}

/** A view of so few bytes costs more than they do. */
function copyBytes(to: Uint8Array, at: number, from: Uint8Array, start: number, length: number): void {
  for (let i = 0; i < length; i++) to[at + i] = from[start + i] as number;
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
