/** `godwit ps`: what runs, where, at which rate. */
import type { ConfigurationAnswer, Deployment, TaskAnswer } from "../answers.ts";
import type { ApiClient } from "../client.ts";
import { type Command, CliError, type Input, OPTIONS_ACCOUNT, OPTIONS_API, type Shell, UsageError } from "../command.ts";
import { chooseAccount } from "../keys.ts";
import { tokensText } from "../money.ts";
import { rateOf, serving } from "../ready.ts";
import { reasonsOf } from "../reasons.ts";
import { openReader, openSession } from "../session.ts";
import { pairsText, print, tableText } from "../table.ts";
import { endText } from "../task.ts";
import { OPTIONS_VERIFY, Verifier } from "../verified.ts";

export const ps: Command = {
  name: "ps",
  summary: "List deployments: what runs, where, at which rate",
  usage: ["[--all] [--verify]", "--limits [NAME]", "--why [NAME]"],
  options: { ...OPTIONS_API, ...OPTIONS_ACCOUNT, ...OPTIONS_VERIFY, all: { type: "boolean", short: "a", summary: "those of every account" }, why: { type: "boolean", summary: "of each replica, why it is where it is, or runs nowhere" }, limits: { type: "boolean", summary: "every limit and allowed place of this account's deployments, or of one" } },
  arguments: [0, 1],
  async run(input, shell) {
    if (input.flag("limits")) return printLimits(input, shell);
    if (input.positionals[0] !== undefined && !input.flag("why")) throw new UsageError("A NAME is for --limits and --why");
    await using client = await openReader(input, shell);
    if (input.flag("why")) return printReasons(client, input, shell);
    const owner = input.flag("all") ? undefined : (await chooseAccount(shell, input.text("account"))).addressText;
    const listed = await client.allDeployments(owner);
    const rows = input.flag("verify") ? await verified(client, input, shell, listed) : listed;
    print(shell, input.json, rows, () => psText(rows, owner === undefined));
  },
};

export const psText = (rows: readonly Deployment[], hasOwners: boolean): string => (rows.length === 0 ? "Nothing is deployed" : tableText(rows, [
  { title: "NAME", cell: ({ name }) => name },
  { title: "ID", cell: ({ id }) => id.slice(0, 12) },
  { title: "READY", cell: (row) => (row.task === null ? `${serving(row)}/${row.replicas}` : `run ${row.task.runs}`) },
  { title: "STATE", cell: stateText },
  ...(rows.some(({ scaling }) => scaling !== null) ? [{ title: "SCALES", cell: ({ scaling }: Deployment) => (scaling === null ? "-" : `${scaling.min}-${scaling.max}`) }] : []),
  { title: "MEMORY", align: "right", cell: ({ memoryMib }) => `${memoryMib} MiB` },
  { title: "CPU", align: "right", cell: ({ cpuMillis }) => `${cpuMillis}m` },
  { title: "RATE/H", align: "right", cell: (row) => tokensText(rateOf(row) * 3600n) },
  { title: "URL", cell: ({ url, task }) => (task === null ? url : "-") },
  ...(hasOwners ? [{ title: "OWNER", cell: (row: Deployment) => row.owner }] : []),
]));

/** Each as the validators signed it. That one is left out no proof can tell: it takes every id to be asked for. */
async function verified(client: ApiClient, input: Input, shell: Shell, rows: readonly Deployment[]): Promise<Deployment[]> {
  const verifier = await Verifier.open(client, input, shell);
  const proven: Deployment[] = [];
  for (const row of rows) proven.push(await verifier.deployment(row, () => client.deployment(row.id), shell.nowMs()));
  await verifier.keep();
  if (shell.quiet !== true) shell.stderr.write(`verified up to block ${verifier.height}\n`);
  return proven;
}

async function printReasons(client: ApiClient, input: Input, shell: Shell): Promise<void> {
  const owner = (await chooseAccount(shell, input.text("account"))).addressText;
  const [wanted] = input.positionals;
  const [status, machines, listed] = await Promise.all([client.status(), client.allMachines(), client.allDeployments(owner)]);
  const rows = listed.filter(({ id, name, state }) => state !== "closing" && (wanted === undefined || name === wanted || id === wanted));
  if (wanted !== undefined && rows.length === 0) throw new CliError("deployment_unknown", `There is no deployment "${wanted}" of this account: see godwit ps`);
  const reasons = rows.flatMap((row) => reasonsOf(row, machines, status.head.moneySecond));
  print(shell, input.json, reasons, () => reasons.length === 0 ? "Nothing is deployed" : tableText(reasons, [
    { title: "NAME", cell: ({ name }) => name },
    { title: "REPLICA", align: "right", cell: ({ index }) => String(index) },
    { title: "REVISION", align: "right", cell: ({ revision }) => String(revision) },
    { title: "STATE", cell: ({ state }) => state },
    { title: "MACHINE", cell: ({ machine }) => machine ?? "-" },
    { title: "WHY", cell: ({ why }) => why },
  ]));
}

type Limited = Deployment & { readonly settings: ConfigurationAnswer | null };

/** Limits are in the configuration, which a machine gives to the owner only: these reads are signed. */
async function printLimits(input: Input, shell: Shell): Promise<void> {
  if (input.flag("all")) throw new UsageError("Limits are private: --limits does not go with --all");
  await using session = await openSession(input, shell);
  const [wanted] = input.positionals;
  const rows = (await session.client.allDeployments(session.account.addressText)).filter(({ id, name, state }) => state !== "closing" && (wanted === undefined || name === wanted || id === wanted));
  if (wanted !== undefined && rows.length === 0) throw new CliError("deployment_unknown", `There is no deployment "${wanted}" of this account: see godwit ps`);
  const limited: Limited[] = [];
  for (const row of rows) {
    const settings = await session.client.configuration(row.id).catch((error: unknown) => {
      if (error instanceof CliError && error.code === "configuration_missing") return null;
      throw error;
    });
    limited.push({ ...row, settings });
  }
  print(shell, input.json, limited, () => limited.length === 0 ? "Nothing is deployed" : limited.map(limitsText).join("\n\n"));
}

const limitsText = ({ name, id, memoryMib, cpuMillis, concurrency, isolation, settings }: Limited): string => pairsText([
  ["deployment", `${name} (${id.slice(0, 12)})`],
  ["memory, CPU", `${memoryMib} MiB, ${cpuMillis} thousandths of a core; ${concurrency} requests at once, isolation ${isolation}`],
  ...(settings === null ? [["limits", "in a configuration that this machine does not hold"] as const] : [
    ...Object.entries(settings.limits).map(([limit, value]) => [limit, String(value)] as const),
    ["reuse", String(settings.reuse)] as const,
    ["outgoing", settings.outgoing.length === 0 ? "nowhere" : settings.outgoing.join(" ")] as const,
  ]),
]);


/** Of a task: where it is, and how its last run ended. */
function taskText({ phase, failures, attemptsMax, reason, exitCode }: TaskAnswer): string {
  const end = endText({ exitCode, reason });
  if (phase === "ended") return end;
  return failures === 0 ? phase : `${phase}: ${failures} of ${attemptsMax} failed, ${end}`;
}

function stateText(deployment: Deployment): string {
  if (deployment.task !== null && (deployment.state === "active" || deployment.state === "ended")) return taskText(deployment.task);
  if (deployment.state !== "active") return deployment.state;
  const { replicas, leases, failure } = deployment;
  if (replicas === 0) return "stopped";
  if (serving(deployment) >= replicas) return leases.every(({ standbyRate }) => standbyRate !== null) ? "standby" : "running";
  if (failure !== null) return "failed";
  return leases.some(({ state }) => state === "waiting") ? "waiting" : "starting";
}
