// Passes a request on to one of the places that `outgoing` in godwit.toml allows, and the answer back while it comes.
//
//   curl 'http://…/?url=https://example.com/'
import { FetchOptions, Request, Response, fetch, serve } from "godwit/http";
import { warn } from "godwit/log";

/** Of the answer's headers; the others are between the two servers. */
const PASSED: StaticArray<string> = ["content-type", "etag", "last-modified", "cache-control"];

serve((request: Request): Response => {
  const url = request.query("url");
  if (url === null) return Response.text("say where: /?url=https://…\n", 400);
  if (request.method != "GET") return Response.text("only GET\n", 405).header("allow", "GET");
  const options = new FetchOptions();
  const accept = request.headers.get("accept");
  if (accept !== null) options.header("accept", accept);
  const answer = fetch(url, options);
  if (!answer.status) {
    warn("not reached", [["url", url], ["why", answer.error]]);
    return Response.text(answer.error + "\n", answer.error == "HTTP-request-denied" ? 403 : 502);
  }
  const response = Response.stream(answer.body(), "application/octet-stream", answer.status);
  for (let i = 0; i < PASSED.length; i++) {
    const value = answer.headers.get(PASSED[i]);
    if (value !== null) response.header(PASSED[i], value);
  }
  return response;
});
