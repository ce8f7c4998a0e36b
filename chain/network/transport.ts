/**
 * How nodes reach each other. Two twins: libp2p streams (later) and the seeded in-memory network of tests; the suite in
 * tests/compliance/transport.ts says what both must do.
 *
 * Promises: bytes arrive whole or not at all, unchanged, in the order sent per (sender, receiver, channel), from who it says.
 * They may be lost. A listener is never called before `send` has returned, and never after `close`.
 * What waits for one peer is capped by bytes (`QUEUE_BYTES_MAX`): above it `send` answers false and the message is gone;
 * the rules that resend (R9, R10) bring it back. A slow peer costs its own messages, never our memory.
 */
import type { Branded } from "#chain/types.ts";

/** Who a peer is: the hex of its public key. The transport has authenticated it. */
export type PeerId = Branded<string, "PeerId">;
/** One stream each, so that a burst of transactions cannot hold up a vote. */
export const CHANNELS = ["consensus", "transactions", "sync"] as const;
export type Channel = (typeof CHANNELS)[number];

/** Bytes that may wait for one peer on one channel: sixteen full proposals. */
export const QUEUE_BYTES_MAX: number = 8 * 1024 * 1024;

export type MessageListener = (from: PeerId, channel: Channel, bytes: Uint8Array) => void;

export interface Transport {
  readonly self: PeerId;
  /** Connected now; never contains `self`. */
  peers(): readonly PeerId[];
  /** False when the peer is not connected, its queue is full or the message is above MESSAGE_BYTES_MAX: then nothing was sent. */
  send(to: PeerId, channel: Channel, bytes: Uint8Array): boolean;
  /** To every connected peer; returns how many queues took it. */
  broadcast(channel: Channel, bytes: Uint8Array): number;
  onMessage(listener: MessageListener): () => void;
  /** Called for each peer that comes or comes back: what it missed can be sent again. */
  onPeer(listener: (peer: PeerId) => void): () => void;
  close(): Promise<void>;
}

export const peerId = (publicKey: Uint8Array): PeerId => publicKey.toHex() as PeerId;
