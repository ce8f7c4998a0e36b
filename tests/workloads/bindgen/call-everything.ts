/** A program that calls every function that a world imports, with any arguments: asc compiles nothing that is not called. */
import { generateBindings } from "#workloads/sdk/bindgen/generate.ts";
import type { Func, Type } from "#workloads/sdk/bindgen/model.ts";
import { methodName, typeName, valueName } from "#workloads/sdk/bindgen/names.ts";
import type { WitSources } from "#workloads/sdk/bindgen/packages.ts";
import { isReference, typeText } from "#workloads/sdk/bindgen/type-text.ts";
import { Bindings, ModuleWriter } from "#workloads/sdk/bindgen/writer.ts";

/** The text of program.ts: the stub, whose functions call all of them first. */
export function callEverything(wit: WitSources): string {
  const { world, files } = generateBindings(wit, { features: "all" });
  const writer = new ModuleWriter(new Bindings(world, null), "stub", "import");
  const calls = [...world.imports.values(), world.root].flatMap((from) => [
    ...from.functions.map((func) => `${writer.owner(from)}${valueName(func.name)}(${argumentsText(func, writer)});`),
    ...from.definitions.flatMap((definition) => {
      if (definition.kind !== "resource") return [];
      const path = `${writer.owner(from)}${typeName(definition.name)}`;
      return [`changetype<${path}>(<usize>0).drop();`, ...definition.functions.map((func) => methodCall(func, path, writer))];
    }),
  ]);
  writer.body.push(`export function _everything(): void {\n  ${calls.join("\n  ")}\n}`);
  const driver = writer.text("Calls everything.").replaceAll('from "./', 'from "./gen/');
  const stub = (files.get("stub.ts") ?? "").replace(/import \* as .*\n/g, "").replaceAll("return unreachable();", "_everything(); return unreachable();").replaceAll(/\n *unreachable\(\);/g, "\n_everything();");
  const imports = (files.get("stub.ts") ?? "").match(/import \* as .*\n/g) ?? [];
  const missing = imports.map((line) => line.replace('from "./', 'from "./gen/')).filter((line) => !driver.includes(line));
  return `${missing.join("")}${driver}\n${stub}`;
}

function methodCall(func: Func, path: string, writer: ModuleWriter): string {
  const values = argumentsText(func, writer);
  switch (func.how) {
    case "method": return `changetype<${path}>(<usize>0).${methodName(func.name)}(${values});`;
    case "constructor": return func.result?.kind === "own" ? `new ${path}(${values});` : `${path}.create(${values});`;
    case "static": return `${path}.${methodName(func.name)}(${values});`;
    case "free": return `${path}.${valueName(func.name)}(${values});`;
  }
}

function argumentsText(func: Func, writer: ModuleWriter): string {
  return func.parameters.slice(func.how === "method" ? 1 : 0).map(({ type }) => argument(type, writer)).join(", ");
}

function argument(type: Type, writer: ModuleWriter): string {
  const text = typeText(type, writer);
  if (isReference(type)) return `changetype<${text}>(<usize>0)`;
  return type.kind === "bool" ? "true" : `<${text}>1`;
}
