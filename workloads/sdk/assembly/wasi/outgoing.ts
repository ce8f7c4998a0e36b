/**
 * wasi:http/outgoing-handler and the types of a request that goes out.
 *
 * The order is the host's: fields → outgoing-request → its body → handle (which consumes the request and begins to send) → write the
 * body, finish it → wait for the future. The future goes before the response that came out of it.
 */
import { RETURN_AREA, addressOf, liftString } from "../abi";
import { Fields, IncomingBody, METHODS, OutgoingBody } from "./http";

// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[constructor]outgoing-request")
declare function outgoingRequestConstructor(fields: i32): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]outgoing-request.set-method")
declare function outgoingRequestSetMethod(self: i32, method: i32, other: usize, otherLength: usize): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]outgoing-request.set-path-with-query")
declare function outgoingRequestSetPathWithQuery(self: i32, isSome: i32, pointer: usize, length: usize): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]outgoing-request.set-scheme")
declare function outgoingRequestSetScheme(self: i32, isSome: i32, scheme: i32, other: usize, otherLength: usize): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]outgoing-request.set-authority")
declare function outgoingRequestSetAuthority(self: i32, isSome: i32, pointer: usize, length: usize): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]outgoing-request.body")
declare function outgoingRequestBody(self: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[resource-drop]outgoing-request")
declare function outgoingRequestDrop(handle: i32): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[constructor]request-options")
declare function requestOptionsConstructor(): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]request-options.set-connect-timeout")
declare function requestOptionsSetConnectTimeout(self: i32, isSome: i32, ns: u64): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]request-options.set-first-byte-timeout")
declare function requestOptionsSetFirstByteTimeout(self: i32, isSome: i32, ns: u64): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]request-options.set-between-bytes-timeout")
declare function requestOptionsSetBetweenBytesTimeout(self: i32, isSome: i32, ns: u64): i32;
// @ts-ignore: decorator
@external("wasi:http/outgoing-handler@0.2.12", "handle")
declare function outgoingHandlerHandle(request: i32, hasOptions: i32, options: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]future-incoming-response.subscribe")
declare function futureSubscribe(self: i32): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]future-incoming-response.get")
declare function futureGet(self: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[resource-drop]future-incoming-response")
declare function futureDrop(handle: i32): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]incoming-response.status")
declare function incomingResponseStatus(self: i32): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]incoming-response.headers")
declare function incomingResponseHeaders(self: i32): i32;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[method]incoming-response.consume")
declare function incomingResponseConsume(self: i32, result: usize): void;
// @ts-ignore: decorator
@external("wasi:http/types@0.2.12", "[resource-drop]incoming-response")
declare function incomingResponseDrop(handle: i32): void;
// @ts-ignore: decorator
@external("wasi:io/poll@0.2.12", "[method]pollable.block")
declare function pollableBlock(self: i32): void;
// @ts-ignore: decorator
@external("wasi:io/poll@0.2.12", "[resource-drop]pollable")
declare function pollableDrop(handle: i32): void;

const METHOD_OTHER = 9;
const SCHEME_HTTP = 0;
const SCHEME_HTTPS = 1;

const ERROR_INTERNAL = 38;

/** The cases of wasi:http's error-code, in its order. In a function, so that a program that sends nothing does not carry them. */
function errorName(tag: i32): string {
  const names: StaticArray<string> = [
  "DNS-timeout", "DNS-error", "destination-not-found", "destination-unavailable", "destination-IP-prohibited", "destination-IP-unroutable", "connection-refused",
  "connection-terminated", "connection-timeout", "connection-read-timeout", "connection-write-timeout", "connection-limit-reached", "TLS-protocol-error",
  "TLS-certificate-error", "TLS-alert-received", "HTTP-request-denied", "HTTP-request-length-required", "HTTP-request-body-size", "HTTP-request-method-invalid",
  "HTTP-request-URI-invalid", "HTTP-request-URI-too-long", "HTTP-request-header-section-size", "HTTP-request-header-size", "HTTP-request-trailer-section-size",
  "HTTP-request-trailer-size", "HTTP-response-incomplete", "HTTP-response-header-section-size", "HTTP-response-header-size", "HTTP-response-body-size",
  "HTTP-response-trailer-section-size", "HTTP-response-trailer-size", "HTTP-response-transfer-coding", "HTTP-response-content-coding", "HTTP-response-timeout",
  "HTTP-upgrade-failed", "HTTP-protocol-error", "loop-detected", "configuration-error", "internal-error",
];
  return tag < names.length ? names[tag] : "unknown-error";
}

/** An error-code at `pointer`; what it says beside its name is kept for internal errors only. */
function errorText(pointer: usize): string {
  const tag = <i32>load<u8>(pointer);
  // option<string> behind the tag, which is padded to the eight bytes that another case needs.
  if (tag == ERROR_INTERNAL && load<u8>(pointer, 8)) return "internal-error: " + liftString(load<usize>(pointer, 12), load<usize>(pointer, 16));
  return errorName(tag);
}

/** own<incoming-response>, or why there is none. */
export class Received {
  constructor(readonly error: string, private handle: i32) {}

  status(): i32 {
    return incomingResponseStatus(this.handle);
  }

  headers(): Fields {
    return new Fields(incomingResponseHeaders(this.handle));
  }

  /** Can be taken once. */
  consume(): IncomingBody | null {
    incomingResponseConsume(this.handle, RETURN_AREA);
    return load<u8>(RETURN_AREA) ? null : IncomingBody.of(load<i32>(RETURN_AREA, 4));
  }

  drop(): void {
    if (this.handle < 0) return;
    incomingResponseDrop(this.handle);
    this.handle = -1;
  }
}

function failed(error: string): Received {
  return new Received(error, -1);
}

/** Sends a request and waits for the head of what comes back. */
export function sendRequest(method: string, isTls: bool, authority: string, pathWithQuery: string, fields: Fields, bytes: Uint8Array, timeoutNs: u64): Received {
  const request = outgoingRequestConstructor(fields.take());
  const methodIndex = METHODS.indexOf(method);
  const methodBytes = String.UTF8.encode(method);
  const authorityBytes = String.UTF8.encode(authority);
  const pathBytes = String.UTF8.encode(pathWithQuery);
  const refused =
    outgoingRequestSetMethod(request, methodIndex < 0 ? METHOD_OTHER : methodIndex, addressOf(methodBytes), methodBytes.byteLength) |
    outgoingRequestSetScheme(request, 1, isTls ? SCHEME_HTTPS : SCHEME_HTTP, 0, 0) |
    outgoingRequestSetAuthority(request, 1, addressOf(authorityBytes), authorityBytes.byteLength) |
    outgoingRequestSetPathWithQuery(request, 1, addressOf(pathBytes), pathBytes.byteLength);
  if (refused) {
    outgoingRequestDrop(request);
    return failed("HTTP-request-URI-invalid");
  }
  outgoingRequestBody(request, RETURN_AREA);
  const body = new OutgoingBody(load<i32>(RETURN_AREA, 4));
  const options = requestOptionsConstructor();
  requestOptionsSetConnectTimeout(options, 1, timeoutNs);
  requestOptionsSetFirstByteTimeout(options, 1, timeoutNs);
  requestOptionsSetBetweenBytesTimeout(options, 1, timeoutNs);
  outgoingHandlerHandle(request, 1, options, RETURN_AREA);
  if (load<u8>(RETURN_AREA)) {
    const error = errorText(RETURN_AREA + 8);
    body.finish();
    return failed(error);
  }
  const future = load<i32>(RETURN_AREA, 8);
  body.write(bytes.buffer, bytes.byteOffset, bytes.length);
  body.finish();
  const pollable = futureSubscribe(future);
  pollableBlock(pollable);
  pollableDrop(pollable);
  futureGet(future, RETURN_AREA);
  // option<result<result<incoming-response, error-code>>>: each layer has eight bytes before what is in it.
  const isSome = load<u8>(RETURN_AREA);
  const wasTaken = load<u8>(RETURN_AREA, 8);
  const isError = load<u8>(RETURN_AREA, 16);
  const received = !isSome || wasTaken ? failed("HTTP-response-timeout") : isError ? failed(errorText(RETURN_AREA + 24)) : new Received("", load<i32>(RETURN_AREA, 24));
  futureDrop(future);
  return received;
}
