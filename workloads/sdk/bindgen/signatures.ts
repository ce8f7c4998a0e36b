/**
 * What a world asks of a core module, by name and core type: for tests against wasm-tools, and for whoever wants to check a
 * module before it becomes a component. Names are those of wit-component's first naming scheme, which the bindings use.
 */
import { coreName, signatureOf, type Signature } from "./layout.ts";
import { type Func, type Interface, type World } from "./model.ts";

export type CoreNames = {
  /** By `module#name`. */
  readonly imports: ReadonlyMap<string, Signature>;
  readonly exports: ReadonlyMap<string, Signature>;
};

const DROP: Signature = { parameters: ["i32"], results: [] };
const CONVERT: Signature = { parameters: ["i32"], results: ["i32"] };

export function coreNames(world: World): CoreNames {
  const imports = new Map<string, Signature>();
  const exports = new Map<string, Signature>();
  for (const imported of [...world.imports.values(), world.root]) {
    for (const func of functionsOf(imported)) imports.set(`${imported.id}#${coreName(func)}`, signatureOf(func, "import"));
    for (const { kind, name } of imported.definitions) if (kind === "resource") imports.set(`${imported.id}#[resource-drop]${name}`, DROP);
  }
  for (const exported of world.exports.values()) {
    for (const func of functionsOf(exported)) exports.set(`${exported.id}#${coreName(func)}`, signatureOf(func, "export"));
    for (const { kind, name } of exported.definitions) {
      if (kind !== "resource") continue;
      const module = `[export]${exported.id}`;
      imports.set(`${module}#[resource-drop]${name}`, DROP).set(`${module}#[resource-new]${name}`, CONVERT).set(`${module}#[resource-rep]${name}`, CONVERT);
      exports.set(`${exported.id}#[dtor]${name}`, DROP);
    }
  }
  for (const func of world.exportedFunctions) exports.set(coreName(func), signatureOf(func, "export"));
  return { imports, exports };
}

/** Every function of an interface, those of its resources too. */
export function functionsOf(from: Interface): readonly Func[] {
  return [...from.definitions.flatMap((definition) => (definition.kind === "resource" ? definition.functions : [])), ...from.functions];
}
