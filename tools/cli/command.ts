/**
 * What a command of the command line is: a row of the table in main.ts, and the world that it runs in.
 *
 * A command reads its arguments strictly, gets everything of the outside through `Shell` (so that tests run it in-process),
 * prints its result to stdout once, and reports failure by throwing. Exit codes: 0 done, 1 failed, 2 wrong usage.
 */
import { parseArgs } from "node:util";
import type { Readable, Writable } from "node:stream";

export type Output = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/** The world around a command. */
export type Shell = {
  readonly stdin: Readable;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly homeDirectory: string;
  readonly currentDirectory: string;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  readonly nowMs: () => number;
  /** No progress and no warnings: a program reads stderr, where only an error is to come. */
  readonly quiet?: boolean;
};

export type Option = {
  readonly type: "string" | "boolean";
  readonly short?: string;
  /** May be given several times. */
  readonly multiple?: true;
  /** What stands for the value in the help: `N`, `DIR`. */
  readonly value?: string;
  readonly summary: string;
};
export type Options = Readonly<Record<string, Option>>;

/** The arguments of one call, checked against the options of its command. */
export type Input = {
  readonly positionals: readonly string[];
  readonly json: boolean;
  text(option: string): string | undefined;
  /** Every value of an option that may be given several times. */
  texts(option: string): readonly string[];
  flag(option: string): boolean;
  /** A whole number from `min` to `max`. */
  count(option: string, min: number, max: number): number | undefined;
};

export type Command = {
  readonly name: string;
  readonly summary: string;
  /** Everything after `godwit NAME`, one line for each form. */
  readonly usage: readonly string[];
  readonly options: Options;
  /** Number of positional arguments, least and most. */
  readonly arguments: readonly [min: number, max: number];
  /** Everything after the first positional argument belongs to somebody else and is passed on unread. */
  readonly passThrough?: true;
  readonly details?: string;
  /** What it may take to end after a signal, when that is more than usual. */
  readonly stopMs?: number;
  run(input: Input, shell: Shell): Promise<number | void>;
};

/** A failure that is told as `error code: message`. `facts` go along in the JSON form. */
export class CliError extends Error {
  readonly code: string;
  readonly facts: Readonly<Record<string, unknown>>;
  constructor(code: string, message: string, facts: Readonly<Record<string, unknown>> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.facts = facts;
  }
}

/** The caller wrote something that is not a command: exit code 2. */
export class UsageError extends CliError {
  constructor(message: string) {
    super("usage", message);
  }
}

export const OPTIONS_COMMON: Options = {
  json: { type: "boolean", summary: "print JSON for programs" },
  help: { type: "boolean", short: "h", summary: "print this help" },
};

/** Options of every command that talks to a machine. */
export const OPTIONS_API: Options = {
  api: { type: "string", value: "URL", summary: "the machine to ask (else $GODWIT_API, the running development machine, http://127.0.0.1:7480)" },
};

/** Options of every command that signs. */
export const OPTIONS_ACCOUNT: Options = {
  account: { type: "string", value: "NAME|FILE", summary: "the account that signs (else $GODWIT_ACCOUNT, the one in use, the development account)" },
};

/** Options of commands that can sign for an account with several keys. */
export const OPTIONS_SIGN: Options = {
  ...OPTIONS_ACCOUNT,
  for: { type: "string", value: "ADDRESS|NAME", summary: "the account that it is about, if another than the one that signs" },
  with: { type: "string", multiple: true, value: "NAME|FILE", summary: "another account that signs too (a threshold above one)" },
};

/** Reads `argv` (what follows the command's name) by the command's own options; throws UsageError. */
export function parseInput(command: Command, argv: readonly string[]): Input & { readonly help: boolean } {
  const options: Options = { ...command.options, ...OPTIONS_COMMON };
  const [own, foreign] = command.passThrough ? splitForeign(options, argv) : [argv, []];
  const { values, positionals } = parseStrictly(options, own);
  positionals.push(...foreign);
  const [min, max] = command.arguments;
  const help = values["help"] === true;
  if (!help && positionals.length < min) throw new UsageError(`${command.name} needs ${countText(min)}, got ${positionals.length}`);
  if (!help && positionals.length > max) throw new UsageError(`${command.name} takes ${max === 0 ? "no argument" : `at most ${countText(max)}`}: unexpected "${positionals[max]}"`);
  const text = (option: string): string | undefined => {
    const value = values[option];
    return typeof value === "string" ? value : undefined;
  };
  return {
    positionals, help, text,
    texts: (option) => {
      const given = values[option];
      return Array.isArray(given) ? given.filter((value) => typeof value === "string") : [];
    },
    json: values["json"] === true,
    flag: (option) => values[option] === true,
    count: (option, least, most) => {
      const written = text(option);
      return written === undefined ? undefined : parseCount(`--${option}`, written, least, most);
    },
  };
}

/** A whole number in decimal digits, from `min` to `max`. */
export function parseCount(what: string, text: string, min: number, max: number): number {
  const count = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(count >= min && count <= max)) throw new UsageError(`${what} must be a whole number from ${min} to ${max}, not "${text}"`);
  return count;
}

const countText = (count: number): string => (count === 1 ? "one argument" : `${count} arguments`);

function parseStrictly(options: Options, argv: readonly string[]): { values: Record<string, unknown>; positionals: string[] } {
  const shape = Object.fromEntries(Object.entries(options).map(([name, { type, short, multiple }]) => [name, { type, ...(short === undefined ? {} : { short }), ...(multiple === undefined ? {} : { multiple }) }]));
  try {
    return parseArgs({ args: [...argv], options: shape, strict: true, allowPositionals: true });
  } catch (error) {
    // Node's messages end with advice on how to write a positional that starts with a dash; the first sentence is enough.
    const message = error instanceof Error ? error.message.split(". ")[0] ?? error.message : String(error);
    throw new UsageError(message.replace(/\.$/, ""));
  }
}

/** Splits at the first positional argument: own options with it, and what comes after (less one leading `--`). */
function splitForeign(options: Options, argv: readonly string[]): [own: readonly string[], foreign: readonly string[]] {
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? "";
    if (word === "--" || word === "-" || !word.startsWith("-")) {
      const first = word === "--" ? i + 1 : i;
      const foreign = argv.slice(first + 1);
      return [argv.slice(0, first + 1), foreign[0] === "--" ? foreign.slice(1) : foreign];
    }
    const takesValue = Object.entries(options).some(([name, option]) => option.type === "string" && (word === `--${name}` || word === `-${option.short}`));
    if (takesValue) i++;
  }
  return [argv, []];
}
