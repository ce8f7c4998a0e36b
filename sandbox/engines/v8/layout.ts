/** How values of the component model lie: flat, as parameters of a core function, and in memory. */
import type { Primitive, ValueType } from "./types.ts";

export type CoreType = "i32" | "i64" | "f32" | "f64";
const FLAT_OF: Readonly<Partial<Record<Primitive, readonly CoreType[]>>> = { s64: ["i64"], u64: ["i64"], f32: ["f32"], f64: ["f64"], string: ["i32", "i32"] };

type PrimitiveType = { readonly kind: Primitive };
const isPrimitive = (type: ValueType): type is PrimitiveType => type.kind in SIZES;

export function flatten(type: ValueType): readonly CoreType[] {
  if (isPrimitive(type)) return FLAT_OF[type.kind] ?? ["i32"];
  switch (type.kind) {
    case "list": return ["i32", "i32"];
    case "record": return type.fields.flatMap(([, field]) => flatten(field));
    case "tuple": return type.items.flatMap(flatten);
    case "variant": case "option": case "result": return ["i32", ...joined(casesOf(type))];
    case "flags": return Array.from({ length: Math.ceil(type.names.length / 32) }, () => "i32" as const);
    case "enum": case "own": case "borrow": return ["i32"];
    default: throw type satisfies never;
  }
}

export type Case = readonly [name: string, type: ValueType | null];
export function casesOf(type: Extract<ValueType, { kind: "variant" | "option" | "result" }>): readonly Case[] {
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
export const tagBytes = (count: number): number => (count <= 256 ? 1 : count <= 65_536 ? 2 : 4);

export function layout(type: ValueType): Layout {
  if (isPrimitive(type)) return SIZES[type.kind];
  switch (type.kind) {
    case "list": return SIZES.string;
    case "record": return sequence(type.fields.map(([, field]) => field)).layout;
    case "tuple": return sequence(type.items).layout;
    case "variant": case "option": case "result": return variantLayout(casesOf(type)).layout;
    case "flags": return type.names.length <= 8 ? SIZES.u8 : type.names.length <= 16 ? SIZES.u16 : { size: 4 * Math.ceil(type.names.length / 32), align: 4 };
    case "enum": return { size: tagBytes(type.names.length), align: tagBytes(type.names.length) };
    case "own": case "borrow": return SIZES.u32;
    default: throw type satisfies never;
  }
}

export function sequence(types: readonly ValueType[]): { readonly layout: Layout; readonly offsets: readonly number[] } {
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

export function variantLayout(cases: readonly Case[]): { readonly layout: Layout; readonly tag: number; readonly payload: number } {
  const tag = tagBytes(cases.length);
  const inner = cases.map(([, type]) => (type === null ? { size: 0, align: 1 } : layout(type)));
  const payloadAlign = Math.max(1, ...inner.map(({ align }) => align));
  const align = Math.max(tag, payloadAlign);
  const payload = alignTo(tag, payloadAlign);
  return { layout: { size: alignTo(payload + Math.max(0, ...inner.map(({ size }) => size)), align), align }, tag, payload };
}
