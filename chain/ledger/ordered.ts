/**
 * An ordered set of strings: what the state is walked by where the order of insertion must not count.
 *
 * Sorted chunks in a sorted list: adding, removing and looking up cost a binary search and a move of at most 512 references,
 * at a million entries still a microsecond or two. Strings compare by code unit, which for hex is the order of the bytes.
 */
import assert from "node:assert";

const CHUNK_ITEMS_MAX = 512;

export class OrderedSet {
  #chunks: string[][] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(item: string): boolean {
    const chunk = this.#chunks[this.#chunkOf(item)];
    return chunk !== undefined && chunk[lowerBound(chunk, item)] === item;
  }

  add(item: string): void {
    const at = this.#chunkOf(item);
    const chunk = this.#chunks[at];
    this.#size++;
    if (chunk === undefined) {
      this.#chunks.push([item]);
      return;
    }
    const index = lowerBound(chunk, item);
    assert(chunk[index] !== item, "an item is in the set once");
    chunk.splice(index, 0, item);
    if (chunk.length > CHUNK_ITEMS_MAX) this.#chunks.splice(at + 1, 0, chunk.splice(CHUNK_ITEMS_MAX / 2));
  }

  delete(item: string): void {
    const at = this.#chunkOf(item);
    const chunk = this.#chunks[at];
    assert(chunk !== undefined, "an item is removed only when it is there");
    const index = lowerBound(chunk, item);
    assert(chunk[index] === item, "an item is removed only when it is there");
    chunk.splice(index, 1);
    this.#size--;
    if (chunk.length === 0) this.#chunks.splice(at, 1);
  }

  /** The largest item below `item`. */
  before(item: string): string | undefined {
    const at = this.#chunkOf(item);
    const chunk = this.#chunks[at];
    if (chunk === undefined) return undefined;
    const index = lowerBound(chunk, item);
    return index > 0 ? chunk[index - 1] : this.#chunks[at - 1]?.at(-1);
  }

  /** Ascending from the first item ≥ `start` while items begin with `prefix`. The set must not change meanwhile. */
  *from(start: string, prefix: string = ""): Generator<string, void> {
    let at = this.#chunkOf(start);
    let index = lowerBound(this.#chunks[at] ?? [], start);
    for (; at < this.#chunks.length; at++, index = 0) {
      const chunk = this.#chunks[at] as string[];
      for (; index < chunk.length; index++) {
        const item = chunk[index] as string;
        if (!item.startsWith(prefix)) return;
        yield item;
      }
    }
  }

  /** The first item that begins with `prefix`. */
  first(prefix: string): string | undefined {
    return this.from(prefix, prefix).next().value ?? undefined;
  }

  /** The last chunk whose first item is ≤ item, or the first one. */
  #chunkOf(item: string): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#chunks[middle]?.[0] as string) <= item) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? 0 : low - 1;
  }
}

function lowerBound(items: readonly string[], item: string): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((items[middle] as string) < item) low = middle + 1;
    else high = middle;
  }
  return low;
}
