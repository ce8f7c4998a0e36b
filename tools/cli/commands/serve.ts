/** `godwit serve`: one service behind the sandbox's own HTTP ingress, here, with no chain. Every Host is its own. */
import type { LogLine, Runner } from "#sandbox/sandbox.ts";
import { type Command, CliError, type Shell } from "../command.ts";
import { type SandboxSettings, loadComponent, sandboxSettings } from "../component.ts";
import { chooseEngine } from "../engine.ts";
import { sourceLinesOf } from "../symbols.ts";
import { jsonText, plain, warn, withProgress } from "../table.ts";
import { SANDBOX_OPTIONS, environmentOf } from "./run.ts";

const PORT_DEFAULT = 8080;
const PORT_MAX = 65_535;
const MIB = 1024 * 1024;
const CONCURRENCY_MAX = 1_000;
const ID = "serve";

export const serve: Command = {
  name: "serve",
  summary: "Serve a service (any wasi:http component) from the sandbox, without a chain",
  usage: ["FILE|DIR [--port N]"],
  options: {
    ...SANDBOX_OPTIONS,
    port: { type: "string", short: "p", value: "N", summary: `the port (${PORT_DEFAULT}); 0 takes a free one` },
    address: { type: "string", value: "ADDRESS", summary: "the address to listen on (127.0.0.1)" },
    concurrency: { type: "string", value: "N", summary: "requests at once" },
  },
  arguments: [1, 1],
  details: "A project's manifest holds here, too; options go before it.\nPrints one line when it serves. What the component writes goes to stdout and stderr. Ctrl-C ends it.",
  async run(input, shell) {
    const [path = ""] = input.positionals;
    const port = input.count("port", 0, PORT_MAX) ?? PORT_DEFAULT;
    const memory = input.count("memory", 1, 1024);
    const concurrency = input.count("concurrency", 1, CONCURRENCY_MAX);
    const environment = environmentOf(input);
    const { build, component, digest } = await loadComponent(path, shell);
    const settings: Partial<SandboxSettings> = build === null ? {} : sandboxSettings(build.manifest);
    const withLines = await sourceLinesOf(digest);
    const { compile, inspect, listen, startRunner } = await chooseEngine(input, shell);
    if ((await inspect(component)).kind !== "service") throw new CliError("not_a_service", `Cannot serve ${path}: it is a task (godwit run)`);
    const listener = await listen(input.text("address") ?? "127.0.0.1", port);
    const lost = new AbortController();
    let runner: Runner | undefined;
    try {
      const compiled = await withProgress(shell, `compiling ${path}`, compile(component, { signal: shell.signal }));
      runner = await startRunner({
        listener, onLog: (line) => write(shell, input.json, line.stream === "system" ? { ...line, line: withLines(line.line) } : line),
        onExit: ({ pid, code, signal }) => warn(shell, `runner ${pid} ended (${signal ?? code}); the next one serves already`),
        onLost: (_, code, message) => lost.abort(new CliError(code, message)),
      });
      await runner.load({
        ...settings, id: ID, hosts: ["*"], compiled, environment: { ...settings.environment, ...environment }, ...(concurrency === undefined ? {} : { concurrency }),
        limits: { ...settings.limits, ...(memory === undefined ? {} : { memoryBytesMax: memory * MIB }) },
      });
      const url = `http://${listener.address.includes(":") ? `[${listener.address}]` : listener.address}:${listener.port}/`;
      shell.stdout.write(input.json ? `${jsonText({ url, port: listener.port, digest: `sha256:${compiled.digest}`, pid: runner.pid })}\n` : `serving ${path} at ${url}\n`);
      await stopped(AbortSignal.any([shell.signal, lost.signal]));
      lost.signal.throwIfAborted();
    } finally {
      await runner?.stop();
      listener.close();
    }
  },
};

function write(shell: Shell, json: boolean, line: LogLine): void {
  if (json) shell.stdout.write(`${jsonText(line)}\n`);
  else (line.stream === "stdout" ? shell.stdout : shell.stderr).write(`${shell.stdout.isTTY === true ? plain(line.line) : line.line}\n`);
}

function stopped(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    // An open socket of the runner's channel may be all that lives; the signal must find somebody waiting.
    const alive = setInterval(() => undefined, 60_000);
    const done = (): void => {
      clearInterval(alive);
      resolve();
    };
    if (signal.aborted) done();
    else signal.addEventListener("abort", done, { once: true });
  });
}
