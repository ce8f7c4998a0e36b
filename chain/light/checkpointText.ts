/**
 * A checkpoint as a text that one person can give to another: `EPOCH-SECONDS-HASH`, the validators of an epoch by their hash, and when
 * they were seen. What it is good for: checkpoint.ts.
 */
import { type Digest, type Epoch, digest, epoch, fromHex, hex } from "#chain/types.ts";

export type Checkpoint = { readonly epoch: Epoch; /** Header time of the newest block that was verified with them, rounded down to a second. */ readonly timeMs: bigint; readonly validatorsHash: Digest };

const TEXT = /^(0|[1-9]\d{0,9})-([1-9]\d{0,11})-([0-9a-f]{64})$/;
export const CHECKPOINT_FORM = "EPOCH-SECONDS-HASH";

export const checkpointText = ({ epoch: of, timeMs, validatorsHash: hash }: Checkpoint): string => `${of}-${timeMs / 1_000n}-${hex(hash)}`;

export function parseCheckpoint(text: string): Checkpoint | null {
  const [, of = "", seconds = "", hash = ""] = TEXT.exec(text) ?? [];
  if (hash === "" || Number(of) > 0xffff_ffff) return null;
  return { epoch: epoch(Number(of)), timeMs: BigInt(seconds) * 1_000n, validatorsHash: digest(fromHex(hash)) };
}
