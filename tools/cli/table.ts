/**
 * Printing: tables for people, JSON for programs, and progress for whoever waits longer than a second.
 *
 * Results go to stdout, everything else to stderr. Colour only on a terminal and never with NO_COLOR. Text that came from a
 * tenant or another machine never reaches a terminal with its control characters (they could redraw the screen).
 */
import { styleText } from "node:util";
import type { Output, Shell } from "./command.ts";

export type Column<Row> = {
  readonly title: string;
  readonly align?: "left" | "right";
  cell(row: Row): string;
};

/** What is printed before the first second has passed is nothing. */
const PROGRESS_AFTER_MS = 1000;
/** How often a line that is not on a terminal is repeated. */
const PROGRESS_REPEAT_MS = 10_000;

/** A table with a header line; columns are as wide as their widest cell, two spaces apart. */
export function tableText<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const lines = [columns.map((column) => column.title), ...rows.map((row) => columns.map((column) => plain(column.cell(row))))];
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  return lines
    .map((line) => line.map((cell, i) => (columns[i]?.align === "right" ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0))).join("  ").trimEnd())
    .join("\n");
}

/** Name and value, one a line, values in one column. */
export function pairsText(pairs: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${name.padEnd(width)}  ${plain(value)}`.trimEnd()).join("\n");
}

/** JSON as programs get it: money and other u64 are decimal strings. */
export const jsonText = (value: unknown): string => JSON.stringify(value, (_, inner: unknown) => (typeof inner === "bigint" ? inner.toString() : inner));

/** Prints the result of a command: `value` as one line of JSON, or `text` for people. */
export function print(shell: Shell, json: boolean, value: unknown, text: () => string): void {
  const body = json ? jsonText(value) : text();
  if (body !== "") shell.stdout.write(`${body}\n`);
}

/** Text without control characters and without marks that turn the direction of writing: a stranger's text stays text. */
export const plain = (text: string): string =>
  text.replace(/(?!\t)\p{Cc}|\p{Bidi_Control}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`);

export const isColoured = (shell: Shell, output: Output): boolean =>
  output.isTTY === true && (shell.environment["NO_COLOR"] ?? "") === "" && shell.environment["TERM"] !== "dumb";

export function paint(shell: Shell, output: Output, style: "bold" | "dim" | "red" | "green" | "yellow", text: string): string {
  return isColoured(shell, output) ? styleText(style, text, { validateStream: false }) : text;
}

/** A remark of a build or a machine that is neither result nor failure. */
export function warn(shell: Shell, text: string): void {
  if (shell.quiet !== true) shell.stderr.write(`${paint(shell, shell.stderr, "yellow", "warning")} ${plain(text)}\n`);
}

/** Waits for `work`; after a second says on stderr what is being waited for, with the time that has passed. */
export async function withProgress<T>(shell: Shell, label: string, work: Promise<T>): Promise<T> {
  if (shell.quiet === true) return work;
  const startedMs = shell.nowMs();
  const { stderr } = shell;
  const show = (): void => {
    const elapsed = `${label} … ${Math.floor((shell.nowMs() - startedMs) / 1000)} s`;
    stderr.write(stderr.isTTY === true ? `\r\u001b[2K${elapsed}` : `${elapsed}\n`);
  };
  let repeat: NodeJS.Timeout | undefined;
  const wipe = (): void => {
    clearTimeout(first);
    if (repeat === undefined) return;
    clearInterval(repeat);
    repeat = undefined;
    if (stderr.isTTY === true) stderr.write("\r\u001b[2K");
  };
  const first = setTimeout(() => {
    show();
    repeat = setInterval(show, stderr.isTTY === true ? PROGRESS_AFTER_MS : PROGRESS_REPEAT_MS);
  }, PROGRESS_AFTER_MS);
  // Told to stop, the command will say so: this line makes room for it.
  shell.signal.addEventListener("abort", wipe, { once: true });
  try {
    return await work;
  } finally {
    shell.signal.removeEventListener("abort", wipe);
    wipe();
  }
}
