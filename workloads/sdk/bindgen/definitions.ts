/** The types of an interface as AssemblyScript: classes, enums, aliases, and resources of either side. */
import { importedFunction } from "./import-functions.ts";
import { isScalar, type Definition, type Func, type Interface, type Resource, type Type, type VariantDefinition } from "./model.ts";
import { methodName, typeName, valueName } from "./names.ts";
import { payloadName, pascal } from "./memory.ts";
import { isReference, typeText } from "./type-text.ts";
import { docComment, indented, type ModuleWriter } from "./writer.ts";

/** Writes every definition of an interface, and passes on the names it uses from others. */
export function writeDefinitions(from: Interface, writer: ModuleWriter): void {
  for (const use of from.uses) {
    if (!isWritten(use.definition)) continue;
    const { bindings } = writer;
    const path = bindings.pathOf(use.definition.owner, bindings.sideOf(use.definition.owner, writer.direction));
    if (path === writer.path) continue;
    const [name, as] = [typeName(use.definition.name), typeName(use.name)];
    writer.body.push(`export { ${name === as ? name : `${name} as ${as}`} } from ${JSON.stringify(bindings.specifier(path, writer.path))};`);
  }
  for (const definition of from.definitions) {
    const text = definitionText(definition, writer);
    if (text !== null) writer.body.push(docComment(definition.docs) + text);
  }
}

/** AssemblyScript has no alias for what may be null; its name is seen through. */
const isWritten = (definition: Definition): boolean => definition.kind !== "alias" || definition.type.kind !== "option";

function definitionText(definition: Definition, writer: ModuleWriter): string | null {
  const name = typeName(definition.name);
  switch (definition.kind) {
    case "alias": return isWritten(definition) ? `export type ${name} = ${typeText(definition.type, writer)};` : null;
    case "record": {
      const fields = definition.fields.map((field) => `${docComment(field.docs, "    ")}    public ${valueName(field.name)}: ${typeText(field.type, writer)},`);
      return `export class ${name} {\n  constructor(\n${fields.join("\n")}\n  ) {}\n}`;
    }
    case "enum": return enumText(name, definition.labels, (i) => i);
    case "flags": return enumText(name, definition.labels, (i) => 1 << i);
    case "variant": return variantText(name, definition, writer);
    case "resource": return writer.isExported(definition) ? exportedResource(name, definition, writer) : importedResource(name, definition, writer);
  }
}

function enumText(name: string, labels: readonly { name: string; docs: Definition["docs"] }[], value: (index: number) => number): string {
  return `export enum ${name} {\n${labels.map((label, i) => `${docComment(label.docs, "  ")}  ${typeName(label.name)} = ${value(i)},`).join("\n")}\n}`;
}

/** A variant keeps its payload in one of two slots, by bits or by reference: it stays small however many cases it has. */
function variantText(name: string, definition: VariantDefinition, writer: ModuleWriter): string {
  const members = definition.cases.map((each, tag) => {
    const docs = docComment(each.docs);
    const is = `get is${pascal(each.name)}(): bool {\n  return this.tag == ${tag};\n}`;
    if (each.type === null) return `${docs}static ${methodName(each.name)}(): ${name} {\n  return new ${name}(${tag}, 0, null);\n}\n\n${is}`;
    const text = typeText(each.type, writer);
    const slots = isReference(each.type) ? `0, changetype<Object>(value)` : `${toBits(each.type)}, null`;
    const make = `${docs}static ${methodName(each.name)}(value: ${text}): ${name} {\n  return new ${name}(${tag}, ${slots});\n}`;
    const get = `get ${payloadName(each.name)}(): ${text} {\n  assert(this.tag == ${tag}, "this is another case of ${definition.name}");\n  return ${fromSlots(each.type, text)};\n}`;
    return `${make}\n\n${is}\n\n${get}`;
  });
  const constructor = `/** For generated code: take the static method of a case. */\nconstructor(readonly tag: i32, private bits: u64, private object: Object | null) {}`;
  return `export class ${name} {\n${indented([constructor, ...members.map((member) => `\n${member}`)].join("\n").split("\n"))}\n}`;
}

function toBits(type: Type): string {
  if (type.kind === "f32") return "<u64>reinterpret<u32>(value)";
  return type.kind === "f64" ? "reinterpret<u64>(value)" : "<u64>value";
}

function fromSlots(type: Type, text: string): string {
  if (isReference(type)) return `changetype<${text}>(this.object)`;
  if (type.kind === "f32") return "reinterpret<f32>(<u32>this.bits)";
  if (type.kind === "f64") return "reinterpret<f64>(this.bits)";
  if (type.kind === "bool") return "this.bits != 0";
  return isScalar(type) ? `<${text}>this.bits` : `<${text}><i32>this.bits`;
}

/** A class around the host's handle. */
function importedResource(name: string, resource: Resource, writer: ModuleWriter): string {
  const module = resource.owner.id;
  const drop = writer.external(module, `[resource-drop]${resource.name}`, { parameters: ["i32"], results: [] });
  const isMadeByNew = resource.functions.some((func) => func.how === "constructor" && func.result?.kind === "own");
  const members = [
    ...(isMadeByNew ? [] : ["private constructor() {\n  super();\n}"]),
    `drop(): void {\n  const handle = this.take();\n  if (handle) ${drop}(handle);\n}`,
    ...resource.functions.map((func) => importedFunction(func, module, writer)),
  ];
  return `export class ${name} extends ${writer.abi}Resource {\n${indented(members.join("\n\n").split("\n"))}\n}`;
}

/** What the program's own class extends; what crosses the border is a handle to its object. */
function exportedResource(name: string, resource: Resource, writer: ModuleWriter): string {
  const module = `[export]${resource.owner.id}`;
  const make = writer.external(module, `[resource-new]${resource.name}`, { parameters: ["i32"], results: ["i32"] });
  const find = writer.external(module, `[resource-rep]${resource.name}`, { parameters: ["i32"], results: ["i32"] });
  const drop = writer.external(module, `[resource-drop]${resource.name}`, { parameters: ["i32"], results: [] });
  const methods = resource.functions.filter(({ how }) => how === "method").map((func) => `${docComment(func.docs)}abstract ${methodName(func.name)}${signatureText(func, writer)};`);
  const give = `/** A handle for others. */\nexport function _give${name}(value: ${name}): i32 {\n  return ${make}(<i32>${writer.abi}share(value));\n}`;
  const takeLines = [
    `const value = changetype<${name}>(<usize>${find}(handle));`, `${writer.abi}setTakingBack(true);`, `${drop}(handle);`, `${writer.abi}setTakingBack(false);`, "return value;",
  ];
  const take = `/** The object of a handle that is given to us. */\nexport function _take${name}(handle: i32): ${name} {\n${indented(takeLines)}\n}`;
  return `export abstract class ${name} extends ${writer.abi}ExportedResource {\n${indented(methods.join("\n\n").split("\n"))}\n}\n\n${give}\n\n${take}`;
}

/** `(a: T): R` of a function, without `self`. */
export function signatureText(func: Func, writer: ModuleWriter): string {
  const parameters = func.parameters.slice(func.how === "method" ? 1 : 0).map(({ name, type }) => `${valueName(name)}: ${typeText(type, writer)}`);
  return `(${parameters.join(", ")}): ${func.result === null ? "void" : typeText(func.result, writer)}`;
}
