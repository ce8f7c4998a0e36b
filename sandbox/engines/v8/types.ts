/** The types of a component, resolved: no index is left in them. Plain objects, so that a thread can be sent them. */

export type Primitive = "bool" | "s8" | "u8" | "s16" | "u16" | "s32" | "u32" | "s64" | "u64" | "f32" | "f64" | "char" | "string";
export type Resource = { readonly kind: "resource"; interface: string; name: string };
export type ValueType =
  | { readonly kind: Primitive }
  | { readonly kind: "record"; readonly fields: readonly (readonly [name: string, type: ValueType])[] }
  | { readonly kind: "variant"; readonly cases: readonly (readonly [name: string, type: ValueType | null])[] }
  | { readonly kind: "list"; readonly element: ValueType }
  | { readonly kind: "tuple"; readonly items: readonly ValueType[] }
  | { readonly kind: "flags"; readonly names: readonly string[] }
  | { readonly kind: "enum"; readonly names: readonly string[] }
  | { readonly kind: "option"; readonly some: ValueType }
  | { readonly kind: "result"; readonly ok: ValueType | null; readonly error: ValueType | null }
  | { readonly kind: "own" | "borrow"; readonly resource: Resource };
export type FunctionType = { readonly kind: "function"; readonly params: readonly ValueType[]; readonly result: ValueType | null };
export type InstanceType = { readonly kind: "instance"; readonly exports: ReadonlyMap<string, FunctionType | ComponentType> };
export type ComponentType = ValueType | Resource | FunctionType | InstanceType;

export type StringEncoding = "utf8" | "utf16" | "latin1";
/** Canonical options: indices of core items; -1 is none. */
export type Options = { readonly encoding: StringEncoding; readonly memory: number; readonly realloc: number; readonly postReturn: number };

/** "wasi:io/streams@0.2.12" is "wasi:io/streams": all of 0.2 has one form. */
export const withoutVersion = (name: string): string => name.split("@")[0] ?? name;

/** How a component comes to life: core modules, the core instances made of them in order, and where its exports are. */
export type CoreFunction =
  | { readonly kind: "alias"; readonly instance: number; readonly name: string }
  | { readonly kind: "lower"; readonly interface: string; readonly name: string; readonly type: FunctionType; readonly options: Options }
  | { readonly kind: "drop"; readonly resource: Resource };
export type CoreAlias = { readonly instance: number; readonly name: string };
export type CoreSort = "func" | "table" | "memory" | "global";
export type CoreInstance =
  | { readonly kind: "instantiate"; readonly module: number; readonly imports: readonly (readonly [name: string, instance: number])[] }
  | { readonly kind: "bundle"; readonly exports: readonly (readonly [name: string, sort: CoreSort, index: number])[] };
export type Plan = {
  readonly functions: readonly CoreFunction[];
  readonly tables: readonly CoreAlias[];
  readonly memories: readonly CoreAlias[];
  readonly globals: readonly CoreAlias[];
  readonly instances: readonly CoreInstance[];
  readonly imports: readonly string[];
  /** Name of the exported interface or function, as it is written. */
  readonly exports: readonly string[];
  /** `interface#function` (without version), and how to call it. */
  readonly lifted: ReadonlyMap<string, { readonly coreFunction: number; readonly options: Options; readonly type: FunctionType }>;
};
