/**
 * A light load on a devnet while faults befall it, and what it saw: requests at every replica that the chain calls ready on a machine
 * that is well, and transfers that wait until they are final.
 *
 * A request fails a promise only if its machine was well before it and after it, and the chain said `ready` of it before and after:
 * what a machine does in its last moment is not a surviving replica's. Of a new version's replicas that counts from its promotion on, and
 * a moment later: a machine acts on it when it has seen the block.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { addressText } from "#chain/codec/address.ts";
import { type TransactionBody, signTransaction } from "#chain/codec/transaction.ts";
import { chainId, fromHex } from "#chain/types.ts";
import { type Deployed, ask, readyOn } from "#tools/bench/heal.ts";
import type { Site } from "#tools/chain/machines.ts";
import { ApiClient } from "#tools/cli/client.ts";

const TOKEN = 1_000_000_000n;
const REQUEST_EVERY_MS = 50;
const REQUEST_MS_MAX = 5_000;
const LOOK_EVERY_MS = 200;
/** So often in a row before a machine is asked. */
const STEADY_LOOKS = 3;
const TRANSFER_EVERY_MS = 500;
/** A transfer that is not final by then is asked for no more; whether it still becomes so does not matter here. */
const TRANSFER_MS_MAX = 15_000;

export type Place = { readonly api: string; readonly httpPort: number };
export type FailedRequest = { readonly atMs: number; readonly machine: number; readonly status: number };

export class Load {
  readonly failed: FailedRequest[] = [];
  /** Transfers that were said to be final, and in which block. */
  readonly final: Map<string, number> = new Map();
  requests: number = 0;
  readonly #site: Site;
  readonly #places: readonly Place[];
  readonly #deployed: Deployed;
  readonly #well: Set<number>;
  readonly #startedMs: number = performance.now();
  /** By machine, in how many looks on end it was ready. */
  #ready: ReadonlyMap<number, number> = new Map();
  #looks = 0;
  #isOver = false;
  #loops: readonly Promise<void>[] = [];

  constructor(site: Site, places: readonly Place[], deployed: Deployed) {
    [this.#site, this.#places, this.#deployed, this.#well] = [site, places, deployed, new Set(places.keys())];
  }
  start(): void {
    this.#loops = [this.#look(), this.#transfer(), ...this.#places.keys().map((index) => this.#request(index))];
  }
  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#loops);
  }
  /** These are not well from now on; or are again. */
  spare(indices: readonly number[]): void {
    for (const index of indices) this.#well.delete(index);
  }
  count(indices: readonly number[]): void {
    for (const index of indices) this.#well.add(index);
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
      const begun = this.#looks + 1;
      const ready = await leasesReady(this.#site, witness.api, this.#deployed).catch(() => null);
      if (ready === null) continue;
      [this.#ready, this.#looks] = [new Map([...ready].map((index) => [index, (this.#ready.get(index) ?? 0) + 1])), begun];
    }
  }
  #isServing(index: number): boolean {
    return this.#well.has(index) && (this.#ready.get(index) ?? 0) >= STEADY_LOOKS;
  }
  async #request(index: number): Promise<void> {
    for (; !this.#isOver; await sleep(REQUEST_EVERY_MS)) {
      if (!this.#isServing(index)) continue;
      this.requests += 1;
      const status = await ask(this.#places[index]!.httpPort, this.#deployed.host, REQUEST_MS_MAX);
      if (status === 200) continue;
      // One look that began after the answer.
      const endMs = performance.now() + REQUEST_MS_MAX;
      for (const after = this.#looks + 2; this.#looks < after && performance.now() < endMs && !this.#isOver;) await sleep(LOOK_EVERY_MS);
      if (this.#isServing(index)) this.failed.push({ atMs: this.elapsedMs, machine: index, status });
    }
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

/** Machines that have a ready replica, whether all are ready or not. */
async function leasesReady(site: Site, api: string, { id }: Deployed): Promise<ReadonlySet<number>> {
  const answer = await fetch(`${api}/v1/deployments/${id}`, { signal: AbortSignal.timeout(2_000) });
  const { leases, revision: serving } = (await answer.json()) as { revision: number; leases: readonly { machine: string | null; state: string; revision: number }[] };
  return new Set(leases.flatMap(({ machine, state, revision }) => (state === "ready" && revision === serving ? [site.machines.findIndex((one) => addressText(one) === machine)] : [])));
}

/** Places of all replicas, once all are ready and each answers there; null: not yet. */
export async function serving(site: Site, places: readonly Place[], api: string, deployed: Deployed): Promise<readonly number[] | null> {
  const ready = await readyOn(site, api, deployed);
  if (ready === null) return null;
  const statuses = await Promise.all(ready.map((index) => ask(places[index]!.httpPort, deployed.host)));
  return statuses.every((status) => status === 200) ? ready.toSorted((a, b) => a - b) : null;
}
