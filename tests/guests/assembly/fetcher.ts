// A service that sends the request its own query describes, and answers with what came of it.
import { FetchOptions, fetch, Request, Response } from "godwit/http";

export function handle(request: Request): Response {
  const url = request.query("url");
  if (url === null) return Response.text("no url", 400);
  const method = request.query("method");
  const options = new FetchOptions(method === null ? "GET" : method);
  const bytes = request.query("bytes");
  if (bytes !== null) options.bytes(new Uint8Array(<i32>parseInt(bytes)));
  const redirects = request.query("redirects");
  if (redirects !== null) options.redirectsMax = <i32>parseInt(redirects);
  const times = request.query("times");
  let answer = fetch(url, options);
  // Answers that are not read keep their connections.
  for (let i = 1; i < (times === null ? 1 : <i32>parseInt(times)); i++) answer = fetch(url, options);
  if (answer.error.length) return Response.text("error " + answer.error);
  const status = answer.status;
  if (request.query("count") !== null) return Response.text(status.toString() + " " + answer.bytes().length.toString());
  return Response.text(status.toString() + " " + answer.text());
}
