/** `godwit run`: one task in the sandbox, here, with no chain, or on the grid; its streams and its exit code are this command's. */
import { type Command, CliError, OPTIONS_ACCOUNT, OPTIONS_API, type Options, UsageError, type Input, type Output } from "../command.ts";
import { type SandboxSettings, loadComponent, sandboxSettings } from "../component.ts";
import { chooseEngine, OPTIONS_ENGINE } from "../engine.ts";
import { sourceLinesOf } from "../symbols.ts";

const MIB = 1024 * 1024;

export const SANDBOX_OPTIONS: Options = {
  env: { type: "string", short: "e", multiple: true, value: "KEY=VALUE", summary: "an environment variable of the program; may be given several times" },
  memory: { type: "string", value: "MIB", summary: "the most memory it may use" },
  ...OPTIONS_ENGINE,
};

export const run: Command = {
  name: "run",
  summary: "Run a task (any wasi:cli component) in the sandbox, here or on the grid",
  usage: ["[options] FILE|DIR [--] [arguments]", "--remote [options] FILE|DIR [--] [arguments]"],
  options: {
    ...SANDBOX_OPTIONS,
    timeout: { type: "string", value: "SECONDS", summary: "the most time it may take" },
    fuel: { type: "string", value: "N", summary: "the most instructions it may use" },
    remote: { type: "boolean", summary: "on a machine of the grid, for money: deploys it, prints what it writes, and ends with its exit code" },
    attempts: { type: "string", value: "N", summary: "with --remote: runs that may fail, instead of the manifest's" },
    deposit: { type: "string", value: "TOKENS", summary: "with --remote: another deposit than the manifest's; what is left of it comes back" },
    manifest: { type: "string", value: "FILE", summary: "with --remote: the manifest of a component file" },
    ...OPTIONS_API, ...OPTIONS_ACCOUNT,
  },
  arguments: [1, Number.POSITIVE_INFINITY],
  passThrough: true,
  details: "A project's manifest holds here, too; options go before it.\nWhat comes after FILE belongs to the program. stdin, stdout, stderr and the exit code are passed on.\nA trap or a limit prints its code and backtrace on stderr and exits 1.\nOn the grid a task runs at least once: anew elsewhere when its machine is gone,\nand after a failure as often as its manifest says.",
  async run(input, shell) {
    const [path = "", ...args] = input.positionals;
    const limits = limitsOf(input);
    const environment = environmentOf(input);
    if (input.flag("remote")) return (await import("../remoteRun.ts")).runRemote(input, shell, { environment, limits });
    refuseWithoutRemote(input);
    const { build, component, digest } = await loadComponent(path, shell);
    const settings: Partial<SandboxSettings> = build === null ? {} : sandboxSettings(build.manifest);
    const { inspect, runTask } = await chooseEngine(input, shell);
    if ((await inspect(component)).kind !== "task") throw new CliError("not_a_task", `Cannot run ${path}: it is a service (godwit serve)`);
    const result = await runTask(component, {
      name: path, arguments: args, environment: { ...settings.environment, ...environment }, limits: { ...settings.limits, ...limits }, outgoing: settings.outgoing ?? [], signal: shell.signal, stdin: shell.stdin as AsyncIterable<Uint8Array>,
      stdout: (chunk) => passOn(shell.stdout, chunk), stderr: (chunk) => passOn(shell.stderr, chunk),
    // A terminal that waits for a line would keep this process alive after the program has ended.
    }).finally(() => shell.stdin.destroy());
    if (result.trap !== undefined) throw new CliError(result.trap.code, (await sourceLinesOf(digest))(result.trap.message), { fuel: result.fuel, wallMs: result.wallMs });
    return result.exitCode;
  },
};

function refuseWithoutRemote(input: Input): void {
  const wrong = ["attempts", "deposit", "manifest", "api", "account"].find((option) => input.text(option) !== undefined);
  if (wrong !== undefined) throw new UsageError(`--${wrong} goes with --remote`);
}

/** Waits for a slow reader, so that a fast program does not fill the memory. */
function passOn(output: Output, chunk: Uint8Array): void | Promise<void> {
  if (output.write(chunk)) return;
  return new Promise((resolve) => output.once("drain", resolve));
}

export function environmentOf(input: Input): Record<string, string> {
  return Object.fromEntries(input.texts("env").map((pair) => {
    const at = pair.indexOf("=");
    if (at < 1) throw new UsageError(`--env must be KEY=VALUE, not "${pair}"`);
    return [pair.slice(0, at), pair.slice(at + 1)];
  }));
}

function limitsOf(input: Input): Record<string, number> {
  const memory = input.count("memory", 1, 1024);
  const timeout = input.count("timeout", 1, 600);
  const fuel = input.count("fuel", 1, 1_000_000_000_000_000);
  return {
    ...(memory === undefined ? {} : { memoryBytesMax: memory * MIB }),
    ...(timeout === undefined ? {} : { wallTimeMsMax: timeout * 1000 }),
    ...(fuel === undefined ? {} : { fuelPerCallMax: fuel }),
  };
}
