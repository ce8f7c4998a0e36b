/**
 * Apps (workloads/blueprint.ts) on a machine: what is against what is wanted, and the way there, wave by wave.
 *
 * The ledger knows deployments, not apps: what belongs together and who needs whom stands in the app's file alone, and is read from there
 * each time. What was done already is seen in the ledger (bring.ts), so that an interrupted deploy goes on when it is run anew.
 */
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type App, type Blueprint, type Member, appOf, parseBlueprint, settle } from "#workloads/blueprint.ts";
import type { Deployment } from "./answers.ts";
import { type Brought, type Wanted, bring, newGate, upload } from "./bring.ts";
import { CliError, type Input, type Options, type Shell, UsageError } from "./command.ts";
import { MANIFEST_FILE, loadComponent, loadManifest } from "./component.ts";
import { rateText, tokensText } from "./money.ts";
import { type Change, type Plan, makePlan, shortDigest } from "./plan.ts";
import { type Done, type Session, deploymentAddress, send } from "./session.ts";
import { serving } from "./ready.ts";
import { Steps } from "./steps.ts";
import { bringTask, endText, wantedTask } from "./task.ts";
import { paint, pairsText, tableText, warn } from "./table.ts";

export const ENVIRONMENT_OPTION: Options = {
  env: { type: "string", value: "NAME", summary: "an environment of an app: its table [env.NAME]" },
};
const SECONDS_PER_MONTH = 30n * 86_400n;

type Built = { readonly member: Member; readonly wave: number; readonly wanted: Wanted; readonly component: Uint8Array; readonly digest: string };
export type AppPlan = { readonly app: string; readonly environment: string | null; readonly members: readonly (Plan & { readonly wave: number })[]; readonly ratePerSecond: bigint; readonly deposit: bigint; readonly problems: readonly string[] };
export type AppBrought = { readonly wave: number; readonly brought: Brought };

/** The blueprint of the folder `path`; null when there is none. */
async function loadBlueprint(path: string, shell: Shell): Promise<Blueprint | null> {
  const file = join(resolve(shell.currentDirectory, path), MANIFEST_FILE);
  const text = await readFile(file, "utf8").catch(() => null);
  const parsed = text === null ? null : parseBlueprint(text, file);
  if (parsed === null) return null;
  if (parsed.ok) return parsed.blueprint;
  const lines = parsed.errors.map((error) => `${error.file}:${error.line}:${error.column}: ${error.message} (${error.code})`);
  throw new CliError("manifest_invalid", [`${file} has errors:`, ...lines].join("\n"), { diagnostics: parsed.errors });
}

/** The app of the folder `path` in the environment of --env; null when it holds none. Options that mean one workload are refused with an app. */
export async function loadApp(input: Input, shell: Shell, path: string, single: readonly string[] = []): Promise<App | null> {
  const blueprint = await loadBlueprint(path, shell);
  const environment = input.text("env") ?? null;
  if (blueprint === null) {
    if (environment !== null) throw new UsageError(`--env means an app, and ${path} holds none`);
    return null;
  }
  const wrong = single.find((option) => input.text(option) !== undefined);
  if (wrong !== undefined) throw new UsageError(`--${wrong} means one workload, and ${path} holds an app: write it into its ${MANIFEST_FILE}`);
  const app = appOf(blueprint, environment);
  if (app === null) throw new CliError("environment_unknown", `The app ${blueprint.name} has no environment "${environment}": ${blueprint.environments.map(({ name }) => name).join(", ") || "it has none"}`);
  return app;
}

/** Everything is read and built before anything is sent: an author's mistake leaves no half of an app. Two of one project build it once. */
export async function buildApp(app: App, folder: string, shell: Shell): Promise<Built[]> {
  const components = new Map<string, { readonly component: Uint8Array; readonly digest: string }>();
  const built: Built[] = [];
  for (const [wave, members] of app.waves.entries()) {
    for (const member of members) {
      const path = join(resolve(shell.currentDirectory, folder), member.path);
      const settled = settle(await loadManifest(undefined, path, shell), member);
      const wanted: Wanted = settled.kind === "task" ? wantedTask(settled) : settled;
      let loaded = components.get(path);
      if (loaded === undefined) {
        const { build, ...rest } = await loadComponent(path, shell);
        for (const warning of build?.warnings ?? []) warn(shell, `${warning.file}:${warning.line}:${warning.column}: ${warning.message}`);
        components.set(path, loaded = rest);
      }
      built.push({ member, wave: wave + 1, wanted, ...loaded });
    }
  }
  return built;
}

/** Each is placed as if it came alone: what one takes is not missing to the next. Deposits are added up. */
export async function planApp(session: Session, app: App, built: readonly Built[]): Promise<AppPlan> {
  const members = await Promise.all(built.map(async ({ wave, wanted, digest }) => ({ ...(await makePlan(session, wanted, digest)), wave })));
  const deposit = members.reduce((sum, plan) => sum + plan.deposit, 0n);
  const { balance } = await session.client.account(session.account.addressText);
  const problems = members.flatMap(({ name, problems: own }) => own.map((problem) => `${name}: ${problem}`));
  if (deposit > balance && members.every((plan) => plan.deposit <= balance)) problems.push(`the account has ${tokensText(balance)}, less than all deposits, ${tokensText(deposit)}`);
  return { app: app.name, environment: app.environment, members, ratePerSecond: members.reduce((sum, plan) => sum + plan.ratePerSecond, 0n), deposit, problems };
}

export function appPlanText(shell: Shell, { members, ratePerSecond, deposit, problems }: AppPlan): string {
  const rows = members.flatMap(({ wave, name, changes }) => (changes.length === 0 ? [{ what: "none", now: "", wanted: "", by: null }] : changes).map((change: Change) => ({ ...change, wave, name })));
  return [
    tableText(rows, [
      { title: "WAVE", align: "right", cell: ({ wave }) => String(wave) },
      { title: "WORKLOAD", cell: ({ name }) => name },
      { title: "CHANGE", cell: ({ what }) => what },
      { title: "NOW", cell: ({ now }) => shortDigest(now) },
      { title: "WANTED", cell: ({ wanted }) => shortDigest(wanted) },
    ]),
    pairsText([["rate", rateText(ratePerSecond)], ["30 days", tokensText(ratePerSecond * SECONDS_PER_MONTH)], ...(deposit === 0n ? [] : [["deposits", tokensText(deposit)] as const])]),
    ...problems.map((problem) => `${paint(shell, shell.stdout, "yellow", "cannot")}  ${problem}`),
  ].join("\n\n");
}

/** A wave begins when all of the one before it serve, and its tasks have ended well; a failure lets the wave end, and no other begin. */
export async function deployApp(session: Session, shell: Shell, app: App, built: readonly Built[], timeoutMs: number): Promise<AppBrought[]> {
  const steps = new Steps(shell);
  const gate = newGate();
  // Several wait at once: their progress would write over each other.
  const silent: Shell = { ...shell, quiet: true };
  const all: AppBrought[] = [];
  for (let wave = 1; wave <= app.waves.length; wave++) {
    const outcomes = await Promise.allSettled(built.filter((one) => one.wave === wave).map(async ({ wanted, component }) => {
      const digests = await upload(session, silent, component, wanted);
      return { wave, brought: await (wanted.kind === "task" ? bringTask : bring)(session, silent, wanted, digests, timeoutMs, gate) };
    }));
    const done = outcomes.filter((outcome) => outcome.status === "fulfilled").map(({ value }) => value);
    if (done.length > 0) steps.done(`wave ${wave} of ${app.waves.length}: ${done.map(({ brought: { did, deployment } }) => `${deployment.name} ${did === "nothing" ? "is as it should be" : did}`).join(", ")}`);
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed !== undefined) throw failed.reason;
    all.push(...done);
  }
  return all;
}

export const appText = (brought: readonly AppBrought[]): string => tableText(brought, [
  { title: "WAVE", align: "right", cell: ({ wave }) => String(wave) },
  { title: "WORKLOAD", cell: ({ brought: { deployment } }) => deployment.name },
  { title: "DID", cell: ({ brought: { did } }) => did },
  { title: "READY", cell: ({ brought: { deployment } }) => (deployment.task === null ? `${serving(deployment)}/${deployment.replicas}` : endText(deployment.task)) },
  { title: "URL", cell: ({ brought: { deployment } }) => (deployment.task === null ? deployment.url : "") },
]);

const runningOf = async ({ client, account }: Session): Promise<Map<string, Deployment>> =>
  new Map((await client.allDeployments(account.addressText)).filter(({ state }) => state !== "closing" && state !== "ended").map((deployment) => [deployment.name, deployment]));

/** Refuses when the app of this folder has something running that needs `deployment`. */
export async function refuseNeeded(session: Session, shell: Shell, { name, owner }: Deployment): Promise<void> {
  const blueprint = owner === session.account.addressText ? await loadBlueprint(".", shell) : null;
  if (blueprint === null) return;
  const running = await runningOf(session);
  const members = [null, ...blueprint.environments.map((one) => one.name)].flatMap((environment) => appOf(blueprint, environment)?.waves.flat() ?? []);
  const neededBy = members.filter((member) => member.needs.includes(name) && running.has(member.name)).map((member) => member.name);
  if (neededBy.length > 0) throw new CliError("needed", `Cannot remove ${name}: ${neededBy.join(" and ")} of this app ${neededBy.length === 1 ? "needs" : "need"} it; godwit rm ${neededBy[0]} first, or godwit rm --app`, { neededBy });
}

/** Ends all of an app that runs, those that need others first: a transaction for each wave. */
export async function removeApp(session: Session, shell: Shell, app: App): Promise<{ readonly name: string; readonly id: string; readonly done: Done }[]> {
  const running = await runningOf(session);
  const removed: { name: string; id: string; done: Done }[] = [];
  for (const wave of app.waves.toReversed()) {
    const there = wave.flatMap(({ name }) => running.get(name) ?? []);
    if (there.length === 0) continue;
    const done = await send(session, shell, there.map((deployment) => ({ kind: "close", deploymentId: deploymentAddress(deployment) }) as const), "closing");
    removed.push(...there.map(({ name, id }) => ({ name, id, done })));
  }
  return removed;
}
