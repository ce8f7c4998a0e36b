import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import test from "node:test";
import { addressText } from "#chain/codec/address.ts";
import { SCHEMAS } from "#os/api/schemas.ts";
import { startDevelopment } from "#os/development.ts";
import * as sandbox from "#sandbox/sandbox.ts";
import { guest } from "#tests/guests/build.ts";
import { needs } from "#tests/require.ts";
import { deploy, done, get, idBytes, isAlive, startMachine, until, untilReady, upload, visit } from "./grid.ts";
import { validate } from "./jsonSchema.ts";
import { http, signed, temporaryFolder } from "./stage.ts";

const STOP_MS_MAX = 20_000;

test("a deployment from upload to the last payment: served, logged, billed, resized, scaled, closed; the next start goes on with it", async (t) => {
  if (!needs(t, "cargo")) return;
  const directory = temporaryFolder(t);
  const component = await guest("hello");
  const first = await startMachine(t, directory);
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
  assert.match((await http({ port: agent.metricsPort ?? 0, path: "/metrics" })).text, /^godwit_runner_requests_total 1$/m);
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
  const supply = await get(tenant, "/v1/supply");
  const balance = (await get(tenant, `/v1/accounts/${addressText(agent.account.address)}`)).balance;
  const runnerPid = agent.runnerPid();
  assert(runnerPid !== null);
  assert(await first.stop() < STOP_MS_MAX);
  assert(!isAlive(runnerPid), "the runner ended with its agent");

  const second = await startMachine(t, directory);
  const again = second.tenant;
  const after = await get(again, "/v1/status");
  assert.equal(after.chainId, before.chainId);
  assert(after.head.height >= before.head.height);
  assert.equal((await get(again, "/v1/supply")).total, supply.total);
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
  await assert.rejects(startDevelopment({ directory: fresh, apiPort: 0, httpPort: 0, metrics: { address: "127.0.0.1", port } }), { code: "port_in_use", message: new RegExp(`\\b${port}\\b`) });
  assert(!existsSync(fresh));

  const used = join(directory, "used");
  const { tenant, agent } = await startMachine(t, used);
  await assert.rejects(startDevelopment({ directory: used, apiPort: 0, httpPort: 0 }), { code: "data_folder_in_use" });
  assert.equal((await get(tenant, "/healthz")).state, "ok");
  for (const name of readdirSync(join(used, "keys"))) assert.equal(statSync(join(used, "keys", name)).mode & 0o777, 0o600, name);
  assert.notEqual(agent.runnerPid(), null);
});

test("a start that fails on the way takes down what is up, and the next one succeeds on the same ports", async (t) => {
  if (!needs(t, "cargo")) return;
  const directory = temporaryFolder(t);
  const { agent, stop } = await startMachine(t, directory);
  const { apiPort, httpPort } = agent;
  await stop();
  const path = join(directory, "keys", "validator");
  const key = readFileSync(path);
  writeFileSync(path, "not a key");
  await assert.rejects(startDevelopment({ directory, apiPort, httpPort }), { code: "key_invalid" });
  writeFileSync(path, key);
  const again = await startDevelopment({ directory, apiPort, httpPort });
  assert.deepEqual([again.apiPort, again.httpPort], [apiPort, httpPort]);
  await again.stop();
});

test("the ingress takes no request before the chain is read back: clients wait, and no known host is unknown for that long", async (t) => {
  if (!needs(t, "cargo")) return;
  const directory = temporaryFolder(t);
  await (await startMachine(t, directory)).stop();
  const path = join(directory, "chain", "genesis");
  const genesis = readFileSync(path);
  writeFileSync(path, "no genesis");
  const startRunner = t.mock.fn(sandbox.startRunner);
  await assert.rejects(startDevelopment({ directory, apiPort: 0, httpPort: 0, sandbox: { ...sandbox, startRunner } }));
  assert.equal(startRunner.mock.callCount(), 0);
  writeFileSync(path, genesis);
  const agent = await startDevelopment({ directory, apiPort: 0, httpPort: 0, sandbox: { ...sandbox, startRunner } });
  await agent.stop();
  assert.equal(startRunner.mock.callCount(), 1);
});

test("a restart under a client that asks without pause: refused or answered, and never as if its host were unknown", async (t) => {
  if (!needs(t, "cargo")) return;
  const directory = temporaryFolder(t);
  const first = await startMachine(t, directory);
  const { id } = await deploy(first.tenant, "hello", await upload(first.tenant, await guest("hello")));
  const { host } = await untilReady(first.tenant, id);
  const { apiPort, httpPort } = first.agent;
  const seen = new Map<string | number, number>();
  let isOver = false;
  const client = (async () => {
    while (!isOver) {
      const answer = await visit(first.tenant, host).then(({ status }) => status, (error: NodeJS.ErrnoException) => error.code ?? "");
      seen.set(answer, (seen.get(answer) ?? 0) + 1);
      // Refused connections fail without a turn of the event loop.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  await first.stop();
  const again = await startDevelopment({ directory, apiPort, httpPort, parameters: "minimal" });
  t.after(() => again.stop());
  await untilReady(first.tenant, id);
  assert.equal((await visit(first.tenant, host)).status, 200);
  isOver = true;
  await client;
  assert.ok((seen.get(200) ?? 0) > 1);
  assert.deepEqual([...seen.keys()].filter((answer) => answer !== 200 && answer !== "ECONNREFUSED" && answer !== "ECONNRESET"), [], JSON.stringify([...seen]));
});

test("an agent's process runs no task: no guest is ever beside its keys", async (t) => {
  if (!needs(t, "cargo")) return;
  await startMachine(t, temporaryFolder(t));
  await assert.rejects(sandbox.runTask(await guest("tally")), { code: "task_forbidden" });
});
