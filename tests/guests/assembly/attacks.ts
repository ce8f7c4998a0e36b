// A service that spends the host's time and memory instead of its own, and says of its answers what is not so.
import { Body, BodyWriter, Request, Response } from "godwit/http";
import { sleep } from "godwit/clock";

@external("wasi:http/types@0.2.12", "[constructor]fields")
declare function makeFields(): i32;
@external("wasi:http/types@0.2.12", "[method]fields.append")
declare function append(fields: i32, name: usize, nameLength: usize, value: usize, valueLength: usize, result: usize): void;
@external("wasi:random/random@0.2.12", "get-random-bytes")
declare function randomBytes(length: u64, result: usize): void;
@external("wasi:http/types@0.2.12", "[constructor]outgoing-response")
declare function makeResponse(fields: i32): i32;
@external("wasi:http/types@0.2.12", "[static]response-outparam.set")
declare function setResponse(outparam: i32, isError: i32, p0: i32, p1: i32, p2: i64, p3: i32, p4: i32, p5: i32, p6: i32): void;
@external("wasi:cli/stdout@0.2.12", "get-stdout")
declare function getStdout(): i32;
@external("wasi:io/streams@0.2.12", "[method]output-stream.write")
declare function write(stream: i32, bytes: usize, length: usize, result: usize): void;

/** Begins an answer and never ends it. */
class Stuck extends Body {
  writeTo(writer: BodyWriter): void {
    writer.writeText("the beginning\n");
    writer.flush();
    sleep(3_600_000);
  }
}

/** Never ends either, and never stops. */
class Endless extends Body {
  writeTo(writer: BodyWriter): void {
    const piece = new Uint8Array(65536);
    while (writer.write(piece)) {}
  }
}

let count: u64 = 0;
const RESULT: usize = memory.data(64, 8);

export function handle(request: Request): Response {
  const path = request.path;
  if (path == "/random") {
    randomBytes(1 << 20, RESULT);
  }
  if (path == "/arguments") {
    // Each call makes the host copy all of it, to refuse it; the guest itself does next to nothing.
    const zeros = <usize>memory.size() << 16;
    if (memory.grow(31) < 0) unreachable();
    const fields = makeFields();
    while (true) append(fields, zeros, 31 << 16, zeros, 1, RESULT);
  }
  if (path == "/fields") {
    const name = String.UTF8.encode("x-large");
    const value = new Uint8Array(50000).fill(0x61);
    let taken = 0;
    for (let i = 0; i < 4000; i++) {
      append(makeFields(), changetype<usize>(name), 7, value.dataStart, value.length, RESULT);
      if (!load<u8>(RESULT)) taken++;
    }
    return Response.text(taken.toString());
  }
  if (path == "/smuggle") {
    // What would be a header more, or the end of the head, in an answer on the wire.
    const names = ["x", "x", "x", "x y", "x\r\ny", "x:y", "", "\xe4"];
    const values = ["1\r\nset-cookie: a=b", "1\n2", "\0", "1", "1", "1", "1", "1"];
    let taken = "";
    for (let i = 0; i < names.length; i++) {
      const name = String.UTF8.encode(names[i]);
      const value = String.UTF8.encode(values[i]);
      append(makeFields(), changetype<usize>(name), name.byteLength, changetype<usize>(value), value.byteLength, RESULT);
      if (!load<u8>(RESULT)) taken += i.toString() + " ";
    }
    return Response.text("taken: " + taken);
  }
  if (path == "/stuck") return Response.stream(new Stuck());
  if (path == "/endless") return Response.stream(new Endless());
  if (path == "/switch") return Response.text("ok", 101);
  if (path == "/short") return Response.text("short").header("content-length", "100");
  if (path == "/none") return Response.empty(200).header("content-length", "100");
  if (path == "/long") return Response.text("more than ten bytes of it").header("content-length", "10");
  if (path == "/announced") {
    // A length, and no body at all. The second handle that an instance gets is that of its answer.
    const name = String.UTF8.encode("content-length");
    const value = String.UTF8.encode("100");
    const fields = makeFields();
    append(fields, changetype<usize>(name), 14, changetype<usize>(value), 3, RESULT);
    setResponse(2, 0, makeResponse(fields), 0, 0, 0, 0, 0, 0);
    while (true) count++;
  }
  if (path == "/newlines") {
    const bytes = new Uint8Array(1 << 20).fill(0x0a);
    const stdout = getStdout();
    for (let i = 0; i < 1000; i++) write(stdout, bytes.dataStart, bytes.length, RESULT);
  }
  if (path == "/escapes") for (let i = 0; i < 1000; i++) console.log("\x01".repeat(8000));
  return Response.text("ok\n");
}
