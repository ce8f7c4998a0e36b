/**
 * The command line: a table of commands, and the rules that hold for all of them.
 *
 * `--help` and `--json` everywhere; exit code 0 done, 1 failed, 2 wrong usage; results on stdout, everything else on stderr; an
 * error is one line `error code: message`, and with `--json` one line of JSON `{"error":{"code","message"}}`, on stderr too, so
 * that stdout only ever holds results. Commands load what is heavy when they run: `godwit --help` starts in a blink.
 */
import { homedir } from "node:os";
import { type Command, CliError, type Shell, UsageError, parseInput } from "./command.ts";
import { account } from "./commands/account.ts";
import { audit } from "./commands/audit.ts";
import { bill } from "./commands/bill.ts";
import { bindgen } from "./commands/bindgen.ts";
import { build } from "./commands/build.ts";
import { chain } from "./commands/chain.ts";
import { claim } from "./commands/claim.ts";
import { deploy } from "./commands/deploy.ts";
import { dev } from "./commands/dev.ts";
import { devnet } from "./commands/devnet.ts";
import { doctor } from "./commands/doctor.ts";
import { events } from "./commands/events.ts";
import { image } from "./commands/image.ts";
import { lock } from "./commands/lock.ts";
import { logs } from "./commands/logs.ts";
import { machine } from "./commands/machine.ts";
import { move } from "./commands/move.ts";
import { netboot } from "./commands/netboot.ts";
import { name } from "./commands/name.ts";
import { newProject } from "./commands/new.ts";
import { plan } from "./commands/plan.ts";
import { promote } from "./commands/promote.ts";
import { ps } from "./commands/ps.ts";
import { resize } from "./commands/resize.ts";
import { rm } from "./commands/rm.ts";
import { rollback } from "./commands/rollback.ts";
import { run } from "./commands/run.ts";
import { scale } from "./commands/scale.ts";
import { serve } from "./commands/serve.ts";
import { stake } from "./commands/stake.ts";
import { simulate } from "./commands/simulate.ts";
import { status } from "./commands/status.ts";
import { test } from "./commands/test.ts";
import { topup } from "./commands/topup.ts";
import { transfer } from "./commands/transfer.ts";
import { tx } from "./commands/tx.ts";
import { commandHelp, nearest, overview, usageText } from "./help.ts";
import { jsonText, paint, plain } from "./table.ts";

/** In the order in which they are listed: to begin, to author, to look, to pay, to hold, to run alone, to operate. */
export const COMMANDS: readonly (readonly [group: string, commands: readonly Command[]])[] = [
  ["Begin", [newProject, dev, test]],
  ["Deploy", [build, plan, deploy, ps, events, logs, bill]],
  ["Change", [scale, resize, topup, move, promote, rollback, rm]],
  ["Hold", [account, transfer, lock, name, stake, claim, tx, status]],
  ["Without a chain", [run, serve, bindgen, doctor]],
  ["Operate", [machine, devnet, image, netboot, chain, audit, simulate]],
];
/** What a command may take to end after a signal: a runner and its listener are stopped well within it. */
const STOP_TIMEOUT_MS = 1_500;
const all: readonly Command[] = COMMANDS.flatMap(([, commands]) => commands);

/** Runs one command line and gives its exit code. Never throws. */
export async function main(argv: readonly string[], shell: Shell): Promise<number> {
  try {
    return await dispatch(argv, shell);
  } catch (error) {
    return fail(shell, wantsJson(argv), error, all.find(({ name }) => name === argv[0]));
  }
}

async function dispatch(argv: readonly string[], shell: Shell): Promise<number> {
  const [word, ...rest] = argv;
  if (word === undefined) {
    shell.stderr.write(`${overview(COMMANDS)}\n`);
    return 2;
  }
  if (word === "--version") {
    shell.stdout.write(`${await version()}\n`);
    return 0;
  }
  if (word === "--help" || word === "-h" || word === "help") {
    const about = all.find(({ name }) => name === rest[0]);
    if (word === "help" && about === undefined && rest[0] !== undefined && !rest[0].startsWith("-")) throw unknownCommand(rest[0]);
    shell.stdout.write(`${about === undefined ? overview(COMMANDS) : commandHelp(about)}\n`);
    return 0;
  }
  const command = all.find(({ name }) => name === word);
  if (command === undefined) throw unknownCommand(word);
  const input = parseInput(command, rest);
  if (input.help) {
    shell.stdout.write(`${commandHelp(command)}\n`);
    return 0;
  }
  const quiet = input.json && shell.stderr.isTTY !== true;
  const running = command.run(input, { ...shell, quiet });
  return (await Promise.race([running, stoppedInVain(shell.signal, running, command.stopMs ?? STOP_TIMEOUT_MS)])) ?? 0;
}

function unknownCommand(word: string): UsageError {
  const near = word.startsWith("-") ? undefined : nearest(word, all.map(({ name }) => name));
  return new UsageError(`There is no command "${word}"${near === undefined ? "" : `: did you mean ${near}?`}`);
}

/** Rejects when a command has not ended a moment after it was told to stop: a build, for one, cannot be interrupted. */
function stoppedInVain(signal: AbortSignal, running: Promise<unknown>, stopMs: number): Promise<never> {
  return new Promise((_, reject) => {
    let timer: NodeJS.Timeout | undefined;
    const begin = (): void => {
      timer = setTimeout(() => reject(new CliError("interrupted", "Stopped in the middle of it")), stopMs);
    };
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", begin);
    };
    signal.addEventListener("abort", begin);
    running.then(end, end);
  });
}

function fail(shell: Shell, json: boolean, error: unknown, command: Command | undefined): number {
  const { code, message, facts } = describe(error, shell.signal.aborted);
  if (json) shell.stderr.write(`${jsonText({ error: { code, message, ...facts } })}\n`);
  else {
    shell.stderr.write(`${paint(shell, shell.stderr, "red", "error")} ${code}: ${message.split("\n").map(plain).join("\n")}\n`);
    if (error instanceof UsageError) shell.stderr.write(command === undefined ? "Try godwit --help\n" : `${usageText(command)}\nTry godwit ${command.name} --help\n`);
  }
  return error instanceof UsageError ? 2 : 1;
}

/** Everything thrown as a code and a sentence; what has neither is a fault of this program and shows where it was. */
function describe(error: unknown, interrupted: boolean): { code: string; message: string; facts: Readonly<Record<string, unknown>> } {
  if (error instanceof CliError) return { code: error.code, message: error.message, facts: error.facts };
  if (interrupted) return { code: "interrupted", message: "Stopped", facts: {} };
  if (error instanceof Error && "code" in error && typeof error.code === "string") return { code: error.code.toLowerCase(), message: error.message, facts: {} };
  return { code: "internal", message: error instanceof Error ? (error.stack ?? error.message) : String(error), facts: {} };
}

/** Before the arguments are parsed: what is passed on to a program (after `--`) does not count. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return (end < 0 ? argv : argv.slice(0, end)).includes("--json");
}

async function version(): Promise<string> {
  const { default: about } = await import("../../package.json", { with: { type: "json" } });
  return `godwit ${about.version}`;
}

if (import.meta.main) {
  const stop = new AbortController();
  // The first signal lets the command end what it began; a second one ends the process as it would without us.
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
  // A reader that has enough (`godwit ps | head`) closes the pipe: that is no failure.
  for (const output of [process.stdout, process.stderr]) output.on("error", (error: NodeJS.ErrnoException) => { if (error.code === "EPIPE") process.exit(0); });
  const code = await main(process.argv.slice(2), {
    stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, environment: process.env, homeDirectory: homedir(),
    currentDirectory: process.cwd(), signal: stop.signal, nowMs: Date.now,
  });
  // What is printed is out first; then nothing that a library still holds open (a thread, a socket, stdin) delays the end.
  await Promise.all([process.stdout, process.stderr].map((output) => new Promise<void>((resolve) => output.write("", () => resolve()))));
  process.exit(code);
}
