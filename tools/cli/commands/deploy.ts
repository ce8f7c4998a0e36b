/**
 * `godwit deploy`: build, upload by digest, one signed transaction, and the wait until it serves.
 *
 * What is cheap to find wrong is looked at first: manifest, kind, name. What exists only once is done last: the upload is harmless
 * and expires by itself, the transaction is all or nothing.
 */
import type { Operation } from "#chain/codec/transaction.ts";
import { deploymentIdOf } from "#chain/codec/transaction.ts";
import { type Digest, hex } from "#chain/types.ts";
import { LIMITS_DEFAULT } from "#sandbox/limits.ts";
import type { Manifest } from "#workloads/manifest.ts";
import type { Bill, Deployment } from "../answers.ts";
import { type Command, CliError, type Input, OPTIONS_ACCOUNT, OPTIONS_API, type Options, type Shell } from "../command.ts";
import { loadComponent, loadManifest } from "../component.ts";
import { parseTokens, rateText, tokensText } from "../money.ts";
import { makePlan } from "../plan.ts";
import { Steps } from "../steps.ts";
import { WAIT_OPTIONS, waitForReplicas, waitMs } from "../ready.ts";
import { type Session, openSession, send } from "../session.ts";
import { pairsText, print, warn, withProgress } from "../table.ts";
import { runwayText } from "./bill.ts";

const REPLICAS_MAX = 256;

/** What may differ from the manifest. */
export const DEPLOY_OPTIONS: Options = {
  manifest: { type: "string", value: "FILE", summary: "the manifest of a component file (godwit.toml beside it, or here)" },
  name: { type: "string", value: "NAME", summary: "another name than the manifest's" },
  replicas: { type: "string", value: "N", summary: "another number of replicas than the manifest's" },
  deposit: { type: "string", value: "TOKENS", summary: "another deposit than the manifest's" },
};

export const deploy: Command = {
  name: "deploy",
  summary: "Build, upload and deploy a project, and wait until it serves",
  usage: ["[DIR]", "FILE [--manifest FILE]"],
  options: {
    ...OPTIONS_API, ...OPTIONS_ACCOUNT, ...WAIT_OPTIONS, ...DEPLOY_OPTIONS,
  },
  arguments: [0, 1],
  details: "DIR has a godwit.toml and is built first. A component FILE of any language is deployed as it is.",
  async run(input, shell) {
    const timeoutMs = waitMs(input);
    const path = input.positionals[0] ?? ".";
    const wanted = await wantedOf(input, shell, path);
    await using session = await openSession(input, shell);
    await refuseTakenName(session, wanted.name);
    const { component, digest, build } = await loadComponent(path, shell);
    for (const warning of build?.warnings ?? []) warn(shell, `${warning.file}:${warning.line}:${warning.column}: ${warning.message}`);
    const steps = new Steps(shell);
    const planned = await makePlan(session, wanted, digest);
    steps.done(`planned: ${planned.forecast.placed.length} of ${wanted.replicas} replicas find a machine, ${rateText(planned.ratePerSecond)}`);
    for (const problem of planned.problems) warn(shell, problem);
    const digests = await upload(session, shell, component, wanted);
    steps.done(`uploaded ${component.length} bytes, inspected and compiled`);
    const done = await send(session, shell, [deployOperation(wanted, digests)], "deploying");
    steps.done(`final in block ${done.height}`);
    const id = hex(deploymentIdOf(session.account.address, done.nonce, 0));
    const deployment = await waitForReplicas(session.client, id, shell, timeoutMs, (state, count) => steps.done(`${state}: ${count} of ${wanted.replicas}`));
    const bill = await session.client.bill(id);
    print(shell, input.json, {
      id: deployment.id, name: deployment.name, url: deployment.url, host: deployment.host, component: `sha256:${hex(digests.component)}`, bytes: component.length,
      replicas: deployment.replicas, ratePerSecond: bill.ratePerSecond, balance: bill.balance, runwaySeconds: bill.runwaySeconds, txid: done.txid, height: done.height,
    }, () => summaryText(deployment, bill));
  },
};

/** The manifest of what is at `path`, with what the options say; refuses what no deployment can be. */
export async function wantedOf(input: Input, shell: Shell, path: string): Promise<Wanted> {
  const overrides = readOverrides(input);
  const wanted: Wanted = { ...(await loadManifest(input.text("manifest"), path, shell)), ...overrides };
  if (wanted.kind === "task") throw taskRefusal(wanted.name);
  return wanted;
}

/** What a deployment needs of a manifest. */
type Wanted = Pick<Manifest, "name" | "kind" | "memoryMib" | "cpuMillis" | "concurrency" | "replicas" | "depositAmount" | "rateMax" | "isolation" | "environment" | "limits" | "outgoing" | "reuse">;
type Digests = { readonly component: Digest; readonly configuration: Digest | null };

function readOverrides(input: Input): Partial<Wanted> {
  const name = input.text("name");
  const replicas = input.count("replicas", 1, REPLICAS_MAX);
  const deposit = input.text("deposit");
  return {
    ...(name === undefined ? {} : { name }),
    ...(replicas === undefined ? {} : { replicas }),
    ...(deposit === undefined ? {} : { depositAmount: parseTokens("--deposit", deposit) }),
  };
}

const taskRefusal = (name: string): CliError => new CliError("not_a_service", `Cannot deploy ${name}: it is a task, which runs to an end (godwit run); a deployment is a service`);

/** The chain refuses a name that is taken as well; asking first saves the build and the upload. */
async function refuseTakenName({ client, account }: Session, name: string): Promise<void> {
  const taken = (await client.allDeployments(account.addressText)).find((deployment) => deployment.name === name && deployment.state !== "closing");
  if (taken !== undefined) throw new CliError("name_taken", `Cannot deploy ${name}: this account has a deployment of that name (${taken.id}); godwit rm ${name} ends it`, { id: taken.id });
}

async function upload({ client }: Session, shell: Shell, component: Uint8Array, wanted: Wanted): Promise<Digests> {
  const { name } = wanted;
  if (component.length > LIMITS_DEFAULT.componentBytesMax) throw new CliError("component_too_large", `Cannot deploy ${name}: the component has ${component.length} bytes and ${LIMITS_DEFAULT.componentBytesMax} is the limit`);
  const uploaded = await withProgress(shell, `uploading ${component.length} bytes`, client.uploadComponent(component));
  if (uploaded.kind === "task") throw taskRefusal(name);
  return { component: uploaded.digest, configuration: await client.uploadConfiguration(wanted) };
}

const deployOperation = (wanted: Wanted, digests: Digests): Operation => ({
  kind: "deploy", name: wanted.name, componentDigest: digests.component, configurationDigest: digests.configuration, memoryMib: wanted.memoryMib,
  cpuMillis: wanted.cpuMillis, concurrency: wanted.concurrency, replicas: wanted.replicas, deposit: wanted.depositAmount, rateMax: wanted.rateMax,
  isolation: wanted.isolation === "process" ? 1 : 0,
});

const summaryText = (deployment: Deployment, now: Bill): string => pairsText([
  ["deployed", `${deployment.name} (${deployment.id})`],
  ["url", deployment.url],
  ["replicas", `${deployment.leases.filter(({ state }) => state === "ready").length} of ${deployment.replicas} ready`],
  ["rate", rateText(now.ratePerSecond)],
  ["escrow", tokensText(now.balance)],
  ["runway", runwayText(now)],
]);
