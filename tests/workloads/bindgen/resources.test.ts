/** Resources through bindings in V8: ownership passes on, what is lent comes back, and nothing is left at the end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileCore, component, instantiate, program, sources, type Runtime } from "./compile.ts";
import { RESOURCES } from "./resources.ts";

type Disposable_ = { [Symbol.dispose](): void };
type Counter = Disposable_ & { next(): number; add(other: Counter): number; twin(): Counter; label(thing: object): string };
type CounterClass = { new (start: number): Counter; merge(a: Counter, b: Counter): Counter };
type Guest = {
  Counter: CounterClass;
  pass(counter: Counter): Counter;
  unpack(carried: { tag: string; val?: unknown }): { tag: string; val?: unknown };
  sum(all: Counter[]): number;
  many(count: number): Counter[];
  swallow(all: Counter[]): number;
  makePlain(): Disposable_;
  usePlain(plain: Disposable_): boolean;
  dropped(): number;
  describe(thing: object, more: object[], last?: object): string;
  through(thing: object): { name(): string };
  made(names: string[]): number;
  tried(name: string): string;
  left(): number;
};

/** Things of the host, with a count of those that nobody has dropped. */
function hostOf(): { host: object; Thing: new (name: string) => { name(): string }; living: () => number } {
  let living = 0;
  class Thing {
    value: string;
    constructor(name: string) {
      this.value = name;
      living++;
    }
    name(): string {
      return this.value;
    }
    rename(name: string): string {
      // A thrown value with a payload is what jco takes for the error of a result.
      if (name === "") throw Object.assign(new Error("no name"), { payload: "no name" });
      this.value = name;
      return name;
    }
    drop(): number {
      return 1;
    }
    [Symbol.dispose](): void {
      living--;
    }
    static join(a: Thing, b: Thing): Thing {
      living--; // `a` was given to us.
      return new Thing(`${a.value}+${b.value}`);
    }
    static none(): undefined {
      return undefined;
    }
  }
  class Sure {
    value: string;
    constructor(name: string) {
      if (name === "") throw Object.assign(new Error("unsure"), { payload: "unsure" });
      this.value = name;
    }
    name(): string {
      return this.value;
    }
  }
  const host = {
    Thing, Sure,
    lengths: (things: Thing[]): Uint32Array => Uint32Array.from(things.map(({ value }) => value.length)),
    make: (count: number): Thing[] => Array.from({ length: count }, (_, i) => new Thing(`thing ${i}`)),
    swallow: (things: Thing[]): number => {
      living -= things.length;
      return things.length;
    },
  };
  return { host, Thing, living: () => living };
}

async function start(runtime: Runtime, isStressed = false): Promise<{ guest: Guest; host: ReturnType<typeof hostOf>; memoryBytes: () => number }> {
  const wit = sources(RESOURCES);
  const { core, generated } = await compileCore(wit, { runtime, isStressed, isCounted: true, modules: { "program.ts": await program("resources") } });
  const host = hostOf();
  const { exports, memoryBytes } = await instantiate(await component(core, wit, generated), { "test:resources/host": host.host });
  return { guest: exports["guest"] as Guest, host, memoryBytes }; // The world says so.
}

for (const [name, runtime, isStressed] of [["the incremental runtime", "incremental", false], ["the minimal runtime", "minimal", false], ["a collection at every step", "incremental", true]] as const) {
  test(`resources of the program, under ${name}`, async () => {
    const { guest } = await start(runtime, isStressed);
    const { Counter } = guest;
    const a = new Counter(5);
    assert.deepEqual([a.next(), a.next(), a.add(new Counter(10)), a.twin().next()], [5, 6, 17, 17]);
    const b = guest.pass(a);
    assert.deepEqual([b.next(), guest.dropped()], [17, 0]);
    assert.throws(() => a.next());
    assert.equal(guest.sum([b, new Counter(2)]), 20);
    assert.equal(Counter.merge(b, new Counter(1)).next(), 19);
    assert.deepEqual(guest.many(5).map((each) => each.next()), [0, 1, 2, 3, 4]);
    assert.equal(guest.swallow(guest.many(100)), 4_950);
    const one = guest.unpack({ tag: "one", val: new Counter(3) }) as { tag: string; val: { first: Counter; second: Counter } };
    assert.deepEqual([one.tag, one.val.first.next(), one.val.second.next()], ["pair", 3, 7]);
    const back = guest.unpack({ tag: "pair", val: { first: one.val.first, second: undefined } }) as { tag: string; val: Counter };
    assert.deepEqual([back.tag, back.val.next()], ["one", 4]);
    assert.equal(guest.unpack({ tag: "nothing" }).tag, "nothing");
    const plain = guest.makePlain();
    assert.equal(guest.usePlain(plain), true);
    assert.equal(guest.dropped(), 0, "what came back to the program is not dropped");
    back.val[Symbol.dispose]();
    plain[Symbol.dispose]();
    assert.equal(guest.dropped(), 1);
    const before = guest.left();
    const more = guest.many(10);
    assert.equal(guest.left(), before + 10, "an object stays pinned while the other side has a handle to it");
    guest.swallow(more);
    assert.equal(guest.left(), before);
  });

  test(`resources of the host, under ${name}`, async () => {
    const { guest, host } = await start(runtime, isStressed);
    const [a, b, c] = [new host.Thing("a"), new host.Thing("b"), new host.Thing("c")];
    assert.equal(guest.describe(a, [b, c, b], c), "a,b,c,b;c");
    assert.equal(guest.describe(a, []), "a");
    assert.equal(new guest.Counter(4).label(a), "a4");
    assert.equal(host.living(), 3, "what was lent is not dropped");
    assert.equal(guest.through(a).name(), "a+other");
    assert.equal(host.living(), 3, "b, c and what both became");
    assert.equal(guest.made(["x", "yy", "zzz"]), 605);
    assert.equal(host.living(), 3);
    assert.deepEqual([guest.tried("sure"), guest.tried("")], ["sure", "unsure"]);
    const before = guest.left();
    guest.describe(b, [b, c], c);
    guest.made(["x", "yy"]);
    assert.equal(guest.left(), before);
  });
}

test("10,000 resources come and go in the same memory", async () => {
  for (const runtime of ["incremental", "minimal"] as const) {
    const { guest, memoryBytes } = await start(runtime);
    const turn = (count: number): void => {
      for (let i = 0; i < count; i++) {
        const counter = new guest.Counter(i);
        guest.pass(counter)[Symbol.dispose]();
      }
    };
    turn(1_000);
    const before = memoryBytes();
    turn(9_000);
    assert.equal(memoryBytes(), before, runtime);
    assert.equal(guest.dropped(), 10_000);
  }
});
