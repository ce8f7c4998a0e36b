/**
 * The addresses that the DHCP server gives. Time is handed in; nothing is on disk: a machine's address follows from its hardware address, so that after a
 * restart of the server the same machine gets the same one, and a renewal of an address that nobody else holds is always good.
 *
 * Rules: an address has one holder; a fixed one is nobody else's; offers that are not taken and leases that are over are free again.
 */
import { type Ipv4, type Mac, type Network, ipv4Number, ipv4Of, isWithin, macBytes, maskOf } from "#os/boot/addresses.ts";
import { DECLINED_MS, LEASE_SECONDS, OFFER_MS, POOL_ADDRESSES_MAX } from "./limits.ts";

type Holding = { readonly mac: Mac | null; readonly untilMs: number };
export type PoolRange = { readonly first: Ipv4; readonly last: Ipv4 };
const LEASE_MS = LEASE_SECONDS * 1_000;
/** Of a network without a told range: from its hundredth address on, or its upper half where it is smaller. */
const FIRST_DEFAULT = 100;
const COUNT_DEFAULT = 100;

const NONE: ReadonlyMap<Mac, Ipv4> = new Map();

export class AddressPool {
  readonly #first: number;
  readonly #count: number;
  readonly #fixedNow: () => ReadonlyMap<Mac, Ipv4>;
  readonly #own: Network;
  readonly #held = new Map<Ipv4, Holding>();

  /** `fixed` is asked each time: the operator may have named more machines since. */
  constructor(own: Network, range: PoolRange, fixed: () => ReadonlyMap<Mac, Ipv4> = () => NONE) {
    this.#own = own;
    this.#first = ipv4Number(range.first);
    this.#count = Math.min(ipv4Number(range.last) - this.#first + 1, POOL_ADDRESSES_MAX);
    this.#fixedNow = fixed;
  }

  /** An address for this machine, kept for it until the offer is over; null when all are given. */
  offer(mac: Mac, nowMs: number): Ipv4 | null {
    const address = this.#fixed.get(mac) ?? this.#heldBy(mac, nowMs) ?? this.#free(mac, nowMs);
    if (address !== null) this.#hold(address, { mac, untilMs: Math.max(nowMs + OFFER_MS, this.#held.get(address)?.mac === mac ? (this.#held.get(address)?.untilMs ?? 0) : 0) });
    return address;
  }

  /** True when the machine may have `address` from now on. */
  take(mac: Mac, address: Ipv4, nowMs: number): boolean {
    if (!this.#isFor(mac, address) || !this.#isFree(address, mac, nowMs)) return false;
    for (const [other, { mac: holder }] of this.#held) if (holder === mac && other !== address) this.#held.delete(other);
    this.#hold(address, { mac, untilMs: nowMs + LEASE_MS });
    return true;
  }

  release(mac: Mac, address: Ipv4): void {
    if (this.#held.get(address)?.mac === mac) this.#held.delete(address);
  }

  /** Somebody else uses it; only who was given it can say so. */
  decline(mac: Mac, address: Ipv4, nowMs: number): void {
    if (this.#held.get(address)?.mac === mac) this.#hold(address, { mac: null, untilMs: nowMs + DECLINED_MS });
  }

  /** Whose address it is now, or will be when it takes the offer. */
  holder(address: string, nowMs: number): Mac | null {
    const holding = [...this.#held].find(([held]) => held === address)?.[1];
    return holding !== undefined && holding.untilMs > nowMs ? holding.mac : null;
  }

  get #fixed(): ReadonlyMap<Mac, Ipv4> {
    return this.#fixedNow();
  }

  #isFor(mac: Mac, address: Ipv4): boolean {
    const fixed = this.#fixed.get(mac);
    if (fixed !== undefined) return fixed === address;
    const index = ipv4Number(address) - this.#first;
    return index >= 0 && index < this.#count && this.#isUsable(address);
  }

  #isUsable(address: Ipv4): boolean {
    const host = ipv4Number(address) & ~maskOf(this.#own.prefix);
    const isEdge = host === 0 || host >>> 0 === (~maskOf(this.#own.prefix) >>> 0);
    return address !== this.#own.address && isWithin(address, this.#own) && !isEdge && ![...this.#fixed.values()].includes(address);
  }

  #isFree(address: Ipv4, mac: Mac, nowMs: number): boolean {
    const holding = this.#held.get(address);
    return holding === undefined || holding.untilMs <= nowMs || holding.mac === mac;
  }

  #heldBy(mac: Mac, nowMs: number): Ipv4 | null {
    for (const [address, holding] of this.#held) if (holding.mac === mac && holding.untilMs > nowMs) return address;
    return null;
  }

  #free(mac: Mac, nowMs: number): Ipv4 | null {
    const start = macBytes(mac).reduce((sum, byte) => (Math.imul(sum, 31) + byte) >>> 0, 7);
    for (let turn = 0; turn < this.#count; turn++) {
      const address = ipv4Of(this.#first + ((start + turn) % this.#count));
      if (this.#isUsable(address) && this.#isFree(address, mac, nowMs)) return address;
    }
    return null;
  }

  #hold(address: Ipv4, holding: Holding): void {
    this.#held.set(address, holding);
  }
}

/** Where nothing is told: up to a hundred addresses of the interface's own network. */
export function defaultRange({ address, prefix }: Network): PoolRange {
  const size = (~maskOf(prefix) >>> 0) + 1;
  const base = (ipv4Number(address) & maskOf(prefix)) >>> 0;
  const first = size > FIRST_DEFAULT * 2 ? base + FIRST_DEFAULT : base + Math.max(1, size >>> 1);
  return { first: ipv4Of(first), last: ipv4Of(Math.min(first + COUNT_DEFAULT - 1, base + Math.max(1, size - 2))) };
}
