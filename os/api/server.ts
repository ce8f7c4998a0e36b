/**
 * The HTTP server of a machine: the table of routes carried out by fastify.
 *
 * At the door, in this order: route, method, parameters, length of the body, signature, what the sender may upload; only then is
 * a byte of the body read, and it has to come on. Every refusal is a problem (problems.ts). A stop ends open streams.
 */
import fastify from "fastify";
import type { ServerResponse } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { parseAddress } from "#chain/codec/address.ts";
import { verifyRequest } from "#chain/codec/request.ts";
import type { Scope } from "#chain/codec/scopes.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Address, type ChainId, type Hex, type PublicKey, hex, refuse } from "#chain/types.ts";
import { AgentError, codeOf } from "../error.ts";
import { STREAM_END_MS_MAX, UPLOAD_BYTES_PER_SECOND_MIN, UPLOAD_FIRST_MS_MAX } from "../limits.ts";
import type { Door } from "./door.ts";
import { PROBLEM_TYPE, problemOf, refuseSignature, refuseWith } from "./problems.ts";
import type { Answer, Call, Route } from "./route.ts";
import { Seats, clientOf } from "./seats.ts";

const PARAMETER_LENGTH_MAX = 128;

export type ServerOptions = {
  readonly door: Door;
  readonly routes: readonly Route[];
  readonly chainId: ChainId;
  readonly machine: Address;
  readonly keysOf: (sender: Address, scope: Scope) => readonly PublicKey[] | null;
  readonly operator: Address;
  /** Throws `deployment_unknown` or `not_owner`. */
  readonly checkOwner: (deploymentId: string, sender: Address) => void;
  readonly now: () => number;
  readonly onAnswer?: (route: string, status: number, elapsedMs: number) => void;
  /** An answer of 500: what the operator should read. */
  readonly onFault?: (error: unknown, route: string) => void;
};
export type ApiServer = { stop(): Promise<void> };

/** Puts the routes behind a door that is bound already. */
export async function serveApi(options: ServerOptions): Promise<ApiServer> {
  const stopping = new AbortController();
  const server = fastify({
    logger: false, exposeHeadRoutes: false, bodyLimit: 1,
    serverFactory: (handler) => {
      options.door.open(handler);
      return options.door.http;
    },
    routerOptions: { maxParamLength: PARAMETER_LENGTH_MAX, ignoreTrailingSlash: true },
    // The door answers what is no HTTP.
    clientErrorHandler: () => {},
    frameworkErrors: (error, _request, reply) => void sendProblem(reply, error),
    ajv: { customOptions: { coerceTypes: true, removeAdditional: false } },
  });
  server.removeAllContentTypeParsers();
  for (const type of new Set(options.routes.flatMap((route) => route.body?.type ?? []))) {
    server.addContentTypeParser(type, { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  }
  server.setErrorHandler((error, request, reply) => sendFault(options, error, request, reply));
  server.setNotFoundHandler((request, reply) => sendProblem(reply, unknownRoute(options.routes, request.method, request.url)));
  server.addHook("onResponse", async (request, reply) => {
    options.onAnswer?.((request.routeOptions.config as { id?: string }).id ?? "unknown", reply.statusCode, reply.elapsedTime);
  });
  for (const route of options.routes) addRoute(server, route, options, stopping.signal);
  await server.ready();
  return {
    stop: async () => {
      stopping.abort();
      await options.door.close();
      await server.close();
    },
  };
}

function addRoute(server: FastifyInstance, route: Route, options: ServerOptions, stopping: AbortSignal): void {
  const senders = new WeakMap<FastifyRequest, { sender: Address; bodyDigest: Uint8Array }>();
  const bodyTimers = new WeakMap<FastifyRequest, NodeJS.Timeout>();
  const atOnceMax = route.body?.atOnceMax;
  const turns = atOnceMax === undefined ? null : new Seats(atOnceMax.all, atOnceMax.one);
  server.route({
    method: route.method,
    url: route.path.replaceAll(/\{([a-z]+)\}/gi, ":$1"),
    bodyLimit: route.body?.bytesMax ?? 1,
    config: { id: route.id },
    schema: {
      params: { type: "object", properties: { ...route.parameters } },
      querystring: { type: "object", properties: { ...route.query }, additionalProperties: false },
    },
    onRequest: async (request, reply) => {
      checkParameters(request);
      checkLength(route, request);
      if (route.body !== undefined) bodyTimers.set(request, endIfSlow(route.body.bytesMax, request, reply));
      if (route.auth === "none") return;
      const verified = verifyRequest(request.headers.authorization, {
        chainId: options.chainId, machine: otherMachine(route, options, request) ?? options.machine, method: request.method, path: request.url,
        nowMs: BigInt(options.now()), keysOf: (sender) => options.keysOf(sender, route.scope ?? (route.auth === "operator" ? "machine" : "read")),
        ...(route.lifetimeMsMax === undefined ? {} : { lifetimeMsMax: BigInt(route.lifetimeMsMax) }),
      });
      if (!verified.ok) refuseSignature(verified);
      senders.set(request, verified);
      const parameters = request.params as Record<string, string>;
      if (route.auth === "operator" && hex(verified.sender) !== hex(options.operator)) refuseWith("not_operator", "Cannot do this for anybody but the operator of this machine");
      if (route.auth === "owner") options.checkOwner(parameters["id"] ?? "", verified.sender);
      route.body?.admit?.(verified.sender, parameters, Number(request.headers["content-length"] ?? 0));
      if (turns !== null) takeTurn(turns, hex(verified.sender), request, reply, () => bodyTimers.has(request));
    },
    preHandler: async (request) => {
      clearTimeout(bodyTimers.get(request));
      bodyTimers.delete(request);
    },
    handler: async (request, reply) => {
      const signed = senders.get(request);
      const body = request.body instanceof Uint8Array ? request.body : new Uint8Array(0);
      if (signed !== undefined && hex(sha256(body)) !== hex(signed.bodyDigest)) {
        refuseSignature(refuse("digest_mismatch", "Cannot accept the request as its body is not the one that was signed"));
      }
      const gone = new AbortController();
      reply.raw.once("close", () => gone.abort());
      const other = otherMachine(route, options, request);
      const call: Call = {
        elsewhere: other === null ? null : { machine: other, path: request.url, authorization: request.headers.authorization ?? "" },
        parameters: request.params as Record<string, string>, query: request.query as Record<string, string>,
        sender: signed?.sender ?? null, client: clientOf(request.socket.remoteAddress), body, signal: AbortSignal.any([gone.signal, stopping]),
      };
      return send(reply, await route.run(call), call.signal);
    },
    // An upload over its limit is told so in the words of its route.
    errorHandler: (error, request, reply) => {
      const tooLarge = route.body?.tooLarge;
      if (codeOf(error) === "FST_ERR_CTP_BODY_TOO_LARGE" && tooLarge !== undefined) return sendProblem(reply, new AgentError(tooLarge, tooLargeText(route)));
      return sendFault(options, error, request, reply);
    },
  });
}

/** The machine that a request of such a route is for, when it is not this one. */
function otherMachine({ isPassedOn }: Route, { machine }: ServerOptions, request: FastifyRequest): Address | null {
  const named = (request.query as Record<string, unknown>)["machine"];
  if (isPassedOn !== true || typeof named !== "string") return null;
  const other = parseAddress(named) ?? refuseWith("parameter_invalid", `Cannot read "${named}" as an address: its checksum is wrong`);
  return hex(other) === hex(machine) ? null : other;
}

/** Counts a request whose body is about to be read, until its connection is done with it; where all turns are taken, one whose body is still to come gives way. */
function takeTurn(turns: Seats, sender: Hex, request: FastifyRequest, reply: FastifyReply, isToCome: () => boolean): void {
  const leave = (): void => {
    if (isToCome()) endEarly(request, reply, new AgentError("busy", "Cannot wait for the body: others have fewer such bodies on their way. Try again"));
  };
  const giveBack = turns.take(sender, leave) ?? refuseWith("busy", `Cannot take more than ${turns.ofOneMax} such bodies of one account at once, or one more than those of all: try again`);
  reply.raw.once("close", giveBack);
}

/** Whose body is not waited for has its answer, and no connection any more. */
function endEarly(request: FastifyRequest, reply: FastifyReply, error: AgentError): void {
  reply.raw.once("finish", () => request.raw.destroy());
  sendProblem(reply.header("connection", "close"), error);
}

/** A body that does not come at UPLOAD_BYTES_PER_SECOND_MIN gives its turn back, and its connection. */
function endIfSlow(bytesMax: number, request: FastifyRequest, reply: FastifyReply): NodeJS.Timeout {
  const bytes = Number(request.headers["content-length"] ?? bytesMax);
  const timer = setTimeout(() => {
    endEarly(request, reply, new AgentError("upload_slow", `Cannot wait for the body: ${bytes} bytes have to come at ${UPLOAD_BYTES_PER_SECOND_MIN} bytes a second at least`));
  }, uploadMsMax(bytes));
  reply.raw.once("close", () => clearTimeout(timer));
  return timer;
}

export const uploadMsMax = (bytes: number): number => UPLOAD_FIRST_MS_MAX + Math.ceil((bytes * 1000) / UPLOAD_BYTES_PER_SECOND_MIN);

/** Before the signature is looked at: what reads a parameter there finds it well formed. */
function checkParameters(request: FastifyRequest): void {
  for (const [part, value] of [["params", request.params], ["querystring", request.query]] as const) {
    const validate = request.getValidationFunction(part);
    if (validate === undefined || validate(value)) continue;
    const [error] = validate.errors ?? [];
    const unknown: unknown = error?.params["additionalProperty"];
    refuseWith("parameter_invalid", typeof unknown === "string" ? `Cannot read the request as it has no parameter "${unknown}"` : `${part}${error?.instancePath ?? ""} ${error?.message ?? "is not valid"}`);
  }
}

const tooLargeText = (route: Route): string => `Cannot take the body of ${route.method} ${route.path} as ${route.body?.bytesMax ?? 0} bytes is the limit`;

/** The length that a client announces is refused before anything is read; one that lies is cut by fastify. */
function checkLength(route: Route, request: FastifyRequest): void {
  const announced = request.headers["content-length"];
  if (announced === undefined && route.body?.atOnceMax !== undefined) refuseWith("length_required", `Cannot take the body of ${route.method} ${route.path} without a Content-Length`);
  if (announced === undefined || Number(announced) <= (route.body?.bytesMax ?? 0)) return;
  refuseWith(route.body?.tooLarge ?? "body_too_large", tooLargeText(route));
}

function unknownRoute(routes: readonly Route[], method: string, url: string): Error {
  const path = url.split("?")[0] ?? "";
  const methods = routes.filter((route) => pathPattern(route.path).test(path)).map((route) => route.method);
  const [code, message]: readonly [string, string] = methods.length > 0
    ? ["method_not_allowed", `Cannot ${method} ${path}: it takes ${methods.join(", ")}`]
    : ["route_unknown", `Cannot ${method} ${path} as there is no such route: GET /openapi.json lists them`];
  return new AgentError(code, message);
}

const pathPattern = (path: string): RegExp => new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/\{[a-z]+\}/gi, "[^/]+")}$`);

/** A client that is gone is nobody's fault. */
function sendFault({ onFault }: ServerOptions, error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (problemOf(error).status === 500 && !request.raw.socket.destroyed) onFault?.(error, `${request.method} ${request.routeOptions.url ?? request.url}`);
  return sendProblem(reply, error);
}

function sendProblem(reply: FastifyReply, error: unknown): FastifyReply {
  const problem = problemOf(error);
  if (problem.status === 401) void reply.header("www-authenticate", "Godwit");
  if (problem.status === 503) void reply.header("retry-after", "1");
  return reply.code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem));
}

async function send(reply: FastifyReply, answer: Answer, signal: AbortSignal): Promise<FastifyReply> {
  switch (answer.kind) {
    case "json":
      if (answer.headers !== undefined) void reply.headers(answer.headers);
      return reply.code(answer.status).type("application/json; charset=utf-8").send(JSON.stringify(answer.body));
    case "bytes":
      return reply.type(answer.type).send(Buffer.from(answer.bytes.buffer, answer.bytes.byteOffset, answer.bytes.byteLength));
    case "text":
      return reply.code(answer.status).type(answer.type).send(answer.text);
    case "stream":
      reply.hijack();
      reply.raw.writeHead(200, { "content-type": answer.type, "cache-control": "no-store" });
      reply.raw.flushHeaders();
      try {
        await answer.write(reply.raw, signal);
      } finally {
        endSoon(reply.raw);
      }
      return reply;
    default:
      return answer satisfies never;
  }
}

/** A client that does not read what is left of its stream holds a connection for nothing. */
function endSoon(response: ServerResponse): void {
  response.end();
  if (response.destroyed) return;
  const late = setTimeout(() => response.destroy(), STREAM_END_MS_MAX);
  response.once("close", () => clearTimeout(late));
}
