/**
 * Changes of parameters, by those who validate: one of a fixed table (`chain/constants.ts`), within its bounds, and never at once.
 *
 * An operator of a validator in the set proposes, others vote; each epoch's end adds up the weights, in the set that ends, of those whose vote is there.
 * More than two thirds, and it takes effect `delayEpochs` epochs later, so that who does not like it can leave; not within `voteEpochs`, and it is gone.
 */
import { addressOf } from "#chain/codec/address.ts";
import { type Propose, type Vote, proposalIdOf } from "#chain/codec/holderOperations.ts";
import { VOTABLE, votableOf } from "#chain/constants.ts";
import { type BlockContext, OK, type Origin, type Result, sameBytes } from "#chain/ledger/block.ts";
import type { ProposalHeld, SettingsHeld } from "#chain/ledger/holdings.ts";
import type { Member } from "#chain/ledger/model.ts";
import { parseId } from "#chain/ledger/state.ts";
import { type Address, type Refusal, refuse } from "#chain/types.ts";

export function propose(context: BlockContext, { validator, parameter, value }: Propose, { sender, nonce, opIndex }: Origin): Result {
  const { state, events } = context;
  const no = refusalOfVoter(context, validator, sender);
  if (no) return no;
  const name = votableOf(parameter);
  if (name === null) return refuse("parameter_unknown", `Cannot propose parameter ${parameter} as there is none of that number`);
  const { min, max } = VOTABLE[name];
  if (value < min || value > max) return refuse("bad_value", `Cannot propose ${name} = ${value} as it is from ${min} to ${max}`);
  if (state.listed(`P${validator.toHex()}`, 1).length > 0) return refuse("too_many_proposals", "Cannot propose another change as one by this validator is open");
  const held: ProposalHeld = { kind: "proposal", id: proposalIdOf(sender, nonce, opIndex), parameter, value, validator, epoch: state.sets.epoch, votes: [validator] };
  state.put(held);
  events.push({ kind: "proposed", proposal: held.id, validator, parameter: name, value });
  return OK;
}

export function vote(context: BlockContext, { validator, proposal }: Vote, { sender }: Origin): Result {
  const { state, events } = context;
  const no = refusalOfVoter(context, validator, sender);
  if (no) return no;
  const held = state.proposal(proposal);
  if (!held) return refuse("proposal_unknown", `Cannot vote for proposal ${proposal.toHex()} as there is none that is open`);
  if (held.votes.some((one) => sameBytes(one, validator))) return refuse("voted_already", "Cannot vote for it again");
  state.put({ ...held, votes: [...held.votes, validator] });
  events.push({ kind: "voted", proposal, validator });
  return OK;
}

function refusalOfVoter({ state }: BlockContext, id: Address, sender: Address): Refusal | null {
  const validator = state.validator(id);
  if (!validator) return refuse("validator_unknown", `Cannot find validator ${id.toHex()}`);
  if (!sameBytes(validator.operator, sender)) return refuse("not_owner", `Cannot vote for validator ${id.toHex()} as it belongs to another account`);
  const isMember = state.sets.current.some(({ key }) => sameBytes(key, validator.key));
  return isMember ? null : refuse("not_in_set", `Cannot vote by validator ${id.toHex()} as it does not validate in this epoch`);
}

/** At the end of epoch `epoch`: what was decided in time holds from the next block on, what has enough votes now is put down for later. */
export function endVotes({ state, rules, events }: BlockContext, epoch: number, current: readonly Member[]): void {
  let settings: SettingsHeld = state.settings ?? { kind: "settings", values: [], scheduled: [] };
  const before = settings;
  for (const one of settings.scheduled.filter((each) => each.epoch <= epoch + 1)) {
    const values = [...settings.values.filter(({ parameter }) => parameter !== one.parameter), { parameter: one.parameter, value: one.value }].sort((a, b) => a.parameter - b.parameter);
    settings = { ...settings, values, scheduled: settings.scheduled.filter((each) => each !== one) };
    events.push({ kind: "parameterChanged", parameter: votableOf(one.parameter)!, value: one.value });
  }
  const total = current.reduce((sum, { weight }) => sum + weight, 0);
  const weights = new Map(current.map(({ key, weight }) => [addressOf(key).toHex(), weight]));
  for (const entry of state.listed("Q")) {
    const held = state.proposal(parseId(entry)) as ProposalHeld;
    const inFavour = held.votes.reduce((sum, id) => sum + (weights.get(id.toHex()) ?? 0), 0);
    const isPassed = inFavour * 3 > total * 2;
    if (!isPassed && epoch + 1 < held.epoch + rules.voteEpochs) continue;
    state.remove(held);
    if (isPassed) settings = { ...settings, scheduled: [...settings.scheduled, { parameter: held.parameter, value: held.value, epoch: epoch + 1 + rules.delayEpochs }] };
    events.push({ kind: "decided", proposal: held.id, parameter: votableOf(held.parameter)!, value: held.value, passed: isPassed });
  }
  if (settings !== before) state.put(settings);
}
