/**
 * Operations of scaling, numbers 80 to 89: the rule of a deployment, and what machines tell the ledger of its load. Their fields in the order of
 * the bytes.
 */
import { ADDRESS, type Layout, U32, U64 } from "#chain/codec/fields.ts";
import type { Address } from "#chain/types.ts";

/** What one replica is measured by: thousandths of the CPU it pays for, requests at a time, requests a second. */
export const METRICS = ["cpu", "concurrency", "requests"] as const;
export type Metric = (typeof METRICS)[number];

/**
 * Sender = the owner: from now on the ledger says how many replicas there are, `min` to `max`, so that each has at most `target` of the metric
 * (an index of METRICS) to do. With `min` 0 a replica that has nothing to do is on standby. `rateMax`: base units per second that all together
 * may cost at most; 0 = no ceiling. `max` 0 ends the rule.
 */
export type Autoscale = {
  readonly kind: "autoscale";
  readonly deploymentId: Address;
  readonly min: number;
  readonly max: number;
  readonly metric: number;
  readonly target: number;
  readonly rateMax: bigint;
};
/** Sender = machine: a lease that it runs has little to do (0), what it should (1), or too much (2). Only changes are told. */
export type Load = { readonly kind: "load"; readonly deploymentId: Address; readonly index: number; readonly level: number };
/** Sender = machine: a lease on standby got a request, and runs. */
export type Wake = { readonly kind: "wake"; readonly deploymentId: Address; readonly index: number };
/** Sender = machine: a lease had nothing to do for so many seconds, and is on standby. */
export type Standby = { readonly kind: "standby"; readonly deploymentId: Address; readonly index: number; readonly idleSeconds: number };
export type ScalingOperation = Autoscale | Load | Wake | Standby;

export const SCALING_LAYOUTS: { readonly [K in ScalingOperation["kind"]]: Layout<Extract<ScalingOperation, { kind: K }>> } = {
  autoscale: { number: 80, fields: { deploymentId: ADDRESS, min: U32, max: U32, metric: U32, target: U32, rateMax: U64 } },
  load: { number: 81, fields: { deploymentId: ADDRESS, index: U32, level: U32 } },
  wake: { number: 82, fields: { deploymentId: ADDRESS, index: U32 } },
  standby: { number: 83, fields: { deploymentId: ADDRESS, index: U32, idleSeconds: U32 } },
};
