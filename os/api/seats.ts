/**
 * Who gives way where something is held for long by a bounded number of clients: connections, streams, uploads that come.
 *
 * Rule: when all places are taken, one more of a client that has fewer than the client with most takes the place that this one has held
 * longest; a client with as many as any is refused. So a stranger who takes all keeps nobody out, and one who comes again and again takes
 * from nobody with fewer. A client is an account where the request is signed, else an address.
 */
import { isIPv6 } from "node:net";

/** Of holders in the order in which they came, the one that makes room for `client`; null: it has as many itself. */
export function givesWay<Holder extends { readonly client: string }>(holders: readonly Holder[], client: string): Holder | null {
  const counts = new Map<string, number>();
  for (const holder of holders) counts.set(holder.client, (counts.get(holder.client) ?? 0) + 1);
  const most = Math.max(...counts.values());
  if ((counts.get(client) ?? 0) >= most) return null;
  return holders.find((holder) => counts.get(holder.client) === most) ?? null;
}

/** Whoever has an IPv6 address has a whole /64 of them. */
export function clientOf(address: string | undefined): string {
  const plain = (address ?? "").replace(/^::ffff:(?=\d+\.)/, "");
  if (!isIPv6(plain)) return plain;
  const [head = "", tail] = plain.replace(/%.*$/, "").split("::");
  const first = head === "" ? [] : head.split(":");
  const last = tail === undefined || tail === "" ? [] : tail.split(":");
  return [...first, ...Array.from({ length: tail === undefined ? 0 : 8 - first.length - last.length }, () => "0"), ...last].slice(0, 4).join(":");
}

/** `leave`: null where the place is its own until it gives it back. */
type Seat = { readonly client: string; readonly leave: (() => void) | null };

export class Seats {
  readonly ofOneMax: number;
  readonly #countMax: number;
  readonly #taken: Seat[] = [];

  constructor(countMax: number, ofOneMax: number = countMax) {
    [this.#countMax, this.ofOneMax] = [countMax, ofOneMax];
  }

  countOf(client: string): number {
    return this.#taken.filter((seat) => seat.client === client).length;
  }

  /** Gives the place back; `leave` is called when it is another's. Null: there is none for this client. */
  take(client: string, leave: Seat["leave"]): (() => void) | null {
    if (this.countOf(client) >= this.ofOneMax) return null;
    if (this.#taken.length >= this.#countMax) {
      const other = givesWay(this.#taken, client);
      if (other === null || other.leave === null) return null;
      this.#giveBack(other);
      other.leave();
    }
    const seat: Seat = { client, leave };
    this.#taken.push(seat);
    return () => this.#giveBack(seat);
  }

  #giveBack(seat: Seat): void {
    const at = this.#taken.indexOf(seat);
    if (at >= 0) this.#taken.splice(at, 1);
  }
}
