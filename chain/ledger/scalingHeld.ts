/**
 * What the state knows of a deployment's scaling: one leaf beside the deployment's, there only while the deployment has a rule. The money is in
 * the deployment's escrow.
 */
import type { Cbor } from "#chain/codec/cbor.ts";
import { stateKey } from "#chain/codec/proof.ts";
import { id20, list, tuple, u32, u64 } from "#chain/codec/schema.ts";
import { REVISION_SLOT } from "#chain/ledger/limits.ts";
import type { Address } from "#chain/types.ts";

/** 0: little to do, 1: what it should have, 2: too much. */
export type Level = 0 | 1 | 2;
/** What a machine said last of a lease that it runs, and in which money second. It counts while the lease is there. */
export type Told = { readonly index: number; readonly machine: Address; readonly level: Level; readonly at: bigint };
export type ScalingHeld = {
  readonly kind: "scaling";
  /** The deployment's. */
  readonly id: Address;
  readonly min: number;
  readonly max: number;
  /** An index of METRICS, and how much of it one replica should have at most. */
  readonly metric: number;
  readonly target: number;
  /** Base units a second that all leases together may cost; 0: no ceiling. */
  readonly rateMax: bigint;
  /** Ascending by index. */
  readonly told: readonly Told[];
  /** What the leases together have to do. */
  readonly verdict: Level;
  /** Money second of the next step; null: there is none to take. */
  readonly due: bigint | null;
  /** Leases from this one on came with the last step up; operators who asked for it get them last of all. */
  readonly grownFrom: number;
  readonly reporters: readonly Address[];
};

export const scalingKey = (id: Address): string => stateKey("scaling", id);

/** One entry of the table of holdings (holdings.ts). */
export const SCALING_KIND: {
  readonly key: (entity: ScalingHeld) => string; readonly leaf: (entity: ScalingHeld) => Cbor; readonly from: (leaf: Cbor | undefined) => ScalingHeld;
  readonly lists: (entity: ScalingHeld) => readonly string[]; readonly money: (entity: ScalingHeld) => bigint;
} = {
  key: ({ id }) => scalingKey(id),
  leaf: ({ id, min, max, metric, target, rateMax, told, verdict, due, grownFrom, reporters }) => [
    id, min, max, metric, target, rateMax, told.map(({ index, machine, level, at }) => [index, machine, level, at]), verdict, due === null ? [] : [due], grownFrom, reporters,
  ],
  from: (leaf) => {
    const [id, min, max, metric, target, rateMax, told, verdict, due, grownFrom, reporters] = tuple(leaf as Cbor, 11);
    const [second] = list(due, 1);
    return {
      kind: "scaling", id: id20(id), min: u32(min), max: u32(max), metric: u32(metric), target: u32(target), rateMax: u64(rateMax),
      told: list(told, 2 * REVISION_SLOT).map((item) => {
        const [index, machine, level, at] = tuple(item, 4);
        return { index: u32(index), machine: id20(machine), level: u32(level) as Level, at: u64(at) };
      }),
      verdict: u32(verdict) as Level, due: second === undefined ? null : u64(second), grownFrom: u32(grownFrom), reporters: list(reporters, REVISION_SLOT).map(id20),
    };
  },
  lists: ({ id, due }) => (due === null ? [] : [`t${due.toString(16).padStart(20, "0")}8${id.toHex()}`]),
  money: () => 0n,
};
