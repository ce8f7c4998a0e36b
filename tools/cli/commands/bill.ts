/**
 * `godwit bill`: every segment of every lease, seconds × rate, to the unit; and how long the money lasts. With `--verify` each line, and that
 * they add up to what the ledger paid and owes, is taken on the validators' word alone.
 */
import type { Bill, Segment } from "../answers.ts";
import type { ApiClient } from "../client.ts";
import { type Command, type Input, OPTIONS_ACCOUNT, OPTIONS_API, type Shell, UsageError } from "../command.ts";
import { chooseAccount } from "../keys.ts";
import { durationText, rateText, tokensColumn, tokensText } from "../money.ts";
import { DEPLOYMENT_ID, findDeployment, openReader } from "../session.ts";
import { pause } from "../pause.ts";
import { jsonText, pairsText, print, tableText } from "../table.ts";
import { OPTIONS_VERIFY, Verifier } from "../verified.ts";

const WATCH_INTERVAL_MS = 1_000;

export const bill: Command = {
  name: "bill",
  summary: "Show what a deployment has cost: seconds × rate, segment by segment",
  usage: ["NAME|ID [--watch]", "NAME|ID [--verify] [--csv]"],
  options: { ...OPTIONS_API, ...OPTIONS_ACCOUNT, ...OPTIONS_VERIFY, csv: { type: "boolean", summary: "a line for each segment, for a spreadsheet: seconds are money seconds, amounts base units (1 token = 10^9)" }, watch: { type: "boolean", short: "w", summary: "print it anew every second (with --json a line each) until it is stopped" } },
  arguments: [1, 1],
  async run(input, shell) {
    await using client = await openReader(input, shell);
    const id = await idOf(client, input, shell);
    if (input.flag("csv") && input.json) throw new UsageError("--csv and --json are two forms of one answer");
    if (input.flag("watch")) {
      if (input.flag("csv") || input.flag("verify")) throw new UsageError("--watch goes neither with --csv nor with --verify");
      return await watch(client, id, shell, input.json);
    }
    const now = input.flag("verify") ? await verified(client, input, shell, id) : await client.bill(id);
    if (input.flag("csv")) return void shell.stdout.write(billCsv(now));
    print(shell, input.json, now, () => billText(now));
  },
};

async function verified(client: ApiClient, input: Input, shell: Shell, id: string): Promise<Bill> {
  const verifier = await Verifier.open(client, input, shell);
  const proven = await verifier.bill(id, () => client.bill(id), shell.nowMs());
  await verifier.keep();
  if (shell.quiet !== true) shell.stderr.write(`verified up to block ${verifier.height}: ${proven.segments.length} segments add up to ${proven.total} base units, ${proven.paid} of them paid\n`);
  return proven;
}

/** The column `amount` adds up to the total: what is no longer listed is a line of its own. */
export function billCsv({ segments, earlier, at }: Bill): string {
  const rows = segments.map(({ machine, operator, index, openedAt, end, seconds, rate, amount, isPaid }) => [machine, operator, index, openedAt, end ?? at, seconds, rate, amount, end === null ? "running" : isPaid ? "paid" : "ended"]);
  const before = earlier.amount === 0n ? [] : [["", "", "", "", "", earlier.seconds ?? "", "", earlier.amount, "earlier"]];
  return [["machine", "operator", "replica", "from", "to", "seconds", "rate", "amount", "state"], ...before, ...rows].map((row) => `${row.join(",")}\n`).join("");
}

/** An id is taken as it is: the bill of a deployment that is gone can still be read. */
async function idOf(client: ApiClient, input: Input, shell: Shell): Promise<string> {
  const [wanted = ""] = input.positionals;
  if (DEPLOYMENT_ID.test(wanted)) return wanted;
  const account = await chooseAccount(shell, input.text("account")).catch(() => null);
  return (await findDeployment(client, account?.addressText, wanted)).id;
}

/** Redraws on a terminal; elsewhere prints one line a second. Ends when it is stopped, or when the bill can change no more. */
async function watch(client: ApiClient, id: string, shell: Shell, json: boolean): Promise<void> {
  const isTerminal = shell.stdout.isTTY === true && !json;
  while (!shell.signal.aborted) {
    const now = await client.bill(id).catch((error: unknown) => {
      if (shell.signal.aborted) return null;
      throw error;
    });
    if (now === null) return;
    if (json) shell.stdout.write(`${jsonText(now)}\n`);
    else shell.stdout.write(isTerminal ? `\u001b[H\u001b[2J${billText(now)}\n` : `${billLine(now)}\n`);
    if (now.closed) return;
    await pause(WATCH_INTERVAL_MS, shell.signal);
  }
}

export function billText(now: Bill): string {
  const segments = tableText<Segment>(now.segments, [
    { title: "MACHINE", cell: ({ machine }) => `${machine.slice(0, 12)}…` },
    { title: "REPLICA", align: "right", cell: ({ index }) => String(index) },
    { title: "FROM", align: "right", cell: ({ openedAt }) => String(openedAt) },
    { title: "TO", align: "right", cell: ({ end }) => String(end ?? now.at) },
    { title: "SECONDS", align: "right", cell: ({ seconds }) => String(seconds) },
    { title: "RATE/S", align: "right", cell: ({ rate }) => tokensColumn(rate) },
    { title: "AMOUNT", align: "right", cell: ({ amount }) => tokensColumn(amount) },
    { title: "", cell: ({ end, isPaid }) => (end === null ? "running" : isPaid ? "paid" : "ended") },
  ]);
  return `${segments}\n\n${pairsText([
    ["deployment", `${now.name} (${now.deploymentId})`],
    ...(now.earlier.amount === 0n ? [] : [["earlier", `${now.earlier.seconds === null ? "" : `${now.earlier.segments} segments, ${now.earlier.seconds} s, `}${tokensText(now.earlier.amount)}`] as const]),
    ["total", tokensText(now.total)],
    ["rate", rateText(now.ratePerSecond)],
    ...(now.closed ? [["closed, refunded", tokensText(now.refunded)] as const] : [["escrow", tokensText(now.balance)] as const, ["runway", runwayText(now)] as const]),
  ])}`;
}

/** Seconds of all segments together. */
export const secondsRun = (now: Bill): bigint => now.segments.reduce((sum, segment) => sum + segment.seconds, now.earlier.seconds ?? 0n);

/** One line that moves. */
const billLine = (now: Bill): string => `${secondsRun(now)} s run, ${rateText(now.ratePerSecond)}, total ${tokensText(now.total)}, ${runwayPhrase(now)}`;

export const runwayText = (now: Bill): string => (now.runwaySeconds === null ? "nothing runs" : durationText(now.runwaySeconds));

/** The runway in the middle of a line, where its name stands nowhere else. */
export const runwayPhrase = (now: Bill): string => (now.closed ? `closed, ${tokensText(now.refunded)} came back` : now.runwaySeconds === null ? "nothing runs" : `runway ${runwayText(now)}`);
