// What a project under development answers while no version of it was ever good: the errors of its build. A browser asks again by
// itself, and so gets the service as soon as there is one.
import { variableOr } from "godwit/env";
import { Request, Response } from "godwit/http";

export function handle(request: Request): Response {
  const errors = variableOr("ERRORS", "");
  const accept = request.headers.get("accept");
  const response = accept !== null && accept.includes("text/html") ? Response.html(page(errors), 500) : Response.text(errors + "\n", 500);
  return response.header("cache-control", "no-store");
}

function page(errors: string): string {
  return '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="1"><title>Does not build</title>\n' +
    "<style>:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif } body { margin: 3rem } pre { white-space: pre-wrap; overflow-wrap: anywhere }</style>\n" +
    "</head><body><h1>It does not build</h1>\n<pre>" + escape(errors) + "</pre>\n<p>godwit dev serves it as soon as it does.</p></body></html>\n";
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
