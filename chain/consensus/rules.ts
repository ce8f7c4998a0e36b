/**
 * The rules that look at the state and act when they can, in the order in which they are tried. After each event `step` runs
 * the first that applies, again and again, until none does: so a rule never calls another, and no order of events is special.
 *
 * Numbers are those of the README beside this file.
 */

import assert from "node:assert";
import type { Certificate } from "#chain/codec/schema.ts";
import { BEHIND_BLOCKS, SILENT_LEADER_VIEWS, VIEWS_BEHIND_KEPT } from "../constants.ts";
import { timeMs } from "../types.ts";
import type { TimeMs, View } from "../types.ts";
import { cast, halt } from "./ballots.ts";
import { follows, isValid, requestBlock, requestCertificate } from "./blocks.ts";
import type { BlockRef } from "./events.ts";
import { blockTimeMs, blockWantedMs, viewTimeoutMs } from "./pacing.ts";
import { blockOf, isLeader, leaderOf, maySign, next, notarizedIn, parentCertificateOf, recordOf, sameId } from "./state.ts";
import type { BlockEntry, State, Turn } from "./state.ts";
import { rejoined } from "./rejoin.ts";

/** Returns whether it changed anything that another rule could wait for. */
type Rule = (turn: Turn) => boolean;

export const RULES: readonly Rule[] = [commit, enter, rejoined, nullify, notarize, propose];

// ---- R8 ------------------------------------------------------------------------------------------------------------------

/** R8: commits the next block on the way to the newest finalization, when it has been executed. */
function commit(turn: Turn): boolean {
  const { state } = turn;
  const target = state.finalization;
  if (target === null || target.view <= state.final.view) return false;
  const child = childOfFinal(turn, target);
  if (child === null) return false;
  if (!isValid(turn, child)) return child.status === "invalid" && halt(turn, "finalized_invalid", [target]);
  state.final = child.block;
  turn.effects.push({ kind: "commit", block: child.block, finalization: target });
  if (child.block.height === state.configuration.lastHeight) seal(turn, target);
  else prune(state);
  return true;
}

/** R14: the epoch's last block is final: nothing is signed here any more, and the seals above it are forgotten with the epoch. */
export function seal({ state, effects }: Turn, finalization: Certificate): void {
  state.phase = "sealed";
  effects.push({ kind: "sealed", block: state.final, finalization });
}

function childOfFinal(turn: Turn, target: Certificate): BlockEntry | null {
  const { state } = turn;
  let id = target.id!;
  let of = target.view;
  for (;;) {
    const entry = blockOf(state, id);
    if (!entry) {
      requestBlock(turn, id, of, leaderOf(state, of));
      return null;
    }
    const { block } = entry;
    reportBehind(turn, block, target);
    if (sameId(block.parentId, state.final.id)) return entry;
    if (block.height <= state.final.height + 1 || block.parentView <= state.final.view) {
      halt(turn, "finalized_fork", [target]);
      return null;
    }
    id = block.parentId;
    of = block.parentView;
  }
}

function reportBehind({ state, effects }: Turn, block: BlockRef, target: Certificate): void {
  if (block.height - state.final.height <= BEHIND_BLOCKS || state.behindView === target.view) return;
  state.behindView = target.view;
  effects.push({ kind: "behind", finalization: target });
}

/** Forgets what lies below the final block; a few views of votes stay, to see who is alive and who lies. */
export function prune(state: State): void {
  const { view } = state.final;
  for (const [of] of state.records) if (of <= view - VIEWS_BEHIND_KEPT) state.records.delete(of);
  for (const [id, { block }] of state.blocks) if (block.view <= view && !sameId(block.id, state.final.id)) state.blocks.delete(id);
  for (const [key, open] of state.requests) if (open.view <= view) state.requests.delete(key);
}

// ---- R1, R6 ----------------------------------------------------------------------------------------------------------------

/** R6: a certificate of this view or a later one ends it. R1: the next view begins, with its timer. */
function enter(turn: Turn): boolean {
  const { state } = turn;
  if (state.highest < state.view) return false;
  // Views that were jumped over are no silence of anybody: this node was not there to hear.
  const jumped = state.highest - state.view;
  for (const [index, heard] of state.heard.entries()) state.heard[index] = heard + jumped;
  state.view = next(state.highest);
  state.enteredMs = turn.nowMs;
  state.building = null;
  state.buildTimerMs = null;
  armViewTimer(turn);
  const leader = leaderOf(state, state.view);
  const silent = state.view - state.heard[leader]! > SILENT_LEADER_VIEWS;
  if (leader !== state.configuration.self && (silent || state.suspected.has(leader))) recordOf(state, state.view).hopeless = true;
  return true;
}

export function armViewTimer(turn: Turn): void {
  const { state, nowMs, effects } = turn;
  const { pace } = state.configuration;
  state.hurried = state.waiting > 0;
  state.wantedMs = wantedMs(turn);
  // Of the newest finalization, not of the block that this node has come to: who fetches the chain must not wait with its view.
  const viewsSinceFinal = Math.max(0, state.view - Math.max(state.final.view, state.finalization?.view ?? 0) - 2);
  const delayMs = viewTimeoutMs(pace, state.wantedMs, nowMs, viewsSinceFinal, state.waiting);
  effects.push({ kind: "timer", timer: "view", view: state.view, delayMs });
}

/** When the block of this view should come; bounded by this node's own clock, as a parent's time may be ahead of it. */
function wantedMs({ state }: Turn): TimeMs {
  const { pace } = state.configuration;
  const latest = timeMs(state.enteredMs + BigInt(pace.idleIntervalMs));
  const parent = parentOf(state);
  const entry = parent.found ? blockOf(state, parent.id) : undefined;
  const isLast = entry !== undefined && entry.block.height >= state.configuration.lastHeight;
  // R14: a seal is due at once.
  const wanted = entry ? blockWantedMs(pace, entry.block.timeMs, isLast ? entry.block.timeMs : entry.dueMs, state.waiting) : state.waiting > 0 ? state.enteredMs : latest;
  return wanted < latest ? wanted : latest;
}

// ---- R7 ------------------------------------------------------------------------------------------------------------------

/** R7: gives up a view that is hopeless: its time is over, its block is wrong, its leader gave up, is silent or suspected. */
function nullify(turn: Turn): boolean {
  const { state } = turn;
  const record = state.records.get(state.view);
  if (!record?.hopeless || !maySign(state, state.view)) return false;
  // R11: a finalize vote can come out of the vote log before its notarization is seen again. It binds.
  if (record.own.nullify || record.own.finalize !== null) return false;
  cast(turn, "nullify", state.view, null);
  return true;
}

// ---- R3 ------------------------------------------------------------------------------------------------------------------

/** R3: notarizes the first proposal of this view that holds. */
function notarize(turn: Turn): boolean {
  const { state } = turn;
  const record = state.records.get(state.view);
  if (!record || !maySign(state, state.view) || record.own.notarize !== null || record.own.nullify) return false;
  for (const block of record.proposals) {
    const verdict = judge(turn, block);
    if (verdict === "wait") continue;
    if (verdict === "yes") cast(turn, "notarize", state.view, block.id);
    else if (record.hopeless) continue;
    else record.hopeless = true;
    return true;
  }
  return false;
}

function judge(turn: Turn, block: BlockRef): "yes" | "never" | "wait" {
  const { state, nowMs } = turn;
  if (block.parentView >= block.view || block.parentView < state.final.view) return "never";
  if (block.timeMs > nowMs + BigInt(state.configuration.pace.clockSkewMsMax)) return "never";
  const notarized = notarizedIn(state, block.parentView);
  if (notarized === null) {
    requestCertificate(turn, "notarize", block.parentView);
    return "wait";
  }
  if (!sameId(notarized, block.parentId)) return "never";
  for (let of = next(block.parentView); of < block.view; of = next(of)) {
    if (state.records.get(of)?.nullification) continue;
    requestCertificate(turn, "nullify", of);
    return "wait";
  }
  const parent = blockOf(state, block.parentId);
  if (!parent) {
    requestBlock(turn, block.parentId, block.parentView, leaderOf(state, block.view));
    return "wait";
  }
  if (!follows(state, parent.block, block)) return "never";
  const entry = blockOf(state, block.id);
  if (!entry) return "wait";
  if (isValid(turn, entry)) return "yes";
  return entry.status === "invalid" ? "never" : "wait";
}

// ---- R2 ------------------------------------------------------------------------------------------------------------------

/** R2: the leader has its block built, once a view, when it is wanted. `built` notarizes it; its proposal follows its vote. */
function propose(turn: Turn): boolean {
  const { state, nowMs, effects } = turn;
  const record = recordOf(state, state.view);
  if (!isLeader(state) || !maySign(state, state.view) || state.building !== null || record.own.notarize !== null || record.own.nullify) return false;
  const parent = readyParent(turn);
  if (!parent) return false;
  const wanted = wantedMs(turn);
  if (nowMs < wanted) {
    if (state.buildTimerMs === wanted) return false;
    state.buildTimerMs = wanted;
    effects.push({ kind: "timer", timer: "build", view: state.view, delayMs: Number(wanted - nowMs) });
    return false;
  }
  const parentCertificate = parentCertificateOf(state, parent.block);
  assert(parentCertificate !== null || parent.block.view === 0);
  state.building = state.view;
  effects.push({ kind: "build", view: state.view, parent: parent.block, parentCertificate, timeMs: blockTimeMs(state.configuration.pace, parent.block.timeMs, wanted, nowMs) });
  return true;
}

/** The parent with everything a block on it needs; asks for what is missing. */
function readyParent(turn: Turn): BlockEntry | null {
  const { state } = turn;
  const parent = parentOf(state);
  if (!parent.found) {
    requestCertificate(turn, "nullify", parent.missing);
    return null;
  }
  const entry = blockOf(state, parent.id);
  if (!entry) requestBlock(turn, parent.id, parent.view, leaderOf(state, parent.view));
  if (!entry || !isValid(turn, entry)) return null;
  if (entry.block.view > 0 && parentCertificateOf(state, entry.block) === null) {
    requestCertificate(turn, "notarize", parent.view);
    return null;
  }
  return entry;
}

/** The newest notarized block below this view with every view between nullified. */
function parentOf(state: State): { found: true; view: View; id: BlockRef["id"] } | { found: false; missing: View } {
  for (let of = state.view - 1; ; of--) {
    assert(of >= state.final.view);
    const id = notarizedIn(state, of);
    if (id !== null) return { found: true, view: of as View, id };
    if (!state.records.get(of)?.nullification) return { found: false, missing: of as View };
  }
}
