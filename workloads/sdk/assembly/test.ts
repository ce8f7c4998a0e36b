// @ts-nocheck: generics here ask what T is when it is compiled, which TypeScript cannot.
/**
 * `godwit/test`: tests of functions, in files `*.test.ts` beside them; `godwit test` runs them.
 *
 *     import { expect, test } from "godwit/test";
 *     import { total } from "./shop";
 *
 *     test("a basket adds up", () => {
 *       expect(total([1, 2])).toBe(3);
 *     });
 *
 * Each test runs in an instance of its own: what one leaves behind, no other sees, and a trap ends one test.
 */
import { writeLine } from "./runtime";

class Test {
  constructor(readonly name: string, readonly run: () => void) {}
}

const tests: Test[] = [];

/** Names a test. `run` uses nothing of where it stands: AssemblyScript has no closures. */
export function test(name: string, run: () => void): void {
  tests.push(new Test(name, run));
}

/** What is said of a value. A statement that is not so ends the test. */
export function expect<T>(value: T): Expectation<T> {
  return new Expectation<T>(value, false);
}

/** What can be said of a value; `expect(value)` makes one. */
export class Expectation<T> {
  constructor(private value: T, private isNot: bool) {}

  /** The contrary of what follows. */
  get not(): Expectation<T> {
    return new Expectation<T>(this.value, !this.isNot);
  }

  /** The same number or text, or the same object. */
  toBe(expected: T): void {
    this.check(this.value == expected, "to be " + shown<T>(expected));
  }

  /** Lists and typed arrays, item by item. */
  toEqual(expected: T): void {
    this.check(sameItems<T>(this.value, expected), "to equal " + shown<T>(expected));
  }

  /** For a type that may be null. */
  toBeNull(): void {
    if (isNullable<T>()) this.check(changetype<usize>(this.value) == 0, "to be null");
    else this.check(false, "to be null");
  }

  /** For a bool. */
  toBeTrue(): void {
    this.check(this.value == <T>true, "to be true");
  }

  /** For a bool. */
  toBeFalse(): void {
    this.check(this.value == <T>false, "to be false");
  }

  /** For numbers, and for text in the order of its characters. */
  toBeGreaterThan(other: T): void {
    this.check(this.value > other, "to be greater than " + shown<T>(other));
  }

  /** For numbers, and for text in the order of its characters. */
  toBeLessThan(other: T): void {
    this.check(this.value < other, "to be less than " + shown<T>(other));
  }

  /** Numbers that differ by less than `distance`: sums of fractions are not exact. */
  toBeCloseTo(expected: T, distance: f64 = 1e-9): void {
    this.check(Math.abs(<f64>this.value - <f64>expected) < distance, "to be close to " + shown<T>(expected));
  }

  /** A part of a text, or an item of a list. */
  toContain<U>(part: U): void {
    if (isString<T>()) this.check(changetype<string>(this.value).includes(changetype<string>(part)), "to contain " + shown<U>(part));
    else this.check((<U[]>this.value).includes(part), "to contain " + shown<U>(part));
  }

  private check(holds: bool, what: string): void {
    assert(holds != this.isNot, "expected " + shown<T>(this.value) + (this.isNot ? " not " : " ") + what);
  }
}

function sameItems<T>(a: T, b: T): bool {
  if (isArrayLike<T>() && !isString<T>()) {
    if (a.length != b.length) return false;
    for (let i = 0; i < a.length; i++) if (a[i] != b[i]) return false;
    return true;
  }
  return a == b;
}

function shown<T>(value: T): string {
  if (isString<T>()) return changetype<usize>(value) == 0 ? "null" : '"' + changetype<string>(value) + '"';
  if (isBoolean<T>()) return value ? "true" : "false";
  if (isInteger<T>() || isFloat<T>()) return value.toString();
  if (isReference<T>() && changetype<usize>(value) == 0) return "null";
  if (isArrayLike<T>()) {
    let text = "[";
    for (let i = 0; i < value.length; i++) text += (i ? ", " : "") + shown<valueof<T>>(value[i]);
    return text + "]";
  }
  return "an object";
}

/** For the SDK: without arguments the names, one a line; with a number that test. */
export function runTests(args: string[]): i32 {
  if (!args.length) {
    for (let i = 0; i < tests.length; i++) writeLine(tests[i].name);
    return 0;
  }
  tests[<i32>parseInt(args[0])].run();
  return 0;
}
