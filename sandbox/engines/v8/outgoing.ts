/**
 * Requests that a guest on V8 sends, carried out on the main thread: dialled by the same policy as a machine's (dial.ts), then spoken by
 * node:http over the one socket that the policy gave. An answer's body is read as the guest asks for it.
 */
import { type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http";
import { connect as connectSocket, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { createDial, type Connect, type Dial, type DialRefusal, type OutgoingOptions } from "../../dial.ts";
import type { Limits } from "../../limits.ts";
import { type OutgoingPlace, outgoingText, parseOutgoing } from "../../outgoing.ts";
import type { Mock, MockedRequest } from "./mock.ts";
import type { FromLane, Headers as HeaderList, ToLane } from "./protocol.ts";

const ERROR_OF: Readonly<Record<DialRefusal, string>> = {
  denied: "HTTP-request-denied", name_unknown: "DNS-error", name_timeout: "DNS-timeout", address_forbidden: "destination-IP-prohibited", connection_refused: "connection-refused",
  connection_timeout: "connection-timeout", unreachable: "destination-unavailable", too_many: "connection-limit-reached",
};
const ERROR_OF_NODE: Readonly<Record<string, string>> = { HPE_HEADER_OVERFLOW: "HTTP-response-header-section-size", ECONNRESET: "connection-terminated", EPIPE: "connection-terminated" };
const PORTS: Readonly<Record<string, number>> = { http: 80, https: 443 };
const METHODS_REFUSED: ReadonlySet<string> = new Set(["CONNECT", "TRACE"]);
const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

/** What dials of all deployments of one runner go through, and the sockets they gave. */
export class Dialler {
  readonly #sockets = new Map<number, Socket>();
  readonly #dial: Dial;
  readonly roots: readonly Uint8Array[];
  #number = 0;

  constructor(options: OutgoingOptions | undefined) {
    this.roots = options?.test?.roots ?? [];
    this.#dial = createDial(this.#connect, options);
  }

  async dial(scope: string, allowed: readonly OutgoingPlace[], scheme: string, host: string, port: number, timeoutMs: number): Promise<Socket | DialRefusal> {
    const { fd, code } = await this.#dial(scope, allowed, { scheme, host, port, timeoutMs });
    const socket = this.#sockets.get(fd);
    this.#sockets.delete(fd);
    return code === "" && socket !== undefined ? socket : code === "" ? "unreachable" : code;
  }

  /** As the addon's, with numbers of our own for descriptors. */
  readonly #connect: Connect = (address, port, timeoutMs) =>
    new Promise((resolve) => {
      const socket = connectSocket({ host: address, port, noDelay: true });
      const fail = (code: string): void => {
        clearTimeout(timer);
        socket.destroy();
        resolve({ fd: -1, code });
      };
      const timer = setTimeout(() => fail("connection_timeout"), timeoutMs);
      socket.once("error", (error: NodeJS.ErrnoException) => fail(error.code === "ECONNREFUSED" ? "connection_refused" : "unreachable"));
      socket.once("connect", () => {
        clearTimeout(timer);
        socket.removeAllListeners("error").on("error", () => {});
        this.#sockets.set((this.#number += 1), socket);
        resolve({ fd: this.#number, code: "" });
      });
    });
}

type Sent = Extract<FromLane, { type: "send" }>;

/** The requests of one guest; they end with it. */
export class GuestRequests {
  readonly #dialler: Dialler;
  readonly #scope: string;
  readonly #allowed: readonly OutgoingPlace[];
  readonly #limits: Limits;
  readonly #post: (message: ToLane) => void;
  readonly #running = new Map<number, { request: ClientRequest | null; body: AsyncIterator<Uint8Array> | null; bytes: number }>();
  #ended = false;

  readonly #mock: Mock["outgoing"];

  constructor(dialler: Dialler, scope: string, allowed: readonly OutgoingPlace[], limits: Limits, post: (message: ToLane) => void, mock?: Mock) {
    this.#mock = mock?.outgoing;
    this.#dialler = dialler;
    this.#scope = scope;
    this.#allowed = allowed;
    this.#limits = limits;
    this.#post = post;
  }

  send(message: Sent): void {
    this.#send(message).catch((error: unknown) => this.#fail(message.call, errorOf(error)));
  }

  async #send({ call, method, scheme, authority, path, headers, body, timeoutMs }: Sent): Promise<void> {
    if (METHODS_REFUSED.has(method) || !/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(method)) return this.#fail(call, "HTTP-request-method-invalid");
    if (this.#running.size >= this.#limits.outgoingConnectionsMax) return this.#fail(call, "connection-limit-reached");
    if (body.reduce((sum, chunk) => sum + chunk.length, 0) > this.#limits.outgoingRequestBytesMax) return this.#fail(call, "HTTP-request-body-size");
    const [, host = "", port] = /^(\[[0-9a-fA-F:.]+\]|[^:@/?#[\]]+)(?::(\d{1,5}))?$/.exec(authority) ?? [];
    if (host === "") return this.#fail(call, "HTTP-request-URI-invalid");
    this.#running.set(call, { request: null, body: null, bytes: 0 });
    if (this.#mock !== undefined) return this.#mocked(call, this.#mock, { method, url: `${scheme}://${authority}${path}`, headers: new Headers(headers.map(([name, value]): [string, string] => [name, latin1(value)])), body: new Uint8Array(Buffer.concat(body)) });
    const socket = await this.#dialler.dial(this.#scope, this.#allowed, scheme, host, port === undefined ? (PORTS[scheme] ?? 0) : Number(port), timeoutMs ?? this.#limits.outgoingTimeMsMax);
    if (typeof socket === "string") return this.#fail(call, ERROR_OF[socket]);
    if (this.#ended) return void socket.destroy();
    const roots = this.#dialler.roots.map((root) => Buffer.from(root));
    const secured = scheme === "https" ? connectTls({ socket, servername: host, ALPNProtocols: ["http/1.1"], ...(roots.length > 0 && { ca: pemOf(roots) }) }) : socket;
    const raw = [...headers.flatMap(([name, value]) => [name, latin1(value)]), "host", authority];
    const request = httpRequest({ createConnection: () => secured, method, path, headers: raw, setHost: false, maxHeaderSize: this.#limits.headerBytesMax, timeout: this.#limits.outgoingTimeMsMax });
    this.#running.set(call, { request, body: null, bytes: 0 });
    request.on("timeout", () => request.destroy(Object.assign(new Error("late"), { code: "HTTP-response-timeout" })));
    request.on("error", (error) => this.#fail(call, errorOf(error)));
    request.on("upgrade", (_, other) => {
      other.destroy();
      this.#fail(call, "HTTP-upgrade-failed");
    });
    request.on("response", (response) => this.#answered(call, response));
    for (const chunk of body) request.write(chunk);
    request.end();
  }

  async #mocked(call: number, answer: NonNullable<Mock["outgoing"]>, request: MockedRequest): Promise<void> {
    const place = parseOutgoing(new URL(request.url).origin);
    if (place === null || !this.#allowed.some((one) => outgoingText(one) === outgoingText(place))) return this.#fail(call, "HTTP-request-denied");
    // What it throws at once counts like what it rejects with.
    const response = await (async () => answer(request))().catch(() => null);
    const running = this.#running.get(call);
    if (response === null) return this.#fail(call, "connection-refused");
    if (running === undefined) return;
    running.body = (response.body ?? new Blob([]).stream())[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
    this.#post({ type: "response", call, status: response.status, headers: [...response.headers].map(([name, value]) => [name, new Uint8Array(Buffer.from(value, "latin1"))]) });
  }

  #answered(call: number, response: IncomingMessage): void {
    const running = this.#running.get(call);
    if (running === undefined) return;
    running.body = (response as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    const headers: HeaderList = response.rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [[name.toLowerCase(), Buffer.from(response.rawHeaders[i + 1] ?? "", "latin1")] as const] : []));
    this.#post({ type: "response", call, status: response.statusCode ?? 0, headers: headers.map(([name, value]) => [name, new Uint8Array(value)]) });
  }

  /** The next chunk of an answer. */
  want(call: number): void {
    const running = this.#running.get(call);
    if (running?.body == null) return;
    running.body.next().then(({ done, value }) => {
      if (done === true) {
        this.#running.delete(call);
        return this.#post({ type: "part", call, bytes: null, error: null });
      }
      running.bytes += value.length;
      if (running.bytes > this.#limits.outgoingResponseBytesMax) return this.#fail(call, "HTTP-response-body-size");
      this.#post({ type: "part", call, bytes: new Uint8Array(value), error: null });
    }, (error: unknown) => this.#fail(call, errorOf(error)));
  }

  /** Before its answer or in the middle of it. */
  #fail(call: number, error: string): void {
    const running = this.#running.get(call);
    this.#running.delete(call);
    running?.request?.destroy();
    if (this.#ended) return;
    this.#post(running?.body == null ? { type: "unanswered", call, error } : { type: "part", call, bytes: null, error });
  }

  end(): void {
    this.#ended = true;
    for (const { request } of this.#running.values()) request?.destroy();
    this.#running.clear();
  }
}

function errorOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code.startsWith("HTTP-")) return code;
  if (code.startsWith("HPE_")) return ERROR_OF_NODE[code] ?? "HTTP-protocol-error";
  if (/CERT|SELF_SIGNED|ALTNAME|UNABLE_TO/.test(code)) return "TLS-certificate-error";
  if (code.startsWith("ERR_SSL") || code === "EPROTO") return "TLS-protocol-error";
  return ERROR_OF_NODE[code] ?? "connection-terminated";
}

const pemOf = (roots: readonly Uint8Array[]): string[] => roots.map((root) => `-----BEGIN CERTIFICATE-----\n${Buffer.from(root).toString("base64")}\n-----END CERTIFICATE-----\n`);
