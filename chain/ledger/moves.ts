/**
 * Leases that move while they run, and the machines that are emptied so: make before break.
 *
 * A lease that moves is `moving`: it serves and is paid where it is, until the machine that it moves to says `ready`. In that second one
 * stream ends and the other opens under the same index: the tenant pays one of them. Where it was it may end what it has begun, unpaid, for
 * `drainSecondsMax`, and holds its capacity as long, or until that machine says that nobody asks any more. What is lost on the way (a successor that does not get ready, or goes down) costs
 * nothing but another try; if the machine that it is on goes first, the successor is what it was placed for.
 */
import type { Operation } from "#chain/codec/transaction.ts";
import { type BlockContext, OK, type Origin, type Result, accountOf, credit, sameBytes } from "#chain/ledger/block.ts";
import { type EscrowResult, open, stop, streamOf, touch } from "#chain/ledger/escrow.ts";
import { cancelSuccessor, dropPredecessor, endLease, extraOf, mayPlace, noteBegun, stateAfterLoss } from "#chain/ledger/leases.ts";
import { type Deployment, type Lease, type Machine, unhealthyUntil } from "#chain/ledger/model.ts";
import { DOWNS_KEPT_MS, STRIKE_SECONDS_MAX } from "#chain/ledger/limits.ts";
import { noteHealth } from "#chain/ledger/rollout.ts";
import { type Address, type Refusal, refuse } from "#chain/types.ts";

type Op<K extends Operation["kind"]> = Extract<Operation, { kind: K }>;

/** From here it looks for another machine; false when it does not run, or nothing is placed for its deployment now. */
export function startMove({ state, events }: BlockContext, lease: Lease, why: "drained" | "unhealthy" | "asked"): boolean {
  const { deploymentId, index, machine } = lease;
  const deployment = state.deployment(deploymentId);
  // Two runs of a task would be on their way at once: it ends where it is.
  if (lease.state !== "ready" || !deployment || !mayPlace(deployment, index) || state.task(deploymentId)) return false;
  state.put({ ...lease, state: "moving", triedHeight: 0, avoid: machine, moves: why === "unhealthy" ? lease.moves + 1 : lease.moves });
  events.push({ kind: "moving", deploymentId, index, machine: machine as Address, why });
  return true;
}

/** The machine that a lease moves to is ready: from this second it is the one that is paid. */
export function arrive(context: BlockContext, lease: Lease, machine: Machine, rate: bigint): Result {
  const { state, second, rules } = context;
  const { deploymentId, index, next } = lease;
  if (next === null || next.rate !== rate) return refuse("wrong_rate", `Cannot be ready at a rate of ${rate} as the lease has ${next?.rate}`);
  const deployment = state.deployment(deploymentId) as Deployment;
  const opened = openAnew(context, deployment, lease, machine, rate);
  if (!opened.ok) return opened;
  state.put({ ...deployment, escrow: opened.escrow, reservedRate: deployment.reservedRate - extraOf(lease, next) });
  dropPredecessor(context, lease);
  const last = { machine: lease.machine as Address, until: second + rules.drainSecondsMax };
  state.put({ ...lease, state: "ready", machine: machine.id, rate, placedAt: next.placedAt, next: null, last, avoid: null, lastEnd: "moved", unhealthyFrom: 0n, rateLost: 0n });
  // As it is now: giving up capacity may have changed it.
  const here = state.machine(machine.id) as Machine;
  if (here.strikes > 0) state.put({ ...here, strikes: 0 });
  context.events.push({ kind: "ended", deploymentId, index, machine: last.machine, end: second, why: "moved" }, { kind: "opened", deploymentId, index, machine: machine.id, rate, second });
  noteBegun(context, lease, machine.id);
  noteHealth(context, deploymentId);
  return OK;
}

/** One stream for the other, in this second. What costs no more than is paid now needs nothing, as with a resize. */
export function openAnew({ second, rules }: BlockContext, { escrow }: Deployment, { index }: Lease, { id, operator }: Machine, rate: bigint): EscrowResult {
  const paid = streamOf(touch(escrow, second), index)?.rate ?? 0n;
  const runwaySecondsMin = rate <= paid ? 0n : rules.runwaySecondsMin;
  return open(stop(escrow, second, index, second), second, [{ index, machine: id, operator, rate }], { ...rules, runwaySecondsMin });
}

/** What a machine that is gone, or boots anew, held beside: leases on their way to it, or away from it. */
export function forgetBeside(context: BlockContext, machine: Address): void {
  const { state } = context;
  for (const lease of state.leasesBeside(machine)) {
    const left = lease.next !== null && sameBytes(lease.next.machine, machine) ? cancelSuccessor(context, lease) : lease;
    if (left.last !== null && sameBytes(left.last.machine, machine)) {
      dropPredecessor(context, left);
      state.put({ ...left, last: null });
    }
  }
}

/** Step 2 of a block: it was unhealthy for too long. */
export function unhealthyIsDue(context: BlockContext, lease: Lease | undefined): number {
  if (lease?.state !== "ready" || lease.unhealthyFrom === 0n || unhealthyUntil(lease) > context.second) return 1;
  // Nothing is placed for it now: it is looked at again later.
  if (!startMove(context, lease, "unhealthy")) context.state.put({ ...lease, unhealthyFrom: context.second, moves: lease.moves + 1 });
  return 1;
}

/** Step 2 of a block: where it was it has had its time. */
export function predecessorIsDue(context: BlockContext, lease: Lease | undefined): number {
  if (!lease || lease.last === null || lease.last.until > context.second) return 1;
  dropPredecessor(context, lease);
  context.state.put({ ...lease, last: null });
  return 1;
}

// ---- Operations ------------------------------------------------------------------------------------------------------------

/**
 * Sender = the operator, or the machine itself that is about to go: nothing comes any more, what runs moves away; or what is still here stays.
 * The machine's own word ends when it comes up again, and changes nothing while its operator's stands.
 */
export function drain(context: BlockContext, op: Op<"drain">, { sender }: Origin): Result {
  const { state, second } = context;
  const isItself = sameBytes(op.machine, sender);
  const known = isItself ? state.machine(sender) : undefined;
  const found = known === undefined ? ownMachine(context, op.machine, sender) : { ok: true as const, machine: known };
  if (!found.ok) return found;
  const { machine } = found;
  if (isItself && machine.draining && !machine.isLeaving) return OK;
  const isDraining = op.draining === 1;
  state.put({ ...machine, draining: isDraining, isLeaving: isDraining && isItself });
  if (machine.draining !== isDraining) context.events.push({ kind: "draining", machine: machine.id, operator: machine.operator, draining: isDraining });
  for (const lease of state.leasesOn(machine.id)) {
    if (!isDraining) {
      if (lease.state === "moving" && lease.next === null) state.put({ ...lease, state: "ready", triedHeight: 0 });
    } else if (lease.state === "placed") endLease(context, lease, second, "drained", stateAfterLoss(state.deployment(lease.deploymentId) as Deployment, lease));
    else startMove(context, lease, "drained");
  }
  if (!isDraining) return OK;
  for (const lease of state.leasesBeside(machine.id)) {
    if (lease.next !== null && sameBytes(lease.next.machine, machine.id)) cancelSuccessor(context, lease);
  }
  return OK;
}

/** Sender = the operator: an empty machine is no part of the grid any more, and its bond comes back. */
export function retire(context: BlockContext, op: Op<"retire">, { sender }: Origin): Result {
  const { state } = context;
  const found = ownMachine(context, op.machine, sender);
  if (!found.ok) return found;
  const { machine } = found;
  if (isResting(context, machine)) return refuse("machine_resting", "Cannot retire the machine yet as it rests after strikes or downs, which a new registration would forget");
  if (machine.leases > 0 || state.lists.first(`u${machine.id.toHex()}`) !== undefined) {
    return refuse("machine_in_use", `Cannot retire the machine as it holds ${machine.leases} leases, or segments of some are not paid: drain it first`);
  }
  state.remove(machine);
  // What its key has signed for an operator up to now registers it no more.
  const account = accountOf(state, machine.id);
  state.put({ ...account, nonce: account.nonce + 1n });
  credit(state, sender, machine.bond);
  context.events.push({ kind: "retired", machine: machine.id, operator: sender, bond: machine.bond });
  return OK;
}

/**
 * Whether it has strikes or downs that retiring would wipe out to its gain. One down of the hour is none, once its rest is over: the next would count as the first, ten seconds
 * less; and a machine that lost its key went down for that, and must come back under another.
 */
function isResting({ second, timeMs }: BlockContext, { strikes, placeableFrom, downs }: Machine): boolean {
  const forgotten = strikes > 0 ? placeableFrom + STRIKE_SECONDS_MAX : placeableFrom;
  return second < forgotten || downs.filter((one) => one > timeMs - DOWNS_KEPT_MS).length > 1;
}

/** Sender = who owns the deployment, or the machine that the lease is on. */
export function move(context: BlockContext, { deploymentId, index }: Op<"move">, { sender }: Origin): Result {
  const { state } = context;
  const deployment = state.deployment(deploymentId);
  if (!deployment) return refuse("unknown_deployment", `Cannot find deployment ${deploymentId.toHex()}`);
  const lease = state.lease(deploymentId, index);
  const machine = lease?.machine ? state.machine(lease.machine) : undefined;
  if (!sameBytes(deployment.owner, sender) && !sameBytes(machine?.operator ?? null, sender)) return refuse("not_owner", `Cannot move lease ${index} as neither it nor its machine is the sender's`);
  if (!lease || !startMove(context, lease, "asked")) return refuse("not_ready", `Cannot move lease ${index} as it is not running, or on its way already`);
  return OK;
}

/** Sender = the machine that a lease has left: it has ended what it had begun, and its capacity is free again. */
export function left(context: BlockContext, { deploymentId, index }: Op<"left">, { sender }: Origin): Result {
  const { state } = context;
  const lease = state.lease(deploymentId, index);
  if (!lease || lease.last === null || !sameBytes(lease.last.machine, sender)) return refuse("not_leaving", `Cannot end what is left of lease ${index} as it has not left this machine, or is gone from it`);
  dropPredecessor(context, lease);
  state.put({ ...lease, last: null });
  return OK;
}

/** Sender = the owner: where its leases may be placed from now on. What runs stays where it is. */
export function constrain(context: BlockContext, deployment: Deployment, { regions, operators, labels }: Op<"constrain">): Result {
  context.state.put({ ...deployment, constraints: { regions: unique(regions), operators, labels: unique(labels) } });
  context.events.push({ kind: "constrained", deploymentId: deployment.id });
  return OK;
}

/** Sender = the operator: what deployments may ask for. */
export function label(context: BlockContext, op: Op<"label">, { sender }: Origin): Result {
  const found = ownMachine(context, op.machine, sender);
  if (!found.ok) return found;
  context.state.put({ ...found.machine, labels: unique(op.labels) });
  context.events.push({ kind: "labelled", machine: op.machine, operator: sender });
  return OK;
}

const unique = (texts: readonly string[]): string[] => [...new Set(texts)].sort();

function ownMachine({ state }: BlockContext, id: Address, sender: Address): { readonly ok: true; readonly machine: Machine } | Refusal {
  const machine = state.machine(id);
  if (!machine) return refuse("machine_unknown", `Cannot find machine ${id.toHex()}`);
  return sameBytes(machine.operator, sender) ? { ok: true, machine } : refuse("not_owner", `Cannot change machine ${id.toHex()} as it belongs to another operator`);
}
