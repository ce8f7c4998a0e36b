/**
 * Asks what runs here whether it is well: a GET of its health path, by the ingress and as a client would.
 *
 * Well is an answer of 200 to 399 within HEALTH_TIMEOUT_MS; not well is one who misses it HEALTH_MISSES times in a row. Such a one is
 * told of, and started anew, at once and then with a wait that doubles. Only what is found is told here: the ledger decides what follows.
 * `godwit-here` asks for the replica of this machine, where others have more of the requests.
 */
import { request } from "node:http";
import type { Hex } from "#chain/types.ts";
import { codeOf } from "./error.ts";
import { HEALTH_INTERVAL_MS, HEALTH_MISSES, HEALTH_RESTART_MS_FIRST, HEALTH_RESTART_MS_MAX, HEALTH_TIMEOUT_MS } from "./limits.ts";

export type Checked = { readonly id: Hex; readonly host: string; readonly path: string };
export type HealthOptions = {
  readonly address: string;
  readonly httpPort: number;
  readonly checked: () => readonly Checked[];
  /** null: it is well; else why not. */
  readonly onResult: (id: Hex, cause: string | null) => void;
  readonly restart: (id: Hex) => void;
  readonly intervalMs?: number;
  readonly nowMs?: () => number;
};
type Seen = { asked: number; misses: number; restarts: number; restartAtMs: number; isAsked: boolean };

export class HealthChecks {
  readonly #options: HealthOptions;
  readonly #seen: Map<Hex, Seen> = new Map();
  readonly #timer: NodeJS.Timeout;
  readonly #stop: AbortController = new AbortController();
  readonly #nowMs: () => number;

  constructor(options: HealthOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? ((): number => performance.now());
    this.#timer = setInterval(() => this.#round(), options.intervalMs ?? HEALTH_INTERVAL_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#stop.abort();
  }

  /** How often it was asked so far. */
  asked(id: Hex): number {
    return this.#seen.get(id)?.asked ?? 0;
  }

  #round(): void {
    const checked = this.#options.checked();
    const ids = new Set(checked.map(({ id }) => id));
    // One that is being started anew is not among them for a moment: its restarts count on.
    for (const [id, seen] of this.#seen) if (!ids.has(id) && seen.restartAtMs + HEALTH_RESTART_MS_MAX < this.#nowMs()) this.#seen.delete(id);
    for (const one of checked) void this.#check(one);
  }

  async #check({ id, host, path }: Checked): Promise<void> {
    const seen = this.#seen.get(id) ?? { asked: 0, misses: 0, restarts: 0, restartAtMs: this.#nowMs(), isAsked: false };
    this.#seen.set(id, seen);
    if (seen.isAsked) return;
    seen.isAsked = true;
    seen.asked += 1;
    const cause = await this.#ask(host, path);
    seen.isAsked = false;
    if (this.#stop.signal.aborted) return;
    if (cause === null) {
      [seen.misses, seen.restarts] = [0, 0];
      return this.#options.onResult(id, null);
    }
    seen.misses += 1;
    if (seen.misses < HEALTH_MISSES) return;
    this.#options.onResult(id, cause);
    const nowMs = this.#nowMs();
    if (nowMs < seen.restartAtMs) return;
    seen.restartAtMs = nowMs + Math.min(HEALTH_RESTART_MS_FIRST * 2 ** seen.restarts, HEALTH_RESTART_MS_MAX);
    [seen.misses, seen.restarts] = [0, seen.restarts + 1];
    this.#options.restart(id);
  }

  /** Why it is not well; null: it is. */
  #ask(host: string, path: string): Promise<string | null> {
    const { address, httpPort } = this.#options;
    const { promise, resolve } = Promise.withResolvers<string | null>();
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(HEALTH_TIMEOUT_MS)]);
    const call = request({ host: address, port: httpPort, path, agent: false, headers: { host, "user-agent": "godwit-health", "godwit-here": "1" }, signal }, (response) => {
      const status = response.statusCode ?? 0;
      response.destroy();
      resolve(status >= 200 && status < 400 ? null : `status ${status}`);
    });
    call.on("error", (error) => resolve(signal.aborted ? "no answer in time" : codeOf(error)));
    // Of an answer of 101 nothing else comes.
    call.on("close", () => resolve("no answer"));
    call.end();
    return promise;
  }
}
