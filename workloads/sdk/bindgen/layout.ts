/**
 * The canonical ABI's numbers: size and alignment of a value in memory, and the core values it is flattened into.
 *
 * Source: CanonicalABI.md of the component model ("Alignment", "Element Size", "Flattening"). Up to 16 flat parameters and one
 * flat result are passed as they are; what has more goes through memory.
 */
import { TYPE_BYTES_MAX } from "./limits.ts";
import { isScalar, type Case, type Func, type Type } from "./model.ts";
import { WitError, type Place } from "./wit-error.ts";

export type CoreType = "i32" | "i64" | "f32" | "f64";
export type Signature = { readonly parameters: readonly CoreType[]; readonly results: readonly CoreType[] };
export type Size = { readonly bytes: number; readonly align: number };

export const FLAT_PARAMETERS_MAX = 16;
export const FLAT_RESULTS_MAX = 1;

const SCALAR_BYTES = { bool: 1, u8: 1, s8: 1, u16: 2, s16: 2, u32: 4, s32: 4, f32: 4, char: 4, u64: 8, s64: 8, f64: 8 } as const;
const SCALAR_CORE = { bool: "i32", u8: "i32", s8: "i32", u16: "i32", s16: "i32", u32: "i32", s32: "i32", char: "i32", u64: "i64", s64: "i64", f32: "f32", f64: "f64" } as const;
/** A pointer and a length. */
const SPAN: Size = { bytes: 8, align: 4 };

const sizes = new WeakMap<Type, Size>();
const flats = new WeakMap<Type, readonly CoreType[]>();

export const alignTo = (offset: number, align: number): number => Math.ceil(offset / align) * align;

/** Size and alignment in memory. */
export function sizeOf(type: Type): Size {
  const known = sizes.get(type);
  if (known !== undefined) return known;
  const size = measured(type);
  if (size.bytes > TYPE_BYTES_MAX) throw new WitError("wit_too_large", placeOf(type), `a value of this type takes ${size.bytes} bytes, at most ${TYPE_BYTES_MAX} are possible`);
  sizes.set(type, size);
  return size;
}

function measured(type: Type): Size {
  if (isScalar(type)) return { bytes: SCALAR_BYTES[type.kind], align: SCALAR_BYTES[type.kind] };
  switch (type.kind) {
    case "string": case "list": return SPAN;
    case "own": case "borrow": return { bytes: 4, align: 4 };
    case "enum": case "flags": {
      const bytes = type.kind === "enum" ? discriminantBytes(type.definition.labels.length) : flagsBytes(type.definition.labels.length);
      return { bytes, align: bytes };
    }
    case "record": case "tuple": {
      const fields = partsOf(type).map(sizeOf);
      const align = Math.max(...fields.map((field) => field.align));
      return { bytes: alignTo(fields.reduce((end, field) => alignTo(end, field.align) + field.bytes, 0), align), align };
    }
    case "variant": case "option": case "result": {
      const payloads = casesOf(type).flatMap((payload) => (payload === null ? [] : [sizeOf(payload)]));
      const align = Math.max(discriminantBytes(casesOf(type).length), ...payloads.map((payload) => payload.align));
      return { bytes: alignTo(payloadOffset(type) + Math.max(0, ...payloads.map((payload) => payload.bytes)), align), align };
    }
  }
}

export const discriminantBytes = (cases: number): 1 | 2 | 4 => (cases <= 0x100 ? 1 : cases <= 0x10000 ? 2 : 4);
export const flagsBytes = (labels: number): 1 | 2 | 4 => (labels <= 8 ? 1 : labels <= 16 ? 2 : 4);

/** The types of a record's fields or a tuple's items. */
export function partsOf(type: Extract<Type, { kind: "record" | "tuple" }>): readonly Type[] {
  return type.kind === "tuple" ? type.items : type.definition.fields.map((field) => field.type);
}

/** The offsets of them. */
export function offsetsOf(parts: readonly Type[]): { readonly offsets: readonly number[]; readonly end: number } {
  let end = 0;
  const offsets = parts.map((part) => {
    const offset = alignTo(end, sizeOf(part).align);
    end = offset + sizeOf(part).bytes;
    return offset;
  });
  return { offsets, end };
}

type Variant = Extract<Type, { kind: "variant" | "option" | "result" }>;

/** What each case carries. */
export function casesOf(type: Variant): readonly (Type | null)[] {
  if (type.kind === "option") return [null, type.of];
  return type.kind === "result" ? [type.ok, type.error] : type.definition.cases.map((each: Case) => each.type);
}

/** Where in memory the payload of a variant begins. */
export function payloadOffset(type: Variant): number {
  const cases = casesOf(type);
  const align = Math.max(1, ...cases.map((payload) => (payload === null ? 1 : sizeOf(payload).align)));
  return alignTo(discriminantBytes(cases.length), align);
}

/** The core values of a type; of a large one only as many as show that it is over FLAT_PARAMETERS_MAX. */
export function flatten(type: Type): readonly CoreType[] {
  const known = flats.get(type);
  if (known !== undefined) return known;
  const found = flattened(type).slice(0, FLAT_PARAMETERS_MAX + 1);
  flats.set(type, found);
  return found;
}

function flattened(type: Type): readonly CoreType[] {
  if (isScalar(type)) return [SCALAR_CORE[type.kind]];
  switch (type.kind) {
    case "string": case "list": return ["i32", "i32"];
    case "own": case "borrow": case "enum": case "flags": return ["i32"];
    case "record": case "tuple": return flattenAll(partsOf(type));
    case "variant": case "option": case "result": {
      const joined: CoreType[] = [];
      for (const payload of casesOf(type)) {
        const core = payload === null ? [] : flatten(payload);
        core.forEach((flat, i) => (joined[i] = join(joined[i] ?? flat, flat)));
      }
      return ["i32", ...joined];
    }
  }
}

/** The flat values of several types in a row, cut off where there are too many. */
export function flattenAll(types: readonly Type[]): CoreType[] {
  const all: CoreType[] = [];
  for (const type of types) {
    if (all.length > FLAT_PARAMETERS_MAX) break;
    all.push(...flatten(type));
  }
  return all;
}

/** The core type that can hold either. */
function join(a: CoreType, b: CoreType): CoreType {
  if (a === b) return a;
  return (a === "i32" && b === "f32") || (a === "f32" && b === "i32") ? "i32" : "i64";
}

/** How a function looks to core WebAssembly: imported ones get a pointer for a large result, exported ones return one. */
export function signatureOf(func: Func, direction: "import" | "export"): Signature {
  const flat = flattenAll(func.parameters.map(({ type }) => type));
  const parameters: CoreType[] = flat.length > FLAT_PARAMETERS_MAX ? ["i32"] : [...flat];
  const results = func.result === null ? [] : flatten(func.result);
  if (results.length <= FLAT_RESULTS_MAX) return { parameters, results };
  return direction === "import" ? { parameters: [...parameters, "i32"], results: [] } : { parameters, results: ["i32"] };
}

/** `[method]fields.get`, `[constructor]fields`, … */
export function coreName({ how, name, resource }: Func): string {
  if (how === "free" || resource === null) return name;
  return how === "constructor" ? `[constructor]${resource.name}` : `[${how}]${resource.name}.${name}`;
}

function placeOf(type: Type): Place {
  return "definition" in type ? type.definition.at : { file: { name: "WIT", text: "" }, offset: 0 };
}
