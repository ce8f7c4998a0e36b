/** What becomes of a task as its lease comes and goes (leases.ts): the part that those who change leases call. The rules are those of tasks.ts. */
import { type BlockContext, credit } from "#chain/ledger/block.ts";
import { takeFree } from "#chain/ledger/escrow.ts";
import { TASK_LOSSES_MAX } from "#chain/ledger/limits.ts";
import type { Archive, Lease } from "#chain/ledger/model.ts";
import type { LeaseEnd } from "#chain/ledger/view.ts";
import { type Address, type Refusal, refuse } from "#chain/types.ts";

/** Of what is done to services only. */
export const refusalIfTask = ({ state }: BlockContext, id: Address, what: string): Refusal | null =>
  state.task(id) ? refuse("is_task", `Cannot ${what} deployment ${id.toHex()} as it is a task`) : null;

/** Its machine was ready, and is paid from this second. */
export function noteTaskRuns({ state, second }: BlockContext, id: Address): void {
  const task = state.task(id);
  if (task) state.put({ ...task, phase: "running", at: second, runs: task.runs + 1 });
}

/** Its lease left a machine, and nobody said how the run ended. */
export function noteTaskLost({ state, second }: BlockContext, id: Address, why: LeaseEnd): void {
  const task = state.task(id);
  if (task?.phase !== "running") return;
  const losses = why === "down" || why === "rebooted" ? task.losses + 1 : task.losses;
  // What takes every machine down that it runs on is given up as soon as something is due.
  const isGivenUp = losses >= TASK_LOSSES_MAX;
  state.put({ ...task, losses, phase: isGivenUp ? "resting" : "placing", at: isGivenUp ? second : 0n });
}

/** Whether its lease waits for the end of a rest, and not for money. */
export const isResting = ({ state }: BlockContext, { deploymentId }: Lease): boolean => state.task(deploymentId)?.phase === "resting";

/** The rest of the deposit of what has ended goes home with its last payment. */
export function giveBack(context: BlockContext, id: Address): void {
  const { state, second } = context;
  const deployment = state.deployment(id);
  if (deployment?.state !== "ended" || deployment.escrow.ended.length > 0) return;
  const { escrow, amount } = takeFree(deployment.escrow, second);
  if (amount === 0n) return;
  state.put({ ...deployment, escrow });
  credit(state, deployment.owner, amount);
  const archive = state.archive(id) as Archive;
  state.put({ ...archive, refunded: archive.refunded + amount });
  context.events.push({ kind: "refunded", deploymentId: id, owner: deployment.owner, amount });
}
