/**
 * A checkpoint as a text that one person can give to another: `EPOCH-SECONDS-HASH`, the validators of an epoch by their hash, and when
 * they were seen. Who begins there trusts them instead of those of genesis, whose stake may have been paid out long ago (research/chain.md, weak
 * subjectivity). The validators themselves come from anybody: they have the hash, or they are nothing.
 */
import { type Validator, type ValidatorSet, validatorSet, validatorsHash } from "#chain/codec/certificate.ts";
import { type ChainId, type Digest, type Epoch, type Refusal, digest, epoch, fromHex, hex } from "#chain/types.ts";
import { type LightState, type Limits, refusalOfAge } from "./light.ts";

export type Checkpoint = { readonly epoch: Epoch; /** Header time of the newest block that was verified with them, rounded down to a second. */ readonly timeMs: bigint; readonly validatorsHash: Digest };

const TEXT = /^(0|[1-9]\d{0,9})-([1-9]\d{0,11})-([0-9a-f]{64})$/;
export const CHECKPOINT_FORM = "EPOCH-SECONDS-HASH";

export const checkpointOf = ({ set, timeMs }: LightState): Checkpoint => ({ epoch: set.epoch, timeMs: timeMs - (timeMs % 1_000n), validatorsHash: validatorsHash(set.validators) });

export const checkpointText = ({ epoch: of, timeMs, validatorsHash: hash }: Checkpoint): string => `${of}-${timeMs / 1_000n}-${hex(hash)}`;

export function parseCheckpoint(text: string): Checkpoint | null {
  const [, of = "", seconds = "", hash = ""] = TEXT.exec(text) ?? [];
  if (hash === "" || Number(of) > 0xffff_ffff) return null;
  return { epoch: epoch(Number(of)), timeMs: BigInt(seconds) * 1_000n, validatorsHash: digest(fromHex(hash)) };
}

/** By the clock of who uses it, before anything is asked of anybody. */
export const checkCheckpoint = ({ epoch: of, timeMs }: Checkpoint, limits: Limits, nowMs: bigint): Refusal | null => refusalOfAge(`of epoch ${of}`, timeMs, limits, nowMs);

/** Its validators, as somebody says them; null: they are not those. */
export function setAt({ epoch: of, validatorsHash: hash }: Checkpoint, chain: ChainId, said: readonly Validator[]): ValidatorSet | null {
  return hex(validatorsHash(said)) === hex(hash) ? validatorSet(chain, of, said) : null;
}
