/**
 * What a service under development is asked through: it hands every request on to the runner, and shows pages to people.
 *
 * A browser that was to have a page gets one when the program traps, or when there is no good version yet; every other answer, and all
 * that is no browser, gets what the runner says, streamed both ways as it comes. It is here and not in the runner, as a machine
 * that serves strangers must not show them sources. A trap is told from an answer of the program by the runner's own line in the log.
 * Stricter than a proxy for the world needs to be: HTTP/1.1 only, and trailers end here.
 */
import { type IncomingMessage, type ServerResponse, type Server, createServer, request as ask } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream";
import type { LogLine } from "#sandbox/sandbox.ts";
import { CliError } from "../command.ts";
import type { Failure } from "./report.ts";
import { buildPage, trapPage } from "./pages.ts";

export type FrontOptions = { readonly project: string; readonly address: string; readonly port: number };
type Upstream = { readonly address: string; readonly port: number };

/** Pages wait here for the next good version, and then load again. */
const RELOAD_PATH = "/.godwit/reload";
const PROBLEM_BYTES_MAX = 4_096;
/** Of all requests together; a page shows those of its own. */
const LOG_LINES_KEPT = 1_000;
/** The log is on another way than the answer: its lines are complete when nothing more has come for a moment. */
const LOG_QUIET_MS = 30;
const LOG_WAIT_MS_MAX = 400;
/** More than the sandbox takes, whose own refusal is the one to see. */
const HEADER_BYTES_MAX = 256 * 1024;
/** Of one connection only (RFC 9110, 7.6.1); Node answers Expect itself. */
const OWN_HEADERS = new Set(["connection", "keep-alive", "proxy-connection", "expect"]);
const LISTEN_CODES: Readonly<Record<string, string>> = { EADDRINUSE: "port_in_use", EADDRNOTAVAIL: "address_unavailable" };

export class Front {
  readonly #options: FrontOptions;
  readonly #server: Server;
  readonly #waiting = new Set<ServerResponse>();
  #log: LogLine[] = [];
  #upstream: Upstream | null = null;
  #failure: Failure | null = null;
  /** Resolves when there is something to answer: a good version, or why there is none. */
  readonly #known = Promise.withResolvers<void>();

  /** Listens. Throws port_in_use, address_unavailable, listen_failed. */
  static async open(options: FrontOptions): Promise<Front> {
    const front = new Front(options);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    front.#server.once("error", (error: NodeJS.ErrnoException) => {
      reject(new CliError(LISTEN_CODES[error.code ?? ""] ?? "listen_failed", `Cannot listen on ${options.address} port ${options.port}: ${error.message}`, {}, error));
    });
    front.#server.listen(options.port, options.address, resolve);
    await promise;
    return front;
  }

  private constructor(options: FrontOptions) {
    this.#options = options;
    this.#server = createServer({ requestTimeout: 0, maxHeaderSize: HEADER_BYTES_MAX }, (request, response) => void this.#answer(request, response).catch(() => response.destroy()));
    this.#server.maxHeadersCount = 0;
  }

  get address(): { readonly address: string; readonly port: number } {
    return this.#server.address() as AddressInfo;
  }

  /** From now on the runner there answers; pages of errors load again. */
  serve(upstream: Upstream): void {
    this.#upstream = upstream;
    this.#failure = null;
    this.#known.resolve();
    for (const response of this.#waiting) response.write("data: reload\n\n");
  }

  /** Where no version was good yet, this is the answer. */
  explain(failure: Failure): void {
    if (this.#upstream !== null) return;
    this.#failure = failure;
    this.#known.resolve();
    for (const response of this.#waiting) response.write("data: reload\n\n");
  }

  /** A line that the program or the runner wrote, with lines of the sources. */
  log(line: LogLine): void {
    this.#log.push(line);
    if (this.#log.length > 2 * LOG_LINES_KEPT) this.#log = this.#log.slice(-LOG_LINES_KEPT);
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url === RELOAD_PATH) return this.#wait(response);
    await this.#known.promise;
    if (this.#upstream !== null) return this.#pass(request, response, this.#upstream);
    const { message } = this.#failure ?? { message: "" };
    request.resume();
    if (this.#failure !== null && wantsPage(request)) return page(response, 500, await buildPage(this.#options.project, this.#failure, RELOAD_PATH));
    response.writeHead(500, { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" }).end(`${message}\n`);
  }

  #wait(response: ServerResponse): void {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" }).flushHeaders();
    this.#waiting.add(response);
    response.on("close", () => this.#waiting.delete(response));
  }

  #pass(request: IncomingMessage, response: ServerResponse, { address, port }: Upstream): void {
    const onward = ask({ host: address, port, method: request.method ?? "GET", path: request.url ?? "/", headers: ownHeadersLeftOut(request.rawHeaders), setHost: false, agent: false });
    pipeline(request, onward, () => undefined);
    response.on("close", () => onward.destroy());
    onward.on("error", (error) => {
      if (response.headersSent) response.destroy();
      else response.writeHead(502, { "content-type": "text/plain; charset=utf-8" }).end(`The sandbox did not answer: ${error.message}\n`);
    });
    onward.on("response", (answer) => void this.#deliver(request, answer, response).catch(() => response.destroy()));
  }

  async #deliver(request: IncomingMessage, answer: IncomingMessage, response: ServerResponse): Promise<void> {
    const id = answer.headers["x-request-id"];
    const isProblem = (answer.statusCode ?? 0) >= 500 && answer.headers["content-type"] === "application/problem+json" && Number(answer.headers["content-length"]) <= PROBLEM_BYTES_MAX;
    const lines = isProblem && typeof id === "string" && wantsPage(request) ? await this.#linesOf(id) : [];
    if (typeof id === "string" && lines.some(({ stream }) => stream === "system")) {
      answer.resume();
      return page(response, answer.statusCode ?? 500, await trapPage(this.#options.project, `${request.method} ${request.url}`, id, lines, RELOAD_PATH), id);
    }
    response.sendDate = false;
    response.writeHead(answer.statusCode ?? 502, answer.statusMessage, ownHeadersLeftOut(answer.rawHeaders)).flushHeaders();
    // An answer that breaks off breaks off here as well.
    pipeline(answer, response, () => undefined);
  }

  /** What a request wrote, with the end of its trap. */
  async #linesOf(id: string): Promise<LogLine[]> {
    const untilMs = performance.now() + LOG_WAIT_MS_MAX;
    let seen = -1;
    for (;;) {
      const lines = this.#log.filter(({ requestId }) => requestId === id);
      const isComplete = lines.length === seen && lines.some(({ stream }) => stream === "system");
      if (isComplete || performance.now() > untilMs) return lines;
      seen = lines.length;
      await new Promise((resolve) => setTimeout(resolve, LOG_QUIET_MS));
    }
  }
}

const wantsPage = ({ headers }: IncomingMessage): boolean => headers.accept?.includes("text/html") === true;

function page(response: ServerResponse, status: number, html: string, id?: string): void {
  response.writeHead(status, { "content-type": "text/html; charset=utf-8", "cache-control": "no-store", ...(id === undefined ? {} : { "x-request-id": id }) }).end(html);
}

/** Names and values in turns, as they came. */
function ownHeadersLeftOut(raw: readonly string[]): string[] {
  return raw.filter((_, i) => !OWN_HEADERS.has((raw[i - (i % 2)] ?? "").toLowerCase()));
}
