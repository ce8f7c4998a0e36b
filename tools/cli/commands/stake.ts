/** `godwit stake`: stake behind consensus keys, for holders. */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { addressOf, addressText, parseAddress } from "#chain/codec/address.ts";
import { proposalIdOf } from "#chain/codec/holderOperations.ts";
import { type Operation, signValidatorProof } from "#chain/codec/transaction.ts";
import { type Address, address, chainId, fromHex, publicKey } from "#chain/types.ts";
import { VOTABLE, type VotableName } from "#chain/constants.ts";
import type { ValidatorAnswer } from "../answers.ts";
import { CliError, type Command, type Input, OPTIONS_API, OPTIONS_SIGN, type Shell, UsageError } from "../command.ts";
import { chooseAccount, namedAccount } from "../keys.ts";
import { parsePercent, parseTokens, percentText, tokensText } from "../money.ts";
import { type Session, openReader, openSession, send } from "../session.ts";
import { pairsText, print, tableText } from "../table.ts";
import { OPTIONS_VERIFY, Verifier } from "../verified.ts";

const VERBS: Readonly<Record<string, (input: Input, shell: Shell) => Promise<void>>> = { bond, unbond, unjail, list, status, delegate, undelegate, delegations, commission, parameters, propose, vote };

export const stake: Command = {
  name: "stake",
  summary: "Put stake behind a validator, take it back, see who has how much",
  usage: ["list", "status VALIDATOR", "bond TOKENS --key FILE", "unbond TOKENS VALIDATOR", "unjail VALIDATOR",
    "delegate TOKENS VALIDATOR [--commission-max PERCENT]", "undelegate TOKENS|all VALIDATOR", "delegations [ADDRESS|NAME] [--verify]", "commission PERCENT VALIDATOR",
    "parameters [--verify]", "propose PARAMETER VALUE --validator VALIDATOR", "vote PROPOSAL --validator VALIDATOR"],
  options: { ...OPTIONS_API, ...OPTIONS_SIGN, ...OPTIONS_VERIFY, validator: { type: "string", value: "VALIDATOR", summary: "propose, vote: in whose name" }, "commission-max": { type: "string", value: "PERCENT", summary: "delegate: not if the validator keeps more of what you earn (what it keeps now)" }, key: { type: "string", value: "FILE", summary: "bond: the consensus key that godwit chain keys made (DIR/keys/validator)" } },
  arguments: [1, 3],
  details: "A VALIDATOR is its id (gw1…) or its consensus key in hex.\n" +
    "Stake that is bonded counts from the second epoch after this one. What is taken\nback can still be slashed until it is paid out. A validator that was down is\n" +
    "jailed, which costs nothing but rewards; unjail says that it is back.\nWhat is delegated earns with the validator, less its commission, and is slashed\nwith it. A commission rises by 1 % at once at most.",
  async run(input, shell) {
    const [verb = ""] = input.positionals;
    const run = Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined;
    if (run === undefined) throw new UsageError(`stake does not know "${verb}": ${Object.keys(VERBS).join(", ")}`);
    await run(input, shell);
  },
};

function validatorIn(input: Input, at: number | "option"): Address {
  const [verb] = input.positionals;
  const text = at === "option" ? input.text("validator") : input.positionals[at];
  if (text === undefined) throw new UsageError(`stake ${verb} needs a VALIDATOR`);
  if (/^[0-9a-f]{64}$/.test(text)) return addressOf(publicKey(fromHex(text)));
  const id = parseAddress(text);
  if (id === null) throw new UsageError(`A VALIDATOR is an id (gw1…) or a consensus key of 64 hex digits, not "${text}"`);
  return id;
}

function tokensIn(input: Input): bigint {
  const [verb, text] = input.positionals;
  if (text === undefined) throw new UsageError(`stake ${verb} needs TOKENS`);
  return parseTokens("TOKENS", text);
}

async function bond(input: Input, shell: Shell): Promise<void> {
  const amount = tokensIn(input);
  const file = input.text("key");
  if (file === undefined) throw new UsageError("stake bond needs --key FILE: the consensus key, which must sign for its operator");
  const text = (await readFile(resolve(shell.currentDirectory, file), "utf8").catch((error: unknown) => { throw new CliError("key_unreadable", `Cannot read the consensus key ${file}: ${String(error)}`); })).trim();
  if (!/^[0-9a-f]{64}$/.test(text)) throw new CliError("key_malformed", `Cannot use ${file}: it is not a key of 64 hex digits`);
  await using session = await openSession(input, shell);
  const chain = chainId(fromHex((await session.client.status()).chainId));
  const proof = signValidatorProof(fromHex(text), chain, session.sender);
  await change(input, shell, session, { kind: "bond", ...proof, amount }, addressOf(proof.consensusKey), `${tokensText(amount)} bonded`);
}

async function unbond(input: Input, shell: Shell): Promise<void> {
  const [amount, validator] = [tokensIn(input), validatorIn(input, 2)];
  await using session = await openSession(input, shell);
  await change(input, shell, session, { kind: "unbond", validator, amount }, validator, `${tokensText(amount)} on the way back`);
}

async function unjail(input: Input, shell: Shell): Promise<void> {
  const validator = validatorIn(input, 1);
  await using session = await openSession(input, shell);
  await change(input, shell, session, { kind: "unjail", validator }, validator, "active again");
}

async function change(input: Input, shell: Shell, session: Session, op: Operation, validator: Address, done: string): Promise<void> {
  const { txid, height } = await send(session, shell, [op], "changing stake");
  const id = addressText(validator);
  print(shell, input.json, { validator: id, txid, height }, () => `${id}: ${done}, in block ${height}`);
}

async function list(input: Input, shell: Shell): Promise<void> {
  await using client = await openReader(input, shell);
  const rows = (await client.validators()).toSorted((a, b) => b.weight - a.weight || (b.stake > a.stake ? 1 : -1));
  print(shell, input.json, rows, () => rows.length === 0 ? "Nobody has stake" : tableText(rows, [
    { title: "VALIDATOR", cell: ({ id }) => id },
    { title: "STATE", cell: ({ state }) => state },
    { title: "STAKE", align: "right", cell: ({ stake: bonded }) => tokensText(bonded) },
    { title: "DELEGATED", align: "right", cell: ({ delegated }) => tokensText(delegated) },
    { title: "COMMISSION", align: "right", cell: ({ commissionBps }) => percentText(commissionBps) },
    { title: "UNBONDING", align: "right", cell: (one) => tokensText(unbondingOf(one)) },
    { title: "WEIGHT", align: "right", cell: ({ weight }) => String(weight) },
    { title: "NEXT", align: "right", cell: ({ weightNext }) => String(weightNext) },
  ]));
}
const unbondingOf = ({ unbonding }: ValidatorAnswer): bigint => unbonding.reduce((sum, { amount }) => sum + amount, 0n);

async function status(input: Input, shell: Shell): Promise<void> {
  const wanted = addressText(validatorIn(input, 1));
  await using client = await openReader(input, shell);
  const one = (await client.validators()).find(({ id }) => id === wanted);
  if (one === undefined) throw new CliError("validator_unknown", `There is no validator ${wanted}: see godwit stake list`);
  print(shell, input.json, one, () => pairsText([
    ["validator", one.id], ["consensus key", one.key], ["operator", one.operator], ["state", one.state], ["stake", tokensText(one.stake)],
    ["delegated", `${tokensText(one.delegated)} by others, of whose rewards it keeps ${percentText(one.commissionBps)}`],
    ["weight", `${one.weight} in this epoch, ${one.weightNext} in the next`],
    ...one.unbonding.map(({ amount, releaseMs, releaseEpoch }): [string, string] => ["unbonding", `${tokensText(amount)} from ${new Date(Number(releaseMs)).toISOString()}, epoch ${releaseEpoch}`]),
  ]));
}

// ---- Of delegators -------------------------------------------------------------------------------------------------------------

async function validatorOf(client: Session["client"], id: Address): Promise<ValidatorAnswer> {
  const wanted = addressText(id);
  return (await client.validators()).find((one) => one.id === wanted) ?? unknownValidator(wanted);
}
const unknownValidator = (wanted: string): never => { throw new CliError("validator_unknown", `There is no validator ${wanted}: see godwit stake list`); };

async function delegate(input: Input, shell: Shell): Promise<void> {
  const [amount, validator, most] = [tokensIn(input), validatorIn(input, 2), input.text("commission-max")];
  await using session = await openSession(input, shell);
  const commissionMax = most === undefined ? (await validatorOf(session.client, validator)).commissionBps : parsePercent("--commission-max", most);
  await change(input, shell, session, { kind: "delegate", validator, amount, commissionMax }, validator, `${tokensText(amount)} delegated`);
}

/** As many shares as the tokens are worth, rounded up; never more than there are. */
async function undelegate(input: Input, shell: Shell): Promise<void> {
  const wanted = input.positionals[1] === "all" ? null : tokensIn(input);
  const validator = validatorIn(input, 2);
  await using session = await openSession(input, shell);
  const own = (await session.client.delegations(addressText(session.sender))).find((one) => one.validator === addressText(validator));
  if (own === undefined || own.shares === 0n) throw new CliError("delegation_unknown", `Nothing is delegated to ${addressText(validator)}: see godwit stake delegations`);
  const { delegated, delegatedShares } = await validatorOf(session.client, validator);
  const exact = wanted === null ? own.shares : (wanted * delegatedShares + delegated - 1n) / delegated;
  const shares = exact < own.shares ? exact : own.shares;
  if (wanted !== null && wanted > own.amount) throw new CliError("insufficient_funds", `Cannot take ${tokensText(wanted)} back as ${tokensText(own.amount)} is delegated`);
  await change(input, shell, session, { kind: "undelegate", validator, shares }, validator, `${tokensText(wanted ?? own.amount)} on the way back`);
}

async function commission(input: Input, shell: Shell): Promise<void> {
  const [, written] = input.positionals;
  if (written === undefined) throw new UsageError("stake commission needs a PERCENT");
  const [bps, validator] = [parsePercent("PERCENT", written), validatorIn(input, 2)];
  await using session = await openSession(input, shell);
  await change(input, shell, session, { kind: "setCommission", validator, bps }, validator, `keeps ${percentText(bps)} of what delegators earn`);
}

async function delegations(input: Input, shell: Shell): Promise<void> {
  const named = input.positionals[1];
  const who = named === undefined ? (await chooseAccount(shell, input.text("account"))).address : (parseAddress(named) ?? (await namedAccount(shell, named)).address);
  await using client = await openReader(input, shell);
  let rows = await client.delegations(addressText(who));
  if (input.flag("verify")) {
    const verifier = await Verifier.open(client, input, shell);
    // What is worth something is told by the state itself; what is on its way back, by the machine.
    const proven = [];
    for (const row of rows) proven.push({ ...row, ...((await verifier.delegation(row.validator, row.delegator, shell.nowMs())) ?? { shares: 0n, amount: 0n }) });
    rows = proven;
    await verifier.keep();
  }
  const leavingOf = ({ leaving }: (typeof rows)[number]): bigint => leaving.reduce((sum, { amount }) => sum + amount, 0n);
  print(shell, input.json, rows, () => rows.length === 0 ? "Nothing is delegated" : tableText(rows, [
    { title: "VALIDATOR", cell: ({ validator }) => validator },
    { title: "TOKENS", align: "right", cell: ({ amount }) => tokensText(amount) },
    { title: "ON THE WAY BACK", align: "right", cell: (one) => tokensText(leavingOf(one)) },
  ]));
}

// ---- Votes on parameters ---------------------------------------------------------------------------------------------------------

async function parameters(input: Input, shell: Shell): Promise<void> {
  await using client = await openReader(input, shell);
  let found = await client.parameters();
  if (input.flag("verify")) {
    const verifier = await Verifier.open(client, input, shell);
    found = await verifier.parameters(found, shell.nowMs());
    await verifier.keep();
  }
  print(shell, input.json, found, () => [
    tableText(found.parameters, [
      { title: "PARAMETER", cell: ({ name }) => name }, { title: "VALUE", align: "right", cell: ({ value }) => String(value) },
      { title: "FROM", align: "right", cell: ({ min }) => String(min) }, { title: "TO", align: "right", cell: ({ max }) => String(max) },
    ]),
    ...found.scheduled.map(({ name, value, epoch }) => `${name} becomes ${value} in epoch ${epoch}`),
    ...found.proposals.map(({ id, name, value, votes }) => `proposal ${id}: ${name} = ${value}, ${votes.length} votes`),
  ].join("\n"));
}

async function propose(input: Input, shell: Shell): Promise<void> {
  const [, name = "", text = ""] = input.positionals;
  if (!Object.hasOwn(VOTABLE, name)) throw new UsageError(`A PARAMETER is one of ${Object.keys(VOTABLE).join(", ")}, not "${name}"`);
  if (!/^[0-9]{1,19}$/.test(text)) throw new UsageError(`A VALUE is a whole number, not "${text}"`);
  const [validator, value] = [validatorIn(input, "option"), BigInt(text)];
  await using session = await openSession(input, shell);
  const { txid, height, nonce } = await send(session, shell, [{ kind: "propose", validator, parameter: VOTABLE[name as VotableName].number, value }], "proposing");
  const proposal = proposalIdOf(session.sender, nonce, 0).toHex();
  print(shell, input.json, { proposal, parameter: name, value, txid, height }, () => `proposal ${proposal}: ${name} = ${value}, in block ${height}`);
}

async function vote(input: Input, shell: Shell): Promise<void> {
  const [, text = ""] = input.positionals;
  if (!/^[0-9a-f]{40}$/.test(text)) throw new UsageError(`A PROPOSAL has 40 hex digits, not "${text}"`);
  const validator = validatorIn(input, "option");
  await using session = await openSession(input, shell);
  await change(input, shell, session, { kind: "vote", validator, proposal: address(fromHex(text)) }, validator, `voted for ${text}`);
}
