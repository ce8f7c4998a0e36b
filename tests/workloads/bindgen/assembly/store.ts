/** The keeper of test:store: a component whose resource another uses. */
import * as types from "../gen/exports/test-store-store";
import { Result, Some, err, left as leftNow, ok } from "../gen/canonical";
let droppedCount: u32 = 0;
export namespace store {
  export class Item extends types.Item {
    constructor(public text: string) { super(); }
    name(): string { return this.text; }
    longer(other: types.Item): bool { return this.text.length > (other as Item).text.length; }
    dropped(): void { droppedCount++; }
    static join(a: types.Item, b: types.Item): types.Item { return new Item(a.name() + b.name()); }
    static parse(text: string): Result<types.Item, string> { return text == "" ? err<types.Item, string>("empty") : ok<types.Item, string>(new Item(text)); }
  }
  export class Strict extends types.Strict {
    static create(name: string): Result<types.Strict, u32> { return name == "" ? err<types.Strict, u32>(7) : ok<types.Strict, u32>(new Strict()); }
  }
  export function pass(i: types.Item): types.Item { return i; }
  export function makePair(a: types.Item, b: types.Item | null): types.Pair { return new types.Pair(a, b); }
  export function swap(p: types.Pair): types.Pair { const second = p.second; return second === null ? p : new types.Pair(second, p.first); }
  export function longest(all: Array<types.Item>): Some<u32> | null {
    let best = -1;
    for (let i = 0; i < all.length; i++) if (best < 0 || all[i].longer(all[best])) best = i;
    return best < 0 ? null : new Some<u32>(best);
  }
  export function split(text: string): Array<types.Item> { const all = new Array<types.Item>(); const parts = text.split(","); for (let i = 0; i < parts.length; i++) all.push(new Item(parts[i])); return all; }
  export function giveBack(all: Array<types.Item>): u32 { return all.length; }
  export function dropped(): u32 { return droppedCount; }
  export function left(): i32 { return leftNow(); }
}
