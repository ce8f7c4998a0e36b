/** Components that were compiled in this process, by digest: V8 keeps no file of them. The last few are kept. */
import { SandboxError } from "../../errors.ts";
import type { Limits } from "../../limits.ts";
import type { Compiled, CompileOptions } from "../../compile.ts";
import type { ParsedComponent } from "./component.ts";
import { digestOf, inspectParsed, type Inspection, parse, prepare } from "./program.ts";
import type { Program } from "./protocol.ts";

export type ParsedProgram = { prepare(id: string, limits: Limits): Promise<Program> };

const KEPT_MAX = 64;
const parsed = new Map<string, ParsedComponent>();

export async function inspect(component: Uint8Array): Promise<Inspection> {
  return inspectParsed(parse(component));
}

/** Parses; V8 compiles as it is loaded, with its limits. */
export async function compile(component: Uint8Array, options: CompileOptions = {}): Promise<Compiled> {
  const digest = digestOf(component);
  if (options.digest !== undefined && options.digest !== digest) throw new SandboxError("digest_mismatch", `Cannot compile component ${options.digest}: its bytes have digest ${digest}`);
  const cached = parsed.delete(digest);
  const found = parse(component);
  inspectParsed(found);
  parsed.set(digest, found);
  for (const oldest of parsed.keys()) {
    if (parsed.size <= KEPT_MAX) break;
    parsed.delete(oldest);
  }
  return { digest, path: "", cached };
}

export function preparedOf(digest: string): ParsedProgram {
  const found = parsed.get(digest);
  if (found === undefined) throw new SandboxError("artefact_corrupt", `Component ${digest} was not compiled in this process; compile it again`);
  return { prepare: (id, limits) => prepare(id, found, limits) };
}
