/** `godwit events`: what final blocks did to deployments, leases and machines, each with its block and the transaction that did it. */
import { EVENT_BLOCKS_MAX } from "#os/limits.ts";
import type { EventAnswer } from "../answers.ts";
import { type Command, OPTIONS_ACCOUNT, OPTIONS_API, type Shell } from "../command.ts";
import { chooseAccount } from "../keys.ts";
import { findDeployment, openReader } from "../session.ts";
import { jsonText, plain } from "../table.ts";

const HEIGHT_MAX = 4_294_967_295;

export const events: Command = {
  name: "events",
  summary: "List what happened to deployments and machines, block by block",
  usage: ["[NAME|ID] [-f] [--since HEIGHT] [--machine ADDRESS]"],
  details: `Without NAME those of the whole grid, of the newest ${EVENT_BLOCKS_MAX} blocks.\nEach follows from the final block that BLOCK ID names: whoever executes it finds the same.\nTRANSACTION is empty where the block itself did it.`,
  options: {
    ...OPTIONS_API, ...OPTIONS_ACCOUNT,
    follow: { type: "boolean", short: "f", summary: "go on with those that come, until the deployment is paid off or Ctrl-C" },
    since: { type: "string", value: "HEIGHT", summary: "begin with this block (with NAME, the one that deployed it)" },
    machine: { type: "string", value: "ADDRESS", summary: "only those on this machine" },
  },
  arguments: [0, 1],
  async run(input, shell) {
    const since = input.count("since", 1, HEIGHT_MAX);
    const [wanted] = input.positionals;
    await using client = await openReader(input, shell);
    const deployment = wanted === undefined || /^[0-9a-f]{40}$/.test(wanted) ? undefined : await findDeployment(client, (await chooseAccount(shell, input.text("account"))).addressText, wanted);
    // A whole id may be one that the ledger has let go.
    const id = deployment?.id ?? wanted;
    const from = since ?? deployment?.createdHeight ?? (id === undefined ? undefined : 1);
    const asked = { deployment: id, machine: input.text("machine"), after: from === undefined ? undefined : String(Math.max(0, from - 1)), follow: input.flag("follow"), signal: shell.signal };
    let rows = 0;
    for await (const event of client.events(asked)) {
      if (rows === 0 && !input.json) shell.stdout.write(`${lineText(HEADER)}\n`);
      rows += 1;
      shell.stdout.write(`${input.json ? jsonText(event) : lineText(cellsOf(event))}\n`);
    }
    if (rows === 0 && !input.json) sayNothing(shell);
  },
};

const HEADER: readonly string[] = ["BLOCK", "TIME", "SECOND", "EVENT", "DEPLOYMENT", "LEASE", "MACHINE", "TRANSACTION", "BLOCK ID", "CAUSE"];
/** Lines come one by one: columns are as wide as they mostly are, not as their widest cell. */
const WIDTHS: readonly number[] = [7, 24, 8, 10, 16, 5, 13, 12, 12, 0];
const RIGHT: ReadonlySet<number> = new Set([0, 2, 5]);

const lineText = (cells: readonly string[]): string =>
  cells.map((cell, i) => (RIGHT.has(i) ? plain(cell).padStart(WIDTHS[i] ?? 0) : plain(cell).padEnd(WIDTHS[i] ?? 0))).join("  ").trimEnd();

const cellsOf = ({ height, timeMs, second, kind, name, deployment, lease, machine, transaction, block, cause }: EventAnswer): readonly string[] => [
  String(height), new Date(Number(timeMs)).toISOString(), String(second), kind, name ?? deployment?.slice(0, 12) ?? "", lease === null ? "" : String(lease),
  machine === null ? "" : `${machine.slice(0, 12)}…`, transaction?.slice(0, 12) ?? "", block.slice(0, 12), cause ?? "",
];

const sayNothing = (shell: Shell): void => void shell.stdout.write("Nothing happened\n");
