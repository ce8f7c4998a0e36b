/**
 * R9: when nothing was finalized for a while although a block was due, what one holds is sent again.
 *
 * Messages may have been lost, and nobody knows whose. What goes out at once is bounded, and the next standstill goes on where
 * this one stopped: a long asynchronous time makes many views, and resending all of them would fill the links.
 */

import type { Certificate } from "#chain/codec/schema.ts";
import { BLOCK_BYTES_MAX, JUSTIFICATION_CERTIFICATES_MAX, STANDSTILL_BYTES_MAX } from "../constants.ts";
import type { BlockRef, Outgoing } from "./events.ts";
import { leaderOf, next } from "./state.ts";
import type { State, Turn, ViewRecord } from "./state.ts";

/** Bytes of a message without its signatures and its block, roughly. */
const FRAME_BYTES = 128;

export function resend(turn: Turn): void {
  const { state, nowMs, effects } = turn;
  const { standstill } = state;
  // A clock that reads less than when the view began was set back: then its word on what is wanted counts for nothing.
  const due = nowMs >= state.wantedMs || nowMs < state.enteredMs;
  const still = standstill.finalView === state.final.view && due;
  standstill.finalView = state.final.view;
  if (!still || state.configuration.self === null) return;
  let bytes = 0;
  const send = (message: Outgoing): void => {
    effects.push({ kind: "broadcast", message });
    bytes += bytesOf(message);
  };
  if (state.finalization) send({ kind: "certificate", certificate: state.finalization });
  const views = [...state.records.keys()].filter((of) => of > state.final.view).toSorted((a, b) => a - b);
  if (views.length === 0) return;
  const from = Math.max(0, views.findIndex((of) => of >= standstill.cursor));
  for (let at = 0; at < views.length; at++) {
    const of = views[(from + at) % views.length]!;
    standstill.cursor = of;
    if (bytes >= STANDSTILL_BYTES_MAX) return;
    resendView(state, state.records.get(of)!, send);
  }
  standstill.cursor = 0;
}

function resendView(state: State, record: ViewRecord, send: (message: Outgoing) => void): void {
  const { notarization, nullification, finalization } = record;
  for (const certificate of [notarization, nullification, finalization]) {
    if (certificate && certificate !== state.finalization) send({ kind: "certificate", certificate });
  }
  const { self } = state.configuration;
  const ballot = record.ballots.get(self!);
  // A notarized block can be had by its id, and a nullified view needs none; until then only its leader's word makes others vote.
  if (leaderOf(state, record.view) === self && ballot?.notarize && !notarization && !nullification) {
    const [block] = record.proposals;
    if (block) send({ kind: "proposal", id: block.id, justification: justificationOf(state, block) });
  }
  for (const vote of [ballot?.notarize, ballot?.nullify, ballot?.finalize]) if (vote) send({ kind: "vote", vote });
}

/** Nullifications of the views that a block jumps over, the newest if they are too many. */
export function justificationOf(state: State, block: BlockRef): readonly Certificate[] {
  const nullifications: Certificate[] = [];
  for (let of = next(block.parentView); of < block.view; of = next(of)) {
    const nullification = state.records.get(of)?.nullification;
    if (nullification) nullifications.push(nullification);
  }
  return nullifications.slice(-JUSTIFICATION_CERTIFICATES_MAX);
}

/** A proposal counts as if its block were full: consensus does not know its size. */
function bytesOf(message: Outgoing): number {
  if (message.kind === "vote") return FRAME_BYTES + 64;
  if (message.kind === "certificate") return FRAME_BYTES + message.certificate.signatures.length;
  if (message.kind === "statusRequest") return FRAME_BYTES;
  return FRAME_BYTES + BLOCK_BYTES_MAX + message.justification.reduce((sum, c) => sum + FRAME_BYTES + c.signatures.length, 0);
}
