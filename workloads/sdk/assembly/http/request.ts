/** What a client asks for. */
import { IncomingBody, IncomingRequest } from "../wasi/http";
import { decodePath, decodeQuery } from "./escape";
import { Headers } from "./headers";

/** How much of a body one read asks for: large enough to be few calls, small enough for a small memory. */
export const READ_BYTES: i32 = 65536;

/** A request as it came in. What is not asked for is not fetched from the host. */
export class Request {
  private pathWithQuery: string | null = null;
  private headersRead: Headers | null = null;
  private body: IncomingBody | null = null;
  private bodyTaken: bool = false;
  /** For the Router: what the path's parts are called. */
  params: Map<string, string> | null = null;

  constructor(private incoming: IncomingRequest) {}

  /** `GET`, `POST`, …, in upper case. */
  get method(): string {
    return this.incoming.method();
  }

  /** Path and query as they were sent: `/search?q=a%20b`. */
  get url(): string {
    let url = this.pathWithQuery;
    if (url === null) {
      url = this.incoming.pathWithQuery();
      this.pathWithQuery = url;
    }
    return url;
  }

  /** The path alone, still percent-encoded. */
  get path(): string {
    const url = this.url;
    const end = url.indexOf("?");
    return end < 0 ? url : url.substring(0, end);
  }

  /** The question mark and what follows it, as sent; empty when there is none. */
  get search(): string {
    const url = this.url;
    const start = url.indexOf("?");
    return start < 0 ? "" : url.substring(start);
  }

  /** The first value of a parameter in the query, decoded; null when it is missing. */
  query(name: string): string | null {
    const values = this.queries(name);
    return values.length ? values[0] : null;
  }

  /** Every value of a parameter in the query, decoded. */
  queries(name: string): string[] {
    const values: string[] = [];
    const pairs = this.search.substring(1).split("&");
    for (let i = 0; i < pairs.length; i++) {
      const pair = pairs[i];
      const equals = pair.indexOf("=");
      const key = equals < 0 ? pair : pair.substring(0, equals);
      if (decodeQuery(key) == name) values.push(equals < 0 ? "" : decodeQuery(pair.substring(equals + 1)));
    }
    return values;
  }

  /** A part of the path that the route of a Router names, decoded: `:id`, or `*` for the rest. A name that the route lacks is a mistake. */
  param(name: string): string {
    const params = this.params;
    assert(params !== null && params.has(name), "Cannot read the path's \"" + name + "\": the route has no such part");
    return params === null ? "" : params.get(name);
  }

  /** A cookie that the client sent back, decoded; null when it is missing. */
  cookie(name: string): string | null {
    const sent = this.headers.get("cookie");
    if (sent === null) return null;
    const pairs = sent.split(";");
    for (let i = 0; i < pairs.length; i++) {
      const pair = pairs[i].trim();
      if (pair.startsWith(name + "=")) return decodePath(pair.substring(name.length + 1));
    }
    return null;
  }

  /** The host the client asked for, with its port. */
  get host(): string {
    return this.incoming.authority();
  }

  /** The fields that the client sent; they are read at the first use. */
  get headers(): Headers {
    let headers = this.headersRead;
    if (!headers) {
      headers = Headers.ofHost(this.incoming.headers());
      this.headersRead = headers;
    }
    return headers;
  }

  /** Waits for the next piece of the body, at most `bytesMax`; null at its end. For bodies too large to hold. */
  read(bytesMax: i32 = READ_BYTES): Uint8Array | null {
    if (!this.bodyTaken) {
      this.bodyTaken = true;
      this.body = this.incoming.consume();
    }
    const body = this.body;
    if (!body) return null;
    const piece = body.read(bytesMax);
    return piece ? Uint8Array.wrap(piece) : null;
  }

  /** The whole body (what is left of it). */
  bytes(): Uint8Array {
    const gathered = new Gathered();
    for (let piece = this.read(); piece; piece = this.read()) gathered.add(piece);
    return gathered.bytes;
  }

  /** The whole body as UTF-8 text. */
  text(): string {
    const bytes = this.bytes();
    return String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length);
  }

  /** For the SDK: gives the handles back to the host. */
  drop(): void {
    const body = this.body;
    if (body) body.drop();
    this.incoming.drop();
  }
}

/** For the SDK: pieces of a body as one. */
export class Gathered {
  private all: Uint8Array = new Uint8Array(0);
  private length: i32 = 0;

  add(piece: Uint8Array): void {
    const needed = this.length + piece.length;
    if (needed > this.all.length) {
      // Doubling: a body of n bytes is copied at most twice however it is cut.
      const grown = new Uint8Array(max(needed, this.all.length * 2));
      memory.copy(grown.dataStart, this.all.dataStart, this.length);
      this.all = grown;
    }
    memory.copy(this.all.dataStart + this.length, piece.dataStart, piece.length);
    this.length = needed;
  }

  get bytes(): Uint8Array {
    return this.all.subarray(0, this.length);
  }
}

/** For the SDK: the request behind a handle of the host's. */
export function requestOf(handle: i32): Request {
  return new Request(new IncomingRequest(handle));
}
