/**
 * Why a replica is where it is, or runs nowhere: the ledger's rule of placement (chain/ledger/offer.ts) over what a machine's API says of the
 * others, as sentences. Pure.
 */
import type { Deployment, Lease, Machine, TaskAnswer } from "./answers.ts";
import { lackOf } from "./forecast.ts";
import { rateText } from "./money.ts";
import { nextStepText } from "./scaling.ts";
import { endText } from "./task.ts";

export type Reason = { readonly name: string; readonly index: number; readonly revision: number; readonly state: string; readonly machine: string | null; readonly why: string };

const ENDS: Readonly<Record<string, string>> = {
  failed: "it failed on its machine", not_ready: "its machine did not get it ready in time", rebooted: "its machine started anew", down: "its machine went down", drained: "its machine is being emptied",
  dry: "the escrow ran dry", unfunded: "the escrow does not hold a minute of it: godwit topup", moved: "it moved here",
};

export function reasonsOf(deployment: Deployment, machines: readonly Machine[], second: bigint): Reason[] {
  const { name, leases, task } = deployment;
  if (task !== null && task.phase === "ended") return [{ name, index: 0, revision: 1, state: "ended", machine: null, why: whyOfTask(task) }];
  return leases.map((lease) => ({ name, index: lease.index, revision: lease.revision, state: lease.state, machine: lease.machine, why: whyOf(deployment, lease, machines, second) }));
}

function whyOf(deployment: Deployment, lease: Lease, machines: readonly Machine[], second: bigint): string {
  const { rollout, state, failure, rolledBack } = deployment;
  const parts: string[] = deployment.task === null ? [] : [whyOfTask(deployment.task)];
  const end = lease.lastEnd === null ? undefined : (ENDS[lease.lastEnd] ?? lease.lastEnd);
  if (lease.state === "ready") parts.push(lease.standbyRate === null ? `${deployment.task === null ? "serves" : "runs"} at ${rateText(lease.rate)}` : `on standby at ${rateText(lease.standbyRate)}: wakes at the next request, at ${rateText(lease.rate)}`);
  if (lease.state === "placed") parts.push(`is being loaded, at ${rateText(lease.rate)}`);
  if (end !== undefined) parts.push(end);
  if (lease.unhealthyFrom !== null) parts.push(`does not answer its health path since second ${lease.unhealthyFrom}`);
  if (lease.state === "moving") parts.push(lease.next === null ? `looks for another machine: ${missingOf(deployment, lease, machines, second)}` : `moves to ${lease.next}, and serves here until that is ready`);
  if (lease.state === "pending") parts.push(`looks for a machine: ${missingOf(deployment, lease, machines, second)}`);
  if ((lease.state === "waiting" || lease.state === "failed") && deployment.task?.phase !== "resting") parts.push(`waits for its owner${state === "active" ? "" : ` (${state})`}${failure === null ? "" : `: ${failure}`}`);
  if (rollout !== null && lease.revision === rollout.revision) {
    parts.push(rollout.healthyFrom === null ? `new version, not ready and healthy yet: rolled back at second ${rollout.deadline}` : `new version, healthy since second ${rollout.healthyFrom}: promoted after ${rollout.healthySeconds} s, has ${rollout.weightNow} of 1000 requests`);
  } else if (rolledBack !== null) parts.push(`a new version was rolled back: ${rolledBack}`);
  if (deployment.scaling !== null && lease.state === "ready" && rollout === null) parts.push(nextStepText(deployment.scaling, deployment.replicas));
  return parts.join("; ");
}

/** How often it ran, how the last run ended, and when the next begins. */
function whyOfTask({ phase, at, runs, failures, losses, attemptsMax, exitCode, reason }: TaskAnswer): string {
  const parts = [phase === "ended" ? `ended in second ${at} after ${runs} runs: ${endText({ exitCode, reason })}` : phase === "resting" ? `run ${runs} failed (${endText({ exitCode, reason })}), the next begins in second ${at}` : `run ${phase === "running" ? runs : runs + 1}`];
  if (failures > 0) parts.push(`${failures} of ${attemptsMax} attempts failed`);
  if (losses > 0) parts.push(`its machine was lost ${losses} times`);
  return parts.join(", ");
}

/** What is in the way of one more lease on each machine. */
function missingOf(deployment: Deployment, lease: Lease, machines: readonly Machine[], second: bigint): string {
  const others = machines.filter(({ id }) => id !== lease.machine);
  return lackOf(deployment, others, second) ?? "one has room, and takes it in the next block";
}
