/**
 * The part of the plan that is about tasks: what runs to an end, and only once at a time. Pure, as plan.ts.
 *
 * Rules:
 * - A lease of a task is told `ready` when its component and configuration are here and the fence is open (liveness L13), which is also when a
 *   successor has waited. It runs once `ready` is final: so everything that it does is paid for.
 * - One run here for each run that the ledger counts. How it ended is told until the ledger knows.
 * - What is not wanted any more is stopped: the lease is gone, the ledger counts another run, or the fence is down and it has not ended by itself.
 */
import type { Hex } from "#chain/types.ts";
import type { Action, DeploymentHere, Desired, Lease, Observed } from "./plan.ts";

/** How a run ended, for the ledger. */
export type RunEnd = { readonly exitCode: number; readonly reason: string };
/** A run that was begun here; `end` is null while it goes on. */
export type TaskRun = { readonly run: number; readonly end: RunEnd | null };
export type TaskAction =
  | { readonly kind: "startTask"; readonly key: string; readonly deployment: DeploymentHere; readonly run: number }
  | { readonly kind: "stopTask"; readonly key: string; readonly id: Hex }
  | { readonly kind: "sendEnded"; readonly key: string; readonly id: Hex; readonly run: number; readonly end: RunEnd };

/** Everything that it needs is here. */
export function planTask(deployment: DeploymentHere, observed: Observed): Action[] {
  const { id, leases: [lease], task } = deployment;
  if (lease === undefined || task === undefined || !observed.mayRun.has(id)) return [];
  if (lease.stage === "placed") return [{ kind: "sendReady", key: `ready/${id}/${lease.index}/${lease.rate}`, id, index: lease.index, rate: lease.rate }];
  const here = observed.tasks.get(id);
  // One key for all that a task does: a stop that is under way goes first.
  if (here?.run !== task.run) return here === undefined ? [{ kind: "startTask", key: `task/${id}`, deployment, run: task.run }] : [];
  return here.end === null ? [] : [{ kind: "sendEnded", key: `ended/${id}/${here.run}`, id, run: here.run, end: here.end }];
}

/** What runs, or ran, here and is no longer wanted. */
export function planTaskStops(desired: Desired, observed: Observed): Action[] {
  const wanted = new Map(desired.bootId === observed.bootId ? desired.deployments.flatMap((one) => (isToRun(one) ? [[one.id, one.task?.run] as const] : [])) : []);
  return [...observed.tasks].filter(([id, { run, end }]) => wanted.get(id) !== run || (end === null && !observed.mayRun.has(id))).map(([id]) => ({ kind: "stopTask", key: `task/${id}`, id }));
}

const isToRun = ({ leases }: DeploymentHere): boolean => leases.some(({ stage }: Lease) => stage === "ready");
