/**
 * How nodes reach each other. Two twins: streams of libp2p (streams.ts) and the seeded in-memory network of tests (memory.ts);
 * the suite in tests/compliance/transport.ts says what both must do.
 *
 * Promises: bytes arrive whole or not at all, unchanged, in the order sent per (sender, receiver, channel), from who it says.
 * They may be lost. A listener is never called before `send` has returned, and never after `close`.
 * What waits for one peer is capped by bytes (`QUEUE_BYTES_MAX`): above it `send` answers false and the message is gone;
 * the rules that resend (R9, R10) bring it back. A slow peer costs its own messages, never our memory.
 */
import type { Branded, PublicKey } from "#chain/types.ts";

/** Who a peer is: the hex of its consensus key if it has proved one, else of its machine key. The transport has authenticated it. */
export type PeerId = Branded<string, "PeerId">;
/** One stream each, so that a burst of transactions cannot hold up a vote. */
export const CHANNELS = ["consensus", "transactions", "sync", "beats", "blobs", "hops", "logs"] as const;
export type Channel = (typeof CHANNELS)[number];

/** What a peer did that it should not; `OFFENCE_POINTS` says what that costs it. */
export type Offence = "malformed" | "oversize" | "forged" | "flood" | "wrong_chain" | "slow" | "useless";

/** Whether a message goes further: it is good, it is of no use here, or nobody honest would have handed it on. */
export type FloodVerdict = "accept" | "ignore" | "reject";
/** Messages to everybody through everybody, where a network has them (flood.ts). */
export type Flood = {
  publish(bytes: Uint8Array): void;
  /** One listener: its verdict decides whether a message is passed on. */
  onMessage(listener: (from: PeerId, bytes: Uint8Array) => Promise<FloodVerdict>): void;
};

export type MessageListener = (from: PeerId, channel: Channel, bytes: Uint8Array) => void;

export interface Transport {
  readonly self: PeerId;
  readonly flood?: Flood | undefined;
  /** Connected now; never contains `self`. */
  peers(): readonly PeerId[];
  /** False when the peer is not connected, its queue is full or the message is above the channel's size: then nothing was sent. */
  send(to: PeerId, channel: Channel, bytes: Uint8Array): boolean;
  /** IP addresses at which peers are, or are said to be: those of the grid, as far as it is known here. */
  addresses(): readonly string[];
  /** To every connected peer; returns how many queues took it. */
  broadcast(channel: Channel, bytes: Uint8Array): number;
  onMessage(listener: MessageListener): () => void;
  /** Called for each peer that comes or comes back: what it missed can be sent again. */
  onPeer(listener: (peer: PeerId) => void): () => void;
  /** The machine key behind a peer, where it is known: a validator's name is its consensus key. */
  machineOf(peer: PeerId): PublicKey | null;
  /** Who validates now and next: connections to them are kept, and they are let in however many others there are. */
  setValidators(names: Iterable<PeerId>): void;
  /** Looks for this machine by way of who is connected, and connects to it; nothing when it is connected, or not found. */
  seek(machine: PublicKey): void;
  /** What a reader of its messages found wrong with this peer. Enough of it and the peer is disconnected, and not let in for a while. */
  report(peer: PeerId, offence: Offence): void;
  close(): Promise<void>;
}

export const peerId = (publicKey: Uint8Array): PeerId => publicKey.toHex() as PeerId;
