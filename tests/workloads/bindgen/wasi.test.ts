/**
 * The generator against wasm-tools, for all of WASI 0.2.12: the same core names and types as the dummy module of each world, and
 * bindings that compile and become a component.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { interfaceId, type WitSources } from "#workloads/sdk/bindgen/packages.ts";
import { parse } from "#workloads/sdk/bindgen/parser.ts";
import type { Signature } from "#workloads/sdk/bindgen/layout.ts";
import { coreNames, functionsOf } from "#workloads/sdk/bindgen/signatures.ts";
import { generateBindings } from "#workloads/sdk/bindgen/generate.ts";
import { coreFunctions } from "./core-module.ts";
import { component, compileCore, dummyModule, wasiSources } from "./compile.ts";
import { callEverything } from "./call-everything.ts";

/** A world that imports, or exports, every interface of every WASI package. */
async function everything(direction: "import" | "export"): Promise<WitSources> {
  const { main, dependencies } = await wasiSources("package t:t; world none {}");
  const paths = dependencies.flat().flatMap((file) => parse(file)).flatMap(({ name, items }) => items.flatMap((item) => {
    const isTried = name?.namespace === "wasi" && item.kind === "interface";
    return isTried ? [interfaceId(name, item.name.text)] : [];
  }));
  assert(paths.length >= 30, `only ${paths.length} interfaces`);
  const lines = paths.map((path) => `${direction} ${path};`);
  const world = `package t:t; world w { ${direction === "import" ? `${lines.join(" ")} export wasi:http/incoming-handler@0.2.12; export wasi:cli/run@0.2.12;` : lines.join(" ")} }`;
  return { main: [{ name: main[0]?.name ?? "", text: world }], dependencies };
}

/** wasm-tools is asked the same way. */
const OPTIONS = { features: "all" } as const;

const text = ({ parameters, results }: Signature): string => `(${parameters.join(" ")}) -> (${results.join(" ")})`;

/** wit-component's second naming scheme, as dummy modules have it, in the words of the first. */
function plainNames(dummy: ReturnType<typeof coreFunctions>): { imports: Map<string, string>; exports: Map<string, string> } {
  const imports = new Map<string, string>();
  for (const [key, signature] of dummy.imports) {
    const [module = "", name = ""] = key.split("#");
    const [, isExport, id] = /^cm32p2(?:\|(_ex_)?(.+))?$/.exec(module) ?? [];
    const [, resource, what] = /^([a-z0-9-]+)_(drop|new|rep)$/.exec(name) ?? [];
    imports.set(`${isExport === undefined ? "" : "[export]"}${id ?? "$root"}#${resource === undefined ? name : `[resource-${what}]${resource}`}`, text(signature));
  }
  const exports = new Map<string, string>();
  for (const [key, signature] of dummy.exports) {
    const [prefix, id = "", name = ""] = key.split("|");
    if (prefix !== "cm32p2" || name.endsWith("_post")) continue;
    const [, resource] = /^([a-z0-9-]+)_dtor$/.exec(name) ?? [];
    exports.set(`${id === "" ? "" : `${id}#`}${resource === undefined ? name : `[dtor]${resource}`}`, text(signature));
  }
  return { imports, exports };
}

/** The second scheme has the track of a version only: 0.2 of 0.2.12. */
const onTrack = (names: ReadonlyMap<string, Signature>): string[] => [...names].map(([name, signature]) => `${name.replace(/@0\.(\d+)\.\d+/, "@0.$1").replace(/@([1-9]\d*)\.\d+\.\d+/, "@$1")} ${text(signature)}`).sort();

const listed = (names: ReadonlyMap<string, string>): string[] => [...names].map(([name, signature]) => `${name} ${signature}`).sort();

for (const direction of ["import", "export"] as const) {
  test(`all of WASI 0.2.12, as ${direction}s, has the core names and types that wasm-tools says`, async () => {
    const wit = await everything(direction);
    const generated = generateBindings(wit, OPTIONS);
    const found = coreNames(generated.world);
    const expected = plainNames(coreFunctions(await dummyModule(wit, generated)));
    assert.deepEqual(onTrack(found.imports), listed(expected.imports));
    assert.deepEqual(onTrack(found.exports), listed(expected.exports));
    assert((direction === "import" ? found.imports : found.exports).size >= 200);
  });
}

test("every function of WASI 0.2.12 compiles to exactly the import that was asked for, and the module becomes a component", async () => {
  const wit = await everything("import");
  const { core, generated } = await compileCore(wit, { ...OPTIONS, modules: { "program.ts": callEverything(wit) } });
  const asked = coreNames(generated.world).imports;
  const { imports } = coreFunctions(core);
  assert.deepEqual(onTrack(imports), onTrack(asked));
  const functions = [...generated.world.imports.values()].flatMap((from) => functionsOf(from));
  assert(functions.length >= 175, `only ${functions.length} functions`);
  assert.deepEqual([...(await component(core, wit, generated)).subarray(0, 4)], [0, 0x61, 0x73, 0x6d]);
});

test("a program that exports all of WASI 0.2.12 itself, resources too, compiles to exactly the exports that were asked for", async () => {
  const wit = await everything("export");
  const { core, generated } = await compileCore(wit, OPTIONS);
  const asked = coreNames(generated.world).exports;
  const { exports } = coreFunctions(core);
  for (const [name, signature] of asked) assert.equal(text(exports.get(name) ?? { parameters: [], results: [] }), text(signature), name);
  assert.deepEqual([...(await component(core, wit, generated)).subarray(0, 4)], [0, 0x61, 0x73, 0x6d]);
});
