/**
 * An echo through both sides: the host calls `guest.f(x…)`, which calls `host.f(x…)`, which gives x back. Each value is lifted
 * from parameters, lowered into parameters, lifted from a result and lowered into one, and compared twice.
 */
import assert from "node:assert/strict";
import type { Func, World } from "#workloads/sdk/bindgen/model.ts";
import { camel, valueName } from "#workloads/sdk/bindgen/names.ts";
import { typeText } from "#workloads/sdk/bindgen/type-text.ts";
import { Bindings, ModuleWriter } from "#workloads/sdk/bindgen/writer.ts";
import { generateBindings } from "#workloads/sdk/bindgen/generate.ts";
import { compileCore, component, instantiate, sources, type CompileOptions } from "./compile.ts";
import { plain, randomValue, type Chance } from "./values.ts";

export type Echo = {
  readonly functions: readonly Func[];
  /** Calls one function with random values, or those given. */
  call(func: Func, chance: Chance, length?: number): void;
  /** The same with values that are chosen now, to be called often without a look at what comes back. */
  prepare(func: Func, chance: Chance, length?: number): () => void;
  memoryBytes(): number;
  /** Blocks that a call has left behind; 0 unless the bindings count them. */
  left(): number;
};

/** The world for an interface's types and functions: `types` is WIT, `functions` are lines of it that mention the types. */
export function echoWorld(types: string, names: readonly string[], functions: readonly string[]): string {
  const use = names.length === 0 ? "" : `use types.{${names.join(", ")}};`;
  const body = `{ ${use}\n    ${functions.join("\n    ")}\n  }`;
  return `package test:echo@1.0.0;\n\ninterface types {\n  ${types}\n}\n\ninterface host ${body}\n\ninterface guest ${body}\n\nworld echo {\n  import host;\n  export guest;\n  /// Blocks that somebody forgot.\n  export left: func() -> s32;\n}\n`;
}

/** Builds and instantiates it. */
export async function startEcho(wit: string, options: CompileOptions = {}): Promise<Echo> {
  const source = sources(wit);
  const { world } = generateBindings(source);
  const { core, generated } = await compileCore(source, { ...options, modules: { "program.ts": echoProgram(world, options.isCounted === true) } });
  const bytes = await component(core, source, generated);
  const functions = world.exports.get("test:echo/guest@1.0.0")?.functions ?? [];
  let expected: unknown[] | null = [];
  const host = Object.fromEntries(functions.map((func) => [camel(func.name), (...values: unknown[]): unknown => {
    if (expected !== null) assert.deepEqual(values.map(plain), expected.map(plain), `host.${func.name}`);
    const result = answer(func, values);
    if (func.result?.kind !== "result") return result;
    // The result of a function is a value or a throw.
    const { tag, val } = result as { tag: string; val: unknown };
    if (tag === "err") throw Object.assign(new Error("an error"), { payload: val });
    return val;
  }]));
  const { exports, memoryBytes } = await instantiate(bytes, { "test:echo/host": host, "test:echo/types": {} });
  const guest = exports["guest"] as Record<string, (...values: unknown[]) => unknown>; // The world says so.
  const left = exports["left"] as () => number;
  return {
    functions,
    memoryBytes,
    left,
    call(func, chance, length) {
      const values = func.parameters.map(({ type }) => randomValue(type, chance, length));
      expected = values;
      const result = outcome(func, () => guest[camel(func.name)]?.(...values));
      assert.deepEqual(plain(result), plain(answer(func, values)), `guest.${func.name}`);
    },
    prepare(func, chance, length) {
      const values = func.parameters.map(({ type }) => randomValue(type, chance, length));
      return () => {
        expected = null;
        outcome(func, () => guest[camel(func.name)]?.(...values));
      };
    },
  };
}

/** What a call returned or threw, as a result where the function has one. */
function outcome(func: Func, call: () => unknown): unknown {
  if (func.result?.kind !== "result") return call();
  try {
    return { tag: "ok", val: call() };
  } catch (error) {
    // jco throws the payload as it is; an Error is a failure of somebody's.
    if (error instanceof Error) throw error;
    return { tag: "err", val: error };
  }
}

/** What comes back: nothing, the one value, or a tuple of all. */
function answer(func: Func, values: readonly unknown[]): unknown {
  if (func.result === null) return undefined;
  return func.result === func.parameters[0]?.type ? values[0] : [...values];
}

/** program.ts: each function of the guest calls the host's. */
function echoProgram(world: World, isCounted: boolean): string {
  const writer = new ModuleWriter(new Bindings(world, null), "stub", "export");
  const lines = [...world.exports.values()].flatMap(({ functions }) => functions).map((func) => {
    const parameters = func.parameters.map(({ name, type }) => `${valueName(name)}: ${typeText(type, writer)}`).join(", ");
    const call = `${writer.from("imports/test-echo-host")}${valueName(func.name)}(${func.parameters.map(({ name }) => valueName(name)).join(", ")})`;
    return `  export function ${valueName(func.name)}(${parameters}): ${func.result === null ? "void" : typeText(func.result, writer)} {\n    ${func.result === null ? "" : "return "}${call};\n  }`;
  });
  writer.body.push(`export namespace guest {\n${lines.join("\n")}\n}`);
  writer.body.push(`export function left(): i32 {\n  return ${isCounted ? `${writer.abi}left()` : "0"};\n}`);
  return writer.text("Echoes.").replaceAll('from "./', 'from "./gen/');
}
