/**
 * What consensus asks the shell about blocks: build one, say whether one is right, take a range that sync brought. Ledger work is the
 * executor's; here are the checks around it, the seals of R14, which are never executed, and evidence that waits for a block (R13).
 *
 * Nothing here makes a block final: that is the node's.
 */
import { finalizes } from "#chain/codec/certificate.ts";
import { isSeal } from "#chain/codec/epoch.ts";
import { evidenceId } from "#chain/codec/evidence.ts";
import type { GenesisFacts } from "#chain/codec/genesis.ts";
import { type BlockBody, type BlockHeader, type Certificate, bodyRoot } from "#chain/codec/schema.ts";
import type { BlockRef, DueMs, Effect } from "#chain/consensus/events.ts";
import { EVIDENCE_PER_BLOCK_MAX, type Parameters } from "#chain/constants.ts";
import { type ChainId, type Hex, type TimeMs, type View, height, hex } from "#chain/types.ts";
import { type ChainFacts, openBlock, refusalOfHeader, refusalOfSeal } from "./blockCheck.ts";
import type { EpochFacts } from "./epochs.ts";
import type { Executor } from "./executor.ts";
import type { FinalBlocks } from "./finalBlocks.ts";
import { type HeldBlock, type HeldBlocks, heldBlock } from "./heldBlocks.ts";
import { EVIDENCE_WAITING_MAX } from "./limits.ts";
import type { Mempool } from "./mempool.ts";

export type BlockWorkParts = {
  readonly chainId: ChainId;
  readonly genesis: GenesisFacts;
  readonly rules: Parameters;
  readonly executor: Executor;
  readonly pool: Mempool;
  readonly held: HeldBlocks;
  readonly final: FinalBlocks;
  /** Of the epoch that a child of the final block belongs to. */
  readonly facts: () => EpochFacts;
  readonly finalRef: () => BlockRef;
  /** What takes machines down. */
  readonly suspicions: () => readonly Uint8Array[];
  /** What may be in the next block has changed. */
  readonly onTipMoved: () => void;
};
type Judged = { readonly valid: boolean; readonly dueMs: DueMs };

export class BlockWork {
  readonly #parts: BlockWorkParts;
  /** R13: what no block has yet. */
  readonly #evidence = new Map<Hex, Uint8Array>();

  constructor(parts: BlockWorkParts) {
    this.#parts = parts;
  }

  accuse(evidence: Uint8Array): void {
    if (this.#evidence.size < EVIDENCE_WAITING_MAX) this.#evidence.set(hex(evidenceId(evidence)), evidence);
  }
  /** It is in a final block, or punishes nobody. */
  forget(evidence: Uint8Array): void {
    this.#evidence.delete(hex(evidenceId(evidence)));
  }

  build({ view: of, parent, parentCertificate, timeMs: time }: Effect & { kind: "build" }): { held: HeldBlock; dueMs: DueMs } | null {
    const { executor, rules, pool, chainId, onTipMoved } = this.#parts;
    const { epoch: now, validatorsHash, validator, lastHeight } = this.#parts.facts();
    if (parent.height >= lastHeight) return this.#buildSeal(of, parent, parentCertificate, time);
    if (!executor.factsOf(parent.id)) return null;
    const evidence = [...this.#evidence.values()].slice(0, EVIDENCE_PER_BLOCK_MAX);
    const built = executor.build({
      view: of, parentId: parent.id, parentView: parent.view, parentCertificate, timeMs: time, chainId, epoch: now, validatorsHash, proposer: validator!, evidence, suspicions: this.#parts.suspicions(), rules, pool,
    });
    // What it left out punishes nobody any more.
    for (const one of evidence) if (!built.held.block.body.evidence.includes(one)) this.forget(one);
    onTipMoved();
    return built;
  }

  /** R14: an empty block that only says that the epoch's last one was notarized. */
  #buildSeal(of: View, parent: BlockRef, parentCertificate: Certificate | null, time: TimeMs): { held: HeldBlock; dueMs: DueMs } | null {
    const last = this.#parts.held.get(parent.id);
    if (!last) return null;
    const body: BlockBody = { parentCertificate, transactions: [], evidence: [], suspicions: [] };
    const header: BlockHeader = {
      ...last.block.header, view: of, height: height(parent.height + 1), parentView: parent.view, parentId: parent.id, parentBitmap: parentCertificate?.bitmap ?? new Uint8Array(0),
      timeMs: time, bodyRoot: bodyRoot(body), proposer: this.#parts.facts().validator!,
    };
    return { held: heldBlock({ header, body }, null), dueMs: null };
  }

  async #validateSeal(held: HeldBlock): Promise<Judged> {
    const parent = this.#parts.held.get(held.ref.parentId);
    const { checks } = this.#parts.facts();
    const certificate = held.block.body.parentCertificate;
    if (!parent || certificate === null || refusalOfSeal(held, parent.block, this.#chainFacts())) return { valid: false, dueMs: null };
    return { valid: await checks.holds(certificate), dueMs: null };
  }

  #chainFacts(): ChainFacts {
    const { chainId, rules, genesis } = this.#parts;
    const { epoch, validatorsHash } = this.#parts.facts();
    return { chainId, epoch, validatorsHash, rules, ...(genesis.era ? { eraHeight: genesis.era.height } : {}) };
  }

  async validate(held: HeldBlock): Promise<Judged> {
    const { executor, rules, pool, onTipMoved } = this.#parts;
    if (isSeal(held.block.header, rules.epochBlocks)) return this.#validateSeal(held);
    const parent = executor.factsOf(held.ref.parentId);
    if (!parent || refusalOfHeader(held, parent, this.#chainFacts())) return this.#judgedBySync(held);
    const transactions = await openBlock(held, pool, this.#parts.facts().checks);
    if ("ok" in transactions) return this.#judgedBySync(held);
    const executed = executor.execute(held, transactions);
    onTipMoved();
    return "ok" in executed ? this.#judgedBySync(held) : { valid: true, dueMs: executed.dueMs };
  }

  /** A block that does not fit the state is wrong, unless sync has made it final meanwhile and the state is beyond it. */
  #judgedBySync({ ref }: HeldBlock): Judged {
    const final = ref.height <= this.#parts.finalRef().height ? this.#parts.final.record(ref.height) : null;
    return { valid: final !== null && hex(final.id) === hex(ref.id), dueMs: null };
  }

  /** Blocks one on the other, the last of them finalized by this: each is executed, and `commit` makes it final. False: they are not what they should be. */
  async takeRange(blocks: readonly HeldBlock[], finalization: Certificate, facts: EpochFacts | null, commit: (held: HeldBlock) => void): Promise<boolean> {
    const last = blocks.at(-1);
    if (!last || !finalizes(finalization, last.ref.id)) return false;
    let parentId = hex(blocks[0]!.ref.parentId);
    for (const { ref } of blocks) {
      if (hex(ref.parentId) !== parentId) return false;
      parentId = hex(ref.id);
    }
    if (!facts || !(await facts.checks.holds(finalization))) return false;
    for (const held of blocks) {
      if (held.ref.height <= this.#parts.finalRef().height) continue;
      const { valid } = await this.validate(held);
      // Consensus may have committed the same block meanwhile.
      if (held.ref.height <= this.#parts.finalRef().height) continue;
      if (!valid || hex(held.ref.parentId) !== hex(this.#parts.finalRef().id)) return false;
      commit(held);
    }
    return true;
  }
}
