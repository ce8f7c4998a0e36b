/**
 * Who booted: one row for each hardware address that asked for anything, how far it has come, when it was last heard. In memory.
 */
import type { Ipv4, Mac } from "#os/boot/addresses.ts";
import { MACHINES_MAX } from "./limits.ts";
import type { Way } from "./way.ts";

/** In the order of a boot. */
export type Stage = "asked" | "loading" | "loaded" | "running" | "joined";
export type BootRow = { readonly mac: Mac; readonly name: string | null; readonly way: Way; readonly address: Ipv4 | null; readonly stage: Stage; readonly boots: number; readonly beganMs: number; readonly seenMs: number; readonly note: string };

export class BootTable {
  readonly #rows = new Map<Mac, BootRow>();
  readonly #onChange: (row: BootRow) => void;

  constructor(onChange: (row: BootRow) => void = () => {}) {
    this.#onChange = onChange;
  }

  rows(): BootRow[] {
    return [...this.#rows.values()];
  }

  row(mac: Mac): BootRow | undefined {
    return this.#rows.get(mac);
  }

  macOf(address: string): Mac | null {
    for (const row of [...this.#rows.values()].toReversed()) if (row.address === address) return row.mac;
    return null;
  }

  /** A firmware's or loader's message over DHCP: a firmware's first one begins a boot. */
  asked(mac: Mac, way: Way, name: string | null, address: Ipv4 | null, nowMs: number): void {
    const before = this.#rows.get(mac);
    if (way === "godwit") return this.reached(mac, "running", nowMs, before?.note ?? "", address);
    const isNew = before === undefined || before.stage === "running" || before.stage === "joined";
    this.#put({ mac, name, way: way === "ipxe" && before !== undefined && !isNew ? before.way : way, address: address ?? before?.address ?? null, stage: isNew ? "asked" : before.stage, boots: (before?.boots ?? 0) + (isNew ? 1 : 0), beganMs: isNew ? nowMs : before.beganMs, seenMs: nowMs, note: "" });
  }

  reached(mac: Mac, stage: Stage, nowMs: number, note: string, address: Ipv4 | null = null): void {
    const before = this.#rows.get(mac);
    this.#put({ mac, name: before?.name ?? null, way: before?.way ?? "other", address: address ?? before?.address ?? null, stage, boots: before?.boots ?? 1, beganMs: before?.beganMs ?? nowMs, seenMs: nowMs, note });
  }

  #put(row: BootRow): void {
    const before = this.#rows.get(row.mac);
    this.#rows.delete(row.mac);
    this.#rows.set(row.mac, row);
    const [oldest] = this.#rows.keys();
    if (oldest !== undefined && this.#rows.size > MACHINES_MAX) this.#rows.delete(oldest);
    if (before === undefined || before.stage !== row.stage || before.address !== row.address || before.note !== row.note || before.way !== row.way || before.boots !== row.boots) this.#onChange(row);
  }
}
