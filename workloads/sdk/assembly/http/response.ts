/** What goes back to a client. */
import { sendHead } from "../wasi/http";
import { Body, BodyWriter } from "./body";
import { Cookie } from "./cookie";
import { Headers } from "./headers";

/** What goes back to the client. */
export class Response {
  /** The fields that are sent. The length is set by the host. */
  readonly headers: Headers = new Headers();
  private stream: Body | null = null;

  constructor(public body: Uint8Array = new Uint8Array(0), public status: i32 = 200) {}

  /** Plain text in UTF-8. */
  static text(text: string, status: i32 = 200): Response {
    return Response.typed(text, "text/plain; charset=utf-8", status);
  }

  /** A page. Text of strangers in it must be escaped by you. */
  static html(html: string, status: i32 = 200): Response {
    return Response.typed(html, "text/html; charset=utf-8", status);
  }

  /** `json` is JSON already: AssemblyScript has no objects of unknown shape to turn into it. */
  static json(json: string, status: i32 = 200): Response {
    return Response.typed(json, "application/json", status);
  }

  /** Bytes as they are. */
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

  /** Asks the client to keep a cookie. */
  setCookie(cookie: Cookie): Response {
    this.headers.append("set-cookie", cookie.toString());
    return this;
  }

  private static typed(text: string, contentType: string, status: i32): Response {
    return new Response(Uint8Array.wrap(String.UTF8.encode(text)), status).header("content-type", contentType);
  }

  /** For the SDK: gives the response to the host. */
  send(outparam: i32): void {
    const fields = this.headers.toHost();
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
