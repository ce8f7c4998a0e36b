/**
 * What a runner is told of other machines: their keys, what they run, and its own key. It is kept here, because the next process is told
 * the same; who may be a peer and where it listens is found out by whoever tells.
 *
 * A runner takes hops under keys that it was told, and passes requests on to machines of its list, over sockets that are dialled here.
 */
import type { HopCounts, PeerKey, Places, ToRunner } from "./control.ts";
import type { Dialled } from "./dial.ts";
import { HOP_ADDRESSES_TRIED_MAX, HOP_CONNECT_MS_MAX, HOP_DIALS_MAX, HOP_DIALS_PER_PEER_MAX, PLACES_PER_MESSAGE_MAX } from "./limits.ts";
import type { Sockets } from "./runner.ts";

export type Endpoint = { readonly address: string; readonly port: number };
/** Where a machine can be reached; none: it is not known, or not any more. */
export type Reach = (peer: string) => readonly Endpoint[];
export type Elsewhere = {
  /** The seed of the ed25519 key under which this machine hops. */
  identify(seed: Uint8Array): Promise<void>;
  /** Machines that may hop here and can be hopped to. Whoever is removed loses its connections at once. */
  peers(set: readonly PeerKey[], remove: readonly string[]): Promise<void>;
  /** By host: which machines have a replica. Requests for a host that is not here and not in it are unknown. */
  places(set: readonly Places[], remove: readonly string[]): Promise<void>;
  /** What became of hops since the present process began. */
  counts(): Promise<HopCounts>;
};

export class ElsewhereKept {
  #seed: string | null = null;
  readonly #peers = new Map<string, PeerKey>();
  readonly #places = new Map<string, Places>();

  identify(seed: Uint8Array): ToRunner {
    this.#seed = seed.toHex();
    return { type: "identity", call: 0, seed: this.#seed };
  }
  peers(set: readonly PeerKey[], remove: readonly string[]): ToRunner {
    for (const id of remove) this.#peers.delete(id);
    for (const peer of set) this.#peers.set(peer.id, peer);
    return { type: "peers", call: 0, set, remove };
  }
  places(set: readonly Places[], remove: readonly string[]): ToRunner[] {
    for (const host of remove) this.#places.delete(host);
    for (const places of set) for (const host of places.hosts) this.#places.set(host, { ...places, hosts: [host] });
    const parts = Array.from({ length: Math.max(1, Math.ceil(set.length / PLACES_PER_MESSAGE_MAX)) }, (_, n) => set.slice(n * PLACES_PER_MESSAGE_MAX, (n + 1) * PLACES_PER_MESSAGE_MAX));
    return parts.map((part, n) => ({ type: "elsewhere", call: 0, set: part, remove: n === 0 ? remove : [] }));
  }
  /** For a new process. */
  all(): ToRunner[] {
    return [
      ...(this.#seed === null ? [] : [{ type: "identity", call: 0, seed: this.#seed } as const]),
      ...(this.#peers.size === 0 ? [] : [{ type: "peers", call: 0, set: [...this.#peers.values()], remove: [] } as const]),
      ...(this.#places.size === 0 ? [] : this.places([...this.#places.values()], [])),
    ];
  }
}

/** Dials peers by where they are said to listen, one address after the other; so many at once, and of them so many to one. */
export function createPeerDial({ dial }: Pick<Sockets, "dial">, reach: Reach = () => []): (peer: string, timeoutMs: number) => Promise<Dialled> {
  let dialling = 0;
  const ofPeer = new Map<string, number>();
  return async (peer, timeoutMs) => {
    const endpoints = reach(peer).slice(0, HOP_ADDRESSES_TRIED_MAX);
    if (endpoints.length === 0) return { fd: -1, code: "denied" };
    const already = ofPeer.get(peer) ?? 0;
    if (dialling >= HOP_DIALS_MAX || already >= HOP_DIALS_PER_PEER_MAX) return { fd: -1, code: "too_many" };
    dialling += 1;
    ofPeer.set(peer, already + 1);
    try {
      const endMs = performance.now() + Math.min(Math.max(timeoutMs, 0), HOP_CONNECT_MS_MAX);
      for (const { address, port } of endpoints) {
        const leftMs = Math.floor(endMs - performance.now());
        if (leftMs <= 0) break;
        const { fd } = await dial(address, port, leftMs);
        if (fd >= 0) return { fd, code: "" };
      }
      return { fd: -1, code: "unreachable" };
    } finally {
      dialling -= 1;
      const left = (ofPeer.get(peer) ?? 1) - 1;
      if (left === 0) ofPeer.delete(peer);
      else ofPeer.set(peer, left);
    }
  };
}
