/** `godwit doctor`: which walls of the sandbox hold on this computer, and who checks signatures; with `--attack`, whether anything gets through them. */
import { getSystemErrorName } from "node:util";
import type { Attempt } from "#sandbox/attack.ts";
import type { Command, Shell } from "../command.ts";
import { print, tableText } from "../table.ts";

export const doctor: Command = {
  name: "doctor",
  summary: "Which walls of the sandbox hold on this computer",
  usage: ["", "--attack"],
  options: { attack: { type: "boolean", summary: "from inside a jailed runner and compiler, do what an escaped guest would" } },
  arguments: [0, 0],
  details: "Exits 1 when a wall is missing, or when a try ends in another way than it must.\nThe tries and their reasons are in sandbox/JAIL.md.",
  run: (input, shell) => (input.flag("attack") ? attack(input.json, shell) : examine(input.json, shell)),
};

async function examine(json: boolean, shell: Shell): Promise<number> {
  const { examine } = await import("#sandbox/doctor.ts");
  const { signaturesFinding, verifyNatively } = await import("#os/verification.ts");
  // The finding says it.
  verifyNatively(() => {});
  const findings = [...await examine(), signaturesFinding()];
  print(shell, json, { findings }, () =>
    tableText(findings, [
      { title: "wall", cell: ({ name }) => name },
      { title: "holds", cell: ({ holds }) => (holds ? "yes" : "NO") },
      { title: "value", cell: ({ value }) => String(value) },
      { title: "what it is for", cell: ({ meaning }) => meaning },
    ]));
  return findings.every(({ holds }) => holds) ? 0 : 1;
}

async function attack(json: boolean, shell: Shell): Promise<number> {
  const { attackFromCompiler, attackFromRunner } = await import("#sandbox/attack.ts");
  const attacks = [await attackFromRunner(), await attackFromCompiler()];
  const rows = attacks.flatMap(({ process, attempts, signal }) => [
    ...attempts.map((attempt) => ({ process, ...named(attempt) })),
    { process, name: "a call in the 32-bit way", expected: "SIGSYS", got: signal ?? "none" },
  ]);
  const wrong = rows.filter(({ expected, got }) => expected !== got);
  print(shell, json, { attempts: rows, escaped: wrong.length, walls: attacks[0]?.walls }, () => {
    const columns = (["process", "name", "expected", "got"] as const).map((title) => ({ title, cell: (row: (typeof rows)[number]) => row[title] }));
    return `${tableText(rows, columns)}\n${rows.length} attempts, ${wrong.length} with another end than they must have`;
  });
  return wrong.length === 0 ? 0 : 1;
}

const named = ({ name, expected, got }: Attempt): { name: string; expected: string; got: string } => ({ name, expected: errno(expected), got: errno(got) });
const errno = (value: number): string => (value === 0 ? "allowed" : getSystemErrorName(-value));
