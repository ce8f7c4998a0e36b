/** `godwit ps`: what runs, where, at which rate. */
import type { Deployment } from "../answers.ts";
import { type Command, OPTIONS_ACCOUNT, OPTIONS_API } from "../command.ts";
import { chooseAccount } from "../keys.ts";
import { tokensText } from "../money.ts";
import { openReader } from "../session.ts";
import { print, tableText } from "../table.ts";

export const ps: Command = {
  name: "ps",
  summary: "List deployments: what runs, where, at which rate",
  usage: ["[--all]"],
  options: { ...OPTIONS_API, ...OPTIONS_ACCOUNT, all: { type: "boolean", short: "a", summary: "those of every account" } },
  arguments: [0, 0],
  async run(input, shell) {
    await using client = await openReader(input, shell);
    const owner = input.flag("all") ? undefined : (await chooseAccount(shell, input.text("account"))).addressText;
    const rows = await client.allDeployments(owner);
    print(shell, input.json, rows, () => rows.length === 0 ? "Nothing is deployed" : tableText(rows, [
      { title: "NAME", cell: ({ name }) => name },
      { title: "ID", cell: ({ id }) => id.slice(0, 12) },
      { title: "READY", cell: (row) => `${count(row, "ready")}/${row.replicas}` },
      { title: "STATE", cell: stateText },
      { title: "MEMORY", align: "right", cell: ({ memoryMib }) => `${memoryMib} MiB` },
      { title: "CPU", align: "right", cell: ({ cpuMillis }) => `${cpuMillis}m` },
      { title: "RATE/H", align: "right", cell: (row) => tokensText(rateOf(row) * 3600n) },
      { title: "URL", cell: ({ url }) => url },
      ...(owner === undefined ? [{ title: "OWNER", cell: (row: Deployment) => row.owner }] : []),
    ]));
  },
};

const count = (deployment: Deployment, state: string): number => deployment.leases.filter((lease) => lease.state === state).length;
/** What all running leases cost together in a second. */
export const rateOf = (deployment: Deployment): bigint => deployment.leases.reduce((sum, { state, rate }) => (state === "ready" ? sum + rate : sum), 0n);

function stateText(deployment: Deployment): string {
  if (deployment.state !== "active") return deployment.state;
  if (count(deployment, "ready") >= deployment.replicas) return "running";
  if (deployment.failure !== null) return "failed";
  return count(deployment, "waiting") > 0 ? "waiting" : "starting";
}
