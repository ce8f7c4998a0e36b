// Holds what must not outlive it: in memory, tables of its heap, globals, its log, and what it was given by header, body and environment.
import { Request, Response } from "godwit/http";
import { sleep } from "godwit/clock";
import { variable } from "godwit/env";

const COPIES = 20_000;
const TIMES_SLEPT = 100;
let kept: string[] = [];
let last: string = "";

// Made here and now, so that it is in no code and in no message: every digit of the seed, turned.
function turned(seed: string): string {
  let text = "";
  for (let index = seed.length - 1; index >= 0; index--) text += String.fromCharCode(103 + (seed.charCodeAt(index) % 16));
  return text;
}

export function handle(request: Request): Response {
  const secret = turned(request.query("seed")!);
  const table = new Map<string, string>();
  for (let index = 0; index < COPIES; index++) table.set(index.toString() + secret, secret);
  kept = table.keys();
  last = secret + request.text() + request.headers.get("x-secret")! + variable("SECRET")!;
  console.log("log of " + secret);
  console.error("not a whole line " + secret);
  if (request.path == "/trap") unreachable();
  if (request.path == "/wait") for (let times = 0; times < TIMES_SLEPT; times++) sleep(100);
  return Response.text(kept.length.toString() + last.length.toString() + secret).header("x-answer", secret);
}
