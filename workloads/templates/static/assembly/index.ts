// A static site: the files of the folder site, which embed.mjs has put into ./site.ts. Browsers keep what they have, and ask with
// its ETag whether it is still good.
import { Request, Response } from "godwit/http";
import { File, find } from "./site";

export function handle(request: Request): Response {
  const response = answer(request);
  console.log(request.method + " " + request.path + " " + response.status.toString());
  return response;
}

function answer(request: Request): Response {
  if (request.method != "GET" && request.method != "HEAD") return Response.text("Only GET\n", 405).header("allow", "GET, HEAD");
  const path = request.path;
  const file = find(path.endsWith("/") ? path + "index.html" : path);
  if (file) return send(request, file);
  // Relative links in a folder's page need the slash.
  if (find(path + "/index.html")) return Response.redirect(path + "/", 308);
  const missing = find("/404.html");
  return missing ? Response.bytes(missing.bytes(), missing.contentType, 404) : Response.text("There is nothing at " + path + "\n", 404);
}

function send(request: Request, file: File): Response {
  const known = request.headers.get("if-none-match");
  const response = known !== null && known.includes(file.etag) ? Response.empty(304) : Response.bytes(file.bytes(), file.contentType);
  return response.header("etag", file.etag).header("cache-control", "no-cache");
}
