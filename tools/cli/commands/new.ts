/**
 * `godwit new`: a project from a template: it builds, passes its own test, runs and deploys as it is.
 *
 * The templates are real projects in workloads/templates, called `starter`; that word becomes the new name in the texts for people
 * and programs. The folder appears whole or not at all: it is made under another name beside and renamed.
 */
import { cp, mkdtemp, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { parseManifest } from "#workloads/manifest.ts";
import { CliError, type Command, type Shell, UsageError } from "../command.ts";
import { MANIFEST_FILE } from "../component.ts";
import { TSCONFIG_TEXT, TYPES_FOLDER, writeEditorTypes } from "../dev/editorTypes.ts";
import { print } from "../table.ts";

const TEMPLATES = join(import.meta.dirname, "..", "..", "..", "workloads", "templates");
/** The name that every template has. */
const PLACEHOLDER = /\bstarter\b/g;
const RENAMED = [MANIFEST_FILE, "README.md", "assembly/index.ts"];
const GITIGNORE = `node_modules/\n${TYPES_FOLDER}/\n*.wasm\n`;

/** What one does next, with `cd` before it. */
const NEXT: Readonly<Record<string, readonly string[]>> = {
  http: ["godwit dev", "godwit test", "godwit deploy"],
  api: ["godwit dev", "godwit test", "godwit deploy"],
  static: ["godwit dev", "godwit test", "godwit deploy"],
  task: ["godwit dev . --stdin README.md -- 3", "godwit test", "godwit run . 3 < README.md"],
};
const TEMPLATE_NAMES = Object.keys(NEXT);

// Not `new`, which is a word of the language.
export const newProject: Command = {
  name: "new",
  summary: "Make a project that builds, runs and deploys as it is",
  usage: ["NAME [--template http|api|static|task]"],
  options: { template: { type: "string", short: "t", value: "TEMPLATE", summary: "http: a web service (this one if not said); api: a JSON API; static: a site; task: runs to an end" } },
  arguments: [1, 1],
  details: "Makes the folder NAME here, which must not be there yet, or be empty. NAME is the deployment's name too.",
  async run(input, shell) {
    const [name = ""] = input.positionals;
    const template = input.text("template") ?? "http";
    const commands = NEXT[template];
    if (commands === undefined) throw new UsageError(`--template must be one of ${TEMPLATE_NAMES.join(", ")}, not "${template}"`);
    const refusal = parseManifest(`name = ${JSON.stringify(name)}\nkind = "service"\n`, MANIFEST_FILE);
    if (!refusal.ok) throw new CliError("name_invalid", `Cannot make "${name}": expected ${refusal.errors[0]?.expected ?? "another name"}`);
    const { folder, files } = await makeFolder(name, template, shell);
    const next = [`cd ${name}`, ...commands];
    print(shell, input.json, { folder, name, template, files, next }, () => [`${name} is made from the template ${template}. Next:`, "", ...next.map((line) => `  ${line}`)].join("\n"));
  },
};

async function makeFolder(name: string, template: string, shell: Shell): Promise<{ folder: string; files: string[] }> {
  const folder = join(shell.currentDirectory, name);
  await refuseTaken(folder);
  const staged = await mkdtemp(join(shell.currentDirectory, `.${name}-`)).catch((error: unknown) => {
    throw new CliError("output_unwritable", `Cannot make a folder in ${shell.currentDirectory}: ${reason(error)}`, {}, error);
  });
  try {
    await cp(join(TEMPLATES, template), join(staged, name), { recursive: true });
    await personalise(join(staged, name), name);
    const entries = await readdir(join(staged, name), { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => relative(join(staged, name), join(entry.parentPath, entry.name)))
      .filter((file) => !file.startsWith(TYPES_FOLDER));
    // Onto an empty folder too; one that was filled in the meantime is left as it is.
    await rename(join(staged, name), folder).catch(async (error: unknown) => {
      await refuseTaken(folder);
      throw error;
    });
    return { folder, files: files.toSorted() };
  } finally {
    await rm(staged, { recursive: true, force: true });
  }
}

async function refuseTaken(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw new CliError("folder_not_empty", `Cannot make ${folder}: ${reason(error)}`, {}, error);
  });
  if (names.length > 0) throw new CliError("folder_not_empty", `Cannot make ${folder}: there is a folder of that name with ${names.length === 1 ? "a file" : `${names.length} files`} in it`);
}

async function personalise(project: string, name: string): Promise<void> {
  for (const file of RENAMED) {
    const text = await readFile(join(project, file), "utf8");
    await writeFile(join(project, file), text.replace(PLACEHOLDER, name));
  }
  await writeFile(join(project, ".gitignore"), GITIGNORE);
  await writeFile(join(project, "assembly", "tsconfig.json"), TSCONFIG_TEXT);
  await writeEditorTypes(project);
}

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
