/**
 * Blocks above the final one: held, executed in the order of their parents, asked for when they are missing (R10).
 */

import type { VoteKind } from "#chain/codec/schema.ts";
import { BLOCKS_HELD_MAX, REQUESTS_MAX, REQUEST_GROWTHS_MAX } from "../constants.ts";
import { hex, timeMs } from "../types.ts";
import type { Digest, View } from "../types.ts";
import type { BlockRef, DueMs, Request } from "./events.ts";
import { type Pace, childTimeMsMin, graceMs } from "./pacing.ts";
import { blockOf, leaderOf, sameId } from "./state.ts";
import type { BlockEntry, State, Turn } from "./state.ts";

/** Keeps a block; nothing is believed of it yet. */
export function hold(state: State, block: BlockRef): void {
  const key = hex(block.id);
  state.requests.delete(blockKey(block.id));
  if (block.view <= state.final.view || state.blocks.has(key) || state.blocks.size >= BLOCKS_HELD_MAX) return;
  state.blocks.set(key, { block, status: "held", dueMs: null });
}

/** A block that this node built, committed or executed: its state is at hand. */
export function holdValid(state: State, block: BlockRef, dueMs: DueMs): void {
  state.blocks.set(hex(block.id), { block, status: "valid", dueMs });
  state.requests.delete(blockKey(block.id));
}

/**
 * Whether the block has been executed and was right. If that is not known, has the first of its ancestors executed of which
 * it is not known, or asks for the one that is missing; `validated` or `block` goes on from there.
 */
export function isValid(turn: Turn, entry: BlockEntry): boolean {
  let current = entry;
  while (current.status === "held") {
    const parent = blockOf(turn.state, current.block.parentId);
    if (!parent) {
      const { parentId, parentView } = current.block;
      if (parentView <= turn.state.final.view) current.status = "invalid"; // It forks off below what is final.
      else requestBlock(turn, parentId, parentView, leaderOf(turn.state, parentView));
      return false;
    }
    if (parent.status === "invalid" || !follows(turn.state, parent.block, current.block)) {
      current.status = "invalid";
    } else if (parent.status === "valid") {
      current.status = "checking";
      turn.effects.push({ kind: "validate", block: current.block });
    } else {
      current = parent;
    }
  }
  return entry.status === "valid";
}

/** R3, what the header says about the parent. */
export function follows(state: State, parent: BlockRef, child: BlockRef): boolean {
  return sameId(child.parentId, parent.id) && child.parentView === parent.view && child.view > parent.view
    && child.height === parent.height + 1 && child.timeMs >= childTimeMsMin(state.configuration.pace, parent.timeMs);
}

// ---- R10 -----------------------------------------------------------------------------------------------------------------

const blockKey = (id: Digest): string => `block ${hex(id)}`;

export function requestBlock(turn: Turn, id: Digest, of: View, from: number): void {
  if (turn.state.blocks.size >= BLOCKS_HELD_MAX) return;
  request(turn, blockKey(id), { kind: "blockRequest", id }, of, from);
}

export function requestCertificate(turn: Turn, certificateKind: VoteKind, of: View): void {
  request(turn, `${certificateKind} ${of}`, { kind: "certificateRequest", certificateKind, view: of }, of, leaderOf(turn.state, turn.state.view));
}

function request(turn: Turn, key: string, what: Request, of: View, from: number): void {
  const { state, nowMs, effects } = turn;
  if (state.requests.has(key) || state.requests.size >= REQUESTS_MAX) return;
  const againMs = timeMs(nowMs + BigInt(graceMs(state.configuration.pace, 0)));
  state.requests.set(key, { request: what, view: of, from, attempt: 0, againMs });
  effects.push({ kind: "request", request: what, attempt: 0, from });
  armRequestTimer(turn);
}

/** A certificate of this view is here: if another is still needed, a rule will ask again. */
export function closeRequest(state: State, of: View): void {
  for (const kind of ["notarize", "nullify", "finalize"] as const) state.requests.delete(`${kind} ${of}`);
}

export function isRequested(state: State, id: Digest): boolean {
  return state.requests.has(blockKey(id));
}

/** The request timer: asks again, somebody else, half as long again after each attempt, up to a few seconds: an answer may be there as soon as the network is. */
export function repeatRequests(turn: Turn): void {
  const { state, nowMs, effects } = turn;
  state.requestTimer = false;
  for (const open of state.requests.values()) {
    const { pace } = state.configuration;
    const leftMs = open.againMs - nowMs;
    // More than was ever set: the clock was set back meanwhile.
    if (leftMs > 0n && leftMs <= BigInt(waitMs(pace, open.attempt))) continue;
    open.attempt += 1;
    open.againMs = timeMs(nowMs + BigInt(waitMs(pace, open.attempt)));
    effects.push({ kind: "request", request: open.request, attempt: open.attempt, from: open.from });
  }
  if (state.requests.size > 0) armRequestTimer(turn);
}

const waitMs = (pace: Pace, attempt: number): number => graceMs(pace, Math.min(attempt, REQUEST_GROWTHS_MAX));

function armRequestTimer({ state, effects }: Turn): void {
  if (state.requestTimer) return;
  state.requestTimer = true;
  effects.push({ kind: "timer", timer: "request", view: state.view, delayMs: graceMs(state.configuration.pace, 0) });
}
