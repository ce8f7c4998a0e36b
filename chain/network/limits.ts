/**
 * What one node lets others do to it: connections, streams, bytes, messages, waits. They are no protocol numbers: two nodes may
 * differ in every one of them and still agree on every block.
 */
import { MESSAGE_BYTES_MAX } from "#chain/constants.ts";
import type { Channel, Offence } from "./transport.ts";

/** Bytes that may wait for one peer on one channel: eight full proposals. */
export const QUEUE_BYTES_MAX: number = 8 * 1024 * 1024;
/** … and for all peers on all channels: peers that are slow together cost no more than this. */
export const QUEUES_BYTES_MAX: number = 128 * 1024 * 1024;
/** A peer that takes nothing of what waits for it for so long is let go of. */
export const QUEUE_STUCK_MS_MAX: number = 10_000;
/** Small frames that wait together leave together, up to this: one encryption and one system call for many votes. */
export const WRITE_BYTES_MAX: number = 64 * 1024;

/** The largest message of each channel; who announces a larger one is let go of before it has sent it. */
export const CHANNEL_BYTES_MAX: Readonly<Record<Channel, number>> = {
  consensus: MESSAGE_BYTES_MAX,
  transactions: MESSAGE_BYTES_MAX,
  sync: MESSAGE_BYTES_MAX,
  // A signed beat, a suspicion with the beat it names, an acknowledgement: a few hundred bytes.
  beats: 4 * 1024,
  blobs: MESSAGE_BYTES_MAX,
  // A batch of certificates (codec/hop.ts).
  hops: 64 * 1024,
  // Lines of a deployment, for their owner who asks elsewhere (os/logRelay.ts).
  logs: 512 * 1024,
};
/** Greetings, addresses, pings. */
export const CONTROL_BYTES_MAX: number = 16 * 1024;
/** From the first byte of a frame to its last. */
export const FRAME_MS_MAX: number = 20_000;
/** Streams that one peer may have open towards us: one of each channel, one for control, and as many that are about to close. */
export const STREAMS_PER_PEER_MAX: number = 16;
/** What a stream may have under way before we have read it, at first and at most: above it, libp2p keeps paused bytes up to 4 MiB. */
export const STREAM_WINDOW_BYTES: number = 1024 * 1024;
export const STREAM_WINDOW_BYTES_MAX: number = 2 * 1024 * 1024;

/** Bytes a second and at once that are read from one peer; beyond it reading pauses, and the peer's own queue fills. */
export const READ_BYTES_PER_SECOND: number = 16 * 1024 * 1024;
export const READ_BYTES_BURST: number = 32 * 1024 * 1024;
/** Messages a second and at once of one peer; beyond it the peer floods. 200 validators send one 3,000 votes and certificates a second at most. */
export const READ_MESSAGES_PER_SECOND: number = 8_000;
export const READ_MESSAGES_BURST: number = 40_000;

/** Greeted peers that are no validators of this chain: the machines that a witness hears are among them. */
export const FOLLOWERS_MAX: number = 256;
/** Connections that have not greeted yet, and how long one may take to. */
export const UNGREETED_MAX: number = 64;
export const GREETING_MS_MAX: number = 5_000;
/** New connections from one host in a second: a site behind one address can come back together. */
export const INBOUND_PER_HOST_PER_SECOND: number = 50;

/** Without a byte for so long a peer is gone, whatever TCP says; a ping goes every PING_INTERVAL_MS. */
export const SILENCE_MS_MAX: number = 5_000;
/** The waits together, so that a test can shorten them. */
export type Waits = { readonly greetingMs: number; readonly frameMs: number; readonly stuckMs: number; readonly silenceMs: number };
export const WAITS: Waits = { greetingMs: GREETING_MS_MAX, frameMs: FRAME_MS_MAX, stuckMs: QUEUE_STUCK_MS_MAX, silenceMs: SILENCE_MS_MAX };
export const PING_INTERVAL_MS: number = 1_500;
/** A look at all of these waits. */
export const TICK_MS: number = 500;
/** Dialling one address: the wait for an answer, and from a failure to the next try, doubled up to a bound. */
export const DIAL_TIMEOUT_MS: number = 3_000;
export const REDIAL_MS_MIN: number = 250;
export const REDIAL_MS_MAX: number = 2_000;
/** A stream that was closed under a connection that lives is opened again after this. */
export const REOPEN_MS: number = 100;
/** Dials under way at one time. */
export const DIALS_MAX: number = 16;
/** Addresses known: a few of each validator. */
export const ADDRESSES_MAX: number = 1_024;
/** A node that is no validator looks for no more peers when it has so many: the 20 witnesses of an epoch, and a few. */
export const FOLLOWED_MAX: number = 24;
/** One that looks for a certain machine asks so many, again after so long, and may have so many peers more than it looks for by itself. */
export const SEEK_ASKED_MAX: number = 4;
export const SEEK_AGAIN_MS: number = 1_000;
export const SEEK_MS: number = 5_000;
export const SOUGHT_MAX: number = 16;
/** An address learned from a peer at which nobody was ever reached is forgotten after so many tries. */
export const DIALS_IN_VAIN_MAX: number = 20;

/** Points at which a peer is banned, and for how long; points halve every SCORE_HALF_LIFE_MS. */
export const BAN_POINTS: number = 100;
export const BAN_MS: number = 60_000;
export const SCORE_HALF_LIFE_MS: number = 30_000;
/** Peers remembered for their points or bans; the oldest is forgotten first. */
export const SCORES_MAX: number = 4_096;

/** What each offence costs. What no honest node can send costs its connection at once. */
export const OFFENCE_POINTS: Readonly<Record<Offence, number>> = {
  malformed: 100,
  oversize: 100,
  forged: 100,
  flood: 100,
  wrong_chain: 100,
  // May be its network's fault, so it may come back at once; the third time in half a minute it rests.
  slow: 40,
  // May be sent in good faith, by one that is late: only many of them count.
  useless: 1,
};

/** Bytes of a blob in one answer: short enough that others' messages come in between. */
export const BLOB_CHUNK_BYTES: number = 256 * 1024;
/** Without an answer for so long another peer is asked. */
export const BLOB_TIMEOUT_MS: number = 5_000;
/** Blobs that are fetched at one time, and requests of one peer that are being answered. */
export const BLOB_FETCHES_MAX: number = 8;
export const BLOB_ANSWERS_PER_PEER_MAX: number = 8;
/** Blobs kept in memory between two requests for their parts, and for how long. */
export const BLOBS_SERVED_MAX: number = 2;
export const BLOB_SERVED_MS: number = 10_000;
/** Peers that are asked for one blob before it counts as missing. */
export const BLOB_PEERS_MAX: number = 32;

/** One message to everybody: a batch of transactions, and its frame. */
export const FLOOD_BYTES_MAX: number = 128 * 1024;
/** Between two calls into the LAN for others of the same chain. */
export const MDNS_INTERVAL_MS: number = 10_000;
