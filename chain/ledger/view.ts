/**
 * The read side of the ledger: what the API shows and what a machine acts on.
 *
 * A view reads one `Ledger` as it is. A node that must answer from final state while later blocks are speculative keeps two
 * ledgers: the tip, that consensus applies and reverts, and the final one, that each committed block is applied to.
 */
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
export type LeaseState = "pending" | "placed" | "ready" | "waiting";
export type LeaseView = {
  readonly deploymentId: Address;
  readonly index: number;
  readonly state: LeaseState;
  /** null unless placed or ready. */
  readonly machine: Address | null;
  /** Base units per second; 0 unless placed or ready. */
  readonly rate: bigint;
  /** Money second of the placement, and until when `ready` must come. */
  readonly placedAt: bigint;
  readonly readyBy: bigint;
  /** Why it is not running, or why it ran last on another machine: a LeaseEnd, or empty. */
  readonly lastEnd: string;
};
/** active; paused: after three machines failed; dry: its escrow ran out; closing: waits for the last payment. */
export type DeploymentState = "active" | "paused" | "dry" | "closing";
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
};

/** One line of a bill: one stretch of one lease on one machine at one rate. */
export type SegmentView = {
  readonly machine: Address;
  readonly index: number;
  readonly rate: bigint;
  readonly openedAt: bigint;
  /** null while it runs. */
  readonly end: bigint | null;
  readonly paidUntil: bigint;
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
  /** Oldest first. Of paid segments the newest 64 are kept; older ones are summed up in `earlier`. */
  readonly segments: readonly SegmentView[];
  readonly earlier: { readonly segments: number; readonly seconds: bigint; readonly amount: bigint };
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
/** Every pot of money; `total` is their sum and equals the genesis' for ever. */
export type SupplyView = {
  readonly balances: bigint;
  readonly escrows: bigint;
  readonly bonds: bigint;
  readonly feePool: bigint;
  readonly burnt: bigint;
  readonly total: bigint;
};
export type Page<T> = { readonly items: readonly T[]; /** Give this as `after` for the next page; null at the end. */ readonly next: Hex | null };

export type LedgerView = {
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
  leasesOfDeployment(id: Address): readonly LeaseView[];
  /** Placed and ready leases: what the machine shall run. */
  leasesOfMachine(id: Address): readonly LeaseView[];
  /** As of the money second `at`, which is at or after the ledger's. Also for closed deployments (the newest 4,096). */
  bill(deploymentId: Address, at: bigint): BillView | null;
  supply(): SupplyView;
  /** Money second in which the next block must come even if no transaction waits; null when nothing is due. */
  nextDueMoneySecond(): bigint | null;
};
export type PageRequest = { readonly after?: Hex; readonly limit?: number };

/** Why a lease left a machine. */
export type LeaseEnd = "scaled" | "closed" | "dry" | "failed" | "not_ready" | "rebooted" | "unfunded";
/** What a block did, for logs and subscribers: not part of the state. Seconds are money seconds. */
export type LedgerEvent =
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
  | { readonly kind: "paused"; readonly deploymentId: Address }
  | { readonly kind: "strike"; readonly machine: Address; readonly strikes: number }
  | { readonly kind: "machine"; readonly machine: Address; readonly operator: Address; readonly state: "up" | "down" }
  | { readonly kind: "closed"; readonly deploymentId: Address; readonly owner: Address; readonly refunded: bigint };
