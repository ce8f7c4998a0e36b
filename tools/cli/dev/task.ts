/** A task under development: it runs at each good build; a run that has not ended by then is ended, so that there is one at a time. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Engine } from "#sandbox/engines/engine.ts";
import type { Build } from "#workloads/sdk/build.ts";
import { sourceLines } from "#workloads/sdk/symbols.ts";
import { CliError } from "../command.ts";
import { sandboxSettings } from "../component.ts";
import type { Report } from "./report.ts";

export type TaskOptions = {
  readonly engine: Engine;
  readonly arguments: readonly string[];
  /** A file that is its standard input, read at each run. */
  readonly stdinFile: string | undefined;
  readonly environment: Readonly<Record<string, string>>;
  readonly report: Report;
};

export class Task {
  readonly #options: TaskOptions;
  readonly #cacheDirectory: string;
  #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  static async open(options: TaskOptions): Promise<Task> {
    return new Task(options, await mkdtemp(join(tmpdir(), "godwit-dev-")));
  }

  private constructor(options: TaskOptions, cacheDirectory: string) {
    this.#options = options;
    this.#cacheDirectory = cacheDirectory;
  }

  /** Ends the run before, and begins the next; does not wait for its end. */
  async take(build: Build): Promise<void> {
    await this.#end();
    const { stdinFile } = this.#options;
    const stdin = stdinFile === undefined ? new Uint8Array() : new Uint8Array(await readFile(stdinFile).catch((error: unknown) => {
      throw new CliError("file_missing", `Cannot read ${stdinFile} for the task: ${error instanceof Error ? error.message : String(error)}`, {}, error);
    }));
    this.#stop = new AbortController();
    this.#running = this.#run(build, stdin, this.#stop.signal);
  }

  async stop(): Promise<void> {
    await this.#end();
    await rm(this.#cacheDirectory, { recursive: true, force: true });
  }

  async #end(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run({ component, symbols, manifest }: Build, stdin: Uint8Array, signal: AbortSignal): Promise<void> {
    const { report, environment } = this.#options;
    try {
      const { exitCode, wallMs, trap } = await this.#options.engine.runTask(component, {
        name: manifest.name, arguments: this.#options.arguments, environment: { ...manifest.environment, ...environment }, stdin, signal, cacheDirectory: this.#cacheDirectory,
        limits: sandboxSettings(manifest).limits, outgoing: manifest.outgoing, stdout: (chunk) => report.output("stdout", chunk), stderr: (chunk) => report.output("stderr", chunk),
      });
      if (!signal.aborted) report.ended(manifest.name, exitCode, wallMs, trap && { ...trap, message: sourceLines(symbols)(trap.message) });
    } catch (error) {
      if (!signal.aborted) report.remark(`${manifest.name} could not be run: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}
