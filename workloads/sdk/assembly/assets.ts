/**
 * `godwit/assets`: the files of the folder that `assets = "site"` in godwit.toml names, which are part of the component.
 *
 *     app.get("/*", assets);
 *
 * With types and ETags: a browser that has a file already gets 304. A folder is its index.html; what is not there is 404.html with 404.
 */
import { Asset } from "./assets/asset";
import { find } from "./assets/files";
import { Request } from "./http/request";
import { Response } from "./http/response";

export { Asset } from "./assets/asset";

/** The file at a path, which begins with a slash and is percent-encoded; null when there is none. */
export function asset(path: string): Asset | null {
  return find(path);
}

/** Answers a request for a file. */
export function assets(request: Request): Response {
  if (request.method != "GET" && request.method != "HEAD") return Response.text("Only GET\n", 405).header("allow", "GET, HEAD");
  const path = request.path;
  const file = find(path.endsWith("/") ? path + "index.html" : path);
  if (file) return send(request, file);
  // Relative links in a folder's page need the slash.
  if (find(path + "/index.html")) return Response.redirect(path + "/", 308);
  const missing = find("/404.html");
  return missing ? Response.bytes(missing.bytes, missing.contentType, 404) : Response.text("There is nothing at " + path + "\n", 404);
}

function send(request: Request, file: Asset): Response {
  const known = request.headers.get("if-none-match");
  const response = known !== null && known.includes(file.etag) ? Response.empty(304) : Response.bytes(file.bytes, file.contentType);
  return response.header("etag", file.etag).header("cache-control", "no-cache");
}
