/**
 * wasi:http for V8: requests that come in, and those that a guest sends, which the main thread dials (outgoing.ts). Names, values and forbidden headers are judged as the wasmtime engine judges them.
 */
import { err, type Err, type Host, ok, type Ok, SentRequest, type Source } from "./host.ts";
import type { HostFunctions } from "./instance.ts";
import type { Headers } from "./protocol.ts";
import { HostTrap } from "./trap.ts";
import { type InputStream, type IoError, type OutputStream, Pollable, type StreamFailure } from "./wasiIo.ts";

type Body = { chunks: Uint8Array[]; bytes: number; trailers: Headers; announced: number | null; written: number; isFinished: boolean; onFinish?: () => void };
type HeaderError = { readonly tag: "invalid-syntax" | "forbidden" | "immutable" };
type Tagged = { readonly tag: string; readonly value?: unknown };
type ErrorCode = Tagged;

const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const FORBIDDEN: ReadonlySet<string> = new Set(["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "transfer-encoding", "upgrade", "host", "http2-settings"]);
const METHODS: ReadonlySet<string> = new Set(["get", "head", "post", "put", "delete", "connect", "options", "trace", "patch"]);
/** As in limits.ts's wasmtime twin: the host's form of a header is larger than its bytes. */
const FIELD_BYTES_FACTOR = 4;
const STATUS_MIN = 100;
const STATUS_MAX = 999;

export const isForbidden = (name: string): boolean => FORBIDDEN.has(name);
const isValue = (value: Uint8Array): boolean => value.every((byte) => byte === 9 || (byte >= 32 && byte !== 127));

class Fields {
  entries: (readonly [string, Uint8Array])[];
  readonly isImmutable: boolean;
  readonly #bytesMax: number;
  constructor(entries: Headers, isImmutable: boolean, bytesMax: number) {
    this.entries = [...entries];
    this.isImmutable = isImmutable;
    this.#bytesMax = bytesMax;
  }

  static of(host: Host, entries: Headers = [], isImmutable = false): Fields {
    return new Fields(entries, isImmutable, host.headerBytesMax * FIELD_BYTES_FACTOR);
  }

  change(name: string, values: readonly Uint8Array[], keep: boolean): Ok<undefined> | Err<HeaderError> {
    const lower = name.toLowerCase();
    if (this.isImmutable) return err({ tag: "immutable" });
    if (!NAME.test(name) || !values.every(isValue)) return err({ tag: "invalid-syntax" });
    if (isForbidden(lower)) return err({ tag: "forbidden" });
    if (!keep) this.entries = this.entries.filter(([other]) => other !== lower);
    for (const value of values) this.entries.push([lower, value]);
    const bytes = this.entries.reduce((sum, [key, value]) => sum + key.length + value.length, 0);
    if (bytes > this.#bytesMax) throw new HostTrap(`Field size limit ${this.#bytesMax} exceeded`);
    return ok(undefined);
  }

  get(name: string): Uint8Array[] {
    const lower = name.toLowerCase();
    return this.entries.filter(([other]) => other === lower).map(([, value]) => value);
  }

  clone(isImmutable: boolean): Fields {
    return new Fields(this.entries, isImmutable, this.#bytesMax);
  }
}

class IncomingBody {
  readonly source: Source;
  #taken = false;
  constructor(source: Source) {
    this.source = source;
  }
  stream(): Ok<InputStream> | Err<undefined> {
    if (this.#taken) return err(undefined);
    this.#taken = true;
    return ok({ source: this.source });
  }
}

/** The request of this call; a body can be consumed once. */
class IncomingRequest {
  consumed = false;
}

class Outgoing {
  readonly headers: Fields;
  status = 200;
  method: Tagged = { tag: "get" };
  path: string | undefined;
  scheme: Tagged | undefined;
  authority: string | undefined;
  body: Body | null = null;
  constructor(headers: Fields) {
    this.headers = headers.clone(true);
  }

  take(): Ok<OutgoingBody> | Err<undefined> {
    if (this.body !== null) return err(undefined);
    const length = this.headers.get("content-length")[0];
    const announced = length === undefined ? null : Number(new TextDecoder().decode(length));
    this.body = { chunks: [], bytes: 0, trailers: [], announced: Number.isSafeInteger(announced) ? announced : null, written: 0, isFinished: false };
    return ok(new OutgoingBody(this.body));
  }
}

class OutgoingBody {
  readonly body: Body;
  #taken = false;
  constructor(body: Body) {
    this.body = body;
  }

  stream(host: Host): Ok<OutputStream> | Err<undefined> {
    if (this.#taken) return err(undefined);
    this.#taken = true;
    const { body } = this;
    const write = (bytes: Uint8Array): StreamFailure | undefined => {
      if (body.isFinished) return { tag: "closed" };
      if (bytes.length === 0) return undefined;
      body.written += bytes.length;
      body.chunks.push(bytes);
      body.bytes += bytes.length;
      host.wrote(body);
      return undefined;
    };
    return ok({ room: () => host.room, write });
  }

  finish(trailers: Fields | undefined): Ok<undefined> | Err<ErrorCode> {
    const { body } = this;
    body.isFinished = true;
    if (body.announced !== null && body.written !== body.announced) return err({ tag: "HTTP-response-body-size", value: BigInt(body.written) });
    body.trailers = trailers?.entries ?? [];
    body.onFinish?.();
    return ok(undefined);
  }
}

class FutureTrailers {
  taken = false;
}
/** A request that is sent when its body is whole. */
class FutureResponse {
  taken = false;
  readonly sent: SentRequest;
  constructor(sent: SentRequest) {
    this.sent = sent;
  }
}
class IncomingResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: IncomingBody;
  consumed = false;
  constructor(status: number, headers: Headers, body: IncomingBody) {
    this.status = status;
    this.headers = headers;
    this.body = body;
  }
}

/** Error codes that carry something more than their name. */
const PAYLOADS: Readonly<Record<string, unknown>> = {
  "DNS-error": { rcode: "NXDOMAIN", infoCode: undefined }, "HTTP-request-body-size": undefined, "HTTP-response-body-size": undefined, "HTTP-response-header-section-size": undefined, "TLS-alert-received": { alertId: undefined, alertMessage: undefined },
};
const errorCode = (tag: string): ErrorCode => ({ tag, value: PAYLOADS[tag] });

function send(host: Host, request: Outgoing, options: RequestOptions | undefined): Ok<FutureResponse> {
  const call = host.sent.size + 1;
  const sent = new SentRequest(host, call);
  const connectTimeout = options?.timeouts.get("connect-timeout");
  const post = (): void => host.post({
    type: "send", call, method: request.method.tag === "other" ? String(request.method.value) : request.method.tag.toUpperCase(), path: request.path ?? "/", authority: request.authority ?? "",
    scheme: request.scheme === undefined ? "https" : request.scheme.tag === "other" ? String(request.scheme.value) : request.scheme.tag.toLowerCase(),
    headers: request.headers.entries, body: request.body?.chunks ?? [], timeoutMs: connectTimeout === undefined ? null : Number(connectTimeout / 1_000_000n),
  });
  if (request.body === null || request.body.isFinished) post();
  else request.body.onFinish = post;
  return ok(new FutureResponse(sent));
}

function outcomeOf(host: Host, future: FutureResponse): Ok<Ok<IncomingResponse> | Err<ErrorCode>> | Err<undefined> | undefined {
  host.waitUntil(() => true);
  const { outcome, source } = future.sent;
  if (outcome === null) return undefined;
  return taken<Ok<IncomingResponse> | Err<ErrorCode>>(future, "error" in outcome ? err(errorCode(outcome.error)) : ok(new IncomingResponse(outcome.status, outcome.headers, new IncomingBody(source))));
}
class RequestOptions {
  readonly timeouts = new Map<string, bigint>();
}
class Outparam {}

export const newRequest = (): object => new IncomingRequest();
export const newOutparam = (): object => new Outparam();

function setAnswer(host: Host, _: Outparam, result: Ok<Outgoing> | Err<ErrorCode>): void {
  if (result.tag === "error") return host.post({ type: "refused", error: result.value.tag });
  const { status, headers, body } = result.value;
  host.setAnswer({ status, headers: headers.entries, body });
}

function taken<T>(future: { taken: boolean }, value: T): Ok<T> | Err<undefined> {
  if (future.taken) return err(undefined);
  future.taken = true;
  return ok(value);
}


const FIELDS: HostFunctions<Host> = {
  "[constructor]fields": (host) => Fields.of(host),
  "[static]fields.from-list": (host, entries: [string, Uint8Array][]) => {
    const fields = Fields.of(host);
    for (const [name, value] of entries) {
      const changed = fields.change(name, [value], true);
      if (changed.tag === "error") return changed;
    }
    return ok(fields);
  },
  "[method]fields.get": (_, fields: Fields, name: string) => fields.get(name),
  "[method]fields.has": (_, fields: Fields, name: string) => fields.get(name).length > 0,
  "[method]fields.set": (_, fields: Fields, name: string, values: Uint8Array[]) => fields.change(name, values, false),
  "[method]fields.delete": (_, fields: Fields, name: string) => fields.change(name, [], false),
  "[method]fields.append": (_, fields: Fields, name: string, value: Uint8Array) => fields.change(name, [value], true),
  "[method]fields.entries": (_, fields: Fields) => fields.entries,
  "[method]fields.clone": (_, fields: Fields) => fields.clone(false),
};

const INCOMING: HostFunctions<Host> = {
  "[method]incoming-request.method": ({ request }) => {
    const lower = request!.method.toLowerCase();
    return METHODS.has(lower) && request!.method === lower.toUpperCase() ? { tag: lower } : { tag: "other", value: request!.method };
  },
  "[method]incoming-request.path-with-query": ({ request }) => request!.target,
  "[method]incoming-request.scheme": () => ({ tag: "HTTP" }),
  "[method]incoming-request.authority": ({ request }) => request!.authority,
  "[method]incoming-request.headers": (host) => Fields.of(host, host.request!.headers, true),
  "[method]incoming-request.consume": (host, request: IncomingRequest) => {
    if (request.consumed) return err(undefined);
    request.consumed = true;
    return ok(new IncomingBody(host.source));
  },
  "[method]incoming-body.stream": (_, body: IncomingBody) => body.stream(),
  "[static]incoming-body.finish": () => new FutureTrailers(),
  "[method]future-trailers.subscribe": () => Pollable.ready(),
  "[method]future-trailers.get": (_, future: FutureTrailers) => taken(future, ok(undefined)),
};

const ANSWERING: HostFunctions<Host> = {
  "[constructor]outgoing-response": (_, headers: Fields) => new Outgoing(headers),
  "[method]outgoing-response.status-code": (_, response: Outgoing) => response.status,
  "[method]outgoing-response.set-status-code": (_, response: Outgoing, status: number) => {
    if (status < STATUS_MIN || status > STATUS_MAX) return err(undefined);
    response.status = status;
    return ok(undefined);
  },
  "[method]outgoing-response.headers": (_, response: Outgoing) => response.headers,
  "[method]outgoing-response.body": (_, response: Outgoing) => response.take(),
  "[method]outgoing-body.write": (host, body: OutgoingBody) => body.stream(host),
  "[static]outgoing-body.finish": (_, body: OutgoingBody, trailers: Fields | undefined) => body.finish(trailers),
  "[static]response-outparam.set": setAnswer,
  "[method]response-outparam.send-informational": () => err({ tag: "internal-error", value: undefined }),
  "http-error-code": (_, error: IoError) => (/^(?:HTTP|TLS|DNS|connection)-/.test(error.text) ? errorCode(error.text) : undefined),
};

function settable<K extends "method" | "path" | "scheme" | "authority">(name: string, key: K): HostFunctions<Host> {
  return {
    [`[method]outgoing-request.${name}`]: (_, request: Outgoing) => request[key],
    [`[method]outgoing-request.set-${name}`]: (_, request: Outgoing, value: Outgoing[K]) => {
      request[key] = value;
      return ok(undefined);
    },
  };
}

function timeout(name: string): HostFunctions<Host> {
  return {
    [`[method]request-options.${name}`]: (_, options: RequestOptions) => options.timeouts.get(name),
    [`[method]request-options.set-${name}`]: (_, options: RequestOptions, value: bigint | undefined) => {
      if (value === undefined) options.timeouts.delete(name);
      else options.timeouts.set(name, value);
      return ok(undefined);
    },
  };
}

const OUTGOING: HostFunctions<Host> = {
  "[constructor]outgoing-request": (_, headers: Fields) => new Outgoing(headers),
  "[method]outgoing-request.headers": (_, request: Outgoing) => request.headers,
  "[method]outgoing-request.body": (_, request: Outgoing) => request.take(),
  ...settable("method", "method"), ...settable("path-with-query", "path"), ...settable("scheme", "scheme"), ...settable("authority", "authority"),
  "[constructor]request-options": () => new RequestOptions(),
  ...timeout("connect-timeout"), ...timeout("first-byte-timeout"), ...timeout("between-bytes-timeout"),
  "[method]future-incoming-response.subscribe": (_, { sent }: FutureResponse) => new Pollable(() => sent.outcome !== null),
  "[method]future-incoming-response.get": outcomeOf,
  "[method]incoming-response.status": (_, response: IncomingResponse) => response.status,
  "[method]incoming-response.headers": (host, response: IncomingResponse) => Fields.of(host, response.headers, true),
  "[method]incoming-response.consume": (_, response: IncomingResponse) => {
    if (response.consumed) return err(undefined);
    response.consumed = true;
    return ok(response.body);
  },
};

export const HTTP: HostFunctions<Host> = {
  ...Object.fromEntries(Object.entries({ ...FIELDS, ...INCOMING, ...ANSWERING, ...OUTGOING }).map(([name, call]) => [`wasi:http/types#${name}`, call])),
  "wasi:http/outgoing-handler#handle": send,
};
