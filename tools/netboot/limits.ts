/** Every maximum of the netboot server, with its unit and its reason: whoever is on the wire may send it anything. */

/** Addresses given for this long; a machine asks again after half of it. */
export const LEASE_SECONDS = 3_600;
/** An offer that nobody takes is free again. */
export const OFFER_MS = 30_000;
/** An address that somebody else has (a client declined it). */
export const DECLINED_MS = 600_000;
/** Addresses of a pool: more machines are no LAN. */
export const POOL_ADDRESSES_MAX = 1_024;
/** Files being read by TFTP at once, of all and of one address: a firmware reads one. */
export const TFTP_SESSIONS_MAX = 128;
export const TFTP_SESSIONS_OF_ONE_MAX = 8;
/** One Ethernet frame without fragments. */
export const TFTP_BLOCK_BYTES_MAX = 1_468;
export const TFTP_BLOCK_BYTES_MIN = 8;
/** Blocks that may be under way: more only fills the buffer of a firmware that reads slowly. */
export const TFTP_WINDOW_BLOCKS_MAX = 32;
/** The first wait for an acknowledgement; each further one is twice as long. */
export const TFTP_RETRY_MS = 700;
export const TFTP_RETRIES_MAX = 6;
/** A wait that a client asks for stays as it is: with six of this one its session is gone after a minute, not after hours. */
export const TFTP_TIMEOUT_SECONDS_MAX = 10;
export const TFTP_REQUEST_BYTES_MAX = 512;
/** Clients of the HTTP server: a rack's worth. */
export const HTTP_CONNECTIONS_MAX = 512;
export const HTTP_HEADER_BYTES_MAX: number = 8 * 1024;
export const HTTP_BODY_BYTES_MAX: number = 8 * 1024;
/** A connection on which nothing moves. */
export const HTTP_IDLE_MS = 60_000;
/** Machines in the table: the one heard of longest ago goes first. */
export const MACHINES_MAX = 2_048;
/** A join token is good once, for this long (design §6). */
export const TOKEN_MS = 600_000;
/** Tokens of one machine that are good at once: a boot may fetch its script twice. */
export const TOKENS_OF_ONE_MAX = 4;
/** Machines that have shown a good token and wait. */
export const JOINS_MAX = 256;
/** Machines that one boot server registers, unless it is told another number. */
export const MACHINES_ENROLLED_DEFAULT = 16;
export const MACHINES_ENROLLED_MAX = 1_024;
/** Lines of one server to its operator: a rack that boots says less. */
export const LINES_PER_SECOND_MAX = 50;
/** What one machine leaves in the vault: sixteen of the largest components. */
export const VAULT_MACHINE_BYTES_MAX: number = 1024 * 1024 * 1024;
/** Each holds a file open, or an index in memory; a rack that is switched off waits its turn. */
export const VAULT_PUTS_AT_ONCE_MAX = 32;
/** A machine sends one after the other: whoever has overheard what one sent, and sends it again slowly, keeps the others from nothing. */
export const VAULT_PUTS_OF_ONE_MAX = 8;
