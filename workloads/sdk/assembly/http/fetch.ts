/**
 * Requests that a program makes, to the places that `outgoing` in its godwit.toml allows.
 *
 *     const answer = fetch("https://api.example.com/items");
 *     if (!answer.ok) return Response.text("the shop is closed: " + answer.error, 502);
 *     return Response.stream(answer.body(), "application/json");
 *
 * It waits for the head of the answer: AssemblyScript has no promises. What went wrong is text in `error`, as it has no exceptions.
 */
import { IncomingBody } from "../wasi/http";
import { Received, sendRequest } from "../wasi/outgoing";
import { Body, BodyWriter } from "./body";
import { Headers } from "./headers";
import { Gathered, READ_BYTES } from "./request";

const TIMEOUT_MS_DEFAULT: u64 = 30_000;
const REDIRECTS_DEFAULT: i32 = 5;

/** What a request has beside its URL. */
export class FetchOptions {
  /** GET unless it is set. */
  method: string = "GET";
  /** The fields that are sent; host and length are the sandbox's. */
  readonly headers: Headers = new Headers();
  /** Empty unless it is set. */
  body: Uint8Array = new Uint8Array(0);
  /** To connect, to the first byte, and between two pieces. */
  timeoutMs: u64 = TIMEOUT_MS_DEFAULT;
  /** How many redirects are followed; with 0 the redirect is the answer. Each must be allowed like any request. */
  redirectsMax: i32 = REDIRECTS_DEFAULT;

  constructor(method: string = "GET") {
    this.method = method;
  }

  /** Sets a header field, and returns the options so that calls can be chained. */
  header(name: string, value: string): FetchOptions {
    this.headers.set(name, value);
    return this;
  }

  /** Sends bytes as the body. */
  bytes(bytes: Uint8Array, contentType: string = "application/octet-stream"): FetchOptions {
    this.body = bytes;
    return this.header("content-type", contentType);
  }

  /** Sends text as the body, in UTF-8. */
  text(text: string, contentType: string = "text/plain; charset=utf-8"): FetchOptions {
    return this.bytes(Uint8Array.wrap(String.UTF8.encode(text)), contentType);
  }

  /** `json` is JSON already. */
  json(json: string): FetchOptions {
    return this.text(json, "application/json");
  }
}

/** What came back. */
export class FetchResponse {
  /** 0 when nothing came. */
  readonly status: i32;
  /** None when nothing came. */
  readonly headers: Headers;
  private incoming: IncomingBody | null = null;

  constructor(
    /** Where the answer is from, after redirects. */
    readonly url: string,
    private received: Received,
  ) {
    const came = !received.error.length;
    this.status = came ? received.status() : 0;
    this.headers = came ? Headers.ofHost(received.headers()) : new Headers();
    if (came) this.incoming = received.consume();
  }

  /** A status from 200 to 299. */
  get ok(): bool {
    return this.status >= 200 && this.status < 300;
  }

  /** Why nothing came: a name of wasi:http's error-code, such as `HTTP-request-denied` or `connection-refused`; empty when something did. */
  get error(): string {
    return this.received.error;
  }

  /** Waits for the next piece of the body; null at its end. */
  read(bytesMax: i32 = READ_BYTES): Uint8Array | null {
    const incoming = this.incoming;
    if (!incoming) return null;
    const piece = incoming.read(bytesMax);
    return piece ? Uint8Array.wrap(piece) : null;
  }

  /** The whole body (what is left of it). */
  bytes(): Uint8Array {
    const gathered = new Gathered();
    for (let piece = this.read(); piece; piece = this.read()) gathered.add(piece);
    this.drop();
    return gathered.bytes;
  }

  /** The whole body (what is left of it) as UTF-8. */
  text(): string {
    const bytes = this.bytes();
    return String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length);
  }

  /** The body for `Response.stream`: it is passed on while it comes. */
  body(): Body {
    return new FetchBody(this);
  }

  /** Gives up what was not read. `bytes`, `text` and `body` do it at their end. */
  drop(): void {
    const incoming = this.incoming;
    if (incoming) incoming.drop();
    this.incoming = null;
    this.received.drop();
  }
}

class FetchBody extends Body {
  constructor(private answer: FetchResponse) {
    super();
  }

  writeTo(writer: BodyWriter): void {
    for (let piece = this.answer.read(); piece; piece = this.answer.read()) {
      if (!writer.write(piece) || !writer.flush()) break;
    }
    this.answer.drop();
  }
}

/** Sends a request, follows redirects, and returns when the head of the answer is there. */
export function fetch(url: string, options: FetchOptions = new FetchOptions()): FetchResponse {
  let target = url;
  let method = options.method;
  let body = options.body;
  let answer = send(target, method, options.headers, body, options.timeoutMs * 1_000_000);
  for (let left = options.redirectsMax; left > 0 && isRedirect(answer.status); left--) {
    const location = answer.headers.get("location");
    if (location === null) break;
    answer.drop();
    // RFC 9110, section 15.4: 303 is a GET, and so is what clients make of a POST that moved.
    if (answer.status == 303 || (answer.status <= 302 && method == "POST")) {
      method = "GET";
      body = new Uint8Array(0);
    }
    const next = resolveUrl(target, location);
    // What was meant for one host is not told to another.
    if (originOf(next) != originOf(target)) {
      options.headers.delete("authorization");
      options.headers.delete("cookie");
    }
    target = next;
    answer = send(target, method, options.headers, body, options.timeoutMs * 1_000_000);
  }
  return answer;
}

function send(url: string, method: string, headers: Headers, body: Uint8Array, timeoutNs: u64): FetchResponse {
  const origin = originOf(url);
  if (!origin.length) return new FetchResponse(url, new Received("HTTP-request-URI-invalid", -1));
  const isTls = origin.startsWith("https://");
  const rest = url.substring(origin.length);
  const fragment = rest.indexOf("#");
  const path = fragment < 0 ? rest : rest.substring(0, fragment);
  const fields = headers.toHost();
  if (body.length && !headers.has("content-length")) fields.append("content-length", body.length.toString());
  return new FetchResponse(url, sendRequest(method, isTls, origin.substring(isTls ? 8 : 7), path.startsWith("/") ? path : "/" + path, fields, body, timeoutNs));
}

function isRedirect(status: i32): bool {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/** `https://host:port` of a URL; empty when it is none that can be asked. */
function originOf(url: string): string {
  const start = url.startsWith("https://") ? 8 : url.startsWith("http://") ? 7 : 0;
  if (!start) return "";
  let end = start;
  while (end < url.length && url.charAt(end) != "/" && url.charAt(end) != "?" && url.charAt(end) != "#") end++;
  return end == start ? "" : url.substring(0, end);
}

/** RFC 3986, section 5.2, but for dots: servers send whole paths. */
function resolveUrl(base: string, location: string): string {
  if (originOf(location).length) return location;
  const origin = originOf(base);
  if (location.startsWith("//")) return origin.substring(0, origin.indexOf("//")) + location;
  if (location.startsWith("/")) return origin + location;
  const path = base.substring(origin.length);
  const query = path.indexOf("?");
  const whole = query < 0 ? path : path.substring(0, query);
  return origin + (location.startsWith("?") ? whole : whole.substring(0, whole.lastIndexOf("/") + 1) + location);
}
