/**
 * `godwit dev`: builds a project at each save in a compiler that stays warm, and serves or runs what came out.
 *
 * One step after the other: what is saved during a step is the next one. A step that fails says why, with file, line and column,
 * and changes nothing that serves. Builds are not optimised: what counts here is the time from a save to the answer.
 */
import { access } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Build } from "#workloads/sdk/build.ts";
import { type Command, CliError, type Input, type Shell, UsageError } from "../command.ts";
import { chooseEngine, OPTIONS_ENGINE } from "../engine.ts";
import { writeEditorTypes } from "../dev/editorTypes.ts";
import { type Failure, Report } from "../dev/report.ts";
import { type Change, type SourceWatch, watchSources } from "../dev/watch.ts";
import { withProgress } from "../table.ts";
import { environmentOf } from "./run.ts";

const PORT_DEFAULT = 8080;
const PORT_MAX = 65_535;

/** What good builds are for. */
type Stage = {
  take(build: Build): Promise<void>;
  stop(): Promise<void>;
  /** The step before it built, and what it built serves or ran. */
  took(build: Build, change: Change | null, loadMs: number): void;
  /** The last good version is in use, so that the same program again is nothing new. */
  isServing(): boolean;
  /** A build failed. */
  missed(failure: Failure): void;
};

export const dev: Command = {
  name: "dev",
  summary: "Serve or run a project here, and again at each save",
  usage: ["[DIR] [--port N]", "DIR [--stdin FILE] [-- arguments]"],
  options: {
    port: { type: "string", short: "p", value: "N", summary: `the port of a service (${PORT_DEFAULT}); 0 takes a free one` },
    address: { type: "string", value: "ADDRESS", summary: "the address to listen on (127.0.0.1)" },
    env: { type: "string", short: "e", multiple: true, value: "KEY=VALUE", summary: "an environment variable, on top of the manifest's; may be given several times" },
    ...OPTIONS_ENGINE,
    stdin: { type: "string", value: "FILE", summary: "what a task reads from standard input at each run (nothing)" },
  },
  arguments: [0, Number.POSITIVE_INFINITY],
  details: [
    "Builds are not optimised, so that a save is served in a moment: godwit build and deploy optimise.",
    "A program of another language is built by the manifest's command when one of its files is saved.",
    "Errors come with file, line and column; until they are mended the last good version serves.",
    "Every Host is the service's. What it writes comes after the id of its request, which the answer has",
    "as x-request-id. Ctrl-C ends it.",
  ].join("\n"),
  async run(input, shell) {
    const [folder = ".", ...args] = input.positionals;
    const project = resolve(shell.currentDirectory, folder);
    const report = new Report(shell, input.json);
    const { readManifest } = await import("#workloads/sdk/build.ts");
    const { kind, assets, component, build } = await readManifest(project).catch((error: unknown) => { throw new CliError(...startFailure(error)); });
    refuseForeign(kind, input, args);
    if (await isThere(join(project, "assembly", "tsconfig.json"))) await writeEditorTypes(project);
    const watch = watchSources(project, { assets, component });
    try {
      report.building(project, component === null ? null : build);
      await loop(project, kind, watch, kind === "service" ? await openService(input, shell, report, project) : await openTask(input, shell, report, args), report, shell);
    } finally {
      watch.close();
    }
  },
};

async function loop(project: string, kind: Build["manifest"]["kind"], watch: SourceWatch, stage: Stage, report: Report, shell: Shell): Promise<void> {
  const { signal } = shell;
  const aborted = new Promise<void>((done) => {
    signal.addEventListener("abort", () => done(), { once: true });
    if (signal.aborted) done();
  });
  // Nothing else may keep the process alive between two saves.
  const alive = setInterval(() => undefined, 60_000);
  try {
    const state: State = { project, kind, stage, report, shell, last: "" };
    let change: Change | null = null;
    do {
      // A build cannot be interrupted: it is left behind.
      await Promise.race([step(state, change), aborted]);
      change = await watch.next(signal);
    } while (change !== null);
  } finally {
    clearInterval(alive);
    await stage.stop();
  }
}

type State = { readonly project: string; readonly kind: string; readonly stage: Stage; readonly report: Report; readonly shell: Shell; last: string };

/** Builds, and hands on what was built when it is another program or has another manifest. Fails only by a fault of ours. */
async function step(state: State, change: Change | null): Promise<void> {
  const { project, stage, report, shell } = state;
  const { BuildError, buildProject } = await import("#workloads/sdk/build.ts");
  const { SandboxError } = await import("#sandbox/sandbox.ts");
  try {
    const building = buildProject(project, { optimise: false, signal: shell.signal });
    const build = await (change === null ? withProgress(shell, `building ${project}`, building) : building);
    if (build.manifest.kind !== state.kind) throw new CliError("kind_changed", `The project is a ${build.manifest.kind} now: start godwit dev again`);
    if (shell.signal.aborted) return;
    report.warnings(build);
    const program = JSON.stringify([build.digest, build.manifest], (_, value: unknown) => (typeof value === "bigint" ? value.toString() : value));
    if (program === state.last && change !== null && stage.isServing()) return report.unchanged(change);
    const startedMs = performance.now();
    await stage.take(build);
    state.last = program;
    stage.took(build, change, performance.now() - startedMs);
  } catch (error) {
    if (shell.signal.aborted) return;
    if (!(error instanceof BuildError || error instanceof SandboxError || error instanceof CliError)) throw error;
    state.last = "failed";
    stage.missed({ code: error.code, message: error.message, diagnostics: error instanceof BuildError ? error.diagnostics : [] });
  }
}

async function openService(input: Input, shell: Shell, report: Report, project: string): Promise<Stage> {
  const { Service } = await import("../dev/service.ts");
  const service = await Service.open({
    engine: await chooseEngine(input, shell), project, address: input.text("address") ?? "127.0.0.1", port: input.count("port", 0, PORT_MAX) ?? PORT_DEFAULT, environment: environmentOf(input), report, signal: shell.signal,
  });
  let announced = false;
  return {
    take: (build) => service.take(build),
    stop: () => service.stop(),
    isServing: () => service.isServing,
    took(build, change, loadMs) {
      if (!announced || change === null) report.serving(service.url, service.port, build);
      else report.served(change, build, loadMs);
      announced = true;
    },
    missed(failure) {
      report.failed({ ...failure, url: service.url }, service.isServing, service.isServing ? "the last good version still serves" : `nothing serves yet; ${service.url} shows this`);
      service.explain(failure);
    },
  };
}

async function openTask(input: Input, shell: Shell, report: Report, args: readonly string[]): Promise<Stage> {
  const { Task } = await import("../dev/task.ts");
  const stdin = input.text("stdin");
  const task = await Task.open({ engine: await chooseEngine(input, shell), arguments: args, stdinFile: stdin === undefined ? undefined : resolve(shell.currentDirectory, stdin), environment: environmentOf(input), report });
  return {
    take: (build) => task.take(build),
    stop: () => task.stop(),
    isServing: () => false,
    took: () => undefined,
    missed: (failure) => report.failed(failure, false, "runs again when it builds"),
  };
}

/** What only the other kind of project can use is a misunderstanding. */
function refuseForeign(kind: string, input: Input, args: readonly string[]): void {
  const foreign = (kind === "service" ? ["stdin"] : ["port", "address"]).find((option) => input.text(option) !== undefined);
  if (foreign !== undefined) throw new UsageError(`--${foreign} is not for a ${kind}`);
  if (kind === "service" && args[0] !== undefined) throw new UsageError(`A service takes no arguments: unexpected "${args[0]}"`);
}

function startFailure(error: unknown): ConstructorParameters<typeof CliError> {
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "internal";
  return [code, error instanceof Error ? error.message : String(error), error instanceof Error && "diagnostics" in error ? { diagnostics: error.diagnostics } : {}, error];
}

const isThere = (path: string): Promise<boolean> => access(path).then(() => true, () => false);
