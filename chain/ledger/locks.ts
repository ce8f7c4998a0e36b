/**
 * Hash-time-locked transfers: money that goes to one account when a secret is shown in time, and back to the other when it is not. Two of
 * them with one hash, on two chains, are a swap that nobody can run away from half done.
 *
 * Time is header time. `claimLock` counts in blocks before `expiryMs`, `refundLock` from then on: never both, and one of them always. Nothing
 * happens by itself, so that a lock costs a block nothing; anybody may send either, for it is fixed where the money goes.
 */
import { type ClaimLock, type Lock, type RefundLock, lockIdOf } from "#chain/codec/holderOperations.ts";
import { sha256 } from "#chain/crypto.ts";
import { type BlockContext, OK, type Origin, type Result, credit, debit, sameBytes, unfunded } from "#chain/ledger/block.ts";
import type { LockHeld } from "#chain/ledger/holdings.ts";
import { LOCK_MS_MAX } from "#chain/ledger/limits.ts";
import { type Address, refuse } from "#chain/types.ts";

export function lock({ state, timeMs, events }: BlockContext, { to, amount, hash, expiryMs }: Lock, { sender, nonce, opIndex }: Origin): Result {
  if (amount === 0n) return refuse("bad_amount", "Cannot lock nothing");
  if (expiryMs <= timeMs || expiryMs > timeMs + LOCK_MS_MAX) return refuse("bad_expiry", `Cannot lock until ${expiryMs} as it is ${timeMs} and a lock holds for ${LOCK_MS_MAX} ms at most`);
  if (!debit(state, sender, amount)) return unfunded(`lock ${amount}`);
  const held: LockHeld = { kind: "lock", id: lockIdOf(sender, nonce, opIndex), sender, recipient: to, amount, hash, expiryMs };
  state.put(held);
  events.push({ kind: "locked", lock: held.id, sender, recipient: to, amount, hash, expiryMs });
  return OK;
}

export function claimLock({ state, timeMs, events }: BlockContext, { lock: id, preimage }: ClaimLock): Result {
  const held = state.lock(id);
  if (!held) return unknown(id);
  if (timeMs >= held.expiryMs) return refuse("lock_expired", `Cannot claim lock ${id.toHex()} as it held until ${held.expiryMs} and it is ${timeMs}`);
  if (!sameBytes(sha256(preimage), held.hash)) return refuse("wrong_preimage", `Cannot claim lock ${id.toHex()} with a secret that does not hash to ${held.hash.toHex()}`);
  state.remove(held);
  credit(state, held.recipient, held.amount);
  events.push({ kind: "lockClaimed", lock: id, recipient: held.recipient, amount: held.amount, preimage });
  return OK;
}

export function refundLock({ state, timeMs, events }: BlockContext, { lock: id }: RefundLock): Result {
  const held = state.lock(id);
  if (!held) return unknown(id);
  if (timeMs < held.expiryMs) return refuse("lock_not_expired", `Cannot refund lock ${id.toHex()} as it holds until ${held.expiryMs} and it is ${timeMs}`);
  state.remove(held);
  credit(state, held.sender, held.amount);
  events.push({ kind: "lockRefunded", lock: id, sender: held.sender, amount: held.amount });
  return OK;
}

const unknown = (id: Address): Result => refuse("lock_unknown", `Cannot find lock ${id.toHex()}: it never was, or was claimed or refunded`);
