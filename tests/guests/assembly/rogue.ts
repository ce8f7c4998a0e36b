// A service that misbehaves as its path says. Anything else is answered with 200 and "ok".
import { Body, BodyWriter, Request, Response } from "godwit/http";
import { sleep } from "godwit/clock";

class Zeros extends Body {
  constructor(private bytes: i64) {
    super();
  }
  writeTo(writer: BodyWriter): void {
    const piece = new Uint8Array(4096);
    for (let left = this.bytes; left > 0; left -= 4096) {
      if (!writer.write(left < 4096 ? piece.subarray(0, <i32>left) : piece)) return;
    }
  }
}

class Cut extends Body {
  writeTo(writer: BodyWriter): void {
    writer.writeText("the beginning\n");
    writer.flush();
    throw new Error("cut off in the middle");
  }
}

class Drip extends Body {
  constructor(private ms: i32) {
    super();
  }
  writeTo(writer: BodyWriter): void {
    writer.writeText("one\n");
    writer.flush();
    sleep(this.ms);
    writer.writeText("two\n");
  }
}

let sink: u64 = 0;

export function handle(request: Request): Response {
  const path = request.path;
  if (path == "/trap") throw new Error("as asked: trap");
  if (path == "/unreachable") unreachable();
  if (path == "/index") return Response.text([1, 2, 3][number(request, "at", 7)].toString());
  if (path == "/loop") while (true) sink++;
  if (path == "/recurse") return Response.text(recurse(0).toString());
  if (path == "/hog") return hog();
  if (path == "/spam") return spam(number(request, "lines", 100_000));
  if (path == "/long-line") console.log("x".repeat(number(request, "length", 1_000_000)));
  if (path == "/slow") sleep(number(request, "ms", 60_000));
  if (path == "/busy") burn(number(request, "ms", 50));
  if (path == "/big") return Response.stream(new Zeros(number(request, "bytes", 64 * 1024 * 1024)));
  if (path == "/drip") return Response.stream(new Drip(number(request, "ms", 100)));
  if (path == "/cut") return Response.stream(new Cut());
  if (path == "/header") return Response.text("ok\n").header("x-long", "x".repeat(number(request, "length", 1_000_000)));
  if (path == "/status") return Response.text("ok\n", number(request, "code", 999));
  if (path == "/count") return Response.text(request.bytes().length.toString());
  if (path == "/headers") return echo(request);
  if (path == "/cookies") return cookies();
  if (path == "/both") {
    console.log("to stdout");
    console.error("to stderr");
  }
  return Response.text("ok\n");
}

function number(request: Request, name: string, otherwise: i32): i32 {
  const text = request.query(name);
  return text === null ? otherwise : <i32>parseInt(text);
}

function recurse(depth: i32): i32 {
  return 1 + recurse(depth + 1) * 2;
}

function hog(): Response {
  const blocks: Uint8Array[] = [];
  while (true) blocks.push(new Uint8Array(1024 * 1024));
}

function spam(lines: i32): Response {
  for (let i = 0; i < lines; i++) console.log("line " + i.toString() + " of a program that talks too much");
  return Response.text("ok\n");
}

function burn(milliseconds: i32): void {
  const endMs = performance.now() + <f64>milliseconds;
  while (performance.now() < endMs) sink++;
}

function echo(request: Request): Response {
  let text = "";
  for (let i = 0; i < request.headers.length; i++) text += request.headers.name(i) + ": " + request.headers.value(i) + "\n";
  return Response.text(text);
}

function cookies(): Response {
  const response = Response.text("ok\n");
  response.headers.append("set-cookie", "a=1; Path=/; Domain=.localhost; Secure");
  response.headers.append("set-cookie", "b=2;domain=localhost");
  return response;
}
