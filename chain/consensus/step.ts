/**
 * Simplex consensus (eprint.iacr.org/2023/463), weighted, as one pure function: what happened → what to do.
 *
 * `step` owns the state and changes it in place; it reads no clock and draws no chance, so the same events give the same
 * effects on every machine. First the event is noted, then the rules run until none applies (`rules.ts`).
 */

import assert from "node:assert";
import { BLOCKS_HELD_MAX, STANDSTILL_MS } from "../constants.ts";
import { admit, cast, count } from "./ballots.ts";
import { hold, holdValid, isRequested, repeatRequests } from "./blocks.ts";
import type { Effect, Event } from "./events.ts";
import { ask, noteStatus, remember } from "./rejoin.ts";
import { RULES, armViewTimer, prune, seal } from "./rules.ts";
import { justificationOf, resend } from "./standstill.ts";
import { blockOf, isLeader, leaderOf, maySign, recordOf, sameId, wantsProposal } from "./state.ts";
import type { State, Turn } from "./state.ts";

/** Rules that apply after one event: each view entered and block committed is one; far fewer than this. */
const RULES_PER_STEP_MAX = 10_000;

export function step(state: State, event: Event): [State, Effect[]] {
  const turn: Turn = { state, nowMs: event.nowMs, effects: [] };
  if (state.phase === "halted" || state.phase === "sealed") return [state, []];
  assert((state.phase === "new") === (event.kind === "start"));
  note(turn, event);
  for (let count = 0; state.phase === "running" && RULES.some((rule) => rule(turn)); count++) assert(count < RULES_PER_STEP_MAX);
  return [state, turn.effects];
}

function note(turn: Turn, event: Event): void {
  const { state } = turn;
  switch (event.kind) {
    case "start": return start(turn, event);
    case "proposal": return noteProposal(turn, event);
    case "vote": return count(turn, event.vote);
    case "certificate": return admit(turn, event.certificate);
    case "block":
      if (isRequested(state, event.block.id)) hold(state, event.block);
      return;
    case "built": return noteBuilt(turn, event);
    case "validated": {
      const entry = blockOf(state, event.id);
      if (entry?.status !== "checking") return;
      entry.status = event.valid ? "valid" : "invalid";
      entry.dueMs = event.dueMs;
      return;
    }
    case "persisted": return notePersisted(turn, event);
    case "timer": return noteTimer(turn, event);
    case "waiting": {
      const first = state.waiting === 0 && event.count > 0;
      state.waiting = event.count;
      // Only the first one moves the timer: else a trickle keeps a dead leader's view open for ever.
      if (first && !state.hurried) armViewTimer(turn);
      return;
    }
    case "suspected":
      if (!event.suspected) state.suspected.delete(event.validator);
      else state.suspected.add(event.validator);
      if (event.suspected && leaderOf(state, state.view) === event.validator && !isLeader(state)) recordOf(state, state.view).hopeless = true;
      return;
    case "status": return noteStatus(turn, event);
    case "synced":
      if (event.final.view <= state.final.view) return;
      assert(event.finalization.view >= event.final.view);
      state.final = event.final;
      if (!state.finalization || state.finalization.view < event.finalization.view) state.finalization = event.finalization;
      if (state.highest < event.finalization.view) state.highest = event.finalization.view;
      holdValid(state, event.final, event.dueMs);
      prune(state);
      state.behindView = null;
      if (state.final.height >= state.configuration.lastHeight) seal(turn, event.finalization);
      return;
    default: event satisfies never;
  }
}

/** R1, R11: from the final block, with every vote that was ever signed above it. */
function start(turn: Turn, event: Event & { kind: "start" }): void {
  const { state, effects } = turn;
  state.phase = "running";
  state.final = event.final;
  state.view = event.final.view;
  state.highest = event.final.view;
  state.heard.fill(event.final.view);
  holdValid(state, event.final, event.dueMs);
  for (const block of event.blocks.slice(0, BLOCKS_HELD_MAX)) hold(state, block);
  if (event.finalization) {
    if (event.finalization.view > event.final.view) admit(turn, event.finalization);
    else state.finalization = event.finalization;
  }
  for (const vote of event.votes) {
    if (vote.view <= state.final.view) continue;
    assert(vote.validator === state.configuration.self);
    const { own } = recordOf(state, vote.view);
    if (vote.kind === "notarize") own.notarize = vote.id;
    else if (vote.kind === "nullify") own.nullify = true;
    else own.finalize = vote.id;
  }
  for (const certificate of event.certificates) admit(turn, certificate);
  for (const vote of event.votes) if (vote.view > state.final.view) count(turn, vote);
  for (const block of event.blocks) {
    // What it proposed before it proposes again, word for word; nothing else in that view.
    const record = state.records.get(block.view);
    if (record && sameId(record.own.notarize, block.id) && leaderOf(state, block.view) === state.configuration.self) record.proposals.push(block);
  }
  remember(turn, event.memory);
  effects.push({ kind: "timer", timer: "standstill", view: state.view, delayMs: STANDSTILL_MS });
}

/** R3, its first part: keeps the proposal; the rule `notarize` judges it when its view is here. */
function noteProposal(turn: Turn, { block, certificates }: Event & { kind: "proposal" }): void {
  const { state } = turn;
  for (const certificate of certificates) admit(turn, certificate);
  if (!wantsProposal(state, block)) return;
  const record = recordOf(state, block.view);
  const [first] = record.proposals;
  if (first && !record.accused) {
    record.accused = true; // R13
    turn.effects.push({
      kind: "evidence", evidence: { kind: "proposals", validator: leaderOf(state, block.view), view: block.view, a: first.id, b: block.id },
    });
  }
  record.proposals.push(block);
  hold(state, block);
}

function noteBuilt(turn: Turn, { view: of, block, dueMs }: Event & { kind: "built" }): void {
  const { state } = turn;
  if (of !== state.view || state.building !== of) return;
  state.building = null;
  const record = recordOf(state, of);
  if (record.own.nullify || record.own.notarize !== null || !maySign(state, of)) return;
  assert(block.view === of);
  record.proposals.unshift(block);
  holdValid(state, block, dueMs);
  cast(turn, "notarize", of, block.id);
}

/** A vote is on disk: now it may leave, and the leader's proposal before it. */
function notePersisted(turn: Turn, { vote }: Event & { kind: "persisted" }): void {
  const { state, effects } = turn;
  if (vote.view <= state.final.view) return;
  if (vote.kind === "notarize" && leaderOf(state, vote.view) === state.configuration.self) {
    const block = recordOf(state, vote.view).proposals.find((p) => sameId(p.id, vote.id));
    assert(block !== undefined);
    effects.push({ kind: "broadcast", message: { kind: "proposal", id: block.id, justification: justificationOf(state, block) } });
  }
  effects.push({ kind: "broadcast", message: { kind: "vote", vote } });
  count(turn, vote);
}

function noteTimer(turn: Turn, { timer, view: of }: Event & { kind: "timer" }): void {
  const { state, effects } = turn;
  switch (timer) {
    case "view":
      if (of === state.view) recordOf(state, of).hopeless = true; // R7
      return;
    case "build":
      if (of === state.view) state.buildTimerMs = null;
      return;
    case "request": return repeatRequests(turn);
    case "rejoin": return ask(turn);
    case "standstill":
      resend(turn);
      effects.push({ kind: "timer", timer: "standstill", view: state.view, delayMs: STANDSTILL_MS });
      return;
    default: timer satisfies never;
  }
}
