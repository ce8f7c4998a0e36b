/**
 * What an editor needs to know the types of a project: `.godwit/` in its folder, which is made again on each computer.
 *
 * A project's own `assembly/tsconfig.json` is the same everywhere and goes into its repository; it extends `.godwit/tsconfig.json`,
 * which says where on this computer the SDK is, and stays out. `godwit new` and `godwit dev` write it.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { findPackageJSON } from "node:module";
import { dirname, join } from "node:path";

export const TYPES_FOLDER = ".godwit";

/** `assembly/tsconfig.json` of a project. */
export const TSCONFIG_TEXT: string = `${JSON.stringify({ extends: `../${TYPES_FOLDER}/tsconfig.json`, include: ["**/*.ts", `../${TYPES_FOLDER}/*.d.ts`] }, null, 2)}\n`;

const SDK = join(import.meta.dirname, "..", "..", "..", "workloads", "sdk", "assembly");

/** The compiler knows these; its declarations leave them out, and the SDK uses them. */
const BUILTINS = `
declare function __new(size: usize, id: u32): usize;
declare function __renew(pointer: usize, size: usize): usize;
declare function __pin(pointer: usize): usize;
declare function __unpin(pointer: usize): void;
`;

/** Writes `.godwit/` into the project's folder; a file that is right already is left alone, so that no watcher stirs. */
export async function writeEditorTypes(project: string): Promise<void> {
  const folder = join(project, TYPES_FOLDER);
  await mkdir(folder, { recursive: true });
  const options = { noEmit: true, noLib: true, target: "esnext", module: "preserve", types: [], strict: true, experimentalDecorators: true, skipLibCheck: true, paths: { "godwit/*": [join(SDK, "*")] } };
  for (const [name, text] of [["tsconfig.json", `${JSON.stringify({ compilerOptions: options }, null, 2)}\n`], ["assemblyscript.d.ts", await declarations()]] as const) {
    const file = join(folder, name);
    if ((await readFile(file, "utf8").catch(() => null)) !== text) await writeFile(file, text);
  }
}

/** AssemblyScript's own, in which a number has no members for TypeScript: the global type Number must be an interface. */
async function declarations(): Promise<string> {
  const manifest = findPackageJSON("assemblyscript", import.meta.url);
  if (manifest === undefined) throw new Error("Cannot find AssemblyScript's declarations as it is not installed");
  const text = await readFile(join(dirname(manifest), "std", "assembly", "index.d.ts"), "utf8");
  return text.replace(/^declare type Number = _Float;/m, "interface Number extends _Float {}") + BUILTINS;
}
