/**
 * The HTTP API of a machine (design 7) as typed calls: for the command line, `npm start` and the end-to-end tests.
 *
 * Every answer is checked before it is believed (answers.ts). A refusal is an `ApiError` with the machine's stable code. Private
 * calls and uploads are signed by the account that the client was opened for. Each kind of call has a time-out with a name, an
 * answer has a size limit, and only a call that can be repeated is repeated, and only when nobody took the connection.
 */
import type { Agent, Dispatcher } from "undici";
import { parseAddress } from "#chain/codec/address.ts";
import { signRequest } from "#chain/codec/request.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Address, type Digest, chainId, fromHex, hex } from "#chain/types.ts";
import { type Settings, encodeConfiguration } from "#os/configuration.ts";
import type { CommandName } from "#os/machineControl.ts";
import {
  type AccountAnswer, type Bill, type Block, type CommandTaken, type ConfigurationAnswer, type CopiesAnswer, type DelegationAnswer, type Deployment, type EventAnswer, type LockAnswer, type NameAnswer, type ParametersAnswer, type LogLine, type Machine, type MachineLine, type MachineSelf, type Page, type Reader, type Status, type Submitted,
  type LogMachines, type TransactionAnswer, type Uploaded, type ValidatorAnswer, readAccount, readBill, readBlock, readCommandTaken, readConfiguration, readCopies, readDelegation, readDeployment, readEvent, readLock, readName, readParameters, readLogLine, readLogMachines, readMachine, readMachineLines, readMachineSelf, readPage, readProblem, readSkipped,
  readStatus, readSubmitted, readTransaction, readUploaded, readValidator,
} from "./answers.ts";
import { CliError } from "./command.ts";
import { serverSentEvents } from "./events.ts";

/** Who signs private calls and uploads. */
export type Signer = { readonly address: Address; readonly seed: Uint8Array };

export type Timeouts = {
  /** Until a connection stands. */
  readonly connectMs: number;
  /** A plain read. */
  readonly readMs: number;
  /** An upload is inspected and compiled before it is answered. */
  readonly uploadMs: number;
  /** `?wait=final` answers after at most 20 s by itself. */
  readonly finalMs: number;
  /** A followed log says something at least every 15 s. */
  readonly silenceMs: number;
};
export const TIMEOUTS: Timeouts = { connectMs: 3_000, readMs: 10_000, uploadMs: 120_000, finalMs: 30_000, silenceMs: 60_000 };

/** A block of 256 KiB in base64 with its events fits several times. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;
/** Waits before a call is repeated whose connection was refused: a machine that restarts is back by then. */
const RETRY_DELAYS_MS: readonly number[] = [100, 200, 400];
/** How long a signed request holds; machines take at most five minutes. */
const SIGNATURE_LIFETIME_MS = 120_000;
/** One to the machine itself; machines take at most a minute. */
const COMMAND_LIFETIME_MS = 45_000;
const PAGE_ROWS = 100;
const PAGES_MAX = 100;
/** A page of events looks through a bounded number of blocks, of which most did nothing. */
const EVENT_PAGES_MAX = 1_000;

/** A refusal by the machine, or that none answered: then `status` is 0, and `reached` says whether the call may have come through. */
export class ApiError extends CliError {
  readonly status: number;
  readonly reached: boolean;
  constructor(code: string, message: string, status: number, options: { cause?: unknown; reached?: boolean } = {}) {
    super(code, message, status === 0 ? {} : { status }, options.cause);
    this.status = status;
    this.reached = options.reached ?? true;
  }
}

export type LogOptions = { readonly follow?: boolean; readonly tail?: number; /** Lines after this sequence number. */ readonly after?: number; /** Of this machine, when it is not the one that is asked. */ readonly machine?: string; readonly signal?: AbortSignal; readonly onSkipped?: (lines: number) => void; readonly onEnd?: () => void };

export type EventFilter = { readonly deployment?: string | undefined; readonly machine?: string | undefined; readonly after?: string | undefined; readonly follow?: boolean; readonly signal?: AbortSignal };

type Call = {
  readonly method: "GET" | "PUT" | "POST";
  readonly path: string;
  readonly timeoutMs: number;
  readonly signed?: boolean;
  /** The machine that judges it, when it is not the one that is asked. */
  readonly signedFor?: string | undefined;
  readonly body?: Uint8Array;
  readonly contentType?: string;
  readonly accept?: string;
  readonly signal?: AbortSignal | undefined;
  readonly lifetimeMs?: number;
};

const CLOCK_REFUSALS: ReadonlySet<string> = new Set(["expired", "expiry_too_far"]);

export class ApiClient {
  readonly url: string;
  readonly #signer: Signer | undefined;
  readonly #timeouts: Timeouts;
  #agent: Promise<Agent> | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #retryDelaysMs: readonly number[];
  #identity: Promise<{ status: Status; clockAheadMs: number }> | undefined;

  constructor(options: { url: string; signer?: Signer; timeouts?: Partial<Timeouts>; retry?: boolean; signal?: AbortSignal }) {
    this.url = options.url.replace(/\/$/, "");
    this.#signer = options.signer;
    this.#signal = options.signal;
    this.#retryDelaysMs = options.retry === false ? [] : RETRY_DELAYS_MS;
    this.#timeouts = { ...TIMEOUTS, ...options.timeouts };
  }

  status(): Promise<Status> {
    return this.#read("/v1/status", readStatus);
  }
  account(address: string): Promise<AccountAnswer> {
    return this.#read(`/v1/accounts/${encodeURIComponent(address)}`, readAccount);
  }
  /** All pages of them, to a bound. */
  async validators(): Promise<ValidatorAnswer[]> {
    return this.#all((after) => this.#read(`/v1/validators${query({ after, limit: PAGE_ROWS })}`, readPage("validators", readValidator)));
  }
  /** Those that an account made, and those that are for it; all pages of them, to a bound. */
  async locks(account: string): Promise<LockAnswer[]> {
    return this.#all((after) => this.#read(`/v1/locks${query({ account, after, limit: PAGE_ROWS })}`, readPage("locks", readLock)));
  }
  parameters(): Promise<ParametersAnswer> {
    return this.#read("/v1/parameters", readParameters);
  }
  async names(account: string): Promise<NameAnswer[]> {
    return this.#all((after) => this.#read(`/v1/names${query({ account, after, limit: PAGE_ROWS })}`, readPage("names", readName)));
  }
  name(name: string): Promise<NameAnswer> {
    return this.#read(`/v1/names/${encodeURIComponent(name)}`, readName);
  }
  async delegations(account: string): Promise<DelegationAnswer[]> {
    return this.#all((after) => this.#read(`/v1/delegations${query({ account, after, limit: PAGE_ROWS })}`, readPage("delegations", readDelegation)));
  }
  lock(id: string): Promise<LockAnswer> {
    return this.#read(`/v1/locks/${encodeURIComponent(id)}`, readLock);
  }
  machines(after?: string): Promise<Page<Machine>> {
    return this.#read(`/v1/machines${query({ after, limit: PAGE_ROWS })}`, readPage("machines", readMachine));
  }
  /** A proof of the state in CBOR (chain/codec/proof.ts): `accounts/{address}`, `deployments/{id}`, `leases/{id}/{index}`, `epochs/{epoch}`. */
  async proof(path: string): Promise<Uint8Array> {
    const call: Call = { method: "GET", path: `/v1/proofs/${path}`, timeoutMs: this.#timeouts.readMs };
    const answer = await this.#open(call);
    return new Uint8Array(await wholeBytes(answer.body).catch((error: unknown) => { throw this.#failure(call, error); }));
  }
  /** The chain's first bytes: block 0. */
  async genesis(): Promise<Uint8Array> {
    return Uint8Array.fromBase64((await this.block(0)).bytes);
  }
  /** All pages of them, to a bound. */
  async allMachines(): Promise<Machine[]> {
    return this.#all((after) => this.machines(after));
  }
  /** One page of deployments. */
  deployments(filter: { account?: string; after?: string } = {}): Promise<Page<Deployment>> {
    return this.#read(`/v1/deployments${query({ ...filter, limit: PAGE_ROWS })}`, readPage("deployments", readDeployment));
  }
  /** All pages of them, to a bound. */
  async allDeployments(account?: string): Promise<Deployment[]> {
    return this.#all((after) => this.deployments({ ...(account === undefined ? {} : { account }), ...(after === undefined ? {} : { after }) }));
  }
  deployment(id: string): Promise<Deployment> {
    return this.#read(`/v1/deployments/${encodeURIComponent(id)}`, readDeployment);
  }
  bill(id: string): Promise<Bill> {
    return this.#read(`/v1/deployments/${encodeURIComponent(id)}/bill`, readBill);
  }
  copies(id: string): Promise<CopiesAnswer> {
    return this.#read(`/v1/deployments/${encodeURIComponent(id)}/copies`, readCopies);
  }
  /** Signed: what the owner's replicas used. */
  usage(id: string): Promise<unknown> {
    return this.#read(`/v1/deployments/${encodeURIComponent(id)}/usage`, (value) => value, true);
  }
  /** Signed: environment and limits of an own deployment, from a machine that holds them. */
  configuration(id: string): Promise<ConfigurationAnswer> {
    return this.#read(`/v1/deployments/${encodeURIComponent(id)}/configuration`, readConfiguration, true);
  }
  block(height: number | "latest"): Promise<Block> {
    return this.#read(`/v1/blocks/${height}`, readBlock);
  }
  transaction(txid: string): Promise<TransactionAnswer> {
    return this.#read(`/v1/transactions/${encodeURIComponent(txid)}`, readTransaction);
  }

  /** Signed. Uploads under the component's digest; the machine inspects and compiles at once, and says what kind it is. */
  async uploadComponent(component: Uint8Array): Promise<{ digest: Digest; kind: string; bytes: number }> {
    const digest = sha256(component);
    const call: Call = { method: "PUT", path: `/v1/components/sha256:${hex(digest)}`, timeoutMs: this.#timeouts.uploadMs, signed: true, body: component, contentType: "application/octet-stream" };
    const uploaded: Uploaded = readUploaded(await this.#json(call), "answer");
    if (uploaded.digest !== `sha256:${hex(digest)}`) throw new ApiError("answer_malformed", `The machine stored the component under another digest: ${uploaded.digest}`, 200);
    return { digest, kind: uploaded.kind, bytes: uploaded.bytes };
  }

  /** Signed. Environment, limits and allowed places travel beside the chain, under the digest of their CBOR; null when all are defaults. */
  async uploadConfiguration(settings: Settings): Promise<Digest | null> {
    const { address } = this.#signerOrFail("an upload");
    const bytes = encodeConfiguration(address, settings);
    if (bytes === null) return null;
    const digest = sha256(bytes);
    await this.#json({ method: "PUT", path: `/v1/configurations/sha256:${hex(digest)}`, timeoutMs: this.#timeouts.uploadMs, signed: true, body: bytes, contentType: "application/cbor" });
    return digest;
  }

  /** Hands a signed transaction in. With `wait: "final"` the answer says what became of it. */
  async submit(transaction: Uint8Array, options: { wait?: "final" } = {}): Promise<Submitted> {
    const path = options.wait === undefined ? "/v1/transactions" : `/v1/transactions?wait=${options.wait}`;
    const timeoutMs = options.wait === undefined ? this.#timeouts.readMs : this.#timeouts.finalMs;
    const answer = await this.#json({ method: "POST", path, timeoutMs, body: transaction, contentType: "application/cbor" }).catch((error: unknown) => {
      // The machine's clock is another than when it was asked: one that was years ahead has been put right since.
      if (error instanceof ApiError && CLOCK_REFUSALS.has(error.code)) this.#identity = undefined;
      throw error;
    });
    return readSubmitted(answer, "answer");
  }

  /**
   * Signed. The newest `tail` lines, then, with `follow`, those that come, until the signal or the machine ends it; `onEnd` says
   * that it did because the deployment is closed. A reader that is too slow loses lines, and `onSkipped` says how many.
   */
  async *logs(id: string, options: LogOptions = {}): AsyncGenerator<LogLine, void, undefined> {
    const path = `/v1/deployments/${encodeURIComponent(id)}/logs${query({ follow: options.follow === true ? "true" : undefined, tail: options.tail, after: options.after, machine: options.machine })}`;
    if (options.follow !== true) {
      const page = readPage("lines", readLogLine)(await this.#json({ method: "GET", path, timeoutMs: this.#timeouts.readMs, signed: true, signedFor: options.machine, signal: options.signal }), "answer");
      yield* page.items;
      return;
    }
    const call: Call = { method: "GET", path, timeoutMs: this.#timeouts.readMs, signed: true, signedFor: options.machine, accept: "text/event-stream", signal: options.signal };
    const answer = await this.#open(call);
    try {
      for await (const { event, data } of serverSentEvents(answer.body, { silenceMs: this.#timeouts.silenceMs })) {
        if (event === "end") return options.onEnd?.();
        if (event === "skipped") options.onSkipped?.(readSkipped(parseJson(data), "skipped").lines);
        else yield readLogLine(parseJson(data), event);
      }
    } catch (error) {
      if (!(options.signal?.aborted ?? false)) throw this.#failure(call, error);
    } finally {
      answer.body.destroy();
    }
  }

  /** Signed: machines that have lines of an own deployment. */
  async logMachines(id: string): Promise<LogMachines> {
    return this.#read(`/v1/deployments/${encodeURIComponent(id)}/logs/machines`, readLogMachines, true);
  }

  /** Events of final blocks, page after page to a bound; with `follow` those that come, too, until the signal, or the deployment asked for is gone. */
  async *events({ follow, signal, ...filter }: EventFilter): AsyncGenerator<EventAnswer, void, undefined> {
    if (follow !== true) {
      let { after } = filter;
      for (let pages = 0; pages < EVENT_PAGES_MAX; pages++) {
        const call: Call = { method: "GET", path: `/v1/events${query({ ...filter, after, limit: PAGE_ROWS })}`, timeoutMs: this.#timeouts.readMs, signal };
        const { items, next } = readPage("events", readEvent)(await this.#json(call), "answer");
        yield* items;
        if (next === null) return;
        after = next;
      }
      throw new CliError("too_many_pages", `There are more events after block ${after?.split(".")[0]}: begin there with --since`);
    }
    yield* this.#stream({ method: "GET", path: `/v1/events${query({ ...filter, follow: "true" })}`, timeoutMs: this.#timeouts.readMs, accept: "text/event-stream", signal }, readEvent);
  }

  async *#stream<T>(call: Call, read: Reader<T>): AsyncGenerator<T, void, undefined> {
    const answer = await this.#open(call);
    try {
      for await (const { event, data } of serverSentEvents(answer.body, { silenceMs: this.#timeouts.silenceMs })) {
        if (event === "end") return;
        yield read(parseJson(data), event);
      }
    } catch (error) {
      if (!(call.signal?.aborted ?? false)) throw this.#failure(call, error);
    } finally {
      answer.body.destroy();
    }
  }

  /** Signed by the machine's operator: how the machine is. */
  async machineSelf(): Promise<MachineSelf> {
    return readMachineSelf(await this.#json({ method: "GET", path: "/v1/machine", timeoutMs: this.#timeouts.readMs, signed: true, lifetimeMs: COMMAND_LIFETIME_MS }), "answer");
  }
  /** Signed by the machine's operator: what it said of itself. */
  async machineLines(which: { tail: number } | { after: number }): Promise<readonly MachineLine[]> {
    return readMachineLines(await this.#json({ method: "GET", path: `/v1/machine/log${query(which)}`, timeoutMs: this.#timeouts.readMs, signed: true, lifetimeMs: COMMAND_LIFETIME_MS }), "answer").lines;
  }
  /** Signed by the machine's operator, for this boot of it and once. */
  async command(command: CommandName, image?: string): Promise<CommandTaken> {
    const { bootId, counter } = await this.machineSelf();
    const body = { command, bootId, counter: String(counter + 1n), ...(image === undefined ? {} : { image }) };
    const answer = await this.#json({ method: "POST", path: "/v1/machine/commands", timeoutMs: this.#timeouts.readMs, signed: true, lifetimeMs: COMMAND_LIFETIME_MS, contentType: "application/json", body: new TextEncoder().encode(JSON.stringify(body)) });
    return readCommandTaken(answer, "answer");
  }

  /** What time the machine says it is: its clock decides what has expired, not that of this computer. */
  async machineTimeMs(): Promise<bigint> {
    const { status, clockAheadMs } = await this.#identify();
    const nowMs = BigInt(Date.now() + clockAheadMs);
    return nowMs > status.head.timeMs ? nowMs : status.head.timeMs;
  }

  async close(): Promise<void> {
    await (await this.#agent)?.destroy();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #read<T>(path: string, read: Reader<T>, signed = false): Promise<T> {
    return this.#json({ method: "GET", path, timeoutMs: this.#timeouts.readMs, signed }).then((value) => read(value, "answer"));
  }

  async #json(call: Call): Promise<unknown> {
    const answer = await this.#open(call);
    try {
      return parseJson(await wholeText(answer.body));
    } catch (error) {
      throw this.#failure(call, error);
    }
  }

  /** Sends a call and returns its answer when its status is 2xx. */
  async #open(call: Call): Promise<Dispatcher.ResponseData> {
    const headers: Record<string, string> = { accept: call.accept ?? "application/json" };
    if (call.contentType !== undefined) headers["content-type"] = call.contentType;
    if (call.signed === true) headers["authorization"] = await this.#authorization(call);
    const answer = await this.#send(call, headers);
    if (answer.statusCode >= 200 && answer.statusCode < 300) return answer;
    const { code, message } = readProblem(answer.statusCode, safeJson(await wholeText(answer.body).catch(() => "")));
    throw new ApiError(code, message, answer.statusCode);
  }

  /** undici takes a tenth of a second to load: it is loaded at the first call. */
  #connections(): Promise<Agent> {
    this.#agent ??= import("undici").then(({ Agent: Connections }) => new Connections({ connect: { timeout: this.#timeouts.connectMs }, bodyTimeout: 0, headersTimeout: 0 }));
    return this.#agent;
  }

  async #send(call: Call, headers: Record<string, string>): Promise<Dispatcher.ResponseData> {
    const agent = await this.#connections();
    const { origin } = new URL(this.url);
    for (let attempt = 0; ; attempt++) {
      try {
        const deadline = AbortSignal.timeout(call.timeoutMs);
        // A followed log outlives any deadline: only its first byte has one, and events.ts watches for silence after it.
        const signals = [this.#signal, call.signal, call.accept === undefined ? deadline : undefined].filter((signal) => signal !== undefined);
        return await agent.request({
          origin, path: call.path, method: call.method, headers, body: call.body ?? null, headersTimeout: call.timeoutMs, signal: AbortSignal.any(signals),
        });
      } catch (error) {
        const delayMs = this.#retryDelaysMs[attempt];
        if (call.method === "POST" || delayMs === undefined || codeOf(error) !== "ECONNREFUSED") throw this.#failure(call, error);
        await new Promise((resolve) => setTimeout(resolve, delayMs));
      }
    }
  }

  #failure(call: Call, error: unknown): CliError {
    if (error instanceof CliError) return error;
    const what = `${call.method} ${this.url}${call.path.split("?")[0]}`;
    const code = codeOf(error);
    const message = error instanceof Error ? error.message : String(error);
    const cause = error;
    if (this.#signal?.aborted === true || call.signal?.aborted === true) return new ApiError("interrupted", `Stopped while waiting for ${what}`, 0, { cause });
    if (code === "ECONNREFUSED") return new ApiError("api_unreachable", `Cannot reach the machine at ${this.url}: nobody listens there (is npm start running? else give --api URL)`, 0, { cause, reached: false });
    if (code === "UND_ERR_CONNECT_TIMEOUT") return new ApiError("api_unreachable", `Cannot reach the machine at ${this.url} within ${this.#timeouts.connectMs} ms`, 0, { cause, reached: false });
    if (code === "UND_ERR_HEADERS_TIMEOUT" || code === "TimeoutError") return new ApiError("api_timeout", `Cannot ${what}: no answer within ${call.timeoutMs} ms`, 0, { cause });
    if (error instanceof SyntaxError) return new ApiError("answer_malformed", `Cannot read the answer to ${what}: it is not JSON`, 200, { cause });
    return new ApiError("api_unreachable", `Cannot ${what}: ${message}`, 0, { cause });
  }

  async #authorization(call: Call): Promise<string> {
    const { address, seed } = this.#signerOrFail(`${call.method} ${call.path}`);
    const { status } = await this.#identify();
    const name = call.signedFor ?? status.machine;
    const machine = parseAddress(name);
    if (machine === null) throw new ApiError("answer_malformed", `The machine's address is not one: ${name}`, 200);
    return signRequest({
      chainId: chainId(fromHex(status.chainId)), sender: address, method: call.method, path: call.path, bodyDigest: sha256(call.body ?? new Uint8Array(0)),
      machine, expiryMs: (await this.machineTimeMs()) + BigInt(call.lifetimeMs ?? SIGNATURE_LIFETIME_MS),
    }, seed);
  }

  async #all<T>(page: (after: string | undefined) => Promise<Page<T>>): Promise<T[]> {
    const all: T[] = [];
    let after: string | undefined;
    for (let pages = 0; pages < PAGES_MAX; pages++) {
      const { items, next } = await page(after);
      all.push(...items);
      if (next === null) break;
      after = next;
    }
    return all;
  }

  /** Which machine and chain a signature is for, and how far its clock is ahead of ours: asked once. */
  #identify(): Promise<{ status: Status; clockAheadMs: number }> {
    this.#identity ??= this.#readIdentity().catch((error: unknown) => {
      this.#identity = undefined;
      throw error;
    });
    return this.#identity;
  }

  async #readIdentity(): Promise<{ status: Status; clockAheadMs: number }> {
    const call: Call = { method: "GET", path: "/v1/status", timeoutMs: this.#timeouts.readMs };
    const answer = await this.#open(call);
    const dateMs = Date.parse(String(answer.headers["date"] ?? ""));
    const status = readStatus(parseJson(await wholeText(answer.body)), "answer");
    return { status, clockAheadMs: Number.isNaN(dateMs) ? 0 : dateMs - Date.now() };
  }

  #signerOrFail(what: string): Signer {
    if (this.#signer === undefined) throw new CliError("account_missing", `Cannot sign ${what}: no account was chosen`);
    return this.#signer;
  }
}

function query(fields: Readonly<Record<string, string | number | undefined>>): string {
  const parts = Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`]));
  return parts.length === 0 ? "" : `?${parts.join("&")}`;
}

const wholeText = async (body: AsyncIterable<Uint8Array>): Promise<string> => (await wholeBytes(body)).toString("utf8");

/** The whole body, to the limit of an answer. */
async function wholeBytes(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES_MAX) throw new ApiError("answer_malformed", `The machine's answer is larger than ${ANSWER_BYTES_MAX} bytes`, 200);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const parseJson = (text: string): unknown => JSON.parse(text);
function safeJson(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return null;
  }
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  if ("code" in error && typeof error.code === "string") return error.code;
  return error.name;
}
