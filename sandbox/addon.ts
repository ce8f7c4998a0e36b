/** The native addon, loaded when it is first wanted. Only sandbox.ts and runner.ts do; its Rust is in native/addon. */
import { createRequire } from "node:module";
import { missing, nativePaths } from "./native.ts";
import type { Sockets } from "./runner.ts";

/** What godwit.node exports. */
export type Addon = Sockets & {
  inspect(component: Uint8Array): Promise<{ code: string; message: string; kind: "service" | "task"; imports: string[]; exports: string[] }>;
  listen(address: string, port: number): { fd: number; address: string; port: number; code: string; message: string };
  RunningTask: new (
    settings: object,
    output: (stream: number, chunk: Uint8Array) => void,
    dial: (call: number, scheme: string, host: string, port: number, timeoutMs: number) => void,
  ) => RunningTask;
};
/** Gives runners sealed copies of the cache entries that they are allowed, on a thread of its own. */
export type CodeVault = {
  allow(name: string, codeSha256: string): void;
  forbid(name: string): void;
  /** A descriptor for one runner to inherit. */
  open(): number;
};
export type RunningTask = {
  run(): Promise<{ exitCode: number; trapCode: string; trapMessage: string; fuel: number; wallMs: number; memoryBytes: number; writtenBytes: number }>;
  pushInput(chunk: Uint8Array): void;
  acknowledge(stream: number, bytes: number): void;
  dialled(call: number, fd: number, code: string): void;
  abort(): void;
};

let loaded: Addon | undefined;
export function addon(): Addon {
  try {
    return (loaded ??= createRequire(import.meta.url)(nativePaths().addon) as Addon);
  } catch (cause) {
    throw missing(cause);
  }
}
