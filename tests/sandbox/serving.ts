/** A runner on a port of its own with some guests in it, a client that sees everything of an answer, and the log as it comes. */
import { mkdtempSync, rmSync } from "node:fs";
import { request, type IncomingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Limits } from "#sandbox/limits.ts";
import { compile, listen, startRunner, type Deployment, type LogLine, type Runner, type RunnerExit, type RunnerOptions } from "#sandbox/sandbox.ts";
import { guest, type GuestName } from "#tests/guests/build.ts";
import { needs } from "#tests/require.ts";
import { buildNative } from "#tools/native.mjs";

export type Answer = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly text: string; readonly code: string | undefined; readonly complete: boolean; readonly elapsedMs: number };
export type Ask = { readonly host?: string; readonly method?: string; readonly headers?: Readonly<Record<string, string>>; readonly body?: Uint8Array | Uint8Array[]; readonly signal?: AbortSignal };
export type Serving = {
  readonly runner: Runner;
  readonly port: number;
  readonly cacheDirectory: string;
  readonly logs: LogLine[];
  readonly exits: RunnerExit[];
  readonly lost: string[];
  readonly load: (id: string, name: GuestName, options?: Partial<Deployment> & { limits?: Partial<Limits> }) => Promise<void>;
  readonly get: (path: string, ask?: Ask) => Promise<Answer>;
};

const CLIENT_TIMEOUT_MS = 60_000;

/** Builds the native parts once; false when this computer cannot, and the test is skipped. */
export async function nativeIsThere(t: TestContext): Promise<boolean> {
  if (!needs(t, "cargo")) return false;
  await buildNative({ log: (line) => t.diagnostic(line) });
  return true;
}

/** A cache of compiled code that several tests of a file share, so that each guest is compiled once. */
export function sharedCache(): { readonly directory: string; readonly remove: () => void } {
  const directory = mkdtempSync(join(tmpdir(), "godwit-sandbox-"));
  return { directory, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

export async function serving(t: TestContext, cacheDirectory: string, options: Pick<RunnerOptions, "askEveryMs" | "memoryBytesMax" | "outgoing" | "ingress" | "reach"> = {}): Promise<Serving> {
  const listener = await listen("127.0.0.1", 0);
  const logs: LogLine[] = [];
  const exits: RunnerExit[] = [];
  const lost: string[] = [];
  const runner = await startRunner({
    ...options,
    listener,
    cacheDirectory,
    onLog: (line) => logs.push(line),
    onExit: (exit) => exits.push(exit),
    onLost: (id, code) => lost.push(`${id} ${code}`),
  });
  t.after(async () => {
    await runner.stop();
    listener.close();
  });
  const load: Serving["load"] = async (id, name, options = {}) => {
    const compiled = await compile(await guest(name), { cacheDirectory });
    await runner.load({ id, hosts: [`${id}.localhost`], compiled, ...options });
  };
  return { runner, port: listener.port, cacheDirectory, logs, exits, lost, load, get: (path, ask) => get(listener.port, path, ask) };
}

/** Every request on a connection of its own. A broken answer is one with `complete` false, status 0 when nothing of it came. */
export function get(port: number, path: string, ask: Ask = {}): Promise<Answer> {
  const { host = "a.localhost", method = ask.body === undefined ? "GET" : "POST", headers = {}, body, signal } = ask;
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path, method, agent: false, headers: { host, ...headers }, ...(signal && { signal }) }, (response) => {
      let text = "";
      const end = (): void => {
        const problem = response.headers["content-type"] === "application/problem+json";
        const code = problem ? String((JSON.parse(text) as { code: unknown }).code) : undefined;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, code, complete: response.complete, elapsedMs: performance.now() - begun });
      };
      response.setEncoding("latin1").on("data", (chunk: string) => (text += chunk));
      response.on("end", end).on("error", end);
    });
    sent.setTimeout(CLIENT_TIMEOUT_MS, () => sent.destroy(new Error(`no answer to ${path} within ${CLIENT_TIMEOUT_MS} ms`)));
    sent.on("error", (error) => {
      if (signal?.aborted || (error as NodeJS.ErrnoException).code === "ECONNRESET") {
        resolve({ status: 0, headers: {}, text: "", code: undefined, complete: false, elapsedMs: performance.now() - begun });
      } else reject(error);
    });
    for (const chunk of Array.isArray(body) ? body : []) sent.write(chunk);
    sent.end(body === undefined || Array.isArray(body) ? undefined : body);
  });
}

/** Polls until `condition` holds; fails after `timeoutMs`. */
export async function until(condition: () => boolean | Promise<boolean>, what: string, timeoutMs = 30_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
