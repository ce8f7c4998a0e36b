/**
 * What one node knows of one epoch of consensus, and the questions that rules ask of it.
 *
 * Invariants: everything above `final` and nothing much below; per view at most one certificate of a kind, one vote of a kind
 * per validator, two proposals; `own` is what this node has signed or is about to (it never shrinks while its view is kept);
 * `view` is one above the highest certificate held.
 */

import assert from "node:assert";
import type { Certificate, SignedVote, VoteKind } from "#chain/codec/schema.ts";
import { quorumOf, weightSumOf } from "#chain/codec/quorum.ts";
import { PROPOSALS_PER_VIEW_MAX, VIEWS_AHEAD_MAX, VIEWS_BEHIND_KEPT } from "../constants.ts";
import { hex, timeMs, view } from "../types.ts";
import type { ChainId, Digest, Epoch, Hex, TimeMs, View } from "../types.ts";
import type { BlockRef, DueMs, Effect, Request } from "./events.ts";
import { leaderAt, leaderCycle } from "./leaders.ts";
import type { Pace } from "./pacing.ts";

export type Configuration = {
  readonly chainId: ChainId;
  readonly epoch: Epoch;
  readonly weights: readonly number[];
  /** Index of this node; null for a node that only follows. */
  readonly self: number | null;
  readonly pace: Pace;
  /** Of the leaders' order: the same for all. */
  readonly leaderSeed: Uint8Array;
  /** R14: height of the epoch's last block; above it are seals. */
  readonly lastHeight: number;
};

export type BlockStatus = "held" | "checking" | "valid" | "invalid";
export type BlockEntry = { readonly block: BlockRef; status: BlockStatus; dueMs: DueMs };

export type Ballot = { notarize: SignedVote | null; nullify: SignedVote | null; finalize: SignedVote | null; accused: boolean };

export type ViewRecord = {
  readonly view: View;
  notarization: Certificate | null;
  nullification: Certificate | null;
  finalization: Certificate | null;
  readonly ballots: Map<number, Ballot>;
  /** Weight by kind and id. */
  readonly tally: Map<string, number>;
  readonly own: { notarize: Digest | null; nullify: boolean; finalize: Digest | null };
  readonly proposals: BlockRef[];
  /** Two proposals of the leader were reported. */
  accused: boolean;
  /** R7: this view is not worth waiting for. */
  hopeless: boolean;
};

export type OpenRequest = { readonly request: Request; readonly view: number; readonly from: number; attempt: number; againMs: TimeMs };

export type State = {
  readonly configuration: Configuration;
  readonly quorum: number;
  readonly cycle: readonly number[];
  phase: "new" | "running" | "sealed" | "halted";
  view: View;
  enteredMs: TimeMs;
  /** When the block of this view is wanted, and whether waiting transactions have moved it here already. */
  wantedMs: TimeMs;
  hurried: boolean;
  /** View of the highest certificate held. */
  highest: View;
  /** The newest block committed. */
  final: BlockRef;
  /** The newest finalization held; its block may still be missing. */
  finalization: Certificate | null;
  readonly records: Map<number, ViewRecord>;
  /** By id: `final` and what is above it. */
  readonly blocks: Map<Hex, BlockEntry>;
  readonly requests: Map<string, OpenRequest>;
  requestTimer: boolean;
  /** By validator: the highest view of which a vote was seen. */
  readonly heard: number[];
  readonly suspected: Set<number>;
  waiting: number;
  /** The view whose block is being built, and when the build timer will ring for it. */
  building: View | null;
  buildTimerMs: TimeMs | null;
  behindView: View | null;
  standstill: { finalView: View; cursor: number };
  /** R12: nothing is signed in views up to this one; and while `rejoin` is there, nothing at all. */
  mute: View;
  rejoin: { readonly nonce: Uint8Array; readonly answers: Map<number, View> } | null;
};

/** One step: the state, what it asks for, and when. */
export type Turn = { readonly state: State; readonly nowMs: TimeMs; readonly effects: Effect[] };

export function createState(configuration: Configuration): State {
  const weightSum = weightSumOf(configuration.weights);
  assert(configuration.self === null || configuration.self < configuration.weights.length);
  const nothing: BlockRef = {
    id: new Uint8Array(32) as Digest, view: view(0), height: 0 as BlockRef["height"], parentView: view(0),
    parentId: new Uint8Array(32) as Digest, timeMs: timeMs(0n),
  };
  return {
    configuration, quorum: quorumOf(weightSum), cycle: leaderCycle(configuration.weights, configuration.leaderSeed),
    phase: "new", view: view(0), enteredMs: timeMs(0n), wantedMs: timeMs(0n), hurried: false, highest: view(0),
    final: nothing, finalization: null, records: new Map(), blocks: new Map(), requests: new Map(), requestTimer: false,
    heard: configuration.weights.map(() => 0), suspected: new Set(), waiting: 0, building: null, buildTimerMs: null,
    behindView: null, standstill: { finalView: view(0), cursor: 0 }, mute: view(0), rejoin: null,
  };
}

export function recordOf(state: State, of: View): ViewRecord {
  let record = state.records.get(of);
  if (!record) {
    record = {
      view: of, notarization: null, nullification: null, finalization: null, ballots: new Map(), tally: new Map(),
      own: { notarize: null, nullify: false, finalize: null }, proposals: [], accused: false, hopeless: false,
    };
    state.records.set(of, record);
  }
  return record;
}

export const leaderOf = (state: State, of: View): number => leaderAt(state.cycle, of);

export const isLeader = (state: State): boolean => state.configuration.self === leaderOf(state, state.view);

/** R12: whether this node may sign anything in a view. */
export const maySign = ({ configuration, rejoin, mute }: State, of: number): boolean => configuration.self !== null && rejoin === null && of > mute;

/** The id that is notarized in a view as far as this node knows; finalized implies notarized. */
export function notarizedIn(state: State, of: number): Digest | null {
  if (of === state.final.view) return state.final.id;
  const record = state.records.get(of);
  return record?.notarization?.id ?? record?.finalization?.id ?? null;
}

/** The certificate that a child of this block carries; null for genesis, and when this node has none. */
export function parentCertificateOf(state: State, parent: BlockRef): Certificate | null {
  const record = state.records.get(parent.view);
  const own = record?.notarization ?? record?.finalization ?? null;
  if (own) return own;
  return state.finalization?.view === parent.view ? state.finalization : null;
}

export const certificateIn = (record: ViewRecord, kind: VoteKind): Certificate | null =>
  kind === "notarize" ? record.notarization : kind === "nullify" ? record.nullification : record.finalization;

export const blockOf = (state: State, id: Digest): BlockEntry | undefined => state.blocks.get(hex(id));

export function sameId(a: Digest | null, b: Digest | null): boolean {
  if (a === null || b === null) return a === b;
  for (let i = 0; i < 32; i++) if (a[i] !== b[i]) return false;
  return true;
}

export const next = (of: View): View => view(of + 1);

// ---- Questions of the shell: what is worth a verification ---------------------------------------------------------------

/** Whether this vote could still change anything. Ask before its signature is checked. */
export function wantsVote(state: State, vote: SignedVote): boolean {
  if (state.phase !== "running" || vote.validator >= state.configuration.weights.length) return false;
  if (vote.view < 1 || vote.view > state.view + VIEWS_AHEAD_MAX || vote.view <= state.final.view - VIEWS_BEHIND_KEPT) return false;
  const ballot = state.records.get(vote.view)?.ballots.get(vote.validator);
  const held = ballot?.[vote.kind];
  if (!ballot || !held) return true;
  return !sameId(held.id, vote.id) && !ballot.accused;
}

/** Whether this certificate is news. A second one of a kind and view is, when it names another block: that is a fork. */
export function wantsCertificate(state: State, certificate: Certificate): boolean {
  if (state.phase !== "running" || certificate.view < 1 || certificate.view <= state.final.view) return false;
  if (certificate.kind === "finalize" && state.finalization && certificate.view < state.finalization.view) return false;
  const record = state.records.get(certificate.view);
  const held = record ? certificateIn(record, certificate.kind) : null;
  return held === null || !sameId(held.id, certificate.id);
}

/** The answer to a peer's request: that certificate, another of the view, or the finalization that makes it needless. */
export function certificateFor(state: State, kind: VoteKind, of: View): Certificate | null {
  if (of <= state.final.view && state.finalization) return state.finalization;
  const record = state.records.get(of);
  if (!record) return null;
  return certificateIn(record, kind) ?? record.finalization ?? record.notarization ?? record.nullification;
}

/**
 * Whether a block of this view by its leader can be of use. Ask before the signature is checked. The third of a view is not,
 * however many are signed; nor is one higher than a block a view can reach: it would stay in memory until the chain is there.
 */
export function wantsProposal(state: State, block: BlockRef): boolean {
  const { final } = state;
  if (state.phase !== "running" || block.view <= final.view || block.view > state.view + VIEWS_AHEAD_MAX) return false;
  if (block.height <= final.height || block.height - final.height > block.view - final.view) return false;
  const known = state.records.get(block.view)?.proposals ?? [];
  return known.length < PROPOSALS_PER_VIEW_MAX && !known.some((p) => sameId(p.id, block.id));
}
