// What it does before it could answer anything is said by its environment: nothing, or from when on it traps, or until when it loops.
import { variableOr } from "godwit/env";
import { Request, Response } from "godwit/http";

const trapsFromMs = <i64>Number.parseFloat(variableOr("TRAPS_FROM_MS", "9e15"));
const loopsUntilMs = <i64>Number.parseFloat(variableOr("LOOPS_UNTIL_MS", "0"));

console.log("beginning");
if (Date.now() >= trapsFromMs) throw new Error("too late");
while (Date.now() < loopsUntilMs) continue;

export function handle(request: Request): Response {
  return Response.text("begun");
}
