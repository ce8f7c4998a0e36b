/** What a program serves with, said once at the top of its module. */
import { Request } from "./request";
import { Response } from "./response";
import { Handler, Router } from "./router";

let handler: Handler | null = null;
let router: Router | null = null;

/** Serves every request with `app`: a Router, or a function from Request to Response. */
export function serve<T>(app: T): void {
  if (app instanceof Router) router = app;
  else handler = changetype<Handler>(app);
}

/** For the SDK. */
export function answer(request: Request): Response {
  if (router) return router!.handle(request);
  const serving = handler;
  assert(serving !== null, "Nothing serves: call serve(…) at the top of the entry");
  return serving === null ? Response.empty(500) : serving(request);
}
