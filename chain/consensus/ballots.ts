/**
 * Votes: how this node casts them, counts them, turns a quorum into a certificate, and notices who signs two things.
 *
 * What may never be signed together is asserted here, at the one place where votes are made, whatever rule asked for them.
 */

import assert from "node:assert";
import type { Certificate, SignedVote, Vote, VoteKind } from "#chain/codec/schema.ts";
import { bitmapOf, signersOf } from "#chain/codec/quorum.ts";
import { CERTIFICATE_FLOOD_VALIDATORS_MAX } from "../constants.ts";
import { hex } from "../types.ts";
import type { Digest, Signature, View } from "../types.ts";
import { closeRequest, requestBlock } from "./blocks.ts";
import type { Evidence, HaltReason } from "./events.ts";
import { blockOf, certificateIn, leaderOf, maySign, recordOf, sameId, wantsCertificate, wantsVote } from "./state.ts";
import type { Ballot, State, Turn, ViewRecord } from "./state.ts";

/** Decides for a vote. It counts, and leaves this node, once it is on disk (`persisted`). */
export function cast(turn: Turn, kind: VoteKind, of: View, id: Digest | null): void {
  const { configuration } = turn.state;
  const { own } = recordOf(turn.state, of);
  assert(configuration.self !== null);
  assert(of > turn.state.final.view);
  assert(maySign(turn.state, of)); // R12
  if (kind === "notarize") {
    assert(of === turn.state.view);
    assert(own.notarize === null);
    assert(!own.nullify);
    own.notarize = id;
  } else if (kind === "nullify") {
    assert(of === turn.state.view);
    assert(!own.nullify);
    assert(own.finalize === null);
    own.nullify = true;
  } else {
    assert(sameId(own.notarize, id));
    assert(!own.nullify);
    assert(own.finalize === null);
    own.finalize = id;
  }
  const vote: Vote = { kind, chainId: configuration.chainId, epoch: configuration.epoch, view: of, id };
  turn.effects.push({ kind: "persist", vote, certificate: permitting(turn.state, vote) });
}

/** Of a finalize vote the notarization (R5), of another the certificate that ended the view before (R1); null in the first view. */
function permitting({ records, finalization }: State, { kind, view }: Vote): Certificate | null {
  if (kind === "finalize") return records.get(view)!.notarization;
  const before = records.get(view - 1);
  return before?.notarization ?? before?.nullification ?? before?.finalization ?? (finalization?.view === view - 1 ? finalization : null);
}

/** Counts a vote whose signature holds. */
export function count(turn: Turn, vote: SignedVote): void {
  const { state } = turn;
  if (!wantsVote(state, vote) && vote.validator !== state.configuration.self) return;
  state.heard[vote.validator] = Math.max(state.heard[vote.validator]!, vote.view);
  const record = recordOf(state, vote.view);
  const ballot = ballotOf(record, vote.validator);
  accuse(turn, ballot, vote); // R13
  if (ballot[vote.kind] !== null) return; // The first of a kind counts, also of a liar: memory and tallies stay bounded.
  ballot[vote.kind] = vote;
  if (vote.kind === "nullify" && vote.view === state.view && vote.validator === leaderOf(state, vote.view)) record.hopeless = true; // R7
  const key = vote.kind + (vote.id ? hex(vote.id) : "");
  const weight = (record.tally.get(key) ?? 0) + state.configuration.weights[vote.validator]!;
  record.tally.set(key, weight);
  if (weight >= state.quorum && certificateIn(record, vote.kind) === null) admit(turn, assemble(state, record, vote)); // R4
}

/** R4: takes a certificate that holds, the first of its kind and view, and sends it on. */
export function admit(turn: Turn, certificate: Certificate): void {
  const { state } = turn;
  if (!wantsCertificate(state, certificate)) return;
  const record = recordOf(state, certificate.view);
  if (contradicts(turn, record, certificate)) return;
  if (certificate.kind === "notarize") record.notarization = certificate;
  else if (certificate.kind === "nullify") record.nullification = certificate;
  else record.finalization = certificate;
  if (certificate.view > state.highest) state.highest = certificate.view;
  if (certificate.kind === "finalize") state.finalization = certificate;
  closeRequest(state, certificate.view);
  noteSigners(turn, record, certificate);
  const { weights, self } = state.configuration;
  if (self !== null && weights.length <= CERTIFICATE_FLOOD_VALIDATORS_MAX) {
    turn.effects.push({ kind: "broadcast", message: { kind: "certificate", certificate } });
  }
  if (certificate.id && !blockOf(state, certificate.id)) requestBlock(turn, certificate.id, certificate.view, leaderOf(state, certificate.view));
  finalizeNotarized(turn, record);
}

/** R5: what is notarized, and by this node too, it finalizes, unless it gave the view up. Also late. */
function finalizeNotarized(turn: Turn, record: ViewRecord): void {
  const { own, notarization } = record;
  if (notarization === null || own.notarize === null || !sameId(own.notarize, notarization.id)) return;
  if (own.nullify || own.finalize !== null || !maySign(turn.state, record.view)) return;
  cast(turn, "finalize", record.view, notarization.id);
}

/** R13: who signed a certificate has voted so, and may have voted otherwise to this node. */
function noteSigners(turn: Turn, record: ViewRecord, { kind, epoch, view, id, bitmap, signatures }: Certificate): void {
  const { heard, configuration: { chainId, weights, self } } = turn.state;
  for (const [at, validator] of (signersOf(bitmap, weights.length) ?? []).entries()) {
    heard[validator] = Math.max(heard[validator]!, view);
    const ballot = ballotOf(record, validator);
    if (validator === self || (ballot[kind] && sameId(ballot[kind].id, id))) continue;
    const vote: SignedVote = { kind, chainId, epoch, view, id, validator, signature: signatures.subarray(64 * at, 64 * at + 64) as Signature };
    accuse(turn, ballot, vote);
    ballot[kind] ??= vote;
  }
}

/** Two quorums that cannot both be: more than a third of the stake signed both, and no rule helps any more. */
function contradicts(turn: Turn, record: ViewRecord, certificate: Certificate): boolean {
  const { kind } = certificate;
  const finalId = record.finalization?.id ?? null;
  const notarizedId = record.notarization?.id ?? null;
  if (kind === "nullify") return record.finalization !== null && halt(turn, "finalized_and_nullified", [record.finalization, certificate]);
  if (kind === "finalize" && record.nullification) return halt(turn, "finalized_and_nullified", [record.nullification, certificate]);
  const other = finalId && !sameId(finalId, certificate.id) ? record.finalization
    : notarizedId && !sameId(notarizedId, certificate.id) ? record.notarization : null;
  if (!other) return false;
  return halt(turn, kind === "finalize" && other.kind === "finalize" ? "finalized_fork" : "notarized_twice", [other, certificate]);
}

export function halt(turn: Turn, reason: HaltReason, certificates: readonly Certificate[]): true {
  turn.state.phase = "halted";
  turn.effects.push({ kind: "halt", reason, certificates });
  return true;
}

function ballotOf(record: ViewRecord, validator: number): Ballot {
  let ballot = record.ballots.get(validator);
  if (!ballot) {
    ballot = { notarize: null, nullify: null, finalize: null, accused: false };
    record.ballots.set(validator, ballot);
  }
  return ballot;
}

/** R13: notarize twice, finalize twice, finalize and nullify, notarize one and finalize another. Reported once a view. */
function accuse(turn: Turn, ballot: Ballot, vote: SignedVote): void {
  if (ballot.accused) return;
  const conflict = conflicting(ballot, vote);
  if (conflict === null) return;
  ballot.accused = true;
  const evidence: Evidence = { kind: "votes", validator: vote.validator, a: conflict, b: vote };
  turn.effects.push({ kind: "evidence", evidence });
}

function conflicting(ballot: Ballot, vote: SignedVote): SignedVote | null {
  const differs = (other: SignedVote | null): boolean => other !== null && !sameId(other.id, vote.id);
  switch (vote.kind) {
    case "notarize": return differs(ballot.notarize) ? ballot.notarize : differs(ballot.finalize) ? ballot.finalize : null;
    case "nullify": return ballot.finalize;
    case "finalize": return differs(ballot.finalize) ? ballot.finalize : differs(ballot.notarize) ? ballot.notarize : ballot.nullify;
  }
}

function assemble(state: State, record: ViewRecord, { kind, epoch, view, id }: SignedVote): Certificate {
  const count = state.configuration.weights.length;
  const votes: SignedVote[] = [];
  for (let index = 0; index < count; index++) {
    const vote = record.ballots.get(index)?.[kind];
    if (vote && sameId(vote.id, id)) votes.push(vote);
  }
  const signatures = new Uint8Array(64 * votes.length);
  for (const [at, vote] of votes.entries()) signatures.set(vote.signature, 64 * at);
  return { kind, epoch, view, id, bitmap: bitmapOf(votes.map((v) => v.validator), count), signatures };
}
