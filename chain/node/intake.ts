/**
 * Transactions and questions of peers on their way in: batches and floods to the mempool, ranges and snapshots to who answers them.
 * Votes and blocks go to consensus directly. Everything here is hostile until parsed; what is wrong with it costs its sender.
 */
import { CodecError } from "#chain/codec/cbor.ts";
import { decodeTransaction } from "#chain/codec/transaction.ts";
import type { FloodVerdict, PeerId, Transport } from "#chain/network/transport.ts";
import type { Digest } from "#chain/types.ts";
import { NodeError } from "./errors.ts";
import type { FinalBlocks } from "./finalBlocks.ts";
import { type Gossip, readBatch } from "./gossip.ts";
import type { Mempool } from "./mempool.ts";
import type { SnapshotServer } from "./snapshotServer.ts";
import { decodeSnapshotMessage } from "./snapshotWire.ts";
import type { Sync } from "./sync.ts";

export type IntakeParts = {
  readonly transport: Transport;
  readonly pool: Mempool;
  readonly gossip: Gossip;
  readonly sync: Sync;
  readonly snapshotServer: SnapshotServer;
  readonly final: FinalBlocks;
  readonly isValidator: (peer: PeerId) => boolean;
  /** What waits has changed. */
  readonly onWaiting: () => void;
  readonly background: (work: Promise<unknown>) => void;
};

/** What a node that checks before it passes on does not hand on. */
const FORGED: ReadonlySet<string> = new Set(["bad_signature", "transaction_malformed", "transaction_too_large"]);

export class Intake {
  readonly #parts: IntakeParts;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  /** Of somebody here, who is answered. */
  async submit(bytes: Uint8Array): Promise<Digest> {
    const { pool, gossip, onWaiting } = this.#parts;
    const answer = await pool.submit(bytes);
    if (!answer.ok) {
      const final = answer.code === "wrong_nonce" ? this.#finalTxid(bytes) : null;
      if (final) return final;
      throw new NodeError(answer.code, answer.message);
    }
    if (answer.fresh) gossip.pass(answer.bytes);
    onWaiting();
    return answer.transaction.txid;
  }

  takeSync(from: PeerId, bytes: Uint8Array): void {
    const { transport, snapshotServer, sync, background } = this.#parts;
    let message;
    try {
      message = decodeSnapshotMessage(bytes);
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      return transport.report(from, "malformed");
    }
    if (!snapshotServer.mayAsk(from)) return transport.report(from, "useless");
    background(message === null ? sync.receive(from, bytes) : snapshotServer.answer(from, message));
  }

  takeBatch(from: PeerId, bytes: Uint8Array): void {
    const { transport, pool, gossip, isValidator, onWaiting } = this.#parts;
    const batch = readBatch(bytes);
    if (batch === null) return transport.report(from, "malformed");
    for (const transaction of batch) pool.offer(transaction, from, (answer) => {
      if (!answer.ok) return;
      onWaiting();
      if (answer.fresh && !isValidator(from)) gossip.pass(answer.bytes);
    });
  }
  /** A batch that came through others; nothing of it is passed on before all of it was checked. */
  async judgeFlood(from: PeerId, bytes: Uint8Array): Promise<FloodVerdict> {
    const { transport, pool, onWaiting } = this.#parts;
    const batch = readBatch(bytes);
    if (batch === null) {
      transport.report(from, "malformed");
      return "reject";
    }
    const answers = await Promise.all(batch.map((transaction) => pool.submit(transaction, from)));
    onWaiting();
    if (answers.some((answer) => !answer.ok && FORGED.has(answer.code))) return "reject";
    return answers.some((answer) => answer.ok) ? "accept" : "ignore";
  }

  /** Sending what is final already is no mistake: the answer was lost. */
  #finalTxid(bytes: Uint8Array): Digest | null {
    const { txid } = decodeTransaction(bytes);
    return this.#parts.final.has(txid) ? txid : null;
  }
}
