/** `godwit build`: a project folder to one component file. */
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Inspection } from "#sandbox/sandbox.ts";
import { type Command, CliError, type Shell } from "../command.ts";
import { buildComponent } from "../component.ts";
import { allowsText } from "../permissions.ts";
import { print, tableText, warn } from "../table.ts";

export const build: Command = {
  name: "build",
  summary: "Build a project folder into a component file",
  usage: ["[DIR] [-o FILE]"],
  options: {
    output: { type: "string", short: "o", value: "FILE", summary: "where to write it (NAME.wasm in the folder where you are)" },
    debug: { type: "boolean", summary: "without optimisation" },
  },
  arguments: [0, 1],
  async run(input, shell) {
    const folder = resolve(shell.currentDirectory, input.positionals[0] ?? ".");
    const built = await buildComponent(folder, shell, { optimise: !input.flag("debug") });
    const file = resolve(shell.currentDirectory, input.text("output") ?? `${built.manifest.name}.wasm`);
    await writeFile(file, built.component).catch((error: unknown) => {
      throw new CliError("output_unwritable", `Cannot write ${file}: ${error instanceof Error ? error.message : String(error)}`, {}, error);
    });
    for (const warning of built.warnings) warn(shell, `${warning.file}:${warning.line}:${warning.column}: ${warning.message}`);
    const interfaces = await inspected(built.component, shell);
    const named = (names: readonly string[]): { name: string; allows: string }[] => names.map((name) => ({ name, allows: allowsText(name) }));
    print(shell, input.json, { file, digest: `sha256:${built.digest}`, bytes: built.component.length, elapsedMs: Math.round(built.elapsedMs), name: built.manifest.name, kind: built.manifest.kind, warnings: built.warnings, ...(interfaces === null ? {} : { exports: named(interfaces.exports), imports: named(interfaces.imports) }) },
      () => `${built.manifest.name} → ${file}\nsha256:${built.digest}  ${built.component.length} bytes  ${Math.round(built.elapsedMs)} ms${interfaces === null ? "" : `\n\n${interfacesText(interfaces)}`}`);
  },
};

/** Null where the native parts are missing: a build needs none of them. */
async function inspected(component: Uint8Array, shell: Shell): Promise<Inspection | null> {
  const { SandboxError, inspect } = await import("#sandbox/sandbox.ts");
  return inspect(component).catch((error: unknown) => {
    if (!(error instanceof SandboxError)) throw error;
    warn(shell, `${error.message} (${error.code})`);
    return null;
  });
}

const interfacesText = ({ exports, imports }: Inspection): string => tableText(
  [...exports.map((name) => ["exports", name] as const), ...imports.map((name) => ["imports", name] as const)],
  [{ title: "", cell: ([way]) => way }, { title: "INTERFACE", cell: ([, name]) => name }, { title: "ALLOWS IT TO", cell: ([, name]) => allowsText(name) }],
);
