// A small service: one function from a request to a response. Each request runs in a fresh instance of this program, so
// nothing is shared between two of them; what is written with console.log becomes a line of the deployment's log.
import { variableOr } from "godwit/env";
import { Request, Response } from "godwit/http";

export function handle(request: Request): Response {
  const response = route(request);
  console.log(request.method + " " + request.path + " " + response.status.toString());
  return response;
}

function route(request: Request): Response {
  const path = request.path;
  if (path == "/") return greet(request.query("name"));
  if (path == "/headers") return showHeaders(request);
  if (path == "/time") return Response.json('{"now":"' + new Date(Date.now()).toISOString() + '"}\n');
  if (path == "/echo") return request.method == "POST" ? echo(request) : Response.text("POST something here\n", 405).header("allow", "POST");
  return Response.text("There is nothing at " + path + "\n", 404);
}

function greet(name: string | null): Response {
  const greeting = variableOr("GREETING", "Hello");
  return Response.text(greeting + (name === null || name == "" ? "" : ", " + name) + " from a godwit 👋\n");
}

function showHeaders(request: Request): Response {
  let lines = "";
  for (let i = 0; i < request.headers.length; i++) lines += request.headers.name(i) + ": " + request.headers.value(i) + "\n";
  return Response.text(lines);
}

function echo(request: Request): Response {
  const type = request.headers.get("content-type");
  return Response.bytes(request.bytes(), type === null ? "application/octet-stream" : type);
}
