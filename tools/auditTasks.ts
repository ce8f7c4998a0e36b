/**
 * Tasks, for the audit: when a run ends although no operation says so, and when the rest of the deposit goes home, from the operations alone.
 * Nothing here is the ledger's.
 */
import { EXITED } from "#chain/codec/taskOperations.ts";
import type { Operation } from "#chain/codec/transaction.ts";

/** Money seconds: until a machine must have said how a run ended, and for which what has ended stays; and machines that may go down under a task. */
const [REPORT, KEPT, LOSSES_MAX] = [30n, 86_400n, 16];
export type Task = {
  readonly secondsMax: bigint;
  readonly attemptsMax: number;
  failures: number;
  losses: number;
  /** Since when a run is under way. */
  since: bigint | null;
  ended: bigint | null;
};

export const newTask = ({ secondsMax, attemptsMax }: Extract<Operation, { kind: "runTask" }>): Task =>
  ({ secondsMax: BigInt(secondsMax), attemptsMax, failures: 0, losses: 0, since: null, ended: null });

/** The second in which a run ends by itself, if its machine says nothing. */
export const overdueAt = ({ since, secondsMax }: Task): bigint | null => (since === null ? null : since + secondsMax + REPORT);

export function runFailed(task: Task, t: bigint): void {
  [task.since, task.failures] = [null, task.failures + 1];
  if (task.failures >= task.attemptsMax) task.ended = t;
}

/** Its machine is gone. */
export function runLost(task: Task): void {
  if (task.since !== null) [task.since, task.losses] = [null, task.losses + 1];
}

/** At the second of a block, before its transactions, when its leases are as they are. True when it is given up. */
export function isGivenUp(task: Task, t: bigint): boolean {
  if (task.ended !== null || task.losses < LOSSES_MAX) return false;
  [task.since, task.ended] = [null, t];
  return true;
}
export const isForgotten = ({ ended }: Task, t: bigint): boolean => ended !== null && t >= ended + KEPT;

export function operateTask(op: Operation, task: Task, t: bigint): void {
  if (op.kind === "ready") task.since = t;
  else if (op.kind === "failed") runFailed(task, t);
  else if (op.kind === "taskEnded") {
    if (op.reason === EXITED && op.exitCode === 0) [task.since, task.ended] = [null, t];
    else runFailed(task, t);
  }
}
