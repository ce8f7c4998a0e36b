/**
 * The machine's side: sends beats (L1), fences tasks and actors (L13), asks to be up (L12), and stops everything when another
 * machine has its key (L14). A pure function of what happened; the shell ticks when `wakeMs` says and carries effects out.
 */
import type { Acknowledgement, Beat, UpAcknowledgement } from "#chain/codec/liveness.ts";
import { BEATS_KEPT, BEAT_MS, FENCE_MS, SUCCESSOR_MS, UP_WAIT_MS, isTwoThirds } from "#chain/liveness/rules.ts";
import { type LivenessView, type WatchedMachine, type Weights, competentSets, sumOf, weightIn } from "#chain/liveness/witnesses.ts";
import type { Hex } from "#chain/types.ts";

/** A lease of this machine and this boot id, as a final block has it. */
export type HostedLease = {
  readonly id: string;
  /** A task or an actor: never twice at one time. A service may be. */
  readonly isFenced: boolean;
  /** It ran somewhere else before. */
  readonly isSuccessor: boolean;
};

export type HostEvent = { /** Monotonic. */ readonly nowMs: bigint } & (
  | { readonly kind: "final"; readonly view: LivenessView; readonly leases: readonly HostedLease[] }
  | { readonly kind: "acknowledgement"; readonly from: Hex; readonly acknowledgement: Acknowledgement }
  | { readonly kind: "upAcknowledgement"; readonly acknowledgement: UpAcknowledgement }
  | { readonly kind: "tick" });

export type HostEffect =
  | { readonly kind: "beat"; readonly to: readonly Hex[]; readonly beat: Omit<Beat, "signature"> }
  | { readonly kind: "up"; readonly bootId: Hex; readonly acknowledgements: readonly UpAcknowledgement[] }
  | { readonly kind: "start"; readonly lease: string }
  | { readonly kind: "stop"; readonly lease: string; readonly why: "fence" | "ledger" | "machine_key_in_use" }
  | { readonly kind: "halt"; readonly code: "machine_key_in_use" };

type Sent = { readonly number: number; readonly atMs: bigint; readonly clear: Set<Hex> };
type Hosted = { readonly lease: HostedLease; readonly startMs: bigint; isRunning: boolean };

export type HostState = {
  readonly machine: Hex;
  readonly bootId: Hex;
  number: number;
  nextBeatMs: bigint;
  view: LivenessView | null;
  /** This life's boot id was registered: another one is somebody else. Before, it may be one's own of before, in a block that comes late; and nothing runs yet. */
  wasUp: boolean;
  readonly sent: Sent[];
  /** When the newest beat was sent that has clear acknowledgements enough. */
  clearMs: bigint | null;
  readonly hosted: Map<string, Hosted>;
  readonly upAcknowledgements: Map<Hex, UpAcknowledgement>;
  upEnoughMs: bigint | null;
  isHalted: boolean;
};

export const newHost = (machine: Hex, bootId: Hex, nowMs: bigint): HostState => ({
  machine, bootId, number: 0, nextBeatMs: nowMs, view: null, wasUp: false, sent: [], clearMs: null, hosted: new Map(), upAcknowledgements: new Map(), upEnoughMs: null, isHalted: false,
});

export function stepHost(state: HostState, event: HostEvent): [HostState, HostEffect[]] {
  const effects: HostEffect[] = [];
  if (state.isHalted) return [state, effects];
  switch (event.kind) {
    case "final": noteFinal(state, event.view, event.leases, event.nowMs, effects); break;
    case "acknowledgement": noteAcknowledgement(state, event.from, event.acknowledgement); break;
    case "upAcknowledgement": noteUp(state, event.acknowledgement, event.nowMs); break;
    case "tick": tick(state, event.nowMs, effects); break;
    default: event satisfies never;
  }
  return [state, effects];
}

const isUp = (state: HostState, me: WatchedMachine): boolean => me.bootId === state.bootId && !me.isDown;

function noteFinal(state: HostState, view: LivenessView, leases: readonly HostedLease[], nowMs: bigint, effects: HostEffect[]): void {
  if (state.view && view.height <= state.view.height) return;
  state.view = view;
  const me = view.machines.get(state.machine);
  if (me) {
    if (me.bootId === state.bootId) state.wasUp = true;
    else if (state.wasUp) return halt(state, effects);
  }
  const isMine = me !== undefined && isUp(state, me);
  const held = new Map((isMine ? leases : []).map((lease) => [lease.id, lease]));
  for (const [id, hosted] of state.hosted) {
    if (held.has(id)) continue;
    if (hosted.isRunning) effects.push({ kind: "stop", lease: id, why: "ledger" });
    state.hosted.delete(id);
  }
  for (const lease of held.values()) {
    if (state.hosted.has(lease.id)) continue;
    const isToWait = lease.isFenced && lease.isSuccessor;
    state.hosted.set(lease.id, { lease, startMs: isToWait ? nowMs + BigInt(SUCCESSOR_MS) : nowMs, isRunning: false });
  }
  if (!isMine) return;
  state.upAcknowledgements.clear();
  state.upEnoughMs = null;
}

/** L14. */
function halt(state: HostState, effects: HostEffect[]): void {
  for (const [id, { isRunning }] of state.hosted) if (isRunning) effects.push({ kind: "stop", lease: id, why: "machine_key_in_use" });
  state.hosted.clear();
  state.isHalted = true;
  effects.push({ kind: "halt", code: "machine_key_in_use" });
}

function setsOf(state: HostState): Weights[] {
  const { view } = state;
  return view ? competentSets(view.sets, view.timeMs, view.machines.get(state.machine)?.validator ?? null) : [];
}

/** L11, L13: what counts is when the beat was sent, not when the answer came. */
function noteAcknowledgement(state: HostState, from: Hex, { bootId, number, isClear }: Acknowledgement): void {
  const sent = state.sent.find((one) => one.number === number);
  const sets = setsOf(state);
  if (!sent || !isClear || bootId !== state.bootId || !sets.some((set) => set.has(from))) return;
  sent.clear.add(from);
  const isEnough = sets.every((set) => isTwoThirds(weightIn(set, sent.clear), sumOf(set)));
  if (isEnough && (state.clearMs === null || sent.atMs > state.clearMs)) state.clearMs = sent.atMs;
}

/** L12. */
function noteUp(state: HostState, acknowledgement: UpAcknowledgement, nowMs: bigint): void {
  const sets = setsOf(state);
  const me = state.view?.machines.get(state.machine);
  if (!me || isUp(state, me) || acknowledgement.bootId !== state.bootId || !sets.some((set) => set.has(acknowledgement.witness))) return;
  state.upAcknowledgements.set(acknowledgement.witness, acknowledgement);
  if (sets.some((set) => isTwoThirds(weightIn(set, state.upAcknowledgements.keys()), sumOf(set)))) state.upEnoughMs ??= nowMs;
}

function tick(state: HostState, nowMs: bigint, effects: HostEffect[]): void {
  if (state.view && nowMs >= state.nextBeatMs) {
    beat(state, state.view, nowMs, effects);
    askUp(state, nowMs, effects);
  }
  const isOpen = state.clearMs !== null && nowMs < state.clearMs + BigInt(FENCE_MS);
  for (const [id, hosted] of state.hosted) {
    if (hosted.isRunning && hosted.lease.isFenced && !isOpen) {
      hosted.isRunning = false;
      effects.push({ kind: "stop", lease: id, why: "fence" });
    } else if (!hosted.isRunning && nowMs >= hosted.startMs && (isOpen || !hosted.lease.isFenced)) {
      hosted.isRunning = true;
      effects.push({ kind: "start", lease: id });
    }
  }
}

/** A tick before then changes nothing, unless another event comes first. */
export function wakeMs({ view, nextBeatMs, clearMs, hosted, isHalted }: HostState, nowMs: bigint): bigint {
  if (isHalted || !view) return nowMs + BigInt(BEAT_MS);
  const closesMs = clearMs === null ? nowMs : clearMs + BigInt(FENCE_MS);
  let wake = nextBeatMs;
  for (const { lease, startMs, isRunning } of hosted.values()) {
    if (isRunning && lease.isFenced) wake = earlier(wake, closesMs);
    else if (!isRunning && (nowMs < closesMs || !lease.isFenced)) wake = earlier(wake, startMs);
  }
  return wake;
}
const earlier = (a: bigint, b: bigint): bigint => (a < b ? a : b);

function beat(state: HostState, view: LivenessView, nowMs: bigint, effects: HostEffect[]): void {
  const next = state.nextBeatMs + BigInt(BEAT_MS);
  state.nextBeatMs = next > nowMs ? next : nowMs;
  state.number += 1;
  state.sent.push({ number: state.number, atMs: nowMs, clear: new Set() });
  if (state.sent.length > BEATS_KEPT) state.sent.shift();
  const to = new Set(setsOf(state).flatMap((set) => [...set.keys()]));
  effects.push({ kind: "beat", to: [...to], beat: { machine: state.machine, bootId: state.bootId, number: state.number, height: view.height, timeMs: view.timeMs } });
}

/** With every beat, once all have spoken or enough have and the rest had their time. */
function askUp(state: HostState, nowMs: bigint, effects: HostEffect[]): void {
  if (state.upEnoughMs === null) return;
  const isWhole = setsOf(state).some((set) => weightIn(set, state.upAcknowledgements.keys()) === sumOf(set));
  if (!isWhole && nowMs - state.upEnoughMs < BigInt(UP_WAIT_MS)) return;
  effects.push({ kind: "up", bootId: state.bootId, acknowledgements: [...state.upAcknowledgements.values()] });
}
