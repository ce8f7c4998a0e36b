/**
 * Leases: what it means to give one to a machine, to end it, and to pay for it.
 *
 * A lease that is placed or ready holds capacity of its machine; one that is placed reserves its rate in the deployment, one
 * that is ready has a stream in the escrow. These functions keep the three in step; nothing else changes them.
 */
import assert from "node:assert";
import { afterSegment } from "#chain/codec/segment.ts";
import { type BlockContext, credit, sameBytes } from "#chain/ledger/block.ts";
import { type MoneyRules, type Payment, freeOf, isFunded, open, payDue, stop, streamOf, takeFree, touch } from "#chain/ledger/escrow.ts";
import { ABANDONED_SECONDS, DEPLOYMENTS_ARCHIVED_MAX, FAILED_MACHINES_MAX, LEASE_WORK, RATE_RESERVED_MIN, REVISION_SLOT, SEGMENTS_ARCHIVED_MAX } from "#chain/ledger/limits.ts";
import type { Archive, Deployment, Lease, Machine, PaidSegment, Successor } from "#chain/ledger/model.ts";
import { parseId } from "#chain/ledger/state.ts";
import { giveBack, isResting, noteTaskLost } from "#chain/ledger/taskRuns.ts";
import type { LeaseEnd } from "#chain/ledger/view.ts";
import { type Address, hex } from "#chain/types.ts";

/** Whether the lease belongs to a revision that has not been promoted. */
export const isOfRollout = (deployment: Deployment, index: number): boolean => deployment.rollout !== null && slotOf(index) !== deployment.slot;
export const slotOf = (index: number): number => Math.floor(index / REVISION_SLOT);
/** Whether a machine is looked for: a pause is of what serves, and does not keep out the revision that may mend it, nor, before three have failed, a machine where it did not fail. */
export const mayPlace = (deployment: Deployment, index: number): boolean => deployment.state === "active" || (deployment.state === "paused" && (isOfRollout(deployment, index) || !hasFailedEverywhere(deployment)));
/** What becomes of a lease that lost its machine. */
export const stateAfterLoss = (deployment: Deployment, { index }: Lease): "pending" | "waiting" => (mayPlace(deployment, index) ? "pending" : "waiting");

const hasFailedEverywhere = ({ failedMachines }: Deployment): boolean => failedMachines.length >= FAILED_MACHINES_MAX;
export const isPaused = (deployment: Deployment): boolean => hasFailedEverywhere(deployment) || deployment.failures >= FAILED_MACHINES_MAX * Math.max(1, deployment.replicas);
/** Machines that are not to be tried again with what serves: one that fails it for ever uses up its own tries, and not the deployment's. */
export const barredFrom = (deployment: Deployment, index: number): readonly Address[] => (deployment.state === "paused" && !isOfRollout(deployment, index) ? deployment.failedMachines : []);

const mustGet = <T>(value: T | undefined): T => {
  assert(value !== undefined, "a lease's machine and deployment exist");
  return value;
};

export function place(context: BlockContext, lease: Lease, machine: Machine, rate: bigint): void {
  const { state, second } = context;
  const deployment = mustGet(state.deployment(lease.deploymentId));
  useCapacity(context, machine.id, deployment, 1);
  state.put({ ...deployment, reservedRate: deployment.reservedRate + rate });
  state.put({ ...lease, state: "placed", machine: machine.id, rate, placedAt: second, triedHeight: 0 });
  context.events.push({ kind: "placed", deploymentId: lease.deploymentId, index: lease.index, machine: machine.id, rate });
}

/** Placement found a machine for a lease that moves. */
export function placeSuccessor(context: BlockContext, lease: Lease, machine: Machine, rate: bigint): void {
  const { state, second } = context;
  const { deploymentId, index } = lease;
  const deployment = mustGet(state.deployment(deploymentId));
  useCapacity(context, machine.id, deployment, 1);
  const next = { machine: machine.id, rate, placedAt: second };
  state.put({ ...deployment, reservedRate: deployment.reservedRate + extraOf(lease, next) });
  state.put({ ...lease, next, triedHeight: 0 });
  context.events.push({ kind: "placed", deploymentId, index, machine: machine.id, rate });
}

/**
 * Takes a lease from its machine as of `end`; `next` is what becomes of it. One that was on its way to another machine, and is to run on, is
 * placed there.
 */
export function endLease(context: BlockContext, ended: Lease, end: bigint, why: LeaseEnd, next: "pending" | "waiting" | "gone"): void {
  const { state } = context;
  dropPredecessor(context, ended);
  const successor = next === "pending" ? ended.next : null;
  const lease = successor === null ? cancelSuccessor(context, ended) : ended;
  const { machine, deploymentId, index } = lease;
  const paid = streamOf(touch(mustGet(state.deployment(deploymentId)).escrow, context.second), index)?.rate ?? 0n;
  if (machine !== null) {
    let deployment = mustGet(state.deployment(deploymentId));
    useCapacity(context, machine, deployment, -1);
    if (lease.state === "placed") deployment = { ...deployment, reservedRate: deployment.reservedRate - lease.rate };
    if (isOpen(lease)) deployment = { ...deployment, escrow: stop(deployment.escrow, context.second, index, end) };
    const { rollout } = deployment;
    // One of a revision that is not promoted: it is not whole any more, and what serves takes all requests.
    if (rollout !== null && lease.revision === rollout.revision) deployment = { ...deployment, rollout: { ...rollout, healthyFrom: null, weightNow: 0 } };
    state.put(deployment);
    noteTaskLost(context, deploymentId, why);
    // The end of one that ran dry was told when it did.
    if (lease.state !== "dry") context.events.push({ kind: "ended", deploymentId, index, machine, end, why });
  }
  if (next === "gone") return state.remove(lease);
  const isLost = why === "down" || why === "rebooted" || why === "not_ready" || why === "drained";
  const over = { unhealthyFrom: 0n, lastEnd: why, rateLost: !isLost ? 0n : isOpen(lease) ? paid : lease.rateLost, next: null, last: null } as const;
  if (successor !== null) {
    const deployment = mustGet(state.deployment(deploymentId));
    state.put({ ...deployment, reservedRate: deployment.reservedRate + successor.rate - extraOf(lease, successor) });
    state.put({ ...lease, ...over, state: "placed", machine: successor.machine, rate: successor.rate, placedAt: successor.placedAt, triedHeight: 0 });
    return;
  }
  const avoid = why === "not_ready" || why === "failed" || why === "drained" ? machine : why === "rebooted" ? null : lease.avoid;
  state.put({ ...lease, state: next, machine: null, rate: 0n, triedHeight: 0, avoid, ...over });
}

/**
 * The rule of raising as it is for this lease: one that lost its machine has what it paid there, to the last second of the budget, wherever that
 * costs no more; what a failure of somebody's machine does not raise needs no minute in hand.
 */
export const rulesFor = ({ rateLost }: Lease, rate: bigint, rules: MoneyRules): MoneyRules => (rate <= rateLost ? { ...rules, runwaySecondsMin: 1n } : rules);

/** What a lease that moves will cost more than now: reserved until it has moved. */
export const extraOf = ({ rate }: Lease, next: Successor): bigint => (next.rate > rate ? next.rate - rate : 0n);

/** The machine that a lease was to move to holds nothing for it any more; it looks for another. Gives the lease as it is then. */
export function cancelSuccessor(context: BlockContext, lease: Lease): Lease {
  const { state } = context;
  const { next, deploymentId } = lease;
  if (next === null) return lease;
  const deployment = mustGet(state.deployment(deploymentId));
  useCapacity(context, next.machine, deployment, -1);
  state.put({ ...deployment, reservedRate: deployment.reservedRate - extraOf(lease, next) });
  const alone: Lease = { ...lease, next: null, triedHeight: 0 };
  state.put(alone);
  return alone;
}
/** Where a lease was before gives its capacity up; the lease is still to be put without it. */
export function dropPredecessor(context: BlockContext, { deploymentId, last }: Lease): void {
  if (last !== null) useCapacity(context, last.machine, mustGet(context.state.deployment(deploymentId)), -1);
}

/** The due event of an escrow that ran dry closes its leases, which keep their capacity until the placement step of the block. */
export function closeDry(context: BlockContext, id: Address): void {
  const { state } = context;
  const deployment = mustGet(state.deployment(id));
  const second = deployment.escrow.dry as bigint;
  state.put({ ...deployment, state: deployment.state === "active" ? "dry" : deployment.state, escrow: { ...deployment.escrow, dry: null } });
  context.events.push({ kind: "dry", deploymentId: id, second });
  for (const found of state.leasesOf(id)) {
    const lease = cancelSuccessor(context, found);
    if (isOpen(lease)) {
      state.put({ ...lease, state: "dry", lastEnd: "dry" });
      context.events.push({ kind: "ended", deploymentId: id, index: lease.index, machine: lease.machine as Address, end: second, why: "dry" });
    } else if (lease.state === "placed") endLease(context, lease, second, "dry", "waiting");
    else if (lease.state === "pending") state.put({ ...lease, state: "waiting", lastEnd: "dry", rateLost: 0n });
  }
  const { rollout } = deployment;
  if (rollout !== null) state.put({ ...mustGet(state.deployment(id)), rollout: { ...rollout, healthyFrom: null, weightNow: 0 } });
  context.dry.add(hex(id));
}

/**
 * A top-up in the block in which the escrow ran dry puts all leases back where they were, as new segments from now: machines
 * act on final blocks, so nothing has stopped. All of them or none.
 */
export function reopenDry(context: BlockContext, id: Address): void {
  const { state, second, rules } = context;
  const deployment = mustGet(state.deployment(id));
  const leases = state.leasesOf(id).filter((lease) => lease.state === "dry");
  const openings = leases.map(({ index, rate, machine }) => {
    const here = mustGet(state.machine(machine as Address));
    return { index, rate, machine: here.id, operator: here.operator };
  });
  const opened = open(deployment.escrow, second, openings, rules);
  if (!opened.ok) return;
  state.put({ ...deployment, escrow: opened.escrow });
  for (const lease of leases) {
    const { draining } = mustGet(state.machine(lease.machine as Address));
    state.put({ ...lease, state: draining ? "moving" : "ready", lastEnd: "" });
    context.events.push({ kind: "opened", deploymentId: id, index: lease.index, machine: lease.machine as Address, rate: lease.rate, second });
  }
}

/** Before placement: leases that ran dry and were not put back give their capacity up. */
export function releaseDry(context: BlockContext): void {
  const { state, rules } = context;
  for (const name of [...context.dry].sort()) {
    const deployment = state.deployment(parseId(name));
    if (!deployment) continue;
    const isFundedNow = isFunded(deployment.escrow, 1n, rules);
    for (const lease of state.leasesOf(deployment.id)) {
      if (lease.state === "dry") endLease(context, lease, context.second, "dry", isFundedNow ? stateAfterLoss(deployment, lease) : "waiting");
    }
  }
}

/** Its owner or its money came: what waits is looked at again. */
export function wake(context: BlockContext, id: Address): void {
  const { state } = context;
  const deployment = mustGet(state.deployment(id));
  if (deployment.state === "closing" || deployment.state === "ended") return;
  const woken: Deployment = { ...deployment, state: isPaused(deployment) ? "paused" : "active" };
  state.put(woken);
  for (const lease of state.leasesOf(id)) {
    if (lease.state !== "waiting" || !mayPlace(woken, lease.index) || isResting(context, lease)) continue;
    state.spend(LEASE_WORK);
    state.put({ ...lease, state: "pending", triedHeight: 0 });
  }
}

/** It has begun where it did not fail before: what failed was the machines' that said so, and tries are counted anew. */
export function noteBegun({ state }: BlockContext, { deploymentId, index, revision }: Lease, machine: Address): void {
  const deployment = mustGet(state.deployment(deploymentId));
  const { rollout } = deployment;
  if (rollout?.unwell.includes(index) === true) return state.put({ ...deployment, rollout: { ...rollout, unwell: rollout.unwell.filter((one) => one !== index) } });
  if (deployment.failures === 0 || revision !== deployment.revision || deployment.failedMachines.some((one) => sameBytes(one, machine))) return;
  state.put({ ...deployment, failures: 0, state: deployment.state === "paused" && !hasFailedEverywhere(deployment) ? "active" : deployment.state });
}

/**
 * Three machines failed: nothing of what serves is placed before the owner acts. Where fewer have failed so often, only others are looked for. What
 * runs, runs on, and so does a rollout.
 */
export function pause(context: BlockContext, id: Address): void {
  const { state } = context;
  const deployment = mustGet(state.deployment(id));
  state.put({ ...deployment, state: "paused" });
  context.events.push({ kind: "paused", deploymentId: id });
  if (!hasFailedEverywhere(deployment)) return;
  for (const lease of state.leasesIn(id, deployment.slot, deployment.replicas)) {
    if (lease.state === "pending") state.put({ ...lease, state: "waiting" });
    else if (lease.state === "moving" && lease.next === null) state.put({ ...lease, state: "ready" });
  }
}

/**
 * Whether it is anybody's to close: its leases were made for money that is gone, nothing of it runs or waits for payment, and nobody has put any
 * in for long enough. Else whoever lets a deployment run dry, on his own machine, has its leases stand in the state for nothing.
 */
export function mayAbandon({ escrow, replicas }: Pick<Deployment, "escrow" | "replicas">, second: bigint, rules: MoneyRules): boolean {
  const isAtRest = escrow.streams.length === 0 && escrow.ended.length === 0 && escrow.at + ABANDONED_SECONDS <= second;
  return isAtRest && freeOf(escrow) < RATE_RESERVED_MIN * BigInt(replicas) * rules.runwaySecondsMin;
}

/** Pays the segments whose hold is over. */
export function paySegments(context: BlockContext, id: Address): number {
  const { state, second, rules } = context;
  const deployment = mustGet(state.deployment(id));
  const { escrow, payments } = payDue(deployment.escrow, second, rules);
  state.put({ ...deployment, escrow });
  for (const payment of payments) {
    settle(context, id, payment);
    archiveSegment(context, id, payment);
  }
  return payments.length;
}

/** Gives a payment, already taken from the escrow, to the operator and the chain. */
export function settle(context: BlockContext, deploymentId: Address, payment: Payment): void {
  const { state } = context;
  const { index, machine, operator, from, until, amount, share } = payment;
  if (amount === 0n) return;
  credit(state, operator, amount - share);
  const deployment = mustGet(state.deployment(deploymentId));
  state.put({ ...deployment, paid: deployment.paid + amount });
  state.put({ ...state.totals, feePool: state.totals.feePool + share });
  const archive = mustGet(state.archive(deploymentId));
  state.put({ ...archive, paid: archive.paid + amount });
  context.events.push({ kind: "paid", deploymentId, index, machine, operator, from, until, amount, share });
}

/** A segment is paid to its end: it goes into the hash that proves the bill, and into the archive that shows it. */
function archiveSegment({ state }: BlockContext, deploymentId: Address, payment: Payment): void {
  const { machine, operator, index, rate, openedAt, until: end } = payment;
  const deployment = mustGet(state.deployment(deploymentId));
  state.put({ ...deployment, segments: afterSegment(deployment.segments, payment, end) });
  const archive = mustGet(state.archive(deploymentId));
  const segments: PaidSegment[] = [...archive.segments, { machine, operator, index, rate, openedAt, end }];
  let { earlier } = archive;
  while (segments.length > SEGMENTS_ARCHIVED_MAX) {
    const oldest = segments.shift() as PaidSegment;
    const seconds = oldest.end - oldest.openedAt;
    earlier = { segments: earlier.segments + 1, seconds: earlier.seconds + seconds, amount: earlier.amount + oldest.rate * seconds, digest: afterSegment(earlier.digest, oldest, oldest.end) };
  }
  state.put({ ...archive, segments, earlier });
}

/** A closing deployment whose last segment is paid: the rest goes home, and the bill stays readable for a while. */
export function finishClosing(context: BlockContext, id: Address): void {
  const { state } = context;
  giveBack(context, id);
  const deployment = state.deployment(id);
  if (deployment?.state !== "closing" || deployment.escrow.ended.length > 0) return;
  const { escrow, amount } = takeFree(deployment.escrow, context.second);
  assert(escrow.balance === 0n, "a paid escrow is empty after its rest is taken");
  state.remove(deployment);
  const task = state.task(id);
  if (task) state.remove(task);
  credit(state, deployment.owner, amount);
  const before = mustGet(state.archive(id));
  const archive: Archive = { ...before, closedHeight: context.height, refunded: before.refunded + amount };
  state.put(archive);
  context.events.push({ kind: "closed", deploymentId: id, owner: deployment.owner, refunded: amount });
  if (state.sizeOf("z") > DEPLOYMENTS_ARCHIVED_MAX) state.remove(mustGet(state.archive(parseId((state.lists.first("z") as string).slice(9)))));
}

/** Adds to (or with −1, takes from) what leases use on a machine. */
export function useCapacity({ state }: BlockContext, id: Address, { memoryMib, cpuMillis }: Pick<Deployment, "memoryMib" | "cpuMillis">, times: 1 | -1): void {
  const machine = mustGet(state.machine(id));
  const used = { ...machine, memoryMibUsed: machine.memoryMibUsed + times * memoryMib, cpuMillisUsed: machine.cpuMillisUsed + times * cpuMillis, leases: machine.leases + times };
  assert(used.memoryMibUsed >= 0 && used.cpuMillisUsed >= 0 && used.leases >= 0, "a machine gives up no more than it gave");
  state.put(used);
}

/** It is paid: it has a stream. */
export const isOpen = ({ state }: Lease): boolean => state === "ready" || state === "moving";
export const isOn = (lease: Lease | undefined, machine: Address): lease is Lease => lease !== undefined && sameBytes(lease.machine, machine);
