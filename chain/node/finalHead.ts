/**
 * The newest final block: its place, its header, what finalized it, and who hears of the next one. A certificate may be of a descendant
 * (R8); only one of the very block proves its state to others.
 */
import { type BlockHeader, type Certificate, genesisId } from "#chain/codec/schema.ts";
import type { BlockRef } from "#chain/consensus/events.ts";
import { type TimeMs, digest, height, hex, view } from "#chain/types.ts";
import type { FinalBlock } from "./chainNode.ts";
import type { HeldBlock } from "./heldBlocks.ts";

export class FinalHead {
  #ref: BlockRef;
  #header: BlockHeader | null = null;
  #finalization: Certificate | null = null;
  readonly #listeners = new Set<(block: FinalBlock) => void>();

  constructor(genesis: Uint8Array, timeMs: TimeMs) {
    this.#ref = { id: genesisId(genesis), view: view(0), height: height(0), parentView: view(0), parentId: digest(new Uint8Array(32)), timeMs };
  }
  get ref(): BlockRef {
    return this.#ref;
  }
  get finalization(): Certificate | null {
    return this.#finalization;
  }
  /** A header and the finalization of that very block. */
  get proof(): { readonly header: BlockHeader; readonly finalization: Certificate } | null {
    const [header, finalization] = [this.#header, this.#finalization];
    return header === null || finalization?.id == null || hex(finalization.id) !== hex(this.#ref.id) ? null : { header, finalization };
  }

  restore({ ref, header, finalization }: { readonly ref: BlockRef; readonly header: BlockHeader; readonly finalization: Certificate | null }): void {
    [this.#ref, this.#header, this.#finalization] = [ref, header, finalization];
  }
  /** What finalized it is of another era: nobody here can check it. */
  forgetFinalization(): void {
    this.#finalization = null;
  }
  move({ ref, block }: HeldBlock, finalization: Certificate): void {
    this.restore({ ref, header: block.header, finalization });
  }

  onFinal(listener: (block: FinalBlock) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  tell(final: FinalBlock): void {
    for (const listener of this.#listeners) {
      try {
        listener(final);
      } catch (error) {
        // What somebody makes of a block is no reason to stop agreeing on the next.
        process.emitWarning(`Cannot tell a listener of block ${final.height}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`, { code: "godwit_listener" });
      }
    }
  }
}
