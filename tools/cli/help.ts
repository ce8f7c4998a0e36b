/**
 * The help of the command line, made from the same tables that parse it, and the guess at what a wrong word meant.
 */
import { type Command, OPTIONS_COMMON } from "./command.ts";

const WIDTH = 100;
/** A word further away than this is another word. */
const DISTANCE_MAX = 2;

export function overview(groups: readonly (readonly [group: string, commands: readonly Command[]])[]): string {
  const width = Math.max(...groups.flatMap(([, commands]) => commands.map(({ name }) => name.length)));
  const lines = groups.flatMap(([group, commands]) => ["", `${group}:`, ...commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`)]);
  return ["Usage: godwit COMMAND [options]", ...lines, "", "godwit COMMAND --help tells more; --json prints for programs. Exit code: 0 done, 1 failed, 2 wrong usage."].join("\n");
}

export const usageText = (command: Command): string =>
  command.usage.map((form, i) => `${i === 0 ? "Usage:" : "      "} godwit ${command.name}${form === "" ? "" : ` ${form}`}`).join("\n");

export function commandHelp(command: Command): string {
  const options = Object.entries({ ...command.options, ...OPTIONS_COMMON }).map(([name, option]): [string, string] => [
    `${option.short === undefined ? "    " : `-${option.short}, `}--${name}${option.type === "string" ? ` ${option.value ?? "TEXT"}` : ""}`,
    option.summary,
  ]);
  const width = Math.max(...options.map(([left]) => left.length));
  const rows = options.map(([left, summary]) => wrapped(`  ${left.padEnd(width)}  `, summary));
  return [usageText(command), "", `${command.summary}.`, ...(command.details === undefined ? [] : ["", command.details]), "", "Options:", ...rows].join("\n");
}

/** `text` after `lead`, broken at spaces, later lines under the first. */
function wrapped(lead: string, text: string): string {
  const lines = [lead];
  for (const word of text.split(" ")) {
    const line = lines.at(-1) ?? "";
    const isEmpty = line.length === lead.length;
    if (!isEmpty && line.length + 1 + word.length > WIDTH) lines.push(" ".repeat(lead.length) + word);
    else lines[lines.length - 1] = `${line}${isEmpty ? "" : " "}${word}`;
  }
  return lines.join("\n");
}

/** The word of `words` that `word` most likely meant, if one is near. */
export function nearest(word: string, words: readonly string[]): string | undefined {
  const startsAlike = words.find((candidate) => word.length >= 2 && candidate.startsWith(word));
  if (startsAlike !== undefined) return startsAlike;
  const [best] = words.map((candidate) => ({ candidate, distance: editDistance(word, candidate) })).toSorted((a, b) => a.distance - b.distance);
  return best !== undefined && best.distance <= DISTANCE_MAX && best.distance < word.length ? best.candidate : undefined;
}

/** Letters to insert, drop or replace, and neighbours to swap (optimal string alignment). */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number): number => rows[i]?.[j] ?? Number.POSITIVE_INFINITY;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      let distance = Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] && i > 1 && j > 1) distance = Math.min(distance, at(i - 2, j - 2) + 1);
      row.push(distance);
    }
  }
  return at(a.length, b.length);
}
