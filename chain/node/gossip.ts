/**
 * Passes transactions on. What was submitted here goes to every peer once, in batches; what came from a validator goes no further, as
 * validators are connected to each other, and what came from another node goes on. Beyond 32 validators each batch goes to everybody
 * through everybody instead (`Transport.flood`), and is checked before it is passed on. A peer that comes is sent what waits here.
 *
 *   channel "transactions": CBOR list of signed transactions
 */
import { TRANSACTIONS_PER_BLOCK_MAX, TRANSACTION_BYTES_MAX } from "#chain/constants.ts";
import { CodecError, decodeLent, encode } from "#chain/codec/cbor.ts";
import { bytesUpTo, list } from "#chain/codec/schema.ts";
import type { Clock } from "#chain/network/clock.ts";
import type { PeerId, Transport } from "#chain/network/transport.ts";
import { BATCH_BYTES_MAX, BATCH_DELAY_MS } from "./limits.ts";

export class Gossip {
  readonly #transport: Transport;
  readonly #clock: Clock;
  #batch: Uint8Array[] = [];
  #batchBytes = 0;
  #cancel: (() => void) | null = null;

  constructor(transport: Transport, clock: Clock) {
    this.#transport = transport;
    this.#clock = clock;
  }

  pass(transaction: Uint8Array): void {
    if (this.#transport.peers().length === 0) return;
    this.#batch.push(transaction);
    this.#batchBytes += transaction.length;
    if (this.#batchBytes >= BATCH_BYTES_MAX || this.#batch.length >= TRANSACTIONS_PER_BLOCK_MAX) this.#flush();
    else this.#cancel ??= this.#clock.setTimer(() => this.#flush(), BATCH_DELAY_MS);
  }

  greet(peer: PeerId, waiting: Iterable<Uint8Array>): void {
    let batch: Uint8Array[] = [];
    let bytes = 0;
    for (const transaction of waiting) {
      batch.push(transaction);
      bytes += transaction.length;
      if (bytes < BATCH_BYTES_MAX && batch.length < TRANSACTIONS_PER_BLOCK_MAX) continue;
      if (!this.#transport.send(peer, "transactions", encode(batch))) return;
      batch = [];
      bytes = 0;
    }
    if (batch.length > 0) this.#transport.send(peer, "transactions", encode(batch));
  }

  stop(): void {
    this.#cancel?.();
    this.#batch = [];
  }

  #flush(): void {
    this.#cancel?.();
    this.#cancel = null;
    const batch = encode(this.#batch);
    if (this.#transport.flood) this.#transport.flood.publish(batch);
    else this.#transport.broadcast("transactions", batch);
    this.#batch = [];
    this.#batchBytes = 0;
  }
}

/** Null when the bytes are not a batch; else its transactions, which lie in them. */
export function readBatch(bytes: Uint8Array): readonly Uint8Array[] | null {
  try {
    return list(decodeLent(bytes), TRANSACTIONS_PER_BLOCK_MAX).map((one) => bytesUpTo(one, TRANSACTION_BYTES_MAX));
  } catch (error) {
    if (error instanceof CodecError) return null;
    throw error;
  }
}
