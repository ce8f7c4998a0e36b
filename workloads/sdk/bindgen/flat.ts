/**
 * Values as core parameters and results: lift flat values into an object, lower an object into flat values.
 *
 * The cases of a variant share their flat slots, each slot as wide as its widest user ("join" in CanonicalABI.md); a value goes
 * into a slot of another type by its bits.
 */
import { casesOf, flatten, partsOf, type CoreType } from "./layout.ts";
import { isScalar, type Type } from "./model.ts";
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

  /** The flat values of a value, as expressions that hold after the statements so far. */
  lower(type: Type, value: string): string[] {
    if (isScalar(type)) {
      const [core] = flatten(type);
      return [core === "i32" || core === "i64" ? `<${core}>${value}` : value];
    }
    switch (type.kind) {
      case "string": {
        const bytes = this.#declare(`${this.writer.abi}encode(${value})`);
        return [`<i32>changetype<usize>(${bytes})`, `${bytes}.byteLength`];
      }
      case "list": {
        const list = this.#declare(value);
        return [`<i32>${holdList(type, list, this.writer)}`, `${list}.length`];
      }
      case "own": case "borrow": return [this.#declare(lowerHandle(type, value, this.writer))];
      case "record": case "tuple": {
        const whole = this.#declare(value);
        return partsOf(type).flatMap((part, i) => this.lower(part, `${whole}.${fieldName(type, i)}`));
      }
      case "variant": case "option": case "result": return this.#lowerVariant(type, value);
      case "enum": case "flags": return [`<i32>${value}`];
    }
  }

  #declare(value: string): string {
    const name = this.fresh();
    this.statements.push(`const ${name} = ${value};`);
    return name;
  }

  #lowerVariant(type: Extract<Type, { kind: "variant" | "option" | "result" }>, value: string): string[] {
    const whole = this.#declare(value);
    const slots = flatten(type).map((core) => ({ core, name: this.fresh() }));
    for (const { core, name } of slots) this.statements.push(`let ${name}: ${core} = 0;`);
    const [discriminant] = slots;
    if (discriminant === undefined) throw new Error("A variant has a discriminant");
    const cases = casesOf(type);
    const values = payloads(type, whole);
    const set = (tag: number): void => void this.statements.push(`  ${discriminant.name} = ${tag};`);
    const arm = (tag: number): void => {
      const payload = cases[tag] ?? null;
      if (payload === null) return;
      const flat = this.#indented(() => this.lower(payload, values[tag] ?? ""));
      flatten(payload).forEach((core, i) => {
        const slot = slots[i + 1];
        if (slot !== undefined) this.statements.push(`  ${slot.name} = ${toSlot(core, slot.core, flat[i] ?? "0")};`);
      });
    };
    if (type.kind === "variant") {
      this.statements.push(`${discriminant.name} = ${whole}.tag;`);
      cases.forEach((payload, tag) => {
        if (payload === null) return;
        this.statements.push(`if (${whole}.tag == ${tag}) {`);
        arm(tag);
        this.statements.push("}");
      });
    } else {
      this.statements.push(type.kind === "option" ? `if (${whole} !== null) {` : `if (!${whole}.isOk) {`);
      set(1);
      arm(1);
      if (type.kind === "result" && type.ok !== null) {
        this.statements.push("} else {");
        arm(0);
      }
      this.statements.push("}");
    }
    return slots.map(({ name }) => name);
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
  if (from === "i32") return `<i64><u32>(${value})`;
  return from === "f64" ? `reinterpret<i64>(${value})` : `<i64>reinterpret<u32>(${value})`;
}

function fromSlot(wanted: CoreType, slot: CoreType, value: string): string {
  if (wanted === slot) return value;
  if (slot === "i32") return `reinterpret<f32>(${value})`;
  if (wanted === "i32") return `(<i32>${value})`;
  return wanted === "f64" ? `reinterpret<f64>(${value})` : `reinterpret<f32>(<i32>${value})`;
}
