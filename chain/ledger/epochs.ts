/**
 * Epochs: who validates, what each did, what they are paid for it, and who is down.
 *
 * Block h belongs to epoch ⌊(h − 1) / epochBlocks⌋; the last block of epoch e takes these steps after its transactions:
 *   1 the fee pool is given to the set of e by weight × parents signed, rounded down; the rest stays in the pool. What of it is
 *     delegators' goes into their pool (`delegation.ts`)
 *   2 who was down is jailed      3 unbonding stake whose time has come is paid out
 *   4 the set of e+1, fixed an epoch ago, takes over, and that of e+2 is made of the largest stakes.
 * So headers of epoch e can name the set of e and that of e+1 throughout: both are in the state of the parent.
 *
 * The signers of a block's parent stand in the block's header. Those of an epoch's last block come when it is paid: they count
 * for nobody, nor do those of the genesis.
 */
import { addressOf } from "#chain/codec/address.ts";
import type { GenesisValidator } from "#chain/codec/genesis.ts";
import { signersOf } from "#chain/codec/quorum.ts";
import { STAKE_PER_WEIGHT, WEIGHT_SUM_MAX } from "#chain/constants.ts";
import { type BlockContext, credit, sameBytes } from "#chain/ledger/block.ts";
import { shareOfDelegators } from "#chain/ledger/delegation.ts";
import { EVIDENCE_EPOCHS_MAX, PRESENCE_PERCENT_MIN, RELEASES_PER_EPOCH_MAX } from "#chain/ledger/limits.ts";
import type { Member, Presence, Validator } from "#chain/ledger/model.ts";
import { UNDELEGATED, isGone, powerOf, putIn } from "#chain/ledger/pools.ts";
import { endVotes } from "#chain/ledger/votes.ts";
import { type State, parseId } from "#chain/ledger/state.ts";

/** What ended with a block: the epoch, and the sets of the next one and the one after. */
export type EpochEnd = { readonly epoch: number; readonly validators: readonly Member[]; readonly next: readonly Member[] };

export const isEpochEnd = (height: number, epochBlocks: number): boolean => height > 0 && height % epochBlocks === 0;

/** The first two sets, and the stake behind them: a token for each unit of weight, on top of the accounts. */
export function foundSets(state: State, validators: readonly GenesisValidator[]): bigint {
  let staked = 0n;
  for (const { publicKey: key, weight, operator } of validators) {
    const stake = BigInt(weight) * STAKE_PER_WEIGHT;
    staked += stake;
    state.put({ kind: "validator", id: addressOf(key), key, operator, state: "active", stake, unbonding: [], ...UNDELEGATED });
  }
  const members = validators.map(({ publicKey: key, weight, operator }): Member => ({ key, weight, operator }));
  state.put({ kind: "sets", epoch: 0, current: members, next: members });
  state.put(nobodyYet(members));
  return staked;
}

const nobodyYet = (members: readonly Member[]): Presence =>
  ({ kind: "presence", blocks: 0, signed: members.map(() => 0), proposed: members.map(() => 0) });

/** At the start of a block: who signed its parent, and who proposes it. What does not fit the set counts for nobody. */
export function notePresence({ state, rules, height }: BlockContext, parentBitmap: Uint8Array, proposer: number | null): void {
  const { sets, presence } = state;
  const proposed = proposer === null || proposer >= sets.current.length ? presence.proposed : raised(presence.proposed, [proposer]);
  const isFirst = (height - 1) % rules.epochBlocks === 0;
  const signers = isFirst ? null : signersOf(parentBitmap, sets.current.length);
  if (signers === null) return state.put({ ...presence, proposed });
  state.put({ ...presence, blocks: presence.blocks + 1, signed: raised(presence.signed, signers), proposed });
}

function raised(counts: readonly number[], indices: readonly number[]): readonly number[] {
  const more = [...counts];
  for (const index of indices) more[index]! += 1;
  return more;
}

/** The last step of an epoch's last block. */
export function endEpoch(context: BlockContext): EpochEnd {
  const { state } = context;
  const { epoch, current, next } = state.sets;
  payRewards(context, current);
  jailSilent(context, current);
  releaseStake(context);
  remember(state, epoch, current);
  endVotes(context, epoch, current);
  const after = nextSet(state, next);
  state.put({ kind: "sets", epoch: epoch + 1, current: next, next: after });
  state.put(nobodyYet(next));
  state.put({ ...state.clocks, sinceMs: context.timeMs });
  context.events.push({ kind: "epoch", epoch: epoch + 1, validators: next.length });
  return { epoch, validators: next, next: after };
}

function payRewards({ state, events }: BlockContext, current: readonly Member[]): void {
  const { signed } = state.presence;
  const pool = state.totals.feePool;
  const points = current.map(({ weight }, index) => BigInt(weight) * BigInt(signed[index]!));
  const all = points.reduce((sum, one) => sum + one, 0n);
  if (all === 0n || pool === 0n) return;
  let paid = 0n;
  for (const [index, { key, operator }] of current.entries()) {
    const amount = (pool * points[index]!) / all;
    if (amount === 0n) continue;
    paid += amount;
    const id = addressOf(key);
    const validator = state.validator(id);
    const delegators = validator ? shareOfDelegators(amount, validator) : 0n;
    if (validator && delegators > 0n) state.put({ ...validator, delegated: putIn(validator.delegated, delegators, 0n) });
    credit(state, operator, amount - delegators);
    events.push({ kind: "rewarded", validator: id, operator, amount: amount - delegators, delegators });
  }
  state.put({ ...state.totals, feePool: pool - paid });
}

/** Down for an epoch: out of the next set that is made, until its operator says that it is back. Nothing is taken. */
function jailSilent({ state, events }: BlockContext, current: readonly Member[]): void {
  const { blocks, signed, proposed } = state.presence;
  for (const [index, { key }] of current.entries()) {
    const isSilent = proposed[index] === 0 && signed[index]! * 100 < blocks * PRESENCE_PERCENT_MIN;
    const validator = isSilent ? state.validator(addressOf(key)) : undefined;
    if (validator?.state !== "active") continue;
    state.put({ ...validator, state: "jailed" });
    events.push({ kind: "validator", validator: validator.id, operator: validator.operator, state: "jailed" });
  }
}

/** Pays out what is unbonded by time and by epoch; a validator that nothing is left of, and nothing is held against, is gone. */
function releaseStake({ state, timeMs, events }: BlockContext): void {
  const epoch = state.sets.epoch + 1;
  for (const entry of state.listed("b", RELEASES_PER_EPOCH_MAX)) {
    const validator = state.validator(parseId(entry.slice(20))) as Validator;
    const due = validator.unbonding.filter(({ releaseMs, releaseEpoch }) => releaseMs <= timeMs && releaseEpoch <= epoch);
    if (due.length === 0) continue;
    const amount = due.reduce((sum, one) => sum + one.amount, 0n);
    const left: Validator = { ...validator, unbonding: validator.unbonding.filter((one) => !due.includes(one)) };
    if (isGone(left)) state.remove(left);
    else state.put(left);
    credit(state, validator.operator, amount);
    events.push({ kind: "unbonded", validator: validator.id, operator: validator.operator, amount });
  }
}

/** Keeps the set for evidence, with those of the epochs before when it is the same, and forgets the oldest. */
function remember(state: State, epoch: number, members: readonly Member[]): void {
  const before = epoch > 0 ? state.spanOf(epoch - 1) : undefined;
  if (before && sameMembers(before.members, members)) state.put({ ...before, last: epoch });
  else state.put({ kind: "span", first: epoch, last: epoch, members });
  const oldest = state.lists.first("e")!;
  const last = Number.parseInt(oldest.slice(1, 9), 16);
  if (last + EVIDENCE_EPOCHS_MAX < epoch) state.remove(state.spanOf(last)!);
}
const sameMembers = (a: readonly Member[], b: readonly Member[]): boolean =>
  a.length === b.length && a.every((one, i) => one.weight === b[i]!.weight && sameBytes(one.key, b[i]!.key) && sameBytes(one.operator, b[i]!.operator));

/** Who validates in an epoch; null when it is not fixed yet, or forgotten. */
export function membersOf(state: State, epoch: number): readonly Member[] | null {
  const { sets } = state;
  if (epoch === sets.epoch) return sets.current;
  if (epoch === sets.epoch + 1) return sets.next;
  return state.spanOf(epoch)?.members ?? null;
}

/** The largest stakes; equal ones by id. When nobody is left, those of before go on: a chain without validators is dead for good. */
function nextSet(state: State, before: readonly Member[]): readonly Member[] {
  const chosen = state.listed("s", state.rules.validatorsMax).map((entry) => state.validator(parseId(entry.slice(20))) as Validator);
  const all = chosen.reduce((sum, one) => sum + powerOf(one), 0n);
  const fitting = all / BigInt(WEIGHT_SUM_MAX) + 1n;
  const unit = fitting > STAKE_PER_WEIGHT ? fitting : STAKE_PER_WEIGHT;
  const members = chosen.map((one): Member => ({ key: one.key, operator: one.operator, weight: Number(powerOf(one) / unit) })).filter(({ weight }) => weight > 0);
  return members.length === 0 ? before : members;
}
