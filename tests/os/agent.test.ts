import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import test from "node:test";
import type { TestContext } from "node:test";
import { addressText } from "#chain/codec/address.ts";
import { encode } from "#chain/codec/cbor.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Hex, hex } from "#chain/types.ts";
import { type DevelopmentAgent, openDevelopmentAccount, startDevelopment } from "#os/development.ts";
import { keyPair } from "#os/keys.ts";
import { SCHEMAS } from "#os/api/schemas.ts";
import { guest } from "#tests/guests/build.ts";
import { needs } from "#tests/require.ts";
import { type Tenant, deploy, deploymentOf, done, get, idBytes, openTenant, send, until, untilReady, upload, visit } from "./grid.ts";
import { validate } from "./jsonSchema.ts";
import { signed, temporaryFolder } from "./stage.ts";

const STOP_MS_MAX = 2_000;

async function start(t: TestContext, directory: string): Promise<{ agent: DevelopmentAgent; tenant: Tenant; stop: () => Promise<number> }> {
  const agent = await startDevelopment({ directory, apiPort: 0, httpPort: 0, parameters: "minimal" });
  let stopped: Promise<number> | null = null;
  const stop = (): Promise<number> => (stopped ??= (async () => {
    const startedMs = performance.now();
    await agent.stop();
    return performance.now() - startedMs;
  })());
  t.after(stop);
  return { agent, stop, tenant: await openTenant(agent, agent.account) };
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test("a deployment from upload to the last payment: served, logged, billed, resized, scaled, closed; the next start goes on with it", async (t) => {
  if (!needs(t, "cargo")) return;
  const directory = temporaryFolder(t);
  const component = await guest("hello");
  const first = await start(t, directory);
  const { tenant, agent } = first;
  const digest = await upload(tenant, component);
  const { id } = await deploy(tenant, "hello", digest);
  const deployment = await untilReady(tenant, id);
  assert.deepEqual(validate(SCHEMAS["Deployment"]!, deployment, SCHEMAS), []);
  assert.equal(deployment.host, `hello.${addressText(agent.account.address)}.localhost`);
  const served = await visit(tenant, deployment.host);
  assert.equal(served.status, 200, served.text);
  assert.equal((await visit(tenant, "nobody.localhost")).status, 404);

  const rate = BigInt(deployment.leases[0].rate);
  assert(rate > 0n);
  const bill = await until("a second on the bill", async () => {
    const now = await get(tenant, `/v1/deployments/${id}/bill`);
    return BigInt(now.total) > 0n ? now : null;
  });
  assert.deepEqual(validate(SCHEMAS["Bill"]!, bill, SCHEMAS), []);
  assert.equal(BigInt(bill.total), rate * BigInt(bill.segments[0].seconds));
  const usage = await signed(tenant.signer, { path: `/v1/deployments/${id}/usage`, port: tenant.apiPort });
  assert.equal(usage.json.requests, 1, usage.text);
  assert.deepEqual(validate(SCHEMAS["Usage"]!, usage.json, SCHEMAS), []);
  const logs = await signed(tenant.signer, { path: `/v1/deployments/${id}/logs`, port: tenant.apiPort });
  assert(logs.json.lines.some((line: { stream: string }) => line.stream === "system"), logs.text);

  await done(tenant, { kind: "scale", deploymentId: idBytes(id), replicas: 2 });
  await untilReady(tenant, id, 2);
  await done(tenant, { kind: "resize", deploymentId: idBytes(id), memoryMib: 128, cpuMillis: 200 });
  const resized = await untilReady(tenant, id, 2);
  assert.equal(resized.memoryMib, 128);
  assert.equal((await visit(tenant, deployment.host)).status, 200);
  await done(tenant, { kind: "scale", deploymentId: idBytes(id), replicas: 1 });

  const before = await get(tenant, "/v1/status");
  assert.deepEqual(validate(SCHEMAS["Status"]!, before, SCHEMAS), []);
  const balance = (await get(tenant, `/v1/accounts/${addressText(agent.account.address)}`)).balance;
  const runnerPid = agent.runnerPid();
  assert(runnerPid !== null);
  assert(await first.stop() < STOP_MS_MAX);
  assert(!isAlive(runnerPid), "the runner ended with its agent");

  const second = await start(t, directory);
  const again = second.tenant;
  const after = await get(again, "/v1/status");
  assert.equal(after.chainId, before.chainId);
  assert(after.head.height >= before.head.height);
  assert.equal(after.supply.total, before.supply.total);
  assert.equal((await get(again, `/v1/accounts/${addressText(agent.account.address)}`)).balance, balance);
  await untilReady(again, id);
  assert.equal((await visit(again, deployment.host)).status, 200);

  await done(again, { kind: "close", deploymentId: idBytes(id) });
  await until("the refund", async () => ((await get(again, `/v1/deployments/${id}/bill`)).closed ? true : null));
  assert.equal((await visit(again, deployment.host)).status, 404);
  const final = await get(again, `/v1/deployments/${id}/bill`);
  assert.equal(final.paid, final.total);
  assert(await second.stop() < STOP_MS_MAX);
});

test("a configuration reaches its deployment; another account's is refused and fails the deployment with its cause", async (t) => {
  if (!needs(t, "cargo")) return;
  const { tenant } = await start(t, temporaryFolder(t));
  const stranger = { ...tenant, key: keyPair(new Uint8Array(32).fill(5)) };
  stranger.signer = { ...tenant.signer, seed: stranger.key.seed };
  await done(tenant, { kind: "transfer", to: stranger.key.address, amount: 50_000_000_000n });
  const configuration = encode([stranger.key.address, [["SECRET", "1"]]]);
  const digest = sha256(configuration);
  const put = await signed(stranger.signer, { method: "PUT", path: `/v1/configurations/sha256:${hex(digest)}`, body: configuration, port: tenant.apiPort, headers: { "content-type": "application/cbor" } });
  assert.equal(put.status, 201, put.text);
  const component = await upload(tenant, await guest("hello"));

  const { id: own } = await deploy(stranger, "own", component, { configurationDigest: digest });
  await untilReady(tenant, own);
  const { id: stolen } = await deploy(tenant, "stolen", component, { configurationDigest: digest });
  const paused = await untilPaused(tenant, stolen);
  assert.equal(paused.failure, "configuration_foreign");
  assert.deepEqual(paused.leases.map((lease: { state: string }) => lease.state), ["failed"]);
  const logs = await signed(tenant.signer, { path: `/v1/deployments/${stolen}/logs`, port: tenant.apiPort });
  assert.match(logs.text, /configuration_foreign/);
  assert.equal((await signed(stranger.signer, { path: `/v1/deployments/${stolen}/logs`, port: tenant.apiPort })).json.code, "not_owner");
});

const linesOf = async (tenant: Tenant, id: Hex): Promise<{ stream: string; requestId: string | null; line: string }[]> =>
  (await signed(tenant.signer, { path: `/v1/deployments/${id}/logs`, port: tenant.apiPort })).json.lines;
const untilPaused = (tenant: Tenant, id: Hex): Promise<any> => until("the pause", async () => { // oxlint-disable-line typescript/no-explicit-any
  const deployment = await deploymentOf(tenant, id);
  return deployment.state === "paused" ? deployment : null;
});

test("faults of components stay their own: traps and output are in the log, what cannot start is failed with its cause and paused", async (t) => {
  if (!needs(t, "cargo")) return;
  const { tenant } = await start(t, temporaryFolder(t));
  const [rogue, dead, task] = await Promise.all((["rogue", "deadOnArrival", "tally"] as const).map(async (name) => upload(tenant, await guest(name))));
  const { id } = await deploy(tenant, "rogue", rogue!);
  const { id: deadId } = await deploy(tenant, "dead", dead!);
  const { id: taskId } = await deploy(tenant, "task", task!);
  const { id: missingId } = await deploy(tenant, "missing", sha256(Uint8Array.of(1, 2, 3)));
  const { host } = await untilReady(tenant, id);

  assert.equal((await visit(tenant, host, "/both")).status, 200);
  const trapped = await visit(tenant, host, "/trap");
  assert.equal(trapped.status, 500);
  const requestId = trapped.headers["x-request-id"];
  const lines = await until("the trap in the log", async () => {
    const all = await linesOf(tenant, id);
    return all.some((line) => line.requestId === requestId) ? all : null;
  });
  assert(lines.some(({ stream, line }) => stream === "stdout" && line === "to stdout"));
  assert(lines.some(({ stream, line }) => stream === "stderr" && line === "to stderr"));
  assert(lines.some(({ requestId: of, line }) => of === requestId && /as asked: trap/.test(line)), JSON.stringify(lines));

  assert.equal((await untilPaused(tenant, taskId)).failure, "load_failed");
  assert.equal((await untilPaused(tenant, missingId)).failure, "component_missing");
  const state = await deploymentOf(tenant, deadId);
  if (state.leases[0].state === "ready") assert.equal((await visit(tenant, state.host)).status, 500);
  else assert.equal((await untilPaused(tenant, deadId)).failure, "load_failed");
  assert.equal((await visit(tenant, host)).status, 200, "the neighbour of them all");
  assert.equal((await get(tenant, "/v1/machines")).machines[0].strikes, 0, "none of it counts against the machine");
});

test("kill -9 of the runner: a client that comes meanwhile is answered, and the bill is one segment", async (t) => {
  if (!needs(t, "cargo")) return;
  const { tenant, agent } = await start(t, temporaryFolder(t));
  const { id } = await deploy(tenant, "hello", await upload(tenant, await guest("hello")));
  const { host } = await untilReady(tenant, id);
  const before = agent.runnerPid();
  assert(before !== null);
  process.kill(before, "SIGKILL");
  const startedMs = performance.now();
  assert.equal((await visit(tenant, host)).status, 200);
  assert(performance.now() - startedMs < 500);
  assert.notEqual(agent.runnerPid(), before);
  await done(tenant, { kind: "topUp", deploymentId: idBytes(id), amount: 5n });
  const { segments } = await get(tenant, `/v1/deployments/${id}/bill`);
  assert.deepEqual(segments.map((segment: { end: string | null }) => segment.end), [null]);
});

test("what is not a component of ours is refused at the upload with the sandbox's code", async (t) => {
  if (!needs(t, "cargo")) return;
  const directory = temporaryFolder(t);
  const { tenant } = await start(t, directory);
  const put = async (body: Uint8Array): Promise<[number, string]> => {
    const { status, json } = await signed(tenant.signer, { method: "PUT", path: `/v1/components/sha256:${hex(sha256(body))}`, body, port: tenant.apiPort, headers: { "content-type": "application/octet-stream" } });
    return [status, json.code];
  };
  assert.deepEqual(await put(new TextEncoder().encode("hello")), [422, "not_wasm"]);
  assert.deepEqual(await put(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0)), [422, "core_module"]);
  assert.deepEqual((await put(Uint8Array.of(0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0)))[0], 422);
  assert.deepEqual(readdirSync(join(directory, "components")), [], "what was refused is not kept");
});

test("transactions that the ledger refuses have its code, and many at once become final together", async (t) => {
  if (!needs(t, "cargo")) return;
  const { tenant, agent } = await start(t, temporaryFolder(t));
  const to = keyPair(new Uint8Array(32).fill(6)).address;
  assert.equal((await send(tenant, [{ kind: "transfer", to, amount: 10n ** 18n }])).answer.json.code, "insufficient_funds");
  assert.equal((await send(tenant, [{ kind: "close", deploymentId: idBytes("00".repeat(20) as Hex) }])).answer.json.code, "unknown_deployment");
  const keys = Array.from({ length: 20 }, (_, n) => keyPair(new Uint8Array(32).fill(100 + n)));
  await done(tenant, ...keys.slice(0, 16).map((key) => ({ kind: "transfer" as const, to: key.address, amount: 1_000_000_000n })));
  const answers = await Promise.all(keys.slice(0, 16).map((key) => done({ ...tenant, key }, { kind: "transfer", to, amount: 5n })));
  assert.equal((await get(tenant, `/v1/accounts/${addressText(to)}`)).balance, "80");
  const block = await get(tenant, `/v1/blocks/${answers[0]!.height}`);
  assert.deepEqual(validate(SCHEMAS["Block"]!, block, SCHEMAS), []);
  const transaction = await get(tenant, `/v1/transactions/${block.outcomes[0].txid}`);
  assert.equal(transaction.height, answers[0]!.height);
  const genesis = await get(tenant, "/v1/blocks/0");
  assert.equal(hex(agent.node.chainId), hex(sha256(new TextEncoder().encode("godwit/chain/1\0"), Uint8Array.fromBase64(genesis.bytes))).slice(0, 16));
});

test("a port in use and a data folder in use are refused by code, and nothing is changed", async (t) => {
  if (!needs(t, "cargo")) return;
  const directory = temporaryFolder(t);
  const blocker = createServer().listen(0, "127.0.0.1");
  await once(blocker, "listening");
  t.after(() => blocker.close());
  const { port } = blocker.address() as { port: number };
  const fresh = join(directory, "fresh");
  await assert.rejects(startDevelopment({ directory: fresh, apiPort: port, httpPort: 0 }), { code: "port_in_use", message: new RegExp(`\\b${port}\\b`) });
  await assert.rejects(startDevelopment({ directory: fresh, apiPort: 0, httpPort: port }), { code: "port_in_use", message: new RegExp(`\\b${port}\\b`) });
  assert(!existsSync(fresh));

  const used = join(directory, "used");
  const { tenant, agent } = await start(t, used);
  await assert.rejects(startDevelopment({ directory: used, apiPort: 0, httpPort: 0 }), { code: "data_folder_in_use" });
  assert.equal((await get(tenant, "/healthz")).state, "ok");
  for (const name of readdirSync(join(used, "keys"))) assert.equal(statSync(join(used, "keys", name)).mode & 0o777, 0o600, name);
  assert.notEqual(agent.runnerPid(), null);
});

type Child = { readonly process: ChildProcess; readonly apiPort: number; readonly httpPort: number; readonly runnerPid: number; readonly bootId: Hex };

async function spawnAgent(t: TestContext, directory: string): Promise<Child> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "agentProcess.ts"), directory], { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => void child.kill("SIGKILL"));
  let text = "";
  for await (const chunk of child.stdout) {
    text += String(chunk);
    if (text.includes("\n")) break;
  }
  return { process: child, ...JSON.parse(text) };
}

test("kill -9 of the machine: the next start serves again, the bill of the last boot ends at its last block, and the supply is whole", async (t) => {
  if (!needs(t, "cargo")) return;
  const directory = temporaryFolder(t);
  const first = await spawnAgent(t, directory);
  const key = await openDevelopmentAccount(directory);
  const tenant = await openTenant(first, key);
  const { id } = await deploy(tenant, "hello", await upload(tenant, await guest("hello")));
  const { host } = await untilReady(tenant, id);
  await until("a second on the bill", async () => (BigInt((await get(tenant, `/v1/deployments/${id}/bill`)).total) > 0n ? true : null));
  // A block whose second is later than that of the opening: up to it the machine is paid.
  await done(tenant, { kind: "transfer", to: keyPair(new Uint8Array(32).fill(6)).address, amount: 1n });
  const supply = (await get(tenant, "/v1/status")).supply.total;
  first.process.kill("SIGKILL");
  await once(first.process, "exit");
  await until("the end of the runner", async () => (isAlive(first.runnerPid) ? null : true), 2_000);

  const second = await spawnAgent(t, directory);
  const again = await openTenant(second, key);
  await untilReady(again, id);
  assert.equal((await visit(again, host)).status, 200);
  assert.notEqual(second.bootId, first.bootId);
  const bill = await get(again, `/v1/deployments/${id}/bill`);
  const [ended, running] = bill.segments;
  assert.equal(running.end, null);
  // The block that took the new boot names the last block before it in its header.
  const { height } = await blockOfUp(again, second.bootId);
  const parent = await get(again, `/v1/blocks/${height - 1}`);
  assert.equal(ended.end, parent.header.moneySecond);
  assert(BigInt(ended.amount) > 0n);
  assert.equal(BigInt(ended.amount), BigInt(ended.rate) * (BigInt(ended.end) - BigInt(ended.openedAt)));
  assert.equal((await get(again, "/v1/status")).supply.total, supply);
  second.process.stdin?.end();
  await once(second.process, "exit");
});

/** The height at which a lease of the boot before ended because of the reboot. */
async function blockOfUp(tenant: Tenant, bootId: Hex): Promise<{ height: number }> {
  assert.equal((await get(tenant, "/v1/machines")).machines[0].bootId, bootId);
  for (let { height } = (await get(tenant, "/v1/blocks/latest")) as { height: number }; height > 0; height -= 1) {
    const { events } = await get(tenant, `/v1/blocks/${height}`);
    if (events.some((event: { kind: string; why?: string }) => event.kind === "ended" && event.why === "rebooted")) return { height };
  }
  assert.fail("no block ended the lease of the boot before");
}
