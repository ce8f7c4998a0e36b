/**
 * The command line run in this process: streams that remember, an environment with nothing in it, a home folder of its own.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import type { TestContext } from "node:test";
import type { Shell } from "#tools/cli/command.ts";
import { main } from "#tools/cli/main.ts";

export type Ran = { readonly code: number; readonly stdout: string; readonly stderr: string };
export type Terminal = {
  readonly home: string;
  readonly environment: Record<string, string>;
  /** Runs `godwit …args`. */
  run(...args: string[]): Promise<Ran>;
  runWith(options: { stdin?: Uint8Array; signal?: AbortSignal; isTerminal?: boolean; onOutput?: (stdout: string) => void; onError?: (stderr: string) => void; folder?: string }, ...args: string[]): Promise<Ran>;
  /** Runs with --json, and gives what it printed, parsed; fails when the exit code is not 0. */
  json(...args: string[]): Promise<Record<string, any>>; // eslint-disable-line typescript/no-explicit-any
  /** The code of the error that a run printed. */
  errorOf(...args: string[]): Promise<{ exit: number; code: string }>;
};

export function openTerminal(t: TestContext, environment: Record<string, string> = {}): Terminal {
  const home = mkdtempSync(join(tmpdir(), "godwit-cli-"));
  t.after(() => rmSync(home, { recursive: true, force: true }));

  const runWith: Terminal["runWith"] = async (options, ...args) => {
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    const texts = { stdout: "", stderr: "" };
    stdout.on("data", (chunk: Buffer) => {
      texts.stdout += chunk.toString();
      options.onOutput?.(texts.stdout);
    });
    stderr.on("data", (chunk: Buffer) => {
      texts.stderr += chunk.toString();
      options.onError?.(texts.stderr);
    });
    if (options.isTerminal === true) for (const stream of [stdout, stderr]) Object.assign(stream, { isTTY: true });
    const shell: Shell = {
      stdin: options.stdin === undefined ? Readable.from([]) : Readable.from([options.stdin]), stdout, stderr, environment, homeDirectory: home,
      currentDirectory: options.folder ?? home, signal: options.signal ?? new AbortController().signal, nowMs: Date.now,
    };
    const code = await main(args, shell);
    await new Promise((resolve) => setImmediate(resolve));
    return { code, ...texts };
  };
  const run: Terminal["run"] = (...args) => runWith({}, ...args);
  return {
    home, environment, run, runWith,
    json: async (...args) => {
      const { code, stdout, stderr } = await run(...args, "--json");
      if (code !== 0) throw new Error(`godwit ${args.join(" ")} ended with ${code}: ${stderr}`);
      return JSON.parse(stdout) as Record<string, unknown>;
    },
    errorOf: async (...args) => {
      // Right after the command: behind a "--" it would be the program's.
      const { code, stderr } = await run(...args.slice(0, 1), "--json", ...args.slice(1));
      const { error } = JSON.parse(stderr.trim().split("\n").at(-1) ?? "") as { error: { code: string } };
      return { exit: code, code: error.code };
    },
  };
}
