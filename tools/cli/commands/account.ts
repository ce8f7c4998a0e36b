/** `godwit account`: the keys that hold money and sign, as files that only their owner can read. */
import { parseAddress } from "#chain/codec/address.ts";
import { SCOPES, SCOPES_ALL, type Scope } from "#chain/codec/scopes.ts";
import type { Operation } from "#chain/codec/transaction.ts";
import { type PublicKey, U64_MAX, fromHex, hex, publicKey } from "#chain/types.ts";
import { type Command, OPTIONS_API, OPTIONS_SIGN, UsageError, type Input, type Shell, parseCount } from "../command.ts";
import { ApiClient, ApiError } from "../client.ts";
import { type Account, accountsFolder, chooseAccount, chooseApi, createAccount, listAccounts, namedAccount, useAccount } from "../keys.ts";
import { parseTokens, tokensText } from "../money.ts";
import { nearest } from "../help.ts";
import { openReader, openSession, send } from "../session.ts";
import { pairsText, print, tableText } from "../table.ts";
import { OPTIONS_VERIFY, Verifier } from "../verified.ts";

/** A balance is worth a short wait, an account is shown without one. */
const BALANCE_TIMEOUT_MS = 2_000;

const VERBS: Readonly<Record<string, (input: Input, shell: Shell) => Promise<void>>> = { new: create, list, show, use, keys, authorise, revoke, threshold };

export const account: Command = {
  name: "account",
  summary: "Make, list, show and choose accounts; say which keys speak for one",
  usage: ["new NAME", "list", "show [NAME|FILE] [--verify]", "use NAME", "keys [ADDRESS|NAME]", "authorise KEY|NAME [--scopes …] [--limit TOKENS] [--days N]", "revoke KEY|NAME", "threshold N"],
  options: {
    ...OPTIONS_API, ...OPTIONS_SIGN, ...OPTIONS_VERIFY,
    scopes: { type: "string", value: "A,B", summary: `authorise: what the key may do: ${Object.keys(SCOPES).join(", ")} (all)` },
    limit: { type: "string", value: "TOKENS", summary: "authorise: what it may spend in all, fees too (no limit)" },
    days: { type: "string", value: "N", summary: "authorise: how long it may (for ever)" },
  },
  arguments: [1, 2],
  details: "Changes of keys count from the next block on. With a threshold of N, every\ntransaction needs N keys: --with adds one. --for names an account whose key\n" +
    "one has without being it.\nKeys are files of mode 0600 in $XDG_CONFIG_HOME/godwit/accounts (else ~/.godwit/accounts).\nThe development account of npm start is called dev.",
  async run(input, shell) {
    const [verb = ""] = input.positionals;
    const run = Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined;
    if (run === undefined) {
      const near = nearest(verb, Object.keys(VERBS));
      throw new UsageError(`account does not know "${verb}"${near === undefined ? ": new, list, show, use, keys, authorise, revoke or threshold" : `: did you mean ${near}?`}`);
    }
    await run(input, shell);
  },
};

const shown = ({ name, addressText, file }: Account): { name: string; address: string; file: string } => ({ name, address: addressText, file });

async function create(input: Input, shell: Shell): Promise<void> {
  const name = input.positionals[1];
  if (name === undefined) throw new UsageError("account new needs a NAME");
  const made = await createAccount(accountsFolder(shell), name);
  print(shell, input.json, shown(made), () => `${made.addressText}\nThe key is in ${made.file}: whoever has it has the money, and without it nobody has.`);
}

async function list(input: Input, shell: Shell): Promise<void> {
  const accounts = await listAccounts(shell);
  const chosen = await chooseAccount(shell, input.text("account")).catch(() => undefined);
  const balances = await balancesOf(input, shell, accounts);
  const rows = accounts.map((one) => ({ ...shown(one), inUse: one.file === chosen?.file, balance: balances.get(one.addressText) ?? null }));
  print(shell, input.json, rows, () => rows.length === 0 ? "No account yet: godwit account new NAME" : tableText(rows, [
    { title: "", cell: ({ inUse }) => (inUse ? "*" : "") },
    { title: "NAME", cell: ({ name }) => name },
    { title: "ADDRESS", cell: ({ address }) => address },
    { title: "BALANCE", align: "right", cell: ({ balance }) => (balance === null ? "?" : tokensText(balance)) },
  ]));
}

async function show(input: Input, shell: Shell): Promise<void> {
  const wanted = input.positionals[1];
  const one = wanted === undefined ? await chooseAccount(shell, input.text("account")) : await namedAccount(shell, wanted);
  const balance = input.flag("verify") ? await verifiedBalance(input, shell, one.addressText) : ((await balancesOf(input, shell, [one])).get(one.addressText) ?? null);
  print(shell, input.json, { ...shown(one), balance }, () =>
    pairsText([["name", one.name], ["address", one.addressText], ["balance", balance === null ? "? (no machine answers)" : tokensText(balance)], ["file", one.file]]));
}

async function use(input: Input, shell: Shell): Promise<void> {
  const name = input.positionals[1];
  if (name === undefined) throw new UsageError("account use needs a NAME");
  const one = await namedAccount(shell, name);
  await useAccount(shell, name.includes("/") || name.endsWith(".json") ? one.file : name);
  print(shell, input.json, shown(one), () => `${one.name} (${one.addressText}) signs from now on`);
}

async function verifiedBalance(input: Input, shell: Shell, address: string): Promise<bigint> {
  await using client = await openReader(input, shell);
  const verifier = await Verifier.open(client, input, shell);
  const found = await verifier.account(address, shell.nowMs());
  await verifier.keep();
  return found?.balance ?? 0n;
}

/** Balances where a machine answers in time; accounts can be looked at without one. */
async function balancesOf(input: Input, shell: Shell, accounts: readonly Account[]): Promise<Map<string, bigint>> {
  const balances = new Map<string, bigint>();
  await using client = new ApiClient({ url: await chooseApi(shell, input.text("api")), retry: false, signal: AbortSignal.any([shell.signal, AbortSignal.timeout(BALANCE_TIMEOUT_MS)]) });
  await Promise.all(accounts.map(async ({ addressText }) => {
    try {
      balances.set(addressText, (await client.account(addressText)).balance);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }));
  return balances;
}

// ---- Keys on the chain ---------------------------------------------------------------------------------------------------------

const scopesText = (scopes: number): string => (scopes === SCOPES_ALL ? "all" : Object.entries(SCOPES).filter(([, bit]) => (scopes & bit) !== 0).map(([name]) => name).join(","));

async function keys(input: Input, shell: Shell): Promise<void> {
  const named = input.positionals[1];
  const who = named === undefined ? (await chooseAccount(shell, input.text("account"))).addressText : parseAddress(named) === null ? (await namedAccount(shell, named)).addressText : named;
  await using client = await openReader(input, shell);
  const { threshold: needed, keys: found } = await client.account(who);
  print(shell, input.json, { address: who, threshold: needed, keys: found }, () => found.length === 0 ? `${who} has sent nothing yet: the key that its address was made of speaks for it` : `${tableText(found, [
    { title: "KEY", cell: ({ key }) => key },
    { title: "MAY", cell: ({ scopes }) => scopesText(scopes) },
    { title: "SPEND", align: "right", cell: ({ limit }) => (limit === U64_MAX ? "any" : tokensText(limit)) },
    { title: "UNTIL", cell: ({ expiryMs }) => (expiryMs === U64_MAX ? "revoked" : new Date(Number(expiryMs)).toISOString()) },
  ])}\n\n${needed} of them must sign`);
}

/** A public key in hex, or that of an account with a file here. */
async function keyIn(input: Input, shell: Shell): Promise<PublicKey> {
  const [verb, named] = input.positionals;
  if (named === undefined) throw new UsageError(`account ${verb} needs a KEY (64 hex digits) or the NAME of an account`);
  return /^[0-9a-f]{64}$/.test(named) ? publicKey(fromHex(named)) : (await namedAccount(shell, named)).publicKey;
}

async function authorise(input: Input, shell: Shell): Promise<void> {
  const key = await keyIn(input, shell);
  const scopes = scopesFrom(input.text("scopes"));
  const [written, days] = [input.text("limit"), input.count("days", 1, 36_500)];
  const limit = written === undefined ? U64_MAX : parseTokens("--limit", written);
  const expiryMs = days === undefined ? U64_MAX : BigInt(shell.nowMs()) + BigInt(days) * 86_400_000n;
  await changeKeys(input, shell, { kind: "authorise", key, scopes, limit, expiryMs }, `${hex(key).slice(0, 12)} may ${scopes === SCOPES_ALL ? "do everything" : scopesText(scopes)}`);
}

function scopesFrom(text: string | undefined): number {
  if (text === undefined || text === "all") return SCOPES_ALL;
  return text.split(",").reduce((sum, name) => {
    if (!Object.hasOwn(SCOPES, name)) throw new UsageError(`--scopes knows ${Object.keys(SCOPES).join(", ")}, not "${name}"`);
    return sum | SCOPES[name as Scope];
  }, 0);
}

async function revoke(input: Input, shell: Shell): Promise<void> {
  const key = await keyIn(input, shell);
  await changeKeys(input, shell, { kind: "revoke", key }, `${hex(key).slice(0, 12)} may nothing any more`);
}

async function threshold(input: Input, shell: Shell): Promise<void> {
  const needed = parseCount("the threshold", input.positionals[1] ?? "", 1, 16);
  await changeKeys(input, shell, { kind: "setThreshold", threshold: needed }, `${needed} of the keys must sign`);
}

async function changeKeys(input: Input, shell: Shell, op: Operation, done: string): Promise<void> {
  await using session = await openSession(input, shell);
  const { txid, height } = await send(session, shell, [op], "changing keys");
  print(shell, input.json, { ...op, key: "key" in op ? hex(op.key) : undefined, txid, height }, () => `${done}, from block ${height + 1} on`);
}
