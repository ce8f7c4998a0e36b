/**
 * The final blocks of a node as questions are asked of them: by height, by id, by a transaction in them. The store has their
 * bytes; here are the newest ones in memory, and the two indexes, each bounded.
 */
import type { BlockRef } from "#chain/consensus/events.ts";
import { epochOf, lastHeightOf } from "#chain/codec/epoch.ts";
import { type BlockHeader, type Certificate, decodeBlock, decodeCertificate, genesisId } from "#chain/codec/schema.ts";
import type { DecodedTransaction } from "#chain/codec/transaction.ts";
import { type Digest, type Hex, height, hex } from "#chain/types.ts";
import type { BlockStore, StoredBlock } from "./blockStore.ts";
import type { BlockRecord, TransactionStatus } from "./chainNode.ts";
import { TransactionIndex } from "./finality.ts";
import { type HeldBlock, heldFromBytes } from "./heldBlocks.ts";
import { FINAL_IDS_MAX, PROVEN_BLOCKS_SEARCHED, RECORDS_CACHED_BYTES_MAX, RECORDS_CACHED_MAX } from "./limits.ts";
import { type Results, decodeResults, encodeResults } from "./results.ts";

export class FinalBlocks {
  readonly #store: BlockStore;
  readonly #genesis: Uint8Array;
  readonly #index = new TransactionIndex();
  readonly #records = new Map<number, BlockRecord>();
  #recordBytes = 0;
  readonly #heights = new Map<Hex, number>();

  constructor(store: BlockStore, genesis: Uint8Array) {
    this.#store = store;
    this.#genesis = genesis;
  }

  /** Resolves when the block is on the disk; all questions are answered at once. */
  add({ ref, bytes }: HeldBlock, certificate: Uint8Array, transactions: readonly DecodedTransaction[], results: Results): Promise<void> {
    const stored: StoredBlock = { height: ref.height, id: ref.id, bytes, certificate, results: encodeResults(results) };
    const written = this.#store.append(stored);
    this.#remember({ ...stored, ...results });
    this.note(ref, transactions);
    return written;
  }

  /** The transaction index as it is now, for a snapshot. */
  dumpIndex(): Uint8Array[] {
    return [...this.#index.dump()];
  }
  /** Takes the index from a snapshot of `to`, and the ids of its newest blocks from the store. */
  restoreIndex(items: readonly Uint8Array[], to: number): void {
    for (const item of items) this.#index.load(item);
    for (let at = Math.max(this.#store.heightFirst, 1, to - FINAL_IDS_MAX + 1); at <= to; at++) this.#heights.set(hex(this.#store.read(at)!.id), at);
  }

  /** Indexes a block that is in the store already. */
  note(ref: BlockRef, transactions: readonly DecodedTransaction[]): void {
    this.#index.add(ref.height, transactions.map(({ txid }) => txid));
    this.#heights.set(hex(ref.id), ref.height);
    if (this.#heights.size > FINAL_IDS_MAX) this.#heights.delete(this.#heights.keys().next().value!);
  }

  record(at: number): BlockRecord | null {
    if (at === 0) return { height: height(0), id: genesisId(this.#genesis), bytes: this.#genesis, certificate: new Uint8Array(0), outcomes: [], events: [] };
    const cached = this.#records.get(at);
    if (cached) return cached;
    const stored = this.#store.read(at);
    return stored && this.#remember({ ...stored, ...decodeResults(stored.results) });
  }

  /** The newest block of an epoch whose certificate is its own: seldom another than the last. */
  provenOf(of: number, epochBlocks: number): { header: BlockHeader; finalization: Certificate } | null {
    const last = Math.min(lastHeightOf(of, epochBlocks), this.#store.height);
    for (let at = last; at > 0 && at > last - PROVEN_BLOCKS_SEARCHED && epochOf(at, epochBlocks) === of; at--) {
      const stored = this.#store.read(at);
      const finalization = stored && decodeCertificate(stored.certificate);
      const header = stored && decodeBlock(stored.bytes).header;
      if (header && finalization?.id && header.epoch === of && hex(finalization.id) === hex(stored.id)) return { header, finalization };
    }
    return null;
  }

  has(txid: Uint8Array): boolean {
    return this.#index.find(txid) !== null;
  }
  transaction(txid: Uint8Array): TransactionStatus | null {
    const place = this.#index.find(txid);
    const outcome = place && this.record(place.height)?.outcomes[place.index];
    // The index knows half of an id.
    if (!place || !outcome || Buffer.compare(outcome.txid, txid) !== 0) return null;
    return statusOf(place.height, place.index, outcome);
  }

  /** Of the newest ones. */
  heldById(id: Digest): HeldBlock | null {
    const at = this.#heights.get(hex(id));
    const stored = at === undefined ? null : this.#store.read(at);
    return stored && heldFromBytes(stored.bytes);
  }

  #remember({ height: at, id, bytes, certificate, outcomes, events }: BlockRecord): BlockRecord {
    const record = { height: at, id, bytes, certificate, outcomes, events };
    this.#forget(at);
    this.#records.set(at, record);
    this.#recordBytes += bytes.length;
    while (this.#records.size > RECORDS_CACHED_MAX || (this.#recordBytes > RECORDS_CACHED_BYTES_MAX && this.#records.size > 1)) this.#forget(this.#records.keys().next().value!);
    return record;
  }
  #forget(at: number): void {
    this.#recordBytes -= this.#records.get(at)?.bytes.length ?? 0;
    this.#records.delete(at);
  }
}

export const statusOf = (at: number, index: number, { ok, code }: { readonly ok: boolean; readonly code?: string }): TransactionStatus =>
  ({ height: height(at), index, ok, ...(code === undefined ? {} : { code }) });
