/**
 * Scaling: how many replicas a deployment has is decided here, from what the machines that run it say crossed a threshold; and replicas that
 * have nothing to do are on standby (design 4.1).
 *
 * Rules:
 * - A machine speaks of leases that it runs, of each at most once in LOAD_SECONDS_MIN, and only when what it says has changed. A lie moves the
 *   number within min..max at most, by a step in each `scaleUpSeconds`, and what comes is placed with the liar's operator last of all.
 * - A step up needs all leases to run, so that the last one shows first; money for a minute of what comes; and room under the ceiling. Neither
 *   it nor anything else (deploy, resize, a new revision, waking, a dearer machine) makes a deployment cost more than its ceiling.
 * - While another revision is on its way no step is taken: what waits is taken after it. `scale` by hand is refused then, as ever; else it sets
 *   the number within min..max, and the ledger goes on from there.
 * - A lease on standby stays where it is, with its capacity, at STANDBY_BPS of its rate. Its machine wakes it by itself and tells the ledger:
 *   from the block that takes `wake` it pays the full rate, up to its last second with a request as `standby` says, one second at least. One
 *   that cannot be paid for a minute when it wakes ends (`unfunded`). Anything else that makes its stream anew wakes it as well.
 */
import { type ScalingOperation, METRICS } from "#chain/codec/scalingOperations.ts";
import { type BlockContext, OK, type Origin, type Result, sameBytes } from "#chain/ledger/block.ts";
import { freeOf, open, reprice, stop, streamOf, touch } from "#chain/ledger/escrow.ts";
import { ceilingRefusal } from "#chain/ledger/ceiling.ts";
import { endLease, isOn, isOpen, wake as wakeWaiting } from "#chain/ledger/leases.ts";
import { CONCURRENCY_MAX, CPU_SHARE_PERMILLE_MAX, LOAD_SECONDS_MIN, REQUESTS_PER_SECOND_MAX } from "#chain/ledger/limits.ts";
import type { Deployment, Lease } from "#chain/ledger/model.ts";
import { cheapestRate } from "#chain/ledger/placement.ts";
import { addLeases } from "#chain/ledger/rollout.ts";
import type { Level, ScalingHeld } from "#chain/ledger/scalingHeld.ts";
import { leastOf, standbyRate, stepOf, verdictOf } from "#chain/ledger/scalingRule.ts";
import type { State } from "#chain/ledger/state.ts";
import { type Address, type Refusal, hex, refuse } from "#chain/types.ts";

type Op<K extends ScalingOperation["kind"]> = Extract<ScalingOperation, { kind: K }>;
const TARGETS_MAX: readonly number[] = [CPU_SHARE_PERMILLE_MAX, CONCURRENCY_MAX, REQUESTS_PER_SECOND_MAX];

/** It costs less than its rate: nothing else makes a stream so. */
export const isOnStandby = (deployment: Deployment, lease: Lease): boolean => {
  const stream = streamOf(deployment.escrow, lease.index);
  return stream !== undefined && stream.rate < lease.rate;
};

// ---- Operations --------------------------------------------------------------------------------------------------------------

/** Sender = the owner (checked). */
export function autoscale(context: BlockContext, deployment: Deployment, op: Op<"autoscale">): Result {
  const { state, rules } = context;
  const { id, rollout } = deployment;
  if (rollout !== null) return refuse("rollout_under_way", `Cannot change the scaling as revision ${rollout.revision} is on its way: promote it or roll it back`);
  const { min, max, metric, target, rateMax } = op;
  const before = state.scaling(id);
  if (max === 0) return before === undefined ? refuse("no_scaling", `Cannot end the scaling of deployment ${id.toHex()} as it has none`) : endScaling(context, deployment, before);
  const isBad = min > max || max > rules.replicasMax || metric >= METRICS.length || target < 1 || target > (TARGETS_MAX[metric] as number);
  if (isBad) return refuse("bad_scaling", `Cannot scale from ${min} to ${max} by ${target} of metric ${metric}`);
  const made: ScalingHeld = { kind: "scaling", id, min, max, metric, target, rateMax, told: [], verdict: 1, due: null, grownFrom: 0, reporters: [] };
  // What was told was of another target.
  state.put(made);
  const woken = min > 0 ? wakeAll(context, deployment) : OK;
  if (!woken.ok) return woken;
  const now = Math.min(max, Math.max(leastOf(op), deployment.replicas));
  const scaled = now === deployment.replicas ? OK : scaleTo(context, state.deployment(id) as Deployment, now);
  if (!scaled.ok) return scaled;
  lookAt(context, id, true);
  context.events.push({ kind: "scalingSet", deploymentId: id, min, max });
  return ceilingRefusal(context, id) ?? OK;
}

function endScaling(context: BlockContext, deployment: Deployment, held: ScalingHeld): Result {
  const woken = wakeAll(context, deployment);
  if (!woken.ok) return woken;
  context.state.remove(held);
  context.events.push({ kind: "scalingSet", deploymentId: held.id, min: 0, max: 0 });
  return OK;
}

/** The rule goes with what it is of. */
export function forgetScaling({ state }: BlockContext, id: Address): void {
  const held = state.scaling(id);
  if (held) state.remove(held);
}

export function load(context: BlockContext, { deploymentId, index, level }: Op<"load">, { sender }: Origin): Result {
  const { state, second } = context;
  const found = heldFor(context, deploymentId, index, sender);
  if (!found.ok) return found;
  const { held, lease, deployment } = found;
  if (level > 2) return refuse("bad_level", `Cannot take a level of ${level}`);
  if (isOnStandby(deployment, lease)) return refuse("on_standby", `Cannot tell of the load of lease ${index} as it is on standby`);
  const before = held.told.find((one) => one.index === index && sameBytes(one.machine, sender));
  if ((before?.level ?? 1) === level) return refuse("load_known", `Cannot tell again of the load of lease ${index}`);
  if (before && second < before.at + LOAD_SECONDS_MIN) return refuse("too_soon", `Cannot tell of the load of lease ${index} more than once in ${LOAD_SECONDS_MIN} seconds`);
  const paid = new Map(deployment.escrow.streams.map((stream) => [stream.index, stream.machine]));
  const others = held.told.filter((one) => one.index !== index && sameBytes(paid.get(one.index) ?? null, one.machine));
  const told = [...others, { index, machine: sender, level: level as Level, at: second }].sort((a, b) => a.index - b.index);
  state.put({ ...held, told });
  context.events.push({ kind: "load", deploymentId, index, machine: sender, level });
  lookAt(context, deploymentId, false);
  return OK;
}

/** A request came: the full rate from now on, or the end where there is no money for a minute of it. */
export function wake(context: BlockContext, { deploymentId, index }: Op<"wake">, { sender }: Origin): Result {
  const { state, second, rules } = context;
  const found = heldFor(context, deploymentId, index, sender);
  if (!found.ok) return found;
  const { lease, deployment } = found;
  if (!isOnStandby(deployment, lease)) return refuse("not_on_standby", `Cannot wake lease ${index} as it is not on standby`);
  const repriced = reprice(deployment.escrow, second, new Map([[index, lease.rate]]), rules);
  if (repriced.ok) {
    state.put({ ...deployment, escrow: repriced.escrow });
    context.events.push({ kind: "woken", deploymentId, index, machine: sender, rate: lease.rate, second });
  } else if (repriced.code === "insufficient_funds") endLease(context, lease, second, "unfunded", "waiting");
  else return repriced;
  lookAt(context, deploymentId, false);
  return OK;
}

export function standby(context: BlockContext, { deploymentId, index, idleSeconds }: Op<"standby">, { sender }: Origin): Result {
  const { state, second, rules } = context;
  const found = heldFor(context, deploymentId, index, sender);
  if (!found.ok) return found;
  const { held, lease, deployment } = found;
  const rate = standbyRate(lease.rate);
  if (held.min > 0 || rate >= lease.rate) return refuse("no_standby", `Cannot put lease ${index} on standby as its deployment wants none, or it would save nothing`);
  if (lease.state !== "ready" || deployment.rollout !== null) return refuse("lease_busy", `Cannot put lease ${index} on standby as it moves, or another revision is on its way`);
  if (isOnStandby(deployment, lease)) return refuse("on_standby", `Cannot put lease ${index} on standby again`);
  const escrow = touch(deployment.escrow, second);
  const stream = streamOf(escrow, index);
  if (stream === undefined || second <= stream.openedAt) return refuse("too_soon", `Cannot put lease ${index} on standby in the second in which it began`);
  // Its last second with a request; the one it began in is one.
  const end = second - BigInt(idleSeconds) > stream.openedAt ? second - BigInt(idleSeconds) : stream.openedAt + 1n;
  const { machine, operator } = stream;
  const opened = open(stop(escrow, second, index, end), second, [{ index, machine, operator, rate }], { ...rules, runwaySecondsMin: 0n });
  if (!opened.ok) return opened;
  state.put({ ...deployment, escrow: opened.escrow });
  context.events.push({ kind: "standby", deploymentId, index, machine: sender, rate, second });
  lookAt(context, deploymentId, false);
  return OK;
}

/** `scale` by hand: within what the rule allows. */
export function outsideOf(state: State, id: Address, replicas: number): Refusal | null {
  const held = state.scaling(id);
  if (held === undefined || (replicas >= leastOf(held) && replicas <= held.max)) return null;
  return refuse("outside_scaling", `Cannot scale to ${replicas} as the rule of the deployment says ${leastOf(held)} to ${held.max}`);
}

/** Makes leases, or ends the last ones. There must be money for a minute of what comes. */
export function scaleTo(context: BlockContext, before: Deployment, replicas: number): Result {
  const { state, second, rules } = context;
  const { id } = before;
  if (replicas > before.replicas) {
    const escrow = touch(before.escrow, second);
    // Those that look for a machine still, too: else one minute's money would make 256 leases, one after the other.
    const placed = state.leasesOf(id).filter(({ machine }) => machine !== null).length;
    const more = cheapestRate(state, before.memoryMib, before.cpuMillis) * BigInt(replicas - placed);
    if (freeOf(escrow) < (escrow.rate + before.reservedRate + more) * rules.runwaySecondsMin) return refuse("insufficient_funds", `Cannot scale to ${replicas} as the escrow does not hold ${rules.runwaySecondsMin} seconds of it`);
  }
  for (const lease of state.leasesIn(id, before.slot, before.replicas).slice(replicas)) endLease(context, lease, second, "scaled", "gone");
  addLeases(context, id, before.slot, before.revision, before.replicas, replicas);
  state.put({ ...(state.deployment(id) as Deployment), replicas, failures: 0, failedMachines: [], lastFailure: "" });
  wakeWaiting(context, id);
  lookAt(context, id, true);
  return OK;
}

// ---- What happens by itself ---------------------------------------------------------------------------------------------------

/** Step 2 of a block: a load was so for long enough. Gives the work that was done. */
export function scalingIsDue(context: BlockContext, id: Address): number {
  const { state, second } = context;
  const [held, deployment] = [state.scaling(id), deploymentAt(context, id)];
  if (!held || !deployment || held.due === null || held.due > second) return 1;
  const leases = state.leasesIn(id, deployment.slot, deployment.replicas);
  const verdict = verdictOf(levelsOf(deployment, held, leases));
  const isSame = verdict === held.verdict;
  const to = !isSame || deployment.rollout !== null ? deployment.replicas : numberAfter(context, deployment, held, leases);
  if (to > deployment.replicas) growTo(context, deployment, held, to);
  for (const lease of leases.slice(to)) endLease(context, lease, second, "scaled", "gone");
  if (to !== deployment.replicas) {
    state.put({ ...(state.deployment(id) as Deployment), replicas: to });
    context.events.push({ kind: "scaled", deploymentId: id, from: deployment.replicas, replicas: to, why: verdict === 2 ? "load high" : "load low" });
  }
  lookAt(context, id, true, isSame && to === deployment.replicas);
  return 1 + leases.length + Math.max(0, to - leases.length);
}

function numberAfter({ second, rules }: BlockContext, deployment: Deployment, held: ScalingHeld, leases: readonly Lease[]): number {
  const paid = new Set(deployment.escrow.streams.map(({ index }) => index));
  const running = leases.filter(({ index }) => paid.has(index));
  // What was added last has not shown yet what it can do.
  if (held.verdict === 2 && running.length < leases.length) return deployment.replicas;
  const rate = running.reduce((sum, lease) => sum + lease.rate, 0n);
  const { rateMax } = held;
  return stepOf(held.verdict, deployment.replicas, held, { leases: running.length, rate, free: freeOf(touch(deployment.escrow, second)), rateMax, runwaySecondsMin: rules.runwaySecondsMin });
}

function growTo(context: BlockContext, deployment: Deployment, held: ScalingHeld, to: number): void {
  const { state } = context;
  const { id, slot, revision, replicas } = deployment;
  addLeases(context, id, slot, revision, replicas, to);
  if (deployment.state !== "active") for (const lease of state.leasesIn(id, slot, to).slice(replicas)) state.put({ ...lease, state: "waiting" });
  const operators = new Map(held.told.filter(({ level }) => level === 2).map(({ machine }) => state.machine(machine)).filter((machine) => machine !== undefined).map(({ operator }) => [hex(operator), operator]));
  state.put({ ...held, grownFrom: replicas, reporters: [...operators].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, operator]) => operator) });
}

/** What the leases together have to do, now; a change of it, or a step (`anew`), begins the time to the next step: a long one where it `couldNot` be taken (scalingWait.ts). */
function lookAt(context: BlockContext, id: Address, anew: boolean, couldNot: boolean = false): void {
  const { state, second, rules } = context;
  const [held, deployment] = [state.scaling(id), deploymentAt(context, id)];
  if (!held || !deployment) return;
  const verdict = verdictOf(levelsOf(deployment, held, state.leasesIn(id, deployment.slot, deployment.replicas)));
  if (verdict === held.verdict && !anew) return;
  const { replicas } = deployment;
  const waits = verdict === 2 && replicas < held.max ? (couldNot ? rules.scaleDownSeconds : rules.scaleUpSeconds) : verdict === 0 && replicas > leastOf(held) ? rules.scaleDownSeconds : null;
  state.put({ ...held, verdict, due: waits === null ? null : second + waits });
}

/** Of leases that run: what their machine says; what is on standby has nothing to do, and what nothing was told of has what it should. */
function levelsOf({ escrow: { streams } }: Deployment, { told }: ScalingHeld, leases: readonly Lease[]): Level[] {
  const rates = new Map(streams.map(({ index, rate }) => [index, rate]));
  const words = new Map(told.map((one) => [one.index, one]));
  return leases.filter(({ index }) => rates.has(index)).map(({ index, machine, rate }) => {
    if ((rates.get(index) as bigint) < rate) return 0;
    const word = words.get(index);
    return word !== undefined && sameBytes(word.machine, machine) ? word.level : 1;
  });
}

// ---- Shared ------------------------------------------------------------------------------------------------------------------------

type Found = { readonly ok: true; readonly held: ScalingHeld; readonly deployment: Deployment; readonly lease: Lease };
/** A lease that runs on the sender, of a deployment that has a rule. */
function heldFor(context: BlockContext, id: Address, index: number, sender: Address): Found | Refusal {
  const { state } = context;
  const [held, deployment, lease] = [state.scaling(id), deploymentAt(context, id), state.lease(id, index)];
  if (!deployment || !held) return refuse("no_scaling", `Cannot tell of deployment ${id.toHex()} as it has no rule of scaling`);
  if (!isOn(lease, sender) || !isOpen(lease)) return refuse("not_ready_here", `Cannot tell of lease ${index} as it is not ready here`);
  if (streamOf(deployment.escrow, index) === undefined) return refuse("escrow_dry", `Cannot tell of lease ${index} as its escrow ran dry`);
  return { ok: true, held, deployment, lease };
}

/** With its escrow as it is in this second: one that ran dry, and waits for its turn among the block's due events, has no streams any more. */
function deploymentAt({ state, second }: BlockContext, id: Address): Deployment | undefined {
  const deployment = state.deployment(id);
  return deployment && { ...deployment, escrow: touch(deployment.escrow, second) };
}

/** No lease is on standby any more: all or none. */
function wakeAll({ state, second, rules }: BlockContext, deployment: Deployment): Result {
  const asleep = state.leasesOf(deployment.id).filter((lease) => isOnStandby(deployment, lease));
  if (asleep.length === 0) return OK;
  const repriced = reprice(deployment.escrow, second, new Map(asleep.map(({ index, rate }) => [index, rate])), rules);
  if (!repriced.ok) return repriced;
  state.put({ ...deployment, escrow: repriced.escrow });
  return OK;
}
