// The shortest service: what the benchmarks of http measure, beside servers that answer the same.
import { Request, Response } from "godwit/http";

export function handle(_request: Request): Response {
  return Response.text("Hello, world!\n");
}
