/**
 * The API of a machine as one table (design 7): what is in it is served and documented, what is not is 404.
 *
 * Reads of the ledger answer from final state. Everything here is public but logs, usage and configuration, which only a deployment's owner gets.
 */
import { addressText, parseAddress } from "#chain/codec/address.ts";
import { decodeBlock } from "#chain/codec/schema.ts";
import type { DeploymentView, LedgerView } from "#chain/ledger/view.ts";
import { type Address, type Digest, address, digest, type Hex, fromHex, height as brandHeight, hex } from "#chain/types.ts";
import { completeLimits } from "#sandbox/limits.ts";
import { outgoingText } from "#sandbox/outgoing.ts";
import { type Finding, examine } from "#sandbox/doctor.ts";
import type { Usage } from "#sandbox/sandbox.ts";
import { SETTINGS_DEFAULT, settingsFor } from "../configuration.ts";
import { FINAL_WAITS_MAX, FINAL_WAIT_MS_MAX, TRANSACTION_BODY_BYTES_MAX } from "../limits.ts";
import { type Context, deploymentUnknown } from "./context.ts";
import { accountJson, base64, billJson, decimal, deploymentJson, eventJson, headerJson, machineJson, supplyJson, validatorJson } from "./json.ts";
import { copiesRoute } from "./copies.ts";
import { eventRoute } from "./events.ts";
import { holdingRoutes } from "./holdings.ts";
import { logMachinesRoute, logRoute } from "./logs.ts";
import { machineRoutes } from "./machine.ts";
import { openapi } from "./openapi.ts";
import { PAGING, pageOf } from "./paging.ts";
import { proofRoutes } from "./proofs.ts";
import { refuseWith } from "./problems.ts";
import { type Answer, type Call, type Json, type Route, type Schema, json } from "./route.ts";
import { ADDRESS_PARAMETER, DEPLOYMENT_PARAMETER, TRANSACTION_PARAMETER, page, ref } from "./schemas.ts";
import { besideOf } from "../supervisor/plan.ts";
import { signaturesFinding } from "../verification.ts";
import { uploadRoutes } from "./uploads.ts";

/** A chain that made no final block for this long does not work: an idle one makes a block every 5 s. */
const STALL_MS = 30_000;
const MIB = 1024 * 1024;

const answers = (schema: Schema): Route["answers"] => ({ 200: { description: "The answer", types: ["application/json"], schema } });
const byId = { id: DEPLOYMENT_PARAMETER };

export function createRoutes(context: Context): readonly Route[] {
  const view = (): LedgerView => context.node.view();
  const routes: Route[] = [
    { id: "getStatus", method: "GET", path: "/v1/status", auth: "none", summary: "This machine and the head of its chain", answers: answers(ref("Status")), run: () => json(statusJson(context)) },
    { id: "getSupply", method: "GET", path: "/v1/supply", auth: "none", summary: "Every pot of money; their sum is the genesis' for ever", answers: answers(ref("Supply")), run: () => json(supplyJson(view().supply())) },
    {
      id: "getMachines", method: "GET", path: "/v1/machines", auth: "none", summary: "Machines of the grid", query: PAGING, answers: answers(page("machines", ref("Machine"))),
      run: ({ query }) => {
        const { items, next } = view().machines(pageOf(query));
        return json({ machines: items.map(machineJson), next });
      },
    },
    {
      id: "getValidators", method: "GET", path: "/v1/validators", auth: "none", summary: "Who has stake, and the weight of it", query: PAGING, answers: answers(page("validators", ref("Validator"))),
      run: ({ query }) => {
        const { items, next } = view().validators(pageOf(query));
        return json({ validators: items.map(validatorJson), next });
      },
    },
    {
      id: "getDeployments", method: "GET", path: "/v1/deployments", auth: "none", summary: "Deployments, of one account if it is named",
      query: { account: ADDRESS_PARAMETER, ...PAGING }, answers: answers(page("deployments", ref("Deployment"))),
      run: ({ query }) => {
        const owner = query["account"];
        const { items, next } = owner === undefined ? view().deployments(pageOf(query)) : view().deploymentsOf(addressOf(String(owner)), pageOf(query));
        return json({ deployments: items.map((deployment) => describe(context, deployment)), next });
      },
    },
    {
      id: "getDeployment", method: "GET", path: "/v1/deployments/{id}", auth: "none", summary: "One deployment and its leases", parameters: byId, answers: answers(ref("Deployment")),
      run: (call) => json(describe(context, view().deployment(idOf(call)) ?? deploymentUnknown(hex(idOf(call))))),
    },
    {
      id: "getBill", method: "GET", path: "/v1/deployments/{id}/bill", auth: "none", summary: "What a deployment has cost up to now, segment by segment", parameters: byId, answers: answers(ref("Bill")),
      run: (call) => json(billJson(view().bill(idOf(call), context.node.moneySecondNow()) ?? deploymentUnknown(hex(idOf(call))))),
    },
    copiesRoute(context),
    logRoute(context),
    logMachinesRoute(context),
    eventRoute(context),
    {
      id: "getUsage", method: "GET", path: "/v1/deployments/{id}/usage", auth: "owner", summary: "Requests, fuel, CPU time and memory of a deployment on this machine, to its owner",
      parameters: byId, answers: answers(ref("Usage")),
      run: async (call) => json(usageJson(usageOf(await context.runner.usage(), hex(idOf(call))))),
    },
    {
      id: "getConfiguration", method: "GET", path: "/v1/deployments/{id}/configuration", auth: "owner",
      summary: "Environment, limits and allowed places of a deployment, to its owner, from a machine that holds them",
      parameters: byId, answers: answers(ref("Configuration")),
      run: async (call) => json(await configurationJson(context, view().deployment(idOf(call)) ?? deploymentUnknown(hex(idOf(call))))),
    },
    {
      id: "getAccount", method: "GET", path: "/v1/accounts/{address}", auth: "none", summary: "Balance, nonce and keys; an account nobody paid to is empty, not unknown",
      parameters: { address: ADDRESS_PARAMETER }, answers: answers(ref("Account")),
      run: ({ parameters }) => {
        const id = addressOf(parameters["address"] ?? "");
        return json(accountJson(view().account(id) ?? { address: id, balance: 0n, nonce: 0n, keys: [], threshold: 1 }));
      },
    },
    {
      id: "getBlock", method: "GET", path: "/v1/blocks/{height}", auth: "none", summary: "A final block with its certificate, outcomes and events; `latest` is the newest",
      parameters: { height: { type: "string", pattern: "^(latest|0|[1-9][0-9]{0,9})$" } }, answers: answers(ref("Block")),
      run: ({ parameters }) => json(blockJson(context, parameters["height"] ?? "")),
    },
    {
      id: "getTransaction", method: "GET", path: "/v1/transactions/{txid}", auth: "none", summary: "Where a transaction is, and whether it was done",
      parameters: { txid: TRANSACTION_PARAMETER }, answers: answers(ref("Transaction")),
      run: ({ parameters }) => {
        const txid = parameters["txid"] ?? "";
        const found = context.node.transaction(digest(fromHex(txid))) ?? refuseWith("transaction_unknown", `Cannot find transaction ${txid} in a final block`);
        return json({ txid, height: found.height, index: found.index, ok: found.ok, ...(found.code === undefined ? {} : { code: found.code }) });
      },
    },
    ...proofRoutes(context),
    ...machineRoutes(context),
    ...holdingRoutes(context),
    doctorRoute(),
    transactionRoute(context),
    ...uploadRoutes(context),
    { id: "getOpenapi", method: "GET", path: "/openapi.json", auth: "none", summary: "This document", answers: answers({ type: "object" }), run: () => json(document as Json) },
    {
      id: "getHealth", method: "GET", path: "/healthz", auth: "none", summary: "200 while the chain goes on", 
      answers: { ...answers(ref("Health")), 503: { description: "It stands still", types: ["application/json"], schema: ref("Health") } },
      run: () => {
        const head = context.node.head();
        const state = context.node.status().halted !== null ? "halted" : BigInt(context.now()) - head.timeMs > STALL_MS ? "stalled" : "ok";
        return json({ state, height: head.height }, state === "ok" ? 200 : 503);
      },
    },
  ];
  const document = openapi(routes, context.version);
  return routes;
}

function transactionRoute({ node }: Context): Route {
  let waits = 0;
  return {
    id: "postTransaction", method: "POST", path: "/v1/transactions", auth: "none", summary: "Send a signed transaction; `wait=final` answers when it is in a final block",
    query: { wait: { type: "string", enum: ["final"] } }, body: { type: "application/cbor", bytesMax: TRANSACTION_BODY_BYTES_MAX },
    answers: {
      200: { description: "In a final block: `ok` says whether it was done, `code` why not", types: ["application/json"], schema: ref("Submitted") },
      202: { description: "Accepted, not final yet", types: ["application/json"], schema: ref("Submitted") },
    },
    run: async ({ body, query, signal }): Promise<Answer> => {
      if (query["wait"] === "final" && waits >= FINAL_WAITS_MAX) refuseWith("busy", "Cannot wait for one more transaction: ask for it by its id");
      if (query["wait"] !== "final") return json({ txid: hex((await node.submit(body)).txid) }, 202);
      waits += 1;
      try {
        return await answerWhenFinal(node, (await node.submit(body)).txid, signal);
      } finally {
        waits -= 1;
      }
    },
  };
}

async function answerWhenFinal(node: Context["node"], txid: Digest, signal: AbortSignal): Promise<Answer> {
  try {
    const { height, ok, code } = await node.whenFinal(txid, { timeoutMs: FINAL_WAIT_MS_MAX, signal });
    return json({ txid: hex(txid), height, ok, ...(code === undefined ? {} : { code }) });
  } catch (error) {
    if (isTimeout(error)) return json({ txid: hex(txid) }, 202);
    throw error;
  }
}

const isTimeout = (error: unknown): boolean => error instanceof Error && "code" in error && error.code === "timeout";

function statusJson(context: Context): Json {
  const { node } = context;
  const head = node.head();
  const { genesis } = node;
  const { halted, peers, mempool, stateKept } = node.status();
  const parameters = node.view().parameters();
  return {
    version: context.version, chainId: hex(node.chainId), chain: genesis.name, machine: addressText(context.machine), operator: addressText(context.operator),
    bootId: context.bootId, zone: context.zone, apiPort: context.apiPort, httpPort: context.httpPort,
    head: { height: head.height, id: hex(head.id), timeMs: decimal(head.timeMs), moneySecond: decimal(head.moneySecond), stateRoot: hex(head.stateRoot) },
    moneySecondNow: decimal(node.moneySecondNow()), halted, peers, waitingTransactions: mempool.count, stateKept,
    validators: genesis.validators.map(({ publicKey, weight, operator }) => ({ key: hex(publicKey), weight, operator: addressText(operator) })),
    runner: { state: context.runner.pid === null ? "starting" : "running", pid: context.runner.pid, routes: context.routeCount() },
    fees: { base: decimal(parameters.feeBase), perByte: decimal(parameters.feePerByte) },
  };
}

function describe(context: Context, deployment: DeploymentView): Json {
  const host = hostOf(deployment, context.zone);
  const port = context.httpPort === 80 ? "" : `:${context.httpPort}`;
  return deploymentJson(deployment, context.node.view().leasesOfDeployment(deployment.id), context.node.view().task(deployment.id), context.node.view().scaling(deployment.id), host, `http://${host}${port}/`);
}

const hostOf = (deployment: { readonly name: string; readonly owner: Address }, zone: string): string => `${deployment.name}.${addressText(deployment.owner)}.${zone}`;

function blockJson({ node }: Context, text: string): Json {
  const at = text === "latest" ? node.head().height : Number(text);
  const block = at <= node.head().height ? node.block(brandHeight(at)) : null;
  if (block === null) return refuseWith("block_unknown", `Cannot find block ${text} as the newest final one is ${node.head().height}`);
  return {
    height: at, id: hex(block.id), bytes: base64(block.bytes), certificate: base64(block.certificate ?? new Uint8Array(0)),
    header: at === 0 ? null : headerJson(decodeBlock(block.bytes).header),
    outcomes: block.outcomes.map(({ txid, ok, code }) => ({ txid: hex(txid), ok, ...(code === undefined ? {} : { code }) })),
    events: block.events.map(eventJson),
  };
}

/** Of both revisions, where two run. */
function usageOf(all: Readonly<Record<string, Usage>>, id: Hex): Usage | undefined {
  const [one, two] = [all[id], all[besideOf(id)]];
  if (one === undefined || two === undefined) return one ?? two;
  const sums = Object.entries(one).map(([name, value]) => [name, value + two[name as keyof Usage]]);
  return Object.fromEntries(sums) as Usage;
}

function usageJson(usage: Usage | undefined): Json {
  const { fuel, cpuNs, ...counts } = usage ?? { requests: 0, errors: 0, fuel: 0, cpuNs: 0, memoryBytes: 0, memoryBytesPeak: 0, running: 0, waiting: 0, logLinesDropped: 0 };
  return { ...counts, fuel: BigInt(Math.trunc(fuel)).toString(), cpuNs: BigInt(Math.trunc(cpuNs)).toString() };
}

/** Limits are complete: those that the deployment leaves out are this machine's defaults. */
async function configurationJson({ blobs }: Context, deployment: DeploymentView): Promise<Json> {
  const { configurationDigest: named, owner, memoryMib } = deployment;
  if (named !== null && !blobs.has(hex(named))) refuseWith("configuration_missing", `Cannot show the configuration of ${hex(deployment.id)} as this machine does not hold it`);
  const { environment, limits, outgoing, reuse } = named === null ? SETTINGS_DEFAULT : settingsFor(await blobs.read(hex(named)), owner);
  return { environment: { ...environment }, limits: { ...completeLimits(limits), memoryBytesMax: memoryMib * MIB }, outgoing: outgoing.map(outgoingText), reuse };
}

const idOf = (call: Call): Address => address(fromHex(call.parameters["id"] ?? ""));
const addressOf = (text: string): Address => parseAddress(text) ?? refuseWith("parameter_invalid", `Cannot read "${text}" as an address: its checksum is wrong`);

/** Looked at once: it starts a runner, and walls do not change while a machine is up. */
function doctorRoute(): Route {
  let findings: Promise<readonly Finding[]> | null = null;
  return {
    id: "getDoctor", method: "GET", path: "/v1/doctor", auth: "none", summary: "Which walls of the sandbox hold on this machine, and who checks signatures", answers: answers({ type: "object" }),
    run: async () => {
      findings ??= examine().catch((error: unknown) => {
        findings = null;
        throw error;
      });
      return json({ findings: [...(await findings), signaturesFinding()] });
    },
  };
}
