/**
 * `godwit/http`: write a service as one function from a request to a response.
 *
 *     import { Request, Response } from "godwit/http";
 *
 *     export function handle(request: Request): Response {
 *       return Response.text("Hello from " + request.path + "\n");
 *     }
 *
 * Each request gets a fresh instance of the program: nothing that `handle` leaves in a variable is there the next time.
 */
import { Fields, IncomingBody, IncomingRequest, OutgoingBody, sendHead } from "./wasi/http";
import { WRITE_BYTES_MAX } from "./wasi/io";

/** How much of a request's body one read asks for: large enough to be few calls, small enough for a small memory. */
const READ_BYTES: i32 = 65536;

/** Header fields in order. Names are compared without case, and a name may come more than once. */
export class Headers {
  private names: string[] = [];
  private values: string[] = [];

  /** How many fields there are. */
  get length(): i32 {
    return this.names.length;
  }

  /** Name of the field at `index`, in lower case. */
  name(index: i32): string {
    return this.names[index];
  }

  /** Value of the field at `index`. */
  value(index: i32): string {
    return this.values[index];
  }

  has(name: string): bool {
    return this.names.indexOf(lowerCase(name)) >= 0;
  }

  /** The first value under a name; null when there is none. */
  get(name: string): string | null {
    const index = this.names.indexOf(lowerCase(name));
    return index < 0 ? null : this.values[index];
  }

  /** Adds a field after those that are there. */
  append(name: string, value: string): void {
    this.names.push(lowerCase(name));
    this.values.push(value);
  }

  /** Replaces every field of that name by one. */
  set(name: string, value: string): void {
    this.delete(name);
    this.append(name, value);
  }

  delete(name: string): void {
    const lower = lowerCase(name);
    for (let i = this.names.length - 1; i >= 0; i--) {
      if (this.names[i] != lower) continue;
      this.names.splice(i, 1);
      this.values.splice(i, 1);
    }
  }

  /** For the SDK: the headers of a request. */
  static ofRequest(request: IncomingRequest): Headers {
    const headers = new Headers();
    request.headersInto(headers.names, headers.values);
    for (let i = 0; i < headers.names.length; i++) headers.names[i] = lowerCase(headers.names[i]);
    return headers;
  }
}

/** A request as it came in. What is not asked for is not fetched from the host. */
export class Request {
  private pathWithQuery: string | null = null;
  private headersRead: Headers | null = null;
  private body: IncomingBody | null = null;
  private bodyTaken: bool = false;

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

  /** What follows the question mark; empty when there is none. */
  get query(): string {
    const url = this.url;
    const end = url.indexOf("?");
    return end < 0 ? "" : url.substring(end + 1);
  }

  /** The first value of a query parameter, decoded; null when it is missing. */
  parameter(name: string): string | null {
    const pairs = this.query.split("&");
    for (let i = 0; i < pairs.length; i++) {
      const pair = pairs[i];
      const equals = pair.indexOf("=");
      const key = equals < 0 ? pair : pair.substring(0, equals);
      if (decodeQuery(key) == name) return equals < 0 ? "" : decodeQuery(pair.substring(equals + 1));
    }
    return null;
  }

  /** The host the client asked for, with its port. */
  get host(): string {
    return this.incoming.authority();
  }

  get headers(): Headers {
    let headers = this.headersRead;
    if (!headers) {
      headers = Headers.ofRequest(this.incoming);
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
    let all = new Uint8Array(0);
    let length = 0;
    for (let piece = this.read(); piece; piece = this.read()) {
      const needed = length + piece.length;
      if (needed > all.length) {
        // Doubling: a body of n bytes is copied at most twice however it is cut.
        const grown = new Uint8Array(max(needed, all.length * 2));
        memory.copy(grown.dataStart, all.dataStart, length);
        all = grown;
      }
      memory.copy(all.dataStart + length, piece.dataStart, piece.length);
      length = needed;
    }
    return all.subarray(0, length);
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

/** Takes a body's bytes as they are made, so that a large one never lies in memory as a whole. */
export class BodyWriter {
  private buffer: Uint8Array = new Uint8Array(<i32>WRITE_BYTES_MAX);
  private used: i32 = 0;
  private open: bool = true;

  constructor(private outgoing: OutgoingBody) {}

  /** False when the client has gone: the rest need not be made. */
  write(bytes: Uint8Array): bool {
    let offset = 0;
    while (this.open && offset < bytes.length) {
      const count = min(bytes.length - offset, this.buffer.length - this.used);
      memory.copy(this.buffer.dataStart + this.used, bytes.dataStart + offset, count);
      this.used += count;
      offset += count;
      if (this.used == this.buffer.length) this.flush();
    }
    return this.open;
  }

  writeText(text: string): bool {
    return this.write(Uint8Array.wrap(String.UTF8.encode(text)));
  }

  /** Sends what was written so far. */
  flush(): bool {
    if (this.open && this.used) this.open = this.outgoing.write(this.buffer.buffer, 0, this.used);
    this.used = 0;
    return this.open;
  }
}

/** A body that is made while it is sent: extend it, and give it to `Response.stream`. */
export abstract class Body {
  abstract writeTo(writer: BodyWriter): void;
}

/** What goes back to the client. */
export class Response {
  readonly headers: Headers = new Headers();
  private stream: Body | null = null;

  constructor(public body: Uint8Array = new Uint8Array(0), public status: i32 = 200) {}

  static text(text: string, status: i32 = 200): Response {
    return Response.typed(text, "text/plain; charset=utf-8", status);
  }

  static html(html: string, status: i32 = 200): Response {
    return Response.typed(html, "text/html; charset=utf-8", status);
  }

  /** `json` is JSON already: AssemblyScript has no objects of unknown shape to turn into it. */
  static json(json: string, status: i32 = 200): Response {
    return Response.typed(json, "application/json", status);
  }

  static bytes(bytes: Uint8Array, contentType: string = "application/octet-stream", status: i32 = 200): Response {
    return new Response(bytes, status).header("content-type", contentType);
  }

  /** No body, such as 204 or 404. */
  static empty(status: i32): Response {
    return new Response(new Uint8Array(0), status);
  }

  /** Sends the client elsewhere; 303 makes the next request a GET. */
  static redirect(location: string, status: i32 = 303): Response {
    return Response.empty(status).header("location", location);
  }

  /** A body that `body` writes after the head went out. */
  static stream(body: Body, contentType: string = "application/octet-stream", status: i32 = 200): Response {
    const response = Response.empty(status).header("content-type", contentType);
    response.stream = body;
    return response;
  }

  /** Sets a header field, and returns the response so that calls can be chained. */
  header(name: string, value: string): Response {
    this.headers.set(name, value);
    return this;
  }

  private static typed(text: string, contentType: string, status: i32): Response {
    return new Response(Uint8Array.wrap(String.UTF8.encode(text)), status).header("content-type", contentType);
  }

  /** For the SDK: gives the response to the host. */
  send(outparam: i32): void {
    const fields = new Fields();
    const headers = this.headers;
    for (let i = 0; i < headers.length; i++) {
      const refusal = fields.append(headers.name(i), headers.value(i));
      assert(!refusal, "Cannot send header \"" + headers.name(i) + "\": " + (refusal == 1 ? "bad syntax" : "it is the host's to set"));
    }
    const body = sendHead(outparam, this.status, fields);
    assert(body, "Cannot send status " + this.status.toString() + ": not an HTTP status");
    if (!body) return;
    const stream = this.stream;
    if (stream) {
      const writer = new BodyWriter(body);
      stream.writeTo(writer);
      writer.flush();
    } else {
      body.write(this.body.buffer, this.body.byteOffset, this.body.length);
    }
    body.finish();
  }
}

/** For the SDK: the request behind a handle of the host's. */
export function requestOf(handle: i32): Request {
  return new Request(new IncomingRequest(handle));
}

/** Decodes a part of a query: `+` is a space, `%xx` a byte of UTF-8; what is not a valid escape stays as it is. */
export function decodeQuery(text: string): string {
  if (text.indexOf("+") < 0 && text.indexOf("%") < 0) return text;
  const source = Uint8Array.wrap(String.UTF8.encode(text));
  const target = new Uint8Array(source.length);
  let length = 0;
  for (let i = 0; i < source.length; i++) {
    let byte = source[i];
    if (byte == 0x2b) byte = 0x20;
    else if (byte == 0x25 && i + 2 < source.length) {
      const high = hexDigit(source[i + 1]);
      const low = hexDigit(source[i + 2]);
      if (high >= 0 && low >= 0) {
        byte = <u8>((high << 4) | low);
        i += 2;
      }
    }
    target[length++] = byte;
  }
  return String.UTF8.decodeUnsafe(target.dataStart, length);
}

/** Names of header fields are ASCII; String.toLowerCase would bring five kilobytes of Unicode tables into every service. */
function lowerCase(name: string): string {
  let first = 0;
  while (first < name.length && !isUpper(name.charCodeAt(first))) first++;
  if (first == name.length) return name;
  let lower = name.substring(0, first);
  for (let i = first; i < name.length; i++) {
    const code = name.charCodeAt(i);
    lower += String.fromCharCode(isUpper(code) ? code + 32 : code);
  }
  return lower;
}

function isUpper(code: i32): bool {
  return code >= 0x41 && code <= 0x5a;
}

function hexDigit(byte: u8): i32 {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : -1;
}
