/**
 * What machines and witnesses say to each other. Who is meant is named by hex: machines by address, witnesses by the address of
 * their consensus key; the bytes are `codec/liveness.ts`. Signatures are checked by the shell, before `step` hears of anything.
 */
import type { Hex, Signature } from "#chain/types.ts";

/** L1: signed by the machine's key. */
export type Beat = {
  readonly machine: Hex;
  /** Random at each start: a machine that starts again is another one, to what ran on it. */
  readonly bootId: Hex;
  /** From 1, in each life. */
  readonly number: number;
  /** The newest final block that the machine knows, and its header time. */
  readonly height: number;
  readonly timeMs: bigint;
  readonly signature: Signature;
};

/** L5: a moment, by the block that was final and the milliseconds since. Nobody's wall clock is in it. */
export type Moment = { readonly height: number; readonly sinceMs: number };

/** L3: signed by the witness. */
export type Suspicion = {
  readonly witness: Hex;
  readonly machine: Hex;
  readonly bootId: Hex;
  /** The newest beat that the witness knows of, whoever heard it; null: none of this boot id. */
  readonly beat: Beat | null;
  /** When that came; when it came to another: 1.5 s before one learned of it. */
  readonly at: Moment;
  /** The witness's newest final block. */
  readonly base: number;
};

/** L11: to the machine alone. The stream it comes over is the witness's word; it is no part of any proof. */
export type Acknowledgement = { readonly bootId: Hex; readonly number: number; /** No suspicion of mine can still be taken, and you follow the chain. */ readonly isClear: boolean };

/** L12: signed by the witness: a machine with this boot id lives. */
export type UpAcknowledgement = {
  readonly witness: Hex;
  readonly machine: Hex;
  readonly bootId: Hex;
  /** The block that the new boot's beat named. */
  readonly height: number;
  readonly base: number;
  /** Of the boot id that was registered: its newest beat here, if one was heard, and when. */
  readonly before: { readonly bootId: Hex; readonly beat: Beat | null; readonly at: Moment };
};
