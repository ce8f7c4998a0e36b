/** Random values of WIT types as JavaScript has them in jco's bindings, from a seed. */
import { casesOf, partsOf } from "#workloads/sdk/bindgen/layout.ts";
import { isScalar, type ScalarType, type Type } from "#workloads/sdk/bindgen/model.ts";
import { camel } from "#workloads/sdk/bindgen/names.ts";

/** A small generator (mulberry32): the same seed, the same numbers. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to below `count`. */
  below(count: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000) * count);
  }

  pick<T>(from: readonly T[]): T {
    const found = from[this.below(from.length)];
    if (found === undefined) throw new Error("Nothing to pick from");
    return found;
  }
}

const TEXTS = ["", "a", "plain text", "één", "中文字", "👋🏽", "nul\0inside", "x".repeat(300), "\u{10ffff}"];

/** A value of a type; lists have up to `length` entries. */
export function randomValue(type: Type, chance: Chance, length = 4): unknown {
  if (isScalar(type)) return scalar(type, chance);
  switch (type.kind) {
    case "string": return chance.pick(TEXTS) + String(chance.below(100));
    case "list": return listOf(type.of, Array.from({ length: chance.below(length + 1) }, () => randomValue(type.of, chance, Math.ceil(length / 2))));
    case "option": return option(type.of, chance, length);
    case "result": {
      const isOk = chance.below(2) === 0;
      const payload = isOk ? type.ok : type.error;
      return { tag: isOk ? "ok" : "err", val: payload === null ? undefined : randomValue(payload, chance, length) };
    }
    case "tuple": return partsOf(type).map((part) => randomValue(part, chance, length));
    case "record": return Object.fromEntries(type.definition.fields.map((field) => [camel(field.name), randomValue(field.type, chance, length)]));
    case "variant": {
      const index = chance.below(type.definition.cases.length);
      const payload = casesOf(type)[index] ?? null;
      const tag = type.definition.cases[index]?.name;
      return payload === null ? { tag } : { tag, val: randomValue(payload, chance, length) };
    }
    case "enum": return chance.pick(type.definition.labels).name;
    case "flags": return Object.fromEntries(type.definition.labels.map(({ name }) => [camel(name), chance.below(2) === 0]));
    case "own": case "borrow": throw new Error("A resource is no value");
  }
}

/** An option is its value or undefined, unless its value can be undefined itself: then it is an object with a tag. */
const canBeUndefined = (type: Type): boolean => type.kind === "option" && !canBeUndefined(type.of);

function option(inner: Type, chance: Chance, length: number): unknown {
  const isSome = chance.below(3) > 0;
  if (canBeUndefined(inner)) return isSome ? { tag: "some", val: randomValue(inner, chance, length) } : { tag: "none" };
  return isSome ? randomValue(inner, chance, length) : undefined;
}

function scalar({ kind }: ScalarType, chance: Chance): unknown {
  switch (kind) {
    case "bool": return chance.below(2) === 0;
    case "u8": return chance.pick([0, 255, chance.below(256)]);
    case "s8": return chance.pick([-128, 127, -1, chance.below(128)]);
    case "u16": return chance.pick([0, 65_535, chance.below(65_536)]);
    case "s16": return chance.pick([-32_768, 32_767, -chance.below(32_768)]);
    case "u32": return chance.pick([0, 0xffff_ffff, chance.below(0xffff_ffff)]);
    case "s32": return chance.pick([-0x8000_0000, 0x7fff_ffff, -chance.below(0x8000_0000)]);
    case "u64": return chance.pick([0n, 0xffff_ffff_ffff_ffffn, BigInt(chance.below(0xffff_ffff)) << 20n]);
    case "s64": return chance.pick([-0x8000_0000_0000_0000n, 0x7fff_ffff_ffff_ffffn, -BigInt(chance.below(0xffff_ffff)) << 9n]);
    case "f32": return chance.pick([0, -0.5, 3.402_823_466_385_288_6e38, Number.POSITIVE_INFINITY, chance.below(1_000) / 8]);
    case "f64": return chance.pick([0, -1e300, Number.MIN_VALUE, Number.NEGATIVE_INFINITY, chance.below(1_000_000) / 7]);
    case "char": return chance.pick(["a", "é", "中", "👋", "\u{10ffff}", "\0"]);
  }
}

/** Lists of numbers are typed arrays. */
function listOf(type: Type, values: unknown[]): unknown {
  const numbers = values.map(Number);
  const bigints = (): bigint[] => values.map((value) => (typeof value === "bigint" ? value : 0n));
  switch (type.kind) {
    case "u8": return Uint8Array.from(numbers);
    case "s8": return Int8Array.from(numbers);
    case "u16": return Uint16Array.from(numbers);
    case "s16": return Int16Array.from(numbers);
    case "u32": return Uint32Array.from(numbers);
    case "s32": return Int32Array.from(numbers);
    case "u64": return BigUint64Array.from(bigints());
    case "s64": return BigInt64Array.from(bigints());
    case "f32": return Float32Array.from(numbers);
    case "f64": return Float64Array.from(numbers);
    case "bool": case "char": case "string": case "list": case "option": case "result": case "tuple": case "record": case "variant": case "enum": case "flags": case "own": case "borrow": return values;
  }
}

/** A value without what jco says in two ways: a missing payload and one that is undefined, arrays and typed arrays. */
export function plain(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>); // A typed array; jco makes no DataView.
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== undefined).map(([key, inner]) => [key, plain(inner)]));
}
