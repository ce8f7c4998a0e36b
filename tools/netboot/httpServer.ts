/**
 * The HTTP server on one interface: the files of the catalogue (with ranges), the script and the words of each machine, and what `routes` adds.
 *
 * It listens on a socket that is bound to the interface: a request that came in through another is never seen. A connection on which nothing moves
 * is closed; heads and bodies have their limits.
 */
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { pipeline } from "node:stream";
import type { Ipv4 } from "#os/boot/addresses.ts";
import { tcpOnInterface } from "#os/linux/sockets.ts";
import { type Catalogue, type CatalogueFile, openUnchanged } from "./catalogue.ts";
import { HTTP_BODY_BYTES_MAX, HTTP_CONNECTIONS_MAX, HTTP_HEADER_BYTES_MAX, HTTP_IDLE_MS } from "./limits.ts";

export type HttpCall = { readonly method: string; readonly path: string; readonly query: URLSearchParams; readonly client: Ipv4; readonly body: Uint8Array };
export type HttpAnswer = { readonly status: number; readonly type: string; readonly body: string };
export type HttpOptions = {
  readonly interfaceName: string;
  readonly address: Ipv4;
  readonly port: number;
  readonly catalogue: Catalogue;
  /** Null: no such route; then it may be a file. */
  readonly route: (call: HttpCall) => HttpAnswer | null | Promise<HttpAnswer | null>;
  /** True: it has answered; what has a large body. */
  readonly upload?: (request: IncomingMessage, response: ServerResponse, path: string) => Promise<boolean>;
  readonly onFile: (client: Ipv4, file: string, isWhole: boolean) => void;
  readonly onFault: (error: Error) => void;
};
const HEADERS_TIMEOUT_MS = 10_000;
/** The largest body, of a machine that leaves something in the vault. */
const REQUEST_TIMEOUT_MS = 90_000;

export async function startHttp(options: HttpOptions): Promise<{ readonly http: Server; stop(): Promise<void> }> {
  const http = createServer({ maxHeaderSize: HTTP_HEADER_BYTES_MAX, headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      options.onFault(error instanceof Error ? error : new Error(String(error)));
      response.destroy();
    });
  });
  http.maxConnections = HTTP_CONNECTIONS_MAX;
  http.setTimeout(HTTP_IDLE_MS, (socket) => void socket.destroy());
  http.on("clientError", (_error, socket) => void socket.destroy());
  const descriptor = tcpOnInterface(options.interfaceName, options.port, options.address);
  await new Promise<void>((resolve, reject) => {
    http.once("error", reject);
    http.listen({ fd: descriptor }, resolve);
  });
  return {
    http,
    stop: () => new Promise((resolve) => {
      http.close(() => resolve());
      http.closeAllConnections();
    }),
  };
}

async function answer(options: HttpOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = URL.parse(request.url ?? "", "http://server");
  const method = request.method ?? "GET";
  if (url === null) return void response.writeHead(400).end();
  if ((await options.upload?.(request, response, url.pathname)) === true) return;
  const body = await bodyOf(request);
  if (body === null) return void response.writeHead(413, { connection: "close" }).end();
  const client = (request.socket.remoteAddress ?? "0.0.0.0") as Ipv4;
  const routed = await options.route({ method, path: url.pathname, query: url.searchParams, client, body });
  if (routed !== null) return void response.writeHead(routed.status, { "content-type": routed.type, "content-length": Buffer.byteLength(routed.body), "cache-control": "no-store" }).end(method === "HEAD" ? undefined : routed.body);
  const file = options.catalogue.get(url.pathname.slice(1));
  if (file === undefined) return void response.writeHead(404).end();
  if (method !== "GET" && method !== "HEAD") return void response.writeHead(405, { allow: "GET, HEAD" }).end();
  await sendFile(options, request, response, file, client);
}

async function sendFile(options: HttpOptions, request: IncomingMessage, response: ServerResponse, file: CatalogueFile, client: Ipv4): Promise<void> {
  const range = rangeOf(request.headers.range, file.bytes);
  if (range === "unsatisfiable") return void response.writeHead(416, { "content-range": `bytes */${file.bytes}` }).end();
  const [first, last] = range ?? [0, file.bytes - 1];
  const handle = await openUnchanged(file).catch((error: Error) => {
    options.onFault(error);
    return null;
  });
  if (handle === null) return void response.writeHead(503).end();
  response.writeHead(range === null ? 200 : 206, {
    "content-type": file.name.endsWith(".efi") ? "application/efi" : "application/octet-stream", "content-length": last - first + 1, "accept-ranges": "bytes",
    ...(range === null ? {} : { "content-range": `bytes ${first}-${last}/${file.bytes}` }),
  });
  if (request.method === "HEAD" || last < first) {
    response.end();
    return await handle.close();
  }
  options.onFile(client, file.name, false);
  // Whatever ends it, a client that had gone before it began, too: the file is closed.
  pipeline(handle.createReadStream({ start: first, end: last }), response, (error) => {
    if (error === null || error === undefined) {
      if (last === file.bytes - 1) options.onFile(client, file.name, true);
    } else if (error.code !== "ERR_STREAM_PREMATURE_CLOSE" && error.code !== "ECONNRESET") options.onFault(error);
  });
}

/** One range of bytes; null: the whole. A list of ranges is answered with the whole, as a server may. */
function rangeOf(header: string | undefined, bytes: number): readonly [first: number, last: number] | "unsatisfiable" | null {
  const [, from, to] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? "") ?? [];
  if (from === undefined || to === undefined || (from === "" && to === "")) return null;
  const first = from === "" ? Math.max(0, bytes - Number(to)) : Number(from);
  const last = from === "" || to === "" ? bytes - 1 : Math.min(Number(to), bytes - 1);
  return first > last ? "unsatisfiable" : [first, last];
}

async function bodyOf(request: IncomingMessage): Promise<Uint8Array | null> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of request as AsyncIterable<Uint8Array>) {
    length += part.length;
    if (length > HTTP_BODY_BYTES_MAX) return null;
    parts.push(part);
  }
  return Buffer.concat(parts);
}
