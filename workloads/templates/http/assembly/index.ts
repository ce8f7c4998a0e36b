// A service is one function from a request to a response. Each request runs in a fresh instance of this program: a variable at
// the top is not shared between two of them. What is written with console.log becomes a line of the log.
import { variableOr } from "godwit/env";
import { Request, Response } from "godwit/http";

export function handle(request: Request): Response {
  const response = route(request);
  console.log(request.method + " " + request.path + " " + response.status.toString());
  return response;
}

function route(request: Request): Response {
  if (request.path == "/") return greet(request);
  return Response.text("There is nothing at " + request.path + "\n", 404);
}

function greet(request: Request): Response {
  const name = request.query("name");
  const greeting = variableOr("GREETING", "Hello"); // From [environment] in godwit.toml.
  return Response.text(greeting + ", " + (name === null ? "world" : name) + "!\n");
}
