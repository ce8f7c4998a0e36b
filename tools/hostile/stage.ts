/**
 * A runner with a well-behaved neighbour in it that is asked all the time, for as long as others do their worst beside it.
 *
 * A request of the neighbour is lost when it is not answered with 200 and the right words within LOST_AFTER_MS. What the runner
 * holds of the computer's memory is read from outside, as the kernel counts it.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compile, type CompileOptions, type Deployment, listen, type Runner, startRunner } from "#sandbox/sandbox.ts";
import { guest } from "#tests/guests/build.ts";

const LOST_AFTER_MS = 10_000;
const CLIENT_TIMEOUT_MS = 30_000;
const KIB = 1024;

export type Answer = { readonly status: number; readonly code: string | undefined; readonly complete: boolean; readonly bytes: number; readonly elapsedMs: number };
export type Ask = { readonly host: string; readonly path: string; readonly method?: string; readonly headers?: Readonly<Record<string, string>>; readonly agent?: Agent; readonly signal?: AbortSignal };
export type Neighbour = { readonly requests: number; readonly lost: number; readonly p50Ms: number; readonly p99Ms: number; readonly slowestMs: number };
export type Stage = AsyncDisposable & {
  readonly runner: Runner;
  readonly port: number;
  /** Ends of processes of the runner that were not asked for. */
  readonly exits: () => number;
  readonly ask: (ask: Ask) => Promise<Answer>;
  readonly compile: (component: Uint8Array, limits?: CompileOptions["limits"]) => Promise<{ digest: string }>;
  readonly load: (component: Uint8Array, options?: Partial<Deployment>) => Promise<void>;
  readonly neighbour: () => Neighbour;
  readonly rssBytes: () => number;
};

/** `connections`: how many requests the neighbour always has under way. */
export async function openStage(connections: number): Promise<Stage> {
  const cacheDirectory = mkdtempSync(join(tmpdir(), "godwit-hostile-"));
  const listener = await listen("127.0.0.1", 0);
  let exits = 0;
  const runner = await startRunner({ listener, cacheDirectory, onExit: () => (exits += 1) });
  const stageCompile: Stage["compile"] = (component, limits) => compile(component, { cacheDirectory, ...(limits === undefined ? {} : { limits }) });
  const ask: Stage["ask"] = (asked) => send(listener.port, asked);
  await runner.load({ id: "neighbour", hosts: ["neighbour.localhost"], compiled: await stageCompile(await guest("hello")) });

  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const times: number[] = [];
  let [lost, open] = [0, true];
  const asking = Array.from({ length: connections }, async () => {
    while (open) {
      const { status, bytes, complete, elapsedMs } = await ask({ host: "neighbour.localhost", path: "/", agent }).catch(() => ({ status: 0, bytes: 0, complete: false, elapsedMs: LOST_AFTER_MS }));
      times.push(elapsedMs);
      if (status !== 200 || bytes === 0 || !complete || elapsedMs >= LOST_AFTER_MS) lost += 1;
    }
  });
  return {
    runner, port: listener.port, exits: () => exits, ask, compile: stageCompile,
    load: async (component, options = {}) => runner.load({ id: "hostile", hosts: ["hostile.localhost"], compiled: await stageCompile(component), ...options }),
    neighbour: () => {
      const sorted = times.toSorted((a, b) => a - b);
      const at = (part: number): number => round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0);
      return { requests: times.length, lost, p50Ms: at(0.5), p99Ms: at(0.99), slowestMs: at(1) };
    },
    rssBytes: () => Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${runner.pid ?? 0}/status`, "utf8"))?.[1] ?? 0) * KIB,
    async [Symbol.asyncDispose]() {
      open = false;
      await Promise.all(asking);
      agent.destroy();
      await runner.stop();
      listener.close();
      rmSync(cacheDirectory, { recursive: true, force: true });
    },
  };
}

export const round = (value: number): number => Math.round(value * 100) / 100;

/** Status 0: nothing of an answer came. */
function send(port: number, { host, path, method = "GET", headers = {}, agent, signal }: Ask): Promise<Answer> {
  const begunMs = performance.now();
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path, method, agent: agent ?? false, headers: { host, ...headers }, ...(signal && { signal }) }, (response) => {
      let [bytes, text] = [0, ""];
      const isProblem = response.headers["content-type"] === "application/problem+json";
      const end = (): void => {
        const code = isProblem && response.complete ? String((JSON.parse(text) as { code: unknown }).code) : undefined;
        resolve({ status: response.statusCode ?? 0, code, complete: response.complete, bytes, elapsedMs: performance.now() - begunMs });
      };
      response.on("data", (chunk: Uint8Array) => {
        bytes += chunk.length;
        if (isProblem) text += Buffer.from(chunk).toString();
      });
      response.on("end", end).on("error", end);
    });
    sent.setTimeout(CLIENT_TIMEOUT_MS, () => sent.destroy(new Error(`no answer to ${path} within ${CLIENT_TIMEOUT_MS} ms`)));
    sent.on("error", (error) => {
      if ("code" in error && error.code === "ECONNRESET") resolve({ status: 0, code: undefined, complete: false, bytes: 0, elapsedMs: performance.now() - begunMs });
      else reject(error);
    });
    sent.end();
  });
}
