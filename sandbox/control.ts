/**
 * The control protocol between the agent and its runner: every message, in one place.
 *
 * Over an inherited socketpair, a message is a u32 (big endian) count of bytes and that many bytes of JSON. The runner's side
 * of the same types is sandbox/native/runner/src/control.rs; a change here is a change there. Requests carry a `call` number,
 * answers repeat it. Neither side waits for the other: a runner that cannot send its log lines drops and counts them.
 */
import type { IngressLimits, Limits } from "./limits.ts";
import type { OutgoingPlace } from "./outgoing.ts";

/** What a runner needs to serve one deployment. `code` names the cache entry, which it asks the vault for (native/core/src/vault.rs). */
export type Load = {
  readonly id: string;
  /** Lower case, without port; "*" takes every Host that no other deployment has. */
  readonly hosts: readonly string[];
  readonly code: string;
  readonly limits: Limits;
  readonly concurrency: number;
  /** Of memoryBytesMax, which all instances share, the most that one may have. */
  readonly instanceMemoryBytesMax: number;
  /** Share of the CPU among those that want more than there is: the thousandths of a core that the deployment pays for. */
  readonly cpuWeight: number;
  /** One instance serves many requests, one after the other. */
  readonly reuse: boolean;
  /** Where its requests may go; nowhere else. */
  readonly outgoing: readonly OutgoingPlace[];
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

/** Another machine by its id, and the ed25519 key (hexadecimal) under which its runner hops. */
export type PeerKey = { readonly id: string; readonly key: string };
/** One revision of a deployment, as an ingress sees it. */
export type Part = {
  /** Of the requests, per mille. */
  readonly weight: number;
  /** The host by which machines know this revision; null: the request's own. */
  readonly to: string | null;
  /** Whether this machine has a replica of it that is to take requests. */
  readonly here: boolean;
  readonly peers: readonly string[];
};
/** Where some hosts are served. */
export type Places = {
  readonly hosts: readonly string[];
  /** Whether that holds even where this machine has a replica: its own is not the first choice, or there are two revisions. */
  readonly diverts: boolean;
  readonly parts: readonly Part[];
};
/** What became of hops. */
export type HopCounts = { readonly [name in (typeof HOP_COUNTS)[number]]: number };
export const HOP_COUNTS = ["passed", "served", "again", "waited", "broken", "unknownKey", "malformed", "slow", "tooMany", "unreached"] as const;
/** How a task ended. */
export type TaskEnd = {
  /** As the program set it; 134 where it did not end by itself. */
  readonly exitCode: number;
  /** `exit`: by itself; `stopped`, `fenced`, `runner_gone`: from outside; else the limit that it ran into, or `trap`. */
  readonly code: string;
  readonly message: string;
  readonly fuel: number;
  readonly cpuNs: number;
  readonly wallMs: number;
};

export type ToRunner =
  /** Once. What was loaded before it is there before the first connection is accepted. A trial that takes long holds nothing up. */
  | { readonly type: "start"; readonly call: number; readonly ingress: IngressLimits }
  | { readonly type: "load"; readonly call: number; readonly load: Load }
  | { readonly type: "unload"; readonly call: number; readonly id: string }
  /** Requests for these hosts go to a runner of the deployment's own, `requestsMax` of them at once; connections to it are dialled with the scheme "hop". */
  | { readonly type: "hop"; readonly call: number; readonly id: string; readonly hosts: readonly string[]; readonly requestsMax: number }
  /** The seed (hexadecimal) of the key under which this runner hops. */
  | { readonly type: "identity"; readonly call: number; readonly seed: string }
  /** Machines that may hop here, and can be hopped to by connections that are dialled with the scheme "peer"; who leaves the list loses its connections. */
  | { readonly type: "peers"; readonly call: number; readonly set: readonly PeerKey[]; readonly remove: readonly string[] }
  | { readonly type: "elsewhere"; readonly call: number; readonly set: readonly Places[]; readonly remove: readonly string[] }
  | { readonly type: "hops"; readonly call: number }
  /** Answered when the task has ended; its `load` has no hosts. stdin is in hexadecimal. */
  | { readonly type: "task"; readonly call: number; readonly load: Load; readonly arguments: readonly string[]; readonly stdin: string }
  | { readonly type: "stop"; readonly call: number; readonly id: string }
  /** Until when tasks may run, in ms of the computer's monotonic clock; not answered. */
  | { readonly type: "fence"; readonly untilMs: number }
  | { readonly type: "usage"; readonly call: number }
  /** The answer to a dial that came to nothing; a connected socket is sent on descriptor 5, with the number of its call. */
  | { readonly type: "refused"; readonly call: number; readonly code: string }
  /** Certificates (DER, hexadecimal) that outgoing requests of later loads trust beside the public roots: for tests. */
  | { readonly type: "trust"; readonly call: number; readonly roots: readonly string[] };

export type FromRunner =
  | { readonly type: "started"; readonly call: number; readonly engine: string }
  | { readonly type: "done"; readonly call: number }
  | { readonly type: "failed"; readonly call: number; readonly code: string; readonly message: string }
  | { readonly type: "usage"; readonly call: number; readonly usage: Readonly<Record<string, Usage>> }
  | { readonly type: "hops"; readonly call: number; readonly counts: HopCounts }
  /** Its code is not there any more, or was changed: it has no route now. Found at its first request after a respawn. */
  | { readonly type: "lost"; readonly id: string; readonly code: string; readonly message: string }
  | ({ readonly type: "ended"; readonly call: number } & TaskEnd)
  | { readonly type: "logs"; readonly lines: readonly LogLine[] }
  /** A guest of deployment `id` wants to send a request. `call` is the runner's own number. */
  | { readonly type: "dial"; readonly call: number; readonly id: string; readonly scheme: string; readonly host: string; readonly port: number; readonly timeoutMs: number };

export function encodeMessage(message: ToRunner | FromRunner): Uint8Array {
  const body = new TextEncoder().encode(JSON.stringify(message));
  const bytes = new Uint8Array(4 + body.length);
  new DataView(bytes.buffer).setUint32(0, body.length);
  bytes.set(body, 4);
  return bytes;
}

/**
 * What a runner sent; throws a RangeError when it is none of the messages. A runner that a tenant has taken over says what it
 * likes: ids become names of files, numbers are added up, texts are shown.
 */
export function parseFromRunner(value: unknown): FromRunner {
  const message = record(value);
  switch (message["type"]) {
    case "started":
      return { type: "started", call: count(message["call"]), engine: text(message["engine"]) };
    case "done":
      return { type: "done", call: count(message["call"]) };
    case "failed":
      return { type: "failed", call: count(message["call"]), code: codeOf(message["code"]), message: text(message["message"]).slice(0, FAILURE_CHARACTERS_MAX) };
    case "usage":
      return { type: "usage", call: count(message["call"]), usage: Object.fromEntries(Object.entries(record(message["usage"])).map(([id, usage]) => [id, usageOf(record(usage))])) };
    case "hops": {
      const counts = record(message["counts"]);
      return { type: "hops", call: count(message["call"]), counts: Object.fromEntries(HOP_COUNTS.map((name) => [name, count(counts[name])])) as HopCounts };
    }
    case "ended":
      return {
        type: "ended", call: count(message["call"]), exitCode: count(message["exitCode"]), code: codeOf(message["code"]), message: text(message["message"]).slice(0, FAILURE_CHARACTERS_MAX),
        fuel: count(message["fuel"]), cpuNs: count(message["cpuNs"]), wallMs: count(message["wallMs"]),
      };
    case "lost":
      return { type: "lost", id: text(message["id"]), code: codeOf(message["code"]), message: text(message["message"]).slice(0, FAILURE_CHARACTERS_MAX) };
    case "logs": {
      const { lines } = message;
      if (!Array.isArray(lines)) throw unknown();
      return { type: "logs", lines: lines.map((line) => lineOf(record(line))) };
    }
    case "dial": {
      const [call, id, scheme, host] = [count(message["call"]), text(message["id"]), text(message["scheme"]), text(message["host"])];
      if (host.length > HOST_LENGTH_MAX) throw unknown();
      return { type: "dial", call, id, scheme, host, port: count(message["port"]), timeoutMs: count(message["timeoutMs"]) };
    }
    default:
      throw unknown();
  }
}

const HOST_LENGTH_MAX = 255;
const FAILURE_CHARACTERS_MAX = 4_096;
const CODE = /^[a-z_]{1,32}$/;
const REQUEST_ID = /^[0-9a-f]{0,16}$/;
const STREAMS: ReadonlySet<unknown> = new Set<LogStream>(["stdout", "stderr", "system"]);

function usageOf(usage: Record<string, unknown>): Usage {
  return {
    requests: count(usage["requests"]),
    errors: count(usage["errors"]),
    fuel: count(usage["fuel"]),
    cpuNs: count(usage["cpuNs"]),
    memoryBytes: count(usage["memoryBytes"]),
    memoryBytesPeak: count(usage["memoryBytesPeak"]),
    running: count(usage["running"]),
    waiting: count(usage["waiting"]),
    logLinesDropped: count(usage["logLinesDropped"]),
  };
}

function lineOf(line: Record<string, unknown>): LogLine {
  const { stream } = line;
  const requestId = text(line["requestId"]);
  if (!isStream(stream) || !REQUEST_ID.test(requestId)) throw unknown();
  return { id: text(line["id"]), requestId, stream, timeMs: count(line["timeMs"]), line: text(line["line"]) };
}

const isStream = (value: unknown): value is LogStream => STREAMS.has(value);
const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
const unknown = (): RangeError => new RangeError("Control message is none that a runner sends");

function record(value: unknown): Record<string, unknown> {
  if (!isRecord(value)) throw unknown();
  return value;
}
function text(value: unknown): string {
  if (typeof value !== "string") throw unknown();
  return value;
}
function codeOf(value: unknown): string {
  const code = text(value);
  if (!CODE.test(code)) throw unknown();
  return code;
}
function count(value: unknown): number {
  if (typeof value !== "number" || !(value >= 0) || value === Infinity) throw unknown();
  return value;
}

/** Cuts a byte stream into messages. A length over `bytesMax` throws: the stream cannot be followed any further. */
export class MessageReader {
  /** The length, then the message of that length; copied once, into however many pieces it was cut. */
  #part = new Uint8Array(4);
  #filled = 0;
  #isLength = true;
  readonly #bytesMax: number;
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  push(chunk: Uint8Array): unknown[] {
    const messages: unknown[] = [];
    for (let offset = 0; ; ) {
      const piece = chunk.subarray(offset, offset + this.#part.length - this.#filled);
      this.#part.set(piece, this.#filled);
      this.#filled += piece.length;
      offset += piece.length;
      if (this.#filled < this.#part.length) return messages;
      if (this.#isLength) {
        const length = new DataView(this.#part.buffer).getUint32(0);
        if (length > this.#bytesMax) throw new RangeError(`Control message of ${length} bytes is over ${this.#bytesMax}`);
        this.#part = new Uint8Array(length);
      } else {
        messages.push(JSON.parse(new TextDecoder().decode(this.#part)));
        this.#part = new Uint8Array(4);
      }
      this.#isLength = !this.#isLength;
      this.#filled = 0;
    }
  }
}
