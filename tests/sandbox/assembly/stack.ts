// Holds what must not outlive it on its stack alone: deep down, or below a frame of many zeros (wide.ts is made by the test).
import { Request, Response } from "godwit/http";
import { sleep } from "godwit/clock";
import { wide } from "./wide";

const DEEP = 3_000;
const TIMES_SLEPT = 100;

export function deep(left: i32, secret: u64, wait: bool): u64 {
  if (left == 0) {
    if (wait) for (let times = 0; times < TIMES_SLEPT; times++) sleep(100);
    return secret;
  }
  return (deep(left - 1, secret, wait) ^ <u64>left) + secret;
}

export function handle(request: Request): Response {
  // Not as it came, so that it is in no text.
  const secret = rotl<u64>(U64.parseInt(request.query("seed")!, 16), 13) ^ 0x5bd1e995c2b2ae35;
  const wait = request.query("wait") !== null;
  const zeros = heap.alloc(1 << 16);
  memory.fill(zeros, 0, 1 << 16);
  const end = request.path == "/wide" ? wide(zeros, secret, wait) : deep(DEEP, secret, wait);
  return Response.text((end & 1).toString());
}
