/** A world with every kind of type in every place: see echo.ts for what is done with it. */
import { echoWorld } from "./echo.ts";

const CASES_300 = Array.from({ length: 300 }, (_, i) => `case-x${i}`).join(", ");

/** Definitions of the interface. */
export const TORTURE_TYPES: string = `
  record point { x: f32, y: f64, small: u8, big: u64, label: string }
  record nested { head: point, maybe: option<point>, many: list<point>, kind: colour, rights: rights, ch: char, unit: result }
  record %record { %type: u8, %result: s16, %class: bool }
  enum colour { red, green, %static, dark-blue }
  enum wide-enum { ${CASES_300} }
  flags rights { read, write, %list }
  flags rights9 { a, b, c, d, e, f, g, h, i }
  flags rights32 { ${Array.from({ length: 32 }, (_, i) => `bit-x${i}`).join(", ")} }
  variant any { none, number(f32), wide(u64), text(string), point(point), maybe(option<string>), double(f64), %list(list<u16>), byte(s8), inner(choice), flag(rights), colour(colour), ok(result<u8, string>), letter(char), truth(bool) }
  variant choice { left(u8), right(tuple<f64, string>) }
  variant bare { one, two }
  type names = list<string>;
  type perhaps = option<u64>;
`;
const NAMES = ["point", "nested", "%record", "colour", "wide-enum", "rights", "rights9", "rights32", "any", "choice", "bare", "names", "perhaps"];

/** Types that one parameter and the result have. */
const ONE = [
  "bool", "u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "char", "string", "list<u8>", "list<s8>", "list<u16>", "list<s16>", "list<u32>", "list<s32>", "list<u64>", "list<s64>", "list<f32>", "list<f64>",
  "list<bool>", "list<char>", "list<string>", "list<list<string>>", "list<list<u8>>", "point", "nested", "%record", "colour", "wide-enum", "rights", "rights9", "rights32", "any", "choice", "bare", "names", "perhaps",
  "option<bool>", "option<string>", "option<point>", "option<option<u32>>", "option<option<option<string>>>", "option<list<u8>>", "option<any>", "list<option<u8>>", "list<option<string>>", "list<any>", "list<nested>", "list<colour>", "list<rights>",
  "list<tuple<string, u16>>", "tuple<u8>", "tuple<u8, u64, string>", "tuple<bool, tuple<f32, tuple<s64, char>>>", "tuple<u8, u8, u8, u8, u8, u8, u8, u8, u8, u8>", "list<result<u8, string>>", "list<result>", "list<result<_, f64>>", "list<result<names>>",
  "result", "result<u8>", "result<_, colour>", "result<string, any>", "result<list<point>, u64>", "result<nested, option<string>>",
  "tuple<option<u64>, result<string, any>>", "list<list<list<option<tuple<colour, rights32>>>>>",
];

/** Parameters that share slots, that are many, that are more than sixteen flat ones. */
const MANY = [
  "a: u8, b: string", "a: result<u64, f32>, b: result<f64, u32>", "a: any, b: any", "a: point, b: point, c: u8", "a: string, b: string, c: string, d: string, e: string, f: string, g: string, h: string",
  "a: string, b: string, c: string, d: string, e: string, f: string, g: string, h: string, i: u8", "a: nested, b: list<any>, c: option<nested>", "load: u8, store: s16, %string: u32, usize: u64, this: f32, cabi: f64, abort: bool, %f32: char",
  "a: u8, b: s8, c: u16, d: s16, e: u32, f: s32, g: u64, h: s64, i: f32, j: f64, k: bool, l: char, m: u8, n: u8, o: u8, p: u8", "a: u8, b: s8, c: u16, d: s16, e: u32, f: s32, g: u64, h: s64, i: f32, j: f64, k: bool, l: char, m: u8, n: u8, o: u8, p: u8, q: any",
];

/** `a: T, b: U` → `T, U`: commas inside angle brackets do not count. */
function typesOf(parameters: string): string {
  const parts: string[] = [""];
  let depth = 0;
  for (const letter of parameters) {
    depth += letter === "<" ? 1 : letter === ">" ? -1 : 0;
    if (letter === "," && depth === 0) parts.push("");
    else parts[parts.length - 1] += letter;
  }
  return parts.map((part) => part.slice(part.indexOf(":") + 1).trim()).join(", ");
}

/** Functions that give back what they get. */
export const TORTURE_FUNCTIONS: readonly string[] = [
  "nothing: func();",
  ...ONE.map((type, i) => `one${i}: func(x: ${type}) -> ${type};`),
  ...MANY.map((parameters, i) => `many${i}: func(${parameters}) -> tuple<${typesOf(parameters)}>;`),
];

export const TORTURE: string = echoWorld(TORTURE_TYPES, NAMES, TORTURE_FUNCTIONS);
