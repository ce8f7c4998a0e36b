/** `godwit logs`: what a deployment wrote, on whatever machine, to its owner only. */
import { type Command, OPTIONS_ACCOUNT, OPTIONS_API, type Shell } from "../command.ts";
import { type LogReader, type PlacedLine, followedLines, newestLines } from "../logLines.ts";
import { findDeployment, openSession } from "../session.ts";
import { sourceLinesOf } from "../symbols.ts";
import { jsonText, paint, plain, warn } from "../table.ts";

const TAIL_DEFAULT = 100;
const TAIL_MAX = 1_000;
/** Enough to tell machines apart. */
const MACHINE_LETTERS = 9;

export const logs: Command = {
  name: "logs",
  summary: "Print what a deployment wrote",
  usage: ["NAME|ID [-f] [--tail N]"],
  options: {
    ...OPTIONS_API, ...OPTIONS_ACCOUNT,
    follow: { type: "boolean", short: "f", summary: "go on with the lines that come, until the deployment is removed or Ctrl-C" },
    tail: { type: "string", short: "n", value: "N", summary: `start with the newest N lines (${TAIL_DEFAULT})` },
  },
  arguments: [1, 1],
  async run(input, shell) {
    const tail = input.count("tail", 0, TAIL_MAX) ?? TAIL_DEFAULT;
    await using session = await openSession(input, shell);
    const { client, account } = session;
    const deployment = await findDeployment(client, account.addressText, input.positionals[0] ?? "");
    const withLines = await sourceLinesOf(deployment.component.replace("sha256:", ""));
    const onSkipped = (lines: number): void => warn(shell, `${lines} lines were skipped as this reader is too slow`);
    const onEnd = (): void => void shell.stderr.write(`${plain(deployment.name)} is closed: its log ends here\n`);
    const reader: LogReader = { client, deployment, missing: (text) => warn(shell, text) };
    const machines = new Set<string>();
    const print = (sent: PlacedLine): void => {
      const line = sent.stream === "system" ? { ...sent, line: withLines(sent.line) } : sent;
      machines.add(line.machine);
      shell.stdout.write(`${input.json ? jsonText(line) : lineText(shell, line, machines.size > 1)}\n`);
    };
    if (input.flag("follow")) for await (const line of followedLines(reader, { tail, signal: shell.signal, onSkipped, onEnd })) print(line);
    else {
      const lines = await newestLines(reader, tail, shell.signal);
      for (const { machine } of lines) machines.add(machine);
      for (const line of lines) print(line);
    }
  },
};

/** The id of the request is what its answer has as x-request-id. */
function lineText(shell: Shell, { timeMs, stream, requestId, line, machine }: PlacedLine, isOneOfSeveral: boolean): string {
  const time = paint(shell, shell.stdout, "dim", new Date(Number(timeMs)).toISOString());
  const tag = paint(shell, shell.stdout, stream === "stdout" ? "dim" : stream === "stderr" ? "yellow" : "red", stream.padEnd(6));
  const request = requestId === null || requestId === "" ? "" : `${paint(shell, shell.stdout, "dim", plain(requestId))} `;
  // To a file or a pipe a line goes as the guest wrote it; on a terminal it must not be able to redraw the screen.
  const where = isOneOfSeveral ? `${paint(shell, shell.stdout, "dim", machine.slice(0, MACHINE_LETTERS))} ` : "";
  return `${time} ${where}${tag} ${request}${shell.stdout.isTTY === true ? plain(line) : line}`;
}
