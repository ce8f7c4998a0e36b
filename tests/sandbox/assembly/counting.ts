// A service that counts what its instance has served: 1 for ever where each request has an instance of its own.
import { Request, Response } from "godwit/http";

let served = 0;
let kept: string[] = [];

export function handle(request: Request): Response {
  served++;
  console.log("served " + served.toString());
  if (request.path == "/trap") unreachable();
  if (request.path == "/grow") kept.push("x".repeat(4 * 1024 * 1024));
  return Response.text(served.toString());
}
