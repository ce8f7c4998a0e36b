/**
 * What must hold after every step of every world, seen from outside: by the votes that were ever signed and the blocks that
 * were ever committed, not by what nodes believe. The names are those of TON's `simplex.tla`.
 */

import { quorumOf, weightSumOf } from "#chain/codec/quorum.ts";
import type { SignedVote } from "#chain/codec/schema.ts";
import type { BlockRef, Evidence } from "#chain/consensus/events.ts";
import { hex } from "#chain/types.ts";

export class Checkers {
  readonly faults: string[] = [];
  readonly #weights: readonly number[];
  readonly #quorum: number;
  readonly #honest: (validator: number) => boolean;
  readonly #signed = new Set<string>();
  readonly #tally = new Map<string, number>();
  readonly #notarized = new Map<number, string>();
  readonly #nullified = new Set<number>();
  readonly #finalized = new Map<number, string>();
  readonly #own = new Map<string, { notarize: string | null; nullify: boolean; finalize: string | null }>();
  readonly #committed = new Map<number, string>();
  readonly #made = new Map<string, BlockRef>();

  constructor(weights: readonly number[], honest: (validator: number) => boolean) {
    this.#weights = weights;
    this.#quorum = quorumOf(weightSumOf(weights));
    this.#honest = honest;
  }

  isSigned(validator: number, kind: string, view: number, id: Uint8Array | null): boolean {
    return this.#signed.has(`${validator} ${kind} ${view} ${id ? hex(id) : ""}`);
  }

  /** A block came into the world, honest or not. */
  made(block: BlockRef): void {
    this.#made.set(hex(block.id), block);
  }

  /** A vote exists from the moment at which it is safe on disk; of a liar, when it says so. */
  signed({ validator, kind, view, id }: SignedVote): void {
    const name = id ? hex(id) : "";
    const key = `${validator} ${kind} ${view} ${name}`;
    if (this.#signed.has(key)) return;
    this.#signed.add(key);
    if (this.#honest(validator)) this.#onceOfAKind(validator, kind, view, name);
    const weight = (this.#tally.get(`${kind} ${view} ${name}`) ?? 0) + this.#weights[validator]!;
    this.#tally.set(`${kind} ${view} ${name}`, weight);
    if (weight < this.#quorum) return;
    if (kind === "notarize") {
      this.#unique("UniqueNotarization", this.#notarized, view, name);
      this.#justified(view, name);
    }
    else if (kind === "finalize") this.#unique("UniqueFinalization", this.#finalized, view, name);
    else this.#nullified.add(view);
    if (this.#nullified.has(view) && this.#finalized.has(view)) this.fault(`FinalSkipExclusion: view ${view} is finalized and nullified`);
    if (kind === "finalize" && this.#notarized.get(view) !== name) this.fault(`FinalizationImpliesNotarization: view ${view}`);
  }

  /** HonestVoteConsistency, over all lives of a node. */
  #onceOfAKind(validator: number, kind: string, view: number, name: string): void {
    const own = this.#own.get(`${validator} ${view}`) ?? { notarize: null, nullify: false, finalize: null };
    this.#own.set(`${validator} ${view}`, own);
    if (kind === "nullify") own.nullify = true;
    else if (kind === "notarize" || kind === "finalize") {
      if (own[kind] !== null) this.fault(`validator ${validator} signed ${kind} twice in view ${view}`);
      own[kind] = name;
    }
    if (own.nullify && own.finalize !== null) this.fault(`validator ${validator} finalized and nullified view ${view}`);
    if (own.finalize !== null && own.notarize !== own.finalize) this.fault(`validator ${validator} finalized what it had not notarized in view ${view}`);
  }

  /** R3, from outside: a notarized block stands on a notarized one, and every view that it jumps over is nullified. */
  #justified(view: number, name: string): void {
    const block = this.#made.get(name)!;
    if (block.parentView > 0 && this.#notarized.get(block.parentView) !== hex(block.parentId)) this.fault(`the block of view ${view} is notarized on one that is not`);
    for (let of = block.parentView + 1; of < view; of++) {
      if (!this.#nullified.has(of)) this.fault(`the block of view ${view} is notarized, and jumps over view ${of}, which is not nullified`);
    }
  }

  #unique(name: string, map: Map<number, string>, view: number, id: string): void {
    const held = map.get(view);
    if (held !== undefined && held !== id) this.fault(`${name}: view ${view}`);
    map.set(view, id);
  }

  /** Agreement and ChainPrefixSafety: one block a height, on its parent, whoever commits it. */
  committed(node: number, previous: BlockRef, block: BlockRef): void {
    if (block.height !== previous.height + 1 || hex(block.parentId) !== hex(previous.id)) {
      this.fault(`node ${node} committed height ${block.height} on ${previous.height}`);
    }
    const held = this.#committed.get(block.height);
    if (held === undefined) this.#committed.set(block.height, hex(block.id));
    else if (held !== hex(block.id)) this.fault(`Agreement: two blocks of height ${block.height}`);
  }

  evidence(evidence: Evidence): void {
    if (this.#honest(evidence.validator)) this.fault(`evidence against the honest ${evidence.validator}`);
  }

  fault(text: string): void {
    this.faults.push(text);
  }
}
