/**
 * What a key of an account may do. A key has a set of scopes, a limit of what it may still spend, and an expiry; operations say which
 * scope they need. `account` is everything: who may change the keys may do whatever keys may, so that such a key has no limits.
 */
import type { Operation } from "#chain/codec/transaction.ts";
import type { PublicKey } from "#chain/types.ts";

/** As bits of `scopes`. */
export const SCOPES = {
  /** Pay others. */
  transfer: 1,
  /** Deploy, change, fund and end deployments; hand claims in. */
  deploy: 2,
  /** Register, label, drain and retire machines, and what machines say themselves; read how a machine is. Commands to a machine (wipe, upgrade) need `account`. */
  machine: 4,
  /** Bond, unbond, unjail; report validators. */
  stake: 8,
  /** Sign API requests: private reads and uploads. */
  read: 16,
  /** Authorise and revoke keys, set the threshold. */
  account: 32,
} as const;
export type Scope = keyof typeof SCOPES;
/** Every scope, those of later versions too. */
export const SCOPES_ALL = 0xffff_ffff;

const OF: Readonly<Record<Operation["kind"], Scope>> = {
  transfer: "transfer", registerMachine: "machine", up: "machine", ready: "machine", failed: "machine", deploy: "deploy", resize: "deploy", scale: "deploy",
  topUp: "deploy", claim: "deploy", close: "deploy", bond: "stake", unbond: "stake", unjail: "stake", report: "stake", authorise: "account", revoke: "account",
  setThreshold: "account", update: "deploy", promote: "deploy", rollBack: "deploy", move: "deploy", constrain: "deploy", drain: "machine", retire: "machine", label: "machine", health: "machine", left: "machine",
  lock: "transfer", claimLock: "transfer", refundLock: "transfer", delegate: "stake", undelegate: "stake", setCommission: "stake",
  registerName: "deploy", renewName: "deploy", pointName: "deploy", transferName: "deploy", releaseName: "deploy", propose: "stake", vote: "stake", runTask: "deploy", taskEnded: "machine",
  autoscale: "deploy", load: "machine", wake: "machine", standby: "machine",
};
export const scopeOf = ({ kind }: Pick<Operation, "kind">): Scope => OF[kind];

export const mayDo = (scopes: number, scope: Scope): boolean => (scopes & SCOPES[scope]) !== 0;

/** Keys of an account that may do something at a time; null where it has no set yet, and the one that hashes to its address may. */
export function keysThatMay(keys: readonly { readonly key: PublicKey; readonly scopes: number; readonly expiryMs: bigint }[], scope: Scope, atMs: bigint): readonly PublicKey[] | null {
  return keys.length === 0 ? null : keys.filter(({ scopes, expiryMs }) => mayDo(scopes, scope) && expiryMs >= atMs).map(({ key }) => key);
}
