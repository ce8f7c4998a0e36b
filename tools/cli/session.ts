/**
 * What a command does with a machine: finds its API, signs operations as an account, waits until they are final.
 *
 * A transaction is signed once and handed in once. Only a nonce that another program of the same account took is tried again, a
 * single time and with the nonce read anew. Any other refusal is the answer.
 */
import { addressText, parseAddress } from "#chain/codec/address.ts";
import { type Operation, type TransactionBody, decodeTransaction, signTransaction } from "#chain/codec/transaction.ts";
import { type Address, address, chainId, fromHex, hex } from "#chain/types.ts";
import type { Deployment, Status } from "./answers.ts";
import { ApiClient, ApiError } from "./client.ts";
import { CliError, type Input, type Shell } from "./command.ts";
import { type Account, chooseAccount, chooseApi, namedAccount } from "./keys.ts";
import { pause } from "./pause.ts";
import { refusalText } from "./refusals.ts";
import { withProgress } from "./table.ts";

/** How long a transaction may wait for its block, by the machine's clock. */
const VALID_MS = 60_000n;
/** The nonce is in a block already; or a transaction that waits for its block has it. */
const NONCE_PENDING = "replacement_underpriced";
const NONCE_REFUSALS: ReadonlySet<string> = new Set(["wrong_nonce", "nonce_used", NONCE_PENDING]);
/** A block takes what waits within 200 ms; several may be queued. */
const NONCE_WAIT_MS = 5_000;
const NONCE_POLL_MS = 100;
/** The fee depends on the size, which depends on the digits of the fee: it settles in two rounds. */
const FEE_ROUNDS_MAX = 4;

export type Session = AsyncDisposable & {
  readonly client: ApiClient;
  readonly account: Account;
  /** Whose money and things it is about: the account's own, or with --for one that its key may speak for. */
  readonly sender: Address;
  /** All who sign: the account, and those of --with. */
  readonly seeds: readonly Uint8Array[];
};
/** What became of a transaction: always final and applied, else `send` throws. */
export type Done = { readonly txid: string; readonly height: number; readonly nonce: bigint; readonly status: Status };

/** A client that only reads what everybody may. */
export async function openReader(input: Input, shell: Shell): Promise<ApiClient> {
  return new ApiClient({ url: await chooseApi(shell, input.text("api")), signal: shell.signal });
}

/** A client that signs as the chosen account. */
export async function openSession(input: Input, shell: Shell): Promise<Session> {
  const account = await chooseAccount(shell, input.text("account"));
  const others = await Promise.all(input.texts("with").map((name) => namedAccount(shell, name)));
  const named = input.text("for");
  const sender = named === undefined ? account.address : (parseAddress(named) ?? (await namedAccount(shell, named)).address);
  const client = new ApiClient({ url: await chooseApi(shell, input.text("api")), signer: { address: sender, seed: account.seed }, signal: shell.signal });
  return { client, account, sender, seeds: [account.seed, ...others.map(({ seed }) => seed)], [Symbol.asyncDispose]: () => client.close() };
}

/** Signs `ops` as the session's account and waits until they are final. */
export async function send(session: Session, shell: Shell, ops: readonly Operation[], label: string): Promise<Done> {
  return withProgress(shell, label, sendTwiceAtMost(session, ops, shell.signal));
}

async function sendTwiceAtMost(session: Session, ops: readonly Operation[], signal: AbortSignal): Promise<Done> {
  const nonce = await nonceOf(session);
  try {
    return await sendOnce(session, ops, nonce);
  } catch (error) {
    if (!(error instanceof CliError) || !NONCE_REFUSALS.has(error.code)) throw error;
    return sendOnce(session, ops, error.code === NONCE_PENDING ? await nonceAfter(session, nonce, signal) : await nonceOf(session));
  }
}

const nonceOf = async ({ client, sender }: Session): Promise<bigint> => (await client.account(addressText(sender))).nonce;

/** The nonce once the transaction that holds `nonce` is final, or as it is when that takes too long. */
async function nonceAfter(session: Session, nonce: bigint, signal: AbortSignal): Promise<bigint> {
  const endMs = performance.now() + NONCE_WAIT_MS;
  for (;;) {
    const now = await nonceOf(session);
    if (now > nonce || performance.now() > endMs || signal.aborted) return now;
    await pause(NONCE_POLL_MS, signal);
  }
}

async function sendOnce({ client, sender, seeds }: Session, ops: readonly Operation[], nonce: bigint): Promise<Done> {
  const [status, nowMs] = await Promise.all([client.status(), client.machineTimeMs()]);
  const body: TransactionBody = { chainId: chainId(fromHex(status.chainId)), sender, nonce, validUntilMs: nowMs + VALID_MS, fee: 0n, ops };
  const signed = signWithFee(body, seeds, status.fees);
  const { txid, height, ok, code } = await client.submit(signed, { wait: "final" }).catch((error: unknown) => {
    throw error instanceof ApiError && error.status === 0 && error.reached ? unknownOutcome(hex(decodeTransaction(signed).txid), error) : error;
  });
  if (ok === false) throw new CliError(code ?? "refused", `Refused in block ${height}: ${refusalText(code ?? "refused")}`, { txid, height });
  if (ok !== true || height === undefined || height === null) throw new CliError("not_final", `Transaction ${txid} is handed in but not final yet: look with godwit tx ${txid}`, { txid });
  return { txid, height, nonce, status };
}

/** The connection broke after the transaction was under way: doing it again could do it twice. */
const unknownOutcome = (txid: string, cause: ApiError): CliError =>
  new CliError("outcome_unknown", `${cause.message}. Whether transaction ${txid} was taken is not known: look with godwit tx ${txid} before trying again`, { txid }, cause);

/** Signs with the least fee that the size demands. */
export function signWithFee(body: TransactionBody, seeds: readonly Uint8Array[], fees: Status["fees"]): Uint8Array {
  let fee = fees.base;
  for (let round = 0; round < FEE_ROUNDS_MAX; round++) {
    const signed = signTransaction({ ...body, fee }, seeds);
    const due = fees.base + fees.perByte * BigInt(signed.length);
    if (due === fee) return signed;
    fee = due;
  }
  return signTransaction({ ...body, fee: fee + fees.perByte * 8n }, seeds);
}

export const DEPLOYMENT_ID: RegExp = /^[0-9a-f]{40}$/;
/** The beginning of an id, as long as `godwit ps` prints it or longer. */
const DEPLOYMENT_ID_SHORT = /^[0-9a-f]{12,39}$/;

/** The deployment that is meant: by name (this account's first), by id or by the beginning of one of this account's, or by NAME.ADDRESS for another account's. */
export async function findDeployment(client: ApiClient, owner: string | undefined, wanted: string): Promise<Deployment> {
  const own = owner === undefined ? undefined : ((await byName(client, owner, wanted)) ?? (await byShortId(client, owner, wanted)));
  if (own !== undefined) return own;
  if (DEPLOYMENT_ID.test(wanted)) return client.deployment(wanted);
  const [name = "", account = ""] = wanted.split(".");
  const theirs = parseAddress(account) === null ? undefined : await byName(client, account, name);
  if (theirs !== undefined) return theirs;
  throw new CliError("deployment_unknown", `There is no deployment "${wanted}"${owner === undefined ? "" : ` of ${owner}`}: see godwit ps`);
}

/** Of several with one name all but one are closing, or are tasks that have ended: of those the last. */
async function byName(client: ApiClient, owner: string, name: string): Promise<Deployment | undefined> {
  const named = (await client.allDeployments(owner)).filter((deployment) => deployment.name === name);
  const ended = named.filter(({ state }) => state === "ended").toSorted((a, b) => b.createdHeight - a.createdHeight);
  return named.find(({ state }) => state !== "closing" && state !== "ended") ?? ended[0] ?? named[0];
}

/** One that begins so is it; with several, nobody knows which was meant. */
async function byShortId(client: ApiClient, owner: string, wanted: string): Promise<Deployment | undefined> {
  if (!DEPLOYMENT_ID_SHORT.test(wanted)) return undefined;
  const [first, second] = (await client.allDeployments(owner)).filter(({ id }) => id.startsWith(wanted));
  return second === undefined ? first : undefined;
}

export const deploymentAddress = (deployment: { readonly id: string }): Address => address(fromHex(deployment.id));
