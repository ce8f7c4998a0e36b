/**
 * A pool: money that belongs to many by shares. Who puts money in gets shares at the rate of then, who takes shares out gets what they
 * are worth now; money that comes to the pool, or is cut from it, is everybody's by their shares, and nobody is looked up.
 *
 * Both divisions round down, to the pool's favour: nobody gets out more than there is, and the last one takes all of it. Invariant: a pool
 * has shares exactly when it has money.
 */
import assert from "node:assert";
import { DELEGATED_PER_STAKE_MAX, STAKE_MIN } from "#chain/ledger/limits.ts";
import type { Validator } from "#chain/ledger/model.ts";

export type Pool = { readonly units: bigint; readonly shares: bigint };
export const EMPTY_POOL: Pool = Object.freeze({ units: 0n, shares: 0n });

/** Shares that so much money buys; one each in an empty pool. */
export const sharesFor = (pool: Pool, units: bigint): bigint => (pool.shares === 0n ? units : (units * pool.shares) / pool.units);
/** What so many shares are worth. */
export const unitsFor = (pool: Pool, shares: bigint): bigint => (pool.shares === 0n ? 0n : (pool.units * shares) / pool.shares);

export const putIn = (pool: Pool, units: bigint, shares: bigint): Pool => ({ units: pool.units + units, shares: pool.shares + shares });
export function takeOut(pool: Pool, units: bigint, shares: bigint): Pool {
  const left = { units: pool.units - units, shares: pool.shares - shares };
  assert(left.units >= 0n && (left.units > 0n) === (left.shares > 0n), "a pool has shares exactly when it has money");
  return left;
}

/** What a validator has of others, before anybody delegated. */
export const UNDELEGATED: Pick<Validator, "commissionBps" | "commissionAtMs" | "delegated" | "leaving"> = { commissionBps: 1_000, commissionAtMs: 0n, delegated: EMPTY_POOL, leaving: EMPTY_POOL };

/** The stake that a validator weighs by: its own, and what is delegated up to a multiple of that. */
export function powerOf({ stake, delegated }: Pick<Validator, "stake" | "delegated">): bigint {
  if (stake < STAKE_MIN) return 0n;
  const most = stake * DELEGATED_PER_STAKE_MAX;
  return stake + (delegated.units < most ? delegated.units : most);
}

export const isGone = ({ stake, unbonding, delegated, leaving, state }: Validator): boolean =>
  stake === 0n && unbonding.length === 0 && delegated.shares === 0n && leaving.shares === 0n && state !== "tombstoned";
