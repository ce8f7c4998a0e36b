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
import { HostTrap } from "./trap.ts";
import type { FunctionType, Primitive, Resource, StringEncoding, ValueType } from "./types.ts";

/** What of an instance a call needs: the memory and allocator that the function was lowered with, and the handles. */
export class Frame {
  readonly handles: Handles;
  memory: WebAssembly.Memory | undefined;
  realloc: ((old: number, oldBytes: number, align: number, bytes: number) => number) | undefined;
  #bytes: Uint8Array = new Uint8Array();
  #view: DataView = new DataView(this.#bytes.buffer);

  constructor(handles: Handles) {
    this.handles = handles;
  }

  /** A memory that grew has a new buffer, and the old one is empty. */
  get bytes(): Uint8Array {
    if (this.#bytes.length === 0) this.#refresh();
    return this.#bytes;
  }
  get view(): DataView {
    if (this.#bytes.length === 0) this.#refresh();
    return this.#view;
  }
  #refresh(): void {
    if (this.memory === undefined) throw new HostTrap("The function was lowered without a memory");
    this.#bytes = new Uint8Array(this.memory.buffer);
    this.#view = new DataView(this.memory.buffer);
  }

  slice(pointer: number, length: number): Uint8Array {
    const { bytes } = this;
    if (pointer + length > bytes.length) throw new HostTrap("wasm trap: out of bounds memory access");
    return bytes.subarray(pointer, pointer + length);
  }

  allocate(align: number, length: number): number {
    if (this.realloc === undefined) throw new HostTrap("The function was lowered without an allocator");
    const pointer = this.realloc(0, 0, align, length) >>> 0;
    if (pointer % align !== 0 || pointer + length > this.bytes.length) throw new HostTrap("The guest's allocator gave a place that is none");
    return pointer;
  }
}

/** Resources that the host gave out. Index 0 is none. */
export class Handles {
  readonly #entries: ({ readonly object: object; readonly resource: string } | undefined)[] = [undefined];
  readonly #free: number[] = [];
  readonly #max: number;
  constructor(max: number) {
    this.#max = max;
  }

  add(object: object, resource: string): number {
    const index = this.#free.pop() ?? this.#entries.length;
    if (index > this.#max) throw new HostTrap("The instance has more resource handles than it may have");
    this.#entries[index] = { object, resource };
    return index;
  }
  get(index: number, resource: string): object {
    const entry = this.#entries[index];
    if (entry === undefined || entry.resource !== resource) throw new HostTrap(`unknown handle index ${index} of ${resource}`);
    return entry.object;
  }
  take(index: number, resource: string): object {
    const object = this.get(index, resource);
    this.#entries[index] = undefined;
    this.#free.push(index);
    return object;
  }
}

export type Value = unknown;
type Flat = number | bigint;
type CoreType = "i32" | "i64" | "f32" | "f64";
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

const FLAT_OF: Readonly<Partial<Record<Primitive, readonly CoreType[]>>> = { s64: ["i64"], u64: ["i64"], f32: ["f32"], f64: ["f64"], string: ["i32", "i32"] };

export function flatten(type: ValueType): readonly CoreType[] {
  switch (type.kind) {
    case "list": return ["i32", "i32"];
    case "record": return type.fields.flatMap(([, field]) => flatten(field));
    case "tuple": return type.items.flatMap(flatten);
    case "variant": case "option": case "result": return ["i32", ...joined(casesOf(type))];
    case "flags": return Array.from({ length: Math.ceil(type.names.length / 32) }, () => "i32" as const);
    case "enum": case "own": case "borrow": return ["i32"];
    default: return FLAT_OF[type.kind] ?? ["i32"];
  }
}

type Case = readonly [name: string, type: ValueType | null];
function casesOf(type: Extract<ValueType, { kind: "variant" | "option" | "result" }>): readonly Case[] {
  if (type.kind === "variant") return type.cases;
  return type.kind === "option" ? [["none", null], ["some", type.some]] : [["ok", type.ok], ["error", type.error]];
}

function joined(cases: readonly Case[]): CoreType[] {
  const all: CoreType[] = [];
  for (const [, type] of cases) {
    for (const [index, flat] of (type === null ? [] : flatten(type)).entries()) {
      const before = all[index];
      all[index] = before === undefined || before === flat ? flat : isNarrow(before) && isNarrow(flat) ? "i32" : "i64";
    }
  }
  return all;
}
const isNarrow = (type: CoreType): boolean => type === "i32" || type === "f32";

type Layout = { readonly size: number; readonly align: number };
const SIZES: Readonly<Record<Primitive, Layout>> = {
  bool: { size: 1, align: 1 }, s8: { size: 1, align: 1 }, u8: { size: 1, align: 1 }, s16: { size: 2, align: 2 }, u16: { size: 2, align: 2 }, s32: { size: 4, align: 4 }, u32: { size: 4, align: 4 },
  char: { size: 4, align: 4 }, f32: { size: 4, align: 4 }, s64: { size: 8, align: 8 }, u64: { size: 8, align: 8 }, f64: { size: 8, align: 8 }, string: { size: 8, align: 4 },
};
const alignTo = (offset: number, align: number): number => Math.ceil(offset / align) * align;
const tagBytes = (count: number): number => (count <= 256 ? 1 : count <= 65_536 ? 2 : 4);

export function layout(type: ValueType): Layout {
  switch (type.kind) {
    case "list": return SIZES.string;
    case "record": return sequence(type.fields.map(([, field]) => field)).layout;
    case "tuple": return sequence(type.items).layout;
    case "variant": case "option": case "result": return variantLayout(casesOf(type)).layout;
    case "flags": return type.names.length <= 8 ? SIZES.u8 : type.names.length <= 16 ? SIZES.u16 : { size: 4 * Math.ceil(type.names.length / 32), align: 4 };
    case "enum": return { size: tagBytes(type.names.length), align: tagBytes(type.names.length) };
    case "own": case "borrow": return SIZES.u32;
    default: return SIZES[type.kind];
  }
}

function sequence(types: readonly ValueType[]): { readonly layout: Layout; readonly offsets: readonly number[] } {
  let [size, align] = [0, 1];
  const offsets = types.map((type) => {
    const inner = layout(type);
    const offset = alignTo(size, inner.align);
    size = offset + inner.size;
    align = Math.max(align, inner.align);
    return offset;
  });
  return { layout: { size: alignTo(size, align), align }, offsets };
}

function variantLayout(cases: readonly Case[]): { readonly layout: Layout; readonly tag: number; readonly payload: number } {
  const tag = tagBytes(cases.length);
  const inner = cases.map(([, type]) => (type === null ? { size: 0, align: 1 } : layout(type)));
  const payloadAlign = Math.max(1, ...inner.map(({ align }) => align));
  const align = Math.max(tag, payloadAlign);
  const payload = alignTo(tag, payloadAlign);
  return { layout: { size: alignTo(payload + Math.max(0, ...inner.map(({ size }) => size)), align), align }, tag, payload };
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
    if (encoding === "utf8") return void storeBytes(frame, p, encoder.encode(text), 1);
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
  switch (type.kind) {
    case "bool": return (_, value) => (value === true ? 1 : 0);
    case "char": return (_, value) => (value as string).codePointAt(0) ?? 0;
    case "own": case "borrow": {
      const key = resourceKey(type.resource);
      return (frame, value) => frame.handles.add(value as object, key);
    }
    case "enum": return (_, value) => type.names.indexOf(value as string);
    case "variant": case "option": case "result": {
      const indexOf = caseIndex(type, casesOf(type));
      return (_, value) => indexOf(value);
    }
    case "record": case "tuple": {
      const [item] = type.kind === "tuple" ? type.items : type.fields.map(([, field]) => field);
      if (item === undefined) throw new HostTrap("An empty record cannot be a result");
      const lower = flatLowerer(item);
      const name = type.kind === "record" ? camel(type.fields[0]![0]) : 0;
      return (frame, value) => lower(frame, (value as Record<string | number, Value>)[name]);
    }
    default: return (_, value) => value as Flat;
  }
}
