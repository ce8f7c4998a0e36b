/** Runners that know each other, each on a port of its own: several machines as far as the ingress is concerned. */
import type { TestContext } from "node:test";
import { publicKeyOf } from "#chain/crypto.ts";
import type { Elsewhere, Endpoint, Part, RunnerOptions } from "#sandbox/sandbox.ts";
import { type Serving, serving } from "./serving.ts";

export type Peer = Serving & { readonly id: string; readonly seed: Uint8Array; readonly elsewhere: Elsewhere; readonly endpoints: Endpoint[] };
export const HOST = "a.localhost";
const keyOf = (seed: Uint8Array): string => publicKeyOf(seed).toHex();
export const idOf = (n: number): string => (n + 1).toString(16).padStart(40, "0");

/** `reach`: where they think that others are; what is changed in it holds from then on. */
export async function peers(t: TestContext, cacheDirectory: string, count: number, options: Partial<RunnerOptions> = {}): Promise<Peer[]> {
  const all: Peer[] = [];
  const reach = (id: string): readonly Endpoint[] => all.find((one) => one.id === id)?.endpoints ?? [];
  for (let n = 0; n < count; n++) {
    const made = await serving(t, cacheDirectory, { ...options, reach });
    const seed = new Uint8Array(32).fill(n + 1);
    all.push({ ...made, id: idOf(n), seed, elsewhere: made.runner.elsewhere!, endpoints: [{ address: "127.0.0.1", port: made.port }] });
  }
  await Promise.all(all.map(async ({ elsewhere, seed }) => {
    await elsewhere.identify(seed);
    await elsewhere.peers(all.filter((one) => one.seed !== seed).map((one) => ({ id: one.id, key: keyOf(one.seed) })), []);
  }));
  return all;
}

/** What a machine is told of one host: which others have it, and whether it has it itself. */
export const part = (others: readonly { readonly id: string }[], here = false, weight = 1000, to: string | null = null): Part => ({ weight, to, here, peers: others.map(({ id }) => id) });
export const place = (peer: Peer, parts: readonly Part[], diverts = false, host: string = HOST): Promise<void> => peer.elsewhere.places([{ hosts: [host], diverts, parts }], []);
