/**
 * The read side of the ledger: what the API shows and what a machine acts on.
 *
 * A view reads one `Ledger` as it is. A node that must answer from final state while later blocks are speculative reads
 * a state behind the tip (`behind.ts`).
 */
import { addressOf } from "#chain/codec/address.ts";
import { sameBytes } from "#chain/ledger/block.ts";
import { membersOf } from "#chain/ledger/epochs.ts";
import { dryAt, freeOf, streamOf, touch } from "#chain/ledger/escrow.ts";
import { type HoldingEvent, type HoldingsView, holdingsView } from "#chain/ledger/holdingsView.ts";
import { nextDue } from "#chain/ledger/due.ts";
import type { Ledger } from "#chain/ledger/ledger.ts";
import { courtOf, livenessOf } from "#chain/ledger/liveness.ts";
import { PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX } from "#chain/ledger/limits.ts";
import type { Account, Constraints, Deployment, Lease, Machine, Member, Predecessor, Rollout, Successor, Unbonding, Validator, ValidatorState, Version } from "#chain/ledger/model.ts";
import { isOnStandby } from "#chain/ledger/scaling.ts";
import type { ScalingHeld } from "#chain/ledger/scalingHeld.ts";
import { type State, parseId } from "#chain/ledger/state.ts";
import type { TaskHeld } from "#chain/ledger/taskState.ts";
import type { Court } from "#chain/liveness/verdict.ts";
import type { LivenessView } from "#chain/liveness/witnesses.ts";
import type { Address, Digest, Hex, PublicKey } from "#chain/types.ts";

export type KeyView = { readonly key: PublicKey; readonly scopes: number; readonly limit: bigint; readonly expiryMs: bigint };
export type AccountView = {
  readonly address: Address;
  readonly balance: bigint;
  readonly nonce: bigint;
  readonly keys: readonly KeyView[];
  readonly threshold: number;
};

/**
 * pending: waits for a machine; placed: has one, which has not said ready; ready: serves and is paid;
 * waiting: will not be placed before its owner acts (escrow dry or too small, or the deployment is paused).
 */
export type LeaseState = "pending" | "placed" | "ready" | "waiting" | "moving" | "leaving";
export type LeaseView = {
  readonly deploymentId: Address;
  readonly index: number;
  readonly state: LeaseState;
  /** null unless placed or ready. */
  readonly machine: Address | null;
  /** Base units per second, while it is not on standby; 0 unless placed or ready. */
  readonly rate: bigint;
  /** What it costs while it is on standby (scaling.ts); null: it is not. */
  readonly standbyRate: bigint | null;
  /** Money second of the placement, and until when `ready` must come. */
  readonly placedAt: bigint;
  readonly readyBy: bigint;
  /** The machine that it moves to, not ready yet; and the one that it has left, which ends what it has begun. */
  readonly next: Successor | null;
  readonly last: Predecessor | null;
  /** Of the deployment's revisions, the one it runs. */
  readonly revision: number;
  /** Money second since which it does not answer as it should; null: it does. */
  readonly unhealthyFrom: bigint | null;
  /** Why it is not running, or why it ran last on another machine: a LeaseEnd, or empty. */
  readonly lastEnd: string;
};
/** active; paused: after three machines failed, or as many tries; dry: its escrow ran out; closing: waits for the last payment; ended: a task that ran to its end. */
export type DeploymentState = "active" | "paused" | "dry" | "closing" | "ended";
export type DeploymentView = {
  readonly id: Address;
  readonly owner: Address;
  readonly name: string;
  readonly state: DeploymentState;
  readonly componentDigest: Digest;
  readonly configurationDigest: Digest | null;
  readonly memoryMib: number;
  readonly cpuMillis: number;
  readonly concurrency: number;
  readonly replicas: number;
  readonly isolation: 0 | 1;
  readonly rateMax: bigint;
  readonly createdHeight: number;
  /** Cause of the last `failed`, empty when there was none since the owner last acted. */
  readonly lastFailure: string;
  readonly failedMachines: readonly Address[];
  readonly revision: number;
  /** A new revision beside the one that serves; its digests are the deployment's once it is promoted. */
  readonly rollout: Rollout | null;
  /** What served before, the newest first. */
  readonly history: readonly Version[];
  /** Why the last update was rolled back; empty: it was not. */
  readonly rolledBack: string;
  readonly constraints: Constraints;
};
export type MachineView = {
  readonly id: Address;
  readonly key: PublicKey;
  readonly operator: Address;
  /** down: registered, but its `up` has not come. */
  readonly state: "up" | "down";
  readonly bootId: Uint8Array;
  readonly memoryMib: number;
  readonly cpuMillis: number;
  readonly memoryMibUsed: number;
  readonly cpuMillisUsed: number;
  readonly leases: number;
  readonly pricePerGibSecond: bigint;
  readonly pricePerCoreSecond: bigint;
  readonly region: string;
  readonly bond: bigint;
  readonly strikes: number;
  /** Money second before which nothing is placed here. */
  readonly placeableFrom: bigint;
  readonly draining: boolean;
  readonly labels: readonly string[];
};

/** One line of a bill: one stretch of one lease on one machine at one rate. */
export type SegmentView = {
  readonly machine: Address;
  /** Who is paid. */
  readonly operator: Address;
  readonly index: number;
  readonly rate: bigint;
  readonly openedAt: bigint;
  /** null while it runs. */
  readonly end: bigint | null;
  readonly paidUntil: bigint;
  /** In the order in which they ended; null: it runs. Ended ones are paid to their end, and proven by it (codec/segment.ts), when their hold is over. */
  readonly place: number | null;
  readonly isPaid: boolean;
  /** Up to `end`, or up to the second that was asked for. */
  readonly seconds: bigint;
  readonly amount: bigint;
};
export type BillView = {
  readonly deploymentId: Address;
  readonly owner: Address;
  readonly name: string;
  /** True when the deployment is gone and `refunded` went back to its owner. */
  readonly closed: boolean;
  readonly at: bigint;
  /** Money second before which this machine knows no payments, as it joined later; 0: it knows all. */
  readonly since: bigint;
  /** Oldest first. Of paid segments the newest 64 are kept; older ones are summed up in `earlier`. */
  readonly segments: readonly SegmentView[];
  readonly earlier: { readonly segments: number; readonly seconds: bigint; readonly amount: bigint; /** codec/segment.ts */ readonly digest: Digest };
  /** Σ rate × seconds over everything, earlier segments too. */
  readonly total: bigint;
  readonly paid: bigint;
  readonly ratePerSecond: bigint;
  /** What is in the escrow and not owed to anybody at `at`. */
  readonly balance: bigint;
  /** null when nothing runs. */
  readonly dryAt: bigint | null;
  readonly runwaySeconds: bigint | null;
  readonly refunded: bigint;
};
export type TaskView = Omit<TaskHeld, "kind" | "id">;
/** One of an epoch's set; its place in the set is its index. */
export type MemberView = { readonly id: Address; readonly key: PublicKey; readonly weight: number; readonly operator: Address };
export type ValidatorView = {
  readonly id: Address;
  readonly key: PublicKey;
  readonly operator: Address;
  readonly state: ValidatorState;
  readonly stake: bigint;
  readonly unbonding: readonly Unbonding[];
  readonly commissionBps: number;
  /** What others have behind it, and in how many shares; and what of theirs is on its way back. */
  readonly delegated: bigint;
  readonly delegatedShares: bigint;
  readonly leaving: bigint;
  /** Weight in the current set and in the next; 0: not in it. */
  readonly weight: number;
  readonly weightNext: number;
};
/** Every pot of money; `total` is their sum and equals the genesis' for ever. */
export type SupplyView = {
  readonly balances: bigint;
  readonly escrows: bigint;
  readonly bonds: bigint;
  /** Of validators, with what is unbonding. */
  readonly stakes: bigint;
  /** Of locked transfers. */
  readonly locked: bigint;
  readonly feePool: bigint;
  readonly burnt: bigint;
  readonly total: bigint;
};
export type ScalingView = Omit<ScalingHeld, "kind">;
export type Page<T> = { readonly items: readonly T[]; /** Give this as `after` for the next page; null at the end. */ readonly next: Hex | null };

export type LedgerView = HoldingsView & {
  readonly height: number;
  readonly timeMs: bigint;
  readonly moneySecond: bigint;
  readonly stateRoot: Digest;
  account(id: Address): AccountView | null;
  deployment(id: Address): DeploymentView | null;
  /** Of deployments that are not closing, at most one has a name. */
  deploymentByName(owner: Address, name: string): DeploymentView | null;
  deploymentsOf(owner: Address, page?: PageRequest): Page<DeploymentView>;
  deployments(page?: PageRequest): Page<DeploymentView>;
  machine(id: Address): MachineView | null;
  machines(page?: PageRequest): Page<MachineView>;
  /** Of the next block. Its header names the sets of this epoch and the one after. */
  readonly epoch: number;
  /** The set of an epoch, by index: the current one, the next, and as far back as evidence counts; null beyond. */
  validatorsOf(epoch: number): readonly MemberView[] | null;
  validator(id: Address): ValidatorView | null;
  validators(page?: PageRequest): Page<ValidatorView>;
  /** null: the deployment is none, but a service. */
  task(deploymentId: Address): TaskView | null;
  leasesOfDeployment(id: Address): readonly LeaseView[];
  /** How it scales by itself; null: it does not. */
  scaling(deployment: Address): ScalingView | null;
  /** Placed, ready, moving and leaving leases, as this machine has them: what it shall run. */
  leasesOfMachine(id: Address): readonly LeaseView[];
  /** As of the money second `at`, which is at or after the ledger's. Also for closed deployments (the newest 4,096). */
  bill(deploymentId: Address, at: bigint): BillView | null;
  supply(): SupplyView;
  /** Machines, witnesses and recent blocks: what `chain/liveness` goes by. */
  liveness(): LivenessView;
  court(): Court;
  /** Money second in which the next block must come even if no transaction waits; null when nothing is due. */
  nextDueMoneySecond(): bigint | null;
};
export type PageRequest = { readonly after?: Hex; readonly limit?: number };

/** Why a lease left a machine. */
export type LeaseEnd = "moved" | "drained" | "replaced" | "rolled_back" | "scaled" | "closed" | "dry" | "failed" | "not_ready" | "rebooted" | "down" | "unfunded" | "ended";
/** What a block did, for logs and subscribers: not part of the state. Seconds are money seconds. */
export type LedgerEvent = Happening & {
  /** Which of the block's transactions did it, by index; left out: the block itself (placement, what was due, suspicions). */
  readonly transaction?: number;
};
type Happening =
  | HoldingEvent
  | { readonly kind: "deployed"; readonly deploymentId: Address; readonly owner: Address; readonly name: string }
  | { readonly kind: "placed"; readonly deploymentId: Address; readonly index: number; readonly machine: Address; readonly rate: bigint }
  | { readonly kind: "opened"; readonly deploymentId: Address; readonly index: number; readonly machine: Address; readonly rate: bigint; readonly second: bigint }
  | { readonly kind: "ended"; readonly deploymentId: Address; readonly index: number; readonly machine: Address; readonly end: bigint; readonly why: LeaseEnd }
  | { readonly kind: "resized"; readonly deploymentId: Address; readonly index: number; readonly machine: Address; readonly rate: bigint; readonly second: bigint }
  | {
      readonly kind: "paid"; readonly deploymentId: Address; readonly index: number; readonly machine: Address; readonly operator: Address;
      readonly from: bigint; readonly until: bigint; readonly amount: bigint; readonly share: bigint;
    }
  | { readonly kind: "dry"; readonly deploymentId: Address; readonly second: bigint }
  | { readonly kind: "toppedUp"; readonly deploymentId: Address; readonly amount: bigint }
  | { readonly kind: "failed"; readonly deploymentId: Address; readonly index: number; readonly machine: Address; readonly cause: string }
  | { readonly kind: "health"; readonly deploymentId: Address; readonly index: number; readonly machine: Address; readonly healthy: boolean; readonly cause: string }
  | { readonly kind: "moving"; readonly deploymentId: Address; readonly index: number; readonly machine: Address; readonly why: "drained" | "unhealthy" | "asked" }
  /** Where it may be placed from now on, and what it may be asked for. */
  | { readonly kind: "constrained"; readonly deploymentId: Address }
  | { readonly kind: "labelled"; readonly machine: Address; readonly operator: Address }
  | { readonly kind: "draining"; readonly machine: Address; readonly operator: Address; readonly draining: boolean }
  | { readonly kind: "retired"; readonly machine: Address; readonly operator: Address; readonly bond: bigint }
  | { readonly kind: "updated"; readonly deploymentId: Address; readonly revision: number }
  /** A canary was healthy: its revision gets as many leases as the deployment has. */
  | { readonly kind: "widened"; readonly deploymentId: Address; readonly revision: number; readonly replicas: number }
  | { readonly kind: "promoted"; readonly deploymentId: Address; readonly revision: number }
  | { readonly kind: "rolledBack"; readonly deploymentId: Address; readonly revision: number; readonly cause: string }
  | { readonly kind: "paused"; readonly deploymentId: Address }
  /** The owner's rule; max 0: none any more. */
  | { readonly kind: "scalingSet"; readonly deploymentId: Address; readonly min: number; readonly max: number }
  | { readonly kind: "load"; readonly deploymentId: Address; readonly index: number; readonly machine: Address; readonly level: number }
  /** The ledger made or ended leases, by that rule. */
  | { readonly kind: "scaled"; readonly deploymentId: Address; readonly from: number; readonly replicas: number; readonly why: "load high" | "load low" }
  | { readonly kind: "standby"; readonly deploymentId: Address; readonly index: number; readonly machine: Address; readonly rate: bigint; readonly second: bigint }
  | { readonly kind: "woken"; readonly deploymentId: Address; readonly index: number; readonly machine: Address; readonly rate: bigint; readonly second: bigint }
  | { readonly kind: "strike"; readonly machine: Address; readonly strikes: number }
  /** Or registered anew, with other prices or resources. */
  | { readonly kind: "registered"; readonly machine: Address; readonly operator: Address }
  | { readonly kind: "machine"; readonly machine: Address; readonly operator: Address; readonly state: "up" | "down" }
  | { readonly kind: "bonded"; readonly validator: Address; readonly operator: Address; readonly amount: bigint }
  | { readonly kind: "unbonding"; readonly validator: Address; readonly operator: Address; readonly amount: bigint; readonly releaseMs: bigint }
  | { readonly kind: "unbonded"; readonly validator: Address; readonly operator: Address; readonly amount: bigint }
  | { readonly kind: "validator"; readonly validator: Address; readonly operator: Address; readonly state: ValidatorState }
  | { readonly kind: "slashed"; readonly validator: Address; readonly reporter: Address | null; readonly amount: bigint; readonly reward: bigint }
  | { readonly kind: "rewarded"; readonly validator: Address; readonly operator: Address; readonly amount: bigint; readonly delegators: bigint }
  /** The epoch that begins with the next block. */
  | { readonly kind: "epoch"; readonly epoch: number; readonly validators: number }
  /** A run of a task: how it ended, and in which money second it is placed again; null: the task has ended with it. */
  | { readonly kind: "taskEnded"; readonly deploymentId: Address; readonly machine: Address; readonly run: number; readonly exitCode: number; readonly reason: string; readonly retryAt: bigint | null }
  | { readonly kind: "refunded"; readonly deploymentId: Address; readonly owner: Address; readonly amount: bigint }
  | { readonly kind: "closed"; readonly deploymentId: Address; readonly owner: Address; readonly refunded: bigint };

export function viewOf({ state, rules, chainId }: Ledger): LedgerView {
  const pageOf = <T>(prefix: string, { after = "" as Hex, limit = PAGE_ITEMS_DEFAULT }: PageRequest, read: (id: Address) => T): Page<T> =>
    pageFrom(state, prefix, after, Math.min(Math.max(limit, 1), PAGE_ITEMS_MAX), read);
  const deploymentOf = (id: Address): DeploymentView => deploymentView(state.deployment(id) as Deployment);
  const leaseOf = (lease: Lease): LeaseView => {
    const deployment = state.deployment(lease.deploymentId);
    return leaseView(lease, rules.readySecondsMax, deployment && isOnStandby(deployment, lease) ? (streamOf(deployment.escrow, lease.index)?.rate ?? null) : null);
  };
  return {
    ...holdingsView(state, pageOf),
    get height() { return state.totals.height; },
    get timeMs() { return state.totals.timeMs; },
    get moneySecond() { return state.totals.moneySecond; },
    get stateRoot() { return state.root; },
    account: (id) => mapped(state.account(id), accountView),
    deployment: (id) => mapped(state.deployment(id), deploymentView),
    deploymentByName: (owner, name) => {
      const prefix = `n${owner.toHex()}:${name}:`;
      const entry = name.includes(":") ? undefined : state.lists.first(prefix);
      return entry === undefined ? null : deploymentOf(parseId(entry.slice(prefix.length)));
    },
    deploymentsOf: (owner, page = {}) => pageOf(`o${owner.toHex()}`, page, deploymentOf),
    deployments: (page = {}) => pageOf("d", page, deploymentOf),
    machine: (id) => mapped(state.machine(id), machineView),
    machines: (page = {}) => pageOf("k", page, (id) => machineView(state.machine(id) as Machine)),
    get epoch() { return state.sets.epoch; },
    validatorsOf: (epoch) => membersOf(state, epoch)?.map(({ key, weight, operator }) => ({ id: addressOf(key), key, weight, operator })) ?? null,
    validator: (id) => mapped(state.validator(id), (one) => validatorView(state, one)),
    validators: (page = {}) => pageOf("v", page, (id) => validatorView(state, state.validator(id) as Validator)),
    task: (id) => mapped(state.task(id), ({ kind: _kind, id: _id, ...task }) => task),
    scaling: (id) => state.scaling(id) ?? null,
    leasesOfDeployment: (id) => state.leasesOf(id).map(leaseOf),
    leasesOfMachine: (id) => [...state.leasesOn(id).map(leaseOf), ...state.leasesBeside(id).map((lease) => besideView(leaseOf(lease), id))],
    bill: (id, at) => billView(state, id, at),
    supply: () => supplyView(state),
    liveness: () => livenessOf(state, chainId),
    court: () => courtOf(state, chainId),
    nextDueMoneySecond: () => nextDue(state),
  };
}

const mapped = <T, U>(value: T | undefined, to: (value: T) => U): U | null => (value === undefined ? null : to(value));

function pageFrom<T>(state: State, prefix: string, after: Hex, limit: number, read: (id: Address) => T): Page<T> {
  const items: T[] = [];
  let last = "";
  for (const entry of state.lists.from(prefix + after, prefix)) {
    const id = entry.slice(prefix.length);
    if (id === after) continue;
    if (items.length === limit) return { items, next: last as Hex };
    items.push(read(parseId(id)));
    last = id;
  }
  return { items, next: null };
}

const accountView = ({ address, balance, nonce, keys, threshold }: Account): AccountView => ({ address, balance, nonce, keys, threshold });
const deploymentView = (deployment: Deployment): DeploymentView => {
  const { id, owner, name, state, componentDigest, configurationDigest, memoryMib, cpuMillis, concurrency, replicas, isolation, rateMax } = deployment;
  const { createdHeight, lastFailure, failedMachines, revision, rollout, history, rolledBack, constraints } = deployment;
  return {
    id, owner, name, state, componentDigest, configurationDigest, memoryMib, cpuMillis, concurrency, replicas, isolation, rateMax, createdHeight, lastFailure, failedMachines,
    revision, rollout, history, rolledBack, constraints,
  };
};
function validatorView({ sets }: State, { id, key, operator, state, stake, unbonding, commissionBps, delegated, leaving }: Validator): ValidatorView {
  const weightIn = (set: readonly Member[]): number => set.find((one) => sameBytes(one.key, key))?.weight ?? 0;
  return { id, key, operator, state, stake, unbonding, commissionBps, delegated: delegated.units, delegatedShares: delegated.shares, leaving: leaving.units, weight: weightIn(sets.current), weightNext: weightIn(sets.next) };
}
const machineView = (machine: Machine): MachineView => ({ ...machine, state: machine.up ? "up" : "down" });
function leaseView({ deploymentId, index, state, machine, rate, placedAt, lastEnd, revision, unhealthyFrom, next, last }: Lease, readySecondsMax: bigint, standbyRate: bigint | null): LeaseView {
  // `dry` lives only within the making of a block.
  const shown = state === "dry" ? "waiting" : state;
  const holds = shown === "placed" || shown === "ready" || shown === "moving";
  return { deploymentId, index, state: shown, machine: holds ? machine : null, rate: holds ? rate : 0n, standbyRate, placedAt, readyBy: placedAt + readySecondsMax, lastEnd, revision, next, last, unhealthyFrom: unhealthyFrom === 0n ? null : unhealthyFrom };
}

/** A lease as the machine sees that it moves to, or that it has left. */
function besideView(lease: LeaseView, machine: Address): LeaseView {
  const { next, last } = lease;
  if (next !== null && sameBytes(next.machine, machine)) return { ...lease, state: "placed", machine, rate: next.rate, standbyRate: null, placedAt: next.placedAt, unhealthyFrom: null };
  return { ...lease, state: "leaving", machine, rate: 0n, standbyRate: null, unhealthyFrom: null, last };
}

/** What is paid, from the archive; what is not, from the escrow as it will be at `at` if nobody acts. */
function billView(state: State, deploymentId: Address, at: bigint): BillView | null {
  const archive = state.archive(deploymentId);
  if (!archive) return null;
  const deployment = state.deployment(deploymentId);
  const { owner, name, since, refunded, earlier } = archive;
  // A machine that joined later knows what was paid, and not for which segments.
  const paid = deployment?.paid ?? archive.paid;
  const escrow = deployment ? touch(deployment.escrow, at > deployment.escrow.at ? at : deployment.escrow.at) : null;
  const shown = (one: Omit<SegmentView, "seconds" | "amount">): SegmentView => {
    const seconds = (one.end ?? (escrow?.at as bigint)) - one.openedAt;
    return { ...one, seconds, amount: one.rate * seconds };
  };
  const paidOnes = earlier.segments + archive.segments.length;
  const segments = [
    ...archive.segments.map((segment, at) => shown({ ...segment, paidUntil: segment.end, place: earlier.segments + at, isPaid: true })),
    ...(escrow?.ended ?? []).map((segment, at) => shown({ ...segment, place: paidOnes + at, isPaid: false })), ...(escrow?.streams ?? []).map((stream) => shown({ ...stream, end: null, place: null, isPaid: false })),
  ].sort((a, b) => (a.openedAt < b.openedAt ? -1 : a.openedAt > b.openedAt ? 1 : a.index - b.index));
  const listed = segments.reduce((sum, { amount }) => sum + amount, 0n);
  const total = escrow === null ? earlier.amount + listed : paid + escrow.owed;
  const dry = escrow ? dryAt(escrow) : null;
  return {
    deploymentId, owner, name, closed: archive.closedHeight !== null, at: escrow?.at ?? at, since, segments, earlier: { ...earlier, amount: total - listed }, total, paid, ratePerSecond: escrow?.rate ?? 0n,
    balance: escrow ? freeOf(escrow) : 0n, dryAt: dry, runwaySeconds: dry === null || escrow === null ? null : dry - escrow.at, refunded,
  };
}

function supplyView(state: State): SupplyView {
  const [balances, escrows, bonds, stakes, locked] = [state.potOf("account"), state.potOf("deployment"), state.potOf("machine"), state.potOf("validator"), state.potOf("lock")];
  const { feePool, burnt } = state.totals;
  return { balances, escrows, bonds, stakes, locked, feePool, burnt, total: balances + escrows + bonds + stakes + locked + feePool + burnt };
}
