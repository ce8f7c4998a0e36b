/**
 * WIT as it is meant: every name resolved, gates decided, aliases seen through. The emitters read nothing else.
 *
 * Types are interned: the same type is the same object, so that a Map can remember what was made for it. `parts` and `depth`
 * bound what a type can unfold to, and so every recursion over it.
 */
import { DEPTH_MAX, TYPE_PARTS_MAX } from "./limits.ts";
import { PRIMITIVES, type FunctionKind, type Primitive } from "./syntax.ts";
import { WitError, type Place } from "./wit-error.ts";

export type Docs = { readonly text: string; /** The version that deprecates it. */ readonly deprecated: string | null };

export type Field = { readonly name: string; readonly type: Type; readonly docs: Docs };
export type Case = { readonly name: string; readonly type: Type | null; readonly docs: Docs };
export type Label = { readonly name: string; readonly docs: Docs };

type DefinitionBase = { readonly name: string; readonly owner: Interface; readonly docs: Docs; readonly at: Place };
export type Resource = DefinitionBase & { readonly kind: "resource"; /** Filled once the interface's types are known. */ readonly functions: Func[] };
export type RecordDefinition = DefinitionBase & { readonly kind: "record"; readonly fields: readonly Field[] };
export type VariantDefinition = DefinitionBase & { readonly kind: "variant"; readonly cases: readonly Case[] };
export type EnumDefinition = DefinitionBase & { readonly kind: "enum"; readonly labels: readonly Label[] };
export type FlagsDefinition = DefinitionBase & { readonly kind: "flags"; readonly labels: readonly Label[] };
export type Alias = DefinitionBase & { readonly kind: "alias"; readonly type: Type };
export type Definition = Resource | RecordDefinition | VariantDefinition | EnumDefinition | FlagsDefinition | Alias;

type TypeBase = {
  readonly id: number;
  readonly parts: number;
  readonly depth: number;
  /** Whether there is a borrow anywhere in it. */
  readonly hasBorrow: boolean;
  /** Whether its values point to memory of their own, so that somebody must free it. */
  readonly ownsMemory: boolean;
};
export type Type = TypeBase & (
  | { readonly kind: Exclude<Primitive, "string"> }
  | { readonly kind: "string" }
  | { readonly kind: "list"; readonly of: Type }
  | { readonly kind: "option"; readonly of: Type }
  | { readonly kind: "result"; readonly ok: Type | null; readonly error: Type | null }
  | { readonly kind: "tuple"; readonly items: readonly Type[] }
  | { readonly kind: "own" | "borrow"; readonly resource: Resource }
  | { readonly kind: "record"; readonly definition: RecordDefinition }
  | { readonly kind: "variant"; readonly definition: VariantDefinition }
  | { readonly kind: "enum"; readonly definition: EnumDefinition }
  | { readonly kind: "flags"; readonly definition: FlagsDefinition }
);

export type Param = { readonly name: string; readonly type: Type };
export type Func = {
  readonly name: string;
  readonly how: FunctionKind;
  readonly resource: Resource | null;
  /** The first of a method is `self`. */
  readonly parameters: readonly Param[];
  /** For a constructor, what it makes. */
  readonly result: Type | null;
  readonly docs: Docs;
};

export type Interface = {
  /** `wasi:io/streams@0.2.12`, the plain name of one written inside a world, or `$root` for the world's own items. */
  readonly id: string;
  readonly docs: Docs;
  readonly definitions: Definition[];
  readonly uses: { readonly name: string; readonly definition: Definition; readonly from: Interface }[];
  readonly functions: Func[];
};

export const ROOT = "$root";

export type World = {
  readonly name: string;
  readonly docs: Docs;
  /** By id, each after those it uses. */
  readonly imports: ReadonlyMap<string, Interface>;
  readonly exports: ReadonlyMap<string, Interface>;
  /** The world's own types and the functions it imports by plain names. */
  readonly root: Interface;
  readonly exportedFunctions: readonly Func[];
  /** Packages that were asked for and not at hand → those taken in their place. */
  readonly substitutes: ReadonlyMap<string, string>;
};

/** Numbers, booleans and characters: one core value, and in memory what AssemblyScript has in its arrays. */
export type ScalarType = TypeBase & { readonly kind: Exclude<Primitive, "string"> };

const SCALAR_KINDS: ReadonlySet<string> = new Set(PRIMITIVES.filter((kind) => kind !== "string"));

export const isScalar = (type: Type): type is ScalarType => SCALAR_KINDS.has(type.kind);

type Shape = Type extends infer T ? (T extends TypeBase ? Omit<T, keyof TypeBase> : never) : never;

/** Makes types, each once. */
export class Types {
  readonly #known = new Map<string, Type>();
  readonly #definitions = new Map<Definition, number>();

  primitive(kind: Primitive, at: Place): Type {
    return this.#intern(kind, { kind }, [], at);
  }

  list(kind: "list" | "option", of: Type, at: Place): Type {
    return this.#intern(`${kind} ${of.id}`, { kind, of }, [of], at);
  }

  result(ok: Type | null, error: Type | null, at: Place): Type {
    return this.#intern(`result ${ok?.id ?? "_"} ${error?.id ?? "_"}`, { kind: "result", ok, error }, [ok, error], at);
  }

  tuple(items: readonly Type[], at: Place): Type {
    return this.#intern(`tuple ${items.map(({ id }) => id).join(" ")}`, { kind: "tuple", items }, items, at);
  }

  handle(kind: "own" | "borrow", resource: Resource, at: Place): Type {
    return this.#intern(`${kind} ${this.#number(resource)}`, { kind, resource }, [], at);
  }

  /** The type that a definition stands for. */
  defined(definition: Definition, at: Place): Type {
    const key = `${definition.kind} ${this.#number(definition)}`;
    switch (definition.kind) {
      case "alias": return definition.type;
      case "resource": return this.handle("own", definition, at);
      case "record": return this.#intern(key, { kind: "record", definition }, definition.fields.map(({ type }) => type), at, true);
      case "variant": return this.#intern(key, { kind: "variant", definition }, definition.cases.map(({ type }) => type), at, true);
      case "enum": return this.#intern(key, { kind: "enum", definition }, [], at);
      case "flags": return this.#intern(key, { kind: "flags", definition }, [], at);
    }
  }

  #number(definition: Definition): number {
    const known = this.#definitions.get(definition) ?? this.#definitions.size;
    this.#definitions.set(definition, known);
    return known;
  }

  #intern(key: string, shape: Shape, inner: readonly (Type | null)[], at: Place, isNamed = false): Type {
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    // A named type is one word wherever it is used; an anonymous one is written out.
    const parts = isNamed ? 1 : inner.reduce((sum, type) => sum + (type?.parts ?? 1), 1);
    const depth = inner.reduce((most, type) => Math.max(most, type?.depth ?? 0), 0) + 1;
    if (parts > TYPE_PARTS_MAX) throw new WitError("wit_too_large", at, `this type has more than ${TYPE_PARTS_MAX} parts when written out`);
    if (depth > DEPTH_MAX) throw new WitError("wit_too_deep", at, `types can be ${DEPTH_MAX} inside each other`);
    const hasBorrow = shape.kind === "borrow" || inner.some((type) => type?.hasBorrow);
    const ownsMemory = shape.kind === "string" || shape.kind === "list" || inner.some((type) => type?.ownsMemory);
    const type = { ...shape, id: this.#known.size, parts, depth, hasBorrow, ownsMemory } as Type; // The brand: only here do shape and id come together.
    this.#known.set(key, type);
    return type;
  }
}
