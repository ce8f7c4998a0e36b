/**
 * Four machines as real processes, and a deployment that scales by itself: under load it grows as far as its ceiling lets it, without load it
 * shrinks and is on standby, and its machine wakes it at the next request. One stage for all of it, in order.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { audit } from "#tools/audit.ts";
import { allUp, ask, deployTo, readyOn } from "#tools/bench/heal.ts";
import { makeSite, startSiteMachine } from "#tools/chain/machines.ts";
import { needs } from "../require.ts";
import { type Machine, cli, cliJson, eventually, http, temporaryFolder } from "./stage.ts";

const MACHINES = 4;
/** Requests a second; each of the clients makes ten times as many on a computer that does nothing else. */
const TARGET = 2;
const PAUSE_MS = 40;
const LONG_MS = 90_000;
const UNITS_PER_TOKEN = 1e9;

test("a deployment scales by itself", { timeout: 400_000 }, async (t) => {
  if (!needs(t, "cargo")) return;
  const site = await makeSite(temporaryFolder(t), MACHINES);
  const machines = await Promise.all(site.ports.map((_, index) => startSiteMachine(site, index)));
  t.after(() => Promise.all(machines.map((one) => one.stop("SIGKILL"))));
  await allUp(machines, MACHINES);
  const { api } = machines[0]!;
  type Lease = { readonly index: number; readonly state: string; readonly rate: string; readonly standbyRate: string | null };
  type Seen = { readonly replicas: number; readonly leases: readonly Lease[] };
  const get = async (path: string): Promise<unknown> => (await fetch(api + path, { signal: AbortSignal.timeout(10_000) })).json();
  const deployed = await deployTo(site, machines);
  const { id, host } = deployed;
  const seen = (): Promise<Seen> => get(`/v1/deployments/${id}`) as Promise<Seen>;
  const costOf = ({ leases }: Seen): number => leases.reduce((sum, { rate }) => sum + Number(rate), 0);
  const isAsleep = ({ leases }: Seen): boolean => leases.every(({ state, standbyRate }) => state === "ready" && standbyRate !== null);
  const owner = { api, directory: join(site.directory, "0") } as Machine;
  await eventually("it runs", () => readyOn(site, api, deployed), LONG_MS);
  const rate = costOf(await seen());
  // Room for three of the four that the rule allows.
  const ceiling = Math.floor(rate * 3.5);
  const ceilingText = ((ceiling * 3_600) / UNITS_PER_TOKEN).toFixed(9);

  await t.test("load up: replicas go up as far as the budget's ceiling lets them, and never beyond it", async (u) => {
    await cliJson(owner, ["scale", "heal", "--min", "0", "--max", "4", "--requests", String(TARGET), "--rate-max", ceilingText]);
    const beganMs = performance.now();
    let isOver = false;
    const clients = machines.map(async ({ httpPort }) => { while (!isOver) { await ask(httpPort, host, 10_000); await sleep(PAUSE_MS); } });
    try {
      const look = async (): Promise<Seen> => {
        const now = await seen();
        assert(costOf(now) <= ceiling, `${costOf(now)} is above the ceiling of ${ceiling}`);
        return now;
      };
      await eventually("there are three", async () => { const { replicas, leases } = await look(); return replicas === 3 && leases.every(({ state }) => state === "ready"); }, LONG_MS);
      u.diagnostic(`one to three in ${Math.round(performance.now() - beganMs)} ms`);
      // That none comes after it is shown in ledger time (tests/ledger/scaling.test.ts).
    } finally {
      isOver = true;
      await Promise.all(clients);
    }
  });

  await t.test("load off: down to its minimum, which is one on standby at a twentieth of its rate", async () => {
    const now = await eventually("one is left, on standby", async () => { const found = await seen(); return found.replicas === 1 && isAsleep(found) ? found : null; }, LONG_MS);
    assert.equal(Number(now.leases[0]!.standbyRate), Math.ceil(rate / 20));
    const { stdout } = await cli(owner, ["ps"]);
    assert.match(stdout, /SCALES/);
    assert.match(stdout, /1\/1\s+standby\s+0-4/);
    assert.match((await cli(owner, ["ps", "--why", "heal"])).stdout, /on standby at .* wakes at the next request/);
  });

  await t.test("the first request is answered by the machine itself, then the ledger knows", async (u) => {
    const [place] = await eventually("it is somewhere", () => readyOn(site, api, deployed));
    const answer = await http(machines[place!]!.httpPort, host);
    assert.equal(answer.status, 200);
    u.diagnostic(`the first request was answered after ${answer.elapsedMs.toFixed(1)} ms`);
    await eventually("the ledger knows that it is awake", async () => !isAsleep(await seen()), LONG_MS);
  });

  await t.test("godwit events tells each step with its cause, and an audit of all of it agrees to the unit", async () => {
    const { stdout } = await cli(owner, ["events", id, "--json"]);
    const events = stdout.trim().split("\n").map((line) => JSON.parse(line) as { kind: string; cause: string | null });
    for (const cause of ["load high", "load low"]) assert(events.some((one) => one.kind === "scaled" && one.cause === cause), cause);
    for (const kind of ["load", "standby", "woken"]) assert(events.some((one) => one.kind === kind), kind);
    assert.deepEqual((await audit((path) => get(path))).findings, []);
  });
});
