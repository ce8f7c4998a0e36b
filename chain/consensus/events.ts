/**
 * What consensus is told and what it asks for: the whole seam between `step` and the shell that carries effects out.
 *
 * The shell does the cryptography, the disk, the clock and the network; consensus decides. What the shell promises:
 * - Votes, certificates and proposals come in with their signatures checked (`codec/certificate.ts`), for this chain and
 *   epoch, and with ids that were computed from the bytes; a block's body is the one its header names. Before it checks, it asks `wantsVote` and `wantsCertificate`: what
 *   is held already or too old is dropped unread.
 * - Effects of one step are carried out in their order. `persist` is answered by `persisted` when the vote is safe on disk;
 *   `validate` by `validated`, `build` by `built`, whenever they are done, and never from inside the effect's own step.
 * - A timer effect replaces the running timer of that name.
 * - Requests of peers are answered without consensus: blocks by id from the store (final or not), certificates by
 *   `certificateFor`.
 */

import type { Certificate, SignedVote, Vote, VoteKind } from "#chain/codec/schema.ts";
import type { Digest, Height, TimeMs, View } from "#chain/types.ts";

/** All that consensus knows of a block. */
export type BlockRef = {
  readonly id: Digest;
  readonly view: View;
  readonly height: Height;
  readonly parentView: View;
  readonly parentId: Digest;
  readonly timeMs: TimeMs;
};

/** When the state after a block wants its child: the block's own time when work was left over, null when nothing is due. */
export type DueMs = TimeMs | null;

export type TimerName = "view" | "build" | "standstill" | "request" | "rejoin";

export type Event = EventBody & {
  /** The shell's clock, milliseconds since 1970. It may be wrong; then this node votes badly, and nothing worse. */
  readonly nowMs: TimeMs;
};

type EventBody =
  /**
   * The first event, once. `final` is the newest block committed (genesis at first) and `finalization` the newest
   * certificate in the store; `votes` and `certificates` are the whole vote log above it (R11), `blocks` what the store holds
   * above it.
   */
  | {
      readonly kind: "start"; readonly final: BlockRef; readonly dueMs: DueMs; readonly finalization: Certificate | null;
      readonly votes: readonly SignedVote[]; readonly certificates: readonly Certificate[]; readonly blocks: readonly BlockRef[];
      /** R11, R12: whether all that was ever signed in this epoch is in `votes`; if not, what became of that. */
      readonly memory: Memory;
    }
  /** Signed by the view's leader. `certificates`: the parent's from the body, and the justification, as far as wanted. */
  | { readonly kind: "proposal"; readonly block: BlockRef; readonly certificates: readonly Certificate[] }
  | { readonly kind: "vote"; readonly vote: SignedVote }
  | { readonly kind: "certificate"; readonly certificate: Certificate }
  /** The answer to a `blockRequest`: any block whose id is the one asked for. */
  | { readonly kind: "block"; readonly block: BlockRef }
  | { readonly kind: "built"; readonly view: View; readonly block: BlockRef; readonly dueMs: DueMs }
  /** The body executed on the parent's state to exactly the header's roots, or it did not. `dueMs` counts if it did. */
  | { readonly kind: "validated"; readonly id: Digest; readonly valid: boolean; readonly dueMs: DueMs }
  | { readonly kind: "persisted"; readonly vote: SignedVote }
  | { readonly kind: "timer"; readonly timer: TimerName; readonly view: View }
  /** Transactions that a child of the newest notarized block could take. To be told when zero turns into more, and back. */
  | { readonly kind: "waiting"; readonly count: number }
  | { readonly kind: "suspected"; readonly validator: number; readonly suspected: boolean }
  /** R12: a validator's answer to this node's `statusRequest`; who sent it the transport says, and its certificates were checked. */
  | { readonly kind: "status"; readonly validator: number; readonly nonce: Uint8Array; readonly view: View; readonly certificates: readonly Certificate[] }
  /** The shell has fetched and executed the chain up to here by itself, after `behind`. */
  | { readonly kind: "synced"; readonly final: BlockRef; readonly dueMs: DueMs; readonly finalization: Certificate };

/**
 * R12. `whole`: the vote log has everything. `lost`: it has not, and the node rejoins: it asks all for their views, under a nonce
 * that it never used before, and signs nothing until a quorum has answered. `mute`: it has rejoined in an earlier life or in the
 * epoch before, and signs nothing in views up to this one.
 */
export type Memory = { readonly kind: "whole" } | { readonly kind: "lost"; readonly nonce: Uint8Array } | { readonly kind: "mute"; readonly upTo: View };

/** What goes to all validators. The shell adds a proposal's block and leader signature from what it built. */
export type Outgoing =
  | { readonly kind: "proposal"; readonly id: Digest; readonly justification: readonly Certificate[] }
  | { readonly kind: "vote"; readonly vote: SignedVote }
  | { readonly kind: "certificate"; readonly certificate: Certificate }
  | { readonly kind: "statusRequest"; readonly nonce: Uint8Array };

export type Request =
  | { readonly kind: "blockRequest"; readonly id: Digest }
  | { readonly kind: "certificateRequest"; readonly certificateKind: VoteKind; readonly view: View };

export type Effect =
  /**
   * Sign this vote and append it to the vote log, file and directory flushed; then `persisted`. Of a notarize vote the
   * block's bytes are on disk before the vote is: a finalized block that nobody holds is lost for ever. So is `certificate`,
   * which permits the vote: after a power cut of all, with one machine that does not come back, votes alone might not make it
   * again, and its view would never end.
   */
  | { readonly kind: "persist"; readonly vote: Vote; readonly certificate: Certificate | null }
  | { readonly kind: "broadcast"; readonly message: Outgoing }
  /** To one peer or a few: `attempt` counts from 0, `from` is a validator that has it. Each attempt asks another. */
  | { readonly kind: "request"; readonly request: Request; readonly attempt: number; readonly from: number }
  | { readonly kind: "timer"; readonly timer: TimerName; readonly view: View; readonly delayMs: number }
  /** Make a block of this time on this parent; its body begins with `parentCertificate` (null after genesis). */
  | {
      readonly kind: "build"; readonly view: View; readonly parent: BlockRef; readonly parentCertificate: Certificate | null;
      readonly timeMs: TimeMs;
    }
  /** Execute on the parent's state, which was validated, built or committed before. */
  | { readonly kind: "validate"; readonly block: BlockRef }
  /** Final, and executed before. The certificate finalizes this block or one of its descendants. In order of height. */
  | { readonly kind: "commit"; readonly block: BlockRef; readonly finalization: Certificate }
  /**
   * R14: the last block of the epoch is final (its `commit` came before). This state signs nothing any more, and still answers by
   * `certificateFor`. The shell opens the next epoch: a new state by the ledger's new validators, `start` on that block.
   */
  | { readonly kind: "sealed"; readonly block: BlockRef; readonly finalization: Certificate }
  /** R12: a quorum has answered. To be kept on the disk before anything else is signed: nothing is in views up to this one. */
  | { readonly kind: "muted"; readonly upTo: View }
  /** R13: two statements of one validator that no honest one makes. */
  | { readonly kind: "evidence"; readonly evidence: Evidence }
  /** The finalized block is too far from what is held: fetch the chain up to it by ranges, then `synced`. */
  | { readonly kind: "behind"; readonly finalization: Certificate }
  /** More than a third of the stake is at fault, or this node is. Nothing is signed any more; people must look. */
  | { readonly kind: "halt"; readonly reason: HaltReason; readonly certificates: readonly Certificate[] };

export type Evidence =
  | { readonly kind: "votes"; readonly validator: number; readonly a: SignedVote; readonly b: SignedVote }
  /** The headers and their leader's signatures are the shell's. */
  | { readonly kind: "proposals"; readonly validator: number; readonly view: View; readonly a: Digest; readonly b: Digest };

export type HaltReason = "finalized_invalid" | "finalized_fork" | "notarized_twice" | "finalized_and_nullified";
