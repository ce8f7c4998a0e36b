/**
 * Values as core parameters and results: lift flat values into an object, lower an object into flat values.
 *
 * The cases of a variant share their flat slots, each slot as wide as its widest user ("join" in CanonicalABI.md); a value goes
 * into a slot of another type by its bits.
 */
import { casesOf, flatten, partsOf, type CoreType } from "./layout.ts";
import { isScalar, type ScalarType, type Type } from "./model.ts";
import { choose, fieldName, holdList, liftHandle, liftList, lowerHandle, payloadName } from "./memory.ts";
import { isBoxed, SCALARS, typeText } from "./type-text.ts";
import { indented, type ModuleWriter } from "./writer.ts";

/** An expression for the value whose flat values are these expressions. */
export function lift(type: Type, flat: readonly string[], writer: ModuleWriter): string {
  const first = flat[0] ?? "0";
  if (isScalar(type)) return type.kind === "bool" ? `(${first} != 0)` : `<${SCALARS[type.kind]}>${first}`;
  switch (type.kind) {
    case "string": return `${writer.abi}liftString(<usize>${first}, <usize>${flat[1]})`;
    case "list": return liftList(type, `<usize>${first}`, `<usize>${flat[1]}`, writer);
    case "own": case "borrow": return liftHandle(type, first, writer);
    case "enum": case "flags": return `<${typeText(type, writer)}>${first}`;
    case "record": case "tuple": {
      let used = 0;
      const parts = partsOf(type).map((part) => {
        const count = flatten(part).length;
        used += count;
        return lift(part, flat.slice(used - count, used), writer);
      });
      return `new ${typeText(type, writer)}(${parts.join(", ")})`;
    }
    case "variant": case "option": case "result": {
      const slots = flatten(type);
      const name = writer.conversion("lift", type, (fresh) => {
        const payload = (inner: Type): string => lift(inner, flatten(inner).map((core, i) => fromSlot(core, slots[i + 1] ?? core, `f${i + 1}`)), writer);
        const body = choose(type, "f0", payload, writer);
        return `function ${fresh}(${slots.map((core, i) => `f${i}: ${core}`).join(", ")}): ${typeText(type, writer)} {\n${indented(body)}\n}`;
      });
      return `${name}(${flat.slice(0, slots.length).join(", ")})`;
    }
  }
}

/** Statements, and names for what they declare. */
export class Lowering {
  readonly statements: string[] = [];
  readonly writer: ModuleWriter;
  #names = 0;

  constructor(writer: ModuleWriter) {
    this.writer = writer;
  }

  fresh(): string {
    return `_v${this.#names++}`;
  }

  /** The flat values of a value, as expressions that hold after the statements so far; each is of the type of its slot. */
  lower(type: Type, value: string, slots: readonly CoreType[] = flatten(type)): string[] {
    if (isScalar(type)) return [toSlot(flatten(type)[0] ?? "i32", slots[0] ?? "i32", this.#number(type, value))];
    switch (type.kind) {
      case "string": {
        const bytes = this.#declare(`${this.writer.abi}encode(${value})`);
        return this.#wide([`<u32>changetype<usize>(${bytes})`, `<u32>${bytes}.byteLength`], slots);
      }
      case "list": {
        const list = this.#declare(value);
        return this.#wide([`<u32>${holdList(type, list, this.writer)}`, `<u32>${list}.length`], slots);
      }
      case "own": case "borrow": return this.#wide([`<u32>${this.#declare(lowerHandle(type, value, this.writer))}`], slots);
      case "record": case "tuple": {
        const whole = this.#declare(value);
        let used = 0;
        return partsOf(type).flatMap((part, i) => {
          const count = flatten(part).length;
          used += count;
          return this.lower(part, `${whole}.${fieldName(type, i)}`, slots.slice(used - count, used));
        });
      }
      case "variant": case "option": case "result": return this.#lowerVariant(type, value, slots);
      case "enum": case "flags": return this.#wide([`<u32>${value}`], slots);
    }
  }

  /**
   * A number as a core value. What is signed keeps its sign in a wider slot, though the ABI looks at the low half only: some
   * hosts (jco 1.35) look at all of it.
   */
  #number(type: ScalarType, value: string): string {
    switch (type.kind) {
      case "f32": case "f64": return value;
      case "u64": case "s64": return `<i64>${value}`;
      case "s8": case "s16": case "s32": return `<i32>${value}`;
      case "bool": case "u8": case "u16": case "u32": case "char": return `<u32>${value}`;
    }
  }

  #wide(values: readonly string[], slots: readonly CoreType[]): string[] {
    return values.map((value, i) => toSlot("i32", slots[i] ?? "i32", value));
  }

  #declare(value: string): string {
    const name = this.fresh();
    this.statements.push(`const ${name} = ${value};`);
    return name;
  }

  #lowerVariant(type: Extract<Type, { kind: "variant" | "option" | "result" }>, value: string, slots: readonly CoreType[]): string[] {
    const whole = this.#declare(value);
    const names = slots.map(() => this.fresh());
    const discriminant = names[0] ?? "";
    slots.forEach((core, i) => this.statements.push(`let ${names[i]}: ${core} = 0;`));
    const cases = casesOf(type);
    const values = payloads(type, whole);
    const arm = (tag: number): void => {
      const payload = cases[tag] ?? null;
      if (payload === null) return;
      const flat = this.#indented(() => this.lower(payload, values[tag] ?? "", slots.slice(1, 1 + flatten(payload).length)));
      flat.forEach((expression, i) => this.statements.push(`  ${names[i + 1]} = ${expression};`));
    };
    if (type.kind === "variant") {
      this.statements.push(`${discriminant} = ${whole}.tag;`);
      cases.forEach((payload, tag) => {
        if (payload === null) return;
        this.statements.push(`if (${whole}.tag == ${tag}) {`);
        arm(tag);
        this.statements.push("}");
      });
      return names;
    }
    this.statements.push(type.kind === "option" ? `if (${whole} !== null) {` : `if (!${whole}.isOk) {`, `  ${discriminant} = 1;`);
    arm(1);
    if (type.kind === "result" && type.ok !== null) {
      this.statements.push("} else {");
      arm(0);
    }
    this.statements.push("}");
    return names;
  }

  #indented<T>(write: () => T): T {
    const before = this.statements.length;
    const result = write();
    for (let i = before; i < this.statements.length; i++) this.statements[i] = `  ${this.statements[i]}`;
    return result;
  }
}

/** For each case of a variant, the expression for what it carries. */
function payloads(type: Extract<Type, { kind: "variant" | "option" | "result" }>, whole: string): string[] {
  if (type.kind === "option") return ["", isBoxed(type.of) ? `${whole}.value` : whole];
  if (type.kind === "result") return [`${whole}.ok`, `${whole}.err`];
  return type.definition.cases.map(({ name }) => `${whole}.${payloadName(name)}`);
}

function toSlot(from: CoreType, to: CoreType, value: string): string {
  if (from === to) return value;
  if (to === "i32") return `reinterpret<i32>(${value})`;
  if (from === "i32") return `<i64>(${value})`;
  return from === "f64" ? `reinterpret<i64>(${value})` : `<i64>reinterpret<u32>(${value})`;
}

function fromSlot(wanted: CoreType, slot: CoreType, value: string): string {
  if (wanted === slot) return value;
  if (slot === "i32") return `reinterpret<f32>(${value})`;
  if (wanted === "i32") return `(<i32>${value})`;
  return wanted === "f64" ? `reinterpret<f64>(${value})` : `reinterpret<f32>(<i32>${value})`;
}
