/**
 * The slots of a tree in the order of their keys: what a key is found by, and what lies before it.
 *
 * The keys lie one after the other in the tree's own array; here are slots only, in sorted chunks of at most 512. A look-up compares some
 * twenty keys, wherever an attacker puts his, and a leaf costs about six bytes: no hash table has both.
 */
import assert from "node:assert";
import { KEY_BYTES } from "#chain/codec/proof.ts";

const CHUNK_SLOTS_MAX = 512;
/** Room for half as many again before a chunk is split. */
const CHUNK_SLOTS_FILLED = 341;
type Chunk = { readonly slots: Uint32Array; count: number };

export class SlotOrder {
  readonly #chunks: Chunk[] = [];
  /** Key of slot s at s × KEY_BYTES. Belongs to the tree, which says so when it has moved. */
  #keys: Uint8Array;

  constructor(keys: Uint8Array) {
    this.#keys = keys;
  }
  moved(keys: Uint8Array): void {
    this.#keys = keys;
  }

  /** Takes slots in any order, whose keys stand in the array already, instead of those that are here; answers with them in order. */
  fill(slots: Uint32Array): Uint32Array {
    const keys = this.#keys;
    const compare = (a: number, b: number): number => {
      for (let index = 0; index < KEY_BYTES; index++) {
        const difference = (keys[a * KEY_BYTES + index] as number) - (keys[b * KEY_BYTES + index] as number);
        if (difference !== 0) return difference;
      }
      return 0;
    };
    slots.sort(compare);
    for (let at = 1; at < slots.length; at++) assert(compare(slots[at - 1] as number, slots[at] as number) < 0, "a key has one slot");
    this.#chunks.length = 0;
    for (let at = 0; at < slots.length; at += CHUNK_SLOTS_FILLED) this.#chunks.push(chunkOf(slots.subarray(at, at + CHUNK_SLOTS_FILLED)));
    return slots;
  }

  /** The slot of a key; -1 when there is none. */
  find(key: Uint8Array): number {
    const chunk = this.#chunks[this.#chunkOf(key)];
    if (chunk === undefined) return -1;
    const at = this.#lowerBound(chunk, key);
    const slot = at < chunk.count ? (chunk.slots[at] as number) : -1;
    return slot >= 0 && this.#compare(slot, key) === 0 ? slot : -1;
  }

  /** The slot of the largest key below this one; -1 when there is none. */
  before(key: Uint8Array): number {
    const at = this.#chunkOf(key);
    const chunk = this.#chunks[at];
    if (chunk === undefined) return -1;
    const index = this.#lowerBound(chunk, key);
    if (index > 0) return chunk.slots[index - 1] as number;
    const previous = this.#chunks[at - 1];
    return previous === undefined ? -1 : (previous.slots[previous.count - 1] as number);
  }

  /** A slot whose key stands in the array already, and in no other slot of this order. */
  add(slot: number, key: Uint8Array): void {
    const at = this.#chunkOf(key);
    const chunk = this.#chunks[at];
    if (chunk === undefined) {
      this.#chunks.push(chunkOf(Uint32Array.of(slot)));
      return;
    }
    const index = this.#lowerBound(chunk, key);
    chunk.slots.copyWithin(index + 1, index, chunk.count);
    chunk.slots[index] = slot;
    chunk.count++;
    if (chunk.count < CHUNK_SLOTS_MAX) return;
    // Keys that come in their order leave full chunks behind.
    const keep = index === chunk.count - 1 ? CHUNK_SLOTS_MAX - 1 : CHUNK_SLOTS_MAX / 2;
    this.#chunks.splice(at + 1, 0, chunkOf(chunk.slots.subarray(keep, chunk.count)));
    chunk.count = keep;
  }

  /** Before the key leaves the array. */
  delete(key: Uint8Array): void {
    const at = this.#chunkOf(key);
    const chunk = this.#chunks[at];
    assert(chunk !== undefined, "a key is removed only when it is there");
    const index = this.#lowerBound(chunk, key);
    assert(index < chunk.count && this.#compare(chunk.slots[index] as number, key) === 0, "a key is removed only when it is there");
    chunk.slots.copyWithin(index, index + 1, chunk.count);
    chunk.count--;
    if (chunk.count === 0) this.#chunks.splice(at, 1);
  }

  /** The last chunk whose first key is ≤ key, or the first one. */
  #chunkOf(key: Uint8Array): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare((this.#chunks[middle] as Chunk).slots[0] as number, key) <= 0) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : low - 1;
  }
  #lowerBound({ slots, count }: Chunk, key: Uint8Array): number {
    let low = 0;
    let high = count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(slots[middle] as number, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  #compare(slot: number, key: Uint8Array): number {
    const at = slot * KEY_BYTES;
    for (let index = 0; index < KEY_BYTES; index++) {
      const difference = (this.#keys[at + index] as number) - (key[index] as number);
      if (difference !== 0) return difference;
    }
    return 0;
  }
}

function chunkOf(from: Uint32Array): Chunk {
  const slots = new Uint32Array(CHUNK_SLOTS_MAX);
  slots.set(from);
  return { slots, count: from.length };
}
