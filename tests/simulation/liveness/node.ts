/** One machine of a world of liveness, with its validator where it hosts one, and what the checkers remember of it. */
import type { Suspicion } from "#chain/codec/liveness.ts";
import type { HostState } from "#chain/liveness/host.ts";
import type { Signed, WitnessState } from "#chain/liveness/witness.ts";
import type { Hex } from "#chain/types.ts";
import type { Ask } from "./ledger.ts";

export type Death = { readonly bootId: Hex; readonly atMs: number; readonly beatMs: number; readonly heard: Map<number, number>; isSeen: boolean };
export type Node = {
  readonly place: number;
  readonly clockMs: number;
  readonly skewMs: number;
  isAlive: boolean;
  life: number;
  bootId: Hex;
  host: HostState;
  witness: WitnessState | null;
  log: Map<Hex, Signed>;
  readonly pool: Map<string, Suspicion>;
  readonly ups: Map<Hex, Ask>;
  height: number;
  isDirty: boolean;
  isWaiting: boolean;
  beatMs: number;
  readonly heard: Map<number, number>;
  readonly deaths: Death[];
};

export const EPOCH_MS = 1_000_000_000;
export const idOf = (letter: "m" | "v" | "b", n: number): Hex => `${letter}${n}` as Hex;
export const placeOf = (id: Hex): number => Number(id.slice(1));

