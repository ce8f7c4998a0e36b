/**
 * wasi:http/types as far as a service needs it: requests that come in, responses that go out (outgoing.ts has the other way).
 * A response is sent in this order, else the host traps: fields → outgoing-response → its body → response-outparam.set (which
 * consumes outparam and response) → write → drop the stream → outgoing-body.finish.
 */
import { RETURN_AREA, addressOf, liftString, release } from "../abi";
import { InputStream, OutputStream } from "./io";

// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]incoming-request.method")
declare function incomingRequestMethod(self: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]incoming-request.path-with-query")
declare function incomingRequestPathWithQuery(self: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]incoming-request.authority")
declare function incomingRequestAuthority(self: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]incoming-request.headers")
declare function incomingRequestHeaders(self: i32): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]incoming-request.consume")
declare function incomingRequestConsume(self: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[resource-drop]incoming-request")
declare function incomingRequestDrop(handle: i32): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]incoming-body.stream")
declare function incomingBodyStream(self: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[resource-drop]incoming-body")
declare function incomingBodyDrop(handle: i32): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[constructor]fields")
declare function fieldsConstructor(): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]fields.append")
declare function fieldsAppend(self: i32, name: usize, nameLength: usize, value: usize, valueLength: usize, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]fields.entries")
declare function fieldsEntries(self: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[resource-drop]fields")
declare function fieldsDrop(handle: i32): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[constructor]outgoing-response")
declare function outgoingResponseConstructor(fields: i32): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]outgoing-response.set-status-code")
declare function outgoingResponseSetStatusCode(self: i32, status: i32): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]outgoing-response.body")
declare function outgoingResponseBody(self: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]outgoing-body.write")
declare function outgoingBodyWrite(self: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[static]outgoing-body.finish")
declare function outgoingBodyFinish(self: i32, hasTrailers: i32, trailers: i32, result: usize): void;
// result<outgoing-response, error-code> flattens to a discriminant and seven joined slots, of which `ok` uses the first.
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[static]response-outparam.set")
declare function responseOutparamSet(outparam: i32, isError: i32, p0: i32, p1: i32, p2: i64, p3: i32, p4: i32, p5: i32, p6: i32): void;

/** The cases of wasi:http's method, in its order; any other method is one more. */
export const METHODS: StaticArray<string> = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/** own<incoming-request> */
export class IncomingRequest {
  constructor(private handle: i32) {}

  method(): string {
    incomingRequestMethod(this.handle, RETURN_AREA);
    const tag = <i32>load<u8>(RETURN_AREA);
    return tag < METHODS.length ? METHODS[tag] : liftString(load<usize>(RETURN_AREA, 4), load<usize>(RETURN_AREA, 8));
  }

  pathWithQuery(): string {
    incomingRequestPathWithQuery(this.handle, RETURN_AREA);
    return load<u8>(RETURN_AREA) ? liftString(load<usize>(RETURN_AREA, 4), load<usize>(RETURN_AREA, 8)) : "/";
  }

  authority(): string {
    incomingRequestAuthority(this.handle, RETURN_AREA);
    return load<u8>(RETURN_AREA) ? liftString(load<usize>(RETURN_AREA, 4), load<usize>(RETURN_AREA, 8)) : "";
  }

  headers(): Fields {
    return new Fields(incomingRequestHeaders(this.handle));
  }

  /** The body, which can be taken once; null the second time. */
  consume(): IncomingBody | null {
    incomingRequestConsume(this.handle, RETURN_AREA);
    if (load<u8>(RETURN_AREA)) return null;
    return IncomingBody.of(load<i32>(RETURN_AREA, 4));
  }

  drop(): void {
    if (this.handle < 0) return;
    incomingRequestDrop(this.handle);
    this.handle = -1;
  }
}

/** own<incoming-body> with its stream. */
export class IncomingBody {
  constructor(private handle: i32, private stream: InputStream) {}

  /** Null when its stream was taken before. */
  static of(handle: i32): IncomingBody | null {
    incomingBodyStream(handle, RETURN_AREA);
    if (load<u8>(RETURN_AREA)) {
      incomingBodyDrop(handle);
      return null;
    }
    return new IncomingBody(handle, new InputStream(load<i32>(RETURN_AREA, 4)));
  }

  read(bytesMax: u64): ArrayBuffer | null {
    return this.stream.read(bytesMax);
  }

  drop(): void {
    if (this.handle < 0) return;
    this.stream.drop(); // A child goes before its parent.
    incomingBodyDrop(this.handle);
    this.handle = -1;
  }
}

/** own<fields>: those of a message that came, or that are being filled. */
export class Fields {
  constructor(private handle: i32) {}

  static create(): Fields {
    return new Fields(fieldsConstructor());
  }

  /** Appends every field to the two lists, in the order in which they came, and gives the handle back. */
  entriesInto(names: string[], values: string[]): void {
    fieldsEntries(this.handle, RETURN_AREA);
    const pointer = load<usize>(RETURN_AREA);
    const count = load<usize>(RETURN_AREA, 4);
    for (let i: usize = 0; i < count; i++) {
      const entry = pointer + i * 16; // tuple<string, list<u8>>
      names.push(liftString(load<usize>(entry), load<usize>(entry, 4)));
      values.push(liftString(load<usize>(entry, 8), load<usize>(entry, 12)));
    }
    release(pointer, count);
    fieldsDrop(this.handle);
    this.handle = -1;
  }

  /** 0 when taken, else 1 + the case of header-error: invalid syntax, forbidden, immutable. */
  append(name: string, value: string): i32 {
    const nameBytes = String.UTF8.encode(name);
    const valueBytes = String.UTF8.encode(value);
    fieldsAppend(
      this.handle, addressOf(nameBytes), nameBytes.byteLength, addressOf(valueBytes), valueBytes.byteLength, RETURN_AREA,
    );
    return load<u8>(RETURN_AREA) ? 1 + <i32>load<u8>(RETURN_AREA, 1) : 0;
  }

  /** Hands the fields on to the host. */
  take(): i32 {
    const handle = this.handle;
    this.handle = -1;
    return handle;
  }
}

/** own<outgoing-body> with its stream, after the head of the response went out. */
export class OutgoingBody {
  private stream: OutputStream | null = null;

  constructor(private handle: i32) {}

  write(bytes: ArrayBuffer, offset: i32, length: i32): bool {
    if (!length) return true;
    let stream = this.stream;
    if (!stream) {
      outgoingBodyWrite(this.handle, RETURN_AREA);
      if (load<u8>(RETURN_AREA)) return false;
      stream = new OutputStream(load<i32>(RETURN_AREA, 4));
      this.stream = stream;
    }
    return stream.write(bytes, offset, length);
  }

  finish(): void {
    const stream = this.stream;
    if (stream) stream.drop();
    outgoingBodyFinish(this.handle, 0, 0, RETURN_AREA);
  }
}

/** Of a response whose status nobody has set (wasi:http). A call into the host costs more than it does. */
const STATUS_AT_FIRST: i32 = 200;

/** Sends the head of a response and returns its body; null when the host does not know the status. */
export function sendHead(outparam: i32, status: i32, fields: Fields): OutgoingBody | null {
  const response = outgoingResponseConstructor(fields.take());
  if (status != STATUS_AT_FIRST && outgoingResponseSetStatusCode(response, status)) return null;
  outgoingResponseBody(response, RETURN_AREA);
  const body = load<i32>(RETURN_AREA, 4);
  responseOutparamSet(outparam, 0, response, 0, 0, 0, 0, 0, 0);
  return new OutgoingBody(body);
}
