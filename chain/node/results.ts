/**
 * What a block did, as bytes beside the block: outcomes of its transactions and events of the ledger. Nobody signs these
 * bytes and no other node reads them, so JSON will do; `{"#": "12"}` is a u64 and `{"$": "ab"}` are bytes.
 */
import type { LedgerEvent } from "#chain/ledger/view.ts";
import type { Outcome } from "./chainNode.ts";

export type Results = { readonly outcomes: readonly Outcome[]; readonly events: readonly LedgerEvent[] };

export function encodeResults({ outcomes, events }: Results): Uint8Array {
  // Hundreds of outcomes and seldom an event: what asks about every value is for those.
  const told = JSON.stringify(outcomes.map((outcome) => ({ ...outcome, txid: { $: outcome.txid.toHex() } })));
  return new TextEncoder().encode(`{"outcomes":${told},"events":${JSON.stringify(events, withTags)}}`);
}
function withTags(_: string, value: unknown): unknown {
  if (typeof value === "bigint") return { "#": value.toString() };
  return value instanceof Uint8Array ? { $: value.toHex() } : value;
}

export function decodeResults(bytes: Uint8Array): Results {
  return JSON.parse(new TextDecoder().decode(bytes), (_, value: unknown) => {
    if (typeof value !== "object" || value === null) return value;
    const { "#": number, $: hex } = value as { "#"?: string; $?: string };
    if (number !== undefined) return BigInt(number);
    return hex !== undefined ? Uint8Array.fromHex(hex) : value;
  }) as Results;
}
