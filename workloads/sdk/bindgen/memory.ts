/**
 * Values in memory: an expression that loads one, a statement that stores one. What is more than an instruction becomes a
 * function of the module, one for each type.
 */
import { casesOf, discriminantBytes, flagsBytes, offsetsOf, partsOf, payloadOffset, sizeOf } from "./layout.ts";
import { isScalar, type Type } from "./model.ts";
import { methodName, typeName, valueName } from "./names.ts";
import { isBoxed, SCALARS, typeText, unitText } from "./type-text.ts";
import { indented, type ModuleWriter } from "./writer.ts";

/** `base`, an expression, plus `offset`. */
const address = (base: string, offset: number): string => (offset === 0 ? base : `${base} + ${offset}`);
const at = (base: string, offset: number): string => (offset === 0 ? base : `${base}, ${offset}`);

/** An expression for the value at an address. It takes over what the value points to. */
export function load(type: Type, base: string, offset: number, writer: ModuleWriter): string {
  const place = at(base, offset);
  if (isScalar(type)) return type.kind === "bool" ? `(load<u8>(${place}) != 0)` : `load<${SCALARS[type.kind]}>(${place})`;
  switch (type.kind) {
    case "string": return `${writer.abi}liftString(load<usize>(${place}), load<usize>(${at(base, offset + 4)}))`;
    case "list": return liftList(type, `load<usize>(${place})`, `load<usize>(${at(base, offset + 4)})`, writer);
    case "own": case "borrow": return liftHandle(type, `load<i32>(${place})`, writer);
    case "enum": return `<${typeText(type, writer)}>load<u${discriminantBytes(type.definition.labels.length) * 8}>(${place})`;
    case "flags": return `<${typeText(type, writer)}>load<u${flagsBytes(type.definition.labels.length) * 8}>(${place})`;
    case "record": case "tuple": case "variant": case "option": case "result": {
      const name = writer.conversion("load", type, (fresh) => `function ${fresh}(p: usize): ${typeText(type, writer)} {\n${indented(loadBody(type, writer))}\n}`);
      return `${name}(${address(base, offset)})`;
    }
  }
}

function loadBody(type: Extract<Type, { kind: "record" | "tuple" | "variant" | "option" | "result" }>, writer: ModuleWriter): string[] {
  if (type.kind === "record" || type.kind === "tuple") {
    const parts = partsOf(type);
    const { offsets } = offsetsOf(parts);
    return [`return new ${typeText(type, writer)}(${parts.map((part, i) => load(part, "p", offsets[i] ?? 0, writer)).join(", ")});`];
  }
  const cases = casesOf(type);
  const discriminant = `load<u${discriminantBytes(cases.length) * 8}>(p)`;
  return choose(type, discriminant, (payload) => load(payload, "p", payloadOffset(type), writer), writer);
}

/** Statements that return a variant, by its discriminant and an expression for the payload of a case. */
export function choose(type: Extract<Type, { kind: "variant" | "option" | "result" }>, discriminant: string, payload: (type: Type) => string, writer: ModuleWriter): string[] {
  if (type.kind === "option") {
    const inner = payload(type.of);
    return [`if (!${discriminant}) return null;`, `return ${isBoxed(type.of) ? `new ${writer.abi}Some<${typeText(type.of, writer)}>(${inner})` : inner};`];
  }
  if (type.kind === "result") {
    const types = `<${unitText(type.ok, writer)}, ${unitText(type.error, writer)}>`;
    return [
      `if (${discriminant}) return ${writer.abi}err${types}(${type.error === null ? "0" : payload(type.error)});`,
      `return ${writer.abi}ok${types}(${type.ok === null ? "0" : payload(type.ok)});`,
    ];
  }
  const text = typeText(type, writer);
  const arms = type.definition.cases.flatMap((each, i) => (each.type === null ? [] : [`  case ${i}: return ${text}.${methodName(each.name)}(${payload(each.type)});`]));
  if (arms.length === 0) return [`return new ${text}(${discriminant}, 0, null);`];
  return [`const tag: i32 = ${discriminant};`, "switch (tag) {", ...arms, "}", `return new ${text}(tag, 0, null);`];
}

/** An expression that takes over a list. */
export function liftList(type: Extract<Type, { kind: "list" }>, pointer: string, length: string, writer: ModuleWriter): string {
  const { of } = type;
  if (of.kind === "u8") return `${writer.abi}liftBytes(${pointer}, ${length})`;
  if (isScalar(of)) return `${writer.abi}liftArray<${typeText(of, writer)}>(${pointer}, ${length})`;
  const name = writer.conversion("list", type, (fresh) => {
    const body = [
      `const list = new ${typeText(type, writer)}(<i32>n);`,
      `for (let i: usize = 0; i < n; i++) {`, `  const q = p + i * ${sizeOf(of).bytes};`, `  list[<i32>i] = ${load(of, "q", 0, writer)};`, "}",
      `${writer.abi}release(p, n);`, "return list;",
    ];
    return `function ${fresh}(p: usize, n: usize): ${typeText(type, writer)} {\n${indented(body)}\n}`;
  });
  return `${name}(${pointer}, ${length})`;
}

/** An expression for the object of a handle, or of the address that stands for a lent one of our own. */
export function liftHandle(type: Extract<Type, { kind: "own" | "borrow" }>, handle: string, writer: ModuleWriter): string {
  const text = typeText(type, writer);
  if (!writer.isExported(type.resource)) return `${writer.abi}${type.kind === "borrow" && writer.direction === "export" ? "borrow" : "resource"}<${text}>(${handle})`;
  if (type.kind === "borrow") return `changetype<${text}>(<usize>${handle})`;
  return `${writer.owner(type.resource.owner)}_take${typeName(type.resource.name)}(${handle})`;
}

/** An expression for the handle of an object. */
export function lowerHandle(type: Extract<Type, { kind: "own" | "borrow" }>, value: string, writer: ModuleWriter): string {
  if (writer.isExported(type.resource)) return `${writer.owner(type.resource.owner)}_give${typeName(type.resource.name)}(${value})`;
  return type.kind === "own" ? `${value}.take()` : `${value}.handle`;
}

/** A statement that stores a value. What the value points to is held. */
export function store(type: Type, base: string, offset: number, value: string, writer: ModuleWriter): string {
  const second = offset === 0 ? "" : `, ${offset}`;
  if (isScalar(type)) return type.kind === "bool" ? `store<u8>(${base}, ${value} ? 1 : 0${second});` : `store<${SCALARS[type.kind]}>(${base}, ${value}${second});`;
  switch (type.kind) {
    case "string": return `${writer.abi}storeString(${address(base, offset)}, ${value});`;
    case "own": case "borrow": return `store<i32>(${base}, ${lowerHandle(type, value, writer)}${second});`;
    case "enum": case "flags": {
      const core = `u${(type.kind === "enum" ? discriminantBytes(type.definition.labels.length) : flagsBytes(type.definition.labels.length)) * 8}`;
      return `store<${core}>(${base}, <${core}>${value}${second});`;
    }
    case "list": case "record": case "tuple": case "variant": case "option": case "result": {
      const name = writer.conversion("store", type, (fresh) => `function ${fresh}(p: usize, v: ${typeText(type, writer)}): void {\n${indented(storeBody(type, writer))}\n}`);
      return `${name}(${address(base, offset)}, ${value});`;
    }
  }
}

function storeBody(type: Extract<Type, { kind: "list" | "record" | "tuple" | "variant" | "option" | "result" }>, writer: ModuleWriter): string[] {
  if (type.kind === "list") return [`${writer.abi}storeSpan(p, ${holdList(type, "v", writer)}, v.length);`];
  if (type.kind === "record" || type.kind === "tuple") {
    const parts = partsOf(type);
    const { offsets } = offsetsOf(parts);
    return parts.map((part, i) => store(part, "p", offsets[i] ?? 0, `v.${fieldName(type, i)}`, writer));
  }
  const core = `u${discriminantBytes(casesOf(type).length) * 8}`;
  const offset = payloadOffset(type);
  if (type.kind === "option") {
    return ["if (v === null) {", `  store<${core}>(p, 0);`, "  return;", "}", `store<${core}>(p, 1);`, store(type.of, "p", offset, isBoxed(type.of) ? "v.value" : "v", writer)];
  }
  if (type.kind === "result") {
    const arm = (tag: number, payload: Type | null, value: string): string[] => [`  store<${core}>(p, ${tag});`, ...(payload === null ? [] : [`  ${store(payload, "p", offset, value, writer)}`])];
    return ["if (v.isOk) {", ...arm(0, type.ok, "v.ok"), "} else {", ...arm(1, type.error, "v.err"), "}"];
  }
  const arms = type.definition.cases.flatMap((each, i) => (each.type === null ? [] : [`  case ${i}: ${store(each.type, "p", offset, `v.${payloadName(each.name)}`, writer)} break;`]));
  return [`store<${core}>(p, <${core}>v.tag);`, ...(arms.length === 0 ? [] : ["switch (v.tag) {", ...arms, "}"])];
}

/** An expression for the address of a list's entries, which are held. */
export function holdList(type: Extract<Type, { kind: "list" }>, value: string, writer: ModuleWriter): string {
  const { of } = type;
  if (of.kind === "u8") return `${writer.abi}holdBytes(${value})`;
  if (isScalar(of)) return `${writer.abi}holdArray<${typeText(of, writer)}>(${value})`;
  const name = writer.conversion("hold", type, (fresh) => {
    const body = [
      `const p = ${writer.abi}alloc(v.length * ${sizeOf(of).bytes});`,
      "for (let i = 0; i < v.length; i++) {", `  const q = p + <usize>i * ${sizeOf(of).bytes};`, "  const x = v[i];", `  ${store(of, "q", 0, "x", writer)}`, "}",
      "return p;",
    ];
    return `function ${fresh}(v: ${typeText(type, writer)}): usize {\n${indented(body)}\n}`;
  });
  return `${name}(${value})`;
}

/** Name of a record's field or a tuple's item. */
export function fieldName(type: Extract<Type, { kind: "record" | "tuple" }>, index: number): string {
  return type.kind === "tuple" ? `_${index}` : valueName(type.definition.fields[index]?.name ?? "");
}

/** The member of a variant that gives the payload of a case. */
export function payloadName(name: string): string {
  return `as${pascal(name)}`;
}

/** As a type's name, where nothing is reserved because a word stands before. */
export const pascal = (name: string): string => typeName(name).replace(/_$/, "");
