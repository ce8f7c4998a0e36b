/**
 * Revisions, for the audit: when the leases of one of two revisions end although no operation says so, from the operations alone. Nothing here
 * is the ledger's. Both have their leases paid by `audit.ts`; here is only which of them are the ones that end.
 */
import type { Operation } from "#chain/codec/transaction.ts";

/** Leases of a revision have indices from 0 or from here. */
const SLOT = 256;
const WEIGHT_ALL = 1_000;
type Rollout = { weight: number; healthy: bigint; within: bigint; failuresMax: number; failures: number; unwell: Set<number>; count: number; deadline: bigint; from: bigint | null };
export type Revisions = { replicas: number; slot: number; rollout: Rollout | null; readonly unhealthy: Set<number> };
/** What of a book is asked for here: which leases run, and how to end those of one slot. */
export type Leases = { readonly isRunning: (index: number) => boolean; readonly endAll: (isOf: (index: number) => boolean) => void };

export const newRevisions = (replicas: number): Revisions => ({ replicas, slot: 0, rollout: null, unhealthy: new Set() });
const inSlot = (slot: number) => (index: number): boolean => Math.floor(index / SLOT) === slot;
/** Whether a scale to so many replicas ends this lease. */
export const isBeyond = ({ slot }: Revisions, index: number, replicas: number): boolean => !inSlot(slot)(index) || index - slot * SLOT >= replicas;

/** When its turn comes; null where there is none. */
export const rolloutDue = ({ rollout }: Revisions): bigint | null =>
  rollout === null ? null : rollout.from !== null && rollout.from + rollout.healthy < rollout.deadline ? rollout.from + rollout.healthy : rollout.deadline;

/** At the second of a block, before its transactions; `dry`: when the escrow ran dry since the last block. */
export function passTime(revisions: Revisions, leases: Leases, t: bigint, dry: bigint | null): void {
  const { rollout } = revisions;
  if (rollout === null) return;
  const due = (): bigint => rolloutDue(revisions) as bigint;
  if (dry !== null && dry <= due()) rollout.from = null;
  if (due() <= t) {
    if (rollout.from !== null && rollout.from + rollout.healthy <= t) goOn(revisions, leases, t);
    else abandon(revisions, leases);
  }
  if (dry !== null && revisions.rollout !== null) revisions.rollout.from = null;
}

export function operateRollout(op: Operation, revisions: Revisions, leases: Leases, t: bigint): void {
  const { rollout, slot, replicas, unhealthy } = revisions;
  const isOfRollout = (index: number): boolean => rollout !== null && inSlot(1 - slot)(index);
  if (op.kind === "update") {
    const count = op.weight % WEIGHT_ALL === 0 ? replicas : Math.ceil((replicas * op.weight) / WEIGHT_ALL);
    const [healthy, within] = [BigInt(op.healthySeconds), BigInt(op.deadlineSeconds)];
    revisions.rollout = { weight: op.weight, healthy, within, failuresMax: op.failuresMax, failures: 0, unwell: new Set(), count, deadline: t + within, from: null };
  } else if (op.kind === "promote") goOn(revisions, leases, t);
  else if (op.kind === "rollBack") abandon(revisions, leases);
  else if (op.kind === "ready") [unhealthy, rollout?.unwell].forEach((all) => all?.delete(op.index));
  else if (op.kind === "health" && op.healthy === 1) unhealthy.delete(op.index);
  else if (op.kind === "health" || op.kind === "failed") {
    const isCounted = op.kind === "health" && rollout?.unwell.has(op.index) === true;
    if (op.kind === "health") [unhealthy, rollout?.unwell].forEach((all) => all?.add(op.index));
    if (rollout !== null && isOfRollout(op.index) && !isCounted && ++rollout.failures > rollout.failuresMax) abandon(revisions, leases);
  } else if (op.kind === "scale") revisions.replicas = op.replicas;
  else if (op.kind === "close") revisions.rollout = null;
  look(revisions, leases, t);
}

/** Whether all leases of the new revision are well, and since when. */
export function look({ rollout, slot, unhealthy }: Revisions, leases: Leases, t: bigint): void {
  if (rollout === null) return;
  const all = Array.from({ length: rollout.count }, (_, i) => (1 - slot) * SLOT + i);
  if (!all.every((index) => leases.isRunning(index) && !unhealthy.has(index))) rollout.from = null;
  else rollout.from ??= t;
}

function goOn(revisions: Revisions, leases: Leases, t: bigint): void {
  const { rollout, slot, replicas } = revisions;
  if (rollout === null) return;
  if (rollout.count < replicas) [rollout.count, rollout.deadline, rollout.from] = [replicas, t + rollout.within, null];
  else {
    leases.endAll(inSlot(slot));
    [revisions.slot, revisions.rollout] = [1 - slot, null];
  }
}

function abandon(revisions: Revisions, leases: Leases): void {
  leases.endAll(inSlot(1 - revisions.slot));
  revisions.rollout = null;
}
