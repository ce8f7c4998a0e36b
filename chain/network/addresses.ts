/**
 * Where peers can be dialled, and when to try: the operator's list, which is never given up, and what validators and this LAN
 * (mdns) tell of. An address is dialled while nobody known to be there is connected.
 */
import { isIPv4, isIPv6 } from "node:net";
import { ADDRESSES_MAX, DIALS_IN_VAIN_MAX, REDIAL_MS_MAX, REDIAL_MS_MIN } from "./limits.ts";
import type { PeerId } from "./transport.ts";

type Entry = { readonly isFixed: boolean; peer: PeerId | null; nextMs: number; delayMs: number; inVain: number; isDialling: boolean };

export class Addresses {
  readonly #entries = new Map<string, Entry>();

  constructor(fixed: readonly string[]) {
    for (const address of fixed) this.#entries.set(address, newEntry(true));
  }
  /** Told by somebody; `peer`: who says that it is its own. */
  learn(address: string, peer: PeerId | null): void {
    const entry = this.#entries.get(address);
    if (entry) {
      if (peer !== null) entry.peer = peer;
    } else if (this.#entries.size < ADDRESSES_MAX && isDialable(address)) this.#entries.set(address, { ...newEntry(false), peer });
  }
  /** Those to dial now. */
  due(nowMs: number, countMax: number, isConnected: (peer: PeerId) => boolean, isWanted: (isFixed: boolean) => boolean): string[] {
    const due: string[] = [];
    let dialling = 0;
    for (const entry of this.#entries.values()) if (entry.isDialling) dialling++;
    for (const [address, entry] of this.#entries) {
      if (entry.isDialling || entry.nextMs > nowMs || !isWanted(entry.isFixed) || (entry.peer !== null && isConnected(entry.peer))) continue;
      if (dialling + due.length >= countMax) break;
      entry.isDialling = true;
      due.push(address);
    }
    return due;
  }
  /** What became of a dial. */
  dialled(address: string, nowMs: number, isReached: boolean): void {
    const entry = this.#entries.get(address);
    if (!entry) return;
    entry.isDialling = false;
    entry.inVain = isReached ? 0 : entry.inVain + 1;
    entry.nextMs = nowMs + entry.delayMs;
    entry.delayMs = isReached ? REDIAL_MS_MIN : Math.min(REDIAL_MS_MAX, 2 * entry.delayMs);
    if (!entry.isFixed && entry.inVain >= DIALS_IN_VAIN_MAX) this.#entries.delete(address);
  }
  /** Somebody was found at an address: it need not be dialled while that one is connected. */
  reached(address: string, peer: PeerId): void {
    const entry = this.#entries.get(address);
    if (entry) entry.peer = peer;
  }
  /** The peer is gone: its addresses are tried at once. */
  lost(peer: PeerId, nowMs: number): void {
    for (const entry of this.#entries.values()) {
      if (entry.peer !== peer) continue;
      entry.delayMs = REDIAL_MS_MIN;
      entry.nextMs = nowMs;
    }
  }
  /** The IP addresses among them. */
  hosts(): string[] {
    return [...this.#entries.keys()].flatMap((address) => hostOf(address) ?? []);
  }
  of(peers: ReadonlySet<PeerId>): string[] {
    return [...this.#entries].filter(([, { peer }]) => peer !== null && peers.has(peer)).map(([address]) => address);
  }
}

const newEntry = (isFixed: boolean): Entry => ({ isFixed, peer: null, nextMs: 0, delayMs: REDIAL_MS_MIN, inVain: 0, isDialling: false });

const MULTIADDRESS = /^\/(ip4|ip6)\/([0-9a-fA-F:.]+)\/tcp\/(\d{1,5})$/;

/** Only plain TCP at a number: a name would have us ask a resolver what a stranger wants asked. */
export function isDialable(address: string): boolean {
  const [, family, host, port] = MULTIADDRESS.exec(address) ?? [];
  if (host === undefined || Number(port) < 1 || Number(port) > 65_535) return false;
  return family === "ip4" ? isIPv4(host) && host !== "0.0.0.0" : isIPv6(host) && host !== "::";
}
/** The IP address of a multiaddress; null when it has a name. */
export const hostOf = (address: string): string | null => /^\/ip[46]\/([0-9a-fA-F:.]+)\//.exec(address)?.[1] ?? null;
export const isLoopback = (address: string): boolean => address.startsWith("/ip4/127.") || address.startsWith("/ip6/::1/");

/** `HOST:PORT`, as operators write it, as a multiaddress; HOST may be a name, or an IPv6 address in brackets. */
export function multiaddressOf(hostAndPort: string): string | null {
  const [, bracketed, plain, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]/]+)):(\d{1,5})$/.exec(hostAndPort) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || Number(port) > 65_535) return null;
  if (bracketed !== undefined) return isIPv6(bracketed) ? `/ip6/${bracketed}/tcp/${port}` : null;
  return isIPv4(host) ? `/ip4/${host}/tcp/${port}` : /^[a-zA-Z0-9.-]+$/.test(host) ? `/dns/${host}/tcp/${port}` : null;
}
