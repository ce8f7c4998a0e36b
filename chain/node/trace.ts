/**
 * The log of a run of consensus, one line of JSON per step: what happened, and what was decided on it. Written by a node that is
 * asked to (`NodeOptions.trace`) and by simulated worlds; `tools/trace.ts` reads it again by its own understanding of the rules.
 *
 *   {"node", "epoch", "weights", "self", "leaders", "lastHeight", "blockIntervalMsMin", "clockSkewMsMax"}    a new instance
 *   {"node", "nowMs", "event", "effects"}                                                                     a step of it
 *
 * Bytes are hex, u64 decimal strings; signatures are left out.
 */
import type { Effect, Event } from "#chain/consensus/events.ts";
import { type Configuration, createState } from "#chain/consensus/state.ts";

export function traceEpoch(node: number, configuration: Configuration): string {
  const { epoch, weights, self, lastHeight, pace: { blockIntervalMsMin, clockSkewMsMax } } = configuration;
  return JSON.stringify({ node, epoch, weights, self, leaders: createState(configuration).cycle, lastHeight, blockIntervalMsMin, clockSkewMsMax });
}

export const traceStep = (node: number, event: Event, effects: readonly Effect[]): string =>
  JSON.stringify({ node, nowMs: event.nowMs, event: { ...event, nowMs: undefined }, effects }, plain);

const LEFT_OUT: ReadonlySet<string> = new Set(["signature", "signatures", "chainId", "content", "parentCertificate"]);

function plain(key: string, value: unknown): unknown {
  if (LEFT_OUT.has(key)) return undefined;
  if (typeof value === "bigint") return String(value);
  return value instanceof Uint8Array ? value.toHex() : value;
}
