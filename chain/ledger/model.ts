/**
 * What the state consists of: its kinds of entity, their keys, the layout of their leaves, and the lists they are found by.
 *
 * Entities are values: a change makes a new one. Each of `entryOf…` functions depends on the entity alone, so that whatever
 * undoes a change of an entity undoes its lists too. The archive is kept for bills and is no part of the state root.
 */
import { type Cbor, encode, encoded } from "#chain/codec/cbor.ts";
import { sha256Hex } from "#chain/crypto.ts";
import { stateKey } from "#chain/codec/proof.ts";
import { unpaidHash, unpaidLeaf } from "#chain/codec/segment.ts";
import type { Parameters } from "#chain/constants.ts";
import { sameBytes } from "#chain/ledger/block.ts";
import { type Escrow, type Segment, type Stream, dueSecond } from "#chain/ledger/escrow.ts";
import { type Holding, isHolding, keyOfHolding, leafOfHolding, listsOfHolding, moneyOfHolding } from "#chain/ledger/holdings.ts";
import { STAKE_MIN, UNHEALTHY_MOVES_COUNTED_MAX, UNHEALTHY_SECONDS } from "#chain/ledger/limits.ts";
import { type Pool, powerOf } from "#chain/ledger/pools.ts";
import type { DeploymentState, LeaseEnd, LeaseState } from "#chain/ledger/view.ts";
import type { RecentBlock } from "#chain/liveness/verdict.ts";
import { type Address, type Digest, type Hex, type PublicKey, U64_MAX } from "#chain/types.ts";

export type AccountKey = { readonly key: PublicKey; readonly scopes: number; readonly limit: bigint; readonly expiryMs: bigint };
export type Account = {
  readonly kind: "account";
  readonly address: Address;
  readonly balance: bigint;
  readonly nonce: bigint;
  /** Empty until the first transaction: then the key that hashes to the address is it. */
  readonly keys: readonly AccountKey[];
  readonly threshold: number;
};
/** What runs: replaced as a whole by an update. */
export type Version = { readonly revision: number; readonly componentDigest: Digest; readonly configurationDigest: Digest | null };
/** A revision beside the one that serves, until it is promoted or rolled back (rollout.ts). */
export type Rollout = Version & {
  /** Per mille of the requests that it takes once all its leases are ready and healthy; and what it takes now. */
  readonly weight: number;
  readonly weightNow: number;
  /** Leases that it has in this stage: a canary's share, then as many as the deployment. */
  readonly replicas: number;
  readonly healthySeconds: number;
  readonly deadlineSeconds: number;
  readonly failuresMax: number;
  readonly failures: number;
  /** Leases that were unhealthy where they are, ascending: each counts once as a failure until it has begun elsewhere. */
  readonly unwell: readonly number[];
  /** Money second at which it is rolled back. */
  readonly deadline: bigint;
  /** Since when all its leases are ready and healthy; null: they are not. */
  readonly healthyFrom: bigint | null;
};
/** Where a deployment may run; an empty list allows all. */
export type Constraints = { readonly regions: readonly string[]; readonly operators: readonly Address[]; readonly labels: readonly string[] };
export type Deployment = {
  readonly kind: "deployment";
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
  readonly rateMax: bigint;
  readonly isolation: 0 | 1;
  readonly createdHeight: number;
  readonly failures: number;
  readonly failedMachines: readonly Address[];
  readonly failedAt: bigint;
  readonly lastFailure: string;
  /** Σ rates of placed leases that have not said ready: money that placement counts on. */
  readonly reservedRate: bigint;
  readonly escrow: Escrow;
  /** Leases of the revision that serves begin at `slot × REVISION_SLOT`, those of the other at the other slot. */
  readonly slot: 0 | 1;
  readonly revision: number;
  /** The last number that a revision got. */
  readonly revisionLast: number;
  readonly rollout: Rollout | null;
  /** What served before, the newest first. */
  readonly history: readonly Version[];
  /** Why the last update was rolled back; empty: it was not. */
  readonly rolledBack: string;
  readonly constraints: Constraints;
  /** All that was ever paid from the escrow, and the hash of the segments that are paid in full (codec/segment.ts): what proves a bill. */
  readonly paid: bigint;
  readonly segments: Digest;
};
/** The machine that a lease moves to: placed, not ready. */
export type Successor = { readonly machine: Address; readonly rate: bigint; readonly placedAt: bigint };
/** The machine that a lease left: unpaid, it ends what it has begun. */
export type Predecessor = { readonly machine: Address; readonly until: bigint };
export type Lease = {
  readonly kind: "lease";
  readonly deploymentId: Address;
  readonly index: number;
  /** dry: within the block in which the escrow ran dry, until its placement step; still holds its capacity. */
  readonly state: LeaseState | "dry";
  readonly machine: Address | null;
  readonly rate: bigint;
  readonly placedAt: bigint;
  /** Height of the last block that looked for a machine in vain; 0: none did since it is pending. */
  readonly triedHeight: number;
  /** Where it did not get ready last: taken again only when nothing else qualifies. */
  readonly avoid: Address | null;
  readonly lastEnd: LeaseEnd | "";
  readonly revision: number;
  /** Money second since which its machine says that it does not answer as it should; 0: it does. */
  readonly unhealthyFrom: bigint;
  /** Moves because of that, one after the other: each waits twice as long. */
  readonly moves: number;
  /** What it paid a second when its machine was lost: a replacement at no more than that raises nothing. 0: none was, or money has run out since. */
  readonly rateLost: bigint;
  readonly next: Successor | null;
  readonly last: Predecessor | null;
};
export type Machine = {
  readonly kind: "machine";
  readonly id: Address;
  readonly key: PublicKey;
  readonly operator: Address;
  readonly up: boolean;
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
  readonly placeableFrom: bigint;
  /** Its operator wants it empty, or it is about to go: what runs here moves away, nothing comes. */
  readonly draining: boolean;
  /** By its own word, which is over when it comes up again; its operator's stands. */
  readonly isLeaving: boolean;
  readonly labels: readonly string[];
  /** The validator that it hosts, as its last `up` showed. */
  readonly validator: Address | null;
  /** Of the block that took its registration, or its last `up` or down. */
  readonly sinceHeight: number;
  /** Header times at which it went down, of the last hour. */
  readonly downs: readonly bigint[];
};
/** One leaf: the blocks that witnesses count time from, and when this epoch began (header time). */
export type Clocks = { readonly kind: "clocks"; readonly sinceMs: bigint; readonly blocks: readonly RecentBlock[] };
/** One leaf: the clock and the pots that are nobody's. */
export type Totals = {
  readonly kind: "totals";
  readonly height: number;
  readonly timeMs: bigint;
  readonly moneySecond: bigint;
  readonly feePool: bigint;
  readonly burnt: bigint;
  readonly supply: bigint;
  /** Until money second `stallUntil`, `claim` pays up to `stallUpTo` only. */
  readonly stallUpTo: bigint;
  readonly stallUntil: bigint;
};
/** Stake that was taken back and is not paid out yet: it can still be slashed. */
export type Unbonding = { readonly amount: bigint; /** Header time, and epoch, before which it is not paid out. */ readonly releaseMs: bigint; readonly releaseEpoch: number };
/** active: takes part when its stake is among the largest; jailed: was down; tombstoned: its key has signed against itself. */
export type ValidatorState = "active" | "jailed" | "tombstoned";
/** A consensus key with stake behind it. Its id is the key's address. */
export type Validator = {
  readonly kind: "validator";
  readonly id: Address;
  readonly key: PublicKey;
  readonly operator: Address;
  readonly state: ValidatorState;
  readonly stake: bigint;
  /** In the order in which they were asked for, so that the first is released first. */
  readonly unbonding: readonly Unbonding[];
  /** The operator's part of what delegators earn, in 1/10,000, and when it was raised last. */
  readonly commissionBps: number;
  readonly commissionAtMs: bigint;
  /** What others have behind it, and what of that is on its way back to them (delegation.ts). */
  readonly delegated: Pool;
  readonly leaving: Pool;
};
/** One of a set, by its index. */
export type Member = { readonly key: PublicKey; readonly weight: number; readonly operator: Address };
/** One leaf: who validates in the epoch of the next block, and who in the one after. */
export type Sets = { readonly kind: "sets"; readonly epoch: number; readonly current: readonly Member[]; readonly next: readonly Member[] };
/** The set of epochs that are over, as long as evidence of them counts: one leaf for epochs with the same one. */
export type Span = { readonly kind: "span"; readonly first: number; readonly last: number; readonly members: readonly Member[] };
/** One leaf: what each of the current set did in this epoch, by index. */
export type Presence = { readonly kind: "presence"; readonly blocks: number; readonly signed: readonly number[]; readonly proposed: readonly number[] };
export type PaidSegment = Omit<Stream, "paidUntil"> & { readonly end: bigint };
/** What a bill shows of the past; outside the state root. */
export type Archive = {
  readonly kind: "archive";
  readonly deploymentId: Address;
  readonly owner: Address;
  readonly name: string;
  /** Money second from which it is whole; 0 but on a machine that joined from a snapshot. */
  readonly since: bigint;
  readonly segments: readonly PaidSegment[];
  /** Those before `segments`, and their hash. */
  readonly earlier: { readonly segments: number; readonly seconds: bigint; readonly amount: bigint; readonly digest: Digest };
  readonly paid: bigint;
  readonly closedHeight: number | null;
  readonly refunded: bigint;
};
/** `segments`: the hash of those that were paid before it begins. */
export const newArchive = (deploymentId: Address, owner: Address, name: string, since: bigint, segments: Digest): Archive =>
  ({ kind: "archive", deploymentId, owner, name, since, segments: [], earlier: { segments: 0, seconds: 0n, amount: 0n, digest: segments }, paid: 0n, closedHeight: null, refunded: 0n });
export type Entity = Account | Deployment | Lease | Machine | Totals | Validator | Sets | Presence | Span | Clocks | Holding | Archive;

/** Keys (`codec/proof.ts`) are the hex of 25 bytes: kind, 20 bytes of id, index. */
export function accountKey(id: Address): string {
  for (let at = 0; at < lately.length; at++) if (lately[at]!.id === id) return lately[at]!.key;
  const made = { id, key: stateKey("account", id) };
  lately[latest = (latest + 1) % LATELY_MAX] = made;
  return made.key;
}
/** The very bytes of an address are asked for a dozen times while a transfer is done, which is between two accounts; bytes never change. */
const LATELY_MAX = 4;
const lately: { readonly id: Address; readonly key: string }[] = [];
let latest = -1;
export const deploymentKey = (id: Address): string => stateKey("deployment", id);
export const leaseKey = (deploymentId: Address, index: number): string => stateKey("lease", deploymentId, index);
export const machineKey = (id: Address): string => stateKey("machine", id);
export const machineKeyOf = (id: string): string => `04${id}00000000`;
export const TOTALS_KEY: string = stateKey("totals");
export const validatorKey = (id: Address): string => stateKey("validator", id);
export const SETS_KEY: string = stateKey("sets");
export const PRESENCE_KEY: string = stateKey("presence");
export const CLOCKS_KEY: string = stateKey("clocks");
export const spanKey = (first: number): string => stateKey("span", undefined, first);
export const archiveKey = (deploymentId: Address): string => `f0${deploymentId.toHex()}00000000`;
export function keyOf(entity: Entity): string {
  // Most of all, and asked first everywhere.
  if (entity.kind === "account") return accountKey(entity.address);
  if (isHolding(entity)) return keyOfHolding(entity);
  switch (entity.kind) {
    case "deployment": return deploymentKey(entity.id);
    case "lease": return leaseKey(entity.deploymentId, entity.index);
    case "machine": return machineKey(entity.id);
    case "totals": return TOTALS_KEY;
    case "validator": return validatorKey(entity.id);
    case "sets": return SETS_KEY;
    case "presence": return PRESENCE_KEY;
    case "span": return spanKey(entity.first);
    case "clocks": return CLOCKS_KEY;
    case "archive": return archiveKey(entity.deploymentId);
  }
}

export const isHashed = (key: string): boolean => !key.startsWith("f0");

/** Layouts of the leaves. An absent address or digest is h''. Changing one changes every root. */
export function leafOf(entity: Exclude<Entity, Archive>): Cbor {
  if (entity.kind === "account") return [entity.address, entity.balance, entity.nonce, entity.keys.map(({ key, scopes, limit, expiryMs }) => [key, scopes, limit, expiryMs]), entity.threshold];
  if (isHolding(entity)) return leafOfHolding(entity);
  switch (entity.kind) {
    case "deployment":
      return [
        entity.id, entity.owner, entity.name, DEPLOYMENT_STATES.indexOf(entity.state), entity.componentDigest, entity.configurationDigest ?? NONE,
        entity.memoryMib, entity.cpuMillis, entity.concurrency, entity.replicas, entity.rateMax, entity.isolation, entity.createdHeight,
        entity.failures, entity.failedMachines, entity.failedAt, entity.lastFailure, entity.reservedRate, escrowLeaf(entity.escrow),
        [
          entity.slot, entity.revision, entity.revisionLast, entity.rollout === null ? [] : rolloutLeaf(entity.rollout), entity.history.map(versionLeaf), entity.rolledBack,
          [entity.constraints.regions, entity.constraints.operators, entity.constraints.labels],
        ],
        [entity.paid, entity.segments],
      ];
    case "lease":
      return [
        entity.deploymentId, entity.index, LEASE_STATES.indexOf(entity.state), entity.machine ?? NONE, entity.rate, entity.placedAt, entity.triedHeight,
        entity.avoid ?? NONE, entity.lastEnd, entity.revision, entity.unhealthyFrom, entity.moves,
        entity.next === null ? [] : [entity.next.machine, entity.next.rate, entity.next.placedAt], entity.last === null ? [] : [entity.last.machine, entity.last.until], entity.rateLost,
      ];
    case "machine":
      return [
        entity.id, entity.key, entity.operator, entity.up ? 1 : 0, entity.bootId, entity.memoryMib, entity.cpuMillis, entity.memoryMibUsed, entity.cpuMillisUsed,
        entity.leases, entity.pricePerGibSecond, entity.pricePerCoreSecond, entity.region, entity.bond, entity.strikes, entity.placeableFrom,
        entity.isLeaving ? 2 : entity.draining ? 1 : 0, entity.labels,
        entity.validator ?? NONE, entity.sinceHeight, entity.downs,
      ];
    case "totals":
      return [entity.height, entity.timeMs, entity.moneySecond, entity.feePool, entity.burnt, entity.supply, entity.stallUpTo, entity.stallUntil];
    case "validator":
      return [
        entity.id, entity.key, entity.operator, VALIDATOR_STATES.indexOf(entity.state), entity.stake,
        entity.unbonding.map(({ amount, releaseMs, releaseEpoch }) => [amount, releaseMs, releaseEpoch]),
        entity.commissionBps, entity.commissionAtMs, entity.delegated.units, entity.delegated.shares, entity.leaving.units, entity.leaving.shares,
      ];
    case "sets": return [entity.epoch, entity.current.map(memberLeaf), entity.next.map(memberLeaf)];
    case "presence": return [entity.blocks, entity.signed, entity.proposed];
    case "span": return [entity.first, entity.last, entity.members.map(memberLeaf)];
    case "clocks": return [entity.sinceMs, entity.blocks.map(({ height, timeMs, moneySecond }) => [height, timeMs, moneySecond])];
  }
}
/** The hash of `valueOf`. */
export const valueHashOf = (entity: Exclude<Entity, Archive>): Hex =>
  entity.kind === "deployment" ? sha256Hex(valueOf(entity)) : encoded(leafOf(entity), sha256Hex);
/** What a leaf's value hash is of. The two lists of an escrow, which can be long, stand in it as their hash: a proof of a deployment stays short. */
export function valueOf(entity: Exclude<Entity, Archive>): Uint8Array {
  const leaf = leafOf(entity);
  if (entity.kind !== "deployment") return encode(leaf);
  const items = leaf as readonly Cbor[];
  const [balance, owed, rate, at, dry, streams, ended] = items[18] as readonly [Cbor, Cbor, Cbor, Cbor, Cbor, Cbor, Cbor];
  return encode([...items.slice(0, 18), [balance, owed, rate, at, dry, unpaidHash(streams, ended)], ...items.slice(19)]);
}
const memberLeaf = ({ key, weight, operator }: Member): Cbor => [key, weight, operator];
export const VALIDATOR_STATES: readonly ValidatorState[] = ["active", "jailed", "tombstoned"];
const NONE = new Uint8Array(0);
export const DEPLOYMENT_STATES: readonly DeploymentState[] = ["active", "paused", "dry", "closing", "ended"];
export const LEASE_STATES: readonly Lease["state"][] = ["pending", "placed", "ready", "waiting", "dry", "moving"];
const versionLeaf = ({ revision, componentDigest, configurationDigest }: Version): Cbor => [revision, componentDigest, configurationDigest ?? NONE];
const rolloutLeaf = (rollout: Rollout): Cbor => [
  versionLeaf(rollout), rollout.weight, rollout.weightNow, rollout.replicas, rollout.healthySeconds, rollout.deadlineSeconds, rollout.failuresMax, rollout.failures,
  rollout.deadline, rollout.healthyFrom === null ? [] : [rollout.healthyFrom], rollout.unwell,
];
/** The second in which a rollout goes on by itself, or ends. */
export const rolloutDue = ({ deadline, healthyFrom, healthySeconds }: Rollout): bigint =>
  healthyFrom !== null && healthyFrom + BigInt(healthySeconds) < deadline ? healthyFrom + BigInt(healthySeconds) : deadline;
/** How long a lease that does not answer as it should stays where it is. */
export const unhealthyUntil = ({ unhealthyFrom, moves }: Lease): bigint => unhealthyFrom + (UNHEALTHY_SECONDS << BigInt(Math.min(moves, UNHEALTHY_MOVES_COUNTED_MAX)));
const escrowLeaf = (e: Escrow): Cbor =>
  [e.balance, e.owed, e.rate, e.at, e.dry === null ? [] : [e.dry], e.streams.map((stream) => unpaidLeaf({ ...stream, end: null })), e.ended.map(unpaidLeaf)];

/** The money in an entity: what conservation adds up. */
export function moneyOf(entity: Entity | undefined): bigint {
  if (entity === undefined) return 0n;
  if (entity.kind === "account") return entity.balance;
  if (isHolding(entity)) return moneyOfHolding(entity);
  switch (entity.kind) {
    case "deployment": return entity.escrow.balance;
    case "machine": return entity.bond;
    case "totals": return entity.feePool + entity.burnt;
    case "validator": return entity.unbonding.reduce((sum, { amount }) => sum + amount, entity.stake + entity.delegated.units + entity.leaving.units);
    case "lease":
    case "sets":
    case "presence":
    case "span":
    case "clocks":
    case "archive": return 0n;
  }
}

/**
 * The lists, as strings in one ordered set; the first letter says which:
 *   n owner:name:id   o owner id       deployments by name (none that is closing or has ended) and by owner
 *   m machine id index                 leases that a machine holds
 *   h machine id index                 leases that it holds beside: they move to it, or left it just now
 *   u machine id                       deployments with segments on a machine that are not paid
 *   p tried id index                   leases that look for a machine
 *   c price machine                    machines that are up and not being emptied, cheapest first
 *   t second kind id index             due: 0 escrows, 1 leases that were not ready in time, 2 rollouts, 3 leases that are not healthy, 4 leases that have left, 7 tasks (taskState.ts), 8 steps of scaling
 *   s rest id                          active validators, largest stake first (rest = the largest u64 − stake with what is delegated)
 *   b time id                          validators with unbonding stake, by when the first of it is released
 *   e last first                       sets of epochs that are over
 *   L …                                what holders have (holdings.ts)
 *   d id   k id   v id   z height id   all deployments, all machines, all validators, closed deployments of the archive
 */
export const IN_NO_LIST: ReadonlySet<Entity["kind"]> = new Set(["account", "sets", "presence", "clocks", "totals"]);
export function listEntries(entity: Entity, rules: Parameters): readonly string[] {
  if (isHolding(entity)) return listsOfHolding(entity);
  switch (entity.kind) {
    case "account":
    case "sets":
    case "presence":
    case "clocks":
    case "totals": return [];
    case "span": return [`e${hex8(entity.last)}${hex8(entity.first)}`];
    case "validator": {
      const id = entity.id.toHex();
      const entries = [`v${id}`];
      if (entity.state === "active" && entity.stake >= STAKE_MIN) entries.push(`s${hex20(U64_MAX - powerOf(entity))}${id}`);
      const [first] = entity.unbonding;
      if (first) entries.push(`b${hex20(first.releaseMs)}${id}`);
      return entries;
    }
    case "deployment": {
      const id = entity.id.toHex();
      const entries = [`d${id}`, `o${entity.owner.toHex()}${id}`];
      if (entity.state !== "closing" && entity.state !== "ended") entries.push(`n${entity.owner.toHex()}:${entity.name}:${id}`);
      const due = dueSecond(entity.escrow, rules);
      if (due !== null) entries.push(`t${hex20(due)}0${id}`);
      if (entity.rollout !== null) entries.push(`t${hex20(rolloutDue(entity.rollout))}2${id}`);
      for (const machine of machinesOf(entity.escrow.ended)) entries.push(`u${machine}${id}`);
      return entries;
    }
    case "lease": {
      const name = entity.deploymentId.toHex() + hex8(entity.index);
      const entries: string[] = [];
      if (entity.machine !== null) entries.push(`m${entity.machine.toHex()}${name}`);
      const { state, next, last, unhealthyFrom } = entity;
      if (state === "pending" || (state === "moving" && next === null)) entries.push(`p${hex8(entity.triedHeight)}${name}`);
      if (state === "placed") entries.push(`t${hex20(entity.placedAt + rules.readySecondsMax)}1${name}`);
      if (next !== null) entries.push(`h${next.machine.toHex()}${name}`, `t${hex20(next.placedAt + rules.readySecondsMax)}1${name}`);
      if (state === "ready" && unhealthyFrom > 0n) entries.push(`t${hex20(unhealthyUntil(entity))}3${name}`);
      // An entry is in the set once, also where both are one machine (placement never makes that so).
      if (last !== null && !sameBytes(last.machine, next?.machine ?? null)) entries.push(`h${last.machine.toHex()}${name}`);
      if (last !== null) entries.push(`t${hex20(last.until)}4${name}`);
      return entries;
    }
    case "machine": {
      const id = entity.id.toHex();
      const entries = [`k${id}`];
      if (entity.up && !entity.draining) entries.push(`c${hex20(entity.pricePerGibSecond + entity.pricePerCoreSecond)}${id}`);
      return entries;
    }
    case "archive": return entity.closedHeight === null ? [] : [`z${hex8(entity.closedHeight)}${entity.deploymentId.toHex()}`];
  }
}

const machinesKnown = new WeakMap<readonly Segment[], readonly string[]>();
/** Machines with unpaid segments; kept by the list's identity, as most changes of a deployment leave it alone. */
function machinesOf(ended: readonly Segment[]): readonly string[] {
  const known = machinesKnown.get(ended);
  if (known) return known;
  const machines = [...new Set(ended.map((segment) => segment.machine.toHex()))];
  machinesKnown.set(ended, machines);
  return machines;
}

export const hex8 = (n: number): string => n.toString(16).padStart(8, "0");
/** 20 digits: a second of money time can lie beyond a u64 when a rate of 1 is paid from all the money there is. */
export const hex20 = (n: bigint): string => n.toString(16).padStart(20, "0");
