/**
 * WIT as it is written: what the parser makes and the resolver reads. Names are unresolved, gates undecided.
 */
import type { Place } from "./wit-error.ts";

/** A name without its `%`, and where it stands. */
export type Name = { readonly text: string; readonly at: Place };

export type Version = { readonly text: string; readonly major: number; readonly minor: number; readonly patch: number; readonly pre: string };

export type Gate =
  | { readonly kind: "since"; readonly version: Version; readonly at: Place }
  | { readonly kind: "unstable"; readonly feature: string; readonly at: Place }
  | { readonly kind: "deprecated"; readonly version: Version; readonly at: Place };

/** What stands before an item. */
export type Attributes = { readonly docs: string; readonly gates: readonly Gate[] };

export type PackageName = { readonly namespace: string; readonly name: string; readonly version: Version | null };

/** `name`, or `namespace:package/name@version`. */
export type Path = { readonly package: PackageName | null; readonly name: Name };

export const PRIMITIVES = ["bool", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f32", "f64", "char", "string"] as const;
export type Primitive = (typeof PRIMITIVES)[number];

export type TypeExpression =
  | { readonly kind: Primitive; readonly at: Place }
  | { readonly kind: "name"; readonly name: Name; readonly at: Place }
  | { readonly kind: "list" | "option"; readonly of: TypeExpression; readonly at: Place }
  | { readonly kind: "result"; readonly ok: TypeExpression | null; readonly error: TypeExpression | null; readonly at: Place }
  | { readonly kind: "tuple"; readonly parts: readonly TypeExpression[]; readonly at: Place }
  | { readonly kind: "own" | "borrow"; readonly name: Name; readonly at: Place }
  | { readonly kind: "unsupported"; readonly what: string; readonly at: Place };

export type Member = { readonly name: Name; readonly type: TypeExpression | null; readonly attributes: Attributes };
export type Parameter = { readonly name: Name; readonly type: TypeExpression };

export type FunctionKind = "free" | "method" | "static" | "constructor";
export type FunctionItem = {
  readonly kind: "function";
  readonly name: Name;
  readonly how: FunctionKind;
  readonly isAsync: boolean;
  readonly parameters: readonly Parameter[];
  readonly result: TypeExpression | null;
  readonly attributes: Attributes;
};

export type TypeItem = { readonly name: Name; readonly attributes: Attributes } & (
  | { readonly kind: "alias"; readonly of: TypeExpression }
  | { readonly kind: "record" | "variant" | "enum" | "flags"; readonly members: readonly Member[] }
  | { readonly kind: "resource"; readonly functions: readonly FunctionItem[] }
);

export type UseItem = {
  readonly kind: "use";
  readonly from: Path;
  readonly names: readonly { readonly name: Name; readonly as: Name }[];
  readonly attributes: Attributes;
};

export type InterfaceItem = {
  readonly kind: "interface";
  readonly name: Name;
  readonly items: readonly (TypeItem | UseItem | FunctionItem)[];
  readonly attributes: Attributes;
};

export type WorldMember =
  | { readonly kind: "import" | "export"; readonly what: FunctionItem | InterfaceItem | Path; readonly attributes: Attributes }
  | { readonly kind: "include"; readonly path: Path; readonly renames: readonly { readonly name: Name; readonly as: Name }[]; readonly attributes: Attributes };

export type WorldItem = {
  readonly kind: "world";
  readonly name: Name;
  readonly items: readonly (WorldMember | TypeItem | UseItem)[];
  readonly attributes: Attributes;
};

/** `use a:b/c as d;` at the top of a file: a name for an interface or world. */
export type TopUseItem = { readonly kind: "top-use"; readonly path: Path; readonly as: Name; readonly attributes: Attributes };

/** One `package …;` file or one `package … { }` block; a file's uses at the top hold for that file alone. */
export type Chunk = {
  readonly name: PackageName | null;
  readonly at: Place;
  readonly docs: string;
  readonly items: readonly (InterfaceItem | WorldItem | TopUseItem)[];
};
