/**
 * A service under development: one runner over one port; each good build takes the place of the one before, and loses no request.
 *
 * The runner owns the port, so that what is served here is what a machine would serve. Nothing stands in front of it: while the
 * sources are broken the last good version answers, and only where there is none yet a page with the errors does, which is a
 * component of its own. Code is compiled into a folder that goes away with the session.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Engine } from "#sandbox/engines/engine.ts";
import type { Deployment, Listener, LogLine, Runner } from "#sandbox/sandbox.ts";
import { type Build, buildComponent } from "#workloads/sdk/build.ts";
import { type Symbols, sourceLines } from "#workloads/sdk/symbols.ts";
import { sandboxSettings } from "../component.ts";
import type { Report } from "./report.ts";

export type ServiceOptions = {
  readonly engine: Engine;
  readonly address: string;
  readonly port: number;
  /** On top of the manifest's. */
  readonly environment: Readonly<Record<string, string>>;
  readonly report: Report;
  readonly signal: AbortSignal;
};

const ID = "dev";
/** Of the error page: well within what an environment may have. */
const ERRORS_CHARACTERS_MAX = 16_000;

export class Service {
  readonly #options: ServiceOptions;
  readonly #listener: Listener;
  readonly #runner: Runner;
  readonly #cacheDirectory: string;
  #isServing = false;
  #symbols: Symbols | null = null;
  /** Made of them at the first trap: a save must not wait for it. */
  #lines: ((text: string) => string) | null = null;

  static async open(options: ServiceOptions): Promise<Service> {
    const { listen, startRunner } = options.engine;
    const listener = await listen(options.address, options.port);
    const cacheDirectory = await mkdtemp(join(tmpdir(), "godwit-dev-"));
    const { report } = options;
    let service: Service | undefined;
    try {
      const runner = await startRunner({
        listener, cacheDirectory, onLog: (line) => report.log(service?.withLines(line) ?? line),
        onExit: ({ pid, code, signal }) => report.remark(`runner ${pid} ended (${signal ?? code}); the next one serves already`),
        onLost: (_, code, message) => {
          if (service !== undefined) service.#isServing = false;
          report.remark(`${code}: ${message}; save a file to load it again`);
        },
      });
      return (service = new Service(options, listener, runner, cacheDirectory));
    } catch (error) {
      listener.close();
      await rm(cacheDirectory, { recursive: true, force: true });
      throw error;
    }
  }

  private constructor(options: ServiceOptions, listener: Listener, runner: Runner, cacheDirectory: string) {
    this.#options = options;
    this.#listener = listener;
    this.#runner = runner;
    this.#cacheDirectory = cacheDirectory;
  }

  get port(): number {
    return this.#listener.port;
  }

  get url(): string {
    const { address, port } = this.#listener;
    return `http://${address.includes(":") ? `[${address}]` : address}:${port}/`;
  }

  /** A good version answers. */
  get isServing(): boolean {
    return this.#isServing;
  }

  /** Resolves when requests are answered by this build. */
  async take({ component, digest, symbols, manifest }: Build): Promise<void> {
    await this.#load(component, digest, {
      ...sandboxSettings(manifest), environment: { ...manifest.environment, ...this.#options.environment },
    });
    this.#isServing = true;
    this.#symbols = symbols;
    this.#lines = null;
  }

  /** A trap with the lines of the sources. */
  withLines(line: LogLine): LogLine {
    return line.stream === "system" ? { ...line, line: (this.#lines ??= sourceLines(this.#symbols))(line.line) } : line;
  }

  /** Where no version was good yet, requests are answered with the errors. */
  async explain(errors: string): Promise<void> {
    if (this.#isServing) return;
    const { component } = await buildComponent(import.meta.dirname, "assembly/errorPage.ts", "service", { optimise: false });
    await this.#load(component, undefined, { environment: { ERRORS: errors.slice(0, ERRORS_CHARACTERS_MAX) } });
  }

  async stop(): Promise<void> {
    await this.#runner.stop();
    this.#listener.close();
    await rm(this.#cacheDirectory, { recursive: true, force: true });
  }

  async #load(component: Uint8Array, digest: string | undefined, settings: Omit<Deployment, "id" | "hosts" | "compiled">): Promise<void> {
    const { compile } = this.#options.engine;
    const compiled = await compile(component, { cacheDirectory: this.#cacheDirectory, signal: this.#options.signal, ...(digest === undefined ? {} : { digest }) });
    await this.#runner.load({ id: ID, hosts: ["*"], compiled, ...settings });
  }
}
