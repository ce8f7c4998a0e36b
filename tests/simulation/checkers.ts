/**
 * What must hold after every step of every world, seen from outside: by the votes that were ever signed and the blocks that
 * were ever committed, not by what nodes believe. The names are those of TON's `simplex.tla`.
 */

import { quorumOf, weightSumOf } from "#chain/codec/quorum.ts";
import type { SignedVote } from "#chain/codec/schema.ts";
import type { BlockRef, Evidence } from "#chain/consensus/events.ts";
import { hex } from "#chain/types.ts";

type Own = { notarize: Set<string>; nullify: boolean; finalize: Set<string> };
type Made = BlockRef & { readonly epoch: number };

/** One epoch's validators: their weights, and who of them is honest. */
export type Electorate = { readonly weights: readonly number[]; readonly isHonest: (validator: number) => boolean };

export class Checkers {
  readonly faults: string[] = [];
  /** Two blocks of one height were committed by honest nodes. */
  forked = false;
  evidenceCount = 0;
  readonly #electorateOf: (epoch: number) => Electorate;
  readonly #mayFork: boolean;
  readonly #signed = new Set<string>();
  readonly #tally = new Map<string, number>();
  readonly #notarized = new Map<string, string>();
  readonly #nullified = new Set<string>();
  readonly #finalized = new Map<string, string>();
  readonly #own = new Map<string, Own>();
  readonly #committed = new Map<number, string>();
  readonly #roots = new Map<number, string>();
  readonly #made = new Map<string, Made>();

  constructor(electorateOf: (epoch: number) => Electorate, mayFork: boolean) {
    this.#electorateOf = electorateOf;
    this.#mayFork = mayFork;
  }

  isSigned(epoch: number, validator: number, kind: string, view: number, id: Uint8Array | null): boolean {
    return this.#signed.has(`${epoch} ${validator} ${kind} ${view} ${id ? hex(id) : ""}`);
  }

  /** A block came into the world, honest or not. */
  made(block: Made): void {
    this.#made.set(hex(block.id), block);
  }

  /** A vote exists from the moment at which it is safe on disk; of a liar, when it says so. */
  signed({ epoch, validator, kind, view, id }: SignedVote): void {
    const name = id ? hex(id) : "";
    const key = `${epoch} ${validator} ${kind} ${view} ${name}`;
    if (this.#signed.has(key)) return;
    this.#signed.add(key);
    const { weights, isHonest } = this.#electorateOf(epoch);
    this.#noteOwn(epoch, validator, kind, view, name, isHonest(validator));
    const of = `${epoch} ${view}`;
    const weight = (this.#tally.get(`${kind} ${of} ${name}`) ?? 0) + weights[validator]!;
    this.#tally.set(`${kind} ${of} ${name}`, weight);
    if (weight < quorumOf(weightSumOf(weights)) || this.#mayFork) return;
    if (kind === "notarize") {
      this.#unique("UniqueNotarization", this.#notarized, of, name);
      this.#justified(epoch, view, name);
    }
    else if (kind === "finalize") this.#unique("UniqueFinalization", this.#finalized, of, name);
    else this.#nullified.add(of);
    if (this.#nullified.has(of) && this.#finalized.has(of)) this.fault(`FinalSkipExclusion: view ${of} is finalized and nullified`);
    if (kind === "finalize" && this.#notarized.get(of) !== name) this.fault(`FinalizationImpliesNotarization: view ${of}`);
  }

  /** HonestVoteConsistency, over all lives of a node. */
  #noteOwn(epoch: number, validator: number, kind: string, view: number, name: string, honest: boolean): void {
    const key = `${epoch} ${validator} ${view}`;
    const own = this.#own.get(key) ?? { notarize: new Set(), nullify: false, finalize: new Set() };
    this.#own.set(key, own);
    if (kind === "nullify") own.nullify = true;
    else if (kind === "notarize" || kind === "finalize") own[kind].add(name);
    if (!honest) return;
    if (own.notarize.size > 1 || own.finalize.size > 1) this.fault(`validator ${validator} signed ${kind} twice in view ${epoch} ${view}`);
    if (own.nullify && own.finalize.size > 0) this.fault(`validator ${validator} finalized and nullified view ${epoch} ${view}`);
    if (own.finalize.size > 0 && !own.notarize.has([...own.finalize][0]!)) this.fault(`validator ${validator} finalized what it had not notarized in view ${epoch} ${view}`);
  }

  /** R3, from outside: a notarized block stands on a notarized one, and every view that it jumps over is nullified. */
  #justified(epoch: number, view: number, name: string): void {
    const block = this.#made.get(name)!;
    if (block.parentView > 0 && this.#notarized.get(`${epoch} ${block.parentView}`) !== hex(block.parentId)) this.fault(`the block of view ${epoch} ${view} is notarized on one that is not`);
    for (let of = block.parentView + 1; of < view; of++) {
      if (!this.#nullified.has(`${epoch} ${of}`)) this.fault(`the block of view ${epoch} ${view} is notarized, and jumps over view ${of}, which is not nullified`);
    }
  }

  #unique(name: string, map: Map<string, string>, view: string, id: string): void {
    const held = map.get(view);
    if (held !== undefined && held !== id) this.fault(`${name}: view ${view}`);
    map.set(view, id);
  }

  /** Agreement and ChainPrefixSafety: one block a height, on its parent, with one state root, whoever commits it. */
  committed(node: number, previous: BlockRef, block: BlockRef, stateRoot: string | null): void {
    if (block.height !== previous.height + 1 || hex(block.parentId) !== hex(previous.id)) {
      this.fault(`node ${node} committed height ${block.height} on ${previous.height}`);
    }
    const held = this.#committed.get(block.height);
    if (held === undefined) this.#committed.set(block.height, hex(block.id));
    else if (held !== hex(block.id)) {
      this.forked = true;
      if (!this.#mayFork) this.fault(`Agreement: two blocks of height ${block.height}`);
    }
    if (stateRoot === null) return;
    const root = this.#roots.get(block.height);
    if (root === undefined) this.#roots.set(block.height, stateRoot);
    else if (root !== stateRoot && held === hex(block.id)) this.fault(`node ${node} has another state root at height ${block.height}`);
  }

  evidence(epoch: number, evidence: Evidence): void {
    this.evidenceCount += 1;
    if (this.#electorateOf(epoch).isHonest(evidence.validator)) this.fault(`evidence against the honest ${evidence.validator}`);
  }

  /** Accountability: whoever forked the chain has signed two things of one view, and they weigh more than a third. */
  proveFork(): void {
    if (!this.forked) return;
    const guilty = new Map<number, Set<number>>();
    for (const [key, { notarize, nullify, finalize }] of this.#own) {
      const [epoch, validator] = key.split(" ").map(Number) as [number, number];
      const crossed = [...finalize].some((id) => [...notarize].some((other) => other !== id));
      if (notarize.size < 2 && finalize.size < 2 && !(nullify && finalize.size > 0) && !crossed) continue;
      guilty.set(epoch, (guilty.get(epoch) ?? new Set()).add(validator));
    }
    const most = Math.max(0, ...[...guilty].map(([epoch, validators]) => {
      const { weights } = this.#electorateOf(epoch);
      const weight = [...validators].reduce((sum, validator) => sum + weights[validator]!, 0);
      return 3 * weight > weightSumOf(weights) ? 1 : 0;
    }));
    if (most === 0) this.fault("a fork, and no proof against more than a third of the weight");
  }

  fault(text: string): void {
    this.faults.push(text);
  }
}
