/** A machine under test as its tenant sees it: signed transactions and uploads over the API, requests through the ingress. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { addressText, parseAddress } from "#chain/codec/address.ts";
import { type Operation, deploymentIdOf, signTransaction } from "#chain/codec/transaction.ts";
import { sha256 } from "#chain/crypto.ts";
import { type ChainId, type Digest, type Hex, address, chainId, fromHex, hex } from "#chain/types.ts";
import { type DevelopmentAgent, startDevelopment } from "#os/development.ts";
import type { KeyPair } from "#os/keys.ts";
import { type HttpAnswer, type Signer, http, signed } from "./stage.ts";

const TOKEN = 1_000_000_000n;

export type Tenant = { readonly apiPort: number; readonly httpPort: number; readonly key: KeyPair; readonly signer: Signer; readonly chainId: ChainId };

export async function openTenant(ports: { readonly apiPort: number; readonly httpPort: number }, key: KeyPair): Promise<Tenant> {
  const status = (await http({ path: "/v1/status", port: ports.apiPort })).json;
  const chain = chainId(fromHex(status.chainId));
  const machine = parseAddress(status.machine);
  assert(machine !== null);
  return { ...ports, key, chainId: chain, signer: { seed: key.seed, chainId: chain, machine } };
}

export const get = async (tenant: Tenant, path: string): Promise<any> => { // oxlint-disable-line typescript/no-explicit-any
  const answer = await http({ path, port: tenant.apiPort });
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
};

/** Sends operations and gives the answer of `?wait=final`, with the nonce that was used. */
export async function send(tenant: Tenant, ops: readonly Operation[]): Promise<{ answer: HttpAnswer; nonce: bigint }> {
  const account = await get(tenant, `/v1/accounts/${addressText(tenant.key.address)}`);
  const nonce = BigInt(account.nonce);
  const body = signTransaction({ chainId: tenant.chainId, sender: tenant.key.address, nonce, validUntilMs: BigInt(Date.now() + 60_000), fee: 100_000n, ops }, [tenant.key.seed]);
  return { answer: await http({ method: "POST", path: "/v1/transactions?wait=final", body, port: tenant.apiPort, headers: { "content-type": "application/cbor" } }), nonce };
}

export async function done(tenant: Tenant, ...ops: Operation[]): Promise<{ nonce: bigint; height: number }> {
  const { answer, nonce } = await send(tenant, ops);
  assert.equal(answer.json.ok, true, answer.text);
  return { nonce, height: answer.json.height };
}

export async function upload(tenant: Tenant, component: Uint8Array): Promise<Digest> {
  const digest = sha256(component);
  const answer = await signed(tenant.signer, { method: "PUT", path: `/v1/components/sha256:${hex(digest)}`, body: component, port: tenant.apiPort, headers: { "content-type": "application/octet-stream" } });
  assert.equal(answer.status, 201, answer.text);
  return digest;
}

export async function deploy(tenant: Tenant, name: string, componentDigest: Digest, changes: Partial<Extract<Operation, { kind: "deploy" }>> = {}): Promise<{ id: Hex; height: number }> {
  const op: Operation = { kind: "deploy", name, componentDigest, configurationDigest: null, memoryMib: 64, cpuMillis: 100, concurrency: 4, replicas: 1, deposit: 10n * TOKEN, rateMax: 0n, isolation: 0, ...changes };
  const { nonce, height } = await done(tenant, op);
  return { id: hex(deploymentIdOf(tenant.key.address, nonce, 0)), height };
}

export const deploymentOf = (tenant: Tenant, id: Hex): Promise<any> => get(tenant, `/v1/deployments/${id}`); // oxlint-disable-line typescript/no-explicit-any
export const idBytes = (id: Hex): ReturnType<typeof address> => address(fromHex(id));

/** Polls until `look` gives something; the newest answer is in the error when it never does. */
export async function until<T>(what: string, look: () => Promise<T | null>, timeoutMs = 60_000): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== null) return found;
    assert(performance.now() < deadline, `${what} did not come within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export const untilReady = (tenant: Tenant, id: Hex, replicas = 1): Promise<any> => // oxlint-disable-line typescript/no-explicit-any
  until(`${replicas} ready replicas`, async () => {
    const deployment = await deploymentOf(tenant, id);
    return deployment.leases.filter((lease: { state: string }) => lease.state === "ready").length === replicas ? deployment : null;
  });

export const visit = (tenant: Tenant, host: string, path = "/"): Promise<HttpAnswer> => http({ path, port: tenant.httpPort, headers: { host } });

export type MachineUnderTest = { readonly agent: DevelopmentAgent; readonly tenant: Tenant; /** Resolves to how many ms it took; once is enough. */ readonly stop: () => Promise<number> };

/** A machine in this process that is stopped after the test, with its development account as the tenant. */
export async function startMachine(t: TestContext, directory: string): Promise<MachineUnderTest> {
  const agent = await startDevelopment({ directory, apiPort: 0, httpPort: 0, metrics: { address: "127.0.0.1", port: 0 }, parameters: "minimal" });
  let stopped: Promise<number> | null = null;
  const stop = (): Promise<number> => (stopped ??= (async () => {
    const startedMs = performance.now();
    await agent.stop();
    return performance.now() - startedMs;
  })());
  t.after(stop);
  return { agent, stop, tenant: await openTenant(agent, agent.account) };
}

/** Whether there is a process of that id. */
export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};
