/**
 * The control protocol between the agent and its runner: every message, in one place.
 *
 * Over an inherited socketpair, a message is a u32 (big endian) count of bytes and that many bytes of JSON. The runner's side
 * of the same types is sandbox/native/runner/src/control.rs; a change here is a change there. Requests carry a `call` number,
 * answers repeat it. Neither side waits for the other: a runner that cannot send its log lines drops and counts them.
 */
import type { Limits } from "./limits.ts";

/** What a runner needs to serve one deployment. `codeSha256` is over the compiled code, which the runner checks itself. */
export type Load = {
  readonly id: string;
  /** Lower case, without port; "*" takes every Host that no other deployment has. */
  readonly hosts: readonly string[];
  readonly path: string;
  readonly codeSha256: string;
  readonly limits: Limits;
  readonly concurrency: number;
  readonly environment: readonly (readonly [string, string])[];
  /** How long one instance may take to begin, which is tried before anything is served; 0: it was tried before. */
  readonly trialMs: number;
};

export type LogStream = "stdout" | "stderr" | "system";
export type LogLine = {
  readonly id: string;
  readonly requestId: string;
  readonly stream: LogStream;
  readonly timeMs: number;
  readonly line: string;
};

/** Counted since the deployment was first loaded, over every runner process it has had; `memoryBytes` and `running` are now. */
export type Usage = {
  readonly requests: number;
  /** Requests that ended in a trap or in a limit. */
  readonly errors: number;
  readonly fuel: number;
  readonly cpuNs: number;
  readonly memoryBytes: number;
  readonly memoryBytesPeak: number;
  readonly running: number;
  readonly waiting: number;
  readonly logLinesDropped: number;
};

export type ToRunner =
  /** Once. What was loaded before it is there before the first connection is accepted. A trial that takes long holds nothing up. */
  | { readonly type: "start"; readonly call: number }
  | { readonly type: "load"; readonly call: number; readonly load: Load }
  | { readonly type: "unload"; readonly call: number; readonly id: string }
  | { readonly type: "usage"; readonly call: number };

export type FromRunner =
  | { readonly type: "started"; readonly call: number; readonly engine: string }
  | { readonly type: "done"; readonly call: number }
  | { readonly type: "failed"; readonly call: number; readonly code: string; readonly message: string }
  | { readonly type: "usage"; readonly call: number; readonly usage: Readonly<Record<string, Usage>> }
  | { readonly type: "logs"; readonly lines: readonly LogLine[] };

export function encodeMessage(message: ToRunner | FromRunner): Uint8Array {
  const body = new TextEncoder().encode(JSON.stringify(message));
  const bytes = new Uint8Array(4 + body.length);
  new DataView(bytes.buffer).setUint32(0, body.length);
  bytes.set(body, 4);
  return bytes;
}

/** Cuts a byte stream into messages. A length over `bytesMax` throws: the stream cannot be followed any further. */
export class MessageReader {
  #pending: Uint8Array[] = [];
  #length = 0;
  readonly #bytesMax: number;
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  push(chunk: Uint8Array): unknown[] {
    this.#pending.push(chunk);
    this.#length += chunk.length;
    const messages: unknown[] = [];
    if (this.#length < 4) return messages;
    let bytes = this.#pending.length === 1 ? chunk : Buffer.concat(this.#pending, this.#length);
    while (bytes.length >= 4) {
      const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
      if (length > this.#bytesMax) throw new RangeError(`Control message of ${length} bytes is over ${this.#bytesMax}`);
      if (bytes.length < 4 + length) break;
      messages.push(JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length))));
      bytes = bytes.subarray(4 + length);
    }
    this.#pending = bytes.length > 0 ? [bytes] : [];
    this.#length = bytes.length;
    return messages;
  }
}
