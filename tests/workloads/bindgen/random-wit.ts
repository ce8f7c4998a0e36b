/** Random worlds for the echo, from a seed: definitions that build on those before, functions of random types. */
import { echoWorld } from "./echo.ts";
import type { Chance } from "./values.ts";

const PRIMITIVES = ["bool", "u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "char", "string"];
const DEFINITIONS = 14;
const FUNCTIONS = 24;
/** More than sixteen flat parameters come of a few large types. */
const PARAMETERS_MAX = 5;

export function randomWit(chance: Chance): string {
  const names: string[] = [];
  const definitions: string[] = [];
  for (let i = 0; i < DEFINITIONS; i++) {
    const [name, text] = definition(i, names, chance);
    definitions.push(text);
    names.push(name);
  }
  const functions = Array.from({ length: FUNCTIONS }, (_, i) => {
    const types = Array.from({ length: 1 + chance.below(PARAMETERS_MAX) }, () => type(names, chance, 3));
    const parameters = types.map((each, k) => `p${String.fromCodePoint(97 + k)}: ${each}`).join(", ");
    return `f${i}: func(${parameters}) -> tuple<${types.join(", ")}>;`;
  });
  return echoWorld(definitions.join("\n  "), names, functions);
}

function definition(index: number, names: readonly string[], chance: Chance): [name: string, text: string] {
  const name = `t${index}-x`;
  const members = 1 + chance.below(5);
  const labels = (count: number): string[] => Array.from({ length: count }, (_, i) => `m${i}`);
  switch (chance.below(5)) {
    case 0: return [name, `record ${name} { ${labels(members).map((label) => `${label}: ${type(names, chance, 2)}`).join(", ")} }`];
    case 1: return [name, `variant ${name} { ${labels(members).map((label) => (chance.below(4) === 0 ? label : `${label}(${type(names, chance, 2)})`)).join(", ")} }`];
    case 2: return [name, `enum ${name} { ${labels(chance.pick([1, 3, 256, 257])).join(", ")} }`];
    case 3: return [name, `flags ${name} { ${labels(chance.pick([1, 8, 9, 16, 17, 32])).join(", ")} }`];
    default: return [name, `type ${name} = ${type(names, chance, 3)};`];
  }
}

function type(names: readonly string[], chance: Chance, depth: number): string {
  const inner = (): string => type(names, chance, depth - 1);
  const isLeaf = depth === 0 || chance.below(3) === 0;
  if (isLeaf) return names.length > 0 && chance.below(2) === 0 ? chance.pick(names) : chance.pick(PRIMITIVES);
  switch (chance.below(6)) {
    case 0: return `list<${inner()}>`;
    case 1: return `option<${inner()}>`;
    case 2: return `tuple<${Array.from({ length: 1 + chance.below(4) }, inner).join(", ")}>`;
    case 3: return chance.pick([`result<${inner()}, ${inner()}>`, `result<_, ${inner()}>`, `result<${inner()}>`, "result"]);
    case 4: return `list<${chance.pick(PRIMITIVES)}>`;
    default: return `option<option<${inner()}>>`;
  }
}
