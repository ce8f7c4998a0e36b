/**
 * The ledger's words as JSON, all conversions in this file: a u64 is a decimal string, a u32 a number, an id or digest hex,
 * an account or machine `gw1…`, bytes base64.
 */
import { addressText } from "#chain/codec/address.ts";
import { METRICS } from "#chain/codec/scalingOperations.ts";
import type { BlockHeader } from "#chain/codec/schema.ts";
import type { AccountView, BillView, DeploymentView, LeaseView, LedgerEvent, MachineView, ScalingView, SegmentView, SupplyView, TaskView, ValidatorView } from "#chain/ledger/view.ts";
import type { Rollout, Version } from "#chain/ledger/model.ts";
import { hex } from "#chain/types.ts";
import type { Json } from "./route.ts";

/** A u64. */
export const decimal = (value: bigint): string => value.toString();
const decimalOrNull = (value: bigint | null): string | null => (value === null ? null : value.toString());
export const base64 = (bytes: Uint8Array): string => bytes.toBase64();
const digestText = (bytes: Uint8Array): string => `sha256:${hex(bytes)}`;

export const accountJson = (account: AccountView): Json => ({
  address: addressText(account.address), balance: decimal(account.balance), nonce: decimal(account.nonce), threshold: account.threshold,
  keys: account.keys.map(({ key, scopes, limit, expiryMs }) => ({ key: hex(key), scopes, limit: decimal(limit), expiryMs: decimal(expiryMs) })),
});

export const machineJson = (machine: MachineView): Json => ({
  id: addressText(machine.id), key: hex(machine.key), operator: addressText(machine.operator), state: machine.state, bootId: hex(machine.bootId),
  region: machine.region, memoryMib: machine.memoryMib, cpuMillis: machine.cpuMillis, memoryMibUsed: machine.memoryMibUsed, cpuMillisUsed: machine.cpuMillisUsed,
  leases: machine.leases, pricePerGibSecond: decimal(machine.pricePerGibSecond), pricePerCoreSecond: decimal(machine.pricePerCoreSecond),
  bond: decimal(machine.bond), strikes: machine.strikes, placeableFrom: decimal(machine.placeableFrom), draining: machine.draining, labels: machine.labels,
});

export const validatorJson = ({ id, key, operator, state, stake, unbonding, commissionBps, delegated, delegatedShares, leaving, weight, weightNext }: ValidatorView): Json => ({
  id: addressText(id), key: hex(key), operator: addressText(operator), state, stake: decimal(stake), weight, weightNext,
  commissionBps, delegated: decimal(delegated), delegatedShares: decimal(delegatedShares), leaving: decimal(leaving),
  unbonding: unbonding.map(({ amount, releaseMs, releaseEpoch }) => ({ amount: decimal(amount), releaseMs: decimal(releaseMs), releaseEpoch })),
});

const leaseJson = (lease: LeaseView, { state, revision }: DeploymentView): Json => ({
  index: lease.index,
  // A lease that waits because it failed is what a tenant looks for first.
  state: lease.lastEnd === "failed" && (lease.state === "waiting" || (lease.state === "pending" && state === "paused" && lease.revision === revision)) ? "failed" : lease.state,
  machine: lease.machine === null ? null : addressText(lease.machine), rate: decimal(lease.rate), standbyRate: decimalOrNull(lease.standbyRate), placedAt: decimal(lease.placedAt),
  readyBy: decimal(lease.readyBy), lastEnd: lease.lastEnd === "" ? null : lease.lastEnd, revision: lease.revision,
  unhealthyFrom: decimalOrNull(lease.unhealthyFrom), next: lease.next === null ? null : addressText(lease.next.machine), last: lease.last === null ? null : addressText(lease.last.machine),
});

const versionJson = ({ revision, componentDigest, configurationDigest }: Version): { readonly [name: string]: Json } =>
  ({ revision, component: digestText(componentDigest), configuration: configurationDigest === null ? null : digestText(configurationDigest) });
const rolloutJson = (rollout: Rollout): Json => ({
  ...versionJson(rollout), weight: rollout.weight, weightNow: rollout.weightNow, replicas: rollout.replicas, healthySeconds: rollout.healthySeconds, deadlineSeconds: rollout.deadlineSeconds,
  failuresMax: rollout.failuresMax, failures: rollout.failures, deadline: decimal(rollout.deadline), healthyFrom: decimalOrNull(rollout.healthyFrom),
});

const taskJson = ({ phase, at, runs, failures, losses, attemptsMax, backOffSeconds, secondsMax, exitCode, reason }: TaskView): Json => ({
  phase, at: phase === "placing" ? null : decimal(at), runs, failures, losses, attemptsMax, backOffSeconds, secondsMax, exitCode: reason === "" ? null : exitCode, reason: reason === "" ? null : reason,
});

const scalingJson = ({ min, max, metric, target, rateMax, verdict, due }: ScalingView): Json =>
  ({ min, max, metric: METRICS[metric] ?? "requests", target, rateMax: decimal(rateMax), load: LOADS[verdict], due: decimalOrNull(due) });
const LOADS = ["low", "right", "high"] as const;

export const deploymentJson = (deployment: DeploymentView, leases: readonly LeaseView[], task: TaskView | null, scaling: ScalingView | null, host: string, url: string): Json => ({
  id: hex(deployment.id), owner: addressText(deployment.owner), name: deployment.name, state: deployment.state, host, url,
  component: digestText(deployment.componentDigest), configuration: deployment.configurationDigest === null ? null : digestText(deployment.configurationDigest),
  memoryMib: deployment.memoryMib, cpuMillis: deployment.cpuMillis, concurrency: deployment.concurrency, replicas: deployment.replicas,
  isolation: deployment.isolation === 1 ? "process" : "shared", rateMax: decimal(deployment.rateMax), createdHeight: deployment.createdHeight,
  failure: deployment.lastFailure === "" ? null : deployment.lastFailure, failedMachines: deployment.failedMachines.map(addressText),
  leases: leases.map((lease) => leaseJson(lease, deployment)), task: task === null ? null : taskJson(task), scaling: scaling === null ? null : scalingJson(scaling),
  revision: deployment.revision, rollout: deployment.rollout === null ? null : rolloutJson(deployment.rollout), history: deployment.history.map(versionJson),
  rolledBack: deployment.rolledBack === "" ? null : deployment.rolledBack,
  constraints: { regions: deployment.constraints.regions, operators: deployment.constraints.operators.map(addressText), labels: deployment.constraints.labels },
});

const segmentJson = (segment: SegmentView): Json => ({
  machine: addressText(segment.machine), operator: addressText(segment.operator), index: segment.index, rate: decimal(segment.rate), openedAt: decimal(segment.openedAt), end: decimalOrNull(segment.end),
  paidUntil: decimal(segment.paidUntil), place: segment.place, isPaid: segment.isPaid, seconds: decimal(segment.seconds), amount: decimal(segment.amount),
});

export const billJson = (bill: BillView): Json => ({
  deploymentId: hex(bill.deploymentId), owner: addressText(bill.owner), name: bill.name, closed: bill.closed, at: decimal(bill.at), since: decimal(bill.since),
  segments: bill.segments.map(segmentJson),
  earlier: { segments: bill.earlier.segments, seconds: decimal(bill.earlier.seconds), amount: decimal(bill.earlier.amount), digest: hex(bill.earlier.digest) },
  total: decimal(bill.total), paid: decimal(bill.paid), ratePerSecond: decimal(bill.ratePerSecond), balance: decimal(bill.balance),
  dryAt: decimalOrNull(bill.dryAt), runwaySeconds: decimalOrNull(bill.runwaySeconds), refunded: decimal(bill.refunded),
});

export const supplyJson = (supply: SupplyView): Json => ({
  balances: decimal(supply.balances), escrows: decimal(supply.escrows), bonds: decimal(supply.bonds), stakes: decimal(supply.stakes), locked: decimal(supply.locked), feePool: decimal(supply.feePool),
  burnt: decimal(supply.burnt), total: decimal(supply.total),
});

export const headerJson = (header: BlockHeader): Json => plain({ ...header });

export const eventJson = (event: LedgerEvent): Json => plain({ ...event });

const ADDRESSES: ReadonlySet<string> = new Set(["owner", "machine", "operator", "validator", "reporter", "sender", "recipient", "delegator"]);

/** For records whose fields are numbers, texts and bytes only: each by its type, addresses by their name. */
function plain(record: Readonly<Record<string, unknown>>): Json {
  return Object.fromEntries(Object.entries(record).map(([name, value]): [string, Json] => {
    if (value === null || typeof value === "string" || typeof value === "number" || typeof value === "boolean") return [name, value];
    if (typeof value === "bigint") return [name, decimal(value)];
    if (value instanceof Uint8Array) return [name, ADDRESSES.has(name) ? addressText(value) : hex(value)];
    throw new TypeError(`Cannot say field ${name} in JSON`);
  }));
}
