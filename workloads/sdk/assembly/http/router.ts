/**
 * From a method and a path to a function.
 *
 *     const app = new Router();
 *     app.get("/items/:id", show);          // request.param("id")
 *     app.get("/files/*", file);            // request.param("*"), the rest of the path
 *     serve(app);
 *
 * The first route that fits wins. A path that fits with other methods only is 405 with `allow`; HEAD takes the route of GET.
 * A function at the top of a module or a `(request) => …` that uses nothing of where it stands: AssemblyScript has no closures.
 */
import { decodePath } from "./escape";
import { Request } from "./request";
import { Response } from "./response";

/** What answers a request. */
export type Handler = (request: Request) => Response;
/** Looks at a request first: a response ends it, null lets it go on. */
export type Guard = (request: Request) => Response | null;
/** Looks at a response last. */
export type Finish = (request: Request, response: Response) => Response;

const ANY = "*";

class Route {
  private parts: string[];

  constructor(readonly method: string, pattern: string, readonly handler: Handler) {
    assert(pattern.startsWith("/"), "Cannot route \"" + pattern + "\": a path begins with /");
    this.parts = pattern.split("/");
  }

  /** What the pattern's parts are in `path`; null when it does not fit. */
  match(path: string[]): Map<string, string> | null {
    const params = new Map<string, string>();
    for (let i = 0; i < this.parts.length; i++) {
      const part = this.parts[i];
      if (part == ANY && i == this.parts.length - 1) {
        if (i >= path.length) return null;
        params.set(ANY, decodePath(path.slice(i).join("/")));
        return params;
      }
      if (i >= path.length) return null;
      if (part.startsWith(":")) {
        if (!path[i].length) return null;
        params.set(part.substring(1), decodePath(path[i]));
      } else if (part != path[i]) return null;
    }
    return this.parts.length == path.length ? params : null;
  }

  takes(method: string): bool {
    return this.method == method || this.method == ANY || (method == "HEAD" && this.method == "GET");
  }
}

/** Finds what answers a request by its method and its path; the first route that fits wins. */
export class Router {
  private routes: Route[] = [];
  private guards: Guard[] = [];
  private finishes: Finish[] = [];
  private missing: Handler = nothingThere;

  /** A route for one method, or `*` for all. */
  on(method: string, pattern: string, handler: Handler): Router {
    this.routes.push(new Route(method, pattern, handler));
    return this;
  }

  /** A route for GET, and for HEAD. */
  get(pattern: string, handler: Handler): Router {
    return this.on("GET", pattern, handler);
  }

  /** A route for POST. */
  post(pattern: string, handler: Handler): Router {
    return this.on("POST", pattern, handler);
  }

  /** A route for PUT. */
  put(pattern: string, handler: Handler): Router {
    return this.on("PUT", pattern, handler);
  }

  /** A route for PATCH. */
  patch(pattern: string, handler: Handler): Router {
    return this.on("PATCH", pattern, handler);
  }

  /** A route for DELETE. */
  delete(pattern: string, handler: Handler): Router {
    return this.on("DELETE", pattern, handler);
  }

  /** A route for every method. */
  all(pattern: string, handler: Handler): Router {
    return this.on(ANY, pattern, handler);
  }

  /** Before any route, in order. */
  before(guard: Guard): Router {
    this.guards.push(guard);
    return this;
  }

  /** After any route, and after a guard's response, in order. */
  after(finish: Finish): Router {
    this.finishes.push(finish);
    return this;
  }

  /** What answers where no route fits. */
  notFound(handler: Handler): Router {
    this.missing = handler;
    return this;
  }

  /** Answers a request: what `serve` calls. */
  handle(request: Request): Response {
    let response = this.answer(request);
    for (let i = 0; i < this.finishes.length; i++) response = this.finishes[i](request, response);
    return response;
  }

  private answer(request: Request): Response {
    for (let i = 0; i < this.guards.length; i++) {
      const refusal = this.guards[i](request);
      if (refusal) return refusal;
    }
    const method = request.method;
    const path = request.path.split("/");
    const allowed: string[] = [];
    for (let i = 0; i < this.routes.length; i++) {
      const route = this.routes[i];
      const params = route.match(path);
      if (!params) continue;
      if (route.takes(method)) {
        request.params = params;
        return route.handler(request);
      }
      if (!allowed.includes(route.method)) allowed.push(route.method);
    }
    if (allowed.length) return Response.text("method not allowed\n", 405).header("allow", allowed.join(", "));
    return this.missing(request);
  }
}

function nothingThere(request: Request): Response {
  return Response.text("not found\n", 404);
}
