/**
 * The logs of deployments that were closed: removed, when nobody writes or follows them any more.
 *
 * What still runs when its deployment is closed may write last lines, and clients that follow get them: so a log goes after a look
 * that finds neither a route nor a follower nor a line more than the look before, or when LOG_LAST_LINES_MS_MAX have passed. A line
 * that comes even later brings it here again.
 */
import type { Hex } from "#chain/types.ts";
import { LOG_LAST_LINES_MS_MAX, LOG_QUIET_MS } from "./limits.ts";
import type { LogStore } from "./logs.ts";

export type ClosedLogsOptions = {
  readonly logs: Pick<LogStore, "ids" | "remove" | "activity">;
  /** On the chain, with the intention to stay there. */
  readonly isOpen: (id: Hex) => boolean;
  /** Served here. */
  readonly isRouted: (id: Hex) => boolean;
  readonly quietMs?: number;
};

export class ClosedLogs {
  readonly #options: ClosedLogsOptions;
  readonly #timers: Map<Hex, NodeJS.Timeout> = new Map();

  constructor(options: ClosedLogsOptions) {
    this.#options = options;
  }

  /** Of deployments that were closed while nobody was here to see it. */
  look(): void {
    for (const id of this.#options.logs.ids()) if (!this.#options.isOpen(id)) this.closed(id);
  }

  /** A line was written. */
  wrote(id: Hex): void {
    if (!this.#options.isRouted(id) && !this.#timers.has(id) && !this.#options.isOpen(id)) this.closed(id);
  }

  closed(id: Hex): void {
    if (!this.#timers.has(id)) this.#wait(id, -1, performance.now() + LOG_LAST_LINES_MS_MAX);
  }

  stop(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  #wait(id: Hex, before: number, endMs: number): void {
    const { logs, isRouted, quietMs = LOG_QUIET_MS } = this.#options;
    const timer = setTimeout(() => {
      const { nextSequence, isFollowed } = logs.activity(id);
      const isBusy = isRouted(id) || isFollowed || nextSequence !== before;
      if (isBusy && performance.now() < endMs) return this.#wait(id, nextSequence, endMs);
      this.#timers.delete(id);
      logs.remove(id);
    }, quietMs);
    this.#timers.set(id, timer.unref());
  }
}
