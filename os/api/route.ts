/**
 * What a route is: one row of the table from which both the server and the OpenAPI document come.
 */
import type { ServerResponse } from "node:http";
import type { Scope } from "#chain/codec/scopes.ts";
import type { Address } from "#chain/types.ts";

export type Schema = { readonly [keyword: string]: unknown };
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** One request, parsed and, where the route asks for it, its sender known. */
export type Call = {
  readonly parameters: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string | number | boolean>>;
  readonly sender: Address | null;
  /** Whose connection it is (seats.ts). */
  readonly client: string;
  readonly body: Uint8Array;
  /** Of a route that is passed on: signed for this other machine, in these words. */
  readonly elsewhere: { readonly machine: Address; readonly path: string; readonly authorization: string } | null;
  /** Ends when the client has gone or the machine stops. */
  readonly signal: AbortSignal;
};
export type Answer =
  | { readonly kind: "json"; readonly status: number; readonly body: Json; readonly headers?: Readonly<Record<string, string>> }
  | { readonly kind: "bytes"; readonly type: string; readonly bytes: Uint8Array }
  | { readonly kind: "text"; readonly status: number; readonly type: string; readonly text: string }
  /** The run writes the response itself, and resolves when it is over. */
  | { readonly kind: "stream"; readonly type: string; readonly write: (response: ServerResponse, signal: AbortSignal) => Promise<void> };

export type Route = {
  /** Unique: `operationId`, and the label of the route in metrics. */
  readonly id: string;
  readonly method: "GET" | "PUT" | "POST";
  /** With `{name}` for a parameter. */
  readonly path: string;
  readonly summary: string;
  /** `account`: signed by any account; `owner`: by the owner of the deployment `{id}`; `operator`: by this machine's operator. */
  readonly auth: "none" | "account" | "owner" | "operator";
  /** Which of the sender's keys may sign; left out: `machine` for the operator, `read` for others. */
  readonly scope?: Scope;
  /** `?machine=ADDRESS` names another machine, for which it is signed then. */
  readonly isPassedOn?: boolean;
  /** A signature may hold for so long; left out: as long as the protocol allows. */
  readonly lifetimeMsMax?: number;
  readonly parameters?: Readonly<Record<string, Schema>>;
  readonly query?: Readonly<Record<string, Schema>>;
  readonly body?: {
    readonly type: string;
    readonly bytesMax: number;
    /** The code of a body over the limit. */
    readonly tooLarge?: string;
    /** Requests of this route at once, of all senders and of one: each holds its body in memory. */
    readonly atOnceMax?: { readonly all: number; readonly one: number };
    /** Checked before a byte of the body is taken: may this sender upload this much? */
    readonly admit?: (sender: Address, parameters: Readonly<Record<string, string>>, bytes: number) => void;
  };
  readonly answers: Readonly<Record<number, { readonly description: string; readonly types: readonly string[]; readonly schema?: Schema }>>;
  readonly run: (call: Call) => Answer | Promise<Answer>;
};

export const json = (body: Json, status = 200): Answer => ({ kind: "json", status, body });
