/** How AssemblyScript writes a WIT type. */
import type { Primitive } from "./syntax.ts";
import { isScalar, type Type } from "./model.ts";
import { typeName } from "./names.ts";
import type { ModuleWriter } from "./writer.ts";

export const SCALARS: Readonly<Record<Exclude<Primitive, "string">, string>> = {
  bool: "bool", u8: "u8", u16: "u16", u32: "u32", u64: "u64", s8: "i8", s16: "i16", s32: "i32", s64: "i64", f32: "f32", f64: "f64", char: "u32",
};
/** Tuples up to here are in the runtime. */
const TUPLE_ITEMS_MAX = 8;

/** Values that are objects; the others are numbers. */
export const isReference = (type: Type): boolean => !isScalar(type) && type.kind !== "enum" && type.kind !== "flags";

/** An option is null or its value where the value cannot be null itself; else null or `Some`. */
export const isBoxed = (inner: Type): boolean => !isReference(inner) || inner.kind === "option";

export function typeText(type: Type, writer: ModuleWriter): string {
  if (isScalar(type)) return SCALARS[type.kind];
  switch (type.kind) {
    case "string": return "string";
    case "list": {
      if (type.of.kind === "u8") return "Uint8Array";
      return `${isScalar(type.of) ? "StaticArray" : "Array"}<${typeText(type.of, writer)}>`;
    }
    case "option": return isBoxed(type.of) ? `${writer.abi}Some<${typeText(type.of, writer)}> | null` : `${typeText(type.of, writer)} | null`;
    case "result": return `${writer.abi}Result<${unitText(type.ok, writer)}, ${unitText(type.error, writer)}>`;
    case "tuple": return tupleText(type, writer);
    case "own": case "borrow": return writer.owner(type.resource.owner) + typeName(type.resource.name);
    case "record": case "variant": case "enum": case "flags": return writer.owner(type.definition.owner) + typeName(type.definition.name);
  }
}

/** Either side of a result. */
export function unitText(type: Type | null, writer: ModuleWriter): string {
  return type === null ? `${writer.abi}Unit` : typeText(type, writer);
}

function tupleText(type: Extract<Type, { kind: "tuple" }>, writer: ModuleWriter): string {
  const { length } = type.items;
  const isWide = length > TUPLE_ITEMS_MAX;
  if (isWide) writer.bindings.wideTuples.add(length);
  return `${isWide ? writer.from("tuples") : writer.abi}Tuple${length}<${type.items.map((item) => typeText(item, writer)).join(", ")}>`;
}

/** The class of a tuple that the runtime does not have. */
export function tupleClass(items: number): string {
  const indices = Array.from({ length: items }, (_, i) => i);
  return `export class Tuple${items}<${indices.map((i) => `T${i}`).join(", ")}> {\n  constructor(${indices.map((i) => `public _${i}: T${i}`).join(", ")}) {}\n}`;
}
