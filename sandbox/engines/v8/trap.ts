/** How a guest on V8 ends before it ends by itself, in the words and codes that wasmtime has for it. */

import type { Anchor } from "./patch.ts";

export type GuestFailure = { readonly code: "trap" | "memory_limit"; readonly message: string };

/** The host ends the guest: it broke the canonical ABI or a rule of an interface. */
export class HostTrap extends Error {
  constructor(message: string) {
    super(message);
    this.name = "HostTrap";
  }
}

/** `wasi:cli/exit`: an end by itself, which unwinds like a trap. */
export class Exit extends Error {
  readonly exitCode: number;
  constructor(exitCode: number) {
    super(`exit ${exitCode}`);
    this.exitCode = exitCode;
  }
}

const EXPLANATIONS: readonly (readonly [RegExp, string])[] = [
  [/^unreachable/, "wasm trap: wasm `unreachable` instruction executed"],
  [/^memory access out of bounds|^offset is out of bounds/, "wasm trap: out of bounds memory access"],
  [/^table index is out of bounds|^table access out of bounds/, "wasm trap: undefined element: out of bounds table access"],
  [/^null function|^RuntimeError: null/, "wasm trap: uninitialized element"],
  [/signature mismatch/, "wasm trap: indirect call type mismatch"],
  [/^divide by zero|^remainder by zero/, "wasm trap: integer divide by zero"],
  [/^divide result unrepresentable/, "wasm trap: integer overflow"],
  [/^float unrepresentable/, "wasm trap: invalid conversion to integer"],
  [/^Maximum call stack size exceeded/, "wasm trap: call stack exhausted"],
];
const FRAMES_MAX = 20;

/** A guest's exception as a cause, with the guest's own frames only; their offsets count from the start of the component, as wasmtime's do. */
export function failureOf(error: unknown, memoryWasRefused: boolean, anchors: readonly (readonly Anchor[])[]): GuestFailure {
  const own = error instanceof Error ? error.message : String(error);
  const explained = EXPLANATIONS.find(([pattern]) => pattern.test(own))?.[1] ?? own;
  const frames = framesOf(error instanceof Error ? (error.stack ?? "") : "", anchors);
  const backtrace = frames.length === 0 ? "" : `error while executing at wasm backtrace:\n${frames.join("\n")}\n\nCaused by:\n    `;
  return { code: memoryWasRefused ? "memory_limit" : "trap", message: `${backtrace}${explained}` };
}

function framesOf(stack: string, anchors: readonly (readonly Anchor[])[]): string[] {
  const found = [...stack.matchAll(/^\s*at (?:(.+) \()?wasm:\/\/wasm\/m(\d+)-[0-9a-f]+:wasm-function\[(\d+)\]:0x([0-9a-f]+)\)?$/gm)];
  return found.slice(0, FRAMES_MAX).map(([, name, module, index, offset], depth) => {
    const own = Number.parseInt(offset!, 16);
    const [patched, original] = anchors[Number(module)]?.findLast(([from]) => from <= own) ?? [0, 0];
    const known = name === undefined || /^m\d+$/.test(name) ? `<wasm function ${index}>` : name.replace(/^m\d+\./, "");
    return `    ${depth}: 0x${(own - patched + original).toString(16)} - ${known}`;
  });
}
