/**
 * A service under development: one runner behind one front; each good build takes the place of the one before, and loses no request.
 *
 * The runner is the one of a machine, on a port of its own that only the front knows. While the sources are broken the last good
 * version answers, and only where there is none yet the front does, with the errors. Code is compiled into a folder that goes away
 * with the session.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Engine } from "#sandbox/engines/engine.ts";
import type { Listener, LogLine, Runner } from "#sandbox/sandbox.ts";
import type { Build } from "#workloads/sdk/build.ts";
import { type Symbols, sourceLines } from "#workloads/sdk/symbols.ts";
import { sandboxSettings } from "../component.ts";
import { Front } from "./front.ts";
import type { Failure, Report } from "./report.ts";

export type ServiceOptions = {
  readonly engine: Engine;
  /** Its folder: pages of errors show lines of it. */
  readonly project: string;
  readonly address: string;
  readonly port: number;
  /** On top of the manifest's. */
  readonly environment: Readonly<Record<string, string>>;
  readonly report: Report;
  readonly signal: AbortSignal;
};

const ID = "dev";
const LOOPBACK = "127.0.0.1";

export class Service {
  readonly #options: ServiceOptions;
  readonly #front: Front;
  readonly #listener: Listener;
  readonly #runner: Runner;
  readonly #cacheDirectory: string;
  #isServing = false;
  #symbols: Symbols | null = null;
  /** Made of them at the first trap: a save must not wait for it. */
  #lines: ((text: string) => string) | null = null;

  static async open(options: ServiceOptions): Promise<Service> {
    const { listen, startRunner } = options.engine;
    const { report, project, address, port } = options;
    const front = await Front.open({ project, address, port });
    const listener = await listen(LOOPBACK, 0).catch(async (error: unknown) => {
      await front.stop();
      throw error;
    });
    const cacheDirectory = await mkdtemp(join(tmpdir(), "godwit-dev-"));
    let service: Service | undefined;
    try {
      const runner = await startRunner({
        listener, cacheDirectory,
        onLog: (line) => {
          const told = service?.withLines(line) ?? line;
          front.log(told);
          report.log(told);
        },
        onExit: ({ pid, code, signal }) => report.remark(`runner ${pid} ended (${signal ?? code}); the next one serves already`),
        onLost: (_, code, message) => {
          if (service !== undefined) service.#isServing = false;
          report.remark(`${code}: ${message}; save a file to load it again`);
        },
      });
      return (service = new Service(options, front, listener, runner, cacheDirectory));
    } catch (error) {
      listener.close();
      await front.stop();
      await rm(cacheDirectory, { recursive: true, force: true });
      throw error;
    }
  }

  private constructor(options: ServiceOptions, front: Front, listener: Listener, runner: Runner, cacheDirectory: string) {
    this.#options = options;
    this.#front = front;
    this.#listener = listener;
    this.#runner = runner;
    this.#cacheDirectory = cacheDirectory;
  }

  get port(): number {
    return this.#front.address.port;
  }

  get url(): string {
    const { address, port } = this.#front.address;
    return `http://${address.includes(":") ? `[${address}]` : address}:${port}/`;
  }

  /** A good version answers. */
  get isServing(): boolean {
    return this.#isServing;
  }

  /** Resolves when requests are answered by this build. */
  async take({ component, digest, symbols, manifest }: Build): Promise<void> {
    const { engine, environment, signal } = this.#options;
    const compiled = await engine.compile(component, { cacheDirectory: this.#cacheDirectory, signal, digest });
    await this.#runner.load({ id: ID, hosts: ["*"], compiled, ...sandboxSettings(manifest), environment: { ...manifest.environment, ...environment } });
    this.#isServing = true;
    this.#symbols = symbols;
    this.#lines = null;
    this.#front.serve({ address: LOOPBACK, port: this.#listener.port });
  }

  /** A trap with the lines of the sources. */
  withLines(line: LogLine): LogLine {
    return line.stream === "system" ? { ...line, line: (this.#lines ??= sourceLines(this.#symbols))(line.line) } : line;
  }

  /** Where no version was good yet, requests are answered with why. */
  explain(failure: Failure): void {
    this.#front.explain(failure);
  }

  async stop(): Promise<void> {
    await this.#front.stop();
    await this.#runner.stop();
    this.#listener.close();
    await rm(this.#cacheDirectory, { recursive: true, force: true });
  }
}
