/**
 * The program's functions as the host calls them: lift the arguments, call the program, give back what was lent, lower the
 * result; it is held until the host has read it (post-return).
 *
 * The program is one module. What an interface exports is a namespace (or class) of it with the interface's name; what the world
 * exports by plain names are functions of the module. `stub` is such a module, in which every function traps.
 */
import { signatureText } from "./definitions.ts";
import { Lowering, lift } from "./flat.ts";
import { FLAT_PARAMETERS_MAX, FLAT_RESULTS_MAX, coreName, flatten, flattenAll, offsetsOf, signatureOf, sizeOf, type CoreType } from "./layout.ts";
import { load, store } from "./memory.ts";
import type { Func, Interface, Resource, World } from "./model.ts";
import { fileName, interfaceName, camel, methodName, namespaceName, typeName, valueName } from "./names.ts";
import { typeText } from "./type-text.ts";
import { docComment, indented, type ModuleWriter } from "./writer.ts";

/** Identifier of an export → what the component calls it. */
export type ExportNames = Record<string, string>;

/** Writes the glue of all exports; gives the names that the compiler's transform has to put on them, and the stub's text. */
export function writeExports(world: World, glue: ModuleWriter, stub: ModuleWriter): ExportNames {
  const names: ExportNames = {};
  const exporter = new Exporter(glue, names);
  for (const exported of world.exports.values()) {
    const space = namespaceOf(exported, world);
    const free = exported.functions;
    const resources = exported.definitions.filter((definition) => definition.kind === "resource");
    for (const func of free) exporter.write(func, exported.id, `_program.${space}.${valueName(func.name)}`);
    for (const resource of resources) exporter.writeResource(resource, exported.id, `_program.${space}.${typeName(resource.name)}`);
    if (free.length + resources.length === 0) continue;
    const members = [...free.map((func) => `export function ${stubFunction(func, valueName(func.name), stub)}`), ...resources.map((resource) => stubClass(resource, stub))];
    stub.body.push(`${docComment(exported.docs)}export namespace ${space} {\n${indented(members.join("\n\n").split("\n"))}\n}`);
  }
  // A world's own names mean the host's side of an interface, even of one that it exports too.
  glue.direction = stub.direction = "import";
  for (const func of world.exportedFunctions) {
    exporter.write(func, null, `_program.${valueName(func.name)}`);
    stub.body.push(`export function ${stubFunction(func, valueName(func.name), stub)}`);
  }
  return names;
}

/** The namespace of the program that has an interface's functions: its name, with the package's where two have the same. */
function namespaceOf(exported: Interface, world: World): string {
  const same = [...world.exports.keys()].filter((id) => interfaceName(id) === interfaceName(exported.id));
  return same.length > 1 ? camel(fileName(exported.id, new Set())) : namespaceName(interfaceName(exported.id));
}

class Exporter {
  readonly #writer: ModuleWriter;
  readonly #names: ExportNames;

  constructor(writer: ModuleWriter, names: ExportNames) {
    this.#writer = writer;
    this.#names = names;
  }

  writeResource(resource: Resource, module: string, path: string): void {
    for (const func of resource.functions) {
      this.write(func, module, func.how === "constructor" ? (func.result?.kind === "own" ? `new ${path}` : `${path}.create`) : `${path}.${methodName(func.name)}`);
    }
    const identifier = this.#identifier(`${module}#[dtor]${resource.name}`);
    this.#writer.body.push(`export function ${identifier}(address: i32): void {\n  ${this.#writer.abi}unshare(<usize>address);\n}`);
  }

  /** `path` is the program's function; that of a method is called on its object. */
  write(func: Func, module: string | null, path: string): void {
    const writer = this.#writer;
    const name = module === null ? coreName(func) : `${module}#${coreName(func)}`;
    const identifier = this.#identifier(name);
    const { parameters, results } = signatureOf(func, "export");
    const types = func.parameters.map(({ type }) => type);
    const lines = flattenAll(types).length > FLAT_PARAMETERS_MAX ? this.#indirect(func) : this.#direct(func);
    const values = types.map((_, i) => `_a${i}`);
    const call = func.how === "method" ? `_a0.${methodName(func.name)}(${values.slice(1).join(", ")})` : `${path}(${values.join(", ")})`;
    const before = types.some((type) => type.hasBorrow) ? [`${writer.abi}returnBorrowed();`] : [];
    lines.push(...this.#returned(func, call, before));
    const signature = `(${parameters.map((core, i) => `p${i}: ${core}`).join(", ")}): ${results[0] ?? "void"}`;
    writer.body.push(`/** ${name} */\nexport function ${identifier}${signature} {\n${indented(lines)}\n}`);
    if (func.result === null || results.length === 0 || !func.result.ownsMemory) return;
    writer.body.push(`export function ${this.#identifier(`cabi_post_${name}`)}(_result: i32): void {\n  ${writer.abi}endResult();\n}`);
  }

  /** Statements that make `_a0`, `_a1`, … of core parameters. */
  #direct(func: Func): string[] {
    let used = 0;
    return func.parameters.map(({ type }, i) => {
      const flat = flatten(type).map((_: CoreType, k) => `p${used + k}`);
      used += flat.length;
      return `const _a${i} = ${lift(type, flat, this.#writer)};`;
    });
  }

  /** The same of parameters that came in a block, which is ours to free. */
  #indirect(func: Func): string[] {
    const { offsets, end } = offsetsOf(func.parameters.map(({ type }) => type));
    const lines = func.parameters.map(({ type }, i) => `const _a${i} = ${load(type, "_p", offsets[i] ?? 0, this.#writer)};`);
    return ["const _p = <usize>p0;", ...lines, `${this.#writer.abi}release(_p, ${end});`];
  }

  #returned(func: Func, call: string, before: readonly string[]): string[] {
    const writer = this.#writer;
    const { result } = func;
    const end = `${writer.abi}end();`;
    if (result === null) return [`${call};`, ...before, end];
    const first = [`const _r${resultType(func, writer)} = ${call};`, ...before];
    if (flatten(result).length > FLAT_RESULTS_MAX) {
      const area = writer.returnArea(sizeOf(result).bytes);
      return [...first, store(result, area, 0, "_r", writer), ...(result.ownsMemory ? [] : [end]), `return <i32>${area};`];
    }
    const lowering = new Lowering(writer);
    const [flat] = lowering.lower(result, "_r");
    return [...first, ...lowering.statements, `const _f = ${flat};`, end, "return _f;"];
  }

  #identifier(name: string): string {
    const identifier = `_e${Object.keys(this.#names).length}`;
    this.#names[identifier] = name;
    return identifier;
  }
}

/** The program may return a class that extends ours. */
function resultType(func: Func, writer: ModuleWriter): string {
  return func.result === null ? "" : `: ${typeText(func.result, writer)}`;
}

function stubFunction(func: Func, name: string, writer: ModuleWriter): string {
  return `${name}${signatureText(func, writer)} {\n  ${func.result === null ? "unreachable();" : "return unreachable();"}\n}`;
}

function stubClass(resource: Resource, writer: ModuleWriter): string {
  const name = typeName(resource.name);
  const members = resource.functions.map((func) => {
    if (func.how === "method") return stubFunction(func, methodName(func.name), writer);
    if (func.how === "static") return `static ${stubFunction(func, methodName(func.name), writer)}`;
    if (func.result?.kind !== "own") return `static ${stubFunction(func, "create", writer)}`;
    return `constructor${signatureText(func, writer).replace(/: [^:]*$/, "")} {\n  super();\n}`;
  });
  return `export class ${name} extends ${writer.owner(resource.owner)}${name} {\n${indented(members.join("\n\n").split("\n"))}\n}`;
}
