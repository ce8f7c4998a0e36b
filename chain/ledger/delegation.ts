/**
 * Delegation: anybody's tokens behind a validator, by shares of its pool (`pools.ts`). A reward raises what a share is worth and a slash lowers
 * it, for all at once: no block looks at delegators one by one.
 *
 * What is taken back goes over into a second pool of the validator, which earns nothing, can be slashed as own stake can, and is paid out by
 * itself when its time is over. Delegated tokens weigh up to ten times the operator's own stake: who has nothing to lose moves no others'.
 * A commission may be raised by a hundredth, and again after a seventh of the time that leaving takes: who does not agree is gone before it hurts.
 */
import { type Delegate, type SetCommission, type Undelegate, delegationIdOf } from "#chain/codec/holderOperations.ts";
import { type BlockContext, OK, type Origin, type Result, credit, debit, unfunded } from "#chain/ledger/block.ts";
import type { DelegationHeld } from "#chain/ledger/holdings.ts";
import {
  COMMISSION_RAISES_PER_UNBONDING, COMMISSION_STEP_BPS_MAX, DELEGATED_PER_STAKE_MAX, DELEGATION_MIN, DELEGATION_RELEASES_PER_BLOCK_MAX, STAKE_MIN, UNBONDINGS_MAX, UNBONDING_EPOCHS,
} from "#chain/ledger/limits.ts";
import type { Validator } from "#chain/ledger/model.ts";
import { type Pool, isGone, putIn, sharesFor, takeOut, unitsFor } from "#chain/ledger/pools.ts";
import { parseId } from "#chain/ledger/state.ts";
import { type Address, refuse } from "#chain/types.ts";

/** What of a validator's reward is its delegators': by what is theirs of its stake, less the commission. */
export function shareOfDelegators(reward: bigint, { stake, delegated, commissionBps }: Validator): bigint {
  if (delegated.units === 0n) return 0n;
  const part = (reward * delegated.units) / (stake + delegated.units);
  return (part * BigInt(10_000 - commissionBps)) / 10_000n;
}

export function delegate({ state, events }: BlockContext, { validator: id, amount, commissionMax }: Delegate, { sender }: Origin): Result {
  const validator = state.validator(id);
  if (!validator) return unknown(id);
  if (validator.state !== "active") return refuse("not_active", `Cannot delegate to validator ${id.toHex()} as it is ${validator.state}`);
  if (validator.commissionBps > commissionMax) return refuse("commission_too_high", `Cannot delegate for a commission of at most ${commissionMax} as it is ${validator.commissionBps}`);
  if (amount < DELEGATION_MIN) return refuse("bad_amount", `Cannot delegate ${amount} as ${DELEGATION_MIN} is the least`);
  if (validator.stake < STAKE_MIN || validator.delegated.units + amount > validator.stake * DELEGATED_PER_STAKE_MAX) {
    return refuse("over_delegated", `Cannot delegate ${amount} as no more than ${DELEGATED_PER_STAKE_MAX} times the operator's own ${validator.stake} may be behind it`);
  }
  const shares = sharesFor(validator.delegated, amount);
  if (shares === 0n) return refuse("bad_amount", `Cannot delegate ${amount} as a share is worth more`);
  if (!debit(state, sender, amount)) return unfunded(`delegate ${amount}`);
  const held = delegationOf(state, id, sender);
  state.put({ ...validator, delegated: putIn(validator.delegated, amount, shares) });
  state.put({ ...held, shares: held.shares + shares });
  events.push({ kind: "delegated", validator: id, delegator: sender, amount, shares });
  return OK;
}

export function undelegate({ state, events, timeMs, rules }: BlockContext, { validator: id, shares }: Undelegate, { sender }: Origin): Result {
  const validator = state.validator(id);
  const held = state.delegation(delegationIdOf(id, sender));
  if (!validator || !held) return refuse("delegation_unknown", `Cannot take shares of validator ${id.toHex()} back as the account has none`);
  if (shares > held.shares) return refuse("insufficient_funds", `Cannot take ${shares} shares back as the account has ${held.shares}`);
  const amount = unitsFor(validator.delegated, shares);
  if (amount === 0n) return refuse("bad_amount", `Cannot take back ${shares} shares as they are worth nothing`);
  const left = held.shares - shares;
  if (left > 0n && unitsFor(validator.delegated, left) < DELEGATION_MIN) return refuse("stake_too_small", `Cannot leave ${left} shares as they are worth less than ${DELEGATION_MIN}: take all of them`);
  if (held.leaving.length >= UNBONDINGS_MAX) return refuse("too_many_changes", `Cannot take more back as ${UNBONDINGS_MAX} amounts are on their way`);
  const on = sharesFor(validator.leaving, amount);
  if (on === 0n) return refuse("bad_amount", `Cannot take ${amount} back as it is too little`);
  const releaseMs = timeMs + rules.unbondingMs;
  state.put({ ...validator, delegated: takeOut(validator.delegated, amount, shares), leaving: putIn(validator.leaving, amount, on) });
  state.put({ ...held, shares: left, leaving: [...held.leaving, { shares: on, releaseMs, releaseEpoch: state.sets.epoch + UNBONDING_EPOCHS }] });
  events.push({ kind: "undelegated", validator: id, delegator: sender, amount, releaseMs });
  return OK;
}

/** The operator's word; `stake.ts` checked that it is. Nobody is there whom a first rate could surprise. */
export function commissionAfter({ timeMs, rules }: BlockContext, validator: Validator, { bps }: SetCommission): { readonly ok: true; readonly validator: Validator } | ReturnType<typeof refuse> {
  if (bps > 10_000) return refuse("bad_commission", `Cannot take a commission of ${bps} of 10,000`);
  const isRaise = bps > validator.commissionBps && validator.delegated.shares > 0n;
  if (!isRaise) return { ok: true, validator: { ...validator, commissionBps: bps } };
  const next = validator.commissionAtMs + rules.unbondingMs / COMMISSION_RAISES_PER_UNBONDING;
  if (bps > validator.commissionBps + COMMISSION_STEP_BPS_MAX || timeMs < next) {
    return refuse("commission_too_fast", `Cannot raise the commission from ${validator.commissionBps} to ${bps} as it may rise by ${COMMISSION_STEP_BPS_MAX} at once, and not before ${next}`);
  }
  return { ok: true, validator: { ...validator, commissionBps: bps, commissionAtMs: timeMs } };
}

/** Cuts the part that `cut` says from all who delegated, those who are leaving too. */
export const slashDelegated = ({ delegated, leaving }: Validator, cut: (amount: bigint) => bigint): { readonly delegated: Pool; readonly leaving: Pool; readonly amount: bigint } => ({
  delegated: { ...delegated, units: delegated.units - cut(delegated.units) }, leaving: { ...leaving, units: leaving.units - cut(leaving.units) },
  amount: cut(delegated.units) + cut(leaving.units),
});

/** Pays what has left and whose time is over: in each block the first few by time, so that nobody's wait is made long by many small ones. */
export function releaseDelegations({ state, timeMs, events }: BlockContext): void {
  for (const entry of state.listed("B", DELEGATION_RELEASES_PER_BLOCK_MAX)) {
    if (BigInt(`0x${entry.slice(0, 20)}`) > timeMs) return;
    const held = state.delegation(parseId(entry.slice(20))) as DelegationHeld;
    const due = held.leaving.filter(({ releaseMs, releaseEpoch }) => releaseMs <= timeMs && releaseEpoch <= state.sets.epoch);
    if (due.length === 0) continue;
    let validator = state.validator(held.validator) as Validator;
    let amount = 0n;
    for (const { shares } of due) {
      const units = unitsFor(validator.leaving, shares);
      validator = { ...validator, leaving: takeOut(validator.leaving, units, shares) };
      amount += units;
    }
    if (isGone(validator)) state.remove(validator);
    else state.put(validator);
    const left: DelegationHeld = { ...held, leaving: held.leaving.filter((one) => !due.includes(one)) };
    if (left.shares === 0n && left.leaving.length === 0) state.remove(left);
    else state.put(left);
    credit(state, held.delegator, amount);
    events.push({ kind: "delegationPaid", validator: held.validator, delegator: held.delegator, amount });
  }
}

const delegationOf = (state: BlockContext["state"], validator: Address, delegator: Address): DelegationHeld => {
  const id = delegationIdOf(validator, delegator);
  return state.delegation(id) ?? { kind: "delegation", id, validator, delegator, shares: 0n, leaving: [] };
};
const unknown = (id: Address): Result => refuse("validator_unknown", `Cannot find validator ${id.toHex()}`);
