/**
 * Every number of who is alive, with its unit and its reason, and how they must stand to each other (README.md, L1–L16).
 *
 * Milliseconds are of one's own monotonic clock unless a name says header time. Shares of stake are thirds, in integers.
 */
import assert from "node:assert";

/** The shell ticks so often while a quorum has been missed (L10), and need not sooner than `wakeMs` of witness and machine else. */
export const TICK_MS = 50;
/** L1: a beat is 150 bytes, so that 20 witnesses of 100 machines cost a machine 6 kB/s and a witness 30 kB/s. */
export const BEAT_MS = 500;
/** L12: a machine's other boot ids are answered so often at most: half a beat, so that jitter costs no honest one its answer, and new boot ids sent in a row bring no more signatures. */
export const ANSWER_MS = 250;
/** L3: two beats lost one after the other are not silence yet, and three are. */
export const SILENT_MS = 1_500;
/** L3: header time after which a suspicion is void: what was said of an older past must not add up with what is said now. */
export const VOID_MS = 10_000;
/** L3: a suspicion that was not taken is said again on a newer block, well before it is void. */
export const AGAIN_MS = 5_000;
/** L7: header time in which the set of the epoch before may speak: its members still hold the beats of the first seconds. */
export const OVERLAP_MS = 20_000;
/** L8: nothing is signed so long after a start, a stall or a loss of many: beats must find their way again first. */
export const GRACE_MS = 10_000;
/** L8: without a final block for so long after one was due, the chain stalls. */
export const STALL_MS = 2_000;
/** L8: a block is due so long after the one before when nothing waits (design 4, pacing), and so soon when something does. */
export const IDLE_MS = 5_000;
export const GAP_MS = 200;
/** L9: of machines heard in this span, more than half silent for `LOST_MS`: it is the cable, not they. Half of silence, so that the first to fall silent cannot be signed for before. */
export const LOST_SPAN_MS = 4_500;
export const LOST_MS = 750;
/** L10: after a quorum was missed it must be heard for so long without a gap. */
export const HOLD_MS = 600;
/** L11: header time by which a machine may be behind and still be acknowledged: it would not see that its leases ended. */
export const LAG_MS = 10_000;
/** L13: tasks stop so long after the newest beat that was acknowledged… */
export const FENCE_MS = 4_000;
/** …and their successor starts so long after it saw the block that ended the lease. */
export const SUCCESSOR_MS = 3_000;
/** L12: who has enough acknowledgements for `up` waits so long for the others: of the first two thirds half may be liars. */
export const UP_WAIT_MS = 1_000;
/** L15: rest after the n-th `down` in an hour: 10 s · 2^(n − 1). */
export const REST_MS = 10_000n;
export const REST_MS_MAX = 600_000n;
/** L7: witnesses of an epoch: what a beat costs does not grow with the number of validators. */
export const WITNESSES_MAX = 20;
/** Final blocks whose arrival a witness remembers, so that a time 1.5 s ago still has its block at `GAP_MS`. */
export const ARRIVALS_KEPT = 16;
/** Beats whose acknowledgements a machine adds up: those the fence can still depend on. */
export const BEATS_KEPT = 10;

/** L4, L10: more than two thirds of the stake. */
export const isMoreThanTwoThirds = (part: number, whole: number): boolean => part * 3 > whole * 2;
/** L11, L12: two thirds of the stake, or more. */
export const isTwoThirds = (part: number, whole: number): boolean => part > 0 && part * 3 >= whole * 2;
/** L12: more than a third: at least one of them is honest. */
export const isMoreThanAThird = (part: number, whole: number): boolean => part * 3 > whole;

/** L15: how long nothing is placed on a machine after so many `down`s within an hour. */
export function restMs(downs: number): bigint {
  let rest = REST_MS;
  for (let n = 1; n < downs && rest < REST_MS_MAX; n++) rest *= 2n;
  return rest < REST_MS_MAX ? rest : REST_MS_MAX;
}

assert(ANSWER_MS * 2 <= BEAT_MS);
assert(3 * BEAT_MS <= SILENT_MS && 2 * LOST_MS <= SILENT_MS && LOST_MS > BEAT_MS && HOLD_MS > BEAT_MS);
// The fence falls before the successor starts: a machine is taken down no sooner than 1.5 s after its newest clear beat.
assert(FENCE_MS < SILENT_MS + SUCCESSOR_MS);
assert(FENCE_MS <= (BEATS_KEPT - 2) * BEAT_MS);
assert(AGAIN_MS < VOID_MS && VOID_MS < OVERLAP_MS && LAG_MS <= VOID_MS);
assert(ARRIVALS_KEPT * GAP_MS >= 2 * SILENT_MS);
