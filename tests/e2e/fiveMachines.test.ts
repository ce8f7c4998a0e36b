/**
 * Five machines and an app of three workloads, all that a grid promises one after the other, under load: scaled, killed, cut off, emptied, moved, rolled
 * out, rolled back, dry and topped up. One stage, in order; how long each thing took is printed. `npm run chaos` is the long form.
 */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { addressText } from "#chain/codec/address.ts";
import { GRACE_MS } from "#chain/liveness/rules.ts";
import { audit } from "#tools/audit.ts";
import { allUp, ask } from "#tools/bench/heal.ts";
import { Devnet } from "#tools/devnet/devnet.ts";
import { Load, type Place, serving } from "#tools/devnet/load.ts";
import { buildProject } from "#workloads/sdk/build.ts";
import { needs } from "../require.ts";
import { cli, cliJson, eventually, http, temporaryFolder } from "./stage.ts";

const MACHINES = 5;
/** m1 is whom the commands ask, and is not broken. */
const REPLICAS = 3;
const WAIT_MS_MAX = 120_000;
/** A deposit lasts a minute at least: what is to run dry in the end is made first. */
const BRIEF_SECONDS = 64n;

/** Built before there is a grid beside: a compiler wants a computer. */
async function writeVersion(folder: string, answer: string, health: number): Promise<void> {
  // One that is not well is found out within eight seconds: until then it takes no requests, and it is not promoted.
  const rule = health === 200 ? "healthy_seconds = 2" : "healthy_seconds = 30\nweight = 0";
  mkdirSync(join(folder, "assembly"), { recursive: true });
  writeFileSync(join(folder, "godwit.toml"), `name = "version"\nkind = "service"\n[resources]\nmemory_mib = 32\ncpu_millis = 20\n[health]\npath = "/healthz"\n[rollout]\n${rule}\ndeadline_seconds = 60\nfailures = 0\n`);
  writeFileSync(join(folder, "assembly", "index.ts"), `import { Request, Response } from "godwit/http";
export function handle(request: Request): Response {
  return request.path == "/healthz" ? Response.text("health", ${health}) : Response.text("${answer}");
}
`);
  const { component } = await buildProject(folder);
  writeFileSync(join(folder, "version.wasm"), component);
}
const writeApp = (folder: string, front: string): void =>
  writeFileSync(join(folder, "godwit.toml"), `[app]\nname = "shop"\n[workloads]\nstore = "one/version.wasm"\n[workloads.cart]\npath = "one/version.wasm"\nneeds = ["store"]\n[workloads.front]\npath = "${front}/version.wasm"\nneeds = ["cart"]\nreplicas = ${REPLICAS}\n`);

type Lease = { readonly state: string; readonly machine: string | null };
type Row = { readonly id: string; readonly name: string; readonly revision: number; readonly rollout: object | null; readonly rolledBack: string | null; readonly leases: readonly Lease[]; readonly url: string; readonly state: string };

test("five machines carry an app of three workloads through scaling, a kill, a partition, a drain, a move, a rollout, a rollback and a dry budget: it serves, nothing is lost and the audit agrees", { timeout: 600_000 }, async (t) => {
  if (!needs(t, "cargo")) return;
  const folder = temporaryFolder(t);
  const app = join(folder, "app");
  for (const [name, health] of [["one", 200], ["two", 200], ["bad", 500]] as const) await writeVersion(join(app, name), name, health);
  writeApp(app, "one");
  const beganMs = performance.now();
  const took = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    const startedMs = performance.now();
    await work();
    t.diagnostic(`${what}: ${Math.round(performance.now() - startedMs)} ms`);
  };
  await using devnet = await Devnet.open({ directory: join(folder, "devnet"), count: MACHINES });
  const places: readonly Place[] = devnet.places.map(({ api, http: httpPort }) => ({ api: `http://127.0.0.1:${api}`, httpPort }));
  const [first] = places as [Place];
  await took("five machines up", () => allUp(places, MACHINES));
  const upMs = performance.now();

  const data = (index: number): string => join(devnet.site.directory, String(index));
  const environment = { GODWIT_API: first.api, GODWIT_DATA: data(0) };
  const godwit = <T = any>(...words: string[]): Promise<T> => cliJson<T>(null, words, { environment }); // oxlint-disable-line typescript/no-explicit-any
  const get = async (path: string): Promise<unknown> => (await fetch(first.api + path, { signal: AbortSignal.timeout(10_000) })).json();
  const rowOf = async (id: string): Promise<Row> => (await get(`/v1/deployments/${id}`)) as Row;
  const indexOf = (machine: string | null): number => devnet.site.machines.findIndex((one) => addressText(one) === machine);
  /** What the ledger says of all of it, for whoever reads why something was waited for in vain. */
  const told = async (): Promise<string> => {
    const said = await Promise.all([["ps", "--all"], ["ps", "--why"], ["events"]].map((words) => cli(null, words, { environment })));
    return [...said.map(({ stdout, stderr }) => stdout + stderr), JSON.stringify(await get("/v1/machines").catch(String))].join("\n");
  };
  const wait = <T>(what: string, look: () => Promise<T | null | undefined | false>): Promise<T> => eventually(what, look, WAIT_MS_MAX).catch(async (error: Error) => {
    throw new Error(`${error.message}\n${await told()}`, { cause: error });
  });

  const one = join(app, "one", "version.wasm");
  const { ratePerSecond } = await godwit<{ ratePerSecond: string }>("plan", one, "--name", "brief");
  const tokens = BigInt(ratePerSecond) * BRIEF_SECONDS;
  const brief = await godwit<{ id: string; host: string; copies: number }>("deploy", one, "--name", "brief", "--deposit", `${tokens / 1_000_000_000n}.${String(tokens % 1_000_000_000n).padStart(9, "0")}`);
  assert.equal(brief.copies, 3);
  let members: readonly { readonly name: string; readonly id: string; readonly url: string; readonly did: string; readonly copies: number }[] = [];
  await took("an app of three workloads deployed", async () => ({ members } = await godwit("deploy", app)));
  assert.deepEqual(members.map(({ name, did, copies }) => [name, did, copies]), [["store", "made", 3], ["cart", "made", 3], ["front", "made", 3]]);
  const [store, cart, front] = members.map(({ id, url }) => ({ id, host: new URL(url).hostname })) as [{ id: string; host: string }, { id: string; host: string }, { id: string; host: string }];
  const serves = async (app_: typeof front): Promise<boolean> => (await serving(devnet.site, places, first.api, app_).catch(() => null)) !== null;
  const allServe = (): Promise<boolean> => wait("every replica of every workload serves", async () => (await Promise.all([store, cart, front].map(serves))).every(Boolean));
  // Who has just started is no witness yet (L8).
  await sleep(Math.max(0, GRACE_MS - (performance.now() - upMs)));

  const load = new Load(devnet.site, places, front);
  load.start();
  t.after(() => load.stop());
  const victim = async (): Promise<number> => wait("another machine than m1 serves", async () => {
    const { leases } = await rowOf(front.id);
    return leases.map(({ machine, state }) => (state === "ready" ? indexOf(machine) : -1)).find((index) => index > 0);
  });
  /** What is on this machine of the whole app has gone elsewhere, and serves there. */
  const isGoneFrom = async (index: number): Promise<boolean> => {
    const rows = await Promise.all([store, cart, front].map(({ id }) => rowOf(id)));
    return rows.every(({ leases }) => leases.every(({ machine, state }) => state === "ready" && machine !== null && indexOf(machine) !== index));
  };

  await t.test("scaled up and down under load", async () => {
    const is = (count: number) => async (): Promise<boolean> => {
      const { leases } = await rowOf(front.id);
      return leases.length === count && leases.every(({ state }) => state === "ready");
    };
    const rule = ["--min", String(REPLICAS), "--max", "4"];
    await took("scaled from 3 to 4 by rule, as each has more than one request a second", async () => {
      await godwit("scale", "front", ...rule, "--requests", "1");
      await wait("four are ready", is(4));
    });
    const { leases } = await rowOf(front.id);
    // One on each machine, but where one rests as it was too busy to get ready in time.
    assert(new Set(leases.map(({ machine }) => machine)).size > 1);
    await took("scaled from 4 to 3 by rule, as each could have thousands", async () => {
      await godwit("scale", "front", ...rule, "--requests", "10000");
      await wait("three are left", is(REPLICAS));
    });
    await godwit("scale", "front", "--off");
    await allServe();
  });

  await t.test("a machine is killed (-9): what it ran answers elsewhere, and it comes back", async () => {
    const index = await victim();
    load.spare([index]);
    await took("killed, and all that it ran is ready elsewhere", async () => {
      await devnet.kill([devnet.names[index]!]);
      await wait("placed and ready elsewhere", () => isGoneFrom(index));
    });
    await devnet.start([devnet.names[index]!]);
    await took("started again and up", () => allUp(places, MACHINES));
    load.count([index]);
    await allServe();
  });

  await t.test("a machine is cut off: what it ran answers on the side that goes on, and it comes back", async (u) => {
    if (!devnet.isIsolated || !needs(u, "root", "nft")) return;
    const index = await victim();
    load.spare([index]);
    await devnet.partition([devnet.names[index]!]);
    await took("cut off, and all that it ran is ready elsewhere", () => wait("placed and ready elsewhere", () => isGoneFrom(index)));
    await devnet.heal();
    await took("together again and up", () => allUp(places, MACHINES));
    load.count([index]);
    await allServe();
  });

  await t.test("a machine is emptied: its leases move, and it takes some again afterwards", async () => {
    const index = await victim();
    const own = { environment: { GODWIT_API: places[index]!.api } };
    const operator = ["--account", join(data(index), "keys", "operator")];
    await took("emptied", async () => {
      await cliJson(null, ["machine", "drain", ...operator], own);
      await wait("nothing is left there", () => isGoneFrom(index));
    });
    await cliJson(null, ["machine", "undrain", ...operator], own);
    await allServe();
  });

  await t.test("a replica moves", async () => {
    const before = (await rowOf(front.id)).leases[0]!.machine;
    await took("moved", async () => {
      await godwit("move", "front", "0");
      await wait("it is ready elsewhere", async () => {
        const lease = (await rowOf(front.id)).leases[0]!;
        return lease.state === "ready" && lease.machine !== before;
      });
    });
    await allServe();
  });

  const answers = async (): Promise<string> => {
    const bodies = await Promise.all(places.map(async ({ httpPort }) => (await http(httpPort, front.host)).body));
    return [...new Set(bodies)].join(" ");
  };
  await t.test("a new version is rolled out, a bad one is rolled back by the ledger, and rollback goes back", async () => {
    writeApp(app, "two");
    await took("rolled out", async () => assert.deepEqual((await godwit<{ members: typeof members }>("deploy", app)).members.map(({ did }) => did), ["nothing", "nothing", "updated"]));
    await wait("the new version answers", async () => (await answers()) === "two");
    writeApp(app, "bad");
    await took("a bad version rolled back", async () => {
      const { code, stderr } = await cli(null, ["deploy", app, "--json"], { environment });
      assert.deepEqual([code, (JSON.parse(stderr.trim().split("\n").at(-1)!) as { error: { code: string } }).error.code], [1, "rolled_back"]);
    });
    await wait("the version before the bad one answers everywhere", async () => (await answers()) === "two");
    await took("gone back", () => godwit("rollback", "front"));
    await wait("the version before answers", async () => (await answers()) === "one");
    await allServe();
  });

  await t.test("a budget runs dry in its second, and what is topped up serves again", async () => {
    const state = async (): Promise<string> => (await rowOf(brief.id)).state;
    await wait("it is dry", async () => (await state()) === "dry");
    const { total, balance } = await godwit<{ total: string; balance: string }>("bill", "brief");
    assert.deepEqual([BigInt(total), BigInt(balance)], [BigInt(ratePerSecond) * BRIEF_SECONDS, 0n], "all of it is spent, to the unit");
    await took("topped up, and it serves", async () => {
      await godwit("topup", "brief", "1");
      await wait("it serves again", () => serves(brief));
    });
  });

  await t.test("no request failed at any machine that was well, every bill adds up, and an audit of all of it agrees with the ledger to the unit", async () => {
    await load.stop();
    t.diagnostic(`${load.requests} requests, the slowest ${load.slowest.tookMs} ms, ${load.final.size} transfers final, ${Math.round(performance.now() - beganMs)} ms in all`);
    assert(load.requests > 0);
    assert.deepEqual(load.failed, []);
    assert.notEqual(await ask(first.httpPort, "nobody.localhost"), 200);
    for (const name of ["store", "cart", "front", "brief"]) {
      const { total, earlier, segments } = await godwit<{ total: string; earlier: { amount: string }; segments: { rate: string; seconds: string }[] }>("bill", name);
      assert.equal(segments.reduce((sum, { rate, seconds }) => sum + BigInt(rate) * BigInt(seconds), BigInt(earlier.amount)), BigInt(total), name);
    }
    assert.deepEqual((await audit(get)).findings, []);
  });
});
