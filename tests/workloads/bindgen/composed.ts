/**
 * The torture without JavaScript: a task that builds values, sends each through an echo in a component of its own, and compares
 * how both read as text. Composed into one component that imports nothing, it runs in any engine that runs `wasi:cli/run`.
 */
import { createHash } from "node:crypto";
import { generateBindings } from "#workloads/sdk/bindgen/generate.ts";
import { casesOf, partsOf } from "#workloads/sdk/bindgen/layout.ts";
import { isScalar, type Func, type ScalarType, type Type } from "#workloads/sdk/bindgen/model.ts";
import { camel, methodName, typeName, valueName } from "#workloads/sdk/bindgen/names.ts";
import { fieldName, payloadName } from "#workloads/sdk/bindgen/memory.ts";
import { isBoxed, typeText, unitText } from "#workloads/sdk/bindgen/type-text.ts";
import { Bindings, ModuleWriter } from "#workloads/sdk/bindgen/writer.ts";
import { cached, compileCore, component, wasiSources, type CompileOptions } from "./compile.ts";
import { randomValue, type Chance } from "./values.ts";

/** The WIT of both worlds, from an interface's types and functions. */
function worlds(types: string, functions: readonly string[]): string {
  return `package test:echo@1.0.0;\ninterface host {\n  ${types}\n  ${functions.join("\n  ")}\n}\nworld echo { export host; }\nworld task { import host; export wasi:cli/run@0.2.12; }\n`;
}

/** One component: a task that ends with 0 when every value came back as it went. */
export async function composedEcho(types: string, functions: readonly string[], chance: Chance, options: CompileOptions = {}): Promise<Uint8Array> {
  const wit = await wasiSources(worlds(types, functions));
  const build = async (world: string, program: string): Promise<Uint8Array> => {
    const { core, generated } = await compileCore(wit, { ...options, world, modules: { "program.ts": program } });
    return component(core, wit, generated);
  };
  const host = await build("echo", echoProgram(generateBindings(wit, { world: "echo" }).world));
  const guest = await build("task", taskProgram(generateBindings(wit, { world: "task" }).world, chance));
  return compose(host, guest, "test:echo/host@1.0.0");
}

/** A component around two: the second gets the interface that the first exports, and has `wasi:cli/run`. */
export function compose(host: Uint8Array, guest: Uint8Array, between: string): Promise<Uint8Array> {
  const key = createHash("sha256").update(host).update(guest).update(between).digest("hex").slice(0, 32);
  return cached(`${key}.composed.wasm`, () => around(host, guest, between));
}

async function around(host: Uint8Array, guest: Uint8Array, between: string): Promise<Uint8Array> {
  const { parse, print } = await import("@bytecodealliance/jco-transpile/wasm-tools");
  const nested = async (bytes: Uint8Array, name: string): Promise<string> => (await print(bytes)).replace("(component", `(component $${name}`);
  return parse(`(component
    ${await nested(host, "host")}
    ${await nested(guest, "guest")}
    (instance $h (instantiate $host))
    (alias export $h "${between}" (instance $between))
    (instance $g (instantiate $guest (with "${between}" (instance $between))))
    (alias export $g "wasi:cli/run@0.2.12" (instance $run))
    (export "wasi:cli/run@0.2.12" (instance $run)))`);
}

type Worlds = ReturnType<typeof generateBindings>["world"];

function echoProgram(world: Worlds): string {
  const writer = new ModuleWriter(new Bindings(world, null), "stub", "export");
  const functions = [...world.exports.values()].flatMap((exported) => exported.functions).map((func) => {
    const parameters = func.parameters.map(({ name, type }) => `${valueName(name)}: ${typeText(type, writer)}`);
    const names = func.parameters.map(({ name }) => valueName(name));
    const isOne = func.result === func.parameters[0]?.type;
    const answer = func.result === null ? "" : isOne ? `return ${names[0]};` : `return new ${typeText(func.result, writer)}(${names.join(", ")});`;
    return `  export function ${valueName(func.name)}(${parameters.join(", ")}): ${func.result === null ? "void" : typeText(func.result, writer)} { ${answer} }`;
  });
  writer.body.push(`export namespace host {\n${functions.join("\n")}\n}`);
  return writer.text("Echoes.").replaceAll('from "./', 'from "./gen/');
}

/** The program of the task: several values for each function. */
function taskProgram(world: Worlds, chance: Chance, valuesPerFunction = 3): string {
  const writer = new ModuleWriter(new Bindings(world, null), "stub", "import");
  const checks = [...world.imports.values()].flatMap((from) => from.functions.map((func) => ({ from, func }))).flatMap(({ from, func }) =>
    Array.from({ length: valuesPerFunction }, () => check(func, `${writer.owner(from)}${valueName(func.name)}`, chance, writer)));
  checks.forEach((text, i) => writer.body.push(`function check${i}(): bool {\n  ${text}\n}`));
  writer.body.push(`export namespace run {\n  export function run(): ${writer.abi}Result<${writer.abi}Unit, ${writer.abi}Unit> {
    for (let round = 0; round < 20; round++) {\n${checks.map((_, i) => `      if (!check${i}()) unreachable();`).join("\n")}\n    }
    return ${writer.abi}ok<${writer.abi}Unit, ${writer.abi}Unit>(0);\n  }\n}`);
  return writer.text("Sends values through an echo.").replaceAll('from "./', 'from "./gen/');
}

function check(func: Func, path: string, chance: Chance, writer: ModuleWriter): string {
  const lines = func.parameters.map(({ type }, i) => `const a${i}: ${typeText(type, writer)} = ${build(type, randomValue(type, chance), writer)};`);
  const call = `${path}(${func.parameters.map((_, i) => `a${i}`).join(", ")})`;
  if (func.result === null) return [...lines, `${call};`, "return true;"].join("\n  ");
  const isOne = func.result === func.parameters[0]?.type;
  const compared = func.parameters.map(({ type }, i) => `${show(type, `a${i}`, writer)} == ${show(type, isOne ? "r" : `r._${i}`, writer)}`);
  return [...lines, `const r = ${call};`, `return ${compared.join(" && ")};`].join("\n  ");
}

/** An expression that makes a value. */
function build(type: Type, value: unknown, writer: ModuleWriter): string {
  const text = typeText(type, writer);
  if (isScalar(type)) {
    if (type.kind === "char") return `0x${(String(value).codePointAt(0) ?? 0).toString(16)}`;
    if (typeof value === "bigint") return `<${text}>0x${BigInt.asUintN(64, value).toString(16)}`;
    return typeof value === "number" ? `<${text}>(${value})` : String(value);
  }
  switch (type.kind) {
    case "string": return JSON.stringify(value);
    case "list": {
      const items = Array.from(value as ArrayLike<unknown>); // An array or a typed array, as randomValue() says.
      const name = `_made${writer.body.length}`;
      writer.body.push(""); // Takes the number; the items may need functions of their own.
      const place = writer.body.length - 1;
      const sets = items.map((item, i) => `list[${i}] = ${build(type.of, item, writer)};`);
      writer.body[place] = `function ${name}(): ${text} {\n  const list = new ${text}(${items.length});\n  ${sets.join("\n  ")}\n  return list;\n}`;
      return `${name}()`;
    }
    case "option": {
      if (value === undefined || (isTagged(type.of) && tagOf(value) === "none")) return "null";
      const inner = build(type.of, isTagged(type.of) ? payloadOf(value) : value, writer);
      return isBoxed(type.of) ? `new ${writer.abi}Some<${typeText(type.of, writer)}>(${inner})` : inner;
    }
    case "result": {
      const payload = tagOf(value) === "ok" ? type.ok : type.error;
      return `${writer.abi}${tagOf(value)}<${unitText(type.ok, writer)}, ${unitText(type.error, writer)}>(${payload === null ? "0" : build(payload, payloadOf(value), writer)})`;
    }
    case "tuple": return `new ${text}(${partsOf(type).map((part, i) => build(part, (value as unknown[])[i], writer)).join(", ")})`;
    case "record": return `new ${text}(${type.definition.fields.map((field) => build(field.type, (value as Record<string, unknown>)[camel(field.name)], writer)).join(", ")})`;
    case "variant": {
      const payload = type.definition.cases.find(({ name }) => name === tagOf(value))?.type ?? null;
      return `${text}.${methodName(tagOf(value))}(${payload === null ? "" : build(payload, payloadOf(value), writer)})`;
    }
    case "enum": return `${text}.${typeName(String(value))}`;
    case "flags": return `<${text}>${type.definition.labels.reduce((bits, { name }, i) => ((value as Record<string, boolean>)[camel(name)] === true ? bits | (1 << i) : bits), 0)}`;
    case "own": case "borrow": throw new Error("A resource is no value");
  }
}

const isTagged = (type: Type): boolean => type.kind === "option" && !isTagged(type.of);
const tagOf = (value: unknown): string => (value as { tag: string }).tag;
const payloadOf = (value: unknown): unknown => (value as { val?: unknown }).val;

/** An expression for how a value reads as text. */
function show(type: Type, value: string, writer: ModuleWriter): string {
  if (isScalar(type)) return type.kind === "bool" ? `(${value} ? "true" : "false")` : `${value}.toString()`;
  const name = writer.conversion("show", type, (fresh) => `function ${fresh}(v: ${typeText(type, writer)}): string {\n  ${showBody(type, writer)}\n}`);
  return `${name}(${value})`;
}

function showBody(type: Exclude<Type, ScalarType>, writer: ModuleWriter): string {
  switch (type.kind) {
    case "string": return `return "'" + v + "'";`;
    case "list": return `let text = "[";\n  for (let i = 0; i < v.length; i++) text += ${show(type.of, "v[i]", writer)} + ",";\n  return text + "]";`;
    case "option": return `if (v === null) return "-";\n  return "+" + ${show(type.of, isBoxed(type.of) ? "v.value" : "v", writer)};`;
    case "result": return `if (v.isOk) return "ok " + ${type.ok === null ? '"_"' : show(type.ok, "v.ok", writer)};\n  return "err " + ${type.error === null ? '"_"' : show(type.error, "v.err", writer)};`;
    case "tuple": case "record": return `return "(" + ${partsOf(type).map((part, i) => show(part, `v.${fieldName(type, i)}`, writer)).join(' + "," + ')} + ")";`;
    case "variant": {
      const arms = casesOf(type).flatMap((payload, i) => (payload === null ? [] : [`if (v.tag == ${i}) return "${i}:" + ${show(payload, `v.${payloadName(type.definition.cases[i]?.name ?? "")}`, writer)};`]));
      return [...arms, "return v.tag.toString();"].join("\n  ");
    }
    case "enum": case "flags": return "return (<i32>v).toString();";
    case "own": case "borrow": throw new Error("A resource is no value");
  }
}
