/**
 * What was used lately, by name: at most `countMax` of it, and at least the newest half of that.
 *
 * Two generations: who is looked up in the old one moves to the young one, and when that is full it becomes the old one. So a look-up
 * that finds something writes nothing, where a list in the order of use writes every time.
 */
export class Recent<T> {
  readonly #half: number;
  #young = new Map<string, T>();
  #old = new Map<string, T>();

  constructor(countMax: number) {
    this.#half = Math.max(1, countMax >>> 1);
  }

  get(name: string): T | undefined {
    const young = this.#young.get(name);
    if (young !== undefined) return young;
    const old = this.#old.get(name);
    if (old !== undefined) this.set(name, old);
    return old;
  }
  set(name: string, value: T): void {
    this.#young.set(name, value);
    if (this.#young.size < this.#half) return;
    this.#old = this.#young;
    this.#young = new Map();
  }
  delete(name: string): void {
    this.#young.delete(name);
    this.#old.delete(name);
  }
}
