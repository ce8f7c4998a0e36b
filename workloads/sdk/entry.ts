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
  service: 'export function handle(request: Request): Response, with both types from "godwit/http"',
  task: "export function main(args: string[]): i32",
};

export const EXPORTS: Readonly<Record<WorkloadKind, Readonly<Record<string, string>>>> = {
  service: { __godwit_handle: `wasi:http/incoming-handler@${WASI_VERSION}#handle` },
  task: { __godwit_run: `wasi:cli/run@${WASI_VERSION}#run` },
};

/** The entry's text for a program whose module is `entry`, a path from the project's folder. */
export function entrySource(kind: WorkloadKind, entry: string): string {
  const module = JSON.stringify(`./${entry.replace(/\.ts$/, "")}`);
  return kind === "service" ? serviceEntry(module) : taskEntry(module);
}

const serviceEntry = (module: string): string => `
import { handle } from ${module};
import { Response, requestOf } from "godwit/http";
export { cabi_realloc } from "godwit/abi";

export function __godwit_handle(handleOfRequest: i32, outparam: i32): void {
  const request = requestOf(handleOfRequest);
  const response: Response = handle(request);
  response.send(outparam);
  request.drop();
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
