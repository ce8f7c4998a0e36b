// A service whose instance stays: it answers after two minutes.
import { sleep } from "godwit/clock";
import { Request, Response } from "godwit/http";

export function handle(request: Request): Response {
  if (request.path == "/rest") sleep(120_000);
  return Response.text("rested\n");
}
