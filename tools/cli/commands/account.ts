/** `godwit account`: the keys that hold money and sign, as files that only their owner can read. */
import { type Command, OPTIONS_ACCOUNT, OPTIONS_API, UsageError, type Input, type Shell } from "../command.ts";
import { ApiClient, ApiError } from "../client.ts";
import { type Account, accountsFolder, chooseAccount, chooseApi, createAccount, listAccounts, namedAccount, useAccount } from "../keys.ts";
import { tokensText } from "../money.ts";
import { nearest } from "../help.ts";
import { pairsText, print, tableText } from "../table.ts";

/** A balance is worth a short wait, an account is shown without one. */
const BALANCE_TIMEOUT_MS = 2_000;

const VERBS: Readonly<Record<string, (input: Input, shell: Shell) => Promise<void>>> = { new: create, list, show, use };

export const account: Command = {
  name: "account",
  summary: "Make, list, show and choose accounts",
  usage: ["new NAME", "list", "show [NAME|FILE]", "use NAME"],
  options: { ...OPTIONS_API, ...OPTIONS_ACCOUNT },
  arguments: [1, 2],
  details: "Keys are files of mode 0600 in $XDG_CONFIG_HOME/godwit/accounts (else ~/.godwit/accounts).\nThe development account of npm start is called dev.",
  async run(input, shell) {
    const [verb = ""] = input.positionals;
    const run = Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined;
    if (run === undefined) {
      const near = nearest(verb, Object.keys(VERBS));
      throw new UsageError(`account does not know "${verb}"${near === undefined ? ": new, list, show or use" : `: did you mean ${near}?`}`);
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
  const balance = (await balancesOf(input, shell, [one])).get(one.addressText) ?? null;
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
