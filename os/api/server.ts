/**
 * The HTTP server of a machine: the table of routes carried out by fastify.
 *
 * At the door, in this order: route, method, parameters, signature, what the sender may upload, length of the body; only then is
 * a byte of the body read. Every refusal is a problem (problems.ts). A stop ends open streams.
 */
import fastify from "fastify";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { verifyRequest } from "#chain/codec/request.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Address, type ChainId, type Hex, type PublicKey, hex, refuse } from "#chain/types.ts";
import { codeOf } from "../error.ts";
import type { Door } from "./door.ts";
import { PROBLEM_TYPE, problemOf, refuseSignature, refuseWith } from "./problems.ts";
import type { Answer, Call, Route } from "./route.ts";

const PARAMETER_LENGTH_MAX = 128;

export type ServerOptions = {
  readonly door: Door;
  readonly routes: readonly Route[];
  readonly chainId: ChainId;
  readonly machine: Address;
  readonly keysOf: (sender: Address) => readonly PublicKey[] | null;
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
    frameworkErrors: (error, _request, reply) => void sendProblem(reply, error),
    ajv: { customOptions: { coerceTypes: true, removeAdditional: false } },
  });
  server.removeAllContentTypeParsers();
  for (const type of new Set(options.routes.flatMap((route) => route.body?.type ?? []))) {
    server.addContentTypeParser(type, { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  }
  server.setErrorHandler((error, request, reply) => {
    if (problemOf(error).status === 500) options.onFault?.(error, request.routeOptions.url ?? request.url);
    return sendProblem(reply, error);
  });
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
  const underWay = new Map<Hex, number>();
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
      checkLength(route, request);
      if (route.auth === "none") return;
      const verified = verifyRequest(request.headers.authorization, {
        chainId: options.chainId, machine: options.machine, method: request.method, path: request.url,
        nowMs: BigInt(options.now()), keysOf: options.keysOf,
      });
      if (!verified.ok) refuseSignature(verified);
      senders.set(request, verified);
      const parameters = request.params as Record<string, string>;
      if (route.auth === "owner") options.checkOwner(parameters["id"] ?? "", verified.sender);
      route.body?.admit?.(verified.sender, parameters, Number(request.headers["content-length"] ?? 0));
      if (route.body?.atOnceMax !== undefined) takeTurn(underWay, route.body.atOnceMax, hex(verified.sender), reply);
    },
    handler: async (request, reply) => {
      const signed = senders.get(request);
      const body = request.body instanceof Uint8Array ? request.body : new Uint8Array(0);
      if (signed !== undefined && hex(sha256(body)) !== hex(signed.bodyDigest)) {
        refuseSignature(refuse("digest_mismatch", "Cannot accept the request as its body is not the one that was signed"));
      }
      const gone = new AbortController();
      reply.raw.once("close", () => gone.abort());
      const call: Call = {
        parameters: request.params as Record<string, string>, query: request.query as Record<string, string>,
        sender: signed?.sender ?? null, body, signal: AbortSignal.any([gone.signal, stopping]),
      };
      return send(reply, await route.run(call), call.signal);
    },
    // An upload over its limit is told so in the words of its route.
    errorHandler: (error, _request, reply) => {
      const tooLarge = route.body?.tooLarge;
      if (codeOf(error) === "FST_ERR_CTP_BODY_TOO_LARGE" && tooLarge !== undefined) return sendProblem(reply, Object.assign(new Error(tooLargeText(route)), { code: tooLarge }));
      if (problemOf(error).status === 500) options.onFault?.(error, route.id);
      return sendProblem(reply, error);
    },
  });
}

/** Counts a request whose body is about to be read, until its connection is done with it. */
function takeTurn(underWay: Map<Hex, number>, { all, one }: { readonly all: number; readonly one: number }, sender: Hex, reply: FastifyReply): void {
  const own = underWay.get(sender) ?? 0;
  const total = underWay.values().reduce((sum, count) => sum + count, 0);
  if (own >= one || total >= all) refuseWith("busy", `Cannot take more than ${one} such bodies of one account, ${all} of all, at once: try again`);
  underWay.set(sender, own + 1);
  reply.raw.once("close", () => {
    const left = (underWay.get(sender) ?? 1) - 1;
    if (left > 0) underWay.set(sender, left);
    else underWay.delete(sender);
  });
}

const tooLargeText = (route: Route): string => `Cannot take the body of ${route.method} ${route.path} as ${route.body?.bytesMax ?? 0} bytes is the limit`;

/** The length that a client announces is refused before anything is read; one that lies is cut by fastify. */
function checkLength(route: Route, request: FastifyRequest): void {
  const announced = request.headers["content-length"];
  if (announced === undefined || Number(announced) <= (route.body?.bytesMax ?? 0)) return;
  refuseWith(route.body?.tooLarge ?? "body_too_large", tooLargeText(route));
}

function unknownRoute(routes: readonly Route[], method: string, url: string): Error {
  const path = url.split("?")[0] ?? "";
  const methods = routes.filter((route) => pathPattern(route.path).test(path)).map((route) => route.method);
  const [code, message] = methods.length > 0
    ? ["method_not_allowed", `Cannot ${method} ${path}: it takes ${methods.join(", ")}`]
    : ["route_unknown", `Cannot ${method} ${path} as there is no such route: GET /openapi.json lists them`];
  return Object.assign(new Error(message), { code });
}

const pathPattern = (path: string): RegExp => new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/\{[a-z]+\}/gi, "[^/]+")}$`);

function sendProblem(reply: FastifyReply, error: unknown): FastifyReply {
  const problem = problemOf(error);
  if (problem.status === 401) void reply.header("www-authenticate", "Godwit");
  return reply.code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem));
}

async function send(reply: FastifyReply, answer: Answer, signal: AbortSignal): Promise<FastifyReply> {
  switch (answer.kind) {
    case "json":
      if (answer.headers !== undefined) void reply.headers(answer.headers);
      return reply.code(answer.status).type("application/json; charset=utf-8").send(JSON.stringify(answer.body));
    case "text":
      return reply.code(answer.status).type(answer.type).send(answer.text);
    case "stream":
      reply.hijack();
      reply.raw.writeHead(200, { "content-type": answer.type, "cache-control": "no-store" });
      reply.raw.flushHeaders();
      try {
        await answer.write(reply.raw, signal);
      } finally {
        reply.raw.end();
      }
      return reply;
    default:
      return answer satisfies never;
  }
}
