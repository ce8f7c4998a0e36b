/**
 * Checkpoints: the validators of an epoch by their hash, and when they were seen; as a text in checkpointText.ts. Who begins there trusts them instead of those of genesis, whose stake may have been paid out long ago (research/chain.md, weak
 * subjectivity). The validators themselves come from anybody: they have the hash, or they are nothing.
 */
import { type Validator, type ValidatorSet, validatorSet, validatorsHash } from "#chain/codec/certificate.ts";
import { type ChainId, type Refusal, hex } from "#chain/types.ts";
import type { Checkpoint } from "./checkpointText.ts";
import { type LightState, type Limits, refusalOfAge } from "./light.ts";

export { CHECKPOINT_FORM, type Checkpoint, checkpointText, parseCheckpoint } from "./checkpointText.ts";

export const checkpointOf = ({ set, timeMs }: LightState): Checkpoint => ({ epoch: set.epoch, timeMs: timeMs - (timeMs % 1_000n), validatorsHash: validatorsHash(set.validators) });

/** By the clock of who uses it, before anything is asked of anybody. */
export const checkCheckpoint = ({ epoch: of, timeMs }: Checkpoint, limits: Limits, nowMs: bigint): Refusal | null => refusalOfAge(`of epoch ${of}`, timeMs, limits, nowMs);

/** Its validators, as somebody says them; null: they are not those. */
export function setAt({ epoch: of, validatorsHash: hash }: Checkpoint, chain: ChainId, said: readonly Validator[]): ValidatorSet | null {
  return hex(validatorsHash(said)) === hex(hash) ? validatorSet(chain, of, said) : null;
}
