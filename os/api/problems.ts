/**
 * Refusals over HTTP: RFC 9457 problem details with a `code` that never changes its meaning.
 *
 * STATUS has the codes that are not 422 (a request that is well formed and cannot be done): codes of the chain and of the
 * sandbox pass through as they are, so that a client sees one code for one mistake wherever it is found.
 */
import type { Refusal } from "#chain/types.ts";
import { AgentError, codeOf, messageOf } from "../error.ts";

export type Problem = {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
};
export const PROBLEM_TYPE = "application/problem+json";

const STATUS: Readonly<Record<string, number>> = {
  parameter_invalid: 400, body_invalid: 400, request_malformed: 400, transaction_malformed: 400,
  unsigned: 401,
  not_funded: 402,
  not_owner: 403, not_operator: 403,
  route_unknown: 404, deployment_unknown: 404, block_unknown: 404, name_unknown: 404, transaction_unknown: 404, epoch_unknown: 404, lock_unknown: 404, configuration_missing: 404, image_unknown: 404,
  method_not_allowed: 405,
  request_timeout: 408, upload_slow: 408,
  length_required: 411,
  body_too_large: 413, component_too_large: 413, transaction_too_large: 413,
  media_type_unknown: 415,
  header_too_large: 431,
  upload_quota: 429, too_many_pending: 429,
  internal: 500,
  busy: 503, machine_unreachable: 503, proof_unavailable: 503, starting: 503, mempool_full: 503, overloaded: 503, node_stopped: 503, node_halted: 503,
};
const TITLES: Readonly<Record<number, string>> = {
  400: "The request cannot be read", 401: "The signature is missing or does not hold", 402: "The account holds no money", 403: "Not yours to see",
  404: "There is no such thing here", 405: "Not this method", 408: "Too slow", 411: "The length is missing", 413: "Too large", 415: "Not this media type", 422: "The request cannot be done",
  429: "Too much at once", 431: "The header is too large", 500: "The machine failed", 503: "Not now",
};
/** Fastify's own refusals, said in our codes. */
const FASTIFY: Readonly<Record<string, string>> = {
  FST_ERR_VALIDATION: "parameter_invalid", FST_ERR_CTP_BODY_TOO_LARGE: "body_too_large", FST_ERR_CTP_INVALID_MEDIA_TYPE: "media_type_unknown",
  FST_ERR_CTP_EMPTY_TYPE: "media_type_unknown", FST_ERR_CTP_INVALID_CONTENT_LENGTH: "body_invalid", FST_ERR_CTP_EMPTY_JSON_BODY: "body_invalid",
  FST_ERR_BAD_URL: "parameter_invalid", FST_ERR_MAX_PARAM_LENGTH: "parameter_invalid",
};

/** A request whose signature does not hold: 401 whatever the code, which for a transaction would be 422. */
class SignatureRefusal extends AgentError {}

/** Throws what the error handler answers as a problem. */
export function refuseWith(code: string, detail: string): never {
  throw new AgentError(code, detail);
}

export function refuseSignature({ code, message }: Refusal): never {
  throw new SignatureRefusal(code, message);
}

function statusOf(code: string): number {
  return STATUS[code] ?? (code.startsWith("codec_") ? 400 : 422);
}

export function problemOf(error: unknown): Problem {
  const raw = codeOf(error);
  const code = FASTIFY[raw] ?? (isOurCode(raw) ? raw : "internal");
  const status = error instanceof SignatureRefusal ? 401 : statusOf(code);
  // What went wrong inside is the operator's to read, not a stranger's.
  const detail = code === "internal" ? "The machine could not answer; its operator's log says why" : messageOf(error);
  return { type: `urn:godwit:problem:${code}`, title: TITLES[status] ?? "Refused", status, detail, code };
}

/** Codes of ours are snake_case; those of Node and of packages (`ENOENT`, `ERR_…`, `FST_…`) are not. */
const isOurCode = (code: string): boolean => /^[a-z][a-z0-9_]*$/.test(code);
