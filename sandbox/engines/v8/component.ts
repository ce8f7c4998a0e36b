/**
 * From the bytes of a component to the plan of how it comes to life: our own reading of the component model's binary format.
 *
 * It knows what toolchains emit for the two worlds: core modules, their instances, host functions lowered for them, and exported
 * functions, which may be wrapped in components that only pass them on. What it does not know (a component composed of others
 * with code of their own, async functions, exported resources) is refused as `component_unsupported`, and runs on wasmtime.
 */
import { BinaryError, Reader } from "./reader.ts";
import {
  type ComponentType, type CoreAlias, type CoreFunction, type CoreInstance, type CoreSort, type FunctionType, type InstanceType, type Options, type Plan,
  type Primitive, type Resource, type StringEncoding, type ValueType, withoutVersion,
} from "./types.ts";

export class UnsupportedError extends Error {}

export type ParsedComponent = { readonly plan: Plan; readonly modules: readonly Uint8Array[] };

/** What a name or an index of a component stands for. */
type Func = { readonly kind: "imported"; readonly interface: string; readonly name: string; readonly type: FunctionType } | { readonly kind: "lifted"; readonly coreFunction: number; readonly options: Options; readonly type: FunctionType };
type Instance = { readonly kind: "instance"; readonly items: ReadonlyMap<string, Item> };
type Nested = { readonly kind: "component"; readonly bytes: Uint8Array; readonly parent: Scope };
type Item = Func | Instance | Nested | { readonly kind: "type"; readonly type: ComponentType };

const PRIMITIVES: Readonly<Record<number, Primitive>> = {
  0x7f: "bool", 0x7e: "s8", 0x7d: "u8", 0x7c: "s16", 0x7b: "u16", 0x7a: "s32", 0x79: "u32", 0x78: "s64", 0x77: "u64", 0x76: "f32", 0x75: "f64", 0x74: "char", 0x73: "string",
};
const ENCODINGS: readonly StringEncoding[] = ["utf8", "utf16", "latin1"];
const CORE_SORTS: Readonly<Record<number, CoreSort>> = { 0: "func", 1: "table", 2: "memory", 3: "global" };
const HEADER_BYTES = 8;
const NESTING_MAX = 16;

export function parseComponent(bytes: Uint8Array): ParsedComponent {
  const core: Core = { functions: [], tables: [], memories: [], globals: [], instances: [], modules: [] };
  const scope = new Scope(core, null, null);
  const exports = scope.read(bytes);
  const lifted = new Map<string, { coreFunction: number; options: Options; type: FunctionType }>();
  const note = (name: string, item: Item | undefined): void => {
    if (item?.kind === "lifted") lifted.set(name, { coreFunction: item.coreFunction, options: item.options, type: item.type });
  };
  for (const [name, item] of exports) {
    note(name, item);
    if (item.kind === "instance") for (const [inner, func] of item.items) note(`${withoutVersion(name)}#${inner}`, func);
  }
  const { functions, tables, memories, globals, instances, modules } = core;
  return { plan: { functions, tables, memories, globals, instances, imports: scope.imports, exports: [...exports.keys()], lifted }, modules };
}

type Core = { functions: CoreFunction[]; tables: CoreAlias[]; memories: CoreAlias[]; globals: CoreAlias[]; instances: CoreInstance[]; modules: Uint8Array[] };

/** The index spaces of one component (or of one instance type, which has types only). */
class Scope {
  readonly imports: string[] = [];
  readonly #core: Core;
  readonly #parent: Scope | null;
  /** What a nested component is instantiated with; null for the outermost, which imports from the host. */
  readonly #arguments: ReadonlyMap<string, Item> | null;
  readonly #types: ComponentType[] = [];
  readonly #funcs: Func[] = [];
  readonly #instances: Instance[] = [];
  readonly #components: Nested[] = [];
  readonly #exports = new Map<string, Item>();
  readonly #depth: number;

  constructor(core: Core, parent: Scope | null, given: ReadonlyMap<string, Item> | null) {
    this.#core = core;
    this.#parent = parent;
    this.#arguments = given;
    this.#depth = parent === null ? 0 : parent.#depth + 1;
    if (this.#depth > NESTING_MAX) throw new UnsupportedError(`components are nested ${NESTING_MAX} deep`);
  }

  read(bytes: Uint8Array): ReadonlyMap<string, Item> {
    const file = new Reader(bytes, HEADER_BYTES);
    while (!file.isAtEnd) {
      const id = file.byte();
      const length = file.u32();
      const section = new Reader(bytes, file.at, file.at + length);
      const body = file.take(length);
      this.#section(id, section, body);
    }
    return this.#exports;
  }

  #section(id: number, section: Reader, body: Uint8Array): void {
    switch (id) {
      case 0: return;
      case 1:
        this.#outermostOnly("a core module inside of an inner component");
        return void this.#core.modules.push(body);
      case 2: return void section.each(() => this.#coreInstance(section));
      case 4: return void this.#components.push({ kind: "component", bytes: body, parent: this });
      case 5: return void section.each(() => this.#instances.push(this.#instance(section)));
      case 6: return void section.each(() => this.#alias(section));
      case 7: return void section.each(() => this.#types.push(this.#type(section)));
      case 8: return void section.each(() => this.#canon(section));
      case 10: return void section.each(() => this.#import(section));
      case 11: return void section.each(() => this.#export(section));
      default: throw new UnsupportedError(`section ${id}`);
    }
  }

  #outermostOnly(what: string): void {
    if (this.#parent !== null) throw new UnsupportedError(what);
  }

  #coreInstance(section: Reader): void {
    this.#outermostOnly("a core instance inside of an inner component");
    if (section.byte() === 0) {
      const module = section.u32();
      at(this.#core.modules, module);
      const imports = section.each((): readonly [string, number] => {
        const name = section.name();
        section.byte();
        return [name, section.u32()];
      });
      this.#core.instances.push({ kind: "instantiate", module, imports });
      return;
    }
    const exports = section.each((): readonly [string, CoreSort, number] => [section.name(), coreSort(section), section.u32()]);
    this.#core.instances.push({ kind: "bundle", exports });
  }

  #instance(section: Reader): Instance {
    if (section.byte() === 0) {
      const component = at(this.#components, section.u32());
      const given = new Map(section.each((): readonly [string, Item] => [section.name(), this.#item(section)]));
      return { kind: "instance", items: new Scope(this.#core, component.parent, given).read(component.bytes) };
    }
    return { kind: "instance", items: new Map(section.each((): readonly [string, Item] => [externName(section), this.#item(section)])) };
  }

  /** A sort and an index of it. */
  #item(section: Reader): Item {
    const sort = section.byte();
    if (sort === 0) throw new UnsupportedError(`a core item (${section.byte()}) as a component's`);
    const index = section.u32();
    switch (sort) {
      case 1: return at(this.#funcs, index);
      case 3: return { kind: "type", type: at(this.#types, index) };
      case 4: return at(this.#components, index);
      case 5: return at(this.#instances, index);
      default: throw new UnsupportedError(`sort ${sort}`);
    }
  }

  #add(item: Item): void {
    if (item.kind === "type") this.#types.push(item.type);
    else if (item.kind === "instance") this.#instances.push(item);
    else if (item.kind === "component") this.#components.push(item);
    else this.#funcs.push(item);
  }

  #alias(section: Reader): void {
    const sort = section.byte();
    const core = sort === 0 ? section.byte() : -1;
    const target = section.byte();
    if (target === 2) return this.#outerAlias(section, sort);
    const instance = section.u32();
    const name = section.name();
    if (target === 1) {
      const alias = { instance, name };
      if (core === 0) this.#core.functions.push({ kind: "alias", ...alias });
      else if (core === 1) this.#core.tables.push(alias);
      else if (core === 2) this.#core.memories.push(alias);
      else if (core === 3) this.#core.globals.push(alias);
      else throw new UnsupportedError(`an alias of core sort ${core}`);
      return;
    }
    const item = at(this.#instances, instance).items.get(name);
    if (item === undefined) throw new BinaryError(`An instance does not export ${JSON.stringify(name)}`);
    this.#add(item);
  }

  #outerAlias(section: Reader, sort: number): void {
    const scope = this.#outer(section.u32());
    const index = section.u32();
    if (sort === 3) this.#types.push(at(scope.#types, index));
    else if (sort === 4) this.#components.push(at(scope.#components, index));
    else throw new UnsupportedError(`an outer alias of sort ${sort}`);
  }

  #outer(count: number): Scope {
    if (count === 0) return this;
    if (this.#parent === null) throw new BinaryError("An alias goes further out than there is anything");
    return this.#parent.#outer(count - 1);
  }

  #canon(section: Reader): void {
    const code = section.byte();
    if (code === 0) {
      section.byte();
      const coreFunction = section.u32();
      const options = this.#options(section);
      const type = at(this.#types, section.u32());
      if (type.kind !== "function") throw new BinaryError("What is lifted is no function");
      this.#funcs.push({ kind: "lifted", coreFunction, options, type });
    } else if (code === 1) {
      section.byte();
      const func = at(this.#funcs, section.u32());
      const options = this.#options(section);
      if (func.kind !== "imported") throw new UnsupportedError("a function of one component that another one calls");
      this.#core.functions.push({ kind: "lower", interface: func.interface, name: func.name, type: func.type, options });
    } else if (code === 3) {
      const resource = at(this.#types, section.u32());
      if (resource.kind !== "resource") throw new BinaryError("What is dropped is no resource");
      this.#core.functions.push({ kind: "drop", resource });
    } else {
      throw new UnsupportedError(`built-in function ${code}`);
    }
  }

  #options(section: Reader): Options {
    let [encoding, memory, realloc, postReturn]: [StringEncoding, number, number, number] = ["utf8", -1, -1, -1];
    section.each(() => {
      const option = section.byte();
      if (option < 3) encoding = ENCODINGS[option]!;
      else if (option === 3) memory = section.u32();
      else if (option === 4) realloc = section.u32();
      else if (option === 5) postReturn = section.u32();
      else throw new UnsupportedError(`canonical option ${option}`);
    });
    return { encoding, memory, realloc, postReturn };
  }

  #import(section: Reader): void {
    const name = externName(section);
    this.imports.push(name);
    const described = this.#described(section);
    if (this.#arguments !== null) {
      const given = this.#arguments.get(name);
      if (given === undefined) throw new BinaryError(`An inner component is not given ${JSON.stringify(name)}`);
      return this.#add(given);
    }
    if (described.kind === "instance") return void this.#instances.push(hostInstance(name, described));
    if (described.kind === "function") return void this.#funcs.push({ kind: "imported", interface: "", name, type: described });
    this.#types.push(described);
  }

  #export(section: Reader): void {
    const name = externName(section);
    const item = this.#item(section);
    if (section.byte() === 1) this.#described(section);
    this.#exports.set(name, item);
    this.#add(item);
  }

  /** What an import or an export of a type is said to be. */
  #described(section: Reader): ComponentType {
    const kind = section.byte();
    if (kind === 3) {
      if (section.byte() === 0) return at(this.#types, section.u32());
      return { kind: "resource", interface: "", name: "" };
    }
    if (kind === 1 || kind === 5) return at(this.#types, section.u32());
    throw new UnsupportedError(`an import of kind ${kind}`);
  }

  #type(section: Reader): ComponentType {
    const code = section.byte();
    switch (code) {
      case 0x40: return this.#function(section);
      case 0x42: return this.#instanceType(section);
      case 0x3f: throw new UnsupportedError("resources of its own");
      default: return this.#value(section, code);
    }
  }

  #function(section: Reader): FunctionType {
    const params = section.each(() => {
      section.name();
      return this.#reference(section);
    });
    if (section.byte() === 0) return { kind: "function", params, result: this.#reference(section) };
    if (section.byte() !== 0) throw new UnsupportedError("named results");
    return { kind: "function", params, result: null };
  }

  #instanceType(section: Reader): InstanceType {
    const inner = new Scope(this.#core, this, null);
    const exports = new Map<string, FunctionType | ComponentType>();
    section.each(() => {
      const kind = section.byte();
      if (kind === 1) inner.#types.push(inner.#type(section));
      else if (kind === 2) inner.#alias(section);
      else if (kind === 4) {
        const name = externName(section);
        // Only a type that is exported has an index of its own.
        const isType = section.bytes[section.at] === 3;
        const described = inner.#described(section);
        if (described.kind === "resource" && described.name === "") described.name = name;
        if (isType) inner.#types.push(described);
        exports.set(name, described);
      } else throw new UnsupportedError(`declaration ${kind} of an instance type`);
    });
    return { kind: "instance", exports };
  }

  #value(section: Reader, code: number): ValueType {
    const primitive = PRIMITIVES[code];
    if (primitive !== undefined) return { kind: primitive };
    const type = (): ValueType => this.#reference(section);
    const optional = (): ValueType | null => (section.byte() === 0 ? null : type());
    const names = (): string[] => section.each(() => section.name());
    switch (code) {
      case 0x72: return { kind: "record", fields: section.each((): readonly [string, ValueType] => [section.name(), type()]) };
      case 0x71: return { kind: "variant", cases: section.each((): readonly [string, ValueType | null] => {
        const made = [section.name(), optional()] as const;
        section.byte();
        return made;
      }) };
      case 0x70: return { kind: "list", element: type() };
      case 0x6f: return { kind: "tuple", items: section.each(type) };
      case 0x6e: return { kind: "flags", names: names() };
      case 0x6d: return { kind: "enum", names: names() };
      case 0x6b: return { kind: "option", some: type() };
      case 0x6a: return { kind: "result", ok: optional(), error: optional() };
      case 0x69: return { kind: "own", resource: this.#resource(section) };
      case 0x68: return { kind: "borrow", resource: this.#resource(section) };
      default: throw new UnsupportedError(`type 0x${code.toString(16)}`);
    }
  }

  #resource(section: Reader): Resource {
    const type = at(this.#types, section.u32());
    if (type.kind !== "resource") throw new BinaryError("A handle is of something that is no resource");
    return type;
  }

  /** A primitive type, or the index of one that was defined before. */
  #reference(section: Reader): ValueType {
    const code = section.bytes[section.at] ?? 0;
    const primitive = PRIMITIVES[code];
    if (primitive !== undefined) {
      section.byte();
      return { kind: primitive };
    }
    const type = at(this.#types, section.u32());
    if (type.kind === "function" || type.kind === "instance" || type.kind === "resource") throw new BinaryError(`A ${type.kind} is not the type of a value`);
    return type;
  }
}

/** What the host gives for an imported interface: its functions by name, and its resources, which now know whose they are. */
function hostInstance(fullName: string, type: InstanceType): Instance {
  const name = withoutVersion(fullName);
  const items = new Map<string, Item>();
  for (const [inner, item] of type.exports) {
    if (item.kind === "function") items.set(inner, { kind: "imported", interface: name, name: inner, type: item });
    else {
      if (item.kind === "resource" && item.interface === "") item.interface = name;
      items.set(inner, { kind: "type", type: item });
    }
  }
  return { kind: "instance", items };
}

function externName(section: Reader): string {
  if (section.byte() > 1) throw new UnsupportedError("a name with attributes");
  return section.name();
}

function coreSort(section: Reader): CoreSort {
  const sort = CORE_SORTS[section.byte()];
  if (sort === undefined) throw new UnsupportedError("a core export that is a type, module or instance");
  return sort;
}

function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new BinaryError(`There is no number ${index} among ${list.length}`);
  return item;
}
