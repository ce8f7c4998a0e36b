/**
 * A machine that is only its API: for tests of the command line, on loopback and port 0.
 *
 * It keeps a ledger of a few maps, checks every signature as a real machine does, and records each request. `refuseNext` plans a
 * refusal, so that a test can see what the command line makes of it.
 */
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { addressOf, addressText } from "#chain/codec/address.ts";
import { verifyRequest } from "#chain/codec/request.ts";
import { SCOPES_ALL } from "#chain/codec/scopes.ts";
import { type Deploy, type Operation, decodeTransaction, deploymentIdOf, verifySignatures } from "#chain/codec/transaction.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import { type Address, type ChainId, U64_MAX, chainId, hex } from "#chain/types.ts";
import { SETTINGS_DEFAULT, type Settings, parseConfiguration } from "#os/configuration.ts";
import { completeLimits } from "#sandbox/limits.ts";
import { outgoingText } from "#sandbox/outgoing.ts";

const CHAIN: ChainId = chainId(Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]));
const MACHINE: Address = addressOf(publicKeyOf(new Uint8Array(32).fill(9)));
const FEES = { base: 10_000n, perByte: 10n };
/** After so many looks what is `retried` is ready. */
const RETRY_LOOKS = 3;
const RATE = 1_234n;
/** The last byte of what is a task here. */
export const TASK = 7;

export type Recorded = { readonly method: string; readonly path: string; readonly body: Uint8Array; readonly sender: string | null };
type Held = Deploy & { id: string; owner: string; balance: bigint; state: string; createdHeight?: number; task?: object };
export type FakeMachine = {
  readonly url: string;
  readonly requests: Recorded[];
  /** Operations that were done, in order. */
  readonly operations: Operation[];
  readonly deployments: Map<string, Held>;
  readonly configurations: Map<string, Settings & { owner: string }>;
  balances: Map<string, bigint>;
  nonces: Map<string, bigint>;
  /** The next request whose `METHOD /path` starts so is answered with this problem; `taken` refuses inside a block instead. */
  refuseNext(start: string, code: string, status?: number): void;
  refuseInBlock(code: string): void;
  /** Takes the next transaction and cuts the connection before it answers. */
  cutNext: boolean;
  /** What the replicas of the next deployments do; `full`: the machine has room for one; `retried`: they failed on one machine and are placed, and ready, on another. */
  replicas: "ready" | "failed" | "slow" | "full" | "retried";
  /** How every task ends, at once. */
  taskEnd: { exitCode: number; reason: string };
  /** Lines of every log; a follower gets one more after each, and then the end. */
  logLines: { stream: string; line: string; requestId?: string }[];
  /** What happened; a follower gets all that is after its cursor's block, and then the end. */
  events: { height: number; kind: string; deployment?: string; name?: string; lease?: number; machine?: string; transaction?: string; cause?: string }[];
  readonly keys: Map<string, { key: Uint8Array; scopes: number; limit: bigint; expiryMs: bigint }[]>;
  readonly thresholds: Map<string, number>;
  readonly validators: Map<string, { id: string; key: string; operator: string; state: string; stake: bigint; unbonding: bigint[]; weight: number; weightNext: number }>;
  /** What `GET /v1/{kind}/{name}` answers, by that path, and lists by `{kind}`. */
  readonly holdings: Map<string, object>;
  /** How far this machine's clock is ahead. */
  clockAheadMs: number;
  stateKept: { weight: number; weightKnown: number; weightMin: number; weightAll: number };
};

export async function startFakeMachine(t: TestContext): Promise<FakeMachine> {
  const planned: { start: string; code: string; status: number }[] = [];
  const inBlock: string[] = [];
  const machine: FakeMachine = {
    url: "", requests: [], operations: [], deployments: new Map(), configurations: new Map(), balances: new Map(), nonces: new Map(),
    refuseNext: (start, code, status = 422) => void planned.push({ start, code, status }),
    refuseInBlock: (code) => void inBlock.push(code),
    cutNext: false, replicas: "ready", taskEnd: { exitCode: 0, reason: "exit" }, logLines: [], events: [], clockAheadMs: 0, stateKept: { weight: 3, weightKnown: 3, weightMin: 2, weightAll: 4 }, keys: new Map(), thresholds: new Map(), validators: new Map(), holdings: new Map(),
  };
  let height = 1;

  const server = createServer((request, response) => {
    void answer(request, response).catch((error: unknown) => problem(response, 500, "internal", String(error)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });

  const nowMs = (): number => Date.now() + machine.clockAheadMs;

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of request as AsyncIterable<Uint8Array>) chunks.push(chunk);
    const body = new Uint8Array(Buffer.concat(chunks));
    const method = request.method ?? "";
    const path = request.url ?? "";
    response.setHeader("date", new Date(nowMs()).toUTCString());
    const isSigned = method === "PUT" || /\/(logs|logs\/machines|usage|configuration)(\?|$)/.test(path);
    const signed = verifyRequest(request.headers.authorization, { chainId: CHAIN, machine: MACHINE, method, path, nowMs: BigInt(nowMs()), bodyDigest: sha256(body) });
    machine.requests.push({ method, path, body, sender: signed.ok ? addressText(signed.sender) : null });
    const index = planned.findIndex(({ start }) => `${method} ${path}`.startsWith(start));
    const [refusal] = index < 0 ? [] : planned.splice(index, 1);
    if (refusal !== undefined) return problem(response, refusal.status, refusal.code, `Planned: ${refusal.code}`);
    if (isSigned && !signed.ok) return problem(response, 401, signed.code, signed.message);
    const [, , kind = "", name = "", part = "", deeper = ""] = path.split("?")[0]!.split("/");
    const query = new URLSearchParams(path.split("?")[1] ?? "");
    switch (`${method} ${kind}`) {
      case "GET status": return json(response, 200, status());
      case "GET accounts": return json(response, 200, { address: name, balance: String(machine.balances.get(name) ?? 0n), nonce: String(machine.nonces.get(name) ?? 0n), threshold: machine.thresholds.get(name) ?? 1, keys: (machine.keys.get(name) ?? []).map((one) => ({ ...one, key: hex(one.key), limit: String(one.limit), expiryMs: String(one.expiryMs) })) });
      case "GET validators": return json(response, 200, { validators: [...machine.validators.values()].map((one) => ({ commissionBps: 1_000, delegated: "0", delegatedShares: "0", leaving: "0", ...one, stake: String(one.stake), unbonding: one.unbonding.map((left) => ({ amount: String(left), releaseMs: "1700000000000", releaseEpoch: 4 })) })), next: null });
      case "GET locks": case "GET names": case "GET delegations": case "GET parameters": return holdings(response, kind, name);
      case "GET events": return events(response, query);
      case "GET machines": return json(response, 200, { machines: [offer()], next: null });
      case "GET deployments": return deployments(response, name, part, deeper, query, signed.ok ? addressText(signed.sender) : null);
      case "GET transactions": return problem(response, 404, "transaction_unknown", `no transaction ${name}`);
      case "PUT components": return upload(response, name, body, body.at(-1) === TASK ? "task" : "service");
      case "PUT configurations": {
        const { owner, ...settings } = parseConfiguration(body);
        machine.configurations.set(name, { owner: addressText(owner), ...settings });
        return upload(response, name, body, "configuration");
      }
      case "POST transactions": return submit(response, body);
      default: return problem(response, 404, "route_unknown", `no ${method} ${path}`);
    }
  }

  function holdings(response: ServerResponse, kind: string, name: string): void {
    const found = machine.holdings.get(name === "" ? kind : `${kind}/${name}`);
    return found === undefined ? problem(response, 404, `${kind.slice(0, -1)}_unknown`, `no ${kind} ${name}`) : json(response, 200, found);
  }

  const status = (): object => ({
    version: "0.1.0", chainId: hex(CHAIN), machine: addressText(MACHINE), operator: addressText(MACHINE), zone: "localhost", apiPort: 1, httpPort: 7481,
    head: { height, id: "00".repeat(32), timeMs: String(nowMs() - 3_000), moneySecond: "100", stateRoot: "11".repeat(32) },
    stateKept: machine.stateKept, runner: { state: "running", pid: 42, routes: 0 }, fees: { base: String(FEES.base), perByte: String(FEES.perByte) },
  });

  /** Asks RATE for the 64 MiB of a manifest without resources. */
  const offer = (): object => ({
    id: addressText(MACHINE), operator: addressText(MACHINE), state: "up", memoryMib: 4096, cpuMillis: 8000, memoryMibUsed: machine.replicas === "full" ? 4_090 : 0, cpuMillisUsed: 0, leases: 0,
    pricePerGibSecond: String(RATE * 16n), pricePerCoreSecond: "0", bond: String(10n ** 18n), placeableFrom: "0",
  });

  function deployments(response: ServerResponse, id: string, part: string, deeper: string, query: URLSearchParams, sender: string | null): void {
    if (id === "") {
      const rows = [...machine.deployments.values()].filter(({ owner }) => !query.has("account") || query.get("account") === owner).toSorted((a, b) => (a.id < b.id ? -1 : 1));
      const start = rows.findIndex((row) => row.id > (query.get("after") ?? ""));
      // Pages of two, so that every list of three shows whether the client goes on.
      const shown = start < 0 ? [] : rows.slice(start, start + 2);
      return json(response, 200, { deployments: shown.map(describe), next: shown.length === 2 && rows.at(-1) !== shown[1] ? shown[1]!.id : null });
    }
    const held = machine.deployments.get(id);
    if (held === undefined) return problem(response, 404, "deployment_unknown", `no deployment ${id}`);
    if (part === "") return json(response, 200, describe(held));
    if (part === "copies") return json(response, 200, { copies: [{ digest: `sha256:${hex(held.componentDigest)}`, kind: "component", keepers: [addressText(MACHINE)], holders: [addressText(MACHINE)] }] });
    if (part === "bill") return json(response, 200, bill(held));
    if (sender === held.owner && part === "configuration") {
      const { environment, limits, outgoing, reuse } = machine.configurations.get(`sha256:${hex(held.configurationDigest ?? new Uint8Array(32))}`) ?? SETTINGS_DEFAULT;
      return json(response, 200, { environment, limits: completeLimits(limits), outgoing: outgoing.map(outgoingText), reuse });
    }
    if (sender !== held.owner) return problem(response, 403, "not_owner", "not yours");
    if (part === "logs" && deeper === "machines") return json(response, 200, { machines: [addressText(MACHINE)], silent: [] });
    if (query.get("follow") === "true") return follow(response);
    const lines = machine.logLines.slice(-Number(query.get("tail") ?? 100)).map((line, i) => ({ sequence: i, timeMs: 1_000 + i, requestId: null, ...line }));
    return json(response, 200, { lines, next: null });
  }

  let looks = 0;
  function describe(held: Held): object {
    if (machine.replicas === "retried") looks += 1;
    const state = machine.replicas === "ready" || looks > RETRY_LOOKS ? "ready" : machine.replicas === "failed" ? "failed" : "placed";
    return {
      id: held.id, name: held.name, owner: held.owner, component: `sha256:${hex(held.componentDigest)}`, configuration: held.configurationDigest === null ? null : `sha256:${hex(held.configurationDigest)}`, rateMax: String(held.rateMax), state: held.state, host: `${held.name}.${held.owner}.localhost`, url: `http://${held.name}.${held.owner}.localhost:7481/`,
      memoryMib: held.memoryMib, cpuMillis: held.cpuMillis, concurrency: held.concurrency, createdHeight: held.createdHeight ?? 1, task: held.task ?? null, isolation: held.isolation === 1 ? "process" : "shared", replicas: held.replicas, failure: machine.replicas === "failed" || machine.replicas === "retried" ? "trap at instantiation" : null,
      leases: Array.from({ length: held.task === undefined ? held.replicas : 0 }, (_, index) => (machine.replicas === "full" && index > 0
        ? { index, state: "pending", machine: null, rate: "0", lastEnd: null } : { index, state: machine.replicas === "full" ? "ready" : state, machine: addressText(MACHINE), rate: String(RATE), lastEnd: null })),
    };
  }

  const bill = (held: Held): object => ({
    deploymentId: held.id, owner: held.owner, name: held.name, closed: false, at: "160", earlier: { segments: 0, seconds: "0", amount: "0", digest: "00".repeat(32) },
    segments: Array.from({ length: held.replicas }, (_, index) => ({ machine: addressText(MACHINE), operator: addressText(MACHINE), place: null, isPaid: false, index, rate: String(RATE), openedAt: "100", end: null, paidUntil: "130", seconds: "60", amount: String(60n * RATE) })),
    total: String(60n * RATE * BigInt(held.replicas)), paid: "0", ratePerSecond: String(RATE * BigInt(held.replicas)), balance: String(held.balance), dryAt: "9999",
    runwaySeconds: String(held.balance / (RATE * BigInt(held.replicas))), refunded: "0",
  });

  function follow(response: ServerResponse): void {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(": still here\n\n");
    for (const [i, line] of machine.logLines.entries()) response.write(`id: ${i}\nevent: line\ndata: ${JSON.stringify({ sequence: i, timeMs: 1_000 + i, requestId: null, ...line })}\n\n`);
    response.write('event: skipped\ndata: {"lines":3}\n\n');
    response.end("event: end\ndata: {}\n\n");
  }

  /** Pages of two. */
  function events(response: ServerResponse, query: URLSearchParams): void {
    const after = Number(query.get("after") ?? 0);
    const rows = machine.events.filter(({ height: at, deployment }) => at > after && (query.get("deployment") ?? deployment) === deployment).map((event, i) => ({
      cursor: `${event.height}.${i}`, block: "00".repeat(31) + String(event.height).padStart(2, "0"), timeMs: String(1_000 * event.height), second: String(event.height), transaction: null, deployment: null, name: null, lease: null, machine: null, cause: null, details: {}, ...event,
    }));
    if (query.get("follow") !== "true") return json(response, 200, { events: rows.slice(0, 2), next: rows.length > 2 ? String(rows[1]!.height) : null });
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const row of rows) response.write(`id: ${row.cursor}\nevent: event\ndata: ${JSON.stringify(row)}\n\n`);
    response.end("event: end\ndata: {}\n\n");
  }

  function upload(response: ServerResponse, name: string, body: Uint8Array, kind: string): void {
    if (name !== `sha256:${hex(sha256(body))}`) return problem(response, 422, "digest_mismatch", "another digest");
    json(response, 201, { digest: name, kind, bytes: body.length, expiresAtMs: 1 });
  }

  function submit(response: ServerResponse, raw: Uint8Array): void {
    const transaction = decodeTransaction(raw);
    const { body } = transaction;
    const sender = addressText(body.sender);
    const { signatures: by } = transaction;
    const known = machine.keys.get(sender)?.map(({ key }) => hex(key));
    const speaks = by.length >= (machine.thresholds.get(sender) ?? 1) && by.every(({ key }) => known?.includes(hex(key)) ?? addressText(addressOf(key)) === sender);
    if (!verifySignatures(transaction) || !speaks) return problem(response, 422, "bad_signature", "the signature does not hold");
    if (hex(body.chainId) !== hex(CHAIN)) return problem(response, 422, "wrong_chain", "another chain");
    if (body.nonce !== (machine.nonces.get(sender) ?? 0n)) return problem(response, 422, "wrong_nonce", "another nonce");
    if (body.validUntilMs < BigInt(nowMs()) || body.validUntilMs > BigInt(nowMs() + 3_600_000)) return problem(response, 422, "expired", "not valid now");
    if (body.fee !== FEES.base + FEES.perByte * BigInt(raw.length)) return problem(response, 422, "fee_too_low", `${body.fee} for ${raw.length} bytes`);
    height += 1;
    machine.nonces.set(sender, body.nonce + 1n);
    machine.balances.set(sender, (machine.balances.get(sender) ?? 0n) - body.fee);
    if (machine.cutNext) {
      machine.cutNext = false;
      return void response.destroy();
    }
    const code = inBlock.shift();
    if (code !== undefined) return json(response, 200, { txid: hex(transaction.txid), height, ok: false, code });
    if (known === undefined) machine.keys.set(sender, [{ key: by[0]!.key, scopes: SCOPES_ALL, limit: U64_MAX, expiryMs: U64_MAX }]);
    for (const [i, op] of body.ops.entries()) apply(op, body.sender, body.nonce, i);
    json(response, 200, { txid: hex(transaction.txid), height, ok: true });
  }

  function apply(op: Operation, sender: Address, nonce: bigint, index: number): void {
    machine.operations.push(op);
    const held = "deploymentId" in op ? machine.deployments.get(hex(op.deploymentId)) : undefined;
    if (op.kind === "deploy") {
      const id = hex(deploymentIdOf(sender, nonce, index));
      machine.deployments.set(id, { ...op, id, owner: addressText(sender), balance: op.deposit, state: "active", createdHeight: height });
    } else if (op.kind === "runTask") {
      const id = hex(deploymentIdOf(sender, nonce, index));
      const task = { phase: "ended", at: "120", runs: 1, failures: machine.taskEnd.exitCode === 0 ? 0 : 1, losses: 0, attemptsMax: op.attemptsMax, ...machine.taskEnd };
      machine.deployments.set(id, { ...op, kind: "deploy", concurrency: 1, replicas: 1, id, owner: addressText(sender), balance: op.deposit, state: "ended", createdHeight: height, task });
    } else if (op.kind === "transfer") machine.balances.set(addressText(op.to), (machine.balances.get(addressText(op.to)) ?? 0n) + op.amount);
    else if (op.kind === "authorise") machine.keys.get(addressText(sender))!.push(op);
    else if (op.kind === "revoke") machine.keys.set(addressText(sender), machine.keys.get(addressText(sender))!.filter(({ key }) => hex(key) !== hex(op.key)));
    else if (op.kind === "setThreshold") machine.thresholds.set(addressText(sender), op.threshold);
    else if (op.kind === "bond") {
      const id = addressText(addressOf(op.consensusKey));
      machine.validators.set(id, { id, key: hex(op.consensusKey), operator: addressText(sender), state: "active", stake: op.amount, unbonding: [], weight: 0, weightNext: Number(op.amount / 10n ** 9n) });
    } else if (op.kind === "unbond") {
      const one = machine.validators.get(addressText(op.validator))!;
      one.stake -= op.amount;
      one.unbonding.push(op.amount);
    } else if (held !== undefined && op.kind === "scale") machine.deployments.set(held.id, { ...held, replicas: op.replicas });
    else if (held !== undefined && op.kind === "update") machine.deployments.set(held.id, { ...held, componentDigest: op.componentDigest, configurationDigest: op.configurationDigest });
    else if (held !== undefined && op.kind === "resize") machine.deployments.set(held.id, { ...held, memoryMib: op.memoryMib, cpuMillis: op.cpuMillis });
    else if (held !== undefined && op.kind === "topUp") held.balance += op.amount;
    else if (held !== undefined && op.kind === "close") held.state = "closing";
  }

  return Object.assign(machine, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
}

function json(response: ServerResponse, statusCode: number, value: object): void {
  response.writeHead(statusCode, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

function problem(response: ServerResponse, statusCode: number, code: string, detail: string): void {
  response.writeHead(statusCode, { "content-type": "application/problem+json" });
  response.end(JSON.stringify({ type: `urn:godwit:problem:${code}`, title: "Refused", status: statusCode, detail, code }));
}

