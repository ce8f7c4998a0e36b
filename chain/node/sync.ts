/**
 * Fetches final blocks by ranges when this node is far behind, and answers others who are.
 *
 *   channel "sync": [1, 0, from height]  →  [1, 1, from height, [block, …], finalization of the last of them]
 *
 * Nothing is believed: the certificate is checked against the validator set, each block is linked to the one before by its
 * id, and is executed to its state root before it counts. One request is under way at a time; the next goes to another peer.
 */
import { BLOCK_BYTES_MAX } from "#chain/constants.ts";
import { type Cbor, CodecError, decode, encode } from "#chain/codec/cbor.ts";
import { CERTIFICATE_BYTES_MAX } from "#chain/codec/certificate.ts";
import { type Certificate, bytesUpTo, decodeBlock, decodeCertificate, list, tuple, u32, version } from "#chain/codec/schema.ts";
import type { Clock } from "#chain/network/clock.ts";
import type { PeerId, Transport } from "#chain/network/transport.ts";
import type { BlockStore, StoredBlock } from "./blockStore.ts";
import { type HeldBlock, heldFromBytes } from "./heldBlocks.ts";
import { HINT_EVERY_MS, LEFT_BEHIND_MS, SYNC_BLOCKS_MAX, SYNC_BYTES_MAX, SYNC_TIMEOUT_MS } from "./limits.ts";

export type SyncOptions = {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly blocks: BlockStore;
  /** Where this node is: the height of its newest final block. */
  readonly heightFinal: () => number;
  /** Checks and takes these blocks; false: they are wrong. */
  readonly take: (blocks: readonly HeldBlock[], finalization: Certificate) => Promise<boolean>;
  /** Of a peer in this epoch's set of validators; 0: it is none of them, or this node itself. */
  readonly weightOf: (peer: PeerId) => number;
  /** Once: what this node lacks nobody has any more. */
  readonly onLeftBehind: () => void;
};

export class Sync {
  readonly #options: SyncOptions;
  #placeWanted = 0;
  #placeReached = 0;
  #hintedMs = 0;
  #attempt = 0;
  #asked: { peer: PeerId; from: number } | null = null;
  #cancel: (() => void) | null = null;
  /** Who spoke of a later epoch, and when last; since when this node has come no further. */
  readonly #ahead = new Map<PeerId, number>();
  #fruitless: { readonly sinceMs: number; readonly height: number } | null = null;
  #isLeftBehind = false;

  constructor(options: SyncOptions) {
    this.#options = options;
  }

  /** Goes on until the block of this finalization, or a newer one, is final here. */
  want(finalization: Certificate): void {
    this.#placeWanted = Math.max(this.#placeWanted, placeOf(finalization));
    if (this.#cancel === null) this.#ask();
  }
  /** A peer speaks of an epoch that this node is not in yet: asked once, for what it says is not proven. */
  hint(peer: PeerId): void {
    const nowMs = this.#options.clock.nowMs();
    this.#lookBehind(peer, nowMs);
    if (this.#cancel !== null || (this.#hintedMs <= nowMs && nowMs - this.#hintedMs < HINT_EVERY_MS)) return;
    this.#hintedMs = nowMs;
    const from = this.#options.heightFinal() + 1;
    this.#asked = { peer, from };
    this.#options.transport.send(peer, "sync", encode([1, 0, from]));
  }
  /** What is said is not proven, but more than half of them say it: by weight of the validators that are connected, and where there is none of all peers. */
  #lookBehind(peer: PeerId, nowMs: number): void {
    const { transport, heightFinal, weightOf, onLeftBehind } = this.#options;
    if (this.#isLeftBehind) return;
    const height = heightFinal();
    // Blocks that consensus brought count too: at a change of epochs everybody is a moment ahead of somebody.
    if (this.#fruitless?.height !== height) this.#fruitless = { sinceMs: nowMs, height };
    const peers = transport.peers();
    this.#ahead.set(peer, nowMs);
    for (const [one, atMs] of this.#ahead) if (nowMs - atMs > LEFT_BEHIND_MS || !peers.includes(one)) this.#ahead.delete(one);
    if (nowMs - this.#fruitless.sinceMs < LEFT_BEHIND_MS) return;
    const sum = (of: Iterable<PeerId>): number => [...of].reduce((weight, one) => weight + weightOf(one), 0);
    const [said, all] = sum(peers) > 0 ? [sum(this.#ahead.keys()), sum(peers)] : [this.#ahead.size, peers.length];
    if (said * 2 <= all) return;
    this.#isLeftBehind = true;
    onLeftBehind();
  }
  stop(): void {
    this.#cancel?.();
    this.#placeWanted = 0;
  }

  async receive(from: PeerId, bytes: Uint8Array): Promise<void> {
    try {
      const [first, kind, ...rest] = list(decode(bytes), 5);
      version(first);
      if (u32(kind) === 0) this.#answer(from, u32(rest[0]));
      else await this.#read(from, rest);
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      this.#options.transport.report(from, "malformed");
    }
  }

  #answer(to: PeerId, from: number): void {
    const blocks: StoredBlock[] = [];
    let bytes = 0;
    for (let at = Math.max(1, from); blocks.length < SYNC_BLOCKS_MAX; at++) {
      const block = this.#options.blocks.read(at);
      if (!block || bytes + block.bytes.length > SYNC_BYTES_MAX) break;
      blocks.push(block);
      bytes += block.bytes.length;
    }
    // The last one must have its own finalization: one of a descendant says nothing to who does not have that. And who asks knows the
    // validators of the epoch of the first block and of the one after, no more.
    const epochMax = blocks.length > 0 ? decodeBlock(blocks[0]!.bytes).header.epoch + 1 : 0;
    while (blocks.length > 0 && !isOwn(blocks.at(-1)!, epochMax)) blocks.pop();
    const last = blocks.at(-1);
    if (last) this.#options.transport.send(to, "sync", encode([1, 1, from, blocks.map((block) => block.bytes), last.certificate]));
  }

  async #read(peer: PeerId, rest: readonly Cbor[]): Promise<void> {
    const [from, blocks, certificate] = tuple(rest, 3);
    if (this.#asked === null || this.#asked.peer !== peer || this.#asked.from !== u32(from)) return;
    const held = list(blocks, SYNC_BLOCKS_MAX).map((one) => heldFromBytes(bytesUpTo(one, BLOCK_BYTES_MAX)));
    const finalization = decodeCertificate(bytesUpTo(certificate, CERTIFICATE_BYTES_MAX));
    this.#asked = null;
    if (await this.#options.take(held, finalization)) {
      this.#placeReached = Math.max(this.#placeReached, placeOf(finalization));
      this.#attempt = 0;
      this.#fruitless = null;
    }
    this.#ask();
  }

  #ask(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.#asked = null;
    if (this.#placeReached >= this.#placeWanted) return;
    const peers = this.#options.transport.peers();
    const peer = peers[this.#attempt++ % Math.max(1, peers.length)];
    if (peer) {
      const from = this.#options.heightFinal() + 1;
      this.#asked = { peer, from };
      this.#options.transport.send(peer, "sync", encode([1, 0, from]));
    }
    this.#cancel = this.#options.clock.setTimer(() => this.#ask(), SYNC_TIMEOUT_MS);
  }
}

/** Views begin again with each epoch. */
const placeOf = ({ epoch, view }: Certificate): number => epoch * 2 ** 32 + view;

function isOwn(block: StoredBlock, epochMax: number): boolean {
  const { kind, epoch, id } = decodeCertificate(block.certificate);
  return epoch <= epochMax && kind === "finalize" && id !== null && Buffer.compare(id, block.id) === 0;
}
