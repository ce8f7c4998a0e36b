/**
 * `npm run bench:heal [-- --rounds N] [--short]`: from kill -9 of a machine that serves a workload under load, and validates, to the
 * workload's first answer on another one. Four machines with a validator each, as processes on loopback; each round kills whoever has
 * the lease, asks the three that are left without pause, and brings the dead one back. Prints JSON: median, p99, every round.
 *
 * Before the next round the machine that came back must be up, and its witness over its grace (L8), as on a site that is well.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { addressOf, addressText } from "#chain/codec/address.ts";
import { type Operation, type TransactionBody, deploymentIdOf, signTransaction } from "#chain/codec/transaction.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { GRACE_MS } from "#chain/liveness/rules.ts";
import { type Address, chainId, fromHex } from "#chain/types.ts";
import { buildProject } from "#workloads/sdk/build.ts";
import { type MachineProcess, type Site, makeSite, startSiteMachine } from "#tools/chain/machines.ts";
import { ApiClient } from "#tools/cli/client.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const MACHINES = 4;
const ROUND_MS_MAX = 30_000;
const WELL_MS_MAX = 60_000;
const TOKEN = 1_000_000_000n;
const NAME = "heal";

export type Deployed = { readonly id: string; readonly host: string };

/** 200 or another status; 0 where nobody answers. */
export function ask(port: number, host: string, timeoutMs: number = 1_000): Promise<number> {
  return new Promise((resolve) => {
    const call = request({ host: "127.0.0.1", port, headers: { host }, agent: false, timeout: timeoutMs }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode ?? 0)).on("error", () => resolve(0));
    });
    call.on("timeout", () => call.destroy()).on("error", () => resolve(0)).end();
  });
}

export async function until<T>(what: string, look: () => Promise<T | null>, timeoutMs: number): Promise<T> {
  for (const endMs = performance.now() + timeoutMs; performance.now() < endMs; await sleep(25)) {
    const found = await look().catch(() => null);
    if (found !== null) return found;
  }
  throw new Error(`Waited ${timeoutMs} ms in vain: ${what}`);
}

/** The component on every machine, so that what is measured is the grid and not a copy; and one deployment of it, by the first account. `more`: what is done with it in the same transaction. */
export async function deployTo(site: Site, machines: readonly Pick<MachineProcess, "api">[], replicas: number = 1, more: (deploymentId: Address) => readonly Operation[] = () => []): Promise<Deployed> {
  const { seed } = site.accounts[0]!;
  const sender = addressOf(publicKeyOf(seed));
  const { component } = await buildProject(join(ROOT, "workloads", "examples", "hello"));
  const digests = await Promise.all(machines.map(async ({ api }) => {
    await using client = new ApiClient({ url: api, signer: { address: sender, seed } });
    return (await client.uploadComponent(component)).digest;
  }));
  await using client = new ApiClient({ url: machines[0]!.api, signer: { address: sender, seed } });
  const status = await client.status();
  const { nonce } = await client.account(addressText(sender));
  const body: TransactionBody = {
    chainId: chainId(fromHex(status.chainId)), sender, nonce, validUntilMs: BigInt(Date.now()) + 60_000n, fee: TOKEN / 1_000n,
    ops: [{ kind: "deploy", name: NAME, componentDigest: digests[0]!, configurationDigest: null, memoryMib: 64, cpuMillis: 10, concurrency: 64, replicas, deposit: 100n * TOKEN, rateMax: 0n, isolation: 0 }, ...more(deploymentIdOf(sender, nonce, 0))],
  };
  await client.submit(signTransaction(body, [seed]), { wait: "final" });
  return { id: deploymentIdOf(sender, nonce, 0).toHex(), host: `${NAME}.${addressText(sender)}.localhost` };
}

type Seen = { readonly leases: readonly { readonly machine: string | null; readonly state: string }[] };
/** Places of the machines that have a ready replica; null when not all are. */
export async function readyOn(site: Site, api: string, { id }: Deployed): Promise<number[] | null> {
  const { leases } = (await (await fetch(`${api}/v1/deployments/${id}`, { signal: AbortSignal.timeout(2_000) })).json()) as Seen;
  if (leases.some(({ state }) => state !== "ready")) return null;
  return leases.map(({ machine }) => site.machines.findIndex((one) => addressText(one) === machine));
}

export const upCount = async (api: string): Promise<number> =>
  ((await (await fetch(`${api}/v1/machines`, { signal: AbortSignal.timeout(2_000) })).json()) as { machines: { state: string }[] }).machines.filter(({ state }) => state === "up").length;

export const allUp = (machines: readonly Pick<MachineProcess, "api">[], count: number): Promise<true> =>
  until(`${count} machines are up`, async () => ((await Promise.all(machines.map(({ api }) => upCount(api)))).every((up) => up === count) ? true : null), WELL_MS_MAX);

/** Kills the machine that serves, and waits for another's answer. */
export async function heal(site: Site, machines: MachineProcess[], deployed: Deployed): Promise<{ place: number; answerMs: number }> {
  const { host } = deployed;
  const [place] = await until("the replica is ready", () => readyOn(site, machines[0]!.api, deployed), WELL_MS_MAX);
  const served = machines[place!]!;
  await until("it serves", async () => ((await ask(served.httpPort, host)) === 200 ? true : null), WELL_MS_MAX);
  // Under load, up to its end.
  let isOver = false;
  const load = Array.from({ length: 8 }, async () => { while (!isOver) if ((await ask(served.httpPort, host)) !== 200) await sleep(10); });
  await sleep(1_000);
  const killedMs = performance.now();
  await served.stop("SIGKILL");
  const others = machines.filter((_, index) => index !== place);
  const answers = others.map(async ({ httpPort }) => {
    while (!isOver && performance.now() - killedMs < ROUND_MS_MAX) {
      if ((await ask(httpPort, host)) === 200) return performance.now() - killedMs;
      await sleep(5);
    }
    throw new Error("no answer");
  });
  try {
    return { place: place!, answerMs: await Promise.any(answers) };
  } catch (error) {
    throw new Error(`${host} was not served again within ${ROUND_MS_MAX} ms:\n${others.map((one) => one.output()).join("\n")}`, { cause: error });
  } finally {
    isOver = true;
    await Promise.all(load);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { rounds: { type: "string" }, short: { type: "boolean", default: false } } });
  const rounds = Number(values.rounds ?? (values.short ? 3 : 20));
  const directory = mkdtempSync(join(tmpdir(), "godwit-heal-"));
  const site = await makeSite(directory, MACHINES);
  const machines = await Promise.all(site.ports.map((_, index) => startSiteMachine(site, index)));
  try {
    await allUp(machines, MACHINES);
    const deployed = await deployTo(site, machines);
    const roundsMs: number[] = [];
    await sleep(GRACE_MS);
    for (let round = 0; round < rounds; round++) {
      const { place, answerMs } = await heal(site, machines, deployed);
      roundsMs.push(answerMs);
      process.stderr.write(`round ${round}: ${Math.round(answerMs)} ms\n`);
      if (round === rounds - 1) break;
      machines[place] = await startSiteMachine(site, place);
      await allUp(machines, MACHINES);
      await sleep(GRACE_MS + 2_000);
    }
    const sorted = roundsMs.toSorted((a, b) => a - b);
    const at = (share: number): number => Math.round(sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)]!);
    console.log(JSON.stringify({ bench: "heal", cores: cpus().length, node: process.version, killToAnswerMs: { p50: at(0.5), p99: at(0.99), max: at(1) }, roundsMs: roundsMs.map(Math.round) }, null, 2));
  } finally {
    await Promise.all(machines.map((one) => one.stop("SIGKILL")));
    rmSync(directory, { recursive: true, force: true });
  }
}

if (import.meta.main) await main();
