/**
 * What each operation does, as a table: the sender was checked, the fee is paid, a refusal takes the whole transaction back.
 *
 * A refusal's code is part of the protocol. Operations of a deployment begin with `ownedBy`, those of a machine with `machineOf`.
 */
import { addressOf } from "#chain/codec/address.ts";
import { NO_SEGMENT } from "#chain/codec/segment.ts";
import { type Operation, type OperationKind, deploymentIdOf, machineProofMessage } from "#chain/codec/transaction.ts";
import { verify } from "#chain/crypto.ts";
import { type BlockContext, OK, type Origin, type Result, accountOf, credit, debit, sameBytes, unfunded } from "#chain/ledger/block.ts";
import { claim, newEscrow, open, reprice, topUp, touch } from "#chain/ledger/escrow.ts";
import { authorise, revoke, setThreshold } from "#chain/ledger/keys.ts";
import { cancelSuccessor, closeDry, dropPredecessor, endLease, finishClosing, isOn, isOpen, isPaused, mayAbandon, noteBegun, pause, reopenDry, rulesFor, settle, useCapacity, wake } from "#chain/ledger/leases.ts";
import { delegate, undelegate } from "#chain/ledger/delegation.ts";
import { claimLock, lock, refundLock } from "#chain/ledger/locks.ts";
import { BOND_MIN, CONCURRENCY_MAX, CPU_MILLIS_MAX, FAILURES_REMEMBERED_SECONDS, MEMORY_MIB_MAX, PRICE_MAX, PROOF_WORK } from "#chain/ledger/limits.ts";
import { bringUp } from "#chain/ledger/liveness.ts";
import { type Deployment, type Lease, type Machine, newArchive } from "#chain/ledger/model.ts";
import { arrive, constrain, drain, label, left, move, retire } from "#chain/ledger/moves.ts";
import { bondFor, ceilDiv, hasRoom, rateOf } from "#chain/ledger/offer.ts";
import { cheapestRate } from "#chain/ledger/placement.ts";
import { addLeases, health, noteFailure, noteHealth, promote, rollBack, update } from "#chain/ledger/rollout.ts";
import { ceilingRefusal } from "#chain/ledger/ceiling.ts";
import { autoscale, forgetScaling, load, outsideOf, scaleTo, standby, wake as wakeStandby } from "#chain/ledger/scaling.ts";
import { lookSooner } from "#chain/ledger/scalingWait.ts";
import { propose, vote } from "#chain/ledger/votes.ts";
import { pointName, registerName, releaseName, renewName, transferName } from "#chain/ledger/names.ts";
import { noteTaskRuns, refusalIfTask } from "#chain/ledger/taskRuns.ts";
import { beginTask, refusalOfTask, taskEnded, taskFailed } from "#chain/ledger/tasks.ts";
import { bond, report, setCommission, unbond, unjail } from "#chain/ledger/stake.ts";
import { type Address, type Refusal, refuse } from "#chain/types.ts";

type Apply<K extends OperationKind> = (context: BlockContext, op: Extract<Operation, { kind: K }>, origin: Origin) => Result;

const TABLE: { readonly [K in OperationKind]: Apply<K> } = {
  transfer: ({ state }, { to, amount }, { sender }) => {
    if (amount === 0n) return refuse("bad_amount", "Cannot transfer nothing");
    if (!debit(state, sender, amount)) return unfunded(`transfer ${amount}`);
    credit(state, to, amount);
    return OK;
  },

  bond,
  unbond,
  unjail,
  report,
  authorise,
  revoke,
  setThreshold,
  lock,
  claimLock,
  refundLock,
  delegate,
  undelegate,
  setCommission,
  registerName,
  renewName,
  pointName,
  transferName,
  releaseName,
  propose,
  vote,
  runTask,
  taskEnded,
  registerMachine,
  up: bringUp,
  deploy,
  ready,
  failed,
  resize,
  scale,
  health,
  drain,
  retire,
  move,
  left,
  label,
  load,
  wake: wakeStandby,
  standby,
  autoscale: (context, op, { sender }) => withOwned(context, sender, op.deploymentId, (deployment) => refusalIfTask(context, op.deploymentId, "autoscale") ?? autoscale(context, deployment, op)),
  constrain: (context, op, { sender }) => withOwned(context, sender, op.deploymentId, (deployment) => constrain(context, deployment, op)),
  update: (context, op, { sender }) => withOwned(context, sender, op.deploymentId, (deployment) => refusalIfTask(context, op.deploymentId, "update") ?? update(context, deployment, op)),
  promote: (context, { deploymentId }, { sender }) => withOwned(context, sender, deploymentId, (deployment) => promote(context, deployment)),
  rollBack: (context, { deploymentId }, { sender }) => withOwned(context, sender, deploymentId, (deployment) => rollBack(context, deployment)),

  topUp: (context, { deploymentId, amount }, { sender }) => {
    const { state, second } = context;
    const deployment = state.deployment(deploymentId);
    if (!deployment) return unknownDeployment(deploymentId);
    if (deployment.state === "closing") return closing(deploymentId);
    if (deployment.state === "ended") return refuse("task_ended", "Cannot top up a task that has ended");
    if (amount === 0n) return refuse("bad_amount", "Cannot top up by nothing");
    if (!debit(state, sender, amount)) return unfunded(`top up ${amount}`);
    const escrow = topUp(deployment.escrow, second, amount);
    state.put({ ...deployment, escrow });
    context.events.push({ kind: "toppedUp", deploymentId, amount });
    // It ran dry in this second, and had no room among the block's due events.
    if (escrow.dry !== null) closeDry(context, deploymentId);
    reopenDry(context, deploymentId);
    noteHealth(context, deploymentId);
    wake(context, deploymentId);
    lookSooner(context, deploymentId);
    return OK;
  },

  claim: (context, { deploymentId, index }) => {
    const { state, second, rules } = context;
    const deployment = state.deployment(deploymentId);
    if (!deployment) return unknownDeployment(deploymentId);
    const { stallUntil, stallUpTo } = state.totals;
    const { escrow, payment } = claim(deployment.escrow, second, index, second < stallUntil ? stallUpTo : second, rules);
    if (payment === null) return refuse("nothing_to_claim", `Cannot claim lease ${index} as nothing of it is due before ${rules.holdSeconds} seconds have passed`);
    state.put({ ...deployment, escrow });
    settle(context, deploymentId, payment);
    return OK;
  },

  close: (context, { deploymentId }, { sender }) => {
    const { state, second, rules } = context;
    const found = state.deployment(deploymentId);
    const owned = ownedBy(context, found && mayAbandon(found, second, rules) ? found.owner : sender, deploymentId);
    if (!owned.ok) return owned;
    for (const lease of state.leasesOf(deploymentId)) endLease(context, lease, second, "closed", "gone");
    const deployment = state.deployment(deploymentId) as Deployment;
    state.put({ ...deployment, state: "closing", replicas: 0, rollout: null, escrow: touch(deployment.escrow, second) });
    forgetScaling(context, deploymentId);
    finishClosing(context, deploymentId);
    return OK;
  },
};

export const applyOperation = (context: BlockContext, op: Operation, origin: Origin): Result =>
  (TABLE[op.kind] as Apply<OperationKind>)(context, op, origin);

/** Operations of machines that cost nothing, within a share. */
export const isFreeOperation = ({ kind }: Operation): boolean => kind === "up" || kind === "ready" || kind === "failed" || kind === "health" || kind === "left" || kind === "drain" || kind === "taskEnded" || kind === "load" || kind === "wake" || kind === "standby";

// ---- Machines --------------------------------------------------------------------------------------------------------------

type RegisterMachine = Extract<Operation, { kind: "registerMachine" }>;

function registerMachine(context: BlockContext, op: RegisterMachine, { sender }: Origin): Result {
  const { state, chainId } = context;
  const id = addressOf(op.machineKey);
  const known = state.machine(id);
  if (op.memoryMib > MEMORY_MIB_MAX || op.cpuMillis > CPU_MILLIS_MAX) return refuse("bad_resources", `Cannot register ${op.memoryMib} MiB and ${op.cpuMillis} m as that is beyond the limits`);
  if (op.pricePerGibSecond > PRICE_MAX || op.pricePerCoreSecond > PRICE_MAX) return refuse("bad_price", `Cannot register a price above ${PRICE_MAX}`);
  if (op.bond < BOND_MIN) return refuse("bond_too_small", `Cannot register with a bond of ${op.bond} as ${BOND_MIN} is the least`);
  state.spend(PROOF_WORK);
  // What its operator changes of a machine needs no word of it.
  if (!known && !verify("machine", op.proof, machineProofMessage(chainId, sender, accountOf(state, id).nonce), op.machineKey)) {
    return refuse("bad_proof", "Cannot register the machine as its key did not sign for this operator, or did before it was retired");
  }
  if (known && !sameBytes(known.operator, sender)) return refuse("not_owner", "Cannot change a machine of another operator");
  if (known && op.bond < bondFor(known.memoryMibUsed, known.cpuMillisUsed)) return refuse("bond_in_use", "Cannot lower the bond below what covers the leases that run");
  const bondBefore = known?.bond ?? 0n;
  if (!debit(state, sender, op.bond > bondBefore ? op.bond - bondBefore : 0n)) return unfunded(`bond ${op.bond}`);
  if (op.bond < bondBefore) credit(state, sender, bondBefore - op.bond);
  const fresh = { draining: false, isLeaving: false, labels: [], up: false, bootId: new Uint8Array(16), memoryMibUsed: 0, cpuMillisUsed: 0, leases: 0, strikes: 0, placeableFrom: 0n, validator: null, sinceHeight: context.height, downs: [] };
  const { memoryMib, cpuMillis, pricePerGibSecond, pricePerCoreSecond, region, bond } = op;
  const machine: Machine = { kind: "machine", id, key: op.machineKey, operator: sender, ...fresh, ...known, memoryMib, cpuMillis, pricePerGibSecond, pricePerCoreSecond, region, bond };
  state.put(machine);
  if (!state.account(id)) state.put(accountOf(state, id));
  context.events.push({ kind: "registered", machine: id, operator: sender });
  return OK;
}

function ready(context: BlockContext, { deploymentId, index, rate }: Extract<Operation, { kind: "ready" }>, { sender }: Origin): Result {
  const { state, second, rules } = context;
  const found = machineOf(context, sender);
  if (!found.ok) return found;
  const deployment = state.deployment(deploymentId);
  if (!deployment) return unknownDeployment(deploymentId);
  const lease = state.lease(deploymentId, index);
  if (lease && sameBytes(lease.next?.machine ?? null, sender)) return arrive(context, lease, found.machine, rate);
  if (!isOn(lease, sender) || lease.state === "dry") return refuse("not_placed_here", `Cannot be ready for lease ${index} as it is not placed here`);
  if (isOpen(lease)) return refuse("already_ready", `Cannot be ready for lease ${index} again`);
  if (lease.rate !== rate) return refuse("wrong_rate", `Cannot be ready at a rate of ${rate} as the lease has ${lease.rate}`);
  const { machine } = found;
  const opened = open(deployment.escrow, second, [{ index, machine: sender, operator: machine.operator, rate }], rulesFor(lease, rate, rules));
  if (!opened.ok) return opened;
  state.put({ ...deployment, escrow: opened.escrow, reservedRate: deployment.reservedRate - rate });
  state.put({ ...lease, state: "ready", avoid: null, lastEnd: "", rateLost: 0n });
  if (machine.strikes > 0) state.put({ ...machine, strikes: 0 });
  context.events.push({ kind: "opened", deploymentId, index, machine: sender, rate, second });
  noteBegun(context, lease, sender);
  noteHealth(context, deploymentId);
  noteTaskRuns(context, deploymentId);
  lookSooner(context, deploymentId);
  return OK;
}

/** The machine says that the component itself failed: it counts against the deployment. */
function failed(context: BlockContext, { deploymentId, index, cause }: Extract<Operation, { kind: "failed" }>, { sender }: Origin): Result {
  const { state, second } = context;
  const found = machineOf(context, sender);
  if (!found.ok) return found;
  const lease = state.lease(deploymentId, index);
  const isSuccessor = sameBytes(lease?.next?.machine ?? null, sender);
  if (!lease || (!isSuccessor && (!isOn(lease, sender) || lease.state === "dry"))) return refuse("not_placed_here", `Cannot fail lease ${index} as it is not placed here`);
  if (state.task(deploymentId)) return taskFailed(context, lease, cause);
  if (isSuccessor) state.put({ ...cancelSuccessor(context, lease), avoid: sender });
  else endLease(context, lease, second, "failed", "pending");
  const deployment = state.deployment(deploymentId) as Deployment;
  if (lease.revision !== deployment.revision) {
    context.events.push({ kind: "failed", deploymentId, index, machine: sender, cause });
    state.put({ ...deployment, lastFailure: cause });
    noteFailure(context, lease, cause);
    return OK;
  }
  const isOld = deployment.failedAt + FAILURES_REMEMBERED_SECONDS < second;
  const before = isOld ? [] : deployment.failedMachines;
  const failedMachines = before.some((machine) => sameBytes(machine, sender)) ? before : [...before, sender];
  state.put({ ...deployment, failedMachines, failures: (isOld ? 0 : deployment.failures) + 1, failedAt: second, lastFailure: cause });
  context.events.push({ kind: "failed", deploymentId, index, machine: sender, cause });
  if (isPaused(state.deployment(deploymentId) as Deployment)) pause(context, deploymentId);
  else if (deployment.state !== "active" && !isSuccessor) {
    const left = state.lease(deploymentId, index) as Lease;
    if (left.state === "pending") state.put({ ...left, state: "waiting" });
  }
  return OK;
}

// ---- Deployments -------------------------------------------------------------------------------------------------------------

function deploy(context: BlockContext, op: Extract<Operation, { kind: "deploy" }>, { sender, nonce, opIndex }: Origin): Result {
  const { state, second, rules } = context;
  const bad = badResources(op.memoryMib, op.cpuMillis) ?? badReplicas(op.replicas, rules.replicasMax, 1);
  if (bad) return bad;
  if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(op.name)) return refuse("bad_name", `Cannot name a deployment "${op.name}" as that is not a DNS label`);
  if (op.concurrency < 1 || op.concurrency > CONCURRENCY_MAX) return refuse("bad_concurrency", `Cannot run ${op.concurrency} requests at a time as 1 to ${CONCURRENCY_MAX} is allowed`);
  if (state.lists.first(`n${sender.toHex()}:${op.name}:`) !== undefined) return refuse("name_taken", `Cannot deploy "${op.name}" as the account has a deployment of that name`);
  const least = cheapestRate(state, op.memoryMib, op.cpuMillis) * BigInt(op.replicas) * rules.runwaySecondsMin;
  if (op.deposit < least) return refuse("insufficient_funds", `Cannot deploy with a deposit of ${op.deposit} as ${rules.runwaySecondsMin} seconds cost ${least}`);
  if (!debit(state, sender, op.deposit)) return unfunded(`deposit ${op.deposit}`);
  const id = deploymentIdOf(sender, nonce, opIndex);
  const { name, componentDigest, configurationDigest, memoryMib, cpuMillis, concurrency, replicas, rateMax, isolation } = op;
  state.put({
    kind: "deployment", id, owner: sender, name, state: "active", componentDigest, configurationDigest, memoryMib, cpuMillis, concurrency, replicas, rateMax, isolation,
    createdHeight: context.height, failures: 0, failedMachines: [], failedAt: 0n, lastFailure: "", reservedRate: 0n, escrow: newEscrow(op.deposit, second),
    slot: 0, revision: 1, revisionLast: 1, rollout: null, history: [], rolledBack: "", constraints: { regions: [], operators: [], labels: [] }, paid: 0n, segments: NO_SEGMENT,
  });
  state.put(newArchive(id, sender, name, 0n, NO_SEGMENT));
  addLeases(context, id, 0, 1, 0, replicas);
  context.events.push({ kind: "deployed", deploymentId: id, owner: sender, name });
  return OK;
}

/** A deployment of one lease, and how often it may run. */
function runTask(context: BlockContext, op: Extract<Operation, { kind: "runTask" }>, origin: Origin): Result {
  const { name, componentDigest, configurationDigest, memoryMib, cpuMillis, deposit, rateMax, isolation } = op;
  const bad = refusalOfTask(op);
  if (bad) return bad;
  const made = deploy(context, { kind: "deploy", name, componentDigest, configurationDigest, memoryMib, cpuMillis, concurrency: 1, replicas: 1, deposit, rateMax, isolation }, origin);
  return made.ok ? beginTask(context, deploymentIdOf(origin.sender, origin.nonce, origin.opIndex), op) : made;
}

/**
 * A lease goes on at the level of price it has, or at its machine's present one where that is lower: a raise counts for new leases only,
 * and no operator can put one before a resize that is seen coming.
 */
function resize(context: BlockContext, { deploymentId, memoryMib, cpuMillis }: Extract<Operation, { kind: "resize" }>, { sender }: Origin): Result {
  const { state, second, rules } = context;
  const owned = ownedBy(context, sender, deploymentId);
  if (!owned.ok) return owned;
  const bad = refusalIfTask(context, deploymentId, "resize") ?? badResources(memoryMib, cpuMillis);
  if (bad) return bad;
  const before = owned.deployment;
  const rates = new Map<number, bigint>();
  let moreReserved = 0n;
  for (const found of state.leasesOf(deploymentId)) {
    if (found.machine === null) continue;
    // Of a lease that moves one size is enough: it looks for a machine again, with its new one.
    dropPredecessor(context, found);
    const lease: Lease = { ...cancelSuccessor(context, found), last: null };
    if (lease.machine === null) continue;
    useCapacity(context, lease.machine, before, -1);
    const machine = state.machine(lease.machine) as Machine;
    const grows = memoryMib > before.memoryMib || cpuMillis > before.cpuMillis;
    if (grows && !hasRoom(machine, memoryMib, cpuMillis)) return refuse("no_capacity", `Cannot resize as the machine of lease ${lease.index} has no room for it`);
    useCapacity(context, lease.machine, { memoryMib, cpuMillis }, 1);
    const present = rateOf(machine, memoryMib, cpuMillis);
    const kept = ceilDiv(present * lease.rate, rateOf(machine, before.memoryMib, before.cpuMillis));
    const rate = kept < present ? kept : present;
    if (before.rateMax > 0n && rate > before.rateMax) return refuse("rate_above_max", `Cannot resize as lease ${lease.index} would cost ${rate} per second and ${before.rateMax} is the most`);
    if (lease.state === "placed") moreReserved += rate - lease.rate;
    if (isOpen(lease)) rates.set(lease.index, rate);
    state.put({ ...lease, rate, placedAt: lease.state === "placed" ? second : lease.placedAt });
    if (rate !== lease.rate) context.events.push({ kind: "resized", deploymentId, index: lease.index, machine: lease.machine, rate, second });
  }
  const repriced = reprice(before.escrow, second, rates, rules);
  if (!repriced.ok) return repriced;
  const now = state.deployment(deploymentId) as Deployment;
  state.put({ ...now, memoryMib, cpuMillis, reservedRate: now.reservedRate + moreReserved, escrow: repriced.escrow, failures: 0, failedMachines: [], lastFailure: "" });
  const over = ceilingRefusal(context, deploymentId);
  if (over !== null) return over;
  wake(context, deploymentId);
  return OK;
}

function scale(context: BlockContext, { deploymentId, replicas }: Extract<Operation, { kind: "scale" }>, { sender }: Origin): Result {
  const owned = ownedBy(context, sender, deploymentId);
  if (!owned.ok) return owned;
  const bad = refusalIfTask(context, deploymentId, "scale") ?? badReplicas(replicas, context.rules.replicasMax, 0);
  if (bad) return bad;
  const { rollout } = owned.deployment;
  if (rollout !== null) return refuse("rollout_under_way", `Cannot scale as revision ${rollout.revision} is on its way: promote it or roll it back`);
  return outsideOf(context.state, deploymentId, replicas) ?? scaleTo(context, owned.deployment, replicas);
}

// ---- The refusals that several share -------------------------------------------------------------------------------------------

function withOwned(context: BlockContext, sender: Address, id: Address, then: (deployment: Deployment) => Result): Result {
  const owned = ownedBy(context, sender, id);
  return owned.ok ? then(owned.deployment) : owned;
}

function ownedBy({ state }: BlockContext, sender: Address, id: Address): { ok: true; deployment: Deployment } | Refusal {
  const deployment = state.deployment(id);
  if (!deployment) return unknownDeployment(id);
  if (!sameBytes(deployment.owner, sender)) return refuse("not_owner", `Cannot change deployment ${id.toHex()} as it belongs to another account`);
  if (deployment.state === "closing") return closing(id);
  return { ok: true, deployment };
}

function machineOf({ state }: BlockContext, sender: Address): { ok: true; machine: Machine } | Refusal {
  const machine = state.machine(sender);
  return machine ? { ok: true, machine } : refuse("machine_unknown", "Cannot do this as the sender is not a registered machine");
}

function badResources(memoryMib: number, cpuMillis: number): Refusal | null {
  if (memoryMib >= 1 && memoryMib <= MEMORY_MIB_MAX && cpuMillis <= CPU_MILLIS_MAX) return null;
  return refuse("bad_resources", `Cannot run with ${memoryMib} MiB and ${cpuMillis} m as 1 to ${MEMORY_MIB_MAX} MiB and up to ${CPU_MILLIS_MAX} m are allowed`);
}
const badReplicas = (replicas: number, most: number, least: number): Refusal | null =>
  replicas >= least && replicas <= most ? null : refuse("bad_replicas", `Cannot run ${replicas} replicas as ${least} to ${most} are allowed`);
const unknownDeployment = (id: Address): Refusal => refuse("unknown_deployment", `Cannot find deployment ${id.toHex()}`);
const closing = (id: Address): Refusal => refuse("deployment_closing", `Cannot change deployment ${id.toHex()} as it is closing`);
