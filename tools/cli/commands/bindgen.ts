/** `godwit bindgen`: a WIT world to AssemblyScript modules. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { type Command, CliError, UsageError } from "../command.ts";
import { print } from "../table.ts";

export const bindgen: Command = {
  name: "bindgen",
  summary: "Write AssemblyScript bindings for a WIT world",
  usage: ["WIT --out DIR [--world W]"],
  options: {
    world: { type: "string", value: "W", summary: "the world: its name, or namespace:package/name@version (the only one of the package)" },
    out: { type: "string", short: "o", value: "DIR", summary: "the folder to write to; what it has of the same names is replaced" },
    feature: { type: "string", multiple: true, value: "NAME", summary: "an @unstable feature that is on; can be repeated" },
    "all-features": { type: "boolean", summary: "every @unstable feature is on" },
    program: { type: "string", value: "MODULE", summary: "where world.ts imports the program from (../program)" },
    runtime: { type: "string", value: "MODULE", summary: "where the runtime is imported from, instead of a copy in DIR: godwit/canonical in a godwit project" },
  },
  arguments: [1, 1],
  details: "WIT is a file, or a folder with its dependencies in deps/; packages of WASI 0.2 are at hand without.",
  async run(input, shell) {
    const out = input.text("out");
    if (out === undefined) throw new UsageError("bindgen needs --out DIR");
    const wit = resolve(shell.currentDirectory, input.positionals[0] ?? ".");
    const folder = resolve(shell.currentDirectory, out);
    const [{ generateBindings }, { readRuntime, readWit, witText }] = await Promise.all([import("#workloads/sdk/bindgen/generate.ts"), import("#workloads/sdk/bindgen/sources.ts")]);
    const sources = await readWit(wit).catch((error: unknown) => {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") throw new CliError("wit_missing", `Cannot read ${wit} as it is not there`, {}, error);
      throw error;
    });
    const [program, runtime] = [input.text("program"), input.text("runtime")];
    const { files, world } = generateBindings(sources, {
      world: input.text("world"), features: input.flag("all-features") ? "all" : input.texts("feature"),
      ...(program === undefined ? {} : { programModule: program }), ...(runtime === undefined ? {} : { runtimeModule: runtime }),
    });
    const all = new Map([...files, ["world.wit", witText(sources, world.substitutes)]]);
    if (runtime === undefined) all.set("canonical.ts", await readRuntime());
    for (const [name, text] of all) await write(join(folder, name), text);
    const counts = { imports: world.imports.size, exports: world.exports.size + world.exportedFunctions.length };
    print(shell, input.json, { world: world.name, directory: folder, files: [...all.keys()], imports: [...world.imports.keys()], exports: [...world.exports.keys(), ...world.exportedFunctions.map(({ name }) => name)] },
      () => `${world.name}: ${counts.imports} interfaces imported, ${counts.exports} exported → ${folder} (${all.size} files)`);
  },
};

/** Writes what has changed: a watching compiler is not woken for the rest. */
async function write(path: string, text: string): Promise<void> {
  if (await readFile(path, "utf8").catch(() => null) === text) return;
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  } catch (error) {
    throw new CliError("output_unwritable", `Cannot write ${path}: ${error instanceof Error ? error.message : String(error)}`, {}, error);
  }
}
