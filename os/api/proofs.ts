/**
 * Proofs for who trusts no machine: a finalized header, its certificate, and the way from its state root to one leaf, in CBOR
 * (`chain/codec/proof.ts`, which also checks them). That there is no such account, deployment or lease is proven alike.
 */
import { parseAddress } from "#chain/codec/address.ts";
import { stateKey } from "#chain/codec/proof.ts";
import { fromHex } from "#chain/types.ts";
import type { Context } from "./context.ts";
import { refuseWith } from "./problems.ts";
import type { Answer, Route } from "./route.ts";
import { ADDRESS_PARAMETER, DEPLOYMENT_PARAMETER } from "./schemas.ts";

const TYPE = "application/cbor";
const INDEX = { type: "string", pattern: "^(0|[1-9][0-9]{0,4})$" };
export const PROOF_ANSWERS: Route["answers"] = { 200: { description: "The proof, in CBOR", types: [TYPE] } };
const answers = PROOF_ANSWERS;
const bytes = (found: Uint8Array | null, code: string, why: string): Answer => ({ kind: "bytes", type: TYPE, bytes: found ?? refuseWith(code, why) });

/** That a key of the state has its value, or that there is no such key. */
export const proofOf = async ({ node }: Context, key: string): Promise<Answer> =>
  bytes(await node.prove(key), "proof_unavailable", "Cannot prove anything of this block, as its certificate is that of another: try again after the next one");

export function proofRoutes(context: Context): readonly Route[] {
  const { node } = context;
  const prove = (key: string): Promise<Answer> => proofOf(context, key);
  const addressIn = (text: string): Uint8Array => parseAddress(text) ?? refuseWith("parameter_invalid", `Cannot read "${text}" as an address: its checksum is wrong`);
  return [
    {
      id: "getAccountProof", method: "GET", path: "/v1/proofs/accounts/{address}", auth: "none", summary: "Proof of an account, or that nobody has paid to it yet",
      parameters: { address: ADDRESS_PARAMETER }, answers, run: ({ parameters }) => prove(stateKey("account", addressIn(parameters["address"] ?? ""))),
    },
    {
      id: "getDeploymentProof", method: "GET", path: "/v1/proofs/deployments/{id}", auth: "none", summary: "Proof of a deployment and its escrow, or that there is none",
      parameters: { id: DEPLOYMENT_PARAMETER }, answers, run: ({ parameters }) => prove(stateKey("deployment", fromHex(parameters["id"] ?? ""))),
    },
    {
      id: "getLeaseProof", method: "GET", path: "/v1/proofs/leases/{id}/{index}", auth: "none", summary: "Proof of one lease of a deployment, or that there is none",
      parameters: { id: DEPLOYMENT_PARAMETER, index: INDEX }, answers, run: ({ parameters }) => prove(stateKey("lease", fromHex(parameters["id"] ?? ""), Number(parameters["index"]))),
    },
    {
      id: "getTaskProof", method: "GET", path: "/v1/proofs/tasks/{id}", auth: "none", summary: "Proof of how a task runs and ended, or that a deployment is none",
      parameters: { id: DEPLOYMENT_PARAMETER }, answers, run: ({ parameters }) => prove(stateKey("task", fromHex(parameters["id"] ?? ""))),
    },
    {
      id: "getScalingProof", method: "GET", path: "/v1/proofs/scalings/{id}", auth: "none", summary: "Proof of the rule by which a deployment scales by itself, or that it has none",
      parameters: { id: DEPLOYMENT_PARAMETER }, answers, run: ({ parameters }) => prove(stateKey("scaling", fromHex(parameters["id"] ?? ""))),
    },
    {
      id: "getEpochProof", method: "GET", path: "/v1/proofs/epochs/{epoch}", auth: "none", summary: "A finalized header of an epoch, and the validators of the next whom it names",
      parameters: { epoch: { type: "string", pattern: "^(0|[1-9][0-9]{0,8})$" } }, answers,
      run: ({ parameters }) => bytes(node.proveEpoch(Number(parameters["epoch"])), "epoch_unknown", `Cannot prove epoch ${parameters["epoch"]}: it has no final block yet, or none is kept`),
    },
  ];
}
