/**
 * A new revision beside the one that serves: placed, watched, and then promoted or rolled back by the ledger itself, whoever is gone.
 *
 * Rules:
 * - At most two revisions. Each has its leases in a slot of its own, and both are paid while they run, to the unit.
 * - Healthy is a rollout all of whose leases are ready and answer as they should. From then on it takes its weight of the requests; any
 *   lease that is lost, fails or does not answer sends all of them back to what served before, which runs on until the promotion.
 * - Healthy for `healthySeconds` without a break: a canary gets the rest of its leases and the same time again, what has them is promoted.
 * - More than `failuresMax` failures, or the deadline: it is rolled back, with its cause.
 * Seconds are money seconds: a chain that stands still promotes nobody and gives up on nobody.
 */
import assert from "node:assert";
import type { Operation } from "#chain/codec/transaction.ts";
import { type BlockContext, OK, type Origin, type Result, sameBytes } from "#chain/ledger/block.ts";
import { freeOf, touch } from "#chain/ledger/escrow.ts";
import { endLease, isOfRollout, isOn, isOpen, wake } from "#chain/ledger/leases.ts";
import { DEADLINE_SECONDS_MAX, HEALTHY_SECONDS_MAX, HISTORY_MAX, LEASE_WORK, REVISION_SLOT, ROLLOUT_FAILURES_MAX, WEIGHT_MAX } from "#chain/ledger/limits.ts";
import { type Deployment, type Lease, type Rollout, type Version, rolloutDue } from "#chain/ledger/model.ts";
import { ceilingRefusal } from "#chain/ledger/ceiling.ts";
import { cheapestRate } from "#chain/ledger/placement.ts";
import { lookSooner } from "#chain/ledger/scalingWait.ts";
import { type Address, type Refusal, refuse } from "#chain/types.ts";

type Op<K extends Operation["kind"]> = Extract<Operation, { kind: K }>;

export const newLease = (deploymentId: Address, index: number, revision: number): Lease => ({
  kind: "lease", deploymentId, index, state: "pending", machine: null, rate: 0n, placedAt: 0n, triedHeight: 0, avoid: null, lastEnd: "", revision, unhealthyFrom: 0n, moves: 0, rateLost: 0n,
  next: null, last: null,
});

/** Makes leases `from` to `to` of a revision, which look for machines. */
export function addLeases({ state }: BlockContext, id: Address, slot: number, revision: number, from: number, to: number): void {
  state.spend(Math.max(0, to - from) * LEASE_WORK);
  for (let index = from; index < to; index++) state.put(newLease(id, slot * REVISION_SLOT + index, revision));
}

export function update(context: BlockContext, deployment: Deployment, op: Op<"update">): Result {
  const { state, second, rules } = context;
  const { id, slot, replicas } = deployment;
  if (deployment.rollout !== null) return refuse("rollout_under_way", `Cannot update deployment ${id.toHex()} as revision ${deployment.rollout.revision} is on its way: promote it or roll it back`);
  if (op.weight > WEIGHT_MAX) return refuse("bad_weight", `Cannot give ${op.weight} per mille of the requests`);
  if (op.healthySeconds > HEALTHY_SECONDS_MAX || op.deadlineSeconds > DEADLINE_SECONDS_MAX || op.deadlineSeconds <= op.healthySeconds || op.failuresMax > ROLLOUT_FAILURES_MAX) {
    return refuse("bad_health_rule", `Cannot wait for ${op.healthySeconds} s of health within ${op.deadlineSeconds} s and with ${op.failuresMax} failures`);
  }
  if (sameVersion(deployment, op)) return refuse("same_version", `Cannot update deployment ${id.toHex()} to what it runs`);
  const count = op.weight === 0 || op.weight === WEIGHT_MAX ? replicas : Math.ceil((replicas * op.weight) / WEIGHT_MAX);
  const escrow = touch(deployment.escrow, second);
  const more = cheapestRate(state, deployment.memoryMib, deployment.cpuMillis) * BigInt(count);
  if (escrow.dry !== null || freeOf(escrow) < (escrow.rate + deployment.reservedRate + more) * rules.runwaySecondsMin) {
    return refuse("insufficient_funds", `Cannot run ${count} more leases beside what serves as the escrow does not hold ${rules.runwaySecondsMin} seconds of it`);
  }
  const over = ceilingRefusal(context, id, more);
  if (over !== null) return over;
  const revision = deployment.revisionLast + 1;
  const { componentDigest, configurationDigest, weight, healthySeconds, deadlineSeconds, failuresMax } = op;
  const rollout: Rollout = {
    revision, componentDigest, configurationDigest, weight, weightNow: 0, replicas: count, healthySeconds, deadlineSeconds, failuresMax, failures: 0, unwell: [],
    deadline: second + BigInt(deadlineSeconds), healthyFrom: null,
  };
  state.put({ ...deployment, revisionLast: revision, rollout, rolledBack: "", failures: 0, failedMachines: [], lastFailure: "" });
  addLeases(context, id, 1 - slot, revision, 0, count);
  context.events.push({ kind: "updated", deploymentId: id, revision });
  wake(context, id);
  noteHealth(context, id);
  return OK;
}

export function promote(context: BlockContext, deployment: Deployment): Result {
  const { rollout } = deployment;
  if (rollout === null) return noRollout(deployment);
  if (rollout.replicas >= deployment.replicas && rollout.healthyFrom === null) {
    return refuse("rollout_not_ready", `Cannot promote revision ${rollout.revision} as not all of its leases are ready and healthy`);
  }
  goOn(context, deployment.id);
  return OK;
}

export function rollBack(context: BlockContext, deployment: Deployment): Result {
  if (deployment.rollout === null) return noRollout(deployment);
  abandon(context, deployment.id, "owner");
  return OK;
}

/** A machine says whether a lease that it runs answers as it should. */
export function health(context: BlockContext, { deploymentId, index, healthy, cause }: Op<"health">, { sender }: Origin): Result {
  const { state, second } = context;
  const lease = state.lease(deploymentId, index);
  if (!isOn(lease, sender) || !isOpen(lease) || state.task(deploymentId)) return refuse("not_ready_here", `Cannot tell of the health of lease ${index} as it is not ready here`);
  if ((lease.unhealthyFrom === 0n) === (healthy === 1)) return refuse("health_known", `Cannot tell again of the health of lease ${index}`);
  // A second of money time can be 0; that of a fault is never.
  state.put({ ...lease, unhealthyFrom: healthy === 1 ? 0n : second > 0n ? second : 1n, moves: healthy === 1 ? 0 : lease.moves });
  context.events.push({ kind: "health", deploymentId, index, machine: sender, healthy: healthy === 1, cause });
  noteHealth(context, deploymentId);
  if (healthy === 0) noteUnwell(context, lease, `unhealthy: ${cause}`);
  return OK;
}

/** A machine that goes to and fro would use up all failures of a rollout alone. */
function noteUnwell(context: BlockContext, lease: Lease, cause: string): void {
  const { state } = context;
  const deployment = state.deployment(lease.deploymentId);
  if (!deployment?.rollout || !isOfRollout(deployment, lease.index) || deployment.rollout.unwell.includes(lease.index)) return;
  state.put({ ...deployment, rollout: { ...deployment.rollout, unwell: [...deployment.rollout.unwell, lease.index].sort((a, b) => a - b) } });
  noteFailure(context, lease, cause);
}

/** Counts a failure against a rollout; false when the lease is none of one. */
export function noteFailure(context: BlockContext, { deploymentId, index }: Lease, cause: string): boolean {
  const { state } = context;
  const deployment = state.deployment(deploymentId);
  if (!deployment?.rollout || !isOfRollout(deployment, index)) return false;
  const rollout = { ...deployment.rollout, failures: deployment.rollout.failures + 1 };
  state.put({ ...deployment, rollout });
  if (rollout.failures > rollout.failuresMax) abandon(context, deploymentId, cause);
  return true;
}

/** After a lease became ready, or its health changed: whether all of the rollout is well, and since when. */
export function noteHealth({ state, second }: BlockContext, id: Address): void {
  const deployment = state.deployment(id);
  if (!deployment?.rollout) return;
  const { rollout, slot } = deployment;
  const isHealthy = state.leasesIn(id, 1 - slot, rollout.replicas).every((lease) => isOpen(lease) && lease.unhealthyFrom === 0n);
  if (isHealthy === (rollout.healthyFrom !== null)) return;
  state.put({ ...deployment, rollout: { ...rollout, healthyFrom: isHealthy ? second : null, weightNow: isHealthy ? rollout.weight : 0 } });
}

/** Step 2 of a block: what it was healthy for is over, or the deadline has come. Gives the work that was done. */
export function rolloutIsDue(context: BlockContext, id: Address): number {
  const { second } = context;
  const deployment = context.state.deployment(id);
  if (!deployment?.rollout || rolloutDue(deployment.rollout) > second) return 1;
  const { rollout, replicas } = deployment;
  const isHealthy = rollout.healthyFrom !== null && rollout.healthyFrom + BigInt(rollout.healthySeconds) <= second;
  if (isHealthy) goOn(context, id);
  else abandon(context, id, deployment.lastFailure === "" ? "deadline" : `deadline: ${deployment.lastFailure}`);
  return 1 + replicas;
}

/** The next stage: all leases for a canary, everything for what has them. */
function goOn(context: BlockContext, id: Address): void {
  const { state, second } = context;
  const deployment = state.deployment(id) as Deployment;
  const rollout = deployment.rollout as Rollout;
  if (rollout.replicas < deployment.replicas) {
    state.put({ ...deployment, rollout: { ...rollout, replicas: deployment.replicas, deadline: second + BigInt(rollout.deadlineSeconds), healthyFrom: null } });
    addLeases(context, id, 1 - deployment.slot, rollout.revision, rollout.replicas, deployment.replicas);
    context.events.push({ kind: "widened", deploymentId: id, revision: rollout.revision, replicas: deployment.replicas });
    return;
  }
  for (const lease of state.leasesIn(id, deployment.slot, deployment.replicas)) endLease(context, lease, second, "replaced", "gone");
  const now = state.deployment(id) as Deployment;
  const { revision, componentDigest, configurationDigest } = rollout;
  const past: Version = { revision: now.revision, componentDigest: now.componentDigest, configurationDigest: now.configurationDigest };
  const history = [past, ...now.history.filter((version) => !sameVersion(version, past) && !sameVersion(version, rollout))].slice(0, HISTORY_MAX);
  state.put({ ...now, revision, componentDigest, configurationDigest, slot: now.slot === 0 ? 1 : 0, rollout: null, history, failures: 0, failedMachines: [], lastFailure: "" });
  context.events.push({ kind: "promoted", deploymentId: id, revision });
  lookSooner(context, id);
  // What it was paused for is gone.
  if (now.state === "paused") wake(context, id);
}

/** Ends a rollout: what served serves on. */
function abandon(context: BlockContext, id: Address, cause: string): void {
  const { state, second } = context;
  const deployment = state.deployment(id) as Deployment;
  const { rollout, slot } = deployment;
  assert(rollout !== null, "only what is on its way is taken back");
  for (const lease of state.leasesIn(id, 1 - slot, rollout.replicas)) endLease(context, lease, second, "rolled_back", "gone");
  state.put({ ...(state.deployment(id) as Deployment), rollout: null, rolledBack: cause });
  lookSooner(context, id);
  context.events.push({ kind: "rolledBack", deploymentId: id, revision: rollout.revision, cause });
}

const noRollout = ({ id }: Deployment): Refusal => refuse("no_rollout", `Cannot do this as no other revision of deployment ${id.toHex()} is on its way`);
type Digests = Pick<Version, "componentDigest" | "configurationDigest">;
const sameVersion = (a: Digests, b: Digests): boolean =>
  sameBytes(a.componentDigest, b.componentDigest) && (a.configurationDigest === null ? b.configurationDigest === null : sameBytes(a.configurationDigest, b.configurationDigest));
