// A service that traps when it is instantiated, before any request.
import { Request, Response } from "godwit/http";

const table = new Array<i32>(1);
const first = table[Date.now() > 0 ? 5 : 0];

export function handle(request: Request): Response {
  return Response.text(first.toString());
}
