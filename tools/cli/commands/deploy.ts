/**
 * `godwit deploy`: build, upload by digest, one signed transaction, and the wait until it serves; again, and what has changed is brought up to date.
 *
 * What is cheap to find wrong is looked at first: manifest, kind, name. What exists only once is done last: the upload is harmless
 * and expires by itself, the transaction is all or nothing.
 */
import { hex } from "#chain/types.ts";
import type { App } from "#workloads/blueprint.ts";
import type { Bill, Deployment } from "../answers.ts";
import { ENVIRONMENT_OPTION, appText, buildApp, deployApp, loadApp, planApp } from "../app.ts";
import { type Wanted, bring, newGate, runningOf, upload } from "../bring.ts";
import { type Command, CliError, type Input, OPTIONS_ACCOUNT, OPTIONS_API, type Options, type Shell, UsageError } from "../command.ts";
import { loadComponent, loadManifest } from "../component.ts";
import { parseTokens, rateText, tokensText } from "../money.ts";
import { makePlan } from "../plan.ts";
import { Steps } from "../steps.ts";
import { WAIT_OPTIONS, revisionText, serving, waitForCopies, waitMs } from "../ready.ts";
import { openSession } from "../session.ts";
import { startTask } from "../task.ts";
import { pairsText, print, warn } from "../table.ts";
import { runwayText } from "./bill.ts";

const REPLICAS_MAX = 256;

/** What may differ from the manifest. */
export const DEPLOY_OPTIONS: Options = {
  manifest: { type: "string", value: "FILE", summary: "the manifest of a component file (godwit.toml beside it, or here)" },
  name: { type: "string", value: "NAME", summary: "another name than the manifest's" },
  replicas: { type: "string", value: "N", summary: "another number of replicas than the manifest's" },
  deposit: { type: "string", value: "TOKENS", summary: "another deposit than the manifest's" },
};

/** They mean one workload, not an app. */
export const SINGLE_OPTIONS: readonly string[] = Object.keys(DEPLOY_OPTIONS);

export const deploy: Command = {
  name: "deploy",
  summary: "Build, upload and deploy a project, and wait until it serves",
  usage: ["[DIR] [--env NAME]", "FILE [--manifest FILE]"],
  options: {
    ...OPTIONS_API, ...OPTIONS_ACCOUNT, ...WAIT_OPTIONS, ...DEPLOY_OPTIONS, ...ENVIRONMENT_OPTION,
  },
  arguments: [0, 1],
  details: "DIR has a godwit.toml and is built first. A component FILE of any language is deployed as it is.\nA godwit.toml with [app] is deployed in the order of its needs; what is there already is left alone.",
  async run(input, shell) {
    const timeoutMs = waitMs(input);
    const path = input.positionals[0] ?? ".";
    const app = await loadApp(input, shell, path, SINGLE_OPTIONS);
    if (app !== null) return runApp(input, shell, app, path, timeoutMs);
    const wanted = await wantedOf(input, shell, path);
    if (wanted.kind === "task") return deployTask(input, shell, wanted, path);
    await using session = await openSession(input, shell);
    const { component, digest, build } = await loadComponent(path, shell);
    for (const warning of build?.warnings ?? []) warn(shell, `${warning.file}:${warning.line}:${warning.column}: ${warning.message}`);
    const steps = new Steps(shell);
    const planned = await makePlan(session, wanted, digest);
    const { placed, unplaced } = planned.forecast;
    const count = placed.length + unplaced.length;
    steps.done(`planned: ${count === 0 ? "no replica more" : `${placed.length} of ${count} replicas find a machine`}, ${rateText(planned.ratePerSecond)}`);
    for (const problem of planned.problems) warn(shell, problem);
    const digests = await upload(session, shell, component, wanted);
    steps.done(`uploaded ${component.length} bytes, inspected and compiled`);
    const { did, deployment, done, copies } = await bring(session, shell, wanted, digests, timeoutMs, newGate(), {
      onFinal: ({ height }) => steps.done(`final in block ${height}`), onward: (state, count) => steps.done(`${state}: ${count} of ${wanted.replicas}`),
    });
    if (copies !== null) steps.done(`copied: on ${copies} ${copies === 1 ? "machine" : "machines"}`);
    const bill = await session.client.bill(deployment.id);
    print(shell, input.json, {
      id: deployment.id, name: deployment.name, did, url: deployment.url, host: deployment.host, component: `sha256:${hex(digests.component)}`, bytes: component.length, revision: deployment.revision, revisionNext: deployment.rollout?.revision ?? null,
      replicas: deployment.replicas, copies, ratePerSecond: bill.ratePerSecond, balance: bill.balance, runwaySeconds: bill.runwaySeconds, txid: done?.txid ?? null, height: done?.height ?? null,
    }, () => summaryText(deployment, bill));
  },
};

/** It is on its way when this returns; how it ends is the ledger's to say. */
async function deployTask(input: Input, shell: Shell, manifest: Wanted, path: string): Promise<void> {
  await using session = await openSession(input, shell);
  const wanted: Wanted = { ...manifest, input: { arguments: manifest.task.arguments, stdin: new TextEncoder().encode(manifest.task.stdin) } };
  const running = await runningOf(session, wanted.name);
  if (running !== undefined) throw new CliError("name_taken", `Cannot run ${wanted.name} again while it has not ended: godwit ps, godwit rm ${wanted.name}`, { id: running.id });
  const { component } = await loadComponent(path, shell);
  const digests = await upload(session, shell, component, wanted);
  const { id, done } = await startTask(session, shell, wanted, digests);
  const copies = await waitForCopies(session.client, await session.client.deployment(id), shell, waitMs(input));
  print(shell, input.json, { id, name: wanted.name, did: "made", component: `sha256:${hex(digests.component)}`, bytes: component.length, copies, txid: done.txid, height: done.height }, () => pairsText([
    ["running", `${wanted.name} (${id})`], ["log", `godwit logs -f ${wanted.name}`], ["end", `godwit ps --why ${wanted.name}`],
  ]));
}

async function runApp(input: Input, shell: Shell, app: App, folder: string, timeoutMs: number): Promise<void> {
  const built = await buildApp(app, folder, shell);
  await using session = await openSession(input, shell);
  for (const problem of (await planApp(session, app, built)).problems) warn(shell, problem);
  const brought = await deployApp(session, shell, app, built, timeoutMs);
  print(shell, input.json, {
    app: app.name, environment: app.environment,
    members: brought.map(({ wave, brought: { did, deployment, done, copies } }) => ({ wave, copies, name: deployment.name, did, id: deployment.id, url: deployment.url, revision: deployment.revision, replicas: deployment.replicas, txid: done?.txid ?? null, height: done?.height ?? null })),
  }, () => appText(brought));
}

/** The manifest of what is at `path`, with what the options say; refuses what no deployment can be. */
export async function wantedOf(input: Input, shell: Shell, path: string): Promise<Wanted> {
  const overrides = readOverrides(input);
  const wanted: Wanted = { ...(await loadManifest(input.text("manifest"), path, shell)), ...overrides };
  if (wanted.scale !== null && overrides.replicas !== undefined) throw new UsageError("--replicas does not go with [scale]: the ledger says how many there are");
  return wanted;
}

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

const summaryText = (deployment: Deployment, now: Bill): string => pairsText([
  ["deployed", `${deployment.name} (${deployment.id}), ${revisionText(deployment)}`],
  ["url", deployment.url],
  ["replicas", `${serving(deployment)} of ${deployment.replicas} ready`],
  ["rate", rateText(now.ratePerSecond)],
  ["escrow", tokensText(now.balance)],
  ["runway", runwayText(now)],
]);
