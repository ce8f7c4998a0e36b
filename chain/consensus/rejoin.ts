/**
 * R12: coming back without a memory of what one has signed.
 *
 * It asks all for their views, under a nonce it never used before, and signs nothing. Who answers is not rejoining itself, and says
 * the highest view in which it may have signed. When a quorum has answered, the highest of those views and one more are mute: nothing
 * is ever signed there, and everything above is as usual.
 *
 * Why: had it signed in view p, the view before had ended by a certificate, so honest validators of a quorum less a third had signed in
 * p − 1 and answer at least that, or have a mute that covers it. Any quorum of answers has one of them. A liar can answer too much: an
 * answer counts once it is at most one view per validator above what certificates prove.
 *
 * The next epoch begins mute in its first view: had it signed in the second, the first had ended, so honest validators of a quorum less a third
 * were in that epoch and answer nothing for this one. That holds for equal sets; of unequal ones those may be others than who is asked.
 */

import { quorumOf, weightOf, weightSumOf } from "#chain/codec/quorum.ts";
import type { Certificate } from "#chain/codec/schema.ts";
import { REJOIN_MS } from "../constants.ts";
import { view } from "../types.ts";
import type { View } from "../types.ts";
import type { Event, Memory } from "./events.ts";
import { admit } from "./ballots.ts";
import type { State, Turn } from "./state.ts";

export function remember(turn: Turn, memory: Memory): void {
  const { state } = turn;
  if (memory.kind === "mute") state.mute = memory.upTo;
  if (memory.kind !== "lost") return;
  state.rejoin = { nonce: memory.nonce, answers: new Map() };
  ask(turn);
}

/** The rejoin timer: asks again; who has answered may have moved on. */
export function ask({ state, effects }: Turn): void {
  if (!state.rejoin) return;
  effects.push({ kind: "broadcast", message: { kind: "statusRequest", nonce: state.rejoin.nonce } });
  effects.push({ kind: "timer", timer: "rejoin", view: state.view, delayMs: REJOIN_MS });
}

export function noteStatus(turn: Turn, { validator, nonce, view: of, certificates }: Event & { kind: "status" }): void {
  const { state } = turn;
  for (const certificate of certificates) admit(turn, certificate);
  const { rejoin } = state;
  if (!rejoin || validator === state.configuration.self || validator >= state.configuration.weights.length) return;
  if (nonce.length !== rejoin.nonce.length || nonce.some((byte, at) => byte !== rejoin.nonce[at])) return;
  rejoin.answers.set(validator, of);
}

/** The rule: a quorum of answers that certificates make believable. */
export function rejoined(turn: Turn): boolean {
  const { state, effects } = turn;
  if (!state.rejoin) return false;
  const { weights } = state.configuration;
  const believed = [...state.rejoin.answers].filter(([, of]) => of <= state.highest + 1 + weights.length);
  if (weightOf(believed.map(([validator]) => validator), weights) < quorumOf(weightSumOf(weights))) return false;
  state.mute = view(believed.reduce((most, [, of]) => Math.max(most, of), 0) + 1);
  state.rejoin = null;
  effects.push({ kind: "muted", upTo: state.mute });
  return true;
}

/** The answer to a peer that rejoins; null when this node knows too little to give one. */
export function statusOf(state: State): { view: View; admitting: Certificate | null; finalization: Certificate | null } | null {
  if (state.phase !== "running" || state.configuration.self === null || state.rejoin !== null) return null;
  const record = state.records.get(state.highest);
  const admitting = record?.notarization ?? record?.nullification ?? record?.finalization ?? (state.finalization?.view === state.highest ? state.finalization : null);
  return { view: view(Math.max(state.view, state.mute)), admitting, finalization: state.finalization };
}
