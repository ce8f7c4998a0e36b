// A service that never answers: the neighbour of a benchmark.
import { Request, Response } from "godwit/http";

let sink: u64 = 0;

export function handle(_request: Request): Response {
  while (true) sink++;
  return Response.text("never\n");
}
