/**
 * Uploads: components and configurations by digest, from accounts that hold money.
 *
 * A component is inspected before it is kept, so that what is not one is refused to the author at once, and is compiled at once
 * in the background: by the time the deployment is in a block it is ready to load.
 */
import { compareBytes } from "#chain/codec/envelope.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Address, type Hex, hex } from "#chain/types.ts";
import { LIMITS_DEFAULT } from "#sandbox/limits.ts";
import { parseConfiguration } from "../configuration.ts";
import { CONFIGURATION_BYTES_MAX, UPLOADS_AT_ONCE_MAX, UPLOADS_OF_ONE_AT_ONCE_MAX, UPLOAD_EXPIRY_MS } from "../limits.ts";
import type { Context } from "./context.ts";
import { refuseWith } from "./problems.ts";
import { type Call, type Route, json } from "./route.ts";
import { DIGEST_PARAMETER, ref } from "./schemas.ts";

const AT_ONCE = { all: UPLOADS_AT_ONCE_MAX, one: UPLOADS_OF_ONE_AT_ONCE_MAX };

export function uploadRoutes(context: Context): Route[] {
  const admit = (sender: Address, parameters: Readonly<Record<string, string>>, bytes: number): void => {
    const balance = context.node.view().account(sender)?.balance ?? 0n;
    if (balance === 0n) refuseWith("not_funded", "Cannot take an upload of an account that holds no money");
    context.blobs.admit(sender, digestOf(parameters), bytes);
  };
  const shared = { method: "PUT", auth: "account", parameters: { digest: DIGEST_PARAMETER }, answers: { 201: { description: "It is here", types: ["application/json"], schema: ref("Upload") } } } as const;
  return [
    {
      ...shared, id: "putComponent", path: "/v1/components/{digest}",
      summary: "Upload a component: inspected and compiled at once; gone after ten minutes if no deployment names it",
      body: { type: "application/octet-stream", bytesMax: LIMITS_DEFAULT.componentBytesMax, tooLarge: "component_too_large", atOnceMax: AT_ONCE, admit },
      run: async (call) => {
        const digest = checkDigest(call);
        const { kind, imports } = await context.inspect(call.body);
        await context.blobs.put("component", digest, senderOf(call), call.body);
        return json({ digest: `sha256:${digest}`, kind, bytes: call.body.length, imports: [...imports], expiresAtMs: context.now() + UPLOAD_EXPIRY_MS }, 201);
      },
    },
    {
      ...shared, id: "putConfiguration", path: "/v1/configurations/{digest}",
      summary: "Upload the configuration of a deployment: canonical CBOR [2, owner, [[variable, value], …], [[limit, value], …], [place, …], reuse]",
      body: { type: "application/cbor", bytesMax: CONFIGURATION_BYTES_MAX, atOnceMax: AT_ONCE, admit },
      run: async (call) => {
        const digest = checkDigest(call);
        const { owner } = parseConfiguration(call.body);
        if (compareBytes(owner, senderOf(call)) !== 0) refuseWith("configuration_foreign", "Cannot take the configuration as it belongs to another account");
        await context.blobs.put("configuration", digest, senderOf(call), call.body);
        return json({ digest: `sha256:${digest}`, kind: "configuration", bytes: call.body.length, expiresAtMs: context.now() + UPLOAD_EXPIRY_MS }, 201);
      },
    },
  ];
}

const digestOf = (parameters: Readonly<Record<string, string>>): Hex => (parameters["digest"] ?? "").slice("sha256:".length) as Hex;

function checkDigest(call: Call): Hex {
  const digest = digestOf(call.parameters);
  const found = hex(sha256(call.body));
  if (found !== digest) refuseWith("digest_mismatch", `Cannot take the upload as ${digest}: its bytes hash to ${found}`);
  return digest;
}

function senderOf(call: Call): Address {
  return call.sender ?? refuseWith("unsigned", "Cannot take an upload without a signature");
}
