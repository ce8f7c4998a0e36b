/**
 * The loop that keeps the machine as the ledger says: observe, plan, execute, again.
 *
 * It runs at every final block, whenever something here changed (an upload, a compile, a lost route), and when a retry is due;
 * never on a fixed clock. It holds what was observed: routes, refusals, what is under way, failures with their back-off.
 */
import type { Hex } from "#chain/types.ts";
import { codeOf } from "../error.ts";
import { ACTIONS_OF_ONE_KIND_MAX, RETRY_MS_FIRST, RETRY_MS_MAX, SLOW_LOADS_MAX, WAKE_MS_MAX } from "../limits.ts";
import { type Hands, LOAD_SLOW, type Outcome, execute } from "./execute.ts";
import type { Measured } from "./load.ts";
import type { FoundLoad } from "./planScaling.ts";
import { type Action, type Blob, type DeploymentHere, type Desired, type Failure, type Observed, type Refusal, type Route, deploymentOf, plan, retryDelayMs } from "./plan.ts";

export type SupervisorOptions = {
  readonly hands: Hands;
  readonly bootId: Hex;
  readonly desired: () => Desired;
  readonly blobs: () => ReadonlyMap<Hex, Blob>;
  /** What routes have to do that scale by themselves (loads.ts). */
  readonly load?: () => ReadonlyMap<Hex, FoundLoad>;
  /** What runs to an end here. */
  readonly tasks: () => Pick<Observed, "tasks" | "mayRun">;
  readonly now: () => number;
  /** Witnesses enough have said that this boot lives, or it is its own. */
  readonly mayComeUp: () => boolean;
  readonly onFailure?: (action: Action, code: string, error: unknown) => void;
};
/** Failures are forgotten this long after their retry was due: nobody wanted the action again. */
const FAILURE_FORGET_MS = 10 * RETRY_MS_MAX;

const NOTHING: ReadonlyMap<Hex, FoundLoad> = new Map();

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #routes: Map<Hex, Route> = new Map();
  readonly #stale: Set<Hex> = new Set();
  readonly #refused: Map<Hex, Refusal> = new Map();
  readonly #underWay: Map<string, Promise<void>> = new Map();
  readonly #failures: Map<string, Failure> = new Map();
  readonly #healthPaths: Map<Hex, string> = new Map();
  readonly #health: Map<Hex, string | null> = new Map();
  /** As the last plan had it. */
  #here: ReadonlyMap<Hex, DeploymentHere> = new Map();
  #measured: ReadonlyMap<Hex, Measured> = new Map();
  #asleep: ReadonlySet<Hex> = new Set();
  #scheduled = false;
  #stopped = false;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  get routes(): ReadonlyMap<Hex, Route> {
    return this.#routes;
  }

  /** Something changed: plan again, once for all changes of this turn of the event loop. */
  poke(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      if (!this.#stopped) this.reconcile();
    });
  }

  /** Routes of which it counts what they have to do, and by what that is measured. */
  get measured(): ReadonlyMap<Hex, Measured> {
    return this.#measured;
  }

  /** Routes whose health is to be checked: where, and by which host. What is on standby is left alone. */
  get checked(): readonly { readonly id: Hex; readonly host: string; readonly path: string }[] {
    return [...this.#healthPaths].flatMap(([id, path]) => {
      const host = this.#routes.get(id)?.hosts.toSorted((a, b) => b.length - a.length)[0];
      return host === undefined || this.#asleep.has(id) ? [] : [{ id, host, path }];
    });
  }

  /** A check of a route found this out; null: it is well. What changed is told to the ledger. */
  isWell(id: Hex, cause: string | null): void {
    if (!this.#routes.has(id) || this.#health.get(id) === cause) return;
    this.#health.set(id, cause);
    this.poke();
  }

  /** Loads a route anew that is there: its instances end, and others begin. It is known as the runner's until then, so that it is unloaded if its lease ends first. */
  restart(id: Hex): void {
    if (this.#routes.has(id)) this.#stale.add(id);
    this.poke();
  }

  /** The runner came back without this deployment. */
  lost(id: Hex): void {
    for (const held of [this.#routes, this.#stale, this.#healthPaths, this.#health]) held.delete(id);
    this.poke();
  }

  /** No new action; those under way are left to end, for at most `timeoutMs`. */
  async stop(timeoutMs: number): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    await Promise.race([Promise.all(this.#underWay.values()), promise]);
    clearTimeout(timer);
  }

  observed(): Observed {
    return {
      bootId: this.#options.bootId, mayComeUp: this.#options.mayComeUp(), blobs: this.#options.blobs(), routes: this.#routes, stale: this.#stale, refused: this.#refused, health: this.#health,
      load: this.#options.load?.() ?? NOTHING,
      ...this.#options.tasks(), underWay: new Set(this.#underWay.keys()), failures: this.#failures,
    };
  }

  /** One plan, its actions begun when this returns. */
  reconcile(): void {
    const nowMs = this.#options.now();
    const desired = this.#options.desired();
    this.#forget(desired, nowMs);
    this.#measured = new Map(desired.deployments.flatMap(({ id, scaling, cpuMillis, leases }) => (!scaling ? [] : [[id, { ...scaling, replicas: leases.length, cpuMillis }] as const])));
    this.#asleep = new Set(desired.deployments.filter(({ leases }) => leases.every(({ load }) => load?.isOnStandby === true)).map(({ id }) => id));
    const { actions, wakeAtMs } = plan(desired, this.observed(), nowMs);
    for (const action of actions) {
      if (this.#underWayOf(kindOf(action.key)) < ACTIONS_OF_ONE_KIND_MAX) this.#underWay.set(action.key, this.#carryOut(action));
    }
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = wakeAtMs === null ? null : setTimeout(() => this.poke(), Math.min(Math.max(1, wakeAtMs - nowMs), WAKE_MS_MAX));
  }

  #underWayOf(kind: string): number {
    return this.#underWay.keys().reduce((count, key) => (kindOf(key) === kind ? count + 1 : count), 0);
  }

  async #carryOut(action: Action): Promise<void> {
    try {
      this.#apply(await execute(action, this.#options.hands));
      this.#rest(action);
    } catch (error) {
      const { count } = this.#failed(action.key, codeOf(error));
      if (codeOf(error) === LOAD_SLOW && count >= SLOW_LOADS_MAX) this.#tooSlow(action);
      if (!this.#stopped) this.#options.onFailure?.(action, codeOf(error), error);
    } finally {
      this.#underWay.delete(action.key);
      this.poke();
    }
  }

  #apply(outcome: Outcome): void {
    if (outcome.kind === "loaded") {
      const { id } = outcome.route;
      if (!this.#holds(outcome.route)) this.#health.delete(id);
      this.#routes.set(id, outcome.route);
      this.#stale.delete(id);
      if (outcome.healthPath === null) this.#healthPaths.delete(id);
      else this.#healthPaths.set(id, outcome.healthPath);
      this.#refused.delete(outcome.route.id);
    } else if (outcome.kind === "unloaded") for (const held of [this.#routes, this.#stale, this.#healthPaths, this.#health]) held.delete(outcome.id);
    else if (outcome.kind === "refused") this.#refused.set(outcome.id, outcome);
  }

  /** Whether the runner has the same program with the same configuration, whatever its room and hosts. */
  #holds({ id, component, configuration }: Route): boolean {
    const held = this.#routes.get(id);
    return held?.component === component && held.configuration === configuration;
  }

  /** A transaction that went through and is wanted at once again rests first; a lease that keeps failing here rests longer each time. */
  #rest(action: Action): void {
    if (action.kind === "sendFailed") this.#failed(action.key);
    else if (action.kind.startsWith("send")) this.#failures.set(action.key, { count: 1, retryAtMs: this.#options.now() + RETRY_MS_FIRST });
    else this.#failures.delete(action.key);
  }

  #failed(key: string, code: string = ""): Failure {
    const before = this.#failures.get(key);
    const [count, nowMs] = [(before?.count ?? 0) + 1, this.#options.now()];
    const failure: Failure = { count, code, sinceMs: before?.sinceMs ?? nowMs, retryAtMs: nowMs + retryDelayMs(count, RETRY_MS_FIRST, RETRY_MS_MAX) };
    this.#failures.set(key, failure);
    return failure;
  }

  /** So often slow: not this machine's doing any more, unless the same has begun here before. */
  #tooSlow(action: Action): void {
    if (action.kind !== "load" && action.kind !== "resize") return;
    const { id, component, configuration } = action.route;
    if (this.#holds(action.route)) return;
    this.#options.hands.tell(deploymentOf(id), "Cannot start: it takes too long to begin (load_failed)");
    this.#apply({ kind: "refused", id, component, configuration, cause: "load_failed" });
  }

  #forget(desired: Desired, nowMs: number): void {
    for (const [key, failure] of this.#failures) {
      const { retryAtMs } = failure;
      if (retryAtMs + FAILURE_FORGET_MS < nowMs) this.#failures.delete(key);
      // The clock was set back: no wait of ours is so long.
      else if (retryAtMs > nowMs + RETRY_MS_MAX) this.#failures.set(key, { ...failure, sinceMs: nowMs, retryAtMs: nowMs });
    }
    for (const digest of this.#options.blobs().keys()) this.#failures.delete(`fetch/${digest}`);
    const here = new Map(desired.deployments.map((deployment) => [deployment.id, deployment]));
    for (const id of this.#refused.keys()) if (!here.has(id)) this.#refused.delete(id);
    // What failed before a lease came says nothing of it: while this machine was cut off nobody had anything for it.
    for (const [id, { component, configuration }] of here) {
      const before = this.#here.get(id);
      if (before?.component === component && before.configuration === configuration) continue;
      for (const key of [`fetch/${component}`, `fetch/${configuration}`, `compile/${component}`, `load/${id}`]) this.#failures.delete(key);
    }
    this.#here = here;
  }
}

/** A key is `kind/…`; what must not run side by side has one key, so `resize` and `unload` count as `load`. */
const kindOf = (key: string): string => key.slice(0, key.indexOf("/"));
