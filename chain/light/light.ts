/**
 * The light client: from a checkpoint it follows the epochs, and takes of any machine's answer only what a quorum of validators finalized.
 *
 * Pure: the caller fetches bytes and tells the time. What it trusts is one thing, the checkpoint: the validators of an epoch. Each
 * set names the next in every header that it finalizes (`nextValidatorsHash`), so a chain of one answer an epoch leads to now. A set
 * whose stake may have been paid out since can sign anything for nothing: a checkpoint older than the unbonding time is refused
 * (weak subjectivity, research/chain.md). Answers never go back: an older state than one that was seen is refused.
 */
import { type Cbor, decode, encode } from "#chain/codec/cbor.ts";
import { type ValidatorSet, validatorSet } from "#chain/codec/certificate.ts";
import { chainIdOf, decodeGenesis } from "#chain/codec/genesis.ts";
import { type Answer, decodeAnswer, decodeEpochAnswer, verifyAnswer, verifyEpoch } from "#chain/codec/proof.ts";
import { bytes, list, tuple, u32, u64, version } from "#chain/codec/schema.ts";
import { PRESETS, VALIDATORS_MAX } from "#chain/constants.ts";
import { type ChainId, type Refusal, chainId, epoch, hex, publicKey, refuse } from "#chain/types.ts";

export type LightState = {
  /** Of the newest epoch that was followed. */
  readonly set: ValidatorSet;
  /** Header time of the newest block that was verified, and its height. */
  readonly timeMs: bigint;
  readonly height: number;
};
export type Limits = {
  /** A checkpoint older than this proves nothing: the stake behind it may be gone. */
  readonly checkpointAgeMsMax: bigint;
  /** An answer older than this may hide what happened since. */
  readonly answerAgeMsMax: bigint;
};
export type Followed = { readonly ok: true; readonly state: LightState } | Refusal;
export type Read = { readonly ok: true; readonly state: LightState; /** null: there is no such key in the state. */ readonly value: Uint8Array | null; readonly answer: Answer } | Refusal;

/** An idle chain makes a block every five seconds; clocks differ by seconds. */
const ANSWER_AGE_MS_MAX = 60_000n;

/** By the chain's own parameters: half of the time that stake is bound after it was given up. */
export const limitsOf = (unbondingMs: bigint): Limits => ({ checkpointAgeMsMax: unbondingMs / 2n, answerAgeMsMax: ANSWER_AGE_MS_MAX });

/** The beginning of a chain as a checkpoint: its id is the hash of these bytes, so they may come from anybody. */
export function fromGenesis(genesis: Uint8Array, expected: ChainId): { readonly ok: true; readonly state: LightState; readonly limits: Limits } | Refusal {
  if (hex(chainIdOf(genesis)) !== hex(expected)) return refuse("genesis_wrong", `Cannot begin at this genesis: it is that of chain ${hex(chainIdOf(genesis))}, not of ${hex(expected)}`);
  const { validators, timeMs, parameters } = decodeGenesis(genesis);
  const set = validatorSet(expected, epoch(0), validators.map(({ publicKey: key, weight }) => ({ publicKey: key, weight })));
  return { ok: true, state: { set, timeMs, height: 0 }, limits: limitsOf(PRESETS[parameters].unbondingMs) };
}

/** Checked before the first use of a checkpoint, by the clock of who uses it. */
export const checkAge = ({ timeMs, height }: LightState, limits: Limits, nowMs: bigint): Refusal | null => refusalOfAge(`at block ${height}`, timeMs, limits, nowMs);

/** Of a checkpoint in whichever form, named by `which`. */
export function refusalOfAge(which: string, timeMs: bigint, { checkpointAgeMsMax }: Limits, nowMs: bigint): Refusal | null {
  if (nowMs <= timeMs + checkpointAgeMsMax) return null;
  const days = (nowMs - timeMs) / 86_400_000n;
  return refuse("checkpoint_old", `Cannot trust the checkpoint ${which}: it is ${days} days old, and the stake of its validators may have been paid out; take a newer one from somebody you trust`);
}

/** One epoch further, on the word of the set that is trusted now. */
export function follow(state: LightState, answer: Uint8Array): Followed {
  return parsed(() => {
    const decoded = decodeEpochAnswer(answer);
    const verdict = verifyEpoch(state.set, decoded);
    if (!verdict.ok) return verdict;
    return { ok: true, state: { set: verdict.next, ...newest(state, decoded.header) } };
  });
}

/** What the answer proves of a key. Its epoch must be the one that was followed to: `epochOfAnswer` tells how far that is. */
export function read(state: LightState, key: string, answer: Uint8Array, { answerAgeMsMax }: Limits, nowMs: bigint): Read {
  return parsed(() => {
    const decoded = decodeAnswer(answer);
    const { header } = decoded;
    const verdict = verifyAnswer(state.set, key, decoded);
    if (!verdict.ok) return verdict;
    if (header.height < state.height) return refuse("answer_old", `Cannot take an answer of block ${header.height}: block ${state.height} was seen`);
    if (nowMs > header.timeMs + answerAgeMsMax) return refuse("answer_old", `Cannot take an answer of block ${header.height}: it is ${(nowMs - header.timeMs) / 1000n} s old; the machine may hide what came after`);
    return { ok: true, state: { set: state.set, ...newest(state, header) }, value: verdict.value, answer: decoded };
  });
}

/** Which epoch an answer claims to be of; nothing of it is verified. */
export function epochOfAnswer(answer: Uint8Array): { readonly ok: true; readonly epoch: number } | Refusal {
  return parsed(() => ({ ok: true, epoch: decodeAnswer(answer).header.epoch }));
}

export const encodeCheckpoint = ({ set, timeMs, height }: LightState): Uint8Array =>
  encode([1, set.chainId, set.epoch, timeMs, height, set.validators.map(({ publicKey: key, weight }): Cbor => [key, weight])]);

/** Throws a CodecError. A checkpoint is believed as it is: it comes from its owner's disk, or from whom they trust. */
export function decodeCheckpoint(input: Uint8Array): LightState {
  const [first, chain, of, timeMs, height, validators] = tuple(decode(input), 6);
  version(first);
  const members = list(validators, VALIDATORS_MAX).map((item) => {
    const [key, weight] = tuple(item, 2);
    return { publicKey: publicKey(bytes(key, 32)), weight: u32(weight) };
  });
  return { set: validatorSet(chainId(bytes(chain, 8)), epoch(u32(of)), members), timeMs: u64(timeMs), height: u32(height) };
}

const newest = (state: LightState, header: { readonly height: number; readonly timeMs: bigint }): Pick<LightState, "timeMs" | "height"> =>
  header.height > state.height ? { timeMs: header.timeMs, height: header.height } : { timeMs: state.timeMs, height: state.height };

/** A stranger's bytes: what cannot be read is a refusal like any other. */
function parsed<T extends { readonly ok: boolean }>(run: () => T | Refusal): T | Refusal {
  try {
    return run();
  } catch (error) {
    return refuse("answer_invalid", `Cannot read the answer: ${error instanceof Error ? error.message : String(error)}`);
  }
}
