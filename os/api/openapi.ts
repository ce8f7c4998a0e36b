/**
 * The OpenAPI 3.1 document, made from the same table as the server: a route cannot be served and undocumented, or the reverse.
 */
import { PROBLEM_TYPE } from "./problems.ts";
import type { Route } from "./route.ts";
import { SCHEMAS } from "./schemas.ts";

const PARAMETER = /\{([a-z]+)\}/gi;

export function openapi(routes: readonly Route[], version: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) (paths[route.path] ??= {})[route.method.toLowerCase()] = operation(route);
  return {
    openapi: "3.1.0",
    info: {
      title: "Godwit machine", version, license: { name: "Apache-2.0", identifier: "Apache-2.0" },
      description: "Amounts, nonces and other 64-bit numbers are decimal strings, ids and digests lower-case hex, addresses gw1…. Refusals are RFC 9457 problems with a stable code.",
    },
    paths,
    components: {
      schemas: SCHEMAS,
      securitySchemes: {
        signature: { type: "apiKey", in: "header", name: "Authorization", description: "`Godwit <base64url of a signed request>`: bound to one method, path with query, body, machine and expiry." },
      },
    },
  };
}

function operation(route: Route): object {
  const names = [...route.path.matchAll(PARAMETER)].map((match) => match[1] ?? "");
  const parameters = [
    ...names.map((name) => ({ name, in: "path", required: true, schema: route.parameters?.[name] ?? { type: "string" } })),
    ...Object.entries(route.query ?? {}).map(([name, schema]) => ({ name, in: "query", required: false, schema })),
  ];
  return {
    operationId: route.id,
    summary: route.summary,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(route.auth === "none" ? {} : { security: [{ signature: [] }] }),
    ...(route.body === undefined ? {} : { requestBody: { required: true, description: `At most ${route.body.bytesMax} bytes.`, content: { [route.body.type]: {} } } }),
    responses: responses(route),
  };
}

function responses(route: Route): object {
  const all: Record<string, object> = {};
  for (const [status, answer] of Object.entries(route.answers)) {
    const content = Object.fromEntries(answer.types.map((type) => [type, type === "application/json" ? { schema: answer.schema } : {}]));
    all[status] = { description: answer.description, content };
  }
  all["default"] = { description: "A refusal", content: { [PROBLEM_TYPE]: { schema: { $ref: "#/components/schemas/Problem" } } } };
  return all;
}
