/**
 * `godwit/testing`: a component as its clients see it, for tests with node:test.
 *
 *     import { openService } from "godwit/testing";
 *
 *     test("it greets", async () => {
 *       await using service = await openService({ environment: { GREETING: "Hei" } });
 *       assert.equal(await (await service.fetch("/")).text(), "Hei\n");
 *     });
 *
 * Each service is a sandbox of its own, on a port of its own, and gone with the test. It is the component that `godwit test` has built.
 * What it sees of the world can be made up: `respond` answers its requests, `clockMs` stops its clock, `randomSeed` repeats its chance.
 */
import { EventEmitter, once } from "node:events";
import { writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { openEngine, type Engine, type EngineName } from "#sandbox/engines/engine.ts";
import type { Mock, MockedRequest } from "#sandbox/engines/v8/mock.ts";
import { type OutgoingPlace, parseOutgoing } from "#sandbox/outgoing.ts";
import type { LogLine } from "#sandbox/sandbox.ts";
import { LIMITS_MAX } from "#sandbox/limits.ts";
import { isTold, taken } from "../coverage.ts";
import { parseManifest } from "#workloads/manifest.ts";
import { type Captured, runCaptured } from "./captured.ts";

export type { MockedRequest } from "#sandbox/engines/v8/mock.ts";
export type { LogLine } from "#sandbox/sandbox.ts";

export type ServiceOptions = {
  /** All of it: what the manifest says is not added. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Where it may send requests; left out: where the manifest allows. */
  readonly outgoing?: readonly string[];
  /** Answers its requests instead of the network, those that are allowed. */
  readonly respond?: (request: MockedRequest) => Response | Promise<Response>;
  /** Milliseconds since 1970 at which its clock stands. */
  readonly clockMs?: number;
  /** Its random numbers are then the same each time, from the beginning for each request. */
  readonly randomSeed?: number;
  /** That of `godwit test --engine`, which is wasmtime, as machines have it; with one of the three above v8, which can be told what the world is. */
  readonly engine?: EngineName;
};
/** A line is there within a moment, or never. */
const LOG_WAIT_MS = 2_000;
const COVERAGE_FOLDER = process.env["GODWIT_TEST_COVERAGE"];

export type Service = {
  readonly url: string;
  /** Lines that the component wrote, as they come. */
  readonly logs: readonly LogLine[];
  /** The first line that has `text` in it: lines take their own way, and may come after the answer. Throws when none comes in time. */
  logLine(text: string, timeoutMs?: number): Promise<LogLine>;
  /** As the global fetch, with a path; redirects are not followed. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};
export type Ran = Omit<Captured, "wallMs">;

/** The project's service, ready to be asked. */
export async function openService(options: ServiceOptions = {}): Promise<Service> {
  const engine = await engineOf(options);
  const compiled = await engine.compile(await component());
  const listener = await engine.listen("127.0.0.1", 0);
  const logs: LogLine[] = [];
  const log = new EventEmitter();
  const runner = await engine.startRunner({ listener, onLog: (line) => {
    if (COVERAGE_FOLDER !== undefined && line.stream === "stderr" && isTold(line.line, noteLine)) return;
    logs.push(line);
    log.emit("line");
  } });
  const close = async (): Promise<void> => {
    await runner.stop();
    listener.close();
  };
  await runner.load({ id: "test", hosts: ["*"], compiled, environment: options.environment ?? {}, outgoing: await placesOf(options), ...mocked(options), ...(COVERAGE_FOLDER === undefined ? {} : { limits: { logBytesPerSecondMax: LIMITS_MAX.logBytesPerSecondMax } }) }).catch(async (error: unknown) => {
    await close();
    throw error;
  });
  const url = `http://127.0.0.1:${listener.port}`;
  const logLine = async (text: string, timeoutMs: number = LOG_WAIT_MS): Promise<LogLine> => {
    const signal = AbortSignal.timeout(timeoutMs);
    for (;;) {
      const found = logs.find(({ line }) => line.includes(text));
      if (found !== undefined) return found;
      await once(log, "line", { signal }).catch((cause: unknown) => {
        throw new Error(`No line with ${JSON.stringify(text)} came within ${timeoutMs} ms; there were ${JSON.stringify(logs.map(({ line }) => line))}`, { cause });
      });
    }
  };
  return { url, logs, logLine, close, fetch: (path, init) => fetch(`${url}${path}`, { redirect: "manual", ...init }), [Symbol.asyncDispose]: close };
}

/** Runs the project's task to its end. */
export async function runTask(args: readonly string[] = [], options: ServiceOptions & { readonly stdin?: string } = {}): Promise<Ran> {
  const { wallMs: _, ...ran } = await runCaptured(await engineOf(options), await component(), {
    name: "test", arguments: args, environment: options.environment ?? {}, outgoing: await placesOf(options), ...mocked(options), stdin: new TextEncoder().encode(options.stdin ?? ""),
  });
  return COVERAGE_FOLDER === undefined ? ran : { ...ran, stderr: taken(ran.stderr, noteLine) };
}

/** Lines that ran, by their numbers in the build; `godwit test --coverage` reads them when this process has ended. */
const linesRan = new Set<number>();

function noteLine(number: number): void {
  if (linesRan.size === 0) process.once("exit", () => writeFileSync(join(COVERAGE_FOLDER ?? "", `${process.pid}.json`), JSON.stringify([...linesRan])));
  linesRan.add(number);
}

async function component(): Promise<Uint8Array> {
  const file = process.env["GODWIT_TEST_COMPONENT"];
  if (file === undefined) throw new Error("There is no component to test: run the tests with godwit test, which builds it");
  return new Uint8Array(await readFile(file));
}

function engineOf(options: ServiceOptions): Promise<Engine> {
  const usual = process.env["GODWIT_TEST_ENGINE"] === "v8" || mocked(options).mock !== undefined ? "v8" : "wasmtime";
  return openEngine(options.engine ?? usual);
}

function mocked({ respond, clockMs, randomSeed }: ServiceOptions): { mock?: Mock } {
  if (respond === undefined && clockMs === undefined && randomSeed === undefined) return {};
  return { mock: { ...(respond === undefined ? {} : { outgoing: respond }), ...(clockMs === undefined ? {} : { clockMs }), ...(randomSeed === undefined ? {} : { randomSeed }) } };
}

async function placesOf({ outgoing }: ServiceOptions): Promise<OutgoingPlace[]> {
  if (outgoing !== undefined) return outgoing.map((place) => parseOutgoing(place) ?? refusePlace(place));
  const project = process.env["GODWIT_TEST_PROJECT"];
  if (project === undefined) return [];
  const parsed = parseManifest(await readFile(join(project, "godwit.toml"), "utf8"), "godwit.toml");
  return parsed.ok ? [...parsed.manifest.outgoing] : [];
}

function refusePlace(place: string): never {
  throw new Error(`Cannot allow requests to "${place}": expected http or https, a host, and a port if it is another than usual`);
}
