/**
 * One interface (or the types of one world): its names, definitions and functions, resolved on demand.
 *
 * Definitions may come in any order but not in a circle; a resource's functions may mention the resource itself, so that
 * functions are resolved after all definitions.
 */
import { DEPTH_MAX, FLAGS_MAX } from "./limits.ts";
import type { Case, Definition, Docs, Field, Func, Interface, Label, Resource, Type, Types } from "./model.ts";
import type { Attributes, FunctionItem, Member, Name, Path, TypeExpression, TypeItem, UseItem } from "./syntax.ts";
import { WitError, type Place } from "./wit-error.ts";

/** What a scope asks of the world around it. */
export type Surroundings = {
  readonly types: Types;
  isOpen(attributes: Attributes): boolean;
  /** The scope of the interface that a path names. */
  scopeOf(path: Path): Scope;
};

type Entry = { readonly item: TypeItem; state: "new" | "open" | Definition } | { readonly use: UseItem; readonly name: Name; state: "new" | "open" | Definition };

/** How many definitions are being resolved inside each other, over all interfaces. */
let nesting = 0;

export class Scope {
  readonly interface: Interface;
  readonly #around: Surroundings;
  readonly #entries = new Map<string, Entry>();
  readonly #functions: FunctionItem[] = [];

  constructor(id: string, attributes: Attributes, items: readonly (TypeItem | UseItem | FunctionItem)[], around: Surroundings) {
    this.interface = { id, docs: docsOf(attributes), definitions: [], uses: [], functions: [] };
    this.#around = around;
    const names = new Map<string, Name>();
    const claim = (name: Name): void => claimName(names, name);
    for (const item of items) {
      if (!around.isOpen(item.attributes)) continue;
      if (item.kind === "use") {
        for (const { name, as } of item.names) {
          claim(as);
          this.#entries.set(as.text, { use: item, name, state: "new" });
        }
        continue;
      }
      claim(item.name);
      if (item.kind === "function") this.#functions.push(item);
      else this.#entries.set(item.name.text, { item, state: "new" });
    }
  }

  /** Resolves everything, in the order in which it is written. */
  resolveAll(): Interface {
    const { definitions, uses, functions } = this.interface;
    for (const [name, entry] of this.#entries) {
      const definition = this.#resolve(name, entry, placeOf(entry));
      if ("use" in entry) uses.push({ name, definition, from: this.#around.scopeOf(entry.use.from).interface });
      else definitions.push(definition);
    }
    for (const entry of this.#entries.values()) {
      if ("use" in entry || typeof entry.state === "string" || entry.state.kind !== "resource" || entry.item.kind !== "resource") continue;
      this.#resourceFunctions(entry.state, entry.item.functions);
    }
    for (const item of this.#functions) functions.push(this.function(item));
    return this.interface;
  }

  /** The definition behind a name of this scope. */
  definition(name: Name): Definition {
    const entry = this.#entries.get(name.text);
    if (entry === undefined) throw new WitError("wit_type_unknown", name.at, `there is no type "${name.text}" in ${this.interface.id}`);
    return this.#resolve(name.text, entry, name.at);
  }

  function(item: FunctionItem, resource: Resource | null = null): Func {
    if (item.isAsync) throw new WitError("wit_unsupported", item.name.at, "async functions (WASI 0.3) cannot be bound yet");
    const names = new Map<string, Name>();
    if (item.how === "method") claimName(names, { text: "self", at: item.name.at });
    const self = item.how === "method" && resource !== null ? [{ name: "self", type: this.#around.types.handle("borrow", resource, item.name.at) }] : [];
    const parameters = item.parameters.map(({ name, type }) => {
      claimName(names, name);
      return { name: name.text, type: this.type(type) };
    });
    const result = item.result === null ? null : this.type(item.result);
    if (item.result !== null && result !== null && result.hasBorrow) throw new WitError("wit_type_invalid", item.result.at, "a function cannot return what it only borrows");
    return { name: item.name.text, how: item.how, resource, parameters: [...self, ...parameters], result, docs: docsOf(item.attributes) };
  }

  type(expression: TypeExpression): Type {
    const { types } = this.#around;
    const { at } = expression;
    switch (expression.kind) {
      case "list": case "option": return types.list(expression.kind, this.type(expression.of), at);
      case "result": return types.result(expression.ok && this.type(expression.ok), expression.error && this.type(expression.error), at);
      case "tuple": {
        if (expression.parts.length === 0) throw new WitError("wit_type_empty", at, "a tuple has at least one part");
        return types.tuple(expression.parts.map((part) => this.type(part)), at);
      }
      case "own": case "borrow": return types.handle(expression.kind, this.#resource(expression.name), at);
      case "name": return types.defined(this.definition(expression.name), at);
      case "unsupported": throw new WitError("wit_unsupported", at, `${expression.what} cannot be bound yet`);
      case "bool": case "char": case "string": case "f32": case "f64": case "u8": case "u16": case "u32": case "u64": case "s8": case "s16": case "s32": case "s64": return types.primitive(expression.kind, at);
    }
  }

  #resource(name: Name): Resource {
    const definition = this.definition(name);
    if (definition.kind === "resource") return definition;
    if (definition.kind === "alias" && definition.type.kind === "own") return definition.type.resource;
    throw new WitError("wit_type_invalid", name.at, `"${name.text}" is no resource but a ${definition.kind}`);
  }

  #resolve(name: string, entry: Entry, at: Place): Definition {
    if (entry.state === "open") throw new WitError("wit_type_cycle", placeOf(entry), `type "${name}" contains itself`);
    if (entry.state !== "new") return entry.state;
    if (nesting >= DEPTH_MAX) throw new WitError("wit_too_deep", at, `definitions can be ${DEPTH_MAX} inside each other`);
    entry.state = "open";
    nesting++;
    try {
      entry.state = "use" in entry ? this.#around.scopeOf(entry.use.from).definition(entry.name) : this.#define(entry.item);
    } finally {
      nesting--;
    }
    return entry.state;
  }

  #define(item: TypeItem): Definition {
    const base = { name: item.name.text, owner: this.interface, docs: docsOf(item.attributes), at: item.name.at };
    switch (item.kind) {
      case "alias": return { ...base, kind: "alias", type: this.type(item.of) };
      case "resource": return { ...base, kind: "resource", functions: [] };
      case "record": return { ...base, kind: "record", fields: this.#members(item).map((member): Field => ({ ...labelOf(member), type: this.#memberType(member) })) };
      case "variant": return { ...base, kind: "variant", cases: this.#members(item).map((member): Case => ({ ...labelOf(member), type: member.type && this.type(member.type) })) };
      case "enum": return { ...base, kind: "enum", labels: this.#members(item).map(labelOf) };
      case "flags": {
        const labels = this.#members(item).map(labelOf);
        if (labels.length > FLAGS_MAX) throw new WitError("wit_flags_too_many", item.name.at, `flags "${item.name.text}" has ${labels.length} labels, at most ${FLAGS_MAX} are possible`);
        return { ...base, kind: "flags", labels };
      }
    }
  }

  #memberType({ name, type }: Member): Type {
    if (type === null) throw new WitError("wit_syntax", name.at, `field "${name.text}" has no type`);
    return this.type(type);
  }

  #members(item: Extract<TypeItem, { members: unknown }>): Member[] {
    const names = new Map<string, Name>();
    const open = item.members.filter(({ attributes }) => this.#around.isOpen(attributes));
    for (const { name } of open) claimName(names, name);
    if (open.length === 0) throw new WitError("wit_type_empty", item.name.at, `${item.kind} "${item.name.text}" is empty`);
    return open;
  }

  #resourceFunctions(resource: Resource, items: readonly FunctionItem[]): void {
    const names = new Map<string, Name>();
    for (const item of items) {
      if (!this.#around.isOpen(item.attributes)) continue;
      claimName(names, item.name);
      const found = this.function(item, resource);
      if (found.how !== "constructor") resource.functions.push(found);
      else resource.functions.push({ ...found, result: this.#constructed(resource, found.result, item) });
    }
  }

  /** A constructor says nothing about its result, or that it is the resource, or a result of it. */
  #constructed(resource: Resource, said: Type | null, item: FunctionItem): Type {
    const own = this.#around.types.handle("own", resource, item.name.at);
    if (said === null || said === own) return own;
    if (said.kind === "result" && said.ok === own) return said;
    throw new WitError("wit_type_invalid", item.result?.at ?? item.name.at, `a constructor returns ${resource.name} or result<${resource.name}, …>`);
  }
}

const placeOf = (entry: Entry): Place => ("use" in entry ? entry.name.at : entry.item.name.at);
const labelOf = ({ name, attributes }: Member): Label => ({ name: name.text, docs: docsOf(attributes) });

export function docsOf({ docs, gates }: Attributes): Docs {
  const deprecated = gates.find(({ kind }) => kind === "deprecated");
  return { text: docs, deprecated: deprecated?.kind === "deprecated" ? deprecated.version.text : null };
}

/** Names are one in a scope whatever their case: `a-b` and `A-B` are the same identifier to us. */
function claimName(names: Map<string, Name>, name: Name): void {
  const key = name.text.toLowerCase();
  if (names.has(key)) throw new WitError("wit_name_duplicate", name.at, `"${name.text}" is there twice`);
  names.set(key, name);
}
