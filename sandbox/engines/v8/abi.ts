/**
 * The canonical ABI, for functions that a guest calls: lean, and from types alone.
 *
 * Each function of a component is turned once into a tree of small closures over its types; an instance only binds it to its
 * memory. A call then reads flat arguments into values, calls the host, and writes the result back, with no generated source and
 * nothing allocated but the values. Every pointer and length is the guest's: out of bounds is a trap.
 *
 * Values: record → object with camelCase keys, variant → { tag, value }, enum → string, flags → number of bits, option → value or
 * undefined, result → { tag: "ok" | "error", value }, list<u8> → Uint8Array (a copy), handle → the object behind it.
 */
import type { Frame } from "./frame.ts";
import { type Case, casesOf, type CoreType, flatten, layout, sequence, tagBytes, variantLayout } from "./layout.ts";
import { HostTrap } from "./trap.ts";
import type { FunctionType, Resource, StringEncoding, ValueType } from "./types.ts";

export type Value = unknown;
type Flat = number | bigint;
type HostFunction = (...values: Value[]) => Value;
export type CoreFunction = (...flat: Flat[]) => Flat | undefined;

const FLAT_PARAMS_MAX = 16;
const FLAT_RESULTS_MAX = 1;
export const resourceKey = (resource: Resource): string => `${resource.interface}#${resource.name}`;

/** Made once per imported function; `host` is what an instance's host does, `frame` its memory. */
export function compileLowering(type: FunctionType, encoding: StringEncoding): (host: HostFunction, frame: Frame) => CoreFunction {
  const readParams = paramsReader(type, encoding);
  if (type.result === null) {
    return (host, frame) => (...flat) => {
      host(...readParams(frame, flat));
      return undefined;
    };
  }
  if (flatten(type.result).length <= FLAT_RESULTS_MAX) {
    const toFlat = flatLowerer(type.result);
    return (host, frame) => (...flat) => toFlat(frame, host(...readParams(frame, flat)));
  }
  const write = storer(type.result, encoding);
  const { align, size } = layout(type.result);
  return (host, frame) => (...flat) => {
    const pointer = Number(flat[flat.length - 1]) >>> 0;
    if (pointer % align !== 0 || pointer + size > frame.bytes.length) throw new HostTrap("wasm trap: out of bounds memory access");
    write(frame, pointer, host(...readParams(frame, flat)));
    return undefined;
  };
}

type ReadFlat = (frame: Frame, flat: readonly Flat[]) => Value;
type Load = (frame: Frame, pointer: number) => Value;
type Store = (frame: Frame, pointer: number, value: Value) => void;

function paramsReader(type: FunctionType, encoding: StringEncoding): (frame: Frame, flat: readonly Flat[]) => Value[] {
  const all = type.params.flatMap(flatten);
  if (all.length > FLAT_PARAMS_MAX) {
    const load = loader({ kind: "tuple", items: type.params }, encoding);
    return (frame, flat) => load(frame, Number(flat[0]) >>> 0) as Value[];
  }
  let at = 0;
  const readers = type.params.map((param) => {
    const reader = flatReader(param, at, all, encoding);
    at += flatten(param).length;
    return reader;
  });
  const [first, second] = readers;
  if (first === undefined) return () => [];
  if (second === undefined) return (frame, flat) => [first(frame, flat)];
  return (frame, flat) => readers.map((read) => read(frame, flat));
}

const camel = (name: string): string => name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());

/** What a case's tag and payload are as a value. */
function variantValue(type: Extract<ValueType, { kind: "variant" | "option" | "result" }>, tag: string, value: Value): Value {
  if (type.kind === "option") return tag === "none" ? undefined : value;
  return { tag, value };
}

/** Reads a value from flat parameters, whose types may be wider than the value's where cases share them. */
function flatReader(type: ValueType, at: number, have: readonly CoreType[], encoding: StringEncoding): ReadFlat {
  const narrow = (index: number): ((flat: readonly Flat[]) => number) => (have[index] === "i64" ? (flat) => Number(BigInt.asIntN(32, flat[index] as bigint)) : (flat) => flat[index] as number);
  const first = narrow(at);
  switch (type.kind) {
    case "bool": return (_, flat) => first(flat) !== 0;
    case "s8": return (_, flat) => (first(flat) << 24) >> 24;
    case "u8": return (_, flat) => first(flat) & 0xff;
    case "s16": return (_, flat) => (first(flat) << 16) >> 16;
    case "u16": return (_, flat) => first(flat) & 0xffff;
    case "s32": return (_, flat) => first(flat) | 0;
    case "u32": return (_, flat) => first(flat) >>> 0;
    case "char": return (_, flat) => charOf(first(flat) >>> 0);
    case "s64": return (_, flat) => BigInt.asIntN(64, flat[at] as bigint);
    case "u64": return (_, flat) => BigInt.asUintN(64, flat[at] as bigint);
    case "f32": case "f64":
      if (have[at] !== (type.kind === "f32" ? "f32" : "f64")) throw new HostTrap("A float shares its place with another type, which no interface of ours has");
      return (_, flat) => flat[at];
    case "string": case "list": {
      const read = sequenceReader(type as Sequence, encoding);
      const second = narrow(at + 1);
      return (frame, flat) => read(frame, first(flat) >>> 0, second(flat) >>> 0);
    }
    case "record": case "tuple": {
      const types = type.kind === "tuple" ? type.items : type.fields.map(([, field]) => field);
      let next = at;
      const readers = types.map((item) => {
        const reader = flatReader(item, next, have, encoding);
        next += flatten(item).length;
        return reader;
      });
      const names = type.kind === "record" ? type.fields.map(([name]) => camel(name)) : null;
      return (frame, flat) => together(names, readers.map((read) => read(frame, flat)));
    }
    case "variant": case "option": case "result": {
      const cases = casesOf(type).map(([name, inner]) => [name, inner === null ? null : flatReader(inner, at + 1, have, encoding)] as const);
      return (frame, flat) => {
        const [tag, read] = chosen(cases, first(flat) >>> 0);
        return variantValue(type, tag, read?.(frame, flat));
      };
    }
    case "enum": return (_, flat) => chosen(type.names, first(flat) >>> 0);
    case "flags": return (_, flat) => first(flat) >>> 0;
    case "own": case "borrow": {
      const key = resourceKey(type.resource);
      return type.kind === "own" ? (frame, flat) => frame.handles.take(first(flat) >>> 0, key) : (frame, flat) => frame.handles.get(first(flat) >>> 0, key);
    }
    default: throw type satisfies never;
  }
}

const together = (names: readonly string[] | null, values: readonly Value[]): Value => (names === null ? values : Object.fromEntries(names.map((name, i) => [name, values[i]])));

function chosen<T>(cases: readonly T[], index: number): T {
  const found = cases[index];
  if (found === undefined) throw new HostTrap("unexpected discriminant");
  return found;
}

function charOf(code: number): string {
  if (code > 0x10_ffff || (code >= 0xd800 && code < 0xe000)) throw new HostTrap("integer out of range for a char");
  return String.fromCodePoint(code);
}

function loader(type: ValueType, encoding: StringEncoding): Load {
  switch (type.kind) {
    case "bool": return (frame, p) => frame.view.getUint8(p) !== 0;
    case "s8": return (frame, p) => frame.view.getInt8(p);
    case "u8": return (frame, p) => frame.view.getUint8(p);
    case "s16": return (frame, p) => frame.view.getInt16(p, true);
    case "u16": return (frame, p) => frame.view.getUint16(p, true);
    case "s32": return (frame, p) => frame.view.getInt32(p, true);
    case "u32": return (frame, p) => frame.view.getUint32(p, true);
    case "char": return (frame, p) => charOf(frame.view.getUint32(p, true));
    case "s64": return (frame, p) => frame.view.getBigInt64(p, true);
    case "u64": return (frame, p) => frame.view.getBigUint64(p, true);
    case "f32": return (frame, p) => frame.view.getFloat32(p, true);
    case "f64": return (frame, p) => frame.view.getFloat64(p, true);
    case "string": case "list": {
      const read = sequenceReader(type as Sequence, encoding);
      return (frame, p) => read(frame, frame.view.getUint32(p, true), frame.view.getUint32(p + 4, true));
    }
    case "record": case "tuple": {
      const types = type.kind === "tuple" ? type.items : type.fields.map(([, field]) => field);
      const { offsets } = sequence(types);
      const loads = types.map((item) => loader(item, encoding));
      const names = type.kind === "record" ? type.fields.map(([name]) => camel(name)) : null;
      return (frame, p) => together(names, loads.map((load, i) => load(frame, p + offsets[i]!)));
    }
    case "variant": case "option": case "result": {
      const all = casesOf(type);
      const { tag, payload } = variantLayout(all);
      const readTag = uint(tag);
      const cases = all.map(([name, inner]) => [name, inner === null ? null : loader(inner, encoding)] as const);
      return (frame, p) => {
        const [name, load] = chosen(cases, readTag(frame, p));
        return variantValue(type, name, load?.(frame, p + payload));
      };
    }
    case "enum": {
      const read = uint(tagBytes(type.names.length));
      return (frame, p) => chosen(type.names, read(frame, p));
    }
    case "flags": return uint(layout(type).size);
    case "own": case "borrow": {
      const key = resourceKey(type.resource);
      return type.kind === "own" ? (frame, p) => frame.handles.take(frame.view.getUint32(p, true), key) : (frame, p) => frame.handles.get(frame.view.getUint32(p, true), key);
    }
    default: throw type satisfies never;
  }
}

const uint = (bytes: number): ((frame: Frame, p: number) => number) =>
  bytes === 1 ? (frame, p) => frame.view.getUint8(p) : bytes === 2 ? (frame, p) => frame.view.getUint16(p, true) : (frame, p) => frame.view.getUint32(p, true);
const setUint = (bytes: number): ((frame: Frame, p: number, value: number) => void) =>
  bytes === 1 ? (frame, p, value) => frame.view.setUint8(p, value) : bytes === 2 ? (frame, p, value) => frame.view.setUint16(p, value, true) : (frame, p, value) => frame.view.setUint32(p, value, true);

type Sequence = { readonly kind: "string" } | Extract<ValueType, { kind: "list" }>;

/** A string or a list by its pointer and length. */
function sequenceReader(type: Sequence, encoding: StringEncoding): (frame: Frame, pointer: number, length: number) => Value {
  if (type.kind === "string") return encoding === "utf8" ? readUtf8 : encoding === "utf16" ? readUtf16 : readEither;
  if (type.element.kind === "u8") return (frame, pointer, length) => frame.slice(pointer, length).slice();
  const load = loader(type.element, encoding);
  const { size, align } = layout(type.element);
  return (frame, pointer, length) => {
    if (length > 0 && pointer % align !== 0) throw new HostTrap("A list is not aligned");
    frame.slice(pointer, length * size);
    return Array.from({ length }, (_, i) => load(frame, pointer + i * size));
  };
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const utf16 = new TextDecoder("utf-16le", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();
/** Up to here a loop is faster than a call of the decoder. */
const SHORT_BYTES_MAX = 24;
const LATIN1_MASK = 0x7fff_ffff;

function readUtf8(frame: Frame, pointer: number, length: number): string {
  const bytes = frame.slice(pointer, length);
  if (length <= SHORT_BYTES_MAX) {
    let text = "";
    let i = 0;
    for (; i < length && bytes[i]! < 128; i++) text += String.fromCharCode(bytes[i]!);
    if (i === length) return text;
  }
  return decoded(utf8, bytes);
}
const readUtf16 = (frame: Frame, pointer: number, length: number): string => decoded(utf16, frame.slice(pointer, length * 2));
/** latin1, or utf16 when the highest bit of the length says so. */
function readEither(frame: Frame, pointer: number, length: number): string {
  if (length > LATIN1_MASK) return readUtf16(frame, pointer, length & LATIN1_MASK);
  return Array.from(frame.slice(pointer, length), (byte) => String.fromCharCode(byte)).join("");
}
function decoded(decoder: TextDecoder, bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new HostTrap("invalid encoding of a string");
  }
}

function writeString(encoding: StringEncoding): Store {
  return (frame, p, value) => {
    const text = value as string;
    if (encoding === "utf8") return storeBytes(frame, p, encoder.encode(text), 1);
    const units = new Uint8Array(text.length * 2);
    const view = new DataView(units.buffer);
    for (let i = 0; i < text.length; i++) view.setUint16(i * 2, text.charCodeAt(i), true);
    storeBytes(frame, p, units, 2);
    frame.view.setUint32(p + 4, encoding === "latin1" ? (text.length | 0x8000_0000) >>> 0 : text.length, true);
  };
}

function storeBytes(frame: Frame, p: number, bytes: Uint8Array, align: number): void {
  const pointer = frame.allocate(align, bytes.length);
  frame.bytes.set(bytes, pointer);
  const { view } = frame;
  view.setUint32(p, pointer, true);
  view.setUint32(p + 4, bytes.length, true);
}

function storer(type: ValueType, encoding: StringEncoding): Store {
  switch (type.kind) {
    case "bool": return (frame, p, value) => frame.view.setUint8(p, value === true ? 1 : 0);
    case "s8": case "u8": return (frame, p, value) => frame.view.setUint8(p, value as number);
    case "s16": case "u16": return (frame, p, value) => frame.view.setUint16(p, value as number, true);
    case "s32": case "u32": return (frame, p, value) => frame.view.setUint32(p, value as number, true);
    case "char": return (frame, p, value) => frame.view.setUint32(p, (value as string).codePointAt(0) ?? 0, true);
    case "s64": case "u64": return (frame, p, value) => frame.view.setBigUint64(p, BigInt.asUintN(64, value as bigint), true);
    case "f32": return (frame, p, value) => frame.view.setFloat32(p, value as number, true);
    case "f64": return (frame, p, value) => frame.view.setFloat64(p, value as number, true);
    case "string": return writeString(encoding);
    case "list": return listStorer(type.element, encoding);
    case "record": case "tuple": {
      const types = type.kind === "tuple" ? type.items : type.fields.map(([, field]) => field);
      const { offsets } = sequence(types);
      const stores = types.map((item) => storer(item, encoding));
      const names = type.kind === "record" ? type.fields.map(([name]) => camel(name)) : null;
      return (frame, p, value) => {
        const values = names === null ? (value as Value[]) : names.map((name) => (value as Record<string, Value>)[name]);
        for (const [i, store] of stores.entries()) store(frame, p + offsets[i]!, values[i]);
      };
    }
    case "variant": case "option": case "result": {
      const all = casesOf(type);
      const { tag, payload } = variantLayout(all);
      const writeTag = setUint(tag);
      const stores = all.map(([, inner]) => (inner === null ? null : storer(inner, encoding)));
      const indexOf = caseIndex(type, all);
      return (frame, p, value) => {
        const index = indexOf(value);
        writeTag(frame, p, index);
        stores[index]?.(frame, p + payload, type.kind === "option" ? value : (value as { value: Value }).value);
      };
    }
    case "enum": case "flags": {
      const write = setUint(layout(type).size);
      const { names } = type;
      return type.kind === "flags" ? (frame, p, value) => write(frame, p, value as number) : (frame, p, value) => write(frame, p, names.indexOf(value as string));
    }
    case "own": case "borrow": {
      const key = resourceKey(type.resource);
      return (frame, p, value) => frame.view.setUint32(p, frame.handles.add(value as object, key), true);
    }
    default: throw type satisfies never;
  }
}

function caseIndex(type: Extract<ValueType, { kind: "variant" | "option" | "result" }>, cases: readonly Case[]): (value: Value) => number {
  if (type.kind === "option") return (value) => (value === undefined ? 0 : 1);
  const indices = new Map(cases.map(([name], index) => [name, index]));
  return (value) => {
    const index = indices.get((value as { tag: string }).tag);
    if (index === undefined) throw new TypeError(`There is no case ${(value as { tag: string }).tag} among ${[...indices.keys()].join(", ")}`);
    return index;
  };
}

function listStorer(element: ValueType, encoding: StringEncoding): Store {
  if (element.kind === "u8") return (frame, p, value) => storeBytes(frame, p, value as Uint8Array, 1);
  const store = storer(element, encoding);
  const { size, align } = layout(element);
  return (frame, p, value) => {
    const items = value as Value[];
    const pointer = frame.allocate(align, items.length * size);
    for (const [i, item] of items.entries()) store(frame, pointer + i * size, item);
    frame.view.setUint32(p, pointer, true);
    frame.view.setUint32(p + 4, items.length, true);
  };
}

/** Of a result that is one core value. */
function flatLowerer(type: ValueType): (frame: Frame, value: Value) => Flat {
  if (type.kind === "bool") return (_, value) => (value === true ? 1 : 0);
  if (type.kind === "char") return (_, value) => (value as string).codePointAt(0) ?? 0;
  if (type.kind === "enum") return (_, value) => type.names.indexOf(value as string);
  if (type.kind === "own" || type.kind === "borrow") {
    const key = resourceKey(type.resource);
    return (frame, value) => frame.handles.add(value as object, key);
  }
  if (type.kind === "variant" || type.kind === "option" || type.kind === "result") {
    const indexOf = caseIndex(type, casesOf(type));
    return (_, value) => indexOf(value);
  }
  if (type.kind === "record" || type.kind === "tuple") {
    const [item] = type.kind === "tuple" ? type.items : type.fields.map(([, field]) => field);
    if (item === undefined) throw new HostTrap("An empty record cannot be a result");
    const lower = flatLowerer(item);
    const name = type.kind === "record" ? camel(type.fields[0]?.[0] ?? "") : 0;
    return (frame, value) => lower(frame, (value as Record<string | number, Value>)[name]);
  }
  return (_, value) => value as Flat;
}
