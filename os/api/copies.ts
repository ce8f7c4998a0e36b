/**
 * Where the bytes of a deployment are: which machines keep them, and which of those say that they have them. A deploy is over when all
 * do: from then on the machine that took the upload may be lost.
 *
 * Each answer asks other machines; those who ask for the same deployment share it, and at most COPY_COUNTS_MAX are counted at once.
 */
import { addressText } from "#chain/codec/address.ts";
import { type Hex, address, fromHex, hex } from "#chain/types.ts";
import type { Copies } from "../exchange.ts";
import { COPY_COUNTS_MAX } from "../limits.ts";
import { type Context, deploymentUnknown } from "./context.ts";
import { refuseWith } from "./problems.ts";
import { type Json, type Route, json } from "./route.ts";
import { DEPLOYMENT_PARAMETER, ref } from "./schemas.ts";

export function copiesRoute({ node, copiesOf }: Context): Route {
  const counts = new Map<Hex, Promise<readonly Copies[]>>();
  const count = (id: Hex): Promise<readonly Copies[]> => {
    const deployment = node.view().deployment(address(fromHex(id))) ?? deploymentUnknown(id);
    const known = counts.get(id);
    if (known !== undefined) return known;
    if (counts.size >= COPY_COUNTS_MAX) refuseWith("busy", "Cannot count copies now: those of other deployments are being counted");
    // What it may roll back to was counted when it was deployed.
    const versions = [deployment, ...(deployment.rollout === null ? [] : [deployment.rollout])];
    const named = new Map(versions.flatMap(({ componentDigest, configurationDigest }) => [[hex(componentDigest), null] as const, ...(configurationDigest === null ? [] : [[hex(configurationDigest), hex(deployment.owner)] as const])]));
    const counting = Promise.all([...named].map(([digest, by]) => copiesOf(digest, by))).finally(() => counts.delete(id));
    counts.set(id, counting);
    return counting;
  };
  return {
    id: "getCopies", method: "GET", path: "/v1/deployments/{id}/copies", auth: "none", summary: "Which machines keep the bytes of a deployment, and which of those have them by now",
    parameters: { id: DEPLOYMENT_PARAMETER }, answers: { 200: { description: "One row for each blob", types: ["application/json"], schema: ref("Copies") } },
    run: async ({ parameters }) => json({ copies: (await count(parameters["id"] as Hex)).map(copiesJson) }),
  };
}

const copiesJson = ({ digest, kind, keepers, holders }: Copies): Json => ({ digest: `sha256:${digest}`, kind, keepers: keepers.map(addressText), holders: holders.map(addressText) });
