// A service that uses what the SDK has: routes, cookies, JSON, logs, random numbers, a clock.
import { Body, BodyWriter, decodePath, encodePart, Cookie, Request, Response, Router, serve } from "godwit/http";
import { elapsedNs, nowMs } from "godwit/clock";
import { json, jsonOf } from "godwit/json";
import { info, warn } from "godwit/log";
import { below, bytes, uuid } from "godwit/random";

@json
class Line {
  item: string = "";
  count: i32 = 0;
}

@json
class Order {
  lines: Line[] = [];
  note: string | null = null;
}

/** What comes is sent back in capitals, piece by piece. */
class Louder extends Body {
  constructor(private request: Request) {
    super();
  }
  writeTo(writer: BodyWriter): void {
    for (let piece = this.request.read(1000); piece; piece = this.request.read(1000)) {
      writer.writeText(String.UTF8.decodeUnsafe(piece.dataStart, piece.length).toUpperCase());
      writer.flush();
    }
  }
}

const app = new Router();
app.get("/", (request: Request): Response => Response.text("root\n"));
app.get("/items/:item/sizes/:size", (request: Request): Response => Response.text(request.param("item") + "|" + request.param("size")));
app.put("/items/:item", (request: Request): Response => Response.text("put " + request.param("item")));
app.delete("/items/:item", (request: Request): Response => Response.empty(204));
app.get("/files/*", (request: Request): Response => Response.text(request.param("*")));
app.get("/query", (request: Request): Response => Response.text(request.queries("tag").join("|") + request.search));
app.get("/missing-param", (request: Request): Response => Response.text(request.param("other")));
app.post("/orders", take);
app.get("/in", (request: Request): Response => Response.text("in").setCookie(new Cookie("session", "a b;ü").maxAge(60)));
app.get("/me", me);
app.get("/random", (request: Request): Response => Response.text([uuid(), below(10).toString(), bytes(8).length.toString()].join(" ")));
app.get("/clock", (request: Request): Response => Response.text(nowMs().toString() + " " + (elapsedNs() > 0 ? "runs" : "stands")));
app.get("/log", log);
app.get("/escape", (request: Request): Response => Response.text(encodePart("a/b ü~") + " " + decodePath("a%2Fb+c%zz")));
app.post("/louder", (request: Request): Response => Response.stream(new Louder(request), "text/plain"));
app.all("/any", (request: Request): Response => Response.text(request.method));
app.before((request: Request): Response | null => (request.headers.has("x-blocked") ? Response.text("blocked", 403) : null));
app.after((request: Request, response: Response): Response => response.header("x-app", "routed"));
app.notFound((request: Request): Response => Response.text("no " + request.path, 404));
serve(app);

function take(request: Request): Response {
  const order = jsonOf<Order>(request.text());
  if (!order) return Response.text("not JSON", 400);
  order.note = order.lines.length.toString() + " lines";
  return json<Order>(order, 201);
}

function me(request: Request): Response {
  const session = request.cookie("session");
  return Response.text(session === null ? "nobody" : session);
}

function log(request: Request): Response {
  info("sold", [["item", "tea"], ["to", 'A "B"\nC']]);
  warn("low");
  return Response.empty(204);
}
