/**
 * One runner for all, and for each deployment that asks for it (`isolation: "process"`) a runner of its own behind the same ingress.
 *
 * The shared runner hands requests for such a deployment on, over connections that are dialled here, to a listener on loopback that
 * only its own runner inherits. The listener outlives that process: what ends in it ends there, and who comes meanwhile waits.
 * Both are jailed alike. A computer has ISOLATED_MAX of them at most, as each is a process with threads and an engine of its own.
 */
import { SandboxError } from "./errors.ts";
import { CONCURRENCY_DEFAULT, ISOLATED_MAX, LIMITS_DEFAULT } from "./limits.ts";
import type { Deployment, Task } from "./load.ts";
import type { TaskEnd, Usage } from "./control.ts";
import type { Elsewhere } from "./elsewhere.ts";
import type { Front, Runner, RunnerOptions, TaskRunner } from "./runner.ts";

export type Listener = { readonly fd: number; readonly port: number; close(): void };
export type TrustClassesOptions = RunnerOptions & {
  readonly startRunner: (options: RunnerOptions) => Promise<Front>;
  readonly listen: (address: string, port: number) => Promise<Listener>;
};

const LOOPBACK = "127.0.0.1";
/** What runs when a deployment is unloaded may go on to its own end, for so long at most. */
const DRAIN_MS_MAX = 60_000;
/** A request that took the way here before the route changed may still be dialling, which nobody counts. */
const DRAIN_QUIET_MS = 500;
const DRAIN_LOOK_MS = 50;

type Isolated = { readonly runner: Runner & TaskRunner; readonly listener: Listener };

export async function startTrustClasses(options: TrustClassesOptions): Promise<Runner & TaskRunner> {
  return new TrustClasses(options, await options.startRunner(options));
}

class TrustClasses implements Runner, TaskRunner {
  readonly #options: TrustClassesOptions;
  readonly #shared: Front;
  readonly #isolated = new Map<string, Promise<Isolated>>();
  readonly #draining = new Set<Promise<void>>();
  #fenceUntilMs: number | null = null;
  #stopped = false;

  constructor(options: TrustClassesOptions, shared: Front) {
    this.#options = options;
    this.#shared = shared;
  }

  get pid(): number | null {
    return this.#shared.pid;
  }

  async pidOf(id: string): Promise<number | null> {
    return ((await this.#isolated.get(id)?.catch(() => null))?.runner ?? this.#shared).pidOf(id);
  }

  /** The shared one is the ingress for all. */
  get elsewhere(): Elsewhere {
    return this.#shared.elsewhere;
  }

  open(): Promise<void> {
    return this.#shared.open();
  }

  async load(deployment: Deployment): Promise<void> {
    const { id, hosts, limits, concurrency = CONCURRENCY_DEFAULT, isolation = "shared" } = deployment;
    if (isolation === "shared") {
      await this.#shared.load(deployment);
      void this.#drop(id);
      return;
    }
    const isNew = !this.#isolated.has(id);
    const { runner, listener } = await this.#own(id);
    try {
      await runner.load(deployment);
      // Its own gate has the queue; here is only the bound of what waits for it.
      await this.#shared.hop({ id, hosts: hosts.map((host) => host.toLowerCase()), requestsMax: concurrency + (limits?.queueLengthMax ?? LIMITS_DEFAULT.queueLengthMax) + 1, port: listener.port });
    } catch (error) {
      if (isNew) void this.#drop(id);
      throw error;
    }
  }

  async unload(id: string): Promise<void> {
    await this.#shared.unload(id);
    void this.#drop(id);
  }

  async task(task: Task): Promise<TaskEnd> {
    if (task.isolation !== "process") return this.#shared.task(task);
    const { runner } = await this.#own(task.id);
    try {
      if (this.#fenceUntilMs !== null) runner.fence(this.#fenceUntilMs);
      return await runner.task(task);
    } finally {
      void this.#drop(task.id);
    }
  }

  async stopTask(id: string): Promise<void> {
    await ((await this.#isolated.get(id)?.catch(() => null))?.runner ?? this.#shared).stopTask(id);
  }

  fence(untilMs: number): void {
    this.#fenceUntilMs = untilMs;
    this.#shared.fence(untilMs);
    for (const isolated of this.#isolated.values()) isolated.then(({ runner }) => runner.fence(untilMs), () => {});
  }

  async usage(): Promise<Record<string, Usage>> {
    // One that is on its way up has served nobody: nothing waits for it.
    const each = [...this.#isolated.values()].map((isolated) => Promise.race([isolated, Promise.resolve(null)]).then((up) => up?.runner.usage() ?? {}).catch(() => ({})));
    const [shared, ...own] = await Promise.all([this.#shared.usage(), ...each]);
    return Object.assign({}, shared, ...own) as Record<string, Usage>;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#shared.stop();
    await Promise.all([...this.#isolated.keys()].map((id) => this.#drop(id)));
    await Promise.all(this.#draining);
  }

  #own(id: string): Promise<Isolated> {
    const known = this.#isolated.get(id);
    if (known !== undefined) return known;
    if (this.#stopped) return Promise.reject(new SandboxError("runner_stopped", "The runner was stopped"));
    if (this.#isolated.size >= ISOLATED_MAX) {
      return Promise.reject(new SandboxError("isolation_full", `Cannot load ${id} in a runner of its own: this computer has ${ISOLATED_MAX} of them, and that is the most`));
    }
    if (this.#isolated.size + this.#draining.size >= 2 * ISOLATED_MAX) {
      return Promise.reject(new SandboxError("runner_busy", `Cannot load ${id} in a runner of its own now: ${this.#draining.size} of others are on their way out`));
    }
    const started = this.#start(id);
    this.#isolated.set(id, started);
    started.catch(() => {
      if (this.#isolated.get(id) === started) this.#isolated.delete(id);
    });
    return started;
  }

  async #start(id: string): Promise<Isolated> {
    const { listen, startRunner, onExit, onLog, onLost, cacheDirectory, outgoing } = this.#options;
    const listener = await listen(LOOPBACK, 0);
    try {
      const runner = await startRunner({
        listener,
        spare: false,
        ingress: { isBehind: true },
        ...(cacheDirectory === undefined ? {} : { cacheDirectory }),
        ...(outgoing === undefined ? {} : { outgoing }),
        ...(onExit === undefined ? {} : { onExit }),
        // A runner that is one tenant's may speak of that tenant only: the keeper ends one that does not.
        ...(onLog === undefined ? {} : { onLog }),
        onLost: (lost, code, message) => {
          void this.#drop(id);
          void this.#shared.unload(id).catch(() => {});
          onLost?.(lost, code, message);
        },
      });
      return { runner, listener };
    } catch (error) {
      listener.close();
      throw error;
    }
  }

  /** Its runner ends when what it runs has ended. */
  #drop(id: string): Promise<void> {
    const isolated = this.#isolated.get(id);
    if (isolated === undefined) return Promise.resolve();
    this.#isolated.delete(id);
    const drained = isolated.then(({ runner, listener }) => this.#drain(id, runner).finally(() => listener.close())).catch(() => {});
    this.#draining.add(drained);
    void drained.finally(() => this.#draining.delete(drained));
    return drained;
  }

  async #drain(id: string, runner: Runner): Promise<void> {
    const endMs = performance.now() + DRAIN_MS_MAX;
    let quietSinceMs = performance.now();
    while (!this.#stopped && performance.now() < endMs) {
      const usage = await runner.usage().then((all) => all[id], () => undefined);
      if (usage === undefined) break;
      if (usage.running + usage.waiting > 0) quietSinceMs = performance.now();
      else if (performance.now() - quietSinceMs >= DRAIN_QUIET_MS) break;
      await new Promise((resolve) => setTimeout(resolve, DRAIN_LOOK_MS));
    }
    await runner.stop();
  }
}
