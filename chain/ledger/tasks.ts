/**
 * Tasks: deployments of one lease that run to an end (operations 70 to 79).
 *
 * Rules:
 * - A run begins with `ready` and ends with `taskEnded`, in whose second its stream ends. It succeeds when the program ends by itself with 0.
 * - A run that failed is repeated after `backOffSeconds`, twice as long each time, until `attemptsMax` runs have failed. A machine that is gone
 *   is no failure of the task: it is placed again at once, TASK_LOSSES_MAX times. So a task runs at least once, and perhaps more often.
 * - Never two runs at a time: a task does not move, and machines keep the fence (liveness L13).
 * - A machine that says nothing within TASK_REPORT_SECONDS of the most a run may take is not paid for longer: that run failed.
 * - What has ended pays what it owes, gives the rest back, and stays readable for TASK_KEPT_SECONDS, or until its owner closes it.
 */
import { EXITED, EXIT_CODE_ABORTED } from "#chain/codec/taskOperations.ts";
import type { Operation } from "#chain/codec/transaction.ts";
import { type BlockContext, OK, type Origin, type Result, sameBytes } from "#chain/ledger/block.ts";
import { touch } from "#chain/ledger/escrow.ts";
import { endLease, finishClosing, isOpen } from "#chain/ledger/leases.ts";
import { TASK_ATTEMPTS_MAX, TASK_BACK_OFF_SECONDS_MAX, TASK_LOSSES_MAX, TASK_SECONDS_MAX } from "#chain/ledger/limits.ts";
import type { Deployment, Lease } from "#chain/ledger/model.ts";
import { giveBack } from "#chain/ledger/taskRuns.ts";
import { type TaskHeld, taskDue } from "#chain/ledger/taskState.ts";
import { type Address, type Refusal, refuse } from "#chain/types.ts";

type Op<K extends Operation["kind"]> = Extract<Operation, { kind: K }>;
/** The only lease that a task has. */
const INDEX = 0;

/** Nothing of it is wrong that is not of every deployment. */
export function refusalOfTask({ secondsMax, attemptsMax, backOffSeconds }: Op<"runTask">): Refusal | null {
  if (secondsMax < 1 || secondsMax > TASK_SECONDS_MAX) return refuse("bad_task", `Cannot run a task for ${secondsMax} s at most as 1 to ${TASK_SECONDS_MAX} is allowed`);
  if (attemptsMax < 1 || attemptsMax > TASK_ATTEMPTS_MAX) return refuse("bad_task", `Cannot try a task ${attemptsMax} times as 1 to ${TASK_ATTEMPTS_MAX} is allowed`);
  if (backOffSeconds < 1 || backOffSeconds > TASK_BACK_OFF_SECONDS_MAX) return refuse("bad_task", `Cannot wait ${backOffSeconds} s after a failure as 1 to ${TASK_BACK_OFF_SECONDS_MAX} is allowed`);
  return null;
}

/** Its deployment was just made. */
export function beginTask({ state }: BlockContext, id: Address, { secondsMax, attemptsMax, backOffSeconds }: Op<"runTask">): Result {
  state.put({ kind: "task", id, secondsMax, attemptsMax, backOffSeconds, phase: "placing", at: 0n, runs: 0, failures: 0, losses: 0, exitCode: 0, reason: "" });
  return OK;
}

export function taskEnded(context: BlockContext, { deploymentId, run, exitCode, reason }: Op<"taskEnded">, { sender }: Origin): Result {
  const { state } = context;
  const [task, lease] = [state.task(deploymentId), state.lease(deploymentId, INDEX)];
  if (!task || !lease || !isOpen(lease) || !sameBytes(lease.machine, sender)) return refuse("not_ready_here", "Cannot say how the task ended as it does not run here");
  if (run !== task.runs) return refuse("wrong_run", `Cannot say how run ${run} ended as it is run ${task.runs} that is under way`);
  endRun(context, lease, context.second, exitCode, reason);
  return OK;
}

/** The machine says that the run could not begin: that is a failure like another. */
export function taskFailed(context: BlockContext, lease: Lease, cause: string): Result {
  endRun(context, lease, context.second, EXIT_CODE_ABORTED, cause);
  return OK;
}

/** Step 2 of a block: its rest is over, its machine says nothing, or it was kept for long enough. Gives the work that was done. */
export function taskIsDue(context: BlockContext, id: Address): number {
  const { state, second } = context;
  const [task, deployment] = [state.task(id), state.deployment(id)];
  const due = task ? taskDue(task) : null;
  if (!task || !deployment || due === null || due > second) return 1;
  const lease = state.lease(id, INDEX);
  // Its owner ended it while it waited for its turn: nothing becomes of it any more.
  if (deployment.state === "closing") {
    state.put({ ...task, phase: "placing", at: 0n });
    return 1;
  }
  switch (task.phase) {
    case "running":
      // A lease that is not open any more was lost in this block.
      if (lease && isOpen(lease)) endRun(context, lease, due, EXIT_CODE_ABORTED, "wall_time_limit");
      else state.put({ ...task, phase: "placing", at: 0n });
      return 1;
    case "resting":
      if (task.losses >= TASK_LOSSES_MAX) {
        if (lease) endLease(context, lease, second, "failed", "gone");
        finish(context, { ...task, exitCode: EXIT_CODE_ABORTED, reason: "machines_lost" });
        return 1;
      }
      state.put({ ...task, phase: "placing", at: 0n });
      if (lease?.state === "waiting" && deployment.state === "active") state.put({ ...lease, state: "pending", triedHeight: 0 });
      return 1;
    case "ended":
      close(context, deployment);
      return 1;
    case "placing":
      return 1;
  }
}

function endRun(context: BlockContext, lease: Lease, end: bigint, exitCode: number, reason: string): void {
  const { state, second } = context;
  const task = state.task(lease.deploymentId) as TaskHeld;
  const hasSucceeded = reason === EXITED && exitCode === 0;
  const failures = hasSucceeded ? task.failures : task.failures + 1;
  const isLast = hasSucceeded || failures >= task.attemptsMax;
  const machine = lease.machine as Address;
  endLease(context, lease, end, hasSucceeded ? "ended" : "failed", isLast ? "gone" : "waiting");
  const told = { ...task, failures, exitCode, reason };
  const retryAt = isLast ? null : second + restSeconds(task.backOffSeconds, failures);
  context.events.push({ kind: "taskEnded", deploymentId: task.id, machine, run: task.runs, exitCode, reason, retryAt });
  if (retryAt !== null) state.put({ ...told, phase: "resting", at: retryAt });
  else finish(context, told);
}

function restSeconds(first: number, failures: number): bigint {
  const most = BigInt(TASK_BACK_OFF_SECONDS_MAX);
  const seconds = BigInt(first) << BigInt(failures - 1);
  return seconds < most ? seconds : most;
}

function finish(context: BlockContext, task: TaskHeld): void {
  const { state, second } = context;
  state.put({ ...task, phase: "ended", at: second });
  state.put({ ...(state.deployment(task.id) as Deployment), state: "ended", replicas: 0 });
  giveBack(context, task.id);
}

function close(context: BlockContext, deployment: Deployment): void {
  context.state.put({ ...deployment, state: "closing", escrow: touch(deployment.escrow, context.second) });
  // Whatever is not paid by now keeps it for as long; its own second does not come twice.
  const task = context.state.task(deployment.id);
  if (task) context.state.put({ ...task, phase: "placing", at: 0n });
  finishClosing(context, deployment.id);
}
