/**
 * The ceiling of a deployment that scales by itself: what all its leases together may cost a second. Placement keeps to it, and so does whatever
 * else can make them dearer; at their full rates, so that what is on standby can always wake.
 */
import type { BlockContext } from "#chain/ledger/block.ts";
import { extraOf } from "#chain/ledger/leases.ts";
import { REVISION_SLOT } from "#chain/ledger/limits.ts";
import type { Deployment, Lease } from "#chain/ledger/model.ts";
import type { State } from "#chain/ledger/state.ts";
import { type Address, type Refusal, refuse } from "#chain/types.ts";

/** What all leases cost that hold a machine, each at its full rate and where it moves to if that is dearer. */
export const committedRate = (state: State, id: Address): bigint =>
  state.leasesOf(id).reduce((sum, lease) => sum + (lease.machine === null ? 0n : lease.rate) + (lease.next === null ? 0n : extraOf(lease, lease.next)), 0n);

/** The most that a lease may cost that looks for a machine; null: the ceiling leaves that open. */
export function rateLeft(state: State, id: Address, lease: Lease): bigint | null {
  const held = state.scaling(id);
  return held === undefined || held.rateMax === 0n ? null : held.rateMax - committedRate(state, id) + lease.rate;
}

/** After a change, or with `more` on top: why the deployment would cost too much. */
export function ceilingRefusal({ state }: BlockContext, id: Address, more: bigint = 0n): Refusal | null {
  const held = state.scaling(id);
  if (held === undefined || held.rateMax === 0n) return null;
  const rate = committedRate(state, id) + more;
  return rate <= held.rateMax ? null : refuse("rate_above_ceiling", `Cannot run deployment ${id.toHex()} at ${rate} per second as its ceiling is ${held.rateMax}`);
}

/** Operators whose machines take a lease last of all, as they asked for it. */
export function reportersOf(state: State, { id, slot }: Deployment, lease: Lease): readonly Address[] {
  const held = state.scaling(id);
  return held !== undefined && lease.index - slot * REVISION_SLOT >= held.grownFrom ? held.reporters : [];
}
