/**
 * The runs of tasks on this machine: begun by the plan, ended by themselves, by the plan, or by the fence.
 *
 * A runner that ends under a run costs no attempt at first: it begins anew RUNNER_DEATHS_MAX times, as it may be another tenant's doing; then it
 * is told as `runner_gone`. What was stopped or fenced is forgotten, so that the plan begins it again if it is wanted again: at least once is
 * what a task may count on.
 */
import { setTimeout as pause } from "node:timers/promises";
import { EXIT_CODE_ABORTED } from "#chain/codec/taskOperations.ts";
import type { LedgerView, LeaseView } from "#chain/ledger/view.ts";
import type { HostedLease } from "#chain/liveness/host.ts";
import { type Address, type Hex, hex } from "#chain/types.ts";
import type { Task, TaskEnd, TaskRunner } from "#sandbox/sandbox.ts";
import { codeOf, messageOf } from "./error.ts";
import { RETRY_MS_FIRST, RUNNER_DEATHS_MAX } from "./limits.ts";
import type { TaskRun } from "./supervisor/planTask.ts";

/** Of what the tenant deployed, or of what this machine cannot give: the run has failed. All else is tried again. */
const REFUSALS: ReadonlySet<string> = new Set(["load_failed", "limit_invalid", "isolation_full"]);
/** Ended from outside, and nobody's failure. */
const CUT: ReadonlySet<string> = new Set(["stopped", "fenced"]);

export type TasksOptions = {
  readonly runner: TaskRunner;
  /** A line in the log of a deployment. */
  readonly tell: (id: Hex, line: string) => void;
  /** Something ended, or the fence moved. */
  readonly onChange: () => void;
  /** The machine has no room for it, or its code is gone: it is to be begun anew. */
  readonly onFailure: (task: Task, code: string, error: unknown) => void;
};

export class Tasks {
  readonly #options: TasksOptions;
  readonly #runs: Map<Hex, TaskRun> = new Map();
  readonly #mayRun: Set<Hex> = new Set();
  #untilMs: number | null = null;

  constructor(options: TasksOptions) {
    this.#options = options;
  }

  get runs(): ReadonlyMap<Hex, TaskRun> {
    return this.#runs;
  }
  get mayRun(): ReadonlySet<Hex> {
    return this.#mayRun;
  }

  /** Nothing, when the fence has fallen since it was planned. */
  begin(id: Hex, run: number, task: Task): void {
    if (!this.#mayRun.has(id)) return;
    if (this.#untilMs !== null) this.#options.runner.fence(this.#untilMs);
    const entry: TaskRun = { run, end: null };
    this.#runs.set(id, entry);
    void this.#toEnd(id, entry, task);
  }

  /** It cannot begin, by its tenant's own doing. */
  refuse(id: Hex, run: number, reason: string): void {
    this.#runs.set(id, { run, end: { exitCode: EXIT_CODE_ABORTED, reason } });
    this.#options.onChange();
  }

  /** Resolves when nothing of it runs any more. */
  async stop(id: Hex): Promise<void> {
    this.#runs.delete(id);
    await this.#options.runner.stopTask(id);
  }

  /** What the liveness rules say of a lease (L13); a stop takes effect at once, whatever the plan is about. */
  fenced({ kind, lease }: { readonly kind: "start" | "stop"; readonly lease: string }): void {
    const id = lease as Hex;
    if (kind === "start") this.#mayRun.add(id);
    else {
      this.#mayRun.delete(id);
      // How one ended is still to be told, and it is not to be run again.
      if (this.#runs.get(id)?.end === null) void this.stop(id).catch(() => {});
    }
    this.#options.onChange();
  }

  /** Until when the fence is open, on the computer's clock: the runner keeps it even while this process is stopped. Nobody asks who runs nothing. */
  fenceUntil(untilMs: number): void {
    this.#untilMs = untilMs;
    if (this.#runs.size > 0) this.#options.runner.fence(untilMs);
  }

  async #toEnd(id: Hex, entry: TaskRun, task: Task): Promise<void> {
    const isHere = (): boolean => this.#runs.get(id) === entry;
    for (let deaths = 0; isHere();) {
      const ended = await this.#runOnce(id, task);
      if (!isHere()) return;
      if (ended === null) await pause(RETRY_MS_FIRST);
      if (!isHere()) return;
      if (ended === null || CUT.has(ended.code)) {
        this.#runs.delete(id);
        return this.#options.onChange();
      }
      if (ended.code === "runner_gone" && ++deaths < RUNNER_DEATHS_MAX) {
        this.#options.tell(id, "The runner ended: the run begins anew");
        continue;
      }
      this.#options.tell(id, endText(entry.run, ended));
      this.#runs.set(id, { run: entry.run, end: { exitCode: ended.exitCode, reason: ended.code } });
      return this.#options.onChange();
    }
  }

  /** null: it could not begin for now, and that is not its own fault. */
  async #runOnce(id: Hex, task: Task): Promise<Pick<TaskEnd, "exitCode" | "code" | "wallMs"> | null> {
    try {
      return await this.#options.runner.task(task);
    } catch (error) {
      const code = codeOf(error);
      if (!REFUSALS.has(code)) {
        this.#options.onFailure(task, code, error);
        return null;
      }
      this.#options.tell(id, `Cannot start: ${messageOf(error)} (${code})`);
      return { exitCode: EXIT_CODE_ABORTED, code, wallMs: 0 };
    }
  }
}

const endText = (run: number, { exitCode, code, wallMs }: Pick<TaskEnd, "exitCode" | "code" | "wallMs">): string =>
  code === "exit" ? `Run ${run} ended with exit code ${exitCode} after ${wallMs} ms` : `Run ${run} ended by ${code} after ${wallMs} ms`;

/**
 * The tasks that a machine holds leases of, for the fence: services run on whatever witnesses say. Whatever ended the lease last, and wherever, a run of before
 * may not have stopped yet: between it and here may have been a machine that never began.
 */
export const hostedTasks = (view: LedgerView, machine: Address): HostedLease[] => view.leasesOfMachine(machine)
  .filter(({ deploymentId }: LeaseView) => view.task(deploymentId) !== null)
  .map(({ deploymentId, lastEnd }) => ({ id: hex(deploymentId), isFenced: true, isSuccessor: lastEnd !== "" }));

