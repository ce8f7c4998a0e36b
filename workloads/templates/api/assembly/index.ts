// A JSON API: a shop's price list and its quotes. Nothing is kept between two requests (each runs in a fresh instance of this
// program); every answer, errors too, is JSON.
//
//   GET  /items         every item
//   GET  /items/{id}    one item
//   POST /quote         {"lines":[{"item":"tea","count":2}]} → what it costs
import { Request, Response } from "godwit/http";
import { JsonObject, jsonList, parseJson } from "./json";
import { ITEMS, itemOf, quote } from "./shop";

/** A client that sends more is not asking for a quote. */
const BODY_BYTES_MAX = 16 * 1024;

export function handle(request: Request): Response {
  const response = route(request);
  console.log(request.method + " " + request.path + " " + response.status.toString());
  return response;
}

function route(request: Request): Response {
  const path = request.path;
  if (path == "/items") return isRead(request) ? list() : notAllowed("GET, HEAD");
  if (path.startsWith("/items/")) return isRead(request) ? show(path.substring(7)) : notAllowed("GET, HEAD");
  if (path == "/quote") return request.method == "POST" ? price(request) : notAllowed("POST");
  return problem(404, "not_found", "There is nothing at " + path);
}

function list(): Response {
  const items: string[] = [];
  for (let i = 0; i < ITEMS.length; i++) items.push(ITEMS[i].toJson());
  return Response.json(new JsonObject().raw("items", jsonList(items)).toString());
}

function show(id: string): Response {
  const item = itemOf(id);
  return item ? Response.json(item.toJson()) : problem(404, "item_unknown", "There is no item " + id);
}

function price(request: Request): Response {
  const type = request.headers.get("content-type");
  if (type === null || !type.startsWith("application/json")) return problem(415, "media_type", "Send application/json");
  const body = request.bytes();
  if (body.length > BODY_BYTES_MAX) return problem(413, "body_too_large", "A quote has at most " + BODY_BYTES_MAX.toString() + " bytes");
  const order = parseJson(String.UTF8.decode(body.slice().buffer));
  if (!order) return problem(400, "json_invalid", "The body is not JSON");
  const quoted = quote(order);
  const refusal = quoted.refusal;
  return refusal ? problem(422, refusal.code, refusal.message) : Response.json(quoted.json);
}

function isRead(request: Request): bool {
  const method = request.method;
  return method == "GET" || method == "HEAD";
}

function notAllowed(allow: string): Response {
  return problem(405, "method_not_allowed", "Use " + allow).header("allow", allow);
}

/** An error with a code for programs and a message for people. */
function problem(status: i32, code: string, message: string): Response {
  return Response.json(new JsonObject().text("code", code).text("message", message).toString(), status);
}
