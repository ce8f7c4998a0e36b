/**
 * The file the compiler starts from: it joins the author's function to the export that the world asks for.
 *
 * AssemblyScript can only export identifiers, so the entry exports `__godwit_…` and EXPORTS says what each is called in the
 * component; the build renames them after compilation.
 */
import type { WorkloadKind } from "./worlds.ts";
import { WASI_VERSION } from "./worlds.ts";

/** Name of the entry among the author's files; errors in it are about the author's export. */
export const ENTRY_FILE = "__godwit_entry.ts";

/** What the author's module has to export, as an error message says it. */
export const EXPORT_EXPECTED: Readonly<Record<WorkloadKind, string>> = {
  service: 'export function handle(request: Request): Response, or a call of serve(…), with these names from "godwit/http"',
  task: "export function main(args: string[]): i32",
};

export const EXPORTS: Readonly<Record<WorkloadKind, Readonly<Record<string, string>>>> = {
  service: { __godwit_handle: `wasi:http/incoming-handler@${WASI_VERSION}#handle` },
  task: { __godwit_run: `wasi:cli/run@${WASI_VERSION}#run` },
};

/** The entry's text for a program whose module is `entry`, a path from the project's folder, with the text `source`. */
export function entrySource(kind: WorkloadKind, entry: string, source: string): string {
  const module = JSON.stringify(`./${entry.replace(/\.ts$/, "")}`);
  return kind === "service" ? serviceEntry(module, SERVES.test(source) && !HANDLES.test(source)) : taskEntry(module);
}

/** AssemblyScript cannot ask what a module exports: its text tells which of the two ways the author took. */
const SERVES = /^\s*serve\b[^;]*\(/m;
const HANDLES = /^\s*export\b[^;]*\bhandle\b/m;

const serviceEntry = (module: string, serves: boolean): string => `
import ${serves ? `${module};\nimport { answer as handle } from "godwit/http/serve"` : `{ handle } from ${module}`};
import { requestOf } from "godwit/http/request";
import { Response } from "godwit/http/response";
export { cabi_realloc } from "godwit/abi";

export function __godwit_handle(handleOfRequest: i32, outparam: i32): void {
  const request = requestOf(handleOfRequest);
  const response: Response = handle(request);
  response.send(outparam);
  request.drop();
}
`;

/** The entry's text for a task that runs tests: those that the modules `files`, paths from the project's folder, name. */
export const testEntrySource = (files: readonly string[]): string => `
${files.map((file) => `import ${JSON.stringify(`./${file.replace(/\.ts$/, "")}`)};`).join("\n")}
import { runTests } from "godwit/test";
import { getArguments } from "godwit/wasi/cli";
export { cabi_realloc } from "godwit/abi";

export function __godwit_run(): i32 {
  return runTests(getArguments().slice(1));
}
`;

const taskEntry = (module: string): string => `
import { main } from ${module};
import { flushAll } from "godwit/cli";
import { getArguments } from "godwit/wasi/cli";
export { cabi_realloc } from "godwit/abi";

export function __godwit_run(): i32 {
  const all = getArguments();
  const code: i32 = main(all.slice(1));
  flushAll();
  return code == 0 ? 0 : 1;
}
`;
