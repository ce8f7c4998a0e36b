/**
 * A light load on a devnet while faults befall it, and what it saw: requests at every machine that is well, whether it runs the workload or
 * passes them on, and transfers that wait until they are final.
 *
 * A request fails a promise only if the machine that took it was well all the time until its answer, and if all the time, by what the chain says, a
 * replica was ready on one that is well: what a machine does in its last moment is not a surviving replica's. It may take long: what it waits for
 * comes back, or goes down and is left out.
 */
import { request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { addressText } from "#chain/codec/address.ts";
import { type TransactionBody, signTransaction } from "#chain/codec/transaction.ts";
import { chainId, fromHex } from "#chain/types.ts";
import { type Deployed, ask, readyOn } from "#tools/bench/heal.ts";
import type { Site } from "#tools/chain/machines.ts";
import { ApiClient } from "#tools/cli/client.ts";

const TOKEN = 1_000_000_000n;
const REQUEST_EVERY_MS = 50;
/** Clients of each machine: one of them may wait. */
const CLIENTS_PER_MACHINE = 2;
/** Longer than a halt of a minute, for which one waits whose replica stands still. */
const REQUEST_MS_MAX = 100_000;
const LOOK_EVERY_MS = 200;
/** What a look may take until it is none. */
const LOOK_MS_MAX = 2_000;
const TRANSFER_EVERY_MS = 500;
/** A transfer that is not final by then is asked for no more; whether it still becomes so does not matter here. */
const TRANSFER_MS_MAX = 15_000;

export type Place = { readonly api: string; readonly httpPort: number };
export type FailedRequest = { readonly atMs: number; readonly machine: number; readonly status: number; readonly code: string | null; readonly tookMs: number };
/** One request that is on its way. */
type Asked = { readonly machine: number; readonly beganMs: number; /** Its machine was not well, or there was no replica, for a moment. */ isExcused: boolean };

export class Load {
  readonly failed: FailedRequest[] = [];
  /** Transfers that were said to be final, and in which block. */
  readonly final: Map<string, number> = new Map();
  requests: number = 0;
  /** Of those that were answered and counted; `atMs` is its end. */
  slowest: { readonly tookMs: number; readonly atMs: number; readonly machine: number } = { tookMs: 0, atMs: 0, machine: 0 };
  readonly #site: Site;
  readonly #places: readonly Place[];
  readonly #deployed: Deployed;
  readonly #well: Set<number>;
  readonly #startedMs: number = performance.now();
  /** Machines with a ready replica, as of the last look. */
  #ready: ReadonlySet<number> = new Set();
  #looks = 0;
  readonly #asked = new Set<Asked>();
  #isOver = false;
  #loops: readonly Promise<void>[] = [];

  constructor(site: Site, places: readonly Place[], deployed: Deployed) {
    [this.#site, this.#places, this.#deployed, this.#well] = [site, places, deployed, new Set(places.keys())];
  }
  start(): void {
    const clients = [...this.#places.keys()].flatMap((index) => Array.from({ length: CLIENTS_PER_MACHINE }, () => this.#request(index)));
    this.#loops = [this.#look(), this.#transfer(), ...clients];
  }
  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#loops);
  }
  /** These are not well from now on; or are again. */
  spare(indices: readonly number[]): void {
    for (const index of indices) this.#well.delete(index);
    this.#excuse();
  }
  count(indices: readonly number[]): void {
    for (const index of indices) this.#well.add(index);
  }
  /** All that is on its way now has its answer, and what failed of it is known. */
  async settled(): Promise<void> {
    const then = [...this.#asked];
    while (then.some((one) => this.#asked.has(one)) && !this.#isOver) await sleep(REQUEST_EVERY_MS);
  }
  /** One that is well; undefined: none is. */
  get witness(): Place | undefined {
    return this.#places[[...this.#well].toSorted((a, b) => a - b)[0] ?? -1];
  }
  get elapsedMs(): number {
    return Math.round(performance.now() - this.#startedMs);
  }

  async #look(): Promise<void> {
    for (; !this.#isOver; await sleep(LOOK_EVERY_MS)) {
      const { witness } = this;
      if (witness === undefined) continue;
      const ready = await leasesReady(this.#site, witness.api, this.#deployed).catch(() => null);
      if (ready === null) continue;
      this.#ready = ready;
      this.#looks += 1;
      this.#excuse();
    }
  }
  get #survives(): boolean {
    return [...this.#ready].some((index) => this.#well.has(index));
  }
  #excuse(): void {
    const { size } = this.#well;
    for (const one of this.#asked) if (size === 0 || !this.#survives || !this.#well.has(one.machine)) one.isExcused = true;
  }
  async #request(machine: number): Promise<void> {
    for (; !this.#isOver; await sleep(REQUEST_EVERY_MS)) {
      if (!this.#well.has(machine) || !this.#survives) continue;
      this.requests += 1;
      const one: Asked = { machine, beganMs: performance.now(), isExcused: false };
      this.#asked.add(one);
      const { status, code } = await askWhy(this.#places[machine]!.httpPort, this.#deployed.host, REQUEST_MS_MAX);
      const tookMs = Math.round(performance.now() - one.beganMs);
      if (status !== 200) await this.#lookAfter();
      else if (tookMs > this.slowest.tookMs && !one.isExcused) this.slowest = { tookMs, atMs: this.elapsedMs, machine };
      this.#asked.delete(one);
      if (status !== 200 && !one.isExcused) this.failed.push({ atMs: this.elapsedMs, machine, status, code, tookMs });
    }
  }
  /** One look that began after the answer. */
  async #lookAfter(): Promise<void> {
    const endMs = performance.now() + LOOK_MS_MAX + LOOK_EVERY_MS;
    for (const after = this.#looks + 2; this.#looks < after && performance.now() < endMs && !this.#isOver;) await sleep(LOOK_EVERY_MS);
  }
  async #transfer(): Promise<void> {
    const { address: sender, seed } = this.#site.accounts[1 % this.#site.accounts.length]!;
    const to = this.#site.accounts[0]!.address;
    for (; !this.#isOver; await sleep(TRANSFER_EVERY_MS)) {
      const { witness } = this;
      if (witness === undefined) continue;
      await using client = new ApiClient({ url: witness.api, signer: { address: sender, seed }, signal: AbortSignal.timeout(TRANSFER_MS_MAX) });
      try {
        const [status, { nonce }] = await Promise.all([client.status(), client.account(addressText(sender))]);
        const body: TransactionBody = {
          chainId: chainId(fromHex(status.chainId)), sender, nonce, validUntilMs: BigInt(Date.now() + TRANSFER_MS_MAX), fee: TOKEN / 1_000n, ops: [{ kind: "transfer", to, amount: 1n }],
        };
        const { txid, height } = await client.submit(signTransaction(body, [seed]), { wait: "final" });
        if (typeof height === "number") this.final.set(txid, height);
      } catch {
        // Nobody promised that one: its machine is gone, or the chain stands still.
      }
    }
  }
}

/** As `ask`, with the code of a refusal. */
function askWhy(port: number, host: string, timeoutMs: number): Promise<{ readonly status: number; readonly code: string | null }> {
  return new Promise((resolve) => {
    const call = request({ host: "127.0.0.1", port, headers: { host }, agent: false, timeout: timeoutMs }, (answer) => {
      let text = "";
      const end = (status: number): void => resolve({ status, code: /"code":"(\w+)"/.exec(text)?.[1] ?? null });
      answer.setEncoding("utf8").on("data", (part: string) => (text += part)).on("end", () => end(answer.statusCode ?? 0)).on("error", () => end(0));
    });
    call.on("timeout", () => call.destroy(new Error("timeout"))).on("error", (error: NodeJS.ErrnoException) => resolve({ status: 0, code: error.code ?? error.message })).end();
  });
}

/** Machines that have a ready replica of what serves, whether all are ready or not. */
async function leasesReady(site: Site, api: string, { id }: Deployed): Promise<ReadonlySet<number>> {
  const answer = await fetch(`${api}/v1/deployments/${id}`, { signal: AbortSignal.timeout(LOOK_MS_MAX) });
  const { leases, revision: serving } = (await answer.json()) as { revision: number; leases: readonly { machine: string | null; state: string; revision: number }[] };
  return new Set(leases.flatMap(({ machine, state, revision }) => ((state === "ready" || state === "moving") && revision === serving ? [site.machines.findIndex((one) => addressText(one) === machine)] : [])));
}

/** Places of all replicas, once all are ready and each answers there; null: not yet. */
export async function serving(site: Site, places: readonly Place[], api: string, deployed: Deployed): Promise<readonly number[] | null> {
  const ready = await readyOn(site, api, deployed);
  if (ready === null) return null;
  const statuses = await Promise.all(ready.map((index) => ask(places[index]!.httpPort, deployed.host)));
  return statuses.every((status) => status === 200) ? ready.toSorted((a, b) => a - b) : null;
}
