/** Binary heap: on top is the entry that comes before all others. */
export class Heap<Entry> {
  readonly #entries: Entry[] = [];
  readonly #comesBefore: (a: Entry, b: Entry) => boolean;

  constructor(comesBefore: (a: Entry, b: Entry) => boolean) {
    this.#comesBefore = comesBefore;
  }
  get size(): number {
    return this.#entries.length;
  }
  peek(): Entry | undefined {
    return this.#entries[0];
  }
  push(entry: Entry): void {
    const entries = this.#entries;
    let at = entries.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#comesBefore(entries[at]!, entries[parent]!)) break;
      [entries[at], entries[parent]] = [entries[parent]!, entries[at]!];
      at = parent;
    }
  }
  pop(): Entry | undefined {
    const entries = this.#entries;
    const top = entries[0];
    const last = entries.pop();
    if (last === undefined || entries.length === 0) return top;
    entries[0] = last;
    for (let at = 0; ; ) {
      let next = at;
      for (const child of [2 * at + 1, 2 * at + 2]) if (child < entries.length && this.#comesBefore(entries[child]!, entries[next]!)) next = child;
      if (next === at) return top;
      [entries[at], entries[next]] = [entries[next]!, entries[at]!];
      at = next;
    }
  }
}
