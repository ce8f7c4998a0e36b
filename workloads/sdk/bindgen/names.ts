/**
 * WIT names → AssemblyScript names. Kebab case makes every camel case name come from one WIT name only; names of our own begin
 * with `_`, which no WIT name does, and a WIT name that means something to AssemblyScript or to the code around it ends in `_`.
 */

/** Words of the language. */
const WORDS = new Set("abstract any as async await break case catch class const constructor continue debugger declare default delete do else enum export extends false finally for function if implements import in instanceof interface let never new null of override package private protected public readonly return static super switch this throw true try typeof undefined var void while with yield".split(" "));

const RESERVED = new Set([
  ...WORDS,
  // Types and functions that the generated code uses.
  ..."bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 isize usize v128 string symbol externref anyref memory load store changetype reinterpret unreachable assert idof offsetof instantiate abort trace isDefined arguments eval".split(" "),
  "Array", "StaticArray", "Uint8Array", "ArrayBuffer", "Object", "String",
]);
/** Members of every resource class, and what AssemblyScript reads as the beginning of a member rather than as its name. */
const RESERVED_MEMBERS = new Set(["handle", "take", "drop", "dropped", "constructor", "public", "private", "protected", "static", "abstract", "readonly", "override", "declare", "async"]);

const safe = (name: string): string => (RESERVED.has(name) ? `${name}_` : name);

/** `blocking-read` → `blockingRead` */
export function camel(name: string): string {
  const [first = "", ...rest] = name.toLowerCase().split("-");
  return first + rest.map((word) => (/^\d/.test(word) ? `_${word}` : capital(word))).join("");
}

const capital = (word: string): string => word.slice(0, 1).toUpperCase() + word.slice(1);

/** A namespace of the program: nothing generated is written inside it, so that words like `store` and `memory` stay as they are. */
export const namespaceName = (name: string): string => (WORDS.has(camel(name)) ? `${camel(name)}_` : camel(name));

/** A function, parameter or field. */
export const valueName = (name: string): string => safe(camel(name));

/** A class or enum, and a case of an enum. */
export const typeName = (name: string): string => safe(capital(camel(name)));

/** A method of a resource, or the static method of a variant's case: after a dot most words are free. */
export const methodName = (name: string): string => (RESERVED_MEMBERS.has(camel(name)) ? `${camel(name)}_` : camel(name));

/** `wasi:io/streams@0.2.12` → `wasi-io-streams`, with the version when another one has taken that. */
export function fileName(id: string, taken: ReadonlySet<string>): string {
  const [path = "", version = ""] = id.split("@");
  const plain = path.replace(/[:/]/g, "-").toLowerCase();
  return taken.has(plain) ? `${plain}-${version.replace(/[^0-9A-Za-z]/g, "_")}` : plain;
}

/** The last word of an interface's id. */
export const interfaceName = (id: string): string => (id.split("@")[0] ?? id).split("/").at(-1) ?? id;
