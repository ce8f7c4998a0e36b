/**
 * `--verify`: what a machine's API says is taken only when a quorum of validators finalized it (chain/light).
 *
 * The checkpoint lies beside the accounts, one for each chain, and moves on with each use. The first use of a chain takes its genesis from
 * the machine, which proves itself by the chain's id; that id is the one thing that is believed then, so it is told, and
 * `--chain ID` says which one is meant. `--checkpoint TEXT` begins with validators that somebody vouches for, where genesis is too old to.
 */
import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { addressText, parseAddress } from "#chain/codec/address.ts";
import { type Cbor, decode } from "#chain/codec/cbor.ts";
import { decodeGenesis } from "#chain/codec/genesis.ts";
import { delegationIdOf, nameIdOf } from "#chain/codec/holderOperations.ts";
import { decodeEpochAnswer, stateKey } from "#chain/codec/proof.ts";
import { PRESETS, type Parameters, VOTABLE, type VotableName, votableOf, withValues } from "#chain/constants.ts";
import { type ProposalHeld, type SettingsHeld, holdingFrom } from "#chain/ledger/holdings.ts";
import { LEASE_STATES } from "#chain/ledger/model.ts";
import { type Address, address, chainId, fromHex, hex } from "#chain/types.ts";
import { type ProvenBill, proveBill } from "#chain/light/bill.ts";
import { CHECKPOINT_FORM, type Checkpoint, checkCheckpoint, checkpointOf, checkpointText, parseCheckpoint, setAt } from "#chain/light/checkpoint.ts";
import { type LightState, type Limits, checkAge, decodeCheckpoint, encodeCheckpoint, epochOfAnswer, follow, fromGenesis, read } from "#chain/light/light.ts";
import { writeWhole } from "#os/keys.ts";
import type { Bill, Deployment, ParametersAnswer } from "./answers.ts";
import type { ApiClient } from "./client.ts";
import { CliError, type Input, type Options, type Shell, UsageError } from "./command.ts";
import { accountsFolder } from "./keys.ts";
import { differenceFrom, scalingDifference, taskDifference } from "./provenDeployment.ts";
import { warn } from "./table.ts";

export const OPTIONS_VERIFY: Options = {
  verify: { type: "boolean", summary: "take nothing on the machine's word: check it against what the validators signed" },
  checkpoint: { type: "string", value: "TEXT", summary: `with --verify: begin with these validators (${CHECKPOINT_FORM}, from somebody you trust)` },
  chain: { type: "string", value: "ID", summary: "the chain that is meant, for the first --verify of it (the machine's)" },
};

/** An answer is of one block and the proof of a later one: asked again so often before the machine is called a liar. */
const TRIES = 3;

export class Verifier {
  readonly #client: ApiClient;
  readonly #file: string;
  readonly #limits: Limits;
  readonly #preset: Parameters;
  #state: LightState;

  static async open(client: ApiClient, input: Input, shell: Shell): Promise<Verifier> {
    const wanted = input.text("chain") ?? (await client.status()).chainId;
    if (!/^[0-9a-f]{16}$/.test(wanted)) throw new CliError("chain_invalid", `Cannot verify chain "${wanted}": a chain's id has 16 hex digits`);
    const id = chainId(fromHex(wanted));
    const file = join(dirname(accountsFolder(shell)), "light", `${wanted}.checkpoint`);
    const genesis = await client.genesis();
    const begun = fromGenesis(genesis, id);
    if (!begun.ok) throw new CliError(begun.code, begun.message);
    const kept = await readFile(file).catch(() => null);
    if (kept === null && input.text("chain") === undefined) warn(shell, `chain ${wanted} is new here: its id is believed as the machine says it (--chain ID says which is meant)`);
    const preset = PRESETS[decodeGenesis(genesis).parameters];
    const nowMs = BigInt(shell.nowMs());
    const given = input.text("checkpoint");
    if (given !== undefined) return new Verifier(client, file, begun.limits, preset, await beginAt(client, given, begun, nowMs));
    const state = kept === null ? begun.state : decodeCheckpoint(new Uint8Array(kept));
    const old = checkAge(state, begun.limits, nowMs);
    if (old !== null) throw new CliError(old.code, `${old.message} (${kept === null ? "--checkpoint TEXT" : file})`);
    return new Verifier(client, file, begun.limits, preset, state);
  }

  private constructor(client: ApiClient, file: string, limits: Limits, preset: Parameters, state: LightState) {
    this.#client = client;
    this.#file = file;
    this.#limits = limits;
    this.#preset = preset;
    this.#state = state;
  }

  /** Height of the newest block that was verified. */
  get height(): number {
    return this.#state.height;
  }

  /** What another may begin with: the validators of the newest epoch that was followed, and when they were seen. */
  get checkpoint(): string {
    return checkpointText(checkpointOf(this.#state));
  }

  /** Balance and nonce; null when nobody has paid to it. */
  async account(address: string, nowMs: number): Promise<{ balance: bigint; nonce: bigint } | null> {
    const leaf = await this.#leaf(`accounts/${address}`, stateKey("account", parseAddress(address) ?? new Uint8Array(20)), nowMs);
    return leaf === null ? null : { balance: amount(leaf[1]), nonce: amount(leaf[2]) };
  }

  /** A locked transfer as the state has it; null: proven that there is none. */
  async lock(id: string, nowMs: number): Promise<{ sender: string; recipient: string; amount: bigint; hash: string; expiryMs: bigint } | null> {
    const leaf = await this.#leaf(`locks/${id}`, stateKey("lock", fromHex(id)), nowMs);
    return leaf === null ? null : { sender: addressOfLeaf(leaf[1]), recipient: addressOfLeaf(leaf[2]), amount: amount(leaf[3]), hash: hexOf(leaf[4]), expiryMs: amount(leaf[5]) };
  }

  /** Whose a name is; null: proven that nobody has it (or its time is over by more than 30 days). */
  async name(name: string, nowMs: number): Promise<{ owner: string; deployment: string | null; expiryMs: bigint } | null> {
    const leaf = await this.#leaf(`names/${name}`, stateKey("name", nameIdOf(name)), nowMs);
    return leaf === null ? null : { owner: addressOfLeaf(leaf[2]), deployment: hexOf(leaf[3]) || null, expiryMs: amount(leaf[4]) };
  }

  /** What an account's shares of a validator are worth, from the leaves of both; null: proven that it has none. */
  async delegation(validator: string, delegator: string, nowMs: number): Promise<{ shares: bigint; amount: bigint } | null> {
    const [id, who] = [validator, delegator].map((text) => parseAddress(text) ?? address(new Uint8Array(0))) as [Address, Address];
    const held = await this.#leaf(`delegations/${validator}/${delegator}`, stateKey("delegation", delegationIdOf(id, who)), nowMs);
    const pool = held === null ? null : await this.#leaf(`validators/${validator}`, stateKey("validator", id), nowMs);
    if (held === null || pool === null) return null;
    const [shares, units, all] = [amount(held[3]), amount(pool[8]), amount(pool[9])];
    return { shares, amount: all === 0n ? 0n : (units * shares) / all };
  }

  /** What votes decided, as the state has it, and each proposal that the machine told of; that it told of all of them is its word. */
  async parameters(said: ParametersAnswer, nowMs: number): Promise<ParametersAnswer> {
    const leaf = await this.#leaf("parameters", stateKey("settings"), nowMs);
    const settings = leaf === null ? { values: [], scheduled: [] } : (holdingFrom("settings", leaf) as SettingsHeld);
    const values = withValues(this.#preset, settings.values);
    const nameOf = (parameter: number): string => votableOf(parameter) ?? String(parameter);
    const proposals = [];
    for (const { id } of said.proposals) {
      const proven = await this.#leaf(`proposals/${id}`, stateKey("proposal", fromHex(id)), nowMs);
      if (proven === null) continue;
      const { parameter, value, validator, epoch, votes } = holdingFrom("proposal", proven) as ProposalHeld;
      proposals.push({ id, name: nameOf(parameter), value, validator: addressText(validator), epoch, votes: votes.map(addressText) });
    }
    return {
      parameters: (Object.keys(VOTABLE) as VotableName[]).map((name) => ({ name, value: BigInt(values[name]), min: VOTABLE[name].min, max: VOTABLE[name].max })),
      scheduled: settings.scheduled.map(({ parameter, value, epoch }) => ({ name: nameOf(parameter), value, epoch })), proposals,
    };
  }

  /** Throws answer_false when the deployment, or one of its leases, is not as the machine says. */
  async deployment(deployment: Deployment, again: () => Promise<Deployment>, nowMs: number): Promise<Deployment> {
    let said = deployment;
    for (let tries = 1; ; tries++) {
      const wrong = await this.#differenceOf(said, nowMs);
      if (wrong === null) return said;
      if (tries === TRIES) throw new CliError("answer_false", `The machine says what the chain does not: ${wrong}`);
      said = await again();
    }
  }

  /** The bill as of the block that proves it: each line is the ledger's, and they add up to what it paid and owes. Throws answer_false when they do not. */
  async bill(id: string, ask: () => Promise<Bill>, nowMs: number): Promise<Bill> {
    for (let tries = 1; ; tries++) {
      const said = await ask();
      const proven = await this.#proven(`deployments/${id}`, stateKey("deployment", fromHex(id)), nowMs);
      if (proven.leaf === null) throw new CliError("bill_closed", `Cannot verify the bill of ${said.name}: it is closed, and the state holds no more of it (godwit audit folds all blocks)`);
      const lines = said.segments.map((one) => ({ ...one, machine: addressFrom(one.machine), operator: addressFrom(one.operator) }));
      const verdict = proveBill(proven.leaf, proven.moneySecond, { lines, before: fromHex(said.earlier.digest) });
      if (verdict.ok) return provenBill(said, verdict.bill);
      if (tries === TRIES) throw new CliError("answer_false", `The machine says what the chain does not: ${verdict.message}`);
    }
  }

  async #differenceOf(said: Deployment, nowMs: number): Promise<string | null> {
    const leaf = await this.#leaf(`deployments/${said.id}`, stateKey("deployment", fromHex(said.id)), nowMs);
    if (leaf === null) return `there is no deployment ${said.id}`;
    const id = fromHex(said.id);
    const wrong = differenceFrom(leaf, said) ?? taskDifference(await this.#leaf(`tasks/${said.id}`, stateKey("task", id), nowMs), said) ?? scalingDifference(await this.#leaf(`scalings/${said.id}`, stateKey("scaling", id), nowMs), said);
    if (wrong !== null) return wrong;
    for (const lease of said.leases) {
      const proven = await this.#leaf(`leases/${said.id}/${lease.index}`, stateKey("lease", fromHex(said.id), lease.index), nowMs);
      if (proven === null) return `${said.name} has no replica ${lease.index}`;
      const state = LEASE_STATES[Number(proven[2])];
      // A lease that waits because it failed is shown as failed.
      if (state !== lease.state && !((state === "waiting" || (state === "pending" && said.state === "paused")) && lease.state === "failed")) return `replica ${lease.index} of ${said.name} is ${String(state)}, not ${lease.state}`;
      const machine = lease.machine === null ? "" : hex(parseAddress(lease.machine) ?? new Uint8Array(0));
      if (hexOf(proven[3]) !== machine || amount(proven[4]) !== lease.rate) return `replica ${lease.index} of ${said.name} is on another machine or at another rate`;
    }
    return null;
  }

  /** The fields of a leaf (chain/ledger/model.ts has their order), proven; null: proven that there is none. */
  async #leaf(path: string, key: string, nowMs: number): Promise<readonly Cbor[] | null> {
    return (await this.#proven(path, key, nowMs)).leaf;
  }

  async #proven(path: string, key: string, nowMs: number): Promise<{ readonly leaf: readonly Cbor[] | null; readonly moneySecond: bigint }> {
    const answer = await this.#client.proof(path);
    const claimed = epochOfAnswer(answer);
    if (!claimed.ok) throw new CliError(claimed.code, claimed.message);
    while (this.#state.set.epoch < claimed.epoch) {
      const followed = follow(this.#state, await this.#client.proof(`epochs/${this.#state.set.epoch}`));
      if (!followed.ok) throw new CliError(followed.code, followed.message);
      this.#state = followed.state;
    }
    const found = read(this.#state, key, answer, this.#limits, BigInt(nowMs));
    if (!found.ok) throw new CliError(found.code, found.message);
    this.#state = found.state;
    return { leaf: found.value === null ? null : (decode(found.value) as readonly Cbor[]), moneySecond: found.answer.header.moneySecond };
  }

  /** Keeps how far it came, so that the next use begins there. */
  async keep(): Promise<void> {
    await mkdir(dirname(this.#file), { recursive: true, mode: 0o700 });
    await writeWhole(this.#file, encodeCheckpoint(this.#state));
  }
}

/** The validators of a checkpoint that was given, which come from the machine: they have its hash, or they are refused. */
async function beginAt(client: ApiClient, text: string, { state, limits }: { readonly state: LightState; readonly limits: Limits }, nowMs: bigint): Promise<LightState> {
  const checkpoint: Checkpoint | null = parseCheckpoint(text);
  if (checkpoint === null) throw new UsageError(`--checkpoint must be ${CHECKPOINT_FORM}, not "${text}"`);
  const old = checkCheckpoint(checkpoint, limits, nowMs);
  if (old !== null) throw new CliError(old.code, old.message);
  const said = checkpoint.epoch === 0 ? state.set.validators : decodeEpochAnswer(await client.proof(`epochs/${checkpoint.epoch - 1}`)).next;
  const set = setAt(checkpoint, state.set.chainId, said);
  if (set === null) throw new CliError("checkpoint_wrong", `Cannot begin at the checkpoint ${text}: the machine's chain had other validators in epoch ${checkpoint.epoch}`);
  return { set, timeMs: checkpoint.timeMs, height: 0 };
}

const amount = (item: Cbor | undefined): bigint => (typeof item === "bigint" || typeof item === "number" ? BigInt(item) : 0n);
const addressOfLeaf = (item: Cbor | undefined): string => addressText(address(item instanceof Uint8Array ? item : new Uint8Array(0)));
const hexOf = (item: Cbor | undefined): string => (item instanceof Uint8Array ? hex(item) : "");
/** No address is nobody's: such a line is found false. */
const addressFrom = (text: string): Address => parseAddress(text) ?? address(new Uint8Array(20));
const provenBill = (said: Bill, { name, at, lines, earlier, total, paid, rate, free, dryAt }: ProvenBill): Bill => ({
  ...said, name, at, total, paid, ratePerSecond: rate, balance: free, dryAt, runwaySeconds: dryAt === null ? null : dryAt - at, closed: false, refunded: 0n,
  segments: lines.map(({ seconds, amount: due }, index) => ({ ...said.segments[index]!, seconds, amount: due })), earlier: { ...said.earlier, segments: null, seconds: null, amount: earlier },
});
