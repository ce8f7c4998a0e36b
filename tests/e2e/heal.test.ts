/**
 * Four machines with a validator each, as real processes on loopback: one is killed under load and its workload answers elsewhere;
 * it comes back and keeps nothing that is another's; and a chain that stands still takes nobody down. One stage for all of it, in order.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { addressText } from "#chain/codec/address.ts";
import { GRACE_MS } from "#chain/liveness/rules.ts";
import { audit } from "#tools/audit.ts";
import { allUp, ask, heal, readyOn, upCount } from "#tools/bench/heal.ts";
import { makeSite, startSiteMachine } from "#tools/chain/machines.ts";
import { deployThere } from "#tools/devnet/uploader.ts";
import { needs } from "../require.ts";
import { eventually, http, temporaryFolder } from "./stage.ts";

const MACHINES = 4;
/** A short form: what counts is that it is longer than a stall (L8) and than silence (L3). */
const HALT_MS = 6_000;

const GREETING = "Still here";

test("four machines heal", { timeout: 400_000 }, async (t) => {
  if (!needs(t, "cargo")) return;
  const site = await makeSite(temporaryFolder(t), MACHINES);
  const machines = await Promise.all(site.ports.map((_, index) => startSiteMachine(site, index)));
  t.after(() => Promise.all(machines.map((one) => one.stop("SIGKILL"))));
  await allUp(machines, MACHINES);
  // Who has just started is no witness yet (L8).
  await sleep(GRACE_MS);
  const deployed = await deployThere(site, machines[0]!.api, 0, "heal", GREETING);
  assert.deepEqual(deployed.copies, [1, 3], "its configuration goes nowhere else while it may run nowhere else");
  let killed = 0;
  const get = async (path: string, api = machines[(killed + 1) % MACHINES]!.api): Promise<unknown> => (await fetch(api + path, { signal: AbortSignal.timeout(5_000) })).json();
  type Bill = { readonly segments: readonly { readonly machine: string; readonly openedAt: string; readonly end: string | null; readonly seconds: string }[] };

  await t.test("the machine that took the upload and runs it is killed (-9, under load) right after deploy said done: its workload answers again elsewhere, as it was configured", async (u) => {
    const { place, answerMs } = await heal(site, machines, deployed);
    killed = place;
    assert.equal(killed, 0);
    u.diagnostic(`${Math.round(answerMs)} ms`);
    // The goals are p99 ≤ 5 s and p50 ≤ 3.5 s (bench:heal); a computer that tests much else at once gets more.
    assert(answerMs < 60_000);
    const now = await eventually("all is ready again", () => readyOn(site, machines[(killed + 1) % MACHINES]!.api, deployed));
    assert.notEqual(now[0], killed);
    assert.match((await http(machines[now[0]!]!.httpPort, deployed.host)).body, new RegExp(GREETING));
  });

  await t.test("its stream ended while it lived, and not with the block that took it down", async () => {
    const { segments } = (await get(`/v1/deployments/${deployed.id}/bill`)) as Bill;
    assert.equal(segments.length, 2);
    assert.equal(segments[0]!.machine, addressText(site.machines[killed]!));
    assert(segments[0]!.end !== null && BigInt(segments[1]!.openedAt) >= BigInt(segments[0]!.end));
  });

  await t.test("a machine that comes back is up again with another boot id, and runs nothing that is another's", async () => {
    machines[killed] = await startSiteMachine(site, killed);
    await allUp(machines, MACHINES);
    const { host } = deployed;
    await eventually("it passes on what moved away, and serves none of it", async () => {
      const { status, headers } = await http(machines[killed]!.httpPort, host);
      return status === 200 && headers.via === "1.1 godwit";
    }, 60_000);
  });

  await t.test("a halt of the chain takes nobody down, and what is served goes on", async () => {
    const api = machines[killed]!.api;
    const { host } = deployed;
    await sleep(GRACE_MS);
    const [serving] = await eventually("it is served", () => readyOn(site, api, deployed));
    const asked = [0, 1, 2, 3].find((index) => index !== serving && index !== killed)!;
    const last = [0, 1, 2, 3].find((index) => index !== serving && index !== killed && index !== asked)!;
    const heightBefore = ((await get("/v1/blocks/latest", api)) as { height: number }).height;
    // Two of four stand still: there is no quorum, and two machines are silent for much longer than 1.5 s.
    for (const index of [asked, last]) machines[index]!.signal("SIGSTOP");
    const endMs = performance.now() + HALT_MS;
    while (performance.now() < endMs) {
      assert.equal(await ask(machines[serving!]!.httpPort, host), 200, "no request is lost");
      await sleep(50);
    }
    for (const index of [asked, last]) machines[index]!.signal("SIGCONT");
    const heightOf = async (): Promise<number> => ((await get("/v1/blocks/latest", api)) as { height: number }).height;
    await eventually("the chain goes on", async () => (await heightOf()) > heightBefore + 2, 30_000);
    await sleep(2_000);
    assert.equal(await upCount(api), MACHINES);
    const { segments } = (await get(`/v1/deployments/${deployed.id}/bill`, api)) as Bill;
    assert.equal(segments.length, 2, "nothing was placed again");
  });

  await t.test("an audit of all of it agrees with the ledger to the unit", async () => {
    const report = await audit((path) => get(path));
    assert.deepEqual(report.findings, []);
  });
});
