/**
 * `npm run bench:wake [-- --short]`: the first request to a workload on standby. One machine, as `npm start` runs it, with deployments of
 * components of their own, all on standby in the ledger. `notResident`: the runner was ended before, so that nothing of any is in memory;
 * `resident`: as an idle machine has them. Beside them a second request at once, and the time until the ledger has taken the waking. JSON on
 * stdout, p50 and p99 in ms of a client on a connection of its own.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { addressOf, addressText } from "#chain/codec/address.ts";
import { type Operation, type TransactionBody, deploymentIdOf, signTransaction } from "#chain/codec/transaction.ts";
import { publicKeyOf } from "#chain/crypto.ts";
import { chainId, fromHex } from "#chain/types.ts";
import { buildProject } from "#workloads/sdk/build.ts";
import { type MachineProcess, type Site, makeSite, startSiteMachine } from "#tools/chain/machines.ts";
import { ApiClient } from "#tools/cli/client.ts";
import { allUp, ask, until } from "./heal.ts";
import { variant } from "./inside.ts";
import { computer, quantile, rounded } from "./report.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const WAIT_MS_MAX = 180_000;
const TOKEN = 1_000_000_000n;

type Workload = { readonly id: string; readonly host: string };
const spread = (values: readonly number[]): object => ({ p50: rounded(quantile(values, 0.5)), p99: rounded(quantile(values, 0.99)), max: rounded(Math.max(...values)), count: values.length });

/** Deployments of one transaction each, with min 0. */
async function deploy(site: Site, { api }: MachineProcess, count: number): Promise<Workload[]> {
  const { seed } = site.accounts[0]!;
  const sender = addressOf(publicKeyOf(seed));
  const { component } = await buildProject(join(ROOT, "workloads", "examples", "hello"));
  await using client = new ApiClient({ url: api, signer: { address: sender, seed } });
  const chain = chainId(fromHex((await client.status()).chainId));
  const made: Workload[] = [];
  for (let n = 0; n < count; n++) {
    const { digest } = await client.uploadComponent(variant(component, n));
    const { nonce } = await client.account(addressText(sender));
    const [name, deploymentId] = [`wake${n}`, deploymentIdOf(sender, nonce, 0)];
    const ops: Operation[] = [
      { kind: "deploy", name, componentDigest: digest, configurationDigest: null, memoryMib: 16, cpuMillis: 10, concurrency: 8, replicas: 1, deposit: 10n * TOKEN, rateMax: 0n, isolation: 0 },
      { kind: "autoscale", deploymentId, min: 0, max: 1, metric: 2, target: 100, rateMax: 0n },
    ];
    const body: TransactionBody = { chainId: chain, sender, nonce, validUntilMs: BigInt(Date.now()) + 60_000n, fee: TOKEN / 1_000n, ops };
    await client.submit(signTransaction(body, [seed]), { wait: "final" });
    made.push({ id: deploymentId.toHex(), host: `${name}.${addressText(sender)}.localhost` });
  }
  return made;
}

type Seen = { readonly leases: readonly { readonly state: string; readonly standbyRate: string | null }[] };
const isOnStandby = async (api: string, { id }: Workload): Promise<boolean> =>
  ((await (await fetch(`${api}/v1/deployments/${id}`, { signal: AbortSignal.timeout(5_000) })).json()) as Seen).leases.every(({ state, standbyRate }) => state === "ready" && standbyRate !== null);
async function untilAll(what: string, { api }: MachineProcess, workloads: readonly Workload[], wanted: boolean): Promise<void> {
  for (const one of workloads) await until(`${one.host} is ${what}`, async () => ((await isOnStandby(api, one)) === wanted ? true : null), WAIT_MS_MAX);
}

async function timed(port: number, host: string): Promise<number> {
  const begunMs = performance.now();
  const status = await ask(port, host, 30_000);
  if (status !== 200) throw new Error(`${host} answers ${status}`);
  return performance.now() - begunMs;
}

/** One after the other, as first requests come. */
async function wakeAll(machine: MachineProcess, workloads: readonly Workload[]): Promise<{ first: object; second: object; untilLedgerMs: number }> {
  const [first, second]: [number[], number[]] = [[], []];
  const begunMs = performance.now();
  for (const { host } of workloads) {
    first.push(await timed(machine.httpPort, host));
    second.push(await timed(machine.httpPort, host));
  }
  await untilAll("awake", machine, workloads, false);
  return { first: spread(first), second: spread(second), untilLedgerMs: Math.round(performance.now() - begunMs) };
}

const { values } = parseArgs({ options: { short: { type: "boolean", default: false } } });
const count = values.short ? 10 : 100;
const about = await computer();
const directory = mkdtempSync(join(tmpdir(), "godwit-wake-"));
const site = await makeSite(directory, 1);
const machine = await startSiteMachine(site, 0);
try {
  await allUp([machine], 1);
  const workloads = await deploy(site, machine, count);
  await untilAll("on standby", machine, workloads, true);
  const { runner } = (await (await fetch(`${machine.api}/v1/status`)).json()) as { runner: { pid: number } };
  process.kill(runner.pid, "SIGKILL");
  await until("there is another runner", async () => (((await (await fetch(`${machine.api}/v1/status`)).json()) as { runner: { pid: number | null } }).runner.pid === runner.pid ? null : true), WAIT_MS_MAX);
  // The pages of the code files are in the kernel's cache, as they are on a machine that keeps its disk in memory.
  const notResident = await wakeAll(machine, workloads);
  await untilAll("on standby", machine, workloads, true);
  const resident = await wakeAll(machine, workloads);
  console.log(JSON.stringify({ bench: "wake", computer: about, workloads: count, notResident, resident }, null, 1));
} finally {
  await machine.stop("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
}
