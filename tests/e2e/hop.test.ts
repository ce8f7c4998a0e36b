/**
 * Four machines with a validator each, as real processes on loopback: a request for what runs on one of them is answered by any of them,
 * and none fails while it is moved, its machine is drained, a new version comes beside it and goes again, or a machine is paused or killed. One
 * stage for all of it, in order; the load comes in through machines that stay.
 */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import test from "node:test";
import { addressOf, addressText } from "#chain/codec/address.ts";
import { type Operation, type TransactionBody, signTransaction } from "#chain/codec/transaction.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { address, chainId, fromHex } from "#chain/types.ts";
import { openKey } from "#os/keys.ts";
import { allUp } from "#tools/bench/heal.ts";
import { type Site, makeSite, startSiteMachine } from "#tools/chain/machines.ts";
import { ApiClient } from "#tools/cli/client.ts";
import { audit } from "#tools/audit.ts";
import { needs } from "../require.ts";
import { cliJson, eventually, http, temporaryFolder } from "./stage.ts";

/** One of them is killed, and three of four validators agree still. */
const MACHINES = 4;
const WAIT_MS = 90_000;
const LOOPS_PER_MACHINE = 2;
const PAUSE_MS = 5;
const TOKEN = 1_000_000_000n;

function writeVersion(folder: string, answer: string, rollout: { weight: number; healthy: number }, replicas: number): void {
  mkdirSync(join(folder, "assembly"), { recursive: true });
  writeFileSync(join(folder, "godwit.toml"), `name = "hops"\nkind = "service"\n[resources]\nreplicas = ${replicas}\n[rollout]\nweight = ${rollout.weight}\nhealthy_seconds = ${rollout.healthy}\ndeadline_seconds = 300\nfailures = 3\n`);
  writeFileSync(join(folder, "assembly", "index.ts"), `import { Request, Response } from "godwit/http";
export function handle(request: Request): Response {
  return Response.text("${answer} " + request.bytes().length.toString());
}
`);
}

/** Asks these ports all the time, with and without a body, on connections that are kept. */
class Load {
  /** A step that fails leaves none behind. */
  static readonly all: Load[] = [];
  readonly answers = new Map<string, number>();
  readonly failed: string[] = [];
  #isOver = false;
  readonly #loops: readonly Promise<void>[];
  constructor(ports: readonly number[], host: string) {
    Load.all.push(this);
    this.#loops = ports.flatMap((port) => Array.from({ length: LOOPS_PER_MACHINE }, () => this.#loop(port, host)));
  }
  async #loop(port: number, host: string): Promise<void> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let n = 0; !this.#isOver; n++) {
      const body = n % 2 === 0 ? "" : "x".repeat(1_000);
      const seen = await ask(agent, port, host, body);
      const [status, answer, length] = seen.split(" ");
      if (status === "200" && Number(length) === body.length) this.answers.set(answer!, (this.answers.get(answer!) ?? 0) + 1);
      else this.failed.push(`${port}: ${seen}`);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    agent.destroy();
  }
  count(answer: string): number {
    return this.answers.get(answer) ?? 0;
  }
  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#loops);
  }
}

const ask = (agent: Agent, port: number, host: string, body: string): Promise<string> => new Promise((resolve) => {
  const call = request({ host: "127.0.0.1", port, agent, method: body === "" ? "GET" : "POST", headers: { host, ...(body === "" ? {} : { "content-length": body.length }) } }, (answer) => {
    let text = "";
    answer.setEncoding("utf8").on("data", (chunk: string) => (text += chunk)).on("end", () => resolve(`${answer.statusCode} ${text}`)).on("error", (error) => resolve(`0 ${String(error)}`));
  });
  call.setTimeout(WAIT_MS, () => call.destroy(new Error("no answer in time"))).on("error", (error) => resolve(`0 ${String(error)}`)).end(body);
});

type Lease = { readonly index: number; readonly machine: string | null; readonly state: string; readonly revision: number };

test("any machine serves any host, and nothing is lost when what serves it changes", { timeout: 600_000 }, async (t) => {
  if (!needs(t, "cargo")) return;
  const folder = temporaryFolder(t);
  const site = await makeSite(folder, MACHINES);
  const machines = await Promise.all(site.ports.map((_, index) => startSiteMachine(site, index)));
  t.after(() => Promise.all(machines.map((one) => one.stop("SIGKILL"))));
  t.after(() => Promise.all(Load.all.map((load) => load.stop())));
  await allUp(machines, MACHINES);
  let api = machines[0]!.api;
  const project = join(folder, "project");
  const cli = (...args: string[]): Promise<any> => cliJson(null, args, { environment: { GODWIT_API: api, GODWIT_DATA: join(site.directory, "0") } }); // eslint-disable-line typescript/no-explicit-any
  writeVersion(project, "one", { weight: 1000, healthy: 1 }, 1);
  const { url, id } = await cli("deploy", project);
  const host = new URL(url).hostname;
  const leases = async (): Promise<readonly Lease[]> => ((await (await fetch(`${api}/v1/deployments/${id}`)).json()) as { leases: Lease[] }).leases;
  const placeOf = ({ machine }: Lease): number => site.machines.findIndex((one) => addressText(one) === machine);
  const readyPlaces = async (count: number): Promise<number[]> => eventually(`${count} leases are ready`, async () => {
    const all = await leases();
    return all.length === count && all.every(({ state }) => state === "ready") && all.map(placeOf);
  }, WAIT_MS);
  const submit = (seed: Uint8Array, ops: readonly Operation[]): Promise<void> => send(api, seed, ops);
  const ports = (...places: number[]): number[] => places.map((place) => machines[place]!.httpPort);
  const others = (...places: number[]): number[] => machines.map((_, place) => place).filter((place) => !places.includes(place));
  let [place] = (await readyPlaces(1)) as [number];

  await t.test("a request for a host that runs elsewhere is answered over an authenticated hop", async () => {
    for (const [index, { httpPort }] of machines.entries()) {
      const answer = await eventually(`machine ${index} answers`, async () => {
        const one = await http(httpPort, host, { method: "POST", body: "12345" });
        return one.status === 200 && one;
      }, WAIT_MS);
      assert.equal(answer.body, "one 5");
      assert.equal(answer.headers.via, index === place ? undefined : "1.1 godwit");
      assert.match(String(answer.headers["x-request-id"]), /^[0-9a-f]{16}$/);
      assert.deepEqual(Object.keys(answer.headers).filter((name) => name.startsWith("godwit-")), []);
    }
    assert.equal((await http(machines[others(place)[0]!]!.httpPort, `nothing.${host}`)).status, 404);
  });

  await t.test("a move loses no request, at whatever machine it comes in; the old copy ends when nobody has asked for it for two seconds", async (u) => {
    const load = new Load(ports(0, 1, 2), host);
    const before = place;
    await eventually("there is load", async () => load.count("one") > 50, WAIT_MS);
    await submit(site.accounts[0]!.seed, [{ kind: "move", deploymentId: address(fromHex(id)), index: 0 }]);
    [place] = await eventually("it has moved", async () => {
      const [now] = await readyPlaces(1);
      return now !== before && [now!];
    }, WAIT_MS) as [number];
    await eventually("the old copy is gone", async () => (await memoryUsed(api, site, before)) === 0, WAIT_MS);
    const count = load.count("one");
    await eventually("it goes on", async () => load.count("one") > count + 50, WAIT_MS);
    await load.stop();
    u.diagnostic(`${load.count("one")} requests`);
    assert.deepEqual(load.failed, []);
  });

  await t.test("a drained machine loses no request, its own clients' neither", async (u) => {
    const load = new Load(ports(0, 1, 2), host);
    const drained = place;
    await eventually("there is load", async () => load.count("one") > 50, WAIT_MS);
    const operator = await openKey(join(site.directory, String(drained), "keys", "operator"));
    await submit(operator.seed, [{ kind: "drain", machine: site.machines[drained]!, draining: 1 }]);
    [place] = await eventually("it has moved", async () => {
      const [now] = await readyPlaces(1);
      return now !== drained && [now!];
    }, WAIT_MS) as [number];
    await eventually("the machine is empty", async () => (await memoryUsed(api, site, drained)) === 0, WAIT_MS);
    await submit(operator.seed, [{ kind: "drain", machine: site.machines[drained]!, draining: 0 }]);
    await load.stop();
    u.diagnostic(`${load.count("one")} requests`);
    assert.deepEqual(load.failed, []);
  });

  await t.test("a rollout with a canary, its promotion and a rollback lose no request; the canary has its weight at every machine", async (u) => {
    const load = new Load(ports(0, 1, 2), host);
    writeVersion(project, "two", { weight: 300, healthy: 6 }, 1);
    const updated = cli("deploy", project);
    const shares = await eventually("the canary takes its share, at every machine", async () => {
      const seen = await Promise.all(machines.map(async ({ httpPort }) => {
        const answers = await Promise.all(Array.from({ length: 40 }, () => http(httpPort, host)));
        return answers.filter(({ body }) => body.startsWith("two")).length;
      }));
      return seen.every((count) => count > 0 && count < 40) && seen;
    }, WAIT_MS);
    u.diagnostic(`of 40 requests at each: ${shares.join(", ")} for a weight of 300 ‰`);
    assert.equal((await updated).revision, 2);
    await eventually("the new one alone answers", async () => (await Promise.all(Array.from({ length: 10 }, () => http(machines[0]!.httpPort, host)))).every(({ body }) => body.startsWith("two")), WAIT_MS);
    await cli("rollback", "hops");
    await eventually("the old one alone answers", async () => (await Promise.all(Array.from({ length: 10 }, () => http(machines[1]!.httpPort, host)))).every(({ body }) => body.startsWith("one")), WAIT_MS);
    await load.stop();
    u.diagnostic(JSON.stringify([...load.answers]));
    assert.deepEqual(load.failed, []);
  });

  await t.test("a machine that only stops answering, with all its connections open: what it ran answers elsewhere, and no request hangs on it", async (u) => {
    await cli("scale", "hops", "2");
    const paused = (await readyPlaces(2)).find((one) => one !== 0)!;
    const left = others(paused);
    api = machines[left[0]!]!.api;
    for (const port of ports(...left)) await eventually("it answers", async () => (await http(port, host)).status === 200, WAIT_MS);
    const load = new Load(ports(...left), host);
    await eventually("there is load", async () => load.count("one") > 100, WAIT_MS);
    machines[paused]!.signal("SIGSTOP");
    await eventually("the ledger knows, and two are ready elsewhere", async () => { const all = await leases(); return all.length === 2 && all.every((lease) => lease.state === "ready" && placeOf(lease) !== paused); }, WAIT_MS);
    const count = load.count("one");
    await eventually("it goes on", async () => load.count("one") > count + 100, WAIT_MS);
    // Each that was on its way is over before this is: one that hangs is among those that failed.
    await load.stop();
    machines[paused]!.signal("SIGCONT");
    u.diagnostic(`${load.count("one")} requests, ${load.failed.length} of them broken`);
    assert.deepEqual(load.failed.filter((one) => !one.includes("hop_broken")), []);
    assert(load.failed.length <= LOOPS_PER_MACHINE * left.length, "only what it had begun");
    await allUp(machines, MACHINES);
  });

  await t.test("kill -9 of a machine under load: no request fails that comes in elsewhere, and none of those that may not be begun twice but what it had begun", async (u) => {
    const places = await readyPlaces(2);
    const killed = places.find((one) => one !== 0) ?? places[0]!;
    const left = others(killed);
    api = machines[left[0]!]!.api;
    for (const port of ports(...left)) await eventually("it answers", async () => (await http(port, host)).status === 200, WAIT_MS);
    const load = new Load(ports(...left), host);
    await eventually("there is load", async () => load.count("one") > 100, WAIT_MS);
    await machines[killed]!.stop("SIGKILL");
    await eventually("the ledger knows", async () => (await leases()).every((lease) => placeOf(lease) !== killed), WAIT_MS);
    const count = load.count("one");
    await eventually("it goes on", async () => load.count("one") > count + 100, WAIT_MS);
    await load.stop();
    u.diagnostic(`${load.count("one")} requests`);
    assert.deepEqual(load.failed.filter((one) => !one.includes("hop_broken")), []);
    assert(load.failed.length <= LOOPS_PER_MACHINE * left.length, "only what it had begun");
  });

  await t.test("an audit of all of it agrees with the ledger to the unit", async () => {
    const report = await audit(async (path) => (await fetch(api + path)).json());
    assert.deepEqual(report.findings, []);
  });
});

async function memoryUsed(api: string, site: Site, place: number): Promise<number> {
  const { machines } = (await (await fetch(`${api}/v1/machines`)).json()) as { machines: { id?: string; machine?: string; memoryMibUsed: number }[] };
  const own = addressText(site.machines[place]!);
  return machines.find((one) => Object.values(one).includes(own))!.memoryMibUsed;
}

async function send(api: string, seed: Uint8Array, ops: readonly Operation[]): Promise<void> {
  const sender = addressOf(publicKeyOf(seed));
  await using client = new ApiClient({ url: api, signer: { address: sender, seed } });
  const [status, { nonce }] = await Promise.all([client.status(), client.account(addressText(sender))]);
  const body: TransactionBody = { chainId: chainId(fromHex(status.chainId)), sender, nonce, validUntilMs: BigInt(Date.now()) + 60_000n, fee: TOKEN / 1_000n, ops };
  await client.submit(signTransaction(body, [seed]), { wait: "final" });
}
