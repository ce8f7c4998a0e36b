/**
 * Measures what deployments that scale by themselves have to do here: asks the runner for its counts as long as there are such deployments, and
 * tells the supervisor when something that it acts on has changed. Nothing is measured for others, and an idle machine asks nothing.
 */
import type { Hex } from "#chain/types.ts";
import type { Usage } from "#sandbox/control.ts";
import { LOAD_SAMPLE_MS, STANDBY_IDLE_MS } from "./limits.ts";
import { type Measured, type Meter, measure } from "./supervisor/load.ts";

export type LoadsOptions = {
  readonly usage: () => Promise<Readonly<Record<string, Usage>>>;
  /** Routes to be measured, and by what. */
  readonly measured: () => ReadonlyMap<Hex, Measured>;
  /** Requests that this machine has sent to a route itself. */
  readonly checks: (id: Hex) => number;
  readonly onChange: () => void;
  readonly now: () => number;
  readonly sampleMs?: number;
};

export class Loads {
  readonly #options: LoadsOptions;
  readonly #meters: Map<Hex, Meter> = new Map();
  readonly #timer: NodeJS.Timeout;
  #isAsking = false;

  constructor(options: LoadsOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.#sample(), options.sampleMs ?? LOAD_SAMPLE_MS).unref();
  }

  get meters(): ReadonlyMap<Hex, Meter> {
    return this.#meters;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #sample(): Promise<void> {
    const { usage, measured, checks, onChange, now } = this.#options;
    const wanted = measured();
    for (const id of this.#meters.keys()) if (!wanted.has(id)) this.#meters.delete(id);
    if (wanted.size === 0 || this.#isAsking) return;
    this.#isAsking = true;
    // A runner that is being replaced has no answer: the next sample has one.
    const counted = await usage().catch(() => null);
    this.#isAsking = false;
    if (counted === null) return;
    const nowMs = now();
    let hasChanged = false;
    for (const [id, rule] of wanted) {
      const usageHere = counted[id];
      if (usageHere === undefined) continue;
      const before = this.#meters.get(id);
      const after = measure(before, rule, usageHere, checks(id), nowMs);
      this.#meters.set(id, after);
      hasChanged ||= before === undefined || before.level !== after.level || isIdle(before, nowMs - LOAD_SAMPLE_MS) !== isIdle(after, nowMs);
    }
    if (hasChanged) onChange();
  }
}

const isIdle = ({ activeMs }: Meter, nowMs: number): boolean => nowMs - activeMs >= STANDBY_IDLE_MS;
