/**
 * Stake: an operator puts it behind a consensus key, takes it back, and loses a part of it when the key contradicts itself.
 *
 * What is taken back is *unbonding*: it has no weight, can still be slashed, and is paid out at the end of an epoch when its
 * time is over and so are all epochs whose sets were made with it (`epochs.ts`). Being down costs rewards and the place in the
 * set, never stake.
 */
import { addressOf } from "#chain/codec/address.ts";
import { CodecError } from "#chain/codec/cbor.ts";
import { validatorSet } from "#chain/codec/certificate.ts";
import { type Evidence, accusedOf, decodeEvidence, verifyEvidence } from "#chain/codec/evidence.ts";
import type { SetCommission } from "#chain/codec/holderOperations.ts";
import { type Bond, type Report, type Unbond, type Unjail, machineProofMessage } from "#chain/codec/transaction.ts";
import { verify } from "#chain/crypto.ts";
import { type BlockContext, OK, type Origin, type Result, credit, debit, sameBytes, unfunded } from "#chain/ledger/block.ts";
import { commissionAfter, slashDelegated } from "#chain/ledger/delegation.ts";
import { membersOf } from "#chain/ledger/epochs.ts";
import { PROOF_WORK, REPORT_BPS, SLASH_BPS, STAKE_MIN, UNBONDINGS_MAX, UNBONDING_EPOCHS } from "#chain/ledger/limits.ts";
import type { Validator } from "#chain/ledger/model.ts";
import { UNDELEGATED } from "#chain/ledger/pools.ts";
import { type Address, type Refusal, refuse } from "#chain/types.ts";

export function bond(context: BlockContext, { consensusKey: key, proof, amount }: Bond, { sender }: Origin): Result {
  const { state, chainId } = context;
  const id = addressOf(key);
  const known = state.validator(id);
  if (amount === 0n) return refuse("bad_amount", "Cannot bond nothing");
  if (known && !sameBytes(known.operator, sender)) return refuse("not_owner", "Cannot put stake behind a validator of another operator");
  if (known?.state === "tombstoned") return tombstoned();
  const stake = (known?.stake ?? 0n) + amount;
  if (stake < STAKE_MIN) return refuse("stake_too_small", `Cannot bond ${stake} as ${STAKE_MIN} is the least`);
  state.spend(PROOF_WORK);
  if (!verify("validator", proof, machineProofMessage(chainId, sender), key)) return refuse("bad_proof", "Cannot bond as the consensus key did not sign for this operator");
  if (!debit(state, sender, amount)) return unfunded(`bond ${amount}`);
  state.put({ kind: "validator", id, key, operator: sender, state: "active", unbonding: [], ...UNDELEGATED, ...known, stake });
  context.events.push({ kind: "bonded", validator: id, operator: sender, amount });
  return OK;
}

export function unbond(context: BlockContext, { validator: id, amount }: Unbond, { sender }: Origin): Result {
  const { state, timeMs, rules } = context;
  const owned = ownedBy(context, sender, id);
  if (!owned.ok) return owned;
  const { validator } = owned;
  const stake = validator.stake - amount;
  if (amount === 0n) return refuse("bad_amount", "Cannot unbond nothing");
  if (stake < 0n) return refuse("insufficient_funds", `Cannot unbond ${amount} as the stake is ${validator.stake}`);
  // What is left after a slash, though, may stay.
  if (stake > 0n && stake < STAKE_MIN) return refuse("stake_too_small", `Cannot leave a stake of ${stake} as ${STAKE_MIN} is the least: unbond all of it`);
  if (validator.unbonding.length >= UNBONDINGS_MAX) return refuse("too_many_changes", `Cannot unbond more as ${UNBONDINGS_MAX} amounts are on their way`);
  const releaseMs = timeMs + rules.unbondingMs;
  state.put({ ...validator, stake, unbonding: [...validator.unbonding, { amount, releaseMs, releaseEpoch: state.sets.epoch + UNBONDING_EPOCHS }] });
  context.events.push({ kind: "unbonding", validator: id, operator: sender, amount, releaseMs });
  return OK;
}

export function unjail(context: BlockContext, { validator: id }: Unjail, { sender }: Origin): Result {
  const owned = ownedBy(context, sender, id);
  if (!owned.ok) return owned;
  const { validator } = owned;
  if (validator.state === "tombstoned") return tombstoned();
  if (validator.state !== "jailed") return refuse("not_jailed", "Cannot unjail a validator that is not jailed");
  context.state.put({ ...validator, state: "active" });
  context.events.push({ kind: "validator", validator: id, operator: sender, state: "active" });
  return OK;
}

export function setCommission(context: BlockContext, op: SetCommission, { sender }: Origin): Result {
  const owned = ownedBy(context, sender, op.validator);
  if (!owned.ok) return owned;
  const changed = commissionAfter(context, owned.validator, op);
  if (!changed.ok) return changed;
  context.state.put(changed.validator);
  context.events.push({ kind: "commission", validator: op.validator, operator: sender, bps: op.bps });
  return OK;
}

export const report = (context: BlockContext, { evidence }: Report, { sender }: Origin): Result => punish(context, evidence, sender);

/** Slashes who is accused, if the evidence holds by the set of its epoch and nobody was faster. `reporter` null: nobody is rewarded. */
export function punish(context: BlockContext, encoded: Uint8Array, reporter: Address | null): Result {
  const { state, chainId } = context;
  const evidence = evidenceFrom(encoded);
  if (evidence === null) return refuse("evidence_invalid", "Cannot read the evidence, or it contradicts nothing");
  const accused = accusedOf(evidence);
  const members = membersOf(state, accused.epoch);
  const member = members?.[accused.validator];
  if (!members || !member) return refuse("evidence_epoch", `Cannot take evidence against validator ${accused.validator} of epoch ${accused.epoch} as that set is not known any more, or has no such`);
  const validator = state.validator(addressOf(member.key));
  if (!validator) return refuse("validator_unknown", "Cannot punish a validator that has taken all its stake back");
  if (validator.state === "tombstoned") return tombstoned();
  state.spend(2 * PROOF_WORK);
  const verdict = verifyEvidence(validatorSet(chainId, accused.epoch, members.map(({ key, weight }) => ({ publicKey: key, weight }))), evidence);
  if (!verdict.ok) return verdict;
  slash(context, validator, reporter);
  return OK;
}

function evidenceFrom(encoded: Uint8Array): Evidence | null {
  try {
    return decodeEvidence(encoded);
  } catch (error) {
    if (error instanceof CodecError || error instanceof RangeError) return null;
    throw error;
  }
}

/** Takes 5 % of all stake behind a key, for good: a tenth of it is the reporter's, the rest is burnt. The key never validates again. */
function slash(context: BlockContext, validator: Validator, reporter: Address | null): void {
  const { state } = context;
  const cut = (amount: bigint): bigint => (amount * SLASH_BPS) / 10_000n;
  const { delegated, leaving, amount: ofDelegators } = slashDelegated(validator, cut);
  const amount = validator.unbonding.reduce((sum, one) => sum + cut(one.amount), cut(validator.stake) + ofDelegators);
  const reward = reporter === null ? 0n : (amount * REPORT_BPS) / 10_000n;
  const unbonding = validator.unbonding.map((one) => ({ ...one, amount: one.amount - cut(one.amount) }));
  state.put({ ...validator, state: "tombstoned", stake: validator.stake - cut(validator.stake), unbonding, delegated, leaving });
  state.put({ ...state.totals, burnt: state.totals.burnt + amount - reward });
  if (reporter !== null) credit(state, reporter, reward);
  context.events.push({ kind: "slashed", validator: validator.id, reporter, amount, reward });
}

function ownedBy({ state }: BlockContext, sender: Address, id: Address): { ok: true; validator: Validator } | Refusal {
  const validator = state.validator(id);
  if (!validator) return refuse("validator_unknown", `Cannot find validator ${id.toHex()}`);
  return sameBytes(validator.operator, sender) ? { ok: true, validator } : refuse("not_owner", `Cannot change validator ${id.toHex()} as it belongs to another account`);
}
const tombstoned = (): Refusal => refuse("validator_tombstoned", "Cannot do this with a validator whose key has signed against itself: take its stake back and use another key");
