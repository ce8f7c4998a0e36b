/**
 * Every limit of the agent: what one tenant, one client or one file may take of a machine.
 *
 * Rule: a queue, list, body or wait of `os/` has its maximum here, with its unit and its reason; the door checks it.
 */

/** A signed transaction (the protocol's own limit) and a little for its envelope. */
export const TRANSACTION_BODY_BYTES_MAX: number = 8 * 1024;
/** Environment variables of one deployment: they are held in memory by every lease holder. */
export const CONFIGURATION_BYTES_MAX: number = 64 * 1024;
export const CONFIGURATION_ENTRIES_MAX = 256;

/** Rows of one answer; a deployment's row may hold 256 leases, 40 KB. */
export const PAGE_ROWS_DEFAULT = 100;
export const PAGE_ROWS_MAX = 200;

/** An upload that no deployment names is gone after this. */
export const UPLOAD_EXPIRY_MS: number = 10 * 60_000;
/** Bytes of uploads of one account that no deployment names yet. */
export const UPLOAD_ACCOUNT_BYTES_MAX: number = 128 * 1024 * 1024;
/** Bytes of all uploads that no deployment names yet: what strangers may take of the disk. */
export const UPLOAD_BYTES_MAX: number = 1024 * 1024 * 1024;
/** What the smallest upload counts for: it is a file, an entry and a compile too. One account has 2,048 at most, all have 16,384. */
export const UPLOAD_BYTES_MIN: number = 64 * 1024;
/** Uploads being received and inspected at once, of all and of one account; each is held in memory. */
export const UPLOADS_AT_ONCE_MAX = 16;
export const UPLOADS_OF_ONE_AT_ONCE_MAX = 4;
/** An upload must begin at once and come at this speed, or its turn is another's: the largest has 69 s. */
export const UPLOAD_FIRST_MS_MAX = 5_000;
export const UPLOAD_BYTES_PER_SECOND_MIN: number = 256 * 1024;
/** Compiler processes at once: one core stays free for the chain. Of what no deployment names yet there is one less: it keeps nobody's lease waiting. */
export const COMPILES_AT_ONCE_MAX = 2;
/** Accounts whose turn is remembered; one more, and all are equal again. */
export const COMPILE_ACCOUNTS_REMEMBERED_MAX = 1_024;

/** Runners that may end under one run of a task before it is told to have failed. */
export const RUNNER_DEATHS_MAX = 3;

/** Of the operator's listener: a handful of collectors. */
export const METRICS_CONNECTIONS_MAX = 16;

/** How long `?wait=final` waits before it answers 202. */
export const FINAL_WAIT_MS_MAX = 20_000;
/** Requests that wait for finality at once. */
export const FINAL_WAITS_MAX = 1024;

/** Lines and bytes of one deployment's log in memory: what `tail` can give at once. */
export const LOG_LINES_MAX = 1000;
export const LOG_MEMORY_BYTES_MAX: number = 512 * 1024;
/** Lines of all logs in memory: above it the ones written to longest ago are on disk only, until somebody asks. */
export const LOGS_MEMORY_BYTES_MAX: number = 64 * 1024 * 1024;
/** One line; the rest is cut. */
export const LOG_LINE_BYTES_MAX: number = 8 * 1024;
/** A log file is turned over at this size, and one older file is kept. */
export const LOG_FILE_BYTES_MAX: number = 1024 * 1024;
/** Deployments with a log on this machine; the one written to longest ago goes first. */
export const LOGS_MAX = 1024;
/** Lines of one deployment that wait for the disk; a disk that stands still costs lines, not memory. */
export const LOG_UNWRITTEN_LINES_MAX = 4096;
/** Lines are on disk after this. */
export const LOG_FLUSH_MS = 200;
/** Clients that follow logs at once, of all accounts and of one, and what may wait unsent for one of them before lines are skipped. */
export const LOG_FOLLOWERS_MAX = 64;
export const LOG_FOLLOWERS_OF_ONE_MAX = 8;
export const LOG_FOLLOWER_BYTES_MAX: number = 1024 * 1024;
/** A stream that is over, or whose place is another client's, has so long to be read to its end. */
export const STREAM_END_MS_MAX = 30_000;
/** A silent stream says something this often, so that a dead client is noticed. */
export const LOG_HEARTBEAT_MS = 15_000;
/** Lines that another machine has: calls under way at once, what one waits for its answer, and how much comes at once (a channel's message is 512 KiB). */
export const LOG_CALLS_MAX = 64;
export const LOG_CALL_MS_MAX = 5_000;
export const LOG_RELAY_BYTES_MAX: number = 384 * 1024;
/** Of such a call: the path with its query, the signed header (a request's envelope in base64), the code of a refusal, and the id that a client gave its request. */
export const LOG_PATH_BYTES_MAX = 2_048;
export const LOG_AUTHORIZATION_BYTES_MAX = 8_256;
export const LOG_CODE_BYTES_MAX = 64;
export const LOG_REQUEST_ID_BYTES_MAX = 256;
/** A line that was cut is a letter longer; a letter has four bytes at most. */
export const LOG_TEXT_BYTES_MAX: number = 4 * (LOG_LINE_BYTES_MAX + 1);
/** Machines that are asked whether they have some, what one waits for them, and such questions at once. */
export const LOG_HOLDERS_ASKED_MAX = 256;
/** Machines that ran it, as the ledger knows, and are not connected: so many are looked for. */
export const LOG_HOLDERS_SOUGHT_MAX = 16;
export const LOG_HOLDER_MS_MAX = 1_500;
export const LOG_HOLDER_QUESTIONS_MAX = 8;
/** One that is not connected is looked for so long. */
export const LOG_SEEK_MS = 2_000;
/** Who follows them asks so often, and gives up when nothing was heard for so long. */
export const LOG_POLL_MS = 250;
export const LOG_SILENCE_MS_MAX = 15_000;
/** A request that was judged good holds so long after it was last asked for, and so many are remembered. */
export const LOG_GRANT_MS = 30_000;
export const LOG_GRANTS_MAX = 256;
/** The log of a closed deployment is over after so much silence: unloaded within milliseconds, it has only its last requests left. */
export const LOG_QUIET_MS = 1_000;
/** Where the lines come from another machine, which is asked again and again. */
export const LOG_QUIET_ELSEWHERE_MS = 3_000;
/** And at most so long after the close: a request runs 30 s at most. */
export const LOG_LAST_LINES_MS_MAX = 35_000;

/**
 * Blocks that one request for events reads, how many all of them and all followers read in a turn of the event loop, and such
 * requests at once: each block is a read of the disk, and the chain's own work goes between.
 */
export const EVENT_BLOCKS_MAX = 512;
export const EVENT_BLOCKS_PER_TURN = 8;
export const EVENT_REQUESTS_MAX = 8;
/** Clients that follow events at once, each with at most so many bytes unsent: the rest waits on the disk. */
export const EVENT_FOLLOWERS_MAX = 64;
export const EVENT_FOLLOWER_BYTES_MAX: number = 256 * 1024;

/** A repeated failure waits 250 ms, 500 ms, … and at most this. */
export const RETRY_MS_FIRST = 250;
export const RETRY_MS_MAX = 30_000;
/**
 * After so many tries (3.75 s) to find a component of which every machine has just said again that it does not have it, its leases are
 * failed: the protocol gives a machine five seconds at least to be ready before it counts against the machine.
 */
export const FETCH_ATTEMPTS_MAX = 4;
/** Who does not answer has not said so, but is waited for only so long: by default the protocol gives 30 s. */
export const FETCH_UNANSWERED_MS_MAX = 20_000;
/** Trials in a row that took too long by the clock before that is the component's own fault: a busy computer is late once or twice. */
export const SLOW_LOADS_MAX = 3;
/** Machines that keep the bytes that a deployment names, whether they run it or not: two may be lost at once. */
export const COPIES = 3;
/** Blobs that are fetched to be kept at once: what a lease waits for comes first. */
export const KEEPS_AT_ONCE_MAX = 4;
/** Deployments whose copies are being counted at once. */
export const COPY_COUNTS_MAX = 32;
/** Actions of one kind (loads, compiles, `ready`, …) under way at once: no kind waits for the slowness of another. */
export const ACTIONS_OF_ONE_KIND_MAX = 16;
/** The supervisor looks at least this often while something is due later: a clock that jumps makes no wait longer. */
export const WAKE_MS_MAX = 60_000;
/** A transaction of the machine that is not final by then is sent anew. */
export const MACHINE_TRANSACTION_VALID_MS = 30_000;
/** A start waits this long for its `up`; a chain without a quorum must not keep the API shut. */
export const UP_WAIT_MS_MAX = 5_000;
/** A start keeps clients waiting this long for what was served before it; what takes longer is unknown until it is loaded. */
export const LOAD_WAIT_MS_MAX = 2_000;

/** A machine that goes waits so long for others to take its leases: of PID 1's 30 s, the rest is for its stop. */
export const DRAIN_MS_MAX = 15_000;

/** Each of the three steps of a stop gets at most this, so that all of it ends within 2 s. */
export const STOP_STEP_MS_MAX = 600;

/** Memory that leases never get: the agent's own and the runner's. */
export const MEMORY_RESERVED_MIB = 64;
/** Of all memory, for the kernel, its caches and compiles. */
export const MEMORY_HEADROOM_PERCENT = 25;

/** Lines of the machine itself that an operator can read from afar, and the length of one: a boot and a day of remarks. */
export const MACHINE_LINES_MAX = 1_000;
export const MACHINE_LINE_LENGTH_MAX = 1_024;
/** A command to the machine itself holds no longer (design §6: commands are few, and clocks are near). */
export const COMMAND_LIFETIME_MS_MAX = 60_000;
export const COMMAND_BODY_BYTES_MAX = 1_024;
/** An answer is on its way before the machine begins to end. */
export const COMMAND_DELAY_MS = 100;

/** A genesis of ten thousand accounts has about a megabyte. */
export const GENESIS_BYTES_MAX: number = 16 * 1024 * 1024;
export const GENESIS_FETCH_MS_MAX = 20_000;

/** How often what has a health path is asked for it, how long it may take, and after how many misses in a row it is not well: told within eight seconds. */
export const HEALTH_INTERVAL_MS = 2_000;
export const HEALTH_TIMEOUT_MS = 2_000;
export const HEALTH_MISSES = 3;
/** It is started anew at once, then after so long, twice as long each time. */
export const HEALTH_RESTART_MS_FIRST = 10_000;
export const HEALTH_RESTART_MS_MAX = 300_000;

/** How often what scales by itself is measured, over how many samples: a burst of a second makes nobody grow. */
export const LOAD_SAMPLE_MS = 1_000;
export const LOAD_SAMPLES = 4;
/** Too much, and too little, in thousandths of a replica's target; and when it is no longer so. */
export const LOAD_HIGH_PERMILLE = 1_000;
export const LOAD_NOT_HIGH_PERMILLE = 900;
export const LOAD_LOW_PERMILLE = 400;
export const LOAD_NOT_LOW_PERMILLE = 450;
/** What had no request for so long is on standby, where its deployment wants that: at most two words to the ledger in so long. */
export const STANDBY_IDLE_MS = 10_000;

/** Of the parts of an image: a kernel has 7 MB, an initramfs 55. They are held in memory twice until the next kernel runs. */
export const IMAGE_PART_BYTES_MAX: number = 256 * 1024 * 1024;
export const IMAGE_FETCH_MS_MAX = 600_000;
/** Machines that are upgraded from this one at once: each takes 60 MB, and nobody has to have signed for it. */
export const IMAGE_READERS_MAX = 2;
/** A key file has 65 bytes. */
export const CARRIED_FILE_BYTES_MAX = 4_096;
/** An image on trial that does not accept work by then gives way to the one before. */
export const TRIAL_MS_MAX = 180_000;

/** A machine signs its hop key anew when less than this is left of its certificate, in header time. */
export const HOP_RENEW_MS: number = 12 * 60 * 60_000;
/** The same, of what others show: a certificate for longer than that is not taken. */
export const HOP_CERTIFICATE_MS_MAX: number = 25 * 60 * 60_000;
/** Certificates of machines that the ledger does not know yet, and of one certificate: it has 260 bytes with four addresses. */
export const HOP_STRANGERS_MAX = 64;
export const HOP_CERTIFICATE_BYTES_MAX = 512;
/** Two certificates of one machine are this far apart at least: whoever sends more only costs itself. */
export const HOP_CERTIFICATE_INTERVAL_MS = 250;
/** How often one peer is asked whether it knows the same certificates: what was lost on the way comes then. */
export const HOP_COMPARE_MS = 5_000;
/** Peers that a machine asks when it begins: each may answer with all that it knows, and one of them may have begun just now, too. */
export const HOP_PEERS_ASKED_FIRST = 3;
/** In one message (its channel takes 64 KiB). */
export const HOP_CERTIFICATES_PER_MESSAGE = 100;
/** Peers whose last comparison is remembered: more than are connected. */
export const HOP_PEERS_REMEMBERED_MAX = 1_024;
/** What moved away ends here when nobody has asked for it for so long (design 4.2: at most drainSecondsMax). */
export const LEAVING_QUIET_MS = 2_000;
export const LEAVING_LOOK_MS = 500;
