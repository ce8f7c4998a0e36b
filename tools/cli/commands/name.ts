/** `godwit name`: host names that the first who asks has, for a yearly rent, and by which machines answer. */
import { addressText, parseAddress } from "#chain/codec/address.ts";
import type { HolderOperation } from "#chain/codec/holderOperations.ts";
import { PRESETS } from "#chain/constants.ts";
import { NAME_YEARS_MAX } from "#chain/ledger/limits.ts";
import type { Address } from "#chain/types.ts";
import type { NameAnswer } from "../answers.ts";
import { CliError, type Command, type Input, OPTIONS_API, OPTIONS_SIGN, type Shell, UsageError } from "../command.ts";
import { chooseAccount, namedAccount } from "../keys.ts";
import { tokensText } from "../money.ts";
import { type Session, deploymentAddress, findDeployment, openReader, openSession, send } from "../session.ts";
import { pairsText, print, tableText } from "../table.ts";
import { OPTIONS_VERIFY, Verifier } from "../verified.ts";

const VERBS: Readonly<Record<string, (input: Input, shell: Shell) => Promise<void>>> = { register, renew, point, transfer, release, list, show };

export const name: Command = {
  name: "name",
  summary: "Own a host name: register it, point it to a deployment, give it on",
  usage: ["register NAME [DEPLOYMENT] [--years N]", "renew NAME [--years N]", "point NAME DEPLOYMENT|nowhere", "transfer NAME ADDRESS|NAME", "release NAME", "list [ADDRESS|NAME]", "show NAME [--verify]"],
  options: { ...OPTIONS_API, ...OPTIONS_SIGN, ...OPTIONS_VERIFY, years: { type: "string", value: "N", summary: `register, renew: for how long (1; ${NAME_YEARS_MAX} ahead at most)` } },
  arguments: [1, 3],
  details: `A label such as shop is a host under the grid's zone; a name with dots, such as\nshop.example, is a host as it is, once its DNS leads to the machines. A year costs\n${tokensText(PRESETS.default.nameRentPerYear)} token (unless a vote changed it), in advance. When its time is over a name points nowhere; for 30 days\n` +
    "only its owner can renew it, then it is anybody's.",
  async run(input, shell) {
    const [verb = ""] = input.positionals;
    const run = Object.hasOwn(VERBS, verb) ? VERBS[verb] : undefined;
    if (run === undefined) throw new UsageError(`name does not know "${verb}": ${Object.keys(VERBS).join(", ")}`);
    await run(input, shell);
  },
};

function nameIn(input: Input): string {
  const [verb, written] = input.positionals;
  if (written === undefined) throw new UsageError(`name ${verb} needs a NAME`);
  const text = written.toLowerCase();
  if (!/^[a-z0-9.-]{1,253}$/.test(text)) throw new UsageError(`A NAME has a to z, 0 to 9, hyphens and dots, not "${written}"`);
  return text;
}
const yearsIn = (input: Input): number => input.count("years", 1, NAME_YEARS_MAX) ?? 1;
const deploymentIn = async (session: Session, wanted: string | undefined): Promise<Address | null> =>
  wanted === undefined || wanted === "nowhere" ? null : deploymentAddress(await findDeployment(session.client, addressText(session.sender), wanted));
const dayText = (ms: bigint): string => new Date(Number(ms)).toISOString().slice(0, 10);

async function change(input: Input, shell: Shell, session: Session, op: HolderOperation, label: string): Promise<void> {
  const text = nameIn(input);
  const { txid, height } = await send(session, shell, [op], label);
  const now = op.kind === "releaseName" ? null : await session.client.name(text);
  print(shell, input.json, { ...(now ?? { name: text }), txid, height }, () => (now === null ? `${text} is anybody's, from block ${height} on` : shown(now)));
}
const shown = ({ name: text, owner, deployment, host, expiryMs }: NameAnswer): string => pairsText([
  ["name", text], ["owner", owner], ["points to", deployment ?? "nowhere"], ["host", host ?? "none: it lies under the zone, behind the label of that name"], ["until", dayText(expiryMs)],
]);

async function register(input: Input, shell: Shell): Promise<void> {
  const [text, years] = [nameIn(input), yearsIn(input)];
  await using session = await openSession(input, shell);
  await change(input, shell, session, { kind: "registerName", name: text, deployment: await deploymentIn(session, input.positionals[2]), years }, "registering");
}
async function renew(input: Input, shell: Shell): Promise<void> {
  const [text, years] = [nameIn(input), yearsIn(input)];
  await using session = await openSession(input, shell);
  await change(input, shell, session, { kind: "renewName", name: text, years }, "renewing");
}
async function point(input: Input, shell: Shell): Promise<void> {
  const [text, wanted] = [nameIn(input), input.positionals[2]];
  if (wanted === undefined) throw new UsageError("name point needs a DEPLOYMENT, or nowhere");
  await using session = await openSession(input, shell);
  await change(input, shell, session, { kind: "pointName", name: text, deployment: await deploymentIn(session, wanted) }, "pointing");
}
async function transfer(input: Input, shell: Shell): Promise<void> {
  const [text, receiver] = [nameIn(input), input.positionals[2]];
  if (receiver === undefined) throw new UsageError("name transfer needs an ADDRESS");
  const to = await accountIn(shell, receiver);
  await using session = await openSession(input, shell);
  await change(input, shell, session, { kind: "transferName", name: text, to }, "giving it on");
}
async function release(input: Input, shell: Shell): Promise<void> {
  const text = nameIn(input);
  await using session = await openSession(input, shell);
  await change(input, shell, session, { kind: "releaseName", name: text }, "giving it up");
}

async function accountIn(shell: Shell, text: string): Promise<Address> {
  if (text.startsWith("gw1") && parseAddress(text) === null) throw new UsageError(`"${text}" is not an address: a character is wrong`);
  return parseAddress(text) ?? (await namedAccount(shell, text)).address;
}

async function list(input: Input, shell: Shell): Promise<void> {
  const named = input.positionals[1];
  const who = named === undefined ? (await chooseAccount(shell, input.text("account"))).address : await accountIn(shell, named);
  await using client = await openReader(input, shell);
  const rows = (await client.names(addressText(who))).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  print(shell, input.json, rows, () => rows.length === 0 ? "No names" : tableText(rows, [
    { title: "NAME", cell: (one) => one.name },
    { title: "POINTS TO", cell: ({ deployment }) => deployment?.slice(0, 12) ?? "nowhere" },
    { title: "UNTIL", cell: ({ expiryMs }) => dayText(expiryMs) },
  ]));
}

async function show(input: Input, shell: Shell): Promise<void> {
  const text = nameIn(input);
  await using client = await openReader(input, shell);
  const said = await client.name(text);
  if (input.flag("verify")) {
    const verifier = await Verifier.open(client, input, shell);
    const proven = await verifier.name(text, shell.nowMs());
    await verifier.keep();
    if (proven === null || proven.owner !== said.owner || proven.deployment !== said.deployment || proven.expiryMs !== said.expiryMs) throw new CliError("answer_false", `The machine says what the chain does not: name ${text} is not as it says`);
  }
  print(shell, input.json, said, () => shown(said));
}
