/** The program of test:resources: what it has and what it does with the things of the host. */
import * as host from "../gen/imports/test-resources-host";
import { left as leftNow } from "../gen/canonical";
import * as types from "../gen/exports/test-resources-guest";

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
