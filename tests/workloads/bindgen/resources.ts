/** Resources in every direction: a world that uses the host's and has its own, a program for it, and counters of what lives. */
export const RESOURCES = `package test:resources@1.0.0;

interface host {
  /// A thing of the host.
  resource thing {
    constructor(name: string);
    name: func() -> string;
    rename: func(name: string) -> result<string, string>;
    %drop: func() -> u32;
    join: static func(a: thing, b: borrow<thing>) -> thing;
    none: static func() -> option<thing>;
  }
  resource sure {
    constructor(name: string) -> result<sure, string>;
    name: func() -> string;
  }
  lengths: func(things: list<borrow<thing>>) -> list<u32>;
  make: func(count: u32) -> list<thing>;
  swallow: func(things: list<thing>) -> u32;
}

interface guest {
  use host.{thing};
  record pair { first: counter, second: option<counter> }
  variant carried { nothing, one(counter), pair(pair) }
  resource counter {
    constructor(start: u32);
    next: func() -> u32;
    add: func(other: borrow<counter>) -> u32;
    twin: func() -> counter;
    merge: static func(a: counter, b: counter) -> counter;
    label: func(t: borrow<thing>) -> string;
  }
  resource plain;
  pass: func(c: counter) -> counter;
  unpack: func(c: carried) -> carried;
  sum: func(all: list<borrow<counter>>) -> u32;
  many: func(count: u32) -> list<counter>;
  swallow: func(all: list<counter>) -> u32;
  make-plain: func() -> plain;
  use-plain: func(p: borrow<plain>) -> bool;
  dropped: func() -> u32;
  describe: func(t: borrow<thing>, more: list<borrow<thing>>, last: option<borrow<thing>>) -> string;
  through: func(t: thing) -> thing;
  made: func(names: list<string>) -> u32;
  tried: func(name: string) -> string;
  left: func() -> s32;
}

world w {
  import host;
  export guest;
}
`;

export const RESOURCES_PROGRAM = `
import * as host from "./gen/imports/test-resources-host";
import { left as leftNow } from "./gen/canonical";
import * as types from "./gen/exports/test-resources-guest";

let droppedCount: u32 = 0;

export namespace guest {
  export class Counter extends types.Counter {
    constructor(public value: u32) { super(); }
    next(): u32 { return this.value++; }
    add(other: types.Counter): u32 { this.value += (other as Counter).value; return this.value; }
    twin(): types.Counter { return new Counter(this.value); }
    label(t: host.Thing): string { return t.name() + this.value.toString(); }
    dropped(): void { droppedCount++; }
    static merge(a: types.Counter, b: types.Counter): types.Counter { return new Counter((a as Counter).value + (b as Counter).value); }
  }
  export class Plain extends types.Plain {}
  export function pass(c: types.Counter): types.Counter { return c; }
  export function unpack(c: types.Carried): types.Carried {
    if (c.isOne) return types.Carried.pair(new types.Pair(c.asOne, new Counter(7)));
    if (c.isPair) return types.Carried.one(c.asPair.first);
    return c;
  }
  export function sum(all: Array<types.Counter>): u32 { let n: u32 = 0; for (let i = 0; i < all.length; i++) n += (all[i] as Counter).value; return n; }
  export function many(count: u32): Array<types.Counter> { const all = new Array<types.Counter>(); for (let i: u32 = 0; i < count; i++) all.push(new Counter(i)); return all; }
  export function swallow(all: Array<types.Counter>): u32 { return sum(all); }
  export function makePlain(): types.Plain { return new Plain(); }
  export function usePlain(p: types.Plain): bool { return p instanceof Plain; }
  export function dropped(): u32 { return droppedSoFar(); }
  export function describe(t: host.Thing, more: Array<host.Thing>, last: host.Thing | null): string {
    let text = t.name();
    for (let i = 0; i < more.length; i++) text += "," + more[i].name();
    if (last !== null) text += ";" + last.name();
    return text;
  }
  export function through(t: host.Thing): host.Thing {
    const other = new host.Thing("other");
    const joined = host.Thing.join(t, other);
    other.drop();
    other.drop();
    if (t.handle != 0) unreachable();
    if (host.Thing.none() !== null) unreachable();
    if (joined.rename("").isOk) unreachable();
    if (joined.drop_() != 1) unreachable();
    return joined;
  }
  export function made(names: Array<string>): u32 {
    const things = new Array<host.Thing>();
    for (let i = 0; i < names.length; i++) things.push(new host.Thing(names[i]));
    const lengths = host.lengths(things);
    let all: u32 = 0;
    for (let i = 0; i < lengths.length; i++) all += lengths[i];
    const first = things.shift();
    first.drop();
    const own = host.make(3);
    for (let i = 0; i < own.length; i++) things.push(own[i]);
    return all * 100 + host.swallow(things);
  }
  export function left(): i32 { return leftNow(); }
  export function tried(name: string): string {
    const made = host.Sure.create(name);
    if (made.isErr) return made.err;
    const sure = made.ok;
    const text = sure.name();
    sure.drop();
    return text;
  }
}

function droppedSoFar(): u32 { return droppedCount; }
`;

/** Two components for wasmtime: one has a resource, the other, a task, uses it in every way. */
export const STORE = `package test:store@1.0.0;
interface store {
  record pair { first: item, second: option<item> }
  resource item {
    constructor(name: string) ;
    name: func() -> string;
    longer: func(other: borrow<item>) -> bool;
    join: static func(a: item, b: item) -> item;
    parse: static func(text: string) -> result<item, string>;
  }
  resource strict { constructor(name: string) -> result<strict, u32>; }
  pass: func(i: item) -> item;
  make-pair: func(a: item, b: option<item>) -> pair;
  swap: func(p: pair) -> pair;
  longest: func(all: list<borrow<item>>) -> option<u32>;
  split: func(text: string) -> list<item>;
  give-back: func(all: list<item>) -> u32;
  dropped: func() -> u32;
  left: func() -> s32;
}
world keeper { export store; }
world task { import store; export wasi:cli/run@0.2.12; }
`;

export const STORE_PROGRAM = `
import * as types from "./gen/exports/test-store-store";
import { Result, Some, err, left as leftNow, ok } from "./gen/canonical";
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
`;

export const STORE_TASK = `
import { Item, Pair, Strict, dropped, giveBack, left as leftThere, longest, makePair, pass, split, swap } from "./gen/imports/test-store-store";
import { Result, Unit, left as leftHere, ok } from "./gen/canonical";
function turn(): void {
  const a = new Item("aé");
  const b = new Item("bbb");
  assert(b.longer(a) && !a.longer(b));
  const same = pass(a);
  assert(a.handle == 0 && same.name() == "aé");
  const swapped = swap(makePair(same, b));
  assert(swapped.first.name() == "bbb" && swapped.second!.name() == "aé");
  const alone = swap(makePair(new Item("alone"), null));
  assert(alone.second === null);
  alone.first.drop();
  const joined = Item.join(swapped.first, swapped.second!);
  assert(joined.name() == "bbbaé");
  const best = longest([joined, joined]);
  assert(best !== null && best.value == 0 && longest([]) === null);
  joined.drop();
  assert(Item.parse("").err == "empty");
  const parsed = Item.parse("text").ok;
  parsed.drop();
  assert(Strict.create("").err == 7);
  Strict.create("s").ok.drop();
  assert(giveBack(split("a,b,c,d")) == 4);
}
export namespace run {
  export function run(): Result<Unit, Unit> {
    for (let i: u32 = 1; i <= 2000; i++) {
      turn();
      assert(dropped() == 3 * i && leftThere() == 0 && leftHere() == 0);
    }
    return ok<Unit, Unit>(0);
  }
}
`;
