/** `godwit audit`: folds the blocks of a chain by itself and compares what was paid with rate × seconds. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { type Command, CliError, OPTIONS_API } from "../command.ts";
import { chooseApi } from "../keys.ts";
import { tokensColumn, tokensText } from "../money.ts";
import { plain, tableText, withProgress } from "../table.ts";

const AUDIT = join(import.meta.dirname, "..", "..", "audit.ts");

type Line = { readonly deployment: string; readonly owner: string; readonly seconds: string; readonly due: string; readonly paid: string; readonly balance: string; readonly refunded: string };
export type Report = { readonly ok: boolean; readonly height: number; readonly supply: string; readonly lines: readonly Line[]; readonly findings: readonly string[] };

export const audit: Command = {
  name: "audit",
  summary: "Fold every block and check that what was paid is rate × seconds",
  usage: [""],
  options: OPTIONS_API,
  arguments: [0, 0],
  details: "DUE is rate × seconds; the last seconds are paid a hold (30 s) after their end. Exit code 1 when a unit is missing.",
  async run(input, shell) {
    const url = await chooseApi(shell, input.text("api"));
    const { stdout, stderr, code } = await withProgress(shell, "folding every block", runAudit(url, shell.signal));
    const report = parseReport(stdout);
    if (report === null) throw new CliError("audit_failed", stderr.trim() === "" ? `The audit ended with ${code} and no report` : stderr.trim());
    shell.stdout.write(input.json ? stdout : `${reportText(report)}\n`);
    return code;
  },
};

/** A process of its own: the audit shares no code with the ledger, and none with this command line. */
async function runAudit(url: string, signal: AbortSignal): Promise<{ stdout: string; stderr: string; code: number }> {
  const child = spawn(process.execPath, [AUDIT, "--api", url, "--json"], { stdio: ["ignore", "pipe", "pipe"], signal });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
  return new Promise((resolve, reject) => {
    child.once("error", (error) => reject(new CliError("audit_failed", `Cannot run the audit: ${error.message}`, {}, error)));
    child.once("close", (code) => resolve({ stdout, stderr, code: code ?? 1 }));
  });
}

/** Our own program wrote it: it is there whole, or not at all. */
function parseReport(text: string): Report | null {
  return text.trim() === "" ? null : (JSON.parse(text) as Report);
}

export function reportText({ ok, height, supply, lines, findings }: Report): string {
  const money = (title: string, cell: (line: Line) => string) => ({ title, align: "right" as const, cell: (line: Line) => tokensColumn(BigInt(cell(line))) });
  const table = tableText(lines, [
    { title: "DEPLOYMENT", cell: ({ deployment }) => deployment.slice(0, 12) },
    { title: "OWNER", cell: ({ owner }) => `${owner.slice(0, 12)}…` },
    { title: "SECONDS", align: "right", cell: ({ seconds }) => seconds },
    money("DUE", ({ due }) => due), money("PAID", ({ paid }) => paid), money("ESCROW", ({ balance }) => balance), money("REFUNDED", ({ refunded }) => refunded),
  ]);
  const verdict = `${height} blocks, supply ${tokensText(BigInt(supply))}: ${ok ? "every unit is accounted for" : "not everything is accounted for"}`;
  return [...(lines.length === 0 ? [] : [table, ""]), verdict, ...findings.map(plain)].join("\n");
}
