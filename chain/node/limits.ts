/**
 * The sizes of one node's own affairs: memory, files, queues. They are no protocol numbers (those are in `chain/constants.ts`):
 * two nodes may differ in every one of them and still agree on every block.
 */

/** One write and one fsync; a block is at most 256 KiB and a certificate of 200 validators 13 KiB. */
export const FRAME_BYTES_MAX: number = 8 * 1024 * 1024;
/** A block segment is closed above this, so that opening never reads more than this at once. */
export const SEGMENT_BYTES_MAX: number = 64 * 1024 * 1024;
/** Items that wait for a running fsync; above it an append is refused, as the disk has stopped. */
export const APPENDS_WAITING_MAX: number = 65_536;
/** The vote log is rewritten above this size, if at least half of it is no longer needed. */
export const VOTE_LOG_BYTES_MAX: number = 4 * 1024 * 1024;
/** Views kept below the last final one (R11): late messages about them still find the vote that was given. */
export const VOTE_LOG_VIEWS_KEPT: number = 8;

/** A snapshot of the state every so many final blocks: what a start executes again is half a second of idle ones. */
export const SNAPSHOT_BLOCKS: number = 4_096;
/** At a stop one is written too, after a sixteenth of them, if the state has no more entities than half a second writes. */
export const SNAPSHOT_STOP_ENTITIES_MAX: number = 50_000;
/** Work on a snapshot at one time: votes wait for it. */
export const SNAPSHOT_SLICE_MS: number = 4;

/** Bytes of all transactions that wait; 64 full blocks. */
export const MEMPOOL_BYTES_MAX: number = 16 * 1024 * 1024;
/** Transactions that wait; a burst of ten seconds at 5,000/s. */
export const MEMPOOL_COUNT_MAX: number = 50_000;
/** Transactions whose signatures wait to be checked, 25 µs each, 135 by OpenSSL: a second of two threads at most. */
export const CHECKS_QUEUED_MAX: number = 16_384;
/** Under check at once: two batches for two threads of the pool (`chain/verification.ts`), so that neither waits for the event loop; a write to the disk behind them waits a millisecond, by OpenSSL two. */
export const CHECKS_AT_ONCE: number = 64;
/** Transactions in the mempool that one peer brought: half of all. */
export const PENDING_PER_PEER_MAX: number = 25_000;
/** A replacement pays at least this much more, in percent of what it replaces, so that resending costs something. */
export const REPLACEMENT_RAISE_PERCENT: bigint = 10n;
/** Outcomes of final transactions that are found by id; older ones stay in their blocks. */
export const TRANSACTION_INDEX_MAX: number = 500_000;
/** Callers who wait for a transaction to become final. */
export const WAITERS_MAX: number = 10_000;

/** Transactions are passed on in batches of this age … */
export const BATCH_DELAY_MS: number = 20;
/** … or this size, whichever comes first. */
export const BATCH_BYTES_MAX: number = 64 * 1024;
/** A peer that speaks of a later epoch is asked for blocks no more often, and one that speaks of an earlier one is told how that ended. */
export const HINT_EVERY_MS: number = 500;
/** Evidence that waits for a block of one's own. */
export const EVIDENCE_WAITING_MAX: number = 256;
/** Blocks one answer to a node that is behind may hold, and its bytes. */
export const SYNC_BLOCKS_MAX: number = 64;
export const SYNC_BYTES_MAX: number = 768 * 1024;
/** Messages of one peer that are being checked; what comes beyond is dropped and sent again by the rules. */
export const CHECKS_PER_PEER_MAX: number = 256;
/** Signatures of a certificate under check at once: twice the threads of the pool, or one batch. A forged one costs at most so many beyond its first bad one. */
export const CERTIFICATE_CHECKS_AT_ONCE: number = 8;
/** Nothing a peer says is heard for so long after a forged certificate: at 200 signatures, 135 µs each, a liar costs 27 ms a minute. */
export const PEER_MUTED_MS: number = 60_000;
/** Peers muted at one time; the one muted longest is heard again. */
export const PEERS_MUTED_MAX: number = 1024;
/** Certificates known to hold, 64 bytes each. */
export const CERTIFICATES_REMEMBERED_MAX: number = 1024;
/** More than half of the peers speak of later epochs, and for so long nobody has given a block that is wanted here: it is pruned everywhere. */
export const LEFT_BEHIND_MS: number = 60_000;
/** A view timer that rings later than this part of a delta is put off once: less is a busy moment, more than the grace of a view has to spare. */
export const LATE_DELTAS: number = 1 / 4;
/** Validators are asked whether a disk has their state. */
export const KEEPERS_ASKED_EVERY_MS: number = 60_000;
/** Without an answer for so long another peer is asked. */
export const SYNC_TIMEOUT_MS: number = 5_000;
/** Final blocks kept in memory with their outcomes, by number and by bytes: those that somebody just waited for. What is older is read from the store. */
export const RECORDS_CACHED_MAX: number = 64;
export const RECORDS_CACHED_BYTES_MAX: number = 1024 ** 2;
/** Newest final blocks that peers may ask for by id; who is further behind asks for ranges. */
export const FINAL_IDS_MAX: number = 1024;
/** Messages kept that come between opening and start, and the size of each: votes and certificates, no proposals. */
export const EARLY_MESSAGES_MAX: number = 1024;
export const EARLY_BYTES_MAX: number = 16 * 1024;
/** Views above the final one of which a peer that comes is told; consensus asks for the rest. */
export const GREETED_VIEWS_MAX: number = 32;
/** Blocks of an epoch's end that are looked at for one with a certificate of its own: a finalization takes in as many as consensus holds, seldom two. */
export const PROVEN_BLOCKS_SEARCHED: number = 64;
/** Answers on the channel `sync` that one peer gets in a second and at once: a range of blocks or a chunk each, 1 MiB at most. */
export const SYNC_ANSWERS_PER_SECOND: number = 64;
export const SYNC_ANSWERS_BURST: number = 256;
/** Chunks of 64 KiB that one snapshot may have: 4 GiB of state. */
export const SNAPSHOT_CHUNKS_MAX: number = 65_536;
/** Bytes of all chunks that one who joins takes: it holds them until the last has come. */
export const JOIN_BYTES_MAX: number = 1024 ** 3;
/** Snapshots kept open for those who read them, and for how long after the last question. */
export const SNAPSHOTS_OPEN_MAX: number = 2;
export const SNAPSHOT_SERVED_MS: number = 60_000;
/** Who joins has a new one made if the newest is of an earlier epoch or so many blocks old, and none was made for others in the last minute. */
export const SNAPSHOT_OLD_BLOCKS: number = 256;
export const SNAPSHOT_FOR_OTHERS_MS: number = 60_000;
/** Below this height the blocks themselves are fetched faster than a snapshot. */
export const JOIN_BLOCKS_MIN: number = 128;
/** How long a new node waits for a first peer, for more of them, for the snapshot of one that has to write it, and until it asks another. */
export const PEERS_WAIT_MS: number = 5_000;
export const MORE_PEERS_MS: number = 500;
export const JOIN_WAIT_MS: number = 30_000;
export const NEXT_PEER_MS: number = 5_000;
/** Chunks asked of one peer at a time, and how long one may take. */
export const CHUNKS_ASKED_AT_ONCE: number = 4;
export const CHUNK_TIMEOUT_MS: number = 5_000;
/** Between two rounds of proofs: a round takes the speculative blocks back and does them again, milliseconds of the thread that votes. */
export const PROOF_ROUND_MS: number = 50;
/** Callers who wait for the next round, a proof each, 100 µs; who comes beyond is refused. */
export const PROOFS_WAITING_MAX: number = 128;
/** Proofs of the final block that are kept, some 2 KB each. */
export const PROOFS_KEPT_MAX: number = 1_024;
/** Headers of epochs that are kept however old they are: 400 KB at 16 validators. */
export const EPOCH_HEADERS_MIN: number = 256;

/** Between two looks at who is silent and what is to be said (liveness), whatever is due. */
export const BEAT_WAKE_MS_MIN = 5;
/** Beats of one machine that are looked at in a second and at once: twice what it sends, of two boot ids; each beyond would cost 135 µs of the thread that votes. */
export const BEATS_PER_SECOND = 4;
export const BEATS_BURST = 8;
/** Suspicions of one witness that are held for a block, one of each machine: with the 40 witnesses of two epochs 3 MB. */
export const SUSPICIONS_PER_WITNESS_MAX = 200;
/** A witness may be so many final blocks ahead of this node. */
export const SUSPICION_BLOCKS_AHEAD_MAX = 32;
