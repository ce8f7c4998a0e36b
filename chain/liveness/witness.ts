/**
 * A witness: hears beats, says what it heard, and signs that it hears nothing (L2–L5, L8–L12). A pure function of what happened.
 *
 * The shell checks signatures and that a beat came over its machine's own stream or within a suspicion; ticks when `wakeMs` says; and
 * writes `signed` of an effect to the vote log before the effect leaves (L11), to give it back at the next start.
 */
import type { Acknowledgement, Beat, Moment, Suspicion, UpAcknowledgement } from "#chain/codec/liveness.ts";
import { AGAIN_MS, ANSWER_MS, ARRIVALS_KEPT, BEAT_MS, GAP_MS, GRACE_MS, HOLD_MS, IDLE_MS, LAG_MS, LOST_MS, LOST_SPAN_MS, OVERLAP_MS, SILENT_MS, STALL_MS, TICK_MS, VOID_MS, isMoreThanTwoThirds } from "#chain/liveness/rules.ts";
import { type LivenessView, type WatchedMachine, competentSets, sumOf } from "#chain/liveness/witnesses.ts";
import type { Hex } from "#chain/types.ts";

export type WitnessEvent = { /** Monotonic. */ readonly nowMs: bigint } & (
  | { readonly kind: "final"; readonly view: LivenessView }
  /** Something came to wait for a block: the next is due at once. */
  | { readonly kind: "due" }
  | { readonly kind: "beat"; readonly beat: Beat }
  | { readonly kind: "suspicion"; readonly suspicion: Suspicion }
  | { readonly kind: "tick" });

/** What the vote log keeps of a suspicion: until header time `baseMs` + 10 s it can be taken. */
export type Signed = { readonly bootId: Hex; readonly baseMs: bigint };

export type WitnessEffect =
  | { readonly kind: "acknowledge"; readonly machine: Hex; readonly acknowledgement: Acknowledgement }
  | { readonly kind: "suspect"; readonly suspicion: Suspicion; readonly signed: Signed }
  /** `signed` when it also says that the registered boot is silent. */
  | { readonly kind: "acknowledgeUp"; readonly acknowledgement: UpAcknowledgement; readonly signed: Signed | null };

type Watch = {
  machine: WatchedMachine;
  /** The newest beat of the registered boot id that came here, and when; before there is one: when this became its witness. */
  beat: Beat | null;
  atMs: bigint;
  at: Moment;
  readonly sinceMs: bigint;
  /** The newest that anybody heard. */
  known: Beat | null;
  knownAt: Moment;
  /** What was signed since the last beat that came here. */
  suspected: { readonly number: number; readonly baseMs: bigint } | null;
  /** The newest beat of another boot id. */
  other: { readonly beat: Beat; readonly atMs: bigint } | null;
  /** When one of another boot id was answered last. */
  answeredMs: bigint | null;
};

export type WitnessState = {
  readonly self: Hex;
  muteUntilMs: bigint;
  /** L10: a quorum was missed; until then it must be heard. */
  holdUntilMs: bigint;
  isStalled: boolean;
  /** Null until the first final block. */
  dueMs: bigint | null;
  view: LivenessView | null;
  /** The last final blocks and when they came, oldest first. */
  readonly arrivals: { readonly height: number; readonly atMs: bigint }[];
  readonly watches: Map<Hex, Watch>;
  readonly log: Map<Hex, Signed>;
};

/** L8: whoever starts is mute for a while. */
export const newWitness = (self: Hex, nowMs: bigint, log: Iterable<readonly [Hex, Signed]>): WitnessState => ({
  self, muteUntilMs: nowMs + BigInt(GRACE_MS), holdUntilMs: nowMs, isStalled: false, dueMs: null, view: null, arrivals: [], watches: new Map(), log: new Map(log),
});

export function step(state: WitnessState, event: WitnessEvent): [WitnessState, WitnessEffect[]] {
  const effects: WitnessEffect[] = [];
  switch (event.kind) {
    case "final": noteFinal(state, event.view, event.nowMs); break;
    case "due": noteDue(state, event.nowMs); break;
    case "beat": noteBeat(state, event.beat, event.nowMs, effects); break;
    case "suspicion": noteSuspicion(state, event.suspicion, event.nowMs); break;
    case "tick": tick(state, event.nowMs, effects); break;
    default: event satisfies never;
  }
  return [state, effects];
}

/** Consensus gives up at once the view of a leader whose machine is suspected (L16). */
export function suspects(state: WitnessState, machine: Hex): boolean {
  const watch = state.watches.get(machine);
  return watch !== undefined && (watch.machine.isDown || watch.suspected !== null);
}

// ---- Final blocks ----------------------------------------------------------------------------------------------------------

function noteFinal(state: WitnessState, view: LivenessView, nowMs: bigint): void {
  if (state.view && view.height <= state.view.height) return;
  if (isLate(state, nowMs)) state.muteUntilMs = later(state.muteUntilMs, nowMs + BigInt(GRACE_MS));
  state.isStalled = false;
  state.view = view;
  state.dueMs = nowMs + BigInt(IDLE_MS);
  state.arrivals.push({ height: view.height, atMs: nowMs });
  if (state.arrivals.length > ARRIVALS_KEPT) state.arrivals.shift();
  for (const [id, machine] of view.machines) watch(state, view, id, machine, nowMs);
  for (const id of state.watches.keys()) if (!view.machines.has(id)) state.watches.delete(id);
  for (const [id, { bootId }] of state.log) {
    const machine = view.machines.get(id);
    if (!machine || machine.isDown || machine.bootId !== bootId) state.log.delete(id);
  }
}

function watch(state: WitnessState, view: LivenessView, id: Hex, machine: WatchedMachine, nowMs: bigint): void {
  if (!competentSets(view.sets, view.timeMs, machine.validator).some((set) => set.has(state.self))) {
    state.watches.delete(id);
    return;
  }
  const known = state.watches.get(id);
  if (known && known.machine.bootId === machine.bootId && (machine.isDown || !known.machine.isDown)) {
    if (machine.isDown && !known.machine.isDown) known.other = null;
    known.machine = machine;
    return;
  }
  // A boot id that was heard before it was registered has been heard.
  const heard = known?.other?.beat.bootId === machine.bootId ? known.other : null;
  const at = heard ? momentOf(state, heard.atMs) : { height: view.height, sinceMs: 0 };
  state.watches.set(id, { machine, beat: heard?.beat ?? null, atMs: heard?.atMs ?? nowMs, at, sinceMs: nowMs, known: heard?.beat ?? null, knownAt: at, suspected: null, other: null, answeredMs: null });
}

function noteDue(state: WitnessState, nowMs: bigint): void {
  const last = state.arrivals.at(-1);
  if (!last || state.dueMs === null) return;
  const dueMs = later(nowMs, last.atMs + BigInt(GAP_MS));
  if (dueMs < state.dueMs) state.dueMs = dueMs;
}

/** L8. */
const isLate = ({ dueMs, isStalled }: WitnessState, nowMs: bigint): boolean => isStalled || (dueMs !== null && nowMs > dueMs + BigInt(STALL_MS));

/** L5: a moment of one's own clock by the block that had come by then. */
function momentOf({ arrivals }: WitnessState, atMs: bigint): Moment {
  const block = arrivals.findLast((one) => one.atMs <= atMs) ?? arrivals[0]!;
  return { height: block.height, sinceMs: atMs > block.atMs ? Number(atMs - block.atMs) : 0 };
}

// ---- Beats and the suspicions of others -------------------------------------------------------------------------------------

function noteBeat(state: WitnessState, beat: Beat, nowMs: bigint, effects: WitnessEffect[]): void {
  const entry = state.watches.get(beat.machine);
  if (!entry || !state.view) return;
  if (entry.machine.bootId !== beat.bootId || entry.machine.isDown) return noteOther(state, entry, beat, nowMs, effects);
  if (entry.beat && beat.number <= entry.beat.number) return;
  entry.beat = beat;
  entry.atMs = nowMs;
  entry.at = momentOf(state, nowMs);
  entry.suspected = null;
  if (!entry.known || beat.number > entry.known.number) {
    entry.known = beat;
    entry.knownAt = entry.at;
  }
  const isBehind = beat.timeMs + BigInt(LAG_MS) < state.view.timeMs;
  const isClear = !isBehind && !canBeTaken(state, beat.machine, beat.bootId, state.view.timeMs);
  effects.push({ kind: "acknowledge", machine: beat.machine, acknowledgement: { bootId: beat.bootId, number: beat.number, isClear } });
}

/** L11: a suspicion of this boot id that a block may still take. */
function canBeTaken({ log }: WitnessState, machine: Hex, bootId: Hex, timeMs: bigint): boolean {
  const signed = log.get(machine);
  return signed?.bootId === bootId && timeMs <= signed.baseMs + BigInt(VOID_MS);
}

/** L12: of another boot id, or of a machine that is down. */
function noteOther(state: WitnessState, entry: Watch, beat: Beat, nowMs: bigint, effects: WitnessEffect[]): void {
  const { machine, other } = entry;
  if (other?.beat.bootId === beat.bootId && beat.number <= other.beat.number) return;
  entry.other = { beat, atMs: nowMs };
  if (!machine.isDown && nowMs - entry.atMs < BigInt(SILENT_MS)) return;
  if (entry.answeredMs !== null && nowMs - entry.answeredMs < BigInt(ANSWER_MS)) return;
  entry.answeredMs = nowMs;
  const view = state.view!;
  // That another boot id lives says that this one is silent.
  const signed = machine.isDown ? null : { bootId: machine.bootId, baseMs: view.timeMs };
  if (signed) state.log.set(beat.machine, signed);
  effects.push({
    kind: "acknowledgeUp", signed,
    acknowledgement: { witness: state.self, machine: beat.machine, bootId: beat.bootId, height: beat.height, base: view.height, before: { bootId: machine.bootId, beat: entry.beat, at: entry.at } },
  });
}

function noteSuspicion(state: WitnessState, { machine, bootId, beat }: Suspicion, nowMs: bigint): void {
  const entry = state.watches.get(machine);
  if (!entry || beat === null || entry.machine.bootId !== bootId || beat.bootId !== bootId || beat.number <= (entry.known?.number ?? 0)) return;
  entry.known = beat;
  entry.knownAt = momentOf(state, nowMs - BigInt(SILENT_MS));
}

// ---- Silence ---------------------------------------------------------------------------------------------------------------

function tick(state: WitnessState, nowMs: bigint, effects: WitnessEffect[]): void {
  const { view } = state;
  if (!view) return;
  if (isLate(state, nowMs)) {
    state.isStalled = true;
    return;
  }
  if (nowMs < state.holdUntilMs) {
    if (!hearsQuorum(state, view, nowMs)) state.holdUntilMs = nowMs + BigInt(HOLD_MS);
    return;
  }
  if (nowMs < state.muteUntilMs) return;
  for (const [id, entry] of state.watches) {
    if (!isToBeSuspected(state, view, entry, nowMs)) continue;
    if (hasLostMany(state, nowMs)) {
      state.muteUntilMs = nowMs + BigInt(GRACE_MS);
      return;
    }
    if (!hearsQuorum(state, view, nowMs)) {
      state.holdUntilMs = nowMs + BigInt(HOLD_MS);
      return;
    }
    suspect(state, view, id, entry, effects);
  }
}

/** A tick before then changes nothing, unless another event comes first. Never later than a beat: what is due moves with each. */
export function wakeMs(state: WitnessState, nowMs: bigint): bigint {
  const { view, dueMs, isStalled, holdUntilMs, muteUntilMs, watches } = state;
  let wake = nowMs + BigInt(BEAT_MS);
  if (!view || isStalled) return wake;
  if (dueMs !== null) wake = earlier(wake, dueMs + BigInt(STALL_MS) + 1n);
  // Whether a quorum is heard without a gap is seen by looking.
  if (nowMs < holdUntilMs) return earlier(wake, nowMs + BigInt(TICK_MS));
  if (nowMs < muteUntilMs) return earlier(wake, muteUntilMs);
  for (const entry of watches.values()) {
    if (!mayBeSuspected(state, view, entry)) continue;
    const silent = entry.atMs + BigInt(SILENT_MS);
    wake = earlier(wake, entry.beat === null ? later(silent, entry.sinceMs + BigInt(OVERLAP_MS)) : silent);
  }
  return wake;
}

/** L3, L7. */
function isToBeSuspected(state: WitnessState, view: LivenessView, entry: Watch, nowMs: bigint): boolean {
  if (nowMs - entry.atMs < BigInt(SILENT_MS) || (entry.beat === null && nowMs - entry.sinceMs < BigInt(OVERLAP_MS))) return false;
  return mayBeSuspected(state, view, entry);
}
/** However long it is silent. */
function mayBeSuspected({ self }: WitnessState, view: LivenessView, entry: Watch): boolean {
  if (entry.machine.isDown || (entry.machine.validator === self && view.sets.current.size > 1)) return false;
  if (entry.suspected === null || entry.suspected.number !== (entry.known?.number ?? 0)) return true;
  return view.timeMs - entry.suspected.baseMs >= BigInt(AGAIN_MS);
}

/** L9. */
function hasLostMany({ watches }: WitnessState, nowMs: bigint): boolean {
  let heard = 0;
  let lost = 0;
  for (const { machine, beat, atMs } of watches.values()) {
    if (machine.isDown || beat === null || nowMs - atMs >= BigInt(LOST_SPAN_MS)) continue;
    heard += 1;
    if (nowMs - atMs >= BigInt(LOST_MS)) lost += 1;
  }
  return heard > 1 && lost * 2 > heard;
}

/** L10: machines that host a quorum, one's own included. A validator whose machine has a new boot id is heard too. */
function hearsQuorum({ self, watches }: WitnessState, { validators }: LivenessView, nowMs: bigint): boolean {
  const heard = new Set<Hex>([self]);
  for (const { machine, beat, atMs, other } of watches.values()) {
    if (machine.validator === null) continue;
    const isHeard = (beat !== null && nowMs - atMs < BigInt(LOST_MS)) || (other !== null && nowMs - other.atMs < BigInt(LOST_MS));
    if (isHeard) heard.add(machine.validator);
  }
  let weight = 0;
  for (const validator of heard) weight += validators.get(validator) ?? 0;
  return isMoreThanTwoThirds(weight, sumOf(validators));
}

function suspect(state: WitnessState, view: LivenessView, id: Hex, entry: Watch, effects: WitnessEffect[]): void {
  const signed: Signed = { bootId: entry.machine.bootId, baseMs: view.timeMs };
  entry.suspected = { number: entry.known?.number ?? 0, baseMs: view.timeMs };
  state.log.set(id, signed);
  const isOwn = entry.beat?.number === entry.known?.number;
  effects.push({ kind: "suspect", signed, suspicion: { witness: state.self, machine: id, bootId: entry.machine.bootId, beat: entry.known, at: isOwn ? entry.at : entry.knownAt, base: view.height } });
}

const later = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const earlier = (a: bigint, b: bigint): bigint => (a < b ? a : b);
