/** `godwit lock`: money that goes to another account when a secret is shown in time, and back when it is not. */
import { randomBytes } from "node:crypto";
import { addressText, parseAddress } from "#chain/codec/address.ts";
import { PREIMAGE_BYTES, lockIdOf } from "#chain/codec/holderOperations.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Address, type Digest, address, digest, fromHex, hex } from "#chain/types.ts";
import type { LockAnswer } from "../answers.ts";
import type { ApiClient } from "../client.ts";
import { CliError, type Command, type Input, OPTIONS_API, OPTIONS_SIGN, type Shell, UsageError } from "../command.ts";
import { chooseAccount, namedAccount } from "../keys.ts";
import { parseTokens, tokensText } from "../money.ts";
import { openReader, openSession, send } from "../session.ts";
import { pairsText, print, tableText } from "../table.ts";
import { OPTIONS_VERIFY, Verifier } from "../verified.ts";

const MINUTES_DEFAULT = 24 * 60;
const MINUTES_MAX = 366 * 24 * 60;
const VERBS: Readonly<Record<string, (input: Input, shell: Shell) => Promise<void>>> = { new: make, list, show, claim, refund };

export const lock: Command = {
  name: "lock",
  summary: "Pay on a secret: money that its receiver gets by showing what hashes to something, or that comes back",
  usage: ["new ADDRESS|NAME TOKENS [--hash HEX] [--minutes N]", "list [ADDRESS|NAME]", "show ID [--verify]", "claim ID SECRET", "refund ID"],
  options: {
    ...OPTIONS_API, ...OPTIONS_SIGN, ...OPTIONS_VERIFY,
    hash: { type: "string", value: "HEX", summary: "new: the sha256 of the secret, when another has it (a new secret is made and printed)" },
    minutes: { type: "string", value: "N", summary: `new: how long it can be claimed (${MINUTES_DEFAULT}: a day)` },
  },
  arguments: [1, 3],
  details: "Two locks with one hash on two chains are a swap: who made the secret claims last\nmade first, and shows it by that. Let the lock of who knows the secret hold\n" +
    "longer than the other's. Anybody may send claim and refund: it is fixed where the\nmoney goes. A SECRET has 32 bytes, in hex.",
  async run(input, shell) {
    const [verb = ""] = input.positionals;
    const run = Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined;
    if (run === undefined) throw new UsageError(`lock does not know "${verb}": ${Object.keys(VERBS).join(", ")}`);
    await run(input, shell);
  },
};

async function accountIn(shell: Shell, text: string): Promise<Address> {
  if (text.startsWith("gw1") && parseAddress(text) === null) throw new UsageError(`"${text}" is not an address: a character is wrong`);
  return parseAddress(text) ?? (await namedAccount(shell, text)).address;
}
function bytesIn(what: string, text: string | undefined, count: number): Uint8Array {
  if (text === undefined || !new RegExp(`^[0-9a-f]{${count * 2}}$`).test(text)) throw new UsageError(`${what} must be ${count} bytes in hex, not "${text ?? ""}"`);
  return fromHex(text);
}
const idIn = (input: Input): Address => address(bytesIn("ID", input.positionals[1], 20));

async function make(input: Input, shell: Shell): Promise<void> {
  const [, receiver, written] = input.positionals;
  if (receiver === undefined || written === undefined) throw new UsageError("lock new needs an ADDRESS and TOKENS");
  const amount = parseTokens("TOKENS", written);
  if (amount === 0n) throw new UsageError("TOKENS must be more than 0");
  const named = input.text("hash");
  const secret = named === undefined ? new Uint8Array(randomBytes(PREIMAGE_BYTES)) : null;
  const hash: Digest = secret === null ? digest(bytesIn("--hash", named, 32)) : sha256(secret);
  const minutes = input.count("minutes", 1, MINUTES_MAX) ?? MINUTES_DEFAULT;
  const to = await accountIn(shell, receiver);
  await using session = await openSession(input, shell);
  const expiryMs = (await session.client.machineTimeMs()) + BigInt(minutes) * 60_000n;
  const { txid, height, nonce } = await send(session, shell, [{ kind: "lock", to, amount, hash, expiryMs }], "locking");
  const id = hex(lockIdOf(session.sender, nonce, 0));
  const shown = { id, recipient: addressText(to), amount, hash: hex(hash), expiryMs, ...(secret === null ? {} : { secret: hex(secret) }), txid, height };
  print(shell, input.json, shown, () => pairsText([
    ["lock", id], ["holds", `${tokensText(amount)} for ${shown.recipient} until ${timeText(expiryMs)}`], ["hash", shown.hash],
    ...(secret === null ? [] : [["secret", `${hex(secret)} (whoever learns it before then can claim)`] as [string, string]]),
  ]));
}

async function list(input: Input, shell: Shell): Promise<void> {
  const named = input.positionals[1];
  const who = named === undefined ? (await chooseAccount(shell, input.text("account"))).address : await accountIn(shell, named);
  await using client = await openReader(input, shell);
  const rows = (await client.locks(addressText(who))).toSorted((a, b) => (a.expiryMs < b.expiryMs ? -1 : 1));
  const own = addressText(who);
  print(shell, input.json, rows, () => rows.length === 0 ? "Nothing is locked" : tableText(rows, [
    { title: "LOCK", cell: ({ id }) => id },
    { title: "TOKENS", align: "right", cell: ({ amount }) => tokensText(amount) },
    { title: "", cell: ({ sender }) => (sender === own ? "to" : "from") },
    { title: "ACCOUNT", cell: ({ sender, recipient }) => (sender === own ? recipient : sender) },
    { title: "UNTIL", cell: ({ expiryMs }) => timeText(expiryMs) },
  ]));
}

async function show(input: Input, shell: Shell): Promise<void> {
  const id = hex(idIn(input));
  await using client = await openReader(input, shell);
  const found = input.flag("verify") ? await verified(client, input, shell, id) : await client.lock(id);
  print(shell, input.json, found, () => pairsText([
    ["lock", id], ["holds", tokensText(found.amount)], ["from", found.sender], ["for", found.recipient], ["hash", found.hash], ["until", timeText(found.expiryMs)],
  ]));
}
async function verified(client: ApiClient, input: Input, shell: Shell, id: string): Promise<LockAnswer> {
  const verifier = await Verifier.open(client, input, shell);
  const found = await verifier.lock(id, shell.nowMs());
  await verifier.keep();
  if (found === null) throw new CliError("lock_unknown", `There is no lock ${id}, and that is proven: it never was, or was claimed or refunded`);
  return { id, ...found };
}

async function claim(input: Input, shell: Shell): Promise<void> {
  const [id, preimage] = [idIn(input), bytesIn("SECRET", input.positionals[2], PREIMAGE_BYTES)];
  await using session = await openSession(input, shell);
  const { txid, height } = await send(session, shell, [{ kind: "claimLock", lock: id, preimage }], "claiming");
  print(shell, input.json, { id: hex(id), txid, height }, () => `${hex(id)} is claimed, in block ${height}: everybody knows its secret now`);
}

async function refund(input: Input, shell: Shell): Promise<void> {
  const id = idIn(input);
  await using session = await openSession(input, shell);
  const { txid, height } = await send(session, shell, [{ kind: "refundLock", lock: id }], "refunding");
  print(shell, input.json, { id: hex(id), txid, height }, () => `${hex(id)} is back where it came from, in block ${height}`);
}

const timeText = (ms: bigint): string => (ms > 8_640_000_000_000_000n ? "the end of time" : new Date(Number(ms)).toISOString());
