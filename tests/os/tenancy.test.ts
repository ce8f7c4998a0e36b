import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { addressText } from "#chain/codec/address.ts";
import { encode } from "#chain/codec/cbor.ts";
import { sha256 } from "#chain/crypto.ts";
import { type Hex, hex } from "#chain/types.ts";
import { SETTINGS_DEFAULT, encodeConfiguration } from "#os/configuration.ts";
import { SCHEMAS } from "#os/api/schemas.ts";
import { keyPair } from "#os/keys.ts";
import { guest } from "#tests/guests/build.ts";
import { needs } from "#tests/require.ts";
import { type Tenant, deploy, deploymentOf, done, get, idBytes, send, startMachine, until, untilReady, upload, visit } from "./grid.ts";
import { validate } from "./jsonSchema.ts";
import { signed, temporaryFolder } from "./stage.ts";

test("a configuration reaches its deployment; another account's is refused and fails the deployment with its cause", async (t) => {
  if (!needs(t, "cargo")) return;
  const { tenant } = await startMachine(t, temporaryFolder(t));
  const stranger = { ...tenant, key: keyPair(new Uint8Array(32).fill(5)) };
  stranger.signer = { ...tenant.signer, seed: stranger.key.seed };
  await done(tenant, { kind: "transfer", to: stranger.key.address, amount: 50_000_000_000n });
  const configuration = encode([2, stranger.key.address, [["SECRET", "1"]], [], [], 0]);
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

test("limits of the manifest hold on the machine, and are shown to the owner alone", async (t) => {
  if (!needs(t, "cargo")) return;
  const { tenant } = await startMachine(t, temporaryFolder(t));
  const configuration = encodeConfiguration(tenant.key.address, { ...SETTINGS_DEFAULT, limits: { wallTimeMsMax: 300, headerBytesMax: 1024 }, outgoing: [{ scheme: "https", host: "a.example", port: 443 }] });
  assert(configuration !== null);
  const digest = sha256(configuration);
  const put = await signed(tenant.signer, { method: "PUT", path: `/v1/configurations/sha256:${hex(digest)}`, body: configuration, port: tenant.apiPort, headers: { "content-type": "application/cbor" } });
  assert.equal(put.status, 201, put.text);
  const component = await upload(tenant, await guest("rogue"));
  const { id } = await deploy(tenant, "limited", component, { configurationDigest: digest });
  const { host } = await untilReady(tenant, id);
  const blocked = await visit(tenant, host, "/slow?ms=60000");
  assert.deepEqual([blocked.status, blocked.json.code], [504, "wall_time_limit"]);
  const shown = await signed(tenant.signer, { path: `/v1/deployments/${id}/configuration`, port: tenant.apiPort });
  assert.deepEqual(validate(SCHEMAS["Configuration"]!, shown.json, SCHEMAS), []);
  assert.deepEqual([shown.json.limits.wallTimeMsMax, shown.json.limits.headerBytesMax, shown.json.limits.memoryBytesMax, shown.json.outgoing], [300, 1024, 64 * 1024 * 1024, ["https://a.example:443"]]);
});

test("a machine answers by the name that its owner registered, and by it for another deployment when it points there", async (t) => {
  if (!needs(t, "cargo")) return;
  const { tenant } = await startMachine(t, temporaryFolder(t));
  const component = await upload(tenant, await guest("hello"));
  const [first, second] = [(await deploy(tenant, "first", component)).id, (await deploy(tenant, "second", component)).id];
  for (const id of [first, second]) await untilReady(tenant, id);
  await done(tenant, { kind: "registerName", name: "shop", deployment: idBytes(first), years: 1 }, { kind: "registerName", name: "shop.example", deployment: idBytes(second), years: 1 });
  for (const host of ["shop.localhost", "shop.example"]) await until(host, async () => ((await visit(tenant, host)).status === 200 ? true : null));
  await done(tenant, { kind: "pointName", name: "shop", deployment: idBytes(second) });
  const requests = async (): Promise<number> => (await signed(tenant.signer, { path: `/v1/deployments/${second}/usage`, port: tenant.apiPort })).json.requests;
  const before = await requests();
  await until("the name to move", async () => ((await visit(tenant, "shop.localhost")).status === 200 && (await requests()) > before ? true : null));
  await done(tenant, { kind: "releaseName", name: "shop" });
  await until("the name to be gone", async () => ((await visit(tenant, "shop.localhost")).status === 404 ? true : null));
});

test("a deployment with a runner of its own is served, logged and counted as any other", async (t) => {
  if (!needs(t, "cargo")) return;
  const { tenant, agent } = await startMachine(t, temporaryFolder(t));
  const { id } = await deploy(tenant, "alone", await upload(tenant, await guest("rogue")), { isolation: 1 });
  const { host, isolation } = await untilReady(tenant, id);
  assert.equal(isolation, "process");
  assert.equal((await visit(tenant, host, "/both")).status, 200);
  await until("its lines", async () => ((await linesOf(tenant, id)).some(({ line }) => line === "to stdout") ? true : null));
  const usage = await signed(tenant.signer, { path: `/v1/deployments/${id}/usage`, port: tenant.apiPort });
  assert.equal(usage.json.requests, 1);
  // The shared one ends: what it handed on comes back with it.
  process.kill(agent.runnerPid() ?? 0, "SIGKILL");
  assert.equal((await visit(tenant, host)).status, 200);
});

const linesOf = async (tenant: Tenant, id: Hex): Promise<{ stream: string; requestId: string | null; line: string }[]> =>
  (await signed(tenant.signer, { path: `/v1/deployments/${id}/logs`, port: tenant.apiPort })).json.lines;
const untilPaused = (tenant: Tenant, id: Hex): Promise<any> => until("the pause", async () => { // oxlint-disable-line typescript/no-explicit-any
  const deployment = await deploymentOf(tenant, id);
  return deployment.state === "paused" ? deployment : null;
});

test("faults of components stay their own: traps and output are in the log, what cannot start is failed with its cause and paused", async (t) => {
  if (!needs(t, "cargo")) return;
  const { tenant } = await startMachine(t, temporaryFolder(t));
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
  assert.equal((await untilPaused(tenant, deadId)).failure, "load_failed");
  assert.equal((await visit(tenant, host)).status, 200, "the neighbour of them all");
  assert.equal((await get(tenant, "/v1/machines")).machines[0].strikes, 0, "none of it counts against the machine");
});

test("what is not a component of ours is refused at the upload with the sandbox's code", async (t) => {
  if (!needs(t, "cargo")) return;
  const directory = temporaryFolder(t);
  const { tenant } = await startMachine(t, directory);
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
  const { tenant, agent } = await startMachine(t, temporaryFolder(t));
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
