/**
 * From the bytes of a component to a program that lanes can run: parsed, held to the worlds, its modules limited and compiled.
 *
 * The checks have the codes of the wasmtime engine's. V8 validates each core module; of the component around them, what the plan
 * needs is checked here.
 */
import { createHash } from "node:crypto";
import { SandboxError, type SandboxErrorCode } from "../../errors.ts";
import { type Limits, LIMITS_MAX } from "../../limits.ts";
import { parseComponent, type ParsedComponent, UnsupportedError } from "./component.ts";
import { memoryBytesMin, patchModule } from "./patch.ts";
import type { Program } from "./protocol.ts";
import { BinaryError } from "./reader.ts";
import { withoutVersion } from "./types.ts";

export type Inspection = { readonly kind: "service" | "task"; readonly imports: readonly string[]; readonly exports: readonly string[] };

/** Those that the host functions are of; what of them is linked but empty answers as the interface lets it, or traps. */
const INTERFACES: ReadonlySet<string> = new Set([
  "wasi:io/error", "wasi:io/poll", "wasi:io/streams", "wasi:clocks/monotonic-clock", "wasi:clocks/wall-clock", "wasi:random/random", "wasi:random/insecure",
  "wasi:random/insecure-seed", "wasi:cli/environment", "wasi:cli/exit", "wasi:cli/stdin", "wasi:cli/stdout", "wasi:cli/stderr", "wasi:cli/terminal-input",
  "wasi:cli/terminal-output", "wasi:cli/terminal-stdin", "wasi:cli/terminal-stdout", "wasi:cli/terminal-stderr", "wasi:filesystem/types", "wasi:filesystem/preopens",
  "wasi:sockets/network", "wasi:sockets/instance-network", "wasi:sockets/tcp", "wasi:sockets/tcp-create-socket", "wasi:sockets/udp", "wasi:sockets/udp-create-socket",
  "wasi:sockets/ip-name-lookup", "wasi:http/types", "wasi:http/outgoing-handler",
]);
const MAGIC = [0, 0x61, 0x73, 0x6d];
const CORE_VERSION = [1, 0, 0, 0];
const COMPONENT_VERSION = [0x0d, 0, 1, 0];
const isAt = (bytes: Uint8Array, at: number, wanted: readonly number[]): boolean => wanted.every((byte, i) => bytes[at + i] === byte);
const isOf02 = (name: string): boolean => name.includes("@0.2.");

const refuse = (code: SandboxErrorCode, why: string, cause?: unknown): SandboxError => new SandboxError(code, `The component cannot run here: ${why}`, { cause });

export function parse(bytes: Uint8Array): ParsedComponent {
  if (bytes.length > LIMITS_MAX.componentBytesMax) throw new SandboxError("component_too_large", `The component has ${bytes.length} bytes, more than ${LIMITS_MAX.componentBytesMax}`);
  if (!isAt(bytes, 0, MAGIC)) throw refuse("not_wasm", "It does not begin with the magic number of WebAssembly");
  if (isAt(bytes, MAGIC.length, CORE_VERSION)) throw refuse("core_module", "It is a core module, not a component");
  if (!isAt(bytes, MAGIC.length, COMPONENT_VERSION)) throw refuse("component_invalid", "It has a version that is not known");
  try {
    // Offsets in traces count from the start of the buffer.
    return parseComponent(bytes.byteOffset === 0 ? bytes : bytes.slice());
  } catch (error) {
    if (error instanceof UnsupportedError) throw refuse("component_unsupported", `It has ${error.message}, which the v8 engine does not know: use --engine wasmtime`, error);
    if (error instanceof BinaryError) throw refuse("component_invalid", error.message, error);
    throw error;
  }
}

export function inspectParsed({ plan: { imports, exports, lifted } }: ParsedComponent): Inspection {
  const unknown = imports.find((name) => !INTERFACES.has(withoutVersion(name)) || !isOf02(name));
  if (unknown !== undefined) throw refuse("import_unknown", `It imports ${unknown}, which the sandbox does not have`);
  const has = (name: string, func: string): boolean => exports.some((exported) => withoutVersion(exported) === name && isOf02(exported)) && lifted.has(`${name}#${func}`);
  if (has("wasi:http/incoming-handler", "handle")) return { kind: "service", imports, exports };
  if (has("wasi:cli/run", "run")) return { kind: "task", imports, exports };
  throw refuse("world_unknown", `It exports ${exports.length === 0 ? "nothing" : exports.join(", ")}, neither wasi:http/incoming-handler@0.2 (a service) nor wasi:cli/run@0.2 (a task)`);
}

export const digestOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Throws memory_limit's and table's causes as a load_failed: what cannot begin is refused at once. */
export async function prepare(id: string, { plan, modules }: ParsedComponent, limits: Limits): Promise<Program> {
  const instantiated = plan.instances.filter(({ kind }) => kind === "instantiate").length;
  if (instantiated > limits.instancesMax) throw new SandboxError("load_failed", `The component cannot be instantiated: trap: it has ${instantiated} core instances, at most ${limits.instancesMax}`);
  const least = modules.reduce((sum, module) => sum + memoryBytesMin(module), 0);
  if (least > limits.memoryBytesMax) throw new SandboxError("load_failed", `The component cannot be instantiated: memory_limit: it begins with ${least} bytes of memory, at most ${limits.memoryBytesMax}`);
  try {
    const patched = modules.map((module, index) => patchModule(module, limits, `m${index}`));
    const compiled = await Promise.all(patched.map(({ bytes }) => WebAssembly.compile(bytes)));
    return { id, plan, modules: compiled, anchors: patched.map(({ anchors }) => anchors), handlesMax: limits.resourceHandlesMax, headerBytesMax: limits.headerBytesMax };
  } catch (error) {
    throw new SandboxError("compile_failed", `Cannot compile component ${id}: ${(error as Error).message}`, { cause: error });
  }
}
