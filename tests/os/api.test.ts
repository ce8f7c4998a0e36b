import assert from "node:assert/strict";
import { once } from "node:events";
import { type Socket, connect } from "node:net";
import test from "node:test";
import type { TestContext } from "node:test";
import { stateKey } from "#chain/codec/proof.ts";
import { addressText } from "#chain/codec/address.ts";
import { encode } from "#chain/codec/cbor.ts";
import { encodeBlock } from "#chain/codec/schema.ts";
import { signTransaction } from "#chain/codec/transaction.ts";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import type { BillView, DeploymentView, LeaseView, LedgerEvent } from "#chain/ledger/view.ts";
import { type Address, type Hex, hex } from "#chain/types.ts";
import { checkOwner } from "#os/api/context.ts";
import type { Context } from "#os/api/context.ts";
import { bindDoor } from "#os/api/door.ts";
import { createMetrics } from "#os/api/metrics.ts";
import { createRoutes } from "#os/api/routes.ts";
import type { Route } from "#os/api/route.ts";
import { SCHEMAS } from "#os/api/schemas.ts";
import { serveApi, uploadMsMax } from "#os/api/server.ts";
import { BlobStore } from "#os/blobs.ts";
import { EVENT_BLOCKS_MAX, EVENT_FOLLOWERS_MAX, LOG_FOLLOWERS_MAX, LOG_FOLLOWERS_OF_ONE_MAX, LOG_LAST_LINES_MS_MAX, LOG_QUIET_MS, UPLOADS_AT_ONCE_MAX, UPLOADS_OF_ONE_AT_ONCE_MAX } from "#os/limits.ts";
import { AgentError } from "#os/error.ts";
import { LogStore } from "#os/logs.ts";
import { LIMITS_DEFAULT } from "#sandbox/limits.ts";
import { SandboxError } from "#sandbox/sandbox.ts";
import { BLOCK } from "../golden/consensus.ts";
import { type FakeNode, accountOf, fakeNode, idOf, seedOf } from "./fakeNode.ts";
import { validate } from "./jsonSchema.ts";
import { type Call, type HttpAnswer, type Signer, authorization, http, signed, temporaryFolder } from "./stage.ts";

const OWNER = 7;
const STRANGER = 8;
const POOR = 9;
const MACHINE = accountOf(3);
const ID = hex(idOf(1));

type World = { node: FakeNode; port: number; logs: LogStore; blobs: BlobStore; routes: readonly Route[]; faults: string[]; operatorPort: number; connections: () => Promise<number>; get: (path: string) => Promise<HttpAnswer>; as: (n: number) => Signer; call: (n: number, call: Omit<Call, "port">) => Promise<HttpAnswer>; stop: () => Promise<void> };

const deployment = (n: number, owner = OWNER): DeploymentView => ({
  id: idOf(n), owner: accountOf(owner), name: `d${n}`, state: "active", componentDigest: sha256(Uint8Array.of(n)), configurationDigest: null, memoryMib: 64, cpuMillis: 250,
  concurrency: 4, replicas: 1, isolation: 0, rateMax: 18_446_744_073_709_551_615n, createdHeight: 2, lastFailure: "", failedMachines: [],
  revision: 1, rollout: null, history: [], rolledBack: "", constraints: { regions: [], operators: [], labels: [] },
});
const lease = (n: number): LeaseView => ({ deploymentId: idOf(n), index: 0, state: "ready", machine: MACHINE, rate: 1250n, standbyRate: null, placedAt: 4n, readyBy: 34n, lastEnd: "", revision: 1, unhealthyFrom: null, next: null, last: null });
const bill: BillView = {
  deploymentId: idOf(1), owner: accountOf(OWNER), name: "d1", closed: false, since: 0n, at: 11n,
  segments: [{ machine: MACHINE, operator: accountOf(2), place: null, isPaid: false, index: 0, rate: 1250n, openedAt: 5n, end: null, paidUntil: 5n, seconds: 6n, amount: 7500n }],
  earlier: { segments: 0, seconds: 0n, amount: 0n, digest: sha256(Uint8Array.of(9)) }, total: 7500n, paid: 0n, ratePerSecond: 1250n, balance: 9_007_199_254_740_993n, dryAt: null, runwaySeconds: 77n, refunded: 0n,
};

async function world(t: TestContext): Promise<World> {
  const node = fakeNode(Date.now());
  for (const [n, balance] of [[OWNER, 10n ** 12n], [STRANGER, 5n], [POOR, 0n]] as const) {
    node.accounts.set(hex(accountOf(n)), { address: accountOf(n), balance, nonce: 2n ** 53n + 1n, keys: [], threshold: 1 });
  }
  node.deploymentMap.set(ID, deployment(1));
  node.leases.push(lease(1));
  node.bills.set(ID, bill);
  const directory = temporaryFolder(t);
  const logs = await LogStore.open(`${directory}/logs`);
  const blobs = await BlobStore.open({ directory, named: () => new Set(), now: Date.now, onChange: () => {}, compile: async (_component, digest) => ({ digest, path: "/nowhere", cached: false }) });
  const door = await bindDoor("127.0.0.1", 0);
  const context: Context = {
    version: "0.1.0", node, machine: MACHINE, operator: accountOf(2), bootId: "b0".repeat(16) as Hex, zone: "localhost", apiPort: door.port, httpPort: 8080, blobs, logs, now: Date.now, routeCount: () => 1,
    runner: { pid: 4242, usage: async () => ({ [ID]: { requests: 3, errors: 1, fuel: 2 ** 53, cpuNs: 1000, memoryBytes: 5, memoryBytesPeak: 6, running: 0, waiting: 0, logLinesDropped: 0 } }) },
    logRelay: { lines: () => Promise.reject(new AgentError("machine_unreachable", "as the test says")), follow: () => () => {}, holders: async (_id, likely) => ({ machines: [accountOf(2)], silent: likely ?? [] }) },
    copiesOf: async (digest) => ({ digest, kind: "component", keepers: [MACHINE, accountOf(2)], holders: [MACHINE] }),
    inspect: async (component) => {
      if (component[0] !== 0) throw new SandboxError("not_wasm", "as the test says");
      return { kind: "service", imports: ["wasi:http/types@0.2.12"], exports: [] };
    },
  };
  const metrics = createMetrics();
  const routes = createRoutes(context);
  const faults: string[] = [];
  const behind = { onFault: (error: unknown) => void faults.push(String(error)), chainId: node.chainId, machine: MACHINE, now: Date.now, keysOf: () => null, operator: accountOf(2), checkOwner: (id: string, sender: Address) => checkOwner(context, id, sender) };
  const server = await serveApi({ ...behind, door, routes, onAnswer: metrics.onAnswer });
  const operatorDoor = await bindDoor("127.0.0.1", 0);
  const operators = await serveApi({ ...behind, door: operatorDoor, routes: [metrics.route(context)] });
  const stop = async (): Promise<void> => {
    await Promise.all([server.stop(), operators.stop()]);
    await logs.close();
  };
  t.after(stop);
  const as = (n: number): Signer => ({ seed: seedOf(n), chainId: node.chainId, machine: MACHINE });
  return { node, port: door.port, faults, operatorPort: operatorDoor.port, connections: () => new Promise((resolve) => door.http.getConnections((_error, count) => resolve(count))), logs, blobs, routes, stop, as, get: (path) => http({ path, port: door.port }), call: (n, call) => signed(as(n), { ...call, port: door.port }) };
}

const refused = (answer: HttpAnswer, status: number, code: string): void => {
  assert.deepEqual([answer.status, answer.json?.code], [status, code], answer.text);
  assert.match(answer.headers["content-type"] ?? "", /^application\/problem\+json/);
  assert.deepEqual(validate(SCHEMAS["Problem"]!, answer.json, SCHEMAS), []);
};

test("every public route answers in the shape that the document promises", async (t) => {
  const { node, get, routes } = await world(t);
  const txid = hex(sha256(Uint8Array.of(5)));
  node.finals.set(txid, { height: 2 as never, index: 0, ok: false, code: "insufficient_funds" });
  node.blocks.push({ height: 0 as never, id: sha256(Uint8Array.of(0)), bytes: Uint8Array.of(1, 2, 3), certificate: new Uint8Array(0), outcomes: [], events: [{ kind: "closed", deploymentId: idOf(1), owner: accountOf(OWNER), refunded: 2n ** 64n - 1n }] });
  node.machineMap.set(hex(MACHINE), {
    id: MACHINE, key: publicKeyOf(seedOf(3)), operator: accountOf(2), state: "up", bootId: new Uint8Array(16), memoryMib: 1000, cpuMillis: 2000, memoryMibUsed: 64, cpuMillisUsed: 250, leases: 1,
    pricePerGibSecond: 1n, pricePerCoreSecond: 2n, region: "local", bond: 5n, strikes: 0, placeableFrom: 0n, draining: false, labels: [],
  });
  const paths: Readonly<Record<string, string>> = {
    getStatus: "/v1/status", getSupply: "/v1/supply", getValidators: "/v1/validators", getMachines: "/v1/machines", getDeployments: "/v1/deployments", getDeployment: `/v1/deployments/${ID}`, getBill: `/v1/deployments/${ID}/bill`, getCopies: `/v1/deployments/${ID}/copies`,
    getAccount: `/v1/accounts/${addressText(accountOf(OWNER))}`, getBlock: "/v1/blocks/latest", getTransaction: `/v1/transactions/${txid}`, getOpenapi: "/openapi.json", getHealth: "/healthz",
    getParameters: "/v1/parameters", getEvents: `/v1/events?deployment=${ID}`,
    getNames: `/v1/names?account=${addressText(accountOf(OWNER))}`, getName: "/v1/names/shop",
    getDelegations: `/v1/delegations?account=${addressText(accountOf(OWNER))}`,
    getLocks: `/v1/locks?account=${addressText(accountOf(OWNER))}`, getLock: `/v1/locks/${ID}`,
  };
  for (const route of routes) {
    const path = paths[route.id];
    if (path === undefined) {
      assert(route.auth !== "none" || route.method === "POST" || route.id === "getMetrics" || route.id === "getDoctor" /* starts a jailed process: tests/boot asks it */ || route.id === "getImage" /* only of a machine that was upgraded: tests/os/machine.test.ts */ || route.id.endsWith("Proof"), `${route.id} is not tried`);
      continue;
    }
    const answer = await get(path);
    assert.equal(answer.status, 200, answer.text);
    assert.deepEqual(validate(route.answers[200]?.schema ?? {}, answer.json, SCHEMAS), [], route.id);
  }
});

const BLOCK_BYTES = encodeBlock(BLOCK);
/** The chain goes on by a block that did this; its one transaction is its height's. */
const goOn = (node: FakeNode, ...events: LedgerEvent[]): void => {
  const at = node.blocks.length;
  const txid = sha256(Uint8Array.of(at % 256, at >> 8));
  node.blocks.push({ height: at as never, id: sha256(Uint8Array.of(at % 256, at >> 8, 1)), bytes: at === 0 ? Uint8Array.of(1) : BLOCK_BYTES, certificate: new Uint8Array(0), outcomes: [{ txid, ok: true }], events });
  for (const told of node.finalListeners) told();
};
const placed = (n: number, machine = MACHINE): LedgerEvent => ({ kind: "placed", deploymentId: idOf(n), index: 0, machine, rate: 1250n });

test("events: each once, with its block, its time and what did it; of one deployment or machine, and in pages that end inside a block", async (t) => {
  const { node, get, routes } = await world(t);
  goOn(node);
  goOn(node, { kind: "deployed", deploymentId: idOf(1), owner: accountOf(OWNER), name: "d1", transaction: 0 }, placed(1));
  for (let n = 0; n < EVENT_BLOCKS_MAX + 5; n += 1) goOn(node);
  goOn(node, { kind: "opened", deploymentId: idOf(1), index: 0, machine: MACHINE, rate: 1250n, second: 9n, transaction: 0 }, placed(2, accountOf(4)), { kind: "machine", machine: accountOf(4), operator: accountOf(2), state: "down" });
  const last = node.blocks.length - 1;
  const all = async (query: string, limit: number): Promise<Record<string, any>[]> => { // oxlint-disable-line typescript/no-explicit-any
    const rows = [];
    for (let after: string | null = "0"; after !== null;) {
      const { status, json, text } = await get(`/v1/events?after=${after}&limit=${limit}${query}`);
      assert.equal(status, 200, text);
      assert.deepEqual(validate(routes.find(({ id }) => id === "getEvents")!.answers[200]!.schema!, json, SCHEMAS), []);
      assert(json.events.length <= limit);
      rows.push(...json.events);
      after = json.next;
    }
    return rows;
  };
  for (const limit of [1, 2, 3, 100]) assert.deepEqual((await all("", limit)).map(({ cursor, kind }) => `${cursor} ${kind}`), ["1.0 deployed", "1.1 placed", `${last}.0 ready`, `${last}.1 placed`, `${last}.2 down`]);
  const [deployed, waiting, ready] = await all(`&deployment=${ID}`, 100);
  const txid = (at: number): string => hex(node.blocks[at]!.outcomes[0]!.txid);
  assert.deepEqual([deployed!["transaction"], waiting!["transaction"], ready!["transaction"]], [txid(1), null, txid(last)]);
  assert.deepEqual([ready!["block"], ready!["name"], ready!["lease"], ready!["machine"], ready!["timeMs"], ready!["second"]], [hex(node.blocks[last]!.id), "d1", 0, addressText(MACHINE), String(BLOCK.header.timeMs), String(BLOCK.header.moneySecond)]);
  assert.deepEqual((await all(`&machine=${addressText(accountOf(4))}`, 100)).map(({ kind }) => kind), ["placed", "down"]);
  // Of the newest blocks when nothing is said; nothing after the last; from the first kept one where older ones are gone.
  assert.deepEqual((await get("/v1/events")).json.events.length, 3);
  assert.deepEqual((await get(`/v1/events?after=${last}`)).json, { events: [], next: null });
  for (let at = 1; at < last - 2; at += 1) node.blocks[at] = null as never;
  assert.deepEqual((await all("", 100)).map(({ kind }) => kind), ["ready", "placed", "down"]);
  for (const query of ["after=x", "after=-1", "after=1.", "after=01", "limit=0", "limit=501", "machine=gw1", "deployment=xyz"]) refused(await get(`/v1/events?${query}`), 400, "parameter_invalid");
});

test("the stream of events begins where it is asked to, misses none, and ends when its deployment is gone; a client that takes all places keeps no other out", async (t) => {
  const { node, port, get } = await world(t);
  goOn(node);
  goOn(node, placed(1), placed(2));
  const open = async (query: string, localAddress = "127.0.0.1"): Promise<{ sees: (marker: string) => Promise<void>; text: () => string; close: () => void }> => {
    const socket = connect({ port, host: "127.0.0.1", localAddress });
    t.after(() => socket.destroy());
    let text = "";
    socket.on("data", (chunk) => (text += chunk.toString()));
    socket.write(`GET /v1/events?follow=true${query} HTTP/1.1\r\nhost: x\r\n\r\n`);
    const sees = async (marker: string): Promise<void> => {
      while (!text.includes(marker)) await once(socket, "data");
    };
    await sees("\r\n\r\n");
    return { sees, text: () => text, close: () => void socket.destroy() };
  };
  const [whole, one] = [await open("&after=1.0"), await open(`&after=0&deployment=${ID}`)];
  await Promise.all([whole.sees("id: 1.1"), one.sees("id: 1.0")]);
  for (let n = 0; n < 40; n += 1) goOn(node, placed(2));
  goOn(node, placed(1));
  node.deploymentMap.delete(ID);
  goOn(node, { kind: "closed", deploymentId: idOf(1), owner: accountOf(OWNER), refunded: 5n });
  await Promise.all([whole.sees("id: 43.0"), one.sees("event: end\ndata: {}\n\n\r\n0\r\n\r\n")]);
  const cursors = (text: string): string[] => [...text.matchAll(/^id: (.*)$/gm)].map((match) => match[1]!);
  assert.deepEqual(cursors(whole.text()), ["1.1", ...Array.from({ length: 42 }, (_, n) => `${n + 2}.0`)]);
  assert.deepEqual(cursors(one.text()), ["1.0", "42.0", "43.0"]);
  assert.match(one.text(), /"kind":"closed"/);
  const others = await Promise.all(Array.from({ length: EVENT_FOLLOWERS_MAX - 1 }, () => open("")));
  refused(await get("/v1/events?follow=true"), 503, "busy");
  // Whoever has fewer takes the place that was held longest of the one with all of them, which is told of it by the end of the stream.
  const stranger = await open("&after=0", "127.0.0.2");
  await Promise.all([stranger.sees("id: 1.0"), whole.sees("\r\n0\r\n\r\n")]);
  assert(!whole.text().includes("event: end"));
  refused(await get("/v1/events?follow=true"), 503, "busy");
  for (const other of [whole, stranger, ...others]) other.close();
  while (node.finalListeners.size > 0) await new Promise((resolve) => setImmediate(resolve));
  await open("");
});

test("proofs come as CBOR; of what has no certificate of its own, or no such epoch, there is none", async (t) => {
  const { get } = await world(t);
  const answer = await get(`/v1/proofs/accounts/${addressText(accountOf(OWNER))}`);
  assert.deepEqual([answer.status, answer.text], [200, stateKey("account", accountOf(OWNER))]);
  assert.equal((await get("/v1/proofs/epochs/0")).text, "\u0001\u0002\u0003");
  const refused = async (path: string): Promise<unknown[]> => { const { status, json } = await get(path); return [status, json.code]; };
  assert.deepEqual(await refused("/v1/proofs/epochs/1"), [404, "epoch_unknown"]);
  assert.deepEqual(await refused(`/v1/proofs/leases/${ID}/7`), [503, "proof_unavailable"]);
  assert.deepEqual(await refused(`/v1/proofs/deployments/${ID}`), [503, "proof_unavailable"]);
  assert.deepEqual(await refused("/v1/proofs/leases/x/7"), [400, "parameter_invalid"]);
});

test("a u64 is a decimal string to the last digit", async (t) => {
  const { get } = await world(t);
  assert.equal((await get(`/v1/accounts/${addressText(accountOf(OWNER))}`)).json.nonce, "9007199254740993");
  const answer = (await get(`/v1/deployments/${ID}`)).json;
  assert.equal(answer.rateMax, "18446744073709551615");
  assert.equal(answer.url, `http://d1.${addressText(accountOf(OWNER))}.localhost:8080/`);
  assert.equal((await get(`/v1/deployments/${ID}/bill`)).json.balance, "9007199254740993");
});

test("the OpenAPI document has every route, with its parameters, and its references resolve", async (t) => {
  const { get, routes } = await world(t);
  const document = (await get("/openapi.json")).json;
  assert.equal(document.openapi, "3.1.0");
  const documented = Object.entries<Record<string, any>>(document.paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`)); // oxlint-disable-line typescript/no-explicit-any
  assert.deepEqual(documented.toSorted(), routes.map((route) => `${route.method} ${route.path}`).toSorted());
  for (const path of ["/v1/status", "/v1/deployments/{id}/logs", "/v1/components/{digest}", "/v1/transactions", "/healthz"]) assert(path in document.paths, path);
  const operations = Object.values<Record<string, any>>(document.paths).flatMap((methods) => Object.values(methods)); // oxlint-disable-line typescript/no-explicit-any
  assert.equal(new Set(operations.map((operation) => operation.operationId)).size, operations.length);
  for (const [path, methods] of Object.entries<Record<string, any>>(document.paths)) { // oxlint-disable-line typescript/no-explicit-any
    for (const operation of Object.values(methods)) {
      const inPath = (operation.parameters ?? []).filter((parameter: { in: string }) => parameter.in === "path").map((parameter: { name: string }) => parameter.name);
      assert.deepEqual(inPath, [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]), path);
      assert("default" in operation.responses && Object.keys(operation.responses).length > 1, path);
    }
  }
  for (const [, name] of JSON.stringify(document).matchAll(/#\/components\/schemas\/(\w+)/g)) assert(name !== undefined && name in document.components.schemas, String(name));
  assert.equal(document.paths["/v1/deployments/{id}/logs"].get.security[0].signature.length, 0);
  assert.equal(document.paths["/v1/status"].get.security, undefined);
});

test("what is not there is 404 with its own code, what cannot be read is 400", async (t) => {
  const { get, port } = await world(t);
  const unknown = hex(idOf(99));
  const cases: readonly [string, number, string][] = [
    ["/v1/nothing", 404, "route_unknown"], [`/v1/deployments/${unknown}`, 404, "deployment_unknown"], [`/v1/deployments/${unknown}/bill`, 404, "deployment_unknown"],
    [`/v1/transactions/${"0".repeat(64)}`, 404, "transaction_unknown"], ["/v1/blocks/9", 404, "block_unknown"], ["/v1/blocks/4294967297", 404, "block_unknown"],
    ["/v1/deployments/xyz", 400, "parameter_invalid"], ["/v1/accounts/gw1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq", 400, "parameter_invalid"], ["/v1/blocks/-1", 400, "parameter_invalid"],
    ["/v1/machines?limit=0", 400, "parameter_invalid"], ["/v1/machines?limit=501", 400, "parameter_invalid"], ["/v1/machines?after=zz", 400, "parameter_invalid"], ["/v1/machines?color=blue", 400, "parameter_invalid"],
    [`/v1/deployments/${"a".repeat(200)}`, 400, "parameter_invalid"], ["/%zz", 400, "parameter_invalid"],
  ];
  for (const [path, status, code] of cases) refused(await get(path), status, code);
  refused(await http({ method: "DELETE", path: "/v1/status", port }), 405, "method_not_allowed");
  refused(await http({ method: "POST", path: `/v1/deployments/${ID}`, port }), 405, "method_not_allowed");
  assert.equal((await get(`/v1/accounts/${addressText(accountOf(77))}`)).json.balance, "0");
});

test("lists come in pages that have each row once", async (t) => {
  const { node, get } = await world(t);
  for (let n = 2; n <= 250; n += 1) node.deploymentMap.set(hex(idOf(n)), deployment(n, n % 2 === 0 ? OWNER : STRANGER));
  for (const [filter, expected] of [["", 250], [`account=${addressText(accountOf(OWNER))}&`, 126]] as const) {
    const seen: string[] = [];
    let after = "";
    for (let pages = 0; pages < 20; pages += 1) {
      const { deployments, next } = (await get(`/v1/deployments?${filter}limit=40${after}`)).json;
      assert(deployments.length <= 40);
      seen.push(...deployments.map((row: { id: string }) => row.id));
      if (next === null) break;
      after = `&after=${next}`;
    }
    assert.equal(seen.length, expected);
    assert.equal(new Set(seen).size, expected);
  }
  assert.equal((await get("/v1/deployments")).json.deployments.length, 100);
});

test("logs, usage and configuration are for the deployment's owner alone, whatever is wrong with the signature has its code", async (t) => {
  const { as, call, port, get, logs, node } = await world(t);
  logs.append(ID, { timeMs: 1, stream: "stdout", requestId: "r1", line: "secret" });
  for (const path of [`/v1/deployments/${ID}/logs`, `/v1/deployments/${ID}/logs?follow=true`, `/v1/deployments/${ID}/usage`, `/v1/deployments/${ID}/configuration`]) {
    refused(await get(path), 401, "unsigned");
    refused(await call(STRANGER, { path }), 403, "not_owner");
    const send = (header: string): Promise<HttpAnswer> => http({ path, port, headers: { authorization: header } });
    refused(await send("Bearer abc"), 401, "bad_authorization");
    refused(await send("Godwit !!!"), 401, "bad_authorization");
    refused(await send(authorization(as(OWNER), { path: "/v1/status" })), 401, "wrong_request");
    refused(await send(authorization(as(OWNER), { path, method: "PUT" })), 401, "wrong_request");
    refused(await send(authorization(as(OWNER), { path }, { expiryMs: Date.now() - 1 })), 401, "expired");
    refused(await send(authorization(as(OWNER), { path }, { expiryMs: Date.now() + 3_600_000 })), 401, "expiry_too_far");
    refused(await send(authorization(as(OWNER), { path }, { machine: accountOf(99) })), 401, "wrong_machine");
    refused(await send(authorization({ ...as(OWNER), chainId: new Uint8Array(8) as never }, { path })), 401, "wrong_chain");
    refused(await send(authorization(as(STRANGER), { path }, { sender: accountOf(OWNER) })), 401, "bad_signature");
  }
  const unknown = `/v1/deployments/${hex(idOf(50))}/logs`;
  refused(await call(OWNER, { path: unknown }), 404, "deployment_unknown");
  const read = await call(OWNER, { path: `/v1/deployments/${ID}/logs` });
  assert.deepEqual(read.json.lines.map((line: { line: string }) => line.line), ["secret"]);
  assert.deepEqual(validate(SCHEMAS["LogLine"]!, read.json.lines[0], SCHEMAS), []);
  const usage = await call(OWNER, { path: `/v1/deployments/${ID}/usage` });
  assert.deepEqual(validate(SCHEMAS["Usage"]!, usage.json, SCHEMAS), []);
  assert.equal(usage.json.fuel, "9007199254740992");
  const configuration = await call(OWNER, { path: `/v1/deployments/${ID}/configuration` });
  assert.deepEqual(validate(SCHEMAS["Configuration"]!, configuration.json, SCHEMAS), []);
  assert.deepEqual(configuration.json, { environment: {}, limits: { ...LIMITS_DEFAULT, memoryBytesMax: node.deploymentMap.get(ID)!.memoryMib * 1024 * 1024 }, outgoing: [], reuse: false });
  // A deployment that is closed keeps its log for its owner as long as the ledger knows the bill.
  node.deploymentMap.delete(ID);
  assert.equal((await call(OWNER, { path: `/v1/deployments/${ID}/logs` })).status, 200);
  refused(await call(STRANGER, { path: `/v1/deployments/${ID}/logs` }), 403, "not_owner");
});

test("logs: the newest lines, pages after a sequence number, and a stream that misses nothing and ends with the machine", async (t) => {
  const { as, call, port, logs, stop } = await world(t);
  const write = (n: number): void => logs.append(ID, { timeMs: n, stream: "stdout", requestId: null, line: `line ${n}` });
  for (let n = 1; n <= 30; n += 1) write(n);
  const path = `/v1/deployments/${ID}/logs`;
  const sequences = async (query: string): Promise<number[]> => (await call(OWNER, { path: `${path}?${query}` })).json.lines.map((line: { sequence: number }) => line.sequence);
  assert.deepEqual(await sequences("tail=3"), [28, 29, 30]);
  assert.deepEqual(await sequences("tail=0"), []);
  assert.deepEqual(await sequences("after=27&limit=2"), [28, 29]);
  assert.deepEqual(await sequences("after=30"), []);
  refused(await call(OWNER, { path: `${path}?tail=100000` }), 400, "parameter_invalid");

  const followed = `${path}?follow=true&tail=2`;
  const socket = connect(port, "127.0.0.1");
  t.after(() => socket.destroy());
  let text = "";
  const until = (marker: string): Promise<void> => new Promise((resolve, reject) => {
    const look = (): void => { if (text.includes(marker)) resolve(); };
    socket.on("data", look).on("close", () => (text.includes(marker) ? resolve() : reject(new Error(`no ${marker} in ${text}`))));
    look();
  });
  socket.on("data", (chunk) => (text += chunk.toString()));
  socket.write(`GET ${followed} HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization(as(OWNER), { path: followed })}\r\n\r\n`);
  await until('"line 30"');
  write(31);
  await until('"line 31"');
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  await stop();
  await closed;
  assert.match(text, /content-type: text\/event-stream/);
  assert.deepEqual([...text.matchAll(/^id: (\d+)$/gm)].map((match) => match[1]), ["29", "30", "31"]);
});

test("the stream of a deployment that is closed has the lines of its last requests, then its end, and makes room for another", async (t) => {
  const { as, port, logs, node } = await world(t);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const path = `/v1/deployments/${ID}/logs?follow=true&tail=0`;
  const write = (n: number): void => logs.append(ID, { timeMs: n, stream: "stdout", requestId: null, line: `line ${n}` });
  const follow = async (): Promise<{ sees: (marker: string) => Promise<void>; text: () => string }> => {
    const socket = connect(port, "127.0.0.1");
    t.after(() => socket.destroy());
    let text = "";
    socket.on("data", (chunk) => (text += chunk.toString()));
    socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization(as(OWNER), { path })}\r\n\r\n`);
    const sees = async (marker: string): Promise<void> => {
      while (!text.includes(marker)) await once(socket, "data");
    };
    await sees("\r\n\r\n");
    return { sees, text: () => text };
  };
  const tellFinal = (): void => { for (const told of node.finalListeners) told(); };
  const END = "event: end\ndata: {}\n\n\r\n0\r\n\r\n";

  const first = await follow();
  tellFinal();
  t.mock.timers.tick(LOG_LAST_LINES_MS_MAX);
  node.deploymentMap.set(ID, { ...deployment(1), state: "closing" });
  tellFinal();
  for (const n of [1, 2, 3]) {
    t.mock.timers.tick(LOG_QUIET_MS - 1);
    write(n);
    tellFinal();
  }
  await first.sees('"line 3"');
  assert(!first.text().includes("event: end"), "it is open as long as lines come");
  t.mock.timers.tick(LOG_QUIET_MS);
  await first.sees(END);
  assert.deepEqual([...first.text().matchAll(/^id: (\d+)$/gm)].map((match) => match[1]), ["1", "2", "3"]);
  assert.equal(node.finalListeners.size, 0);

  // Gone from the ledger but for its bill, and more often than one account may follow at once.
  node.deploymentMap.delete(ID);
  for (let n = 0; n < LOG_FOLLOWERS_OF_ONE_MAX; n += 1) {
    const again = await follow();
    t.mock.timers.tick(LOG_QUIET_MS);
    await again.sees(END);
  }
  const noisy = await follow();
  for (let elapsedMs = 0; elapsedMs < LOG_LAST_LINES_MS_MAX; elapsedMs += LOG_QUIET_MS / 2) {
    assert(!noisy.text().includes("event: end"));
    write(4);
    t.mock.timers.tick(LOG_QUIET_MS / 2);
  }
  await noisy.sees(END);
});

test("uploads: by digest, from accounts that hold money, within quota and size, and what is not a component is said at once", async (t) => {
  const { as, call, port, blobs } = await world(t);
  const component = Uint8Array.of(0, 1, 2, 3);
  const put = (body: Uint8Array, digest = hex(sha256(body))): Omit<Call, "port"> => ({ method: "PUT", path: `/v1/components/sha256:${digest}`, body, headers: { "content-type": "application/octet-stream" } });
  const accepted = await call(OWNER, put(component));
  assert.equal(accepted.status, 201, accepted.text);
  assert.deepEqual(validate(SCHEMAS["Upload"]!, accepted.json, SCHEMAS), []);
  assert.equal(accepted.json.kind, "service");
  assert(blobs.has(hex(sha256(component))));
  assert.equal((await call(OWNER, put(component))).status, 201, "again is the same");

  refused(await http({ ...put(component), port }), 401, "unsigned");
  refused(await call(POOR, put(component)), 402, "not_funded");
  refused(await call(77, put(component)), 402, "not_funded");
  refused(await call(OWNER, put(component, "0".repeat(64) as Hex)), 422, "digest_mismatch");
  refused(await call(OWNER, put(Uint8Array.of(9))), 422, "not_wasm");
  assert(!blobs.has(hex(sha256(Uint8Array.of(9)))), "what was refused is not kept");
  refused(await call(OWNER, { ...put(component), path: "/v1/components/md5:abc" }), 400, "parameter_invalid");
  refused(await call(OWNER, { ...put(component), headers: { "content-type": "text/plain" } }), 415, "media_type_unknown");
  // Another body than the one that was signed.
  const other = Uint8Array.of(0, 9, 9);
  const swapped = await http({ ...put(component), body: other, port, headers: { "content-type": "application/octet-stream", authorization: authorization(as(OWNER), put(component)) } });
  refused(swapped, 401, "digest_mismatch");

  const announced = { "content-type": "application/octet-stream", "content-length": String(LIMITS_DEFAULT.componentBytesMax + 1) };
  refused(await headOnly(port, put(component).path, { ...announced, authorization: authorization(as(OWNER), put(component)) }), 413, "component_too_large");
  refused(await call(OWNER, { method: "POST", path: "/v1/transactions", body: new Uint8Array(9000), headers: { "content-type": "application/cbor" } }), 413, "body_too_large");

  const entries = [["A", "1"], ["B", "2"]];
  const settings = (owner: number, variables: string[][]): Uint8Array => encode([2, accountOf(owner), variables, [], [], 0]);
  const configure = (bytes: Uint8Array): Omit<Call, "port"> => ({ method: "PUT", path: `/v1/configurations/sha256:${hex(sha256(bytes))}`, body: bytes, headers: { "content-type": "application/cbor" } });
  assert.equal((await call(OWNER, configure(settings(OWNER, entries)))).json.kind, "configuration");
  refused(await call(OWNER, configure(settings(STRANGER, entries))), 422, "configuration_foreign");
  refused(await call(OWNER, configure(settings(OWNER, entries.toReversed()))), 422, "configuration_invalid");
  refused(await call(OWNER, configure(settings(OWNER, [["A=B", "1"]]))), 422, "configuration_invalid");
  refused(await call(OWNER, configure(Uint8Array.of(0xff))), 422, "configuration_invalid");
});

test("an upload above the account's quota is refused before its body is read", async (t) => {
  const { as, port, blobs, call } = await world(t);
  const chunk = new Uint8Array(15 * 1024 * 1024);
  for (let n = 0; n < 8; n += 1) {
    chunk[1] = n;
    await blobs.put("configuration", hex(sha256(chunk)), accountOf(OWNER), chunk);
  }
  const path = `/v1/components/sha256:${hex(sha256(Uint8Array.of(0)))}`;
  const headers = { "content-type": "application/octet-stream", "content-length": String(9 * 1024 * 1024), authorization: authorization(as(OWNER), { method: "PUT", path, body: Uint8Array.of(0) }) };
  refused(await headOnly(port, path, headers), 429, "upload_quota");
  assert.equal((await call(STRANGER, { method: "PUT", path, body: Uint8Array.of(0), headers: { "content-type": "application/octet-stream" } })).status, 201, "another account's quota is its own");
});

test("one account cannot take every turn to upload, and a turn is given back when the client goes, which is no fault", async (t) => {
  const { as, port, call, faults } = await world(t);
  const path = `/v1/components/sha256:${hex(sha256(Uint8Array.of(0)))}`;
  const headers = { "content-type": "application/octet-stream", "content-length": "1000", authorization: authorization(as(OWNER), { method: "PUT", path, body: Uint8Array.of(0) }) };
  const head = `PUT ${path} HTTP/1.1\r\nhost: x\r\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
  const slow = Array.from({ length: UPLOADS_OF_ONE_AT_ONCE_MAX }, () => connect(port, "127.0.0.1"));
  for (const socket of slow) socket.write(head);
  const upload = (n: number): Promise<HttpAnswer> => call(n, { method: "PUT", path, body: Uint8Array.of(0), headers: { "content-type": "application/octet-stream" } });
  const answers = async (n: number, status: number): Promise<void> => {
    for (let tries = 0; tries < 100; tries += 1) if ((await upload(n)).status === status) return;
    assert.fail(`no ${status}`);
  };
  await answers(OWNER, 503);
  await answers(STRANGER, 201);
  for (const socket of slow) socket.destroy();
  await answers(OWNER, 201);
  assert.deepEqual(faults, []);
});

test("who asks where lines are is told which machines have some, and which ran it, are up and said nothing", async (t) => {
  const { node, call, get, routes } = await world(t);
  const path = `/v1/deployments/${ID}/logs/machines`;
  const up = (id: Address, state: "up" | "down"): void => void node.machineMap.set(hex(id), {
    id, key: publicKeyOf(seedOf(3)), operator: accountOf(2), state, bootId: new Uint8Array(16), memoryMib: 1000, cpuMillis: 2000, memoryMibUsed: 64, cpuMillisUsed: 250, leases: 1,
    pricePerGibSecond: 1n, pricePerCoreSecond: 2n, region: "local", bond: 5n, strikes: 0, placeableFrom: 0n, draining: false, labels: [],
  });
  up(accountOf(4), "up");
  up(accountOf(5), "down");
  node.bills.set(ID, { ...bill, segments: [4, 5, 4, 3].map((n) => ({ ...bill.segments[0]!, machine: accountOf(n) })) });
  const { status, json, text } = await call(OWNER, { path });
  assert.equal(status, 200, text);
  assert.deepEqual(json, { machines: [addressText(accountOf(2))], silent: [addressText(accountOf(4))] });
  assert.deepEqual(validate(routes.find(({ id }) => id === "getLogMachines")!.answers[200]!.schema!, json, SCHEMAS), []);
  refused(await get(path), 401, "unsigned");
});

test("so many follow logs at once, of one account fewer: accounts that have taken all places keep no other out, and one that goes makes room", async (t) => {
  const { as, port, node, logs } = await world(t);
  const ownersMax = LOG_FOLLOWERS_MAX / LOG_FOLLOWERS_OF_ONE_MAX;
  for (let n = 0; n <= ownersMax; n += 1) node.deploymentMap.set(hex(idOf(100 + n)), deployment(100 + n, 100 + n));
  const follow = async (owner: number): Promise<{ status: number; socket: Socket }> => {
    const path = `/v1/deployments/${hex(idOf(owner))}/logs?follow=true`;
    const socket = connect(port, "127.0.0.1");
    t.after(() => socket.destroy());
    socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization(as(owner), { path })}\r\n\r\n`);
    const [chunk] = (await once(socket, "data")) as [Buffer];
    return { socket, status: Number(/^HTTP\/1\.1 (\d+)/.exec(chunk.toString())?.[1]) };
  };
  // More than one account may have, in one packet.
  const { mock } = t.mock.method(logs, "follow");
  const packet = connect(port, "127.0.0.1");
  t.after(() => packet.destroy());
  const path = `/v1/deployments/${hex(idOf(100))}/logs?follow=true`;
  packet.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization(as(100), { path })}\r\n\r\n`.repeat(LOG_FOLLOWERS_OF_ONE_MAX + 4));
  await once(packet, "data");
  assert.equal((await follow(100)).status, 503);
  assert.equal(mock.callCount(), LOG_FOLLOWERS_OF_ONE_MAX);
  const others = await Promise.all(Array.from({ length: LOG_FOLLOWERS_MAX - LOG_FOLLOWERS_OF_ONE_MAX }, (_, n) => follow(101 + Math.floor(n / LOG_FOLLOWERS_OF_ONE_MAX))));
  assert(others.every(({ status }) => status === 200));
  // With all places taken, an account that has fewer takes the one that was held longest: the first of the packet.
  const gone = once(packet.resume(), "close");
  assert.equal((await follow(100 + ownersMax)).status, 200);
  assert.equal((await follow(101)).status, 503);
  packet.destroy();
  await gone;
  for (let tries = 0; (await follow(100)).status !== 200; tries += 1) assert(tries < 100);
});

test("answers that nobody reads take so much memory and no more: beyond it the connection with most of them ends", async (t) => {
  const [answerBytes, unsentBytesMax] = [8 * 1024 * 1024, 40 * 1024 * 1024];
  const door = await bindDoor("127.0.0.1", 0, 64, unsentBytesMax);
  t.after(() => door.close());
  const sockets = new Set<Socket>();
  door.http.on("connection", (socket) => void sockets.add(socket));
  let answered = 0;
  door.open((request, response) => {
    answered += 1;
    response.end(request.url === "/" ? "{}" : new Uint8Array(answerBytes));
  });
  const unread = Array.from({ length: 20 }, () => connect(door.port, "127.0.0.1").on("error", () => {}).pause());
  t.after(() => unread.forEach((socket) => socket.destroy()));
  for (const socket of unread) socket.write("GET /page HTTP/1.1\r\nhost: x\r\n\r\n");
  while (answered < unread.length) await new Promise((resolve) => setImmediate(resolve));
  assert.equal((await http({ path: "/", port: door.port })).status, 200);
  const unsent = [...sockets].filter(({ destroyed }) => !destroyed).reduce((sum, { writableLength }) => sum + writableLength, 0);
  assert(unsent <= unsentBytesMax + 2 * answerBytes, String(unsent));
  assert([...sockets].some(({ destroyed }) => destroyed));
});

test("a client whose connections are all being answered, and who reads none, keeps no other out of the API", async (t) => {
  const connectionsMax = 4;
  const door = await bindDoor("127.0.0.1", 0, connectionsMax);
  t.after(() => door.close());
  let asked = 0;
  door.open((request, response) => {
    if (request.url === "/") return void response.end("{}");
    asked += 1;
    response.write("it goes on");
  });
  const hold = (localAddress: string): Socket => connect({ port: door.port, host: "127.0.0.1", localAddress }).on("error", () => {});
  const held = [...Array.from({ length: connectionsMax - 1 }, () => hold("127.0.0.2")), hold("127.0.0.3")];
  t.after(() => held.forEach((socket) => socket.destroy()));
  for (const [index, socket] of held.entries()) {
    socket.write("GET /hold HTTP/1.1\r\nhost: x\r\n\r\n");
    while (asked <= index) await new Promise((resolve) => setImmediate(resolve));
  }
  const closed = once(held[0]!.resume(), "close");
  assert.equal((await http({ path: "/", port: door.port })).status, 200);
  await closed;
  assert.deepEqual(held.map((socket) => socket.destroyed), [true, false, false, false]);
});

test("accounts that take all turns to upload, and send nothing, keep no other out", async (t) => {
  const { node, as, port, call } = await world(t);
  const path = `/v1/components/sha256:${hex(sha256(Uint8Array.of(0)))}`;
  const slow: Promise<HttpAnswer>[] = [];
  let first: HttpAnswer | null = null;
  for (let n = 100; n < 100 + UPLOADS_AT_ONCE_MAX / UPLOADS_OF_ONE_AT_ONCE_MAX; n += 1) {
    node.accounts.set(hex(accountOf(n)), { address: accountOf(n), balance: 5n, nonce: 0n, keys: [], threshold: 1 });
    const headers = { "content-type": "application/octet-stream", "content-length": "1000", authorization: authorization(as(n), { method: "PUT", path, body: Uint8Array.of(0) }) };
    for (let k = 0; k < UPLOADS_OF_ONE_AT_ONCE_MAX; k += 1) slow.push(headOnly(port, path, headers));
  }
  void Promise.race(slow).then((answer) => void (first = answer));
  const last = 99 + UPLOADS_AT_ONCE_MAX / UPLOADS_OF_ONE_AT_ONCE_MAX;
  const upload = (n: number): Promise<HttpAnswer> => call(n, { method: "PUT", path, body: Uint8Array.of(0), headers: { "content-type": "application/octet-stream" } });
  for (let tries = 0; (await upload(last)).status !== 503; tries += 1) assert(tries < 100);
  for (let tries = 0; first === null; tries += 1) {
    assert(tries < 100);
    assert.equal((await upload(OWNER)).status, 201);
  }
  refused(first, 503, "busy");
});

test("a body that holds a turn has a length and comes on, or the turn is another's", async (t) => {
  const { as, port, call } = await world(t);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const path = `/v1/components/sha256:${hex(sha256(Uint8Array.of(0)))}`;
  const headers = { "content-type": "application/octet-stream", authorization: authorization(as(OWNER), { method: "PUT", path, body: Uint8Array.of(0) }) };
  refused(await headOnly(port, path, { ...headers, "transfer-encoding": "chunked" }), 411, "length_required");
  const unsigned = headOnly(port, "/v1/transactions", { "content-type": "application/cbor", "content-length": "10" }, "POST");
  const slow = Array.from({ length: UPLOADS_OF_ONE_AT_ONCE_MAX }, () => headOnly(port, path, { ...headers, "content-length": "1000" }));
  const upload = (): Promise<HttpAnswer> => call(OWNER, { method: "PUT", path, body: Uint8Array.of(0), headers: { "content-type": "application/octet-stream" } });
  for (let tries = 0; (await upload()).status !== 503; tries += 1) assert(tries < 100);
  t.mock.timers.tick(uploadMsMax(1000) - 1);
  refused(await upload(), 503, "busy");
  t.mock.timers.tick(1);
  for (const answer of await Promise.all([unsigned, ...slow])) refused(answer, 408, "upload_slow");
  for (let tries = 0; (await upload()).status !== 201; tries += 1) assert(tries < 100);
});

test("what is no HTTP, or names nothing, is a problem too and no fault of the machine", async (t) => {
  const { as, port, faults, connections } = await world(t);
  const answerTo = async (text: string): Promise<HttpAnswer> => {
    const socket = connect(port, "127.0.0.1");
    t.after(() => socket.destroy());
    socket.write(text);
    let whole = "";
    for await (const chunk of socket) whole += String(chunk);
    const [head = "", body = ""] = whole.split("\r\n\r\n");
    return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]), headers: { "content-type": /content-type: (.*)/i.exec(head)?.[1] ?? "" }, text: body, json: JSON.parse(body) };
  };
  const stubborn = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  t.after(() => stubborn.destroy());
  stubborn.on("error", () => {}).resume().write("GARBAGE\r\n\r\n");
  await once(stubborn, "end");
  for (let tries = 0; (await connections()) > 0; tries += 1) assert(tries < 100, "its connection is given up");
  refused(await answerTo("GARBAGE\r\n\r\n"), 400, "request_malformed");
  refused(await answerTo("GET /v1/\u009b31m HTTP/1.1\r\nhost: x\r\n\r\n"), 400, "request_malformed");
  refused(await answerTo(`GET /v1/status HTTP/1.1\r\nhost: x\r\nx: ${"a".repeat(20_000)}\r\n\r\n`), 431, "header_too_large");

  for (const id of ["zzz", "abc", "__proto__"]) refused(await http({ path: `/v1/deployments/${id}/logs`, port, headers: { authorization: authorization(as(OWNER), { path: `/v1/deployments/${id}/logs` }) } }), 400, "parameter_invalid");
  assert.deepEqual(faults, []);
});

/** Sends the head of a request whose body never comes: the refusal must not wait for it. */
function headOnly(port: number, path: string, headers: Readonly<Record<string, string>>, method = "PUT"): Promise<HttpAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
  const socket = connect(port, "127.0.0.1");
  let text = "";
  socket.on("error", reject);
  socket.on("data", (chunk) => {
    text += chunk.toString();
    const [head = "", body = ""] = text.split("\r\n\r\n");
    if (!body.endsWith("}")) return;
    socket.destroy();
    resolve({ status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]), headers: { "content-type": /content-type: (.*)/i.exec(head)?.[1] ?? "" }, text: body, json: JSON.parse(body) });
  });
  socket.write(`${method} ${path} HTTP/1.1\r\nhost: x\r\n${Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`);
  return promise;
}

test("transactions: refusals keep the chain's code, waiting gives what became of it", async (t) => {
  const { node, port } = await world(t);
  const transaction = signTransaction({ chainId: node.chainId, sender: accountOf(OWNER), nonce: 1n, validUntilMs: 1n, fee: 1n, ops: [{ kind: "transfer", to: accountOf(STRANGER), amount: 1n }] }, [seedOf(OWNER)]);
  const post = (body: Uint8Array, path = "/v1/transactions"): Promise<HttpAnswer> => http({ method: "POST", path, body, port, headers: { "content-type": "application/cbor" } });
  const taken = await post(transaction);
  assert.equal(taken.status, 202);
  assert.deepEqual(Object.keys(taken.json), ["txid"]);
  assert.equal((await post(transaction, "/v1/transactions?wait=final")).status, 202, "not final in time");
  node.finals.set(taken.json.txid, { height: 12 as never, index: 0, ok: false, code: "name_taken" });
  assert.deepEqual((await post(transaction, "/v1/transactions?wait=final")).json, { txid: taken.json.txid, height: 12, ok: false, code: "name_taken" });
  refused(await post(Uint8Array.of(1, 2, 3)), 400, "transaction_malformed");
  refused(await post(new Uint8Array(0)), 400, "transaction_malformed");
  refused(await post(transaction, "/v1/transactions?wait=forever"), 400, "parameter_invalid");
  for (const [code, status] of [["insufficient_funds", 422], ["wrong_nonce", 422], ["wrong_chain", 422], ["expired", 422], ["bad_signature", 422], ["too_many_pending", 429], ["mempool_full", 503], ["node_halted", 503]] as const) {
    node.refusal = code;
    refused(await post(transaction), status, code);
  }
});

test("a stalled chain is unhealthy", async (t) => {
  const { node, get } = await world(t);
  assert.equal((await get("/healthz")).status, 200);
  node.headMs -= 31_000n;
  const stalled = await get("/healthz");
  assert.deepEqual([stalled.status, stalled.json.state], [503, "stalled"]);
  const answers = (await get("/openapi.json")).json.paths["/healthz"].get.responses;
  assert.deepEqual(Object.keys(answers["503"].content), ["application/json"]);
});

test("metrics count what the public door answers, and are on the operator's listener only", async (t) => {
  const { get, operatorPort } = await world(t);
  refused(await get("/metrics"), 404, "route_unknown");
  refused(await http({ path: "/v1/status", port: operatorPort }), 404, "route_unknown");
  const { status, text } = await http({ path: "/metrics", port: operatorPort });
  assert.equal(status, 200);
  assert.match(text, /^godwit_api_answers_total\{route="unknown",status="404"\} 1$/m);
  assert.match(text, /^godwit_runner_requests_total 3$/m);
});

test("a fault inside says nothing about the machine to a stranger", async (t) => {
  const { node, get } = await world(t);
  node.moneySecondNow = () => { throw new Error("a secret is broken"); };
  const answer = await get(`/v1/deployments/${ID}/bill`);
  refused(answer, 500, "internal");
  assert(!answer.text.includes("secret"));
});

test("before the routes are behind it, the door answers 503, and a second door on its port is refused with the port's number", async (t) => {
  const door = await bindDoor("127.0.0.1", 0);
  t.after(() => door.close());
  refused(await http({ path: "/v1/status", port: door.port }), 503, "starting");
  await assert.rejects(bindDoor("127.0.0.1", door.port), { code: "port_in_use", message: new RegExp(String(door.port)) });
});

test("strangers who hold every connection and ask nothing keep nobody out, and who is being answered stays", async (t) => {
  const connectionsMax = 8;
  const door = await bindDoor("127.0.0.1", 0, connectionsMax);
  t.after(() => door.close());
  const [slow, arrived] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  door.open((request, response) => {
    if (request.url !== "/slow") return void response.end("{}");
    arrived.resolve();
    void slow.promise.then(() => response.end("{}"));
  });
  const answered = http({ path: "/slow", port: door.port });
  await arrived.promise;
  const silent = Array.from({ length: 3 * connectionsMax }, () => connect(door.port, "127.0.0.1").on("error", () => {}));
  t.after(() => silent.forEach((socket) => socket.destroy()));
  for (const socket of silent) socket.write("GET / HTTP/1.1\r\nhost: ");
  await Promise.all(silent.slice(0, -connectionsMax).map((socket) => once(socket, "close")));
  assert.equal((await http({ path: "/", port: door.port })).status, 200);
  slow.resolve();
  assert.equal((await answered).status, 200);
});
