/** `godwit stake`: stake behind consensus keys, for holders. */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { addressOf, addressText, parseAddress } from "#chain/codec/address.ts";
import { type Operation, signValidatorProof } from "#chain/codec/transaction.ts";
import { type Address, chainId, fromHex, publicKey } from "#chain/types.ts";
import type { ValidatorAnswer } from "../answers.ts";
import { CliError, type Command, type Input, OPTIONS_API, OPTIONS_SIGN, type Shell, UsageError } from "../command.ts";
import { parseTokens, tokensText } from "../money.ts";
import { type Session, openReader, openSession, send } from "../session.ts";
import { pairsText, print, tableText } from "../table.ts";

const VERBS: Readonly<Record<string, (input: Input, shell: Shell) => Promise<void>>> = { bond, unbond, unjail, list, status };

export const stake: Command = {
  name: "stake",
  summary: "Put stake behind a validator, take it back, see who has how much",
  usage: ["list", "status VALIDATOR", "bond TOKENS --key FILE", "unbond TOKENS VALIDATOR", "unjail VALIDATOR"],
  options: { ...OPTIONS_API, ...OPTIONS_SIGN, key: { type: "string", value: "FILE", summary: "bond: the consensus key that godwit chain keys made (DIR/keys/validator)" } },
  arguments: [1, 3],
  details: "A VALIDATOR is its id (gw1…) or its consensus key in hex.\n" +
    "Stake that is bonded counts from the second epoch after this one. What is taken\nback can still be slashed until it is paid out. A validator that was down is\n" +
    "jailed, which costs nothing but rewards; unjail says that it is back.",
  async run(input, shell) {
    const [verb = ""] = input.positionals;
    const run = Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined;
    if (run === undefined) throw new UsageError(`stake does not know "${verb}": ${Object.keys(VERBS).join(", ")}`);
    await run(input, shell);
  },
};

function validatorIn(input: Input, at: number): Address {
  const [verb] = input.positionals;
  const text = input.positionals[at];
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
    ["weight", `${one.weight} in this epoch, ${one.weightNext} in the next`],
    ...one.unbonding.map(({ amount, releaseMs, releaseEpoch }): [string, string] => ["unbonding", `${tokensText(amount)} from ${new Date(Number(releaseMs)).toISOString()}, epoch ${releaseEpoch}`]),
  ]));
}
