import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import test from "node:test";
import type { TestContext } from "node:test";
import type { Hex } from "#chain/types.ts";
import { openDevelopmentAccount } from "#os/development.ts";
import { keyPair } from "#os/keys.ts";
import { guest } from "#tests/guests/build.ts";
import { needs } from "#tests/require.ts";
import { type Tenant, deploy, done, get, idBytes, isAlive, openTenant, startMachine, until, untilReady, upload, visit } from "./grid.ts";
import { temporaryFolder } from "./stage.ts";

test("kill -9 of the runner: a client that comes meanwhile is answered, and the bill is one segment", async (t) => {
  if (!needs(t, "cargo")) return;
  const { tenant, agent } = await startMachine(t, temporaryFolder(t));
  const { id } = await deploy(tenant, "hello", await upload(tenant, await guest("hello")));
  const { host } = await untilReady(tenant, id);
  const before = agent.runnerPid();
  assert(before !== null);
  process.kill(before, "SIGKILL");
  assert.equal((await visit(tenant, host)).status, 200);
  assert.notEqual(agent.runnerPid(), before);
  await done(tenant, { kind: "topUp", deploymentId: idBytes(id), amount: 5n });
  const { segments } = await get(tenant, `/v1/deployments/${id}/bill`);
  assert.deepEqual(segments.map((segment: { end: string | null }) => segment.end), [null]);
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
  const supply = (await get(tenant, "/v1/supply")).total;
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
  assert.equal((await get(again, "/v1/supply")).total, supply);
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
