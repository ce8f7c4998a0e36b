/**
 * What this machine tells the ledger of the load of its leases: a part of the plan, and as pure.
 *
 * One word for one crossing: what the ledger knows already is not said. A lease of a deployment that may be on standby goes there when it had no
 * request for STANDBY_IDLE_MS, and is woken when one came: the runner has served that by then.
 */
import type { Metric } from "#chain/codec/scalingOperations.ts";
import type { Level } from "#chain/ledger/scalingHeld.ts";
import { standbyRate } from "#chain/ledger/scalingRule.ts";
import type { Hex } from "#chain/types.ts";
import { STANDBY_IDLE_MS } from "../limits.ts";

/** The rule of a deployment here; `mayRest`: its leases may be on standby. */
export type ScalingHere = { readonly metric: Metric; readonly target: number; readonly mayRest: boolean };
/** What the ledger knows of a lease. */
export type KnownLoad = { readonly level: Level; readonly isOnStandby: boolean };
export const UNKNOWN_LOAD: KnownLoad = { level: 1, isOnStandby: false };
/** What is found here of a route. */
export type FoundLoad = { readonly level: Level | null; readonly activeMs: number };
export type ScalingAction =
  | { readonly kind: "sendLoad"; readonly key: string; readonly id: Hex; readonly index: number; readonly level: Level }
  | { readonly kind: "sendWake"; readonly key: string; readonly id: Hex; readonly index: number }
  | { readonly kind: "sendStandby"; readonly key: string; readonly id: Hex; readonly index: number; readonly idleSeconds: number };

export function tellOfLoad(id: Hex, lease: { readonly index: number; readonly rate: bigint; readonly load: KnownLoad }, rule: ScalingHere, found: FoundLoad | undefined, nowMs: number): ScalingAction[] {
  if (found === undefined) return [];
  const { index, rate, load: { level, isOnStandby } } = lease;
  const idleMs = nowMs - found.activeMs;
  if (isOnStandby) return idleMs < STANDBY_IDLE_MS ? [{ kind: "sendWake", key: `wake/${id}/${index}`, id, index }] : [];
  const rests = rule.mayRest && standbyRate(rate) < rate;
  if (rests && idleMs >= STANDBY_IDLE_MS) return [{ kind: "sendStandby", key: `standby/${id}/${index}`, id, index, idleSeconds: Math.floor(idleMs / 1_000) }];
  // What is about to be on standby need not say first that it has little to do.
  const says = found.level !== null && found.level !== level && !(rests && found.level === 0);
  return says ? [{ kind: "sendLoad", key: `load-level/${id}/${index}`, id, index, level: found.level as Level }] : [];
}
