/**
 * What the API answers, as types, and the readers that turn JSON from the network into them.
 *
 * The wire has amounts and every other u64 as decimal strings, ids as hex, addresses as `gw1…`; here a u64 is a bigint. A reader
 * checks every field that it names and throws `answer_malformed` with the path of the wrong one; fields that it does not know stay
 * as they are, so that `--json` prints what a newer machine says.
 */
import { CliError } from "./command.ts";

export type Reader<T> = (value: unknown, path: string) => T;

export type Head = { readonly height: number; readonly id: string; readonly timeMs: bigint; readonly moneySecond: bigint; readonly stateRoot: string };
export type Status = {
  readonly version: string;
  readonly chainId: string;
  readonly machine: string;
  readonly operator: string;
  readonly bootId: string;
  readonly head: Head;
  readonly zone: string;
  readonly apiPort: number;
  readonly httpPort: number;
  /** Weights of validators: of those whose disk keeps the chain's state, of those that have said whether, the least that has to, and all; null: an older machine does not say. */
  readonly stateKept: { readonly weight: number; readonly weightKnown: number; readonly weightMin: number; readonly weightAll: number } | null;
  readonly runner: { readonly state: string; readonly pid: number | null };
  /** What a transaction costs: so much, and so much for each of its bytes. */
  readonly fees: { readonly base: bigint; readonly perByte: bigint };
};
export type KeyAnswer = { readonly key: string; readonly scopes: number; readonly limit: bigint; readonly expiryMs: bigint };
export type AccountAnswer = { readonly address: string; readonly balance: bigint; readonly nonce: bigint; readonly threshold: number; readonly keys: readonly KeyAnswer[] };
export type ValidatorAnswer = {
  readonly id: string;
  readonly key: string;
  readonly operator: string;
  readonly state: string;
  readonly stake: bigint;
  readonly unbonding: readonly { readonly amount: bigint; readonly releaseMs: bigint; readonly releaseEpoch: number }[];
  /** In this epoch's set and the next one's; 0: not in it. */
  readonly weight: number;
  readonly weightNext: number;
  /** The operator's part of what delegators earn, in 1/10,000; what others have behind it, and in how many shares. */
  readonly commissionBps: number;
  readonly delegated: bigint;
  readonly delegatedShares: bigint;
};
export type NameAnswer = { readonly name: string; readonly owner: string; readonly deployment: string | null; readonly host: string | null; readonly expiryMs: bigint };
export type ParametersAnswer = {
  readonly parameters: readonly { readonly name: string; readonly value: bigint; readonly min: bigint; readonly max: bigint }[];
  readonly scheduled: readonly { readonly name: string; readonly value: bigint; readonly epoch: number }[];
  readonly proposals: readonly { readonly id: string; readonly name: string; readonly value: bigint; readonly validator: string; readonly epoch: number; readonly votes: readonly string[] }[];
};
export type DelegationAnswer = {
  readonly validator: string;
  readonly delegator: string;
  readonly shares: bigint;
  readonly amount: bigint;
  readonly leaving: readonly { readonly amount: bigint; readonly releaseMs: bigint; readonly releaseEpoch: number }[];
};
/** Which machines keep the bytes of a deployment, and which of those have them. */
export type CopiesAnswer = { readonly copies: readonly { readonly digest: string; readonly kind: string; readonly keepers: readonly string[]; readonly holders: readonly string[] }[] };
export type LockAnswer = { readonly id: string; readonly sender: string; readonly recipient: string; readonly amount: bigint; readonly hash: string; readonly expiryMs: bigint };
export type Lease = {
  readonly index: number;
  /** pending: waits for a machine; placed: has one; ready: serves and is paid; waiting: for money or its owner; failed: for its owner. */
  readonly state: string;
  readonly machine: string | null;
  readonly rate: bigint;
  /** What it costs while it is on standby; null: it is not. */
  readonly standbyRate: bigint | null;
  /** Why it does not run, or ran elsewhere before. */
  readonly lastEnd: string | null;
  readonly revision: number;
  readonly unhealthyFrom: bigint | null;
  /** The machine it moves to, and the one that it has left just now. */
  readonly next: string | null;
  readonly last: string | null;
};
export type Version = { readonly revision: number; readonly component: string; readonly configuration: string | null };
/** A revision beside the one that serves. */
export type Rollout = Version & {
  readonly weight: number;
  readonly weightNow: number;
  readonly replicas: number;
  readonly healthySeconds: number;
  readonly failuresMax: number;
  readonly failures: number;
  readonly deadline: bigint;
  readonly healthyFrom: bigint | null;
};
export type MachineSelf = {
  readonly machine: string; readonly operator: string; readonly bootId: string; readonly version: string;
  /** Of the last command of this boot. */
  readonly counter: bigint;
  /** False: an ordinary process, which takes no commands. */
  readonly isImage: boolean;
  readonly node: string; readonly kernel: string; readonly uptimeSeconds: number;
  readonly memory: { readonly totalBytes: number; readonly availableBytes: number; readonly agentBytes: number };
  readonly addresses: readonly { readonly name: string; readonly address: string }[];
};
export type MachineLine = { readonly sequence: number; readonly timeMs: number; readonly line: string };
export type Constraints = { readonly regions: readonly string[]; readonly operators: readonly string[]; readonly labels: readonly string[] };
export type Deployment = {
  readonly id: string;
  readonly name: string;
  readonly owner: string;
  /** `sha256:` and the digest in hex. */
  readonly component: string;
  /** active, paused, dry or closing. */
  readonly state: string;
  readonly memoryMib: number;
  readonly cpuMillis: number;
  readonly concurrency: number;
  readonly isolation: string;
  readonly replicas: number;
  readonly createdHeight: number;
  /** Cause of the last failure since the owner acted. */
  readonly failure: string | null;
  readonly host: string;
  readonly url: string;
  readonly leases: readonly Lease[];
  readonly configuration: string | null;
  readonly rateMax: bigint;
  readonly revision: number;
  readonly rollout: Rollout | null;
  /** What served before, the newest first. */
  readonly history: readonly Version[];
  /** Why the last update was rolled back. */
  readonly rolledBack: string | null;
  readonly constraints: Constraints;
  /** How it scales by itself; null: it does not. */
  readonly scaling: Scaling | null;
  /** null: a service. */
  readonly task: TaskAnswer | null;
};
export type Scaling = {
  readonly min: number;
  readonly max: number;
  /** cpu, concurrency or requests. */
  readonly metric: string;
  readonly target: number;
  readonly rateMax: bigint;
  /** low, right or high. */
  readonly load: string;
  /** Money second of the next step. */
  readonly due: bigint | null;
};
export type TaskAnswer = {
  /** placing, running, resting or ended. */
  readonly phase: string;
  /** Money second since which it runs, until which it rests, or in which it ended. */
  readonly at: bigint | null;
  readonly runs: number;
  readonly failures: number;
  readonly losses: number;
  readonly attemptsMax: number;
  readonly exitCode: number | null;
  /** exit: it ended by itself; else what ended it. */
  readonly reason: string | null;
};
export type ConfigurationAnswer = {
  readonly environment: Readonly<Record<string, string>>;
  /** Complete, by the sandbox's names. */
  readonly limits: Readonly<Record<string, number>>;
  readonly outgoing: readonly string[];
  readonly reuse: boolean;
};
export type Segment = {
  readonly machine: string;
  readonly operator: string;
  readonly index: number;
  readonly rate: bigint;
  readonly openedAt: bigint;
  readonly end: bigint | null;
  readonly paidUntil: bigint;
  /** In the order in which they ended; null: it runs. */
  readonly place: number | null;
  readonly isPaid: boolean;
  readonly seconds: bigint;
  readonly amount: bigint;
};
export type Bill = {
  readonly deploymentId: string;
  readonly name: string;
  readonly closed: boolean;
  /** Money second of this bill. */
  readonly at: bigint;
  readonly segments: readonly Segment[];
  /** Paid segments that are too old to be listed, summed up. */
  readonly earlier: { /** null: no proof tells how many, and for how long. */ readonly segments: number | null; readonly seconds: bigint | null; readonly amount: bigint; readonly digest: string };
  readonly total: bigint;
  readonly paid: bigint;
  readonly ratePerSecond: bigint;
  /** In the escrow and owed to nobody. */
  readonly balance: bigint;
  readonly dryAt: bigint | null;
  readonly runwaySeconds: bigint | null;
  readonly refunded: bigint;
};
export type LogLine = { readonly sequence: number; readonly timeMs: bigint; readonly stream: string; readonly requestId: string | null; readonly line: string };
export type EventAnswer = {
  /** Ask for what came after it. */
  readonly cursor: string;
  readonly height: number;
  /** The id of the block. */
  readonly block: string;
  readonly timeMs: bigint;
  readonly second: bigint;
  readonly kind: string;
  /** null: the block itself did it. */
  readonly transaction: string | null;
  readonly deployment: string | null;
  readonly name: string | null;
  readonly lease: number | null;
  readonly machine: string | null;
  readonly cause: string | null;
};
export type Submitted = { readonly txid: string; readonly height?: number | null; readonly ok?: boolean | null; readonly code?: string | null };
export type Uploaded = { readonly digest: string; readonly kind: string; readonly bytes: number };
export type Block = { readonly height: number; readonly id: string; readonly bytes: string; readonly certificate: string | null };
export type TransactionAnswer = { readonly txid: string; readonly height: number; readonly index: number; readonly ok: boolean; readonly code?: string | null };
export type Machine = {
  readonly id: string;
  readonly operator: string;
  readonly state: string;
  readonly memoryMib: number;
  readonly cpuMillis: number;
  readonly memoryMibUsed: number;
  readonly cpuMillisUsed: number;
  readonly leases: number;
  readonly pricePerGibSecond: bigint;
  readonly pricePerCoreSecond: bigint;
  readonly bond: bigint;
  /** Money second before which nothing is placed there. */
  readonly placeableFrom: bigint;
  readonly region: string;
  readonly draining: boolean;
  readonly labels: readonly string[];
};
/** What a machine says as it begins with a command; of `rekey` its next key, and the proof that it has it, as hex. */
export type CommandTaken = { readonly accepted: string; readonly machineKey: string | null; readonly proof: string | null };
export type Page<T> = { readonly items: readonly T[]; readonly next: string | null };

const malformed = (path: string, expected: string, value: unknown): CliError =>
  new CliError("answer_malformed", `Cannot read the machine's answer at ${path}: expected ${expected}, got ${JSON.stringify(value)?.slice(0, 60) ?? "nothing"}`);

const text: Reader<string> = (value, path) => {
  if (typeof value !== "string") throw malformed(path, "text", value);
  return value;
};
const count: Reader<number> = (value, path) => {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw malformed(path, "a whole number", value);
  return value;
};
const flag: Reader<boolean> = (value, path) => {
  if (typeof value !== "boolean") throw malformed(path, "true or false", value);
  return value;
};
/** A u64: a decimal string on the wire. Times that fit a double may come as numbers. */
const u64: Reader<bigint> = (value, path) => {
  if (typeof value === "string" && /^\d{1,20}$/.test(value)) return BigInt(value);
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return BigInt(value);
  throw malformed(path, "a decimal string", value);
};
const orNull = <T>(read: Reader<T>): Reader<T | null> => (value, path) => (value === null || value === undefined ? null : read(value, path));
/** For what an older machine does not say. */
const orElse = <T>(read: Reader<T>, otherwise: T): Reader<T> => (value, path) => (value === undefined ? otherwise : read(value, path));
const listOf = <T>(read: Reader<T>): Reader<readonly T[]> => (value, path) => {
  if (!Array.isArray(value)) throw malformed(path, "a list", value);
  return value.map((item: unknown, i) => read(item, `${path}[${i}]`));
};
const recordOf = <T>(read: Reader<T>): Reader<Readonly<Record<string, T>>> => (value, path) => {
  if (!isObject(value)) throw malformed(path, "an object", value);
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, read(item, `${path}.${name}`)]));
};
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
const object = <T extends object>(fields: { readonly [K in keyof T]-?: Reader<T[K]> }): Reader<T> => (value, path) => {
  if (!isObject(value)) throw malformed(path, "an object", value);
  const entries = Object.entries<Reader<unknown>>(fields).map(([name, read]) => [name, read(value[name], `${path}.${name}`)]);
  return { ...value, ...Object.fromEntries(entries) } as T;
};

export const readStatus: Reader<Status> = object<Status>({
  version: text, chainId: text, machine: text, operator: text, bootId: orElse(text, ""), zone: text, apiPort: count, httpPort: count,
  head: object<Head>({ height: count, id: text, timeMs: u64, moneySecond: u64, stateRoot: text }),
  stateKept: orElse(orNull(object<NonNullable<Status["stateKept"]>>({ weight: count, weightKnown: count, weightMin: count, weightAll: count })), null),
  runner: object<Status["runner"]>({ state: text, pid: orNull(count) }),
  fees: object<Status["fees"]>({ base: u64, perByte: u64 }),
});
export const readAccount: Reader<AccountAnswer> = object<AccountAnswer>({
  address: text, balance: u64, nonce: u64, threshold: count, keys: listOf(object<KeyAnswer>({ key: text, scopes: count, limit: u64, expiryMs: u64 })),
});
export const readValidator: Reader<ValidatorAnswer> = object<ValidatorAnswer>({
  id: text, key: text, operator: text, state: text, stake: u64, weight: count, weightNext: count, commissionBps: count, delegated: u64, delegatedShares: u64,
  unbonding: listOf(object<ValidatorAnswer["unbonding"][number]>({ amount: u64, releaseMs: u64, releaseEpoch: count })),
});
export const readName: Reader<NameAnswer> = object<NameAnswer>({ name: text, owner: text, deployment: orNull(text), host: orNull(text), expiryMs: u64 });
export const readParameters: Reader<ParametersAnswer> = object<ParametersAnswer>({
  parameters: listOf(object<ParametersAnswer["parameters"][number]>({ name: text, value: u64, min: u64, max: u64 })), scheduled: listOf(object<ParametersAnswer["scheduled"][number]>({ name: text, value: u64, epoch: count })),
  proposals: listOf(object<ParametersAnswer["proposals"][number]>({ id: text, name: text, value: u64, validator: text, epoch: count, votes: listOf(text) })),
});
export const readDelegation: Reader<DelegationAnswer> = object<DelegationAnswer>({
  validator: text, delegator: text, shares: u64, amount: u64, leaving: listOf(object<DelegationAnswer["leaving"][number]>({ amount: u64, releaseMs: u64, releaseEpoch: count })),
});
export const readLock: Reader<LockAnswer> = object<LockAnswer>({ id: text, sender: text, recipient: text, amount: u64, hash: text, expiryMs: u64 });
const readLease: Reader<Lease> = object<Lease>({ index: count, state: text, machine: orNull(text), rate: u64, standbyRate: orNull(u64), lastEnd: orNull(text), revision: orElse(count, 1), unhealthyFrom: orNull(u64), next: orNull(text), last: orNull(text) });
const VERSION = { revision: count, component: text, configuration: orNull(text) };
const readRollout: Reader<Rollout> = object<Rollout>({
  ...VERSION, weight: count, weightNow: count, replicas: count, healthySeconds: count, failuresMax: count, failures: count, deadline: u64, healthyFrom: orNull(u64),
});
export const readDeployment: Reader<Deployment> = object<Deployment>({
  id: text, name: text, owner: text, component: text, state: text, memoryMib: count, cpuMillis: count, concurrency: count, isolation: text, replicas: count, createdHeight: orElse(count, 1), failure: orNull(text), host: text, url: text,
  leases: listOf(readLease), configuration: orNull(text), rateMax: orElse(u64, 0n), revision: orElse(count, 1), rollout: orNull(readRollout), history: orElse(listOf(object<Version>(VERSION)), []), rolledBack: orNull(text),
  constraints: orElse(object<Constraints>({ regions: listOf(text), operators: listOf(text), labels: listOf(text) }), { regions: [], operators: [], labels: [] }),
  scaling: orNull(object<Scaling>({ min: count, max: count, metric: text, target: count, rateMax: u64, load: text, due: orNull(u64) })),
  task: orNull(object<TaskAnswer>({ phase: text, at: orNull(u64), runs: count, failures: count, losses: count, attemptsMax: count, exitCode: orNull(count), reason: orNull(text) })),
});
export const readConfiguration: Reader<ConfigurationAnswer> = object<ConfigurationAnswer>({ environment: recordOf(text), limits: recordOf(count), outgoing: listOf(text), reuse: flag });
export const readBill: Reader<Bill> = object<Bill>({
  deploymentId: text, name: text, closed: flag, at: u64, total: u64, paid: u64, ratePerSecond: u64, balance: u64, dryAt: orNull(u64),
  runwaySeconds: orNull(u64), refunded: u64,
  earlier: object<Bill["earlier"]>({ segments: count, seconds: u64, amount: u64, digest: text }),
  segments: listOf(object<Segment>({ machine: text, operator: text, place: orNull(count), isPaid: flag, index: count, rate: u64, openedAt: u64, end: orNull(u64), paidUntil: u64, seconds: u64, amount: u64 })),
});
/** `silent`: ran it, and were not reached. */
export type LogMachines = { readonly machines: readonly string[]; readonly silent: readonly string[] };
export const readCopies: Reader<CopiesAnswer> = object<CopiesAnswer>({ copies: listOf(object<CopiesAnswer["copies"][number]>({ digest: text, kind: text, keepers: listOf(text), holders: listOf(text) })) });
export const readLogMachines: Reader<LogMachines> = object<LogMachines>({ machines: listOf(text), silent: listOf(text) });
export const readLogLine: Reader<LogLine> = object<LogLine>({ sequence: count, timeMs: u64, stream: text, requestId: orNull(text), line: text });
export const readSkipped: Reader<{ readonly lines: number }> = object<{ readonly lines: number }>({ lines: count });
export const readEvent: Reader<EventAnswer> = object<EventAnswer>({
  cursor: text, height: count, block: text, timeMs: u64, second: u64, kind: text, transaction: orNull(text), deployment: orNull(text), name: orNull(text), lease: orNull(count), machine: orNull(text), cause: orNull(text),
});
export const readSubmitted: Reader<Submitted> = object<Submitted>({ txid: text, height: orNull(count), ok: orNull(flag), code: orNull(text) });
export const readUploaded: Reader<Uploaded> = object<Uploaded>({ digest: text, kind: text, bytes: count });
export const readBlock: Reader<Block> = object<Block>({ height: count, id: text, bytes: text, certificate: orNull(text) });
export const readTransaction: Reader<TransactionAnswer> = object<TransactionAnswer>({ txid: text, height: count, index: count, ok: flag, code: orNull(text) });
export const readMachine: Reader<Machine> = object<Machine>({
  id: text, operator: text, state: text, memoryMib: count, cpuMillis: count, memoryMibUsed: count, cpuMillisUsed: count, leases: count, pricePerGibSecond: u64, pricePerCoreSecond: u64, bond: u64,
  placeableFrom: u64, region: orElse(text, ""), draining: orElse(flag, false), labels: orElse(listOf(text), []),
});

export const readMachineSelf: Reader<MachineSelf> = object<MachineSelf>({
  machine: text, operator: text, bootId: text, counter: u64, version: text, isImage: flag, node: text, kernel: text, uptimeSeconds: count,
  memory: object<MachineSelf["memory"]>({ totalBytes: count, availableBytes: count, agentBytes: count }), addresses: listOf(object<MachineSelf["addresses"][number]>({ name: text, address: text })),
});
export const readCommandTaken: Reader<CommandTaken> = object<CommandTaken>({ accepted: text, machineKey: orElse(orNull(text), null), proof: orElse(orNull(text), null) });
export const readMachineLines: Reader<{ readonly lines: readonly MachineLine[] }> = object<{ readonly lines: readonly MachineLine[] }>({ lines: listOf(object<MachineLine>({ sequence: count, timeMs: count, line: text })) });

/** A page is `{<name>: rows, next}`. */
export const readPage = <T>(name: string, read: Reader<T>): Reader<Page<T>> => (value, path) => {
  if (!isObject(value)) throw malformed(path, "an object", value);
  return { items: listOf(read)(value[name], `${path}.${name}`), next: orNull(text)(value["next"], `${path}.next`) };
};

/** The stable code and the sentence of a problem (RFC 9457); anything else that came instead is described by its status. */
export function readProblem(status: number, body: unknown): { code: string; message: string } {
  const { code, detail, title } = isObject(body) ? body : {};
  return {
    code: typeof code === "string" && /^[a-z0-9_]{1,64}$/.test(code) ? code : `http_${status}`,
    message: typeof detail === "string" && detail !== "" ? detail : typeof title === "string" ? title : `The machine answered ${status}`,
  };
}
