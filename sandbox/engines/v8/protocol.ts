/** What the main thread and the thread of a guest (a lane) say to each other. A lane has one call at a time. */
import type { Anchor } from "./patch.ts";
import type { MockSetting } from "./mock.ts";
import type { Plan } from "./types.ts";

export type Headers = readonly (readonly [name: string, value: Uint8Array])[];
export type GuestRequest = {
  readonly method: string;
  readonly target: string;
  readonly authority: string;
  readonly headers: Headers;
  /** Null: it comes in chunks. */
  readonly body: Uint8Array | null;
};
/** Made once of a component; modules are compiled already and share their code among threads. */
export type Program = {
  readonly id: string;
  readonly plan: Plan;
  readonly modules: readonly WebAssembly.Module[];
  /** Of each module: how to find an offset of it in the component. */
  readonly anchors: readonly (readonly Anchor[])[];
  readonly handlesMax: number;
  readonly headerBytesMax: number;
};
export type Setting = { readonly arguments: readonly string[]; readonly environment: readonly (readonly [string, string])[]; readonly mock?: MockSetting };

export type ToLane =
  | { readonly type: "program"; readonly program: Program }
  | { readonly type: "forget"; readonly id: string }
  | { readonly type: "serve"; readonly id: string; readonly setting: Setting; readonly request: GuestRequest }
  | { readonly type: "run"; readonly id: string; readonly setting: Setting }
  /** Instantiates, and asks nothing. */
  | { readonly type: "try"; readonly id: string; readonly setting: Setting }
  /** Of the request's body or of stdin, as it was wanted; null is its end. */
  | { readonly type: "chunk"; readonly bytes: Uint8Array | null }
  /** The answer to a request of the guest's: its head, then parts as they are wanted; null is the end, by itself or by an error. */
  | { readonly type: "response"; readonly call: number; readonly status: number; readonly headers: Headers }
  | { readonly type: "unanswered"; readonly call: number; readonly error: string }
  | { readonly type: "part"; readonly call: number; readonly bytes: Uint8Array | null; readonly error: string | null }
  /** So much of what the guest wrote has gone on. */
  | { readonly type: "taken"; readonly bytes: number };

export type FromLane =
  /** The thread is up, and the guest's time runs from now. */
  | { readonly type: "begun" }
  | { readonly type: "want" }
  | { readonly type: "write"; readonly stream: 1 | 2; readonly bytes: Uint8Array }
  | { readonly type: "answer"; readonly status: number; readonly headers: Headers; readonly chunks: readonly Uint8Array[]; readonly isWhole: boolean }
  | { readonly type: "body"; readonly chunks: readonly Uint8Array[] }
  /** A request of the guest's own, whole. */
  | { readonly type: "send"; readonly call: number; readonly method: string; readonly scheme: string; readonly authority: string; readonly path: string; readonly headers: Headers; readonly body: readonly Uint8Array[]; readonly timeoutMs: number | null }
  | { readonly type: "wantPart"; readonly call: number }
  /** The guest answered with an error code of wasi:http. */
  | { readonly type: "refused"; readonly error: string }
  | { readonly type: "done"; readonly exitCode: number; readonly failure: { readonly code: string; readonly message: string } | null; readonly memoryBytes: number; readonly trailers: Headers };
