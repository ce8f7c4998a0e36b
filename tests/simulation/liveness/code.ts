/** The product's code that a world of liveness runs: all of it can be exchanged for one with a planted bug. */
import { newHost, stepHost } from "#chain/liveness/host.ts";
import { restMs } from "#chain/liveness/rules.ts";
import { downOf, upOf } from "#chain/liveness/verdict.ts";
import { newWitness, step, suspects } from "#chain/liveness/witness.ts";

export type Code = {
  readonly newHost: typeof newHost; readonly stepHost: typeof stepHost; readonly restMs: typeof restMs; readonly downOf: typeof downOf; readonly upOf: typeof upOf;
  readonly newWitness: typeof newWitness; readonly step: typeof step; readonly suspects: typeof suspects;
};
export const CODE: Code = { newHost, stepHost, restMs, downOf, upOf, newWitness, step, suspects };
