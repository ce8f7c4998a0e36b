/**
 * The listening socket of the API, bound before anything else of the machine is touched: a port in use is an error with nothing
 * to undo. Until the routes are behind it, every request is answered 503 `starting`.
 */
import { type IncomingMessage, type RequestListener, STATUS_CODES, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { AgentError, codeOf } from "../error.ts";
import { PROBLEM_TYPE, problemOf } from "./problems.ts";
import { clientOf, givesWay } from "./seats.ts";

/** Connections at once: for one more, the one that has been silent for longest goes, or one of whoever has most. */
const CONNECTIONS_MAX = 1024;
/** Of all answers that nobody reads, in memory at once: a page may have megabytes. Beyond it the connection with most of them goes. */
const UNSENT_BYTES_MAX: number = 64 * 1024 * 1024;
/** A whole request, body and all: long enough for 16 MiB over a slow line. */
const REQUEST_TIMEOUT_MS = 120_000;
const HEADERS_TIMEOUT_MS = 10_000;
/** How often Node looks for requests that are over their time. */
const TIMEOUT_CHECK_MS = 2_000;
const HEADER_BYTES_MAX = 16 * 1024;

export type Door = {
  readonly http: Server;
  readonly port: number;
  open(listener: RequestListener): void;
  close(): Promise<void>;
};

export async function bindDoor(address: string, port: number, connectionsMax: number = CONNECTIONS_MAX, unsentBytesMax: number = UNSENT_BYTES_MAX): Promise<Door> {
  let listener: RequestListener = notYet;
  const http = createServer(
    { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: HEADERS_TIMEOUT_MS, maxHeaderSize: HEADER_BYTES_MAX, connectionsCheckingInterval: TIMEOUT_CHECK_MS },
    (request, response) => listener(request, response),
  );
  http.on("clientError", answerMalformed);
  makeRoom(http, connectionsMax, unsentBytesMax);
  await new Promise<void>((resolve, reject) => {
    http.once("error", (error) => reject(portError(error, address, port)));
    http.listen({ host: address, port, exclusive: true }, resolve);
  });
  return {
    http,
    port: (http.address() as AddressInfo).port,
    open: (next) => void (listener = next),
    close: () =>
      new Promise((resolve) => {
        http.close(() => resolve());
        // Answers under way get this turn of the loop; a stop waits for nobody.
        setImmediate(() => http.closeAllConnections());
      }),
  };
}

/** Strangers who hold connections and ask nothing, or do not read their answers, keep nobody out. Node's own maxConnections would close the newcomer. */
function makeRoom(http: Server, connectionsMax: number, unsentBytesMax: number): void {
  const open = new Map<Socket, { readonly socket: Socket; readonly client: string }>();
  /** Those whose request is not here, longest first. */
  const silent = new Set<Socket>();
  http.on("connection", (socket) => {
    const client = clientOf(socket.remoteAddress);
    const holders = open.size < connectionsMax ? [] : [...open.values()];
    open.set(socket, { socket, client });
    silent.add(socket);
    socket.once("close", () => {
      open.delete(socket);
      silent.delete(socket);
    });
    if (open.size <= connectionsMax) return;
    const [longest = socket] = silent;
    (longest === socket ? (givesWay(holders, client)?.socket ?? socket) : longest).destroy();
  });
  http.on("request", ({ socket }, response) => {
    silent.delete(socket);
    endLargest(open.keys(), unsentBytesMax);
    response.once("close", () => {
      if (open.has(socket)) silent.add(socket);
    });
  });
}

function endLargest(sockets: Iterable<Socket>, unsentBytesMax: number): void {
  let [sum, largest]: [number, Socket | null] = [0, null];
  for (const socket of sockets) {
    sum += socket.writableLength;
    if (largest === null || socket.writableLength > largest.writableLength) largest = socket;
  }
  if (sum > unsentBytesMax) largest?.destroy();
}

function portError(error: Error, address: string, port: number): AgentError {
  const code = codeOf(error) === "EADDRINUSE" ? "port_in_use" : "listen_failed";
  const why = code === "port_in_use" ? "another process listens on it" : error.message;
  return new AgentError(code, `Cannot listen on port ${port} of ${address}: ${why}`, { cause: error });
}

/** What the parser gave up on: no route has seen it. */
const MALFORMED: Readonly<Record<string, readonly [string, string]>> = {
  HPE_HEADER_OVERFLOW: ["header_too_large", `Cannot read the request as its header has more than ${HEADER_BYTES_MAX} bytes`],
  ERR_HTTP_REQUEST_TIMEOUT: ["request_timeout", "Cannot wait for the request any longer"],
};

function answerMalformed(error: Error, socket: Duplex): void {
  if (!socket.writable) return void socket.destroy();
  const [code, message] = MALFORMED[codeOf(error)] ?? ["request_malformed", "Cannot read the request as it is not HTTP/1.1"];
  const problem = problemOf(new AgentError(code, message));
  const body = JSON.stringify(problem);
  // A client that does not close its half would keep the connection, and the last of them is everybody's.
  socket.end(`HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`, () => socket.destroy());
}

function notYet(_request: IncomingMessage, response: ServerResponse): void {
  const problem = problemOf(new AgentError("starting", "The machine starts: try again in a moment"));
  response.writeHead(problem.status, { "content-type": PROBLEM_TYPE, "retry-after": "1" });
  response.end(JSON.stringify(problem));
}
