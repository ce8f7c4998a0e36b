/** The shapes of what the API answers, as JSON Schema (2020-12): part of the OpenAPI document. */
import type { Schema } from "./route.ts";

const text = { type: "string" };
const number = { type: "integer", minimum: 0 };
const decimal = { type: "string", pattern: "^[0-9]+$", description: "A 64-bit number." };
const decimalOrNull = { type: ["string", "null"], pattern: "^[0-9]+$" };
const textOrNull = { type: ["string", "null"] };
const address = { type: "string", pattern: "^gw1[02-9ac-hj-np-z]{38}$" };
const addressOrNull = { type: ["string", "null"], pattern: "^gw1[02-9ac-hj-np-z]{38}$" };
const hexOf = (bytes: number): Schema => ({ type: "string", pattern: `^[0-9a-f]{${bytes * 2}}$` });
const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const digestOrNull = { type: ["string", "null"], pattern: "^sha256:[0-9a-f]{64}$" };
const base64 = { type: "string", contentEncoding: "base64" };
const object = (properties: Readonly<Record<string, Schema>>, optional: readonly string[] = []): Schema => ({
  type: "object", properties, required: Object.keys(properties).filter((name) => !optional.includes(name)), additionalProperties: false,
});
const listOf = (items: Schema): Schema => ({ type: "array", items });
const open = { type: "object", additionalProperties: true };
export const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });
export const page = (name: string, items: Schema): Schema => object({ [name]: listOf(items), next: { ...textOrNull, description: "Give it as `after` for the next page; null at the end." } });

export const DIGEST_PARAMETER: Schema = digest;
export const DEPLOYMENT_PARAMETER: Schema = hexOf(20);
export const HOLDING_PARAMETER: Schema = hexOf(20);
export const NAME_PARAMETER: Schema = { type: "string", pattern: "^[a-z0-9.-]{1,253}$" };
export const ADDRESS_PARAMETER: Schema = address;
export const TRANSACTION_PARAMETER: Schema = hexOf(32);

const outcome = object({ txid: hexOf(32), ok: { type: "boolean" }, code: text }, ["code"]);

const version = object({ revision: number, component: digest, configuration: digestOrNull });

const scaling = object({
  min: { ...number, description: "0: one that has nothing to do is on standby." }, max: number, metric: { enum: ["cpu", "concurrency", "requests"] },
  target: { ...number, description: "What one replica should have at most: thousandths of its CPU, requests at a time, requests a second." },
  rateMax: { ...decimal, description: "What all together may cost a second; 0: no ceiling." }, load: { enum: ["low", "right", "high"] }, due: { ...decimalOrNull, description: "Money second of the next step." },
});

const rollout = object({
  ...(version["properties"] as Readonly<Record<string, Schema>>), weight: { ...number, description: "Per mille of the requests once it is ready and healthy." }, weightNow: number, replicas: number,
  healthySeconds: number, deadlineSeconds: number, failuresMax: number, failures: number, deadline: decimal, healthyFrom: decimalOrNull,
});

const task = object({
  phase: { enum: ["placing", "running", "resting", "ended"] }, at: { ...decimalOrNull, description: "Money second since which it runs, until which it rests after a failure, or in which it ended." },
  runs: { ...number, description: "Runs that began." }, failures: number, losses: { ...number, description: "Runs that ended because their machine did." },
  attemptsMax: number, backOffSeconds: number, secondsMax: number,
  exitCode: { type: ["integer", "null"], minimum: 0, description: "Of the last run that ended; null: none has." }, reason: { ...textOrNull, description: "exit: it ended by itself; else what ended it." },
});

export const SCHEMAS: Readonly<Record<string, Schema>> = {
  Problem: object({ type: text, title: text, status: number, detail: text, code: { ...text, description: "Stable: it never changes its meaning." } }),
  Status: object({
    version: text, chainId: hexOf(8), chain: text, machine: address, operator: address, bootId: hexOf(16), zone: text, apiPort: number, httpPort: number,
    head: object({ height: number, id: hexOf(32), timeMs: decimal, moneySecond: decimal, stateRoot: hexOf(32) }),
    moneySecondNow: decimal, halted: { ...textOrNull, description: "Why this node signs nothing any more." }, peers: number, waitingTransactions: number,
    stateKept: object({
      weight: { ...number, description: "Of this epoch's validators, those whose disk keeps the state, by their own word." }, weightKnown: { ...number, description: "Those that have said whether." },
      weightMin: { ...number, description: "With less, a site that is switched off at once may be lost." }, weightAll: number,
    }),
    validators: listOf(object({ key: hexOf(32), weight: number, operator: address })),
    runner: object({ state: { enum: ["running", "starting"] }, pid: { type: ["integer", "null"] }, routes: number }),
    fees: object({ base: decimal, perByte: decimal }),
  }),
  Supply: object({ balances: decimal, escrows: decimal, bonds: decimal, stakes: decimal, locked: decimal, feePool: decimal, burnt: decimal, total: decimal }),
  Machine: object({
    id: address, key: hexOf(32), operator: address, state: { enum: ["up", "down"] }, bootId: text, region: text, memoryMib: number, cpuMillis: number,
    memoryMibUsed: number, cpuMillisUsed: number, leases: number, pricePerGibSecond: decimal, pricePerCoreSecond: decimal, bond: decimal, strikes: number, placeableFrom: decimal,
    draining: { type: "boolean" }, labels: listOf(text),
  }),
  MachineSelf: object({
    machine: address, operator: address, bootId: hexOf(16), counter: { ...decimal, description: "Of the last command; the next one's must be above it." }, version: text, isImage: { type: "boolean" }, node: text, kernel: text, uptimeSeconds: number,
    memory: object({ totalBytes: number, availableBytes: number, agentBytes: number }), load: listOf({ type: "number" }), addresses: listOf(object({ name: text, address: text })),
  }),
  MachineLines: object({ lines: listOf(object({ sequence: number, timeMs: number, line: text })) }),
  Validator: object({
    id: address, key: hexOf(32), operator: address, state: { enum: ["active", "jailed", "tombstoned"] }, stake: decimal,
    weight: { ...number, description: "In the set of this epoch; 0: not in it." }, weightNext: { ...number, description: "In the set of the next epoch." },
    commissionBps: { ...number, description: "The operator's part of what delegators earn, in 1/10,000." }, delegated: { ...decimal, description: "What others have behind it." }, delegatedShares: decimal, leaving: decimal,
    unbonding: listOf(object({ amount: decimal, releaseMs: decimal, releaseEpoch: number })),
  }),
  Parameters: object({
    parameters: listOf(object({ name: text, value: decimal, min: decimal, max: decimal })), scheduled: listOf(object({ name: text, value: decimal, epoch: number })),
    proposals: listOf(object({ id: hexOf(20), name: text, value: decimal, validator: address, epoch: { ...number, description: "In which it was made." }, votes: listOf(address) })),
  }),
  Name: object({
    name: text, owner: address, deployment: { ...textOrNull, description: "null: it points nowhere." }, host: { ...textOrNull, description: "By which machines answer; null: this name stands behind another." },
    expiryMs: { ...decimal, description: "Header time from which it points nowhere; 30 days later it is anybody's." },
  }),
  Delegation: object({
    validator: address, delegator: address, shares: decimal, amount: { ...decimal, description: "What the shares are worth now." },
    leaving: listOf(object({ amount: decimal, releaseMs: decimal, releaseEpoch: number })),
  }),
  Lock: object({ id: hexOf(20), sender: address, recipient: address, amount: decimal, hash: hexOf(32), expiryMs: { ...decimal, description: "Header time from which it is the sender's again." } }),
  Lease: object({
    index: number, state: { enum: ["pending", "placed", "ready", "waiting", "moving", "failed"] }, machine: addressOrNull, rate: decimal, standbyRate: { ...decimalOrNull, description: "What it costs now, as it is on standby; null: it is not." }, placedAt: decimal, readyBy: decimal, lastEnd: textOrNull,
    revision: number, unhealthyFrom: { ...decimalOrNull, description: "Money second since which it does not answer as it should." },
    next: { ...addressOrNull, description: "The machine that it moves to." }, last: { ...addressOrNull, description: "The machine that it has left, which ends what it has begun." },
  }),
  Version: version,
  Deployment: object({
    id: hexOf(20), owner: address, name: text, state: { enum: ["active", "paused", "dry", "closing", "ended"] }, host: text, url: text, component: digest, configuration: digestOrNull,
    memoryMib: number, cpuMillis: number, concurrency: number, replicas: number, isolation: { enum: ["shared", "process"] }, rateMax: decimal, createdHeight: number,
    failure: textOrNull, failedMachines: listOf(address), leases: listOf(ref("Lease")), task: { ...task, type: ["object", "null"], description: "null: a service." },
    scaling: { ...scaling, type: ["object", "null"], description: "null: it does not scale by itself." },
    revision: number, rollout: { ...rollout, type: ["object", "null"] }, history: listOf(ref("Version")), rolledBack: textOrNull,
    constraints: object({ regions: listOf(text), operators: listOf(address), labels: listOf(text) }),
  }),
  Segment: object({ machine: address, operator: address, index: number, rate: decimal, openedAt: decimal, end: decimalOrNull, paidUntil: decimal, place: { type: ["integer", "null"], minimum: 0, description: "In the order in which they ended; null: it runs." }, isPaid: { type: "boolean", description: "To its end." }, seconds: decimal, amount: decimal }),
  Bill: object({
    deploymentId: hexOf(20), owner: address, name: text, closed: { type: "boolean" }, at: decimal, since: { ...decimal, description: "Money second before which this machine knows no payments; 0: it knows all." }, segments: listOf(ref("Segment")),
    earlier: object({ segments: number, seconds: decimal, amount: decimal, digest: { ...hexOf(32), description: "The hash of all segments that were paid before the first that is listed." } }), total: decimal, paid: decimal, ratePerSecond: decimal, balance: decimal,
    dryAt: decimalOrNull, runwaySeconds: decimalOrNull, refunded: decimal,
  }),
  LogLine: object({ sequence: number, timeMs: number, stream: { enum: ["stdout", "stderr", "system"] }, requestId: textOrNull, line: text }),
  LogMachines: object({ machines: listOf(address), silent: listOf(address) }),
  Usage: object({
    requests: number, errors: number, fuel: decimal, cpuNs: decimal, memoryBytes: number, memoryBytesPeak: number, running: number, waiting: number, logLinesDropped: number,
  }),
  Configuration: object({
    environment: { type: "object", additionalProperties: text }, limits: { type: "object", additionalProperties: number, description: "By the names of the sandbox: bytes, ms, counts." },
    outgoing: listOf(text), reuse: { type: "boolean" },
  }),
  Account: object({
    address, balance: decimal, nonce: decimal, threshold: number,
    keys: listOf(object({ key: hexOf(32), scopes: number, limit: decimal, expiryMs: decimal })),
  }),
  Block: object({
    height: number, id: hexOf(32), bytes: { ...base64, description: "The block; of height 0, the genesis." }, certificate: base64, header: { ...open, type: ["object", "null"] },
    outcomes: listOf(outcome), events: listOf(open),
  }),
  Event: object({
    cursor: { ...text, description: "`after` this one." }, height: number, block: { ...hexOf(32), description: "The id of the final block from which it follows: whoever executes it finds the same." }, timeMs: decimal, second: decimal,
    kind: { ...text, description: "placed, ready, failed, ended, moving, draining, updated, promoted, rolledBack, health, taskEnded, up, down, closed, …" },
    transaction: { ...textOrNull, pattern: "^[0-9a-f]{64}$", description: "The one that did it; null: the block itself (placement, what was due, silence)." },
    deployment: { ...textOrNull, pattern: "^[0-9a-f]{40}$" }, name: { ...textOrNull, description: "The deployment's, as long as the ledger knows it." },
    lease: { type: ["integer", "null"], minimum: 0 }, machine: addressOrNull, cause: textOrNull, details: { ...open, description: "The ledger's own words." },
  }),
  Transaction: object({ txid: hexOf(32), height: number, index: number, ok: { type: "boolean" }, code: text }, ["code"]),
  Submitted: object({ txid: hexOf(32), height: number, ok: { type: "boolean" }, code: text }, ["height", "ok", "code"]),
  Upload: object({ digest, bytes: number, kind: { enum: ["service", "task", "configuration"] }, imports: listOf(text), expiresAtMs: number }, ["imports"]),
  Copies: object({ copies: listOf(object({
    digest, kind: { enum: ["component", "configuration"] }, keepers: { ...listOf(address), description: "Those that shall have it: three, or as many as may." }, holders: { ...listOf(address), description: "Those of them that have it." },
  })) }),
  Health: object({ state: { enum: ["ok", "stalled", "halted"] }, height: number }),
};
