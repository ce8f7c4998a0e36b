/**
 * Every number of the protocol: its unit, its reason, and how it must stand to the others.
 *
 * Two kinds. Limits of the wire are the same on every chain, because a message must be refused before one knows much about
 * it. `Parameters` belong to one chain: its genesis names a preset, and all its validators compute with the same one.
 * `minimal` is for tests and differs only where waiting would be all that a longer time adds.
 */

import assert from "node:assert";

// ---- The wire --------------------------------------------------------------------------------------------------------

/** The first item of everything that is hashed or signed. */
export const WIRE_VERSION = 1;
/** A set of more would need aggregated signatures: 134 × 64 bytes are 8.6 KB a certificate. */
export const VALIDATORS_MAX = 200;
export const BITMAP_BYTES_MAX = 25;
/** Weights are sized so that twice their sum is still an exact u32. */
export const WEIGHT_SUM_MAX = 0x7fff_ffff;
/** What a unit of a validator's weight stands for: a token. More when all stake together would not fit the weights' sum. */
export const STAKE_PER_WEIGHT = 1_000_000_000n;
/** Up to this many validators everybody sends every certificate on (R4). */
export const CERTIFICATE_FLOOD_VALIDATORS_MAX = 32;
/** Header, body and signatures of one block. */
export const BLOCK_BYTES_MAX: number = 256 * 1024;
export const TRANSACTIONS_PER_BLOCK_MAX = 1000;
/** An `up` with the word of 20 witnesses (`STATEMENT_BYTES_MAX` each). */
export const TRANSACTION_BYTES_MAX: number = 8 * 1024;
export const OPERATIONS_PER_TRANSACTION_MAX = 16;
/** Accusations in one block: each costs two signature checks, and a third of the stake can be at fault at once. */
export const EVIDENCE_PER_BLOCK_MAX = 16;
/** Two headers of 330 bytes at most with a signature each, and their frames. */
export const EVIDENCE_BYTES_MAX = 1024;
/** What a witness says of a machine, with the beat that it names, its frame and signature (codec/liveness.ts): below 320. */
export const STATEMENT_BYTES_MAX = 384;
/** The witnesses of one set (liveness L7): an `up` needs two thirds of one. */
export const UP_ACKNOWLEDGEMENTS_MAX = 20;
/** Of twenty witnesses each, a dozen machines go down in one block: 80 KB and 25 ms of signatures. */
export const SUSPICIONS_PER_BLOCK_MAX = 256;
/** Nullifications that go along with a proposal; who misses older ones asks for them (R10). */
export const JUSTIFICATION_CERTIFICATES_MAX = 56;
/** Block, justification in which all of 200 validators signed everything, and their frames. */
export const MESSAGE_BYTES_MAX: number = 1024 * 1024;

/** Addresses of validators that one node tells another at once, and the length of each. */
export const ADDRESSES_PER_MESSAGE_MAX = 64;
export const ADDRESS_BYTES_MAX = 128;
/** Addresses at which one machine takes hops, and how long its word about them holds, in header time. */
export const HOP_ENDPOINTS_MAX = 4;
export const HOP_CERTIFICATE_MS: number = 24 * 60 * 60_000;

// ---- Consensus, the same on every chain --------------------------------------------------------------------------------

/** Votes and proposals for views further ahead than this are dropped: what a liar can make one remember is bounded. */
export const VIEWS_AHEAD_MAX = 64;
/** Views below the last final one of which votes are still read: they show who is alive, and prove late equivocation. */
export const VIEWS_BEHIND_KEPT = 8;
/** R10: the wait between two questions for the same grows so many times: to 2 s at Δ = 100 ms. Who asks for something small may ask often. */
export const REQUEST_GROWTHS_MAX = 4;
/** Proposals of one view that are kept: two prove equivocation, and a notarized third is fetched by its id. */
export const PROPOSALS_PER_VIEW_MAX = 2;
/** A leader of whom no vote was seen in so many views is passed over on entry. */
export const SILENT_LEADER_VIEWS = 20;
/** Blocks held above the last final one. A gap longer than that is filled by the shell (`behind`, `synced`). */
export const BLOCKS_HELD_MAX = 1024;
/** Missing blocks below a finalization beyond which the shell is told to sync by ranges. */
export const BEHIND_BLOCKS = 32;
/** The view timer grows by half with each view since the last final one, up to this. */
export const VIEW_GRACE_MS_MAX = 20_000;
/** A view has four delays of the network at least, and that is what its grace allows. */
export const DELTA_MS_MAX = 5_000;
/** The year 10889: arithmetic on times of blocks that honest validators vote for never leaves the u64, nor Date. */
export const GENESIS_TIME_MS_MAX: bigint = 2n ** 48n;
/** Without a new finalization for so long, what one holds is sent again (R9). */
export const STANDSTILL_MS = 3_000;
/** A validator that lost its vote log asks the others for their views this often (R12). */
export const REJOIN_MS = 1_000;
/** Sent again at one standstill: at n = 200 about 30 certificates. An asynchronous hour must not fill the links. */
export const STANDSTILL_BYTES_MAX: number = 256 * 1024;
/** Open requests for blocks and certificates, each. */
export const REQUESTS_MAX = 64;
/** Slots of the leader cycle per validator: how finely stake is told apart. */
export const LEADER_SLOTS_PER_VALIDATOR = 16;

// ---- Parameters of one chain -------------------------------------------------------------------------------------------

export type PresetName = "default" | "minimal";

export type Parameters = {
  // Time of blocks (design §4, pacing).
  /** Δ, the delay that the network is believed to keep; the genesis may say another. */
  readonly deltaMs: number;
  /** Least time from a block to its child: bounds what a busy leader can make others do. */
  readonly blockIntervalMsMin: number;
  /** With nothing to do a block still comes this often: the head start of a new machine, and the proof of life. */
  readonly idleIntervalMs: number;
  /** How far a block's time may lie ahead of the clock of who votes for it. */
  readonly clockSkewMsMax: number;
  /** Blocks with one validator set. */
  readonly epochBlocks: number;
  /** Validators of an epoch: those with the largest stakes. */
  readonly validatorsMax: number;
  /** From taking stake back to its payment, in header time: as long it can be slashed, and as old a checkpoint may be. */
  readonly unbondingMs: bigint;

  // Transactions.
  readonly transactionsPerBlockMax: number;
  readonly blockBytesMax: number;
  readonly transactionBytesMax: number;
  readonly operationsPerTransactionMax: number;
  /** `validUntil` lies at most this far ahead: a lost transaction is dead within the hour. */
  readonly validityWindowMs: bigint;
  /** Base units (10^9 are a token) a transaction costs, and each of its bytes. A transfer is about 151 bytes. */
  readonly feeBase: bigint;
  readonly feePerByte: bigint;

  // Money over time (design §4.1); seconds are money seconds.
  /** Money time moves at most this far from one block to the next: a halted chain bills nobody. */
  readonly moneyStepSecondsMax: bigint;
  /** From the end of a lease to its last payment: time for a `down` that proves an earlier end. */
  readonly holdSeconds: bigint;
  /** What a change that raises the rate must leave in the escrow. */
  readonly runwaySecondsMin: bigint;
  /** No `ready` within it is a strike against the machine and a new placement. */
  readonly readySecondsMax: bigint;
  /** What a lease has left there is to end what it has begun, unpaid: the longest request, and time to hear of it. */
  readonly drainSecondsMax: bigint;
  readonly replicasMax: number;
  readonly unpaidSegmentsMax: number;
  readonly dueEventsPerBlockMax: number;
  readonly placementsPerBlockMax: number;
  /** How long the load of a deployment must have been too high, or too low, before a step, and between two (ledger/scaling.ts). */
  readonly scaleUpSeconds: bigint;
  readonly scaleDownSeconds: bigint;
  /** The chain's share of what operators are paid, in 1/10,000. */
  readonly shareBps: bigint;
  /** Base units a year that a name costs: enough that nobody keeps a thousand for nothing, and too little to matter to who uses one. */
  readonly nameRentPerYear: bigint;

  // Votes on these (ledger/votes.ts), in epochs.
  /** How long a proposal may wait for its votes. */
  readonly voteEpochs: number;
  /** From its votes to its effect: time to leave. */
  readonly delayEpochs: number;
};

const preset = (changes: Partial<Parameters>): Parameters => Object.freeze({
  deltaMs: 400,
  blockIntervalMsMin: 200,
  idleIntervalMs: 5_000,
  clockSkewMsMax: 2_000,
  epochBlocks: 600,
  validatorsMax: 100,
  unbondingMs: 7n * 86_400_000n,
  transactionsPerBlockMax: TRANSACTIONS_PER_BLOCK_MAX,
  blockBytesMax: BLOCK_BYTES_MAX,
  transactionBytesMax: TRANSACTION_BYTES_MAX,
  operationsPerTransactionMax: OPERATIONS_PER_TRANSACTION_MAX,
  validityWindowMs: 3_600_000n,
  feeBase: 10_000n,
  feePerByte: 10n,
  moneyStepSecondsMax: 10n,
  holdSeconds: 30n,
  runwaySecondsMin: 60n,
  readySecondsMax: 30n,
  drainSecondsMax: 30n,
  replicasMax: 256,
  unpaidSegmentsMax: 8,
  dueEventsPerBlockMax: 256,
  placementsPerBlockMax: 256,
  scaleUpSeconds: 5n,
  scaleDownSeconds: 60n,
  shareBps: 500n,
  nameRentPerYear: 1_000_000_000n,
  voteEpochs: 64,
  delayEpochs: 32,
  ...changes,
});

export const PRESETS: Readonly<Record<PresetName, Parameters>> = Object.freeze({
  default: preset({}),
  minimal: preset({ deltaMs: 100, holdSeconds: 2n, readySecondsMax: 5n, drainSecondsMax: 3n, scaleUpSeconds: 2n, scaleDownSeconds: 4n, epochBlocks: 60, validatorsMax: 16, unbondingMs: 120_000n, voteEpochs: 4, delayEpochs: 2 }),
});

/**
 * What validators may change by votes, with numbers that are never given twice and bounds that no vote leaves. Not here: what lists of the state are ordered
 * by (hold, ready), what light clients and nodes reckon with beforehand (unbonding, epochs, times of blocks), and the chain's share, which was number 3: a segment's is
 * counted from its opening, so that a vote would change what was earned before it, by as much as nobody happened to claim.
 */
export type VotableName = "feeBase" | "feePerByte" | "validatorsMax" | "transactionsPerBlockMax" | "nameRentPerYear";
export const VOTABLE: Readonly<Record<VotableName, { readonly number: number; readonly min: bigint; readonly max: bigint }>> = {
  feeBase: { number: 1, min: 1_000n, max: 1_000_000_000n },
  feePerByte: { number: 2, min: 0n, max: 1_000_000n },
  validatorsMax: { number: 4, min: 4n, max: BigInt(VALIDATORS_MAX) },
  transactionsPerBlockMax: { number: 5, min: 100n, max: BigInt(TRANSACTIONS_PER_BLOCK_MAX) },
  /** For nothing, whoever comes first would have every name. */
  nameRentPerYear: { number: 6, min: 1_000_000n, max: 1_000_000_000_000n },
};
export const votableOf = (number: number): VotableName | null => (Object.keys(VOTABLE) as VotableName[]).find((name) => VOTABLE[name].number === number) ?? null;
/** Parameters with some of them changed. */
export function withValues(base: Parameters, values: readonly { readonly parameter: number; readonly value: bigint }[]): Parameters {
  const changed: Record<string, bigint | number> = {};
  for (const { parameter, value } of values) {
    const name = votableOf(parameter);
    if (name !== null) changed[name] = typeof base[name] === "number" ? Number(value) : value;
  }
  return Object.freeze({ ...base, ...changed });
}

/** The relations that the rules lean on; a preset that breaks one does not load. */
function assertParameters(p: Parameters): void {
  assert(Number.isInteger(p.deltaMs) && p.deltaMs > 0 && p.deltaMs <= DELTA_MS_MAX);
  assert(p.blockIntervalMsMin > 0 && p.blockIntervalMsMin <= p.idleIntervalMs);
  // A due event and an idle block must not wait for each other across a jump of money time.
  assert(BigInt(p.idleIntervalMs) < p.moneyStepSecondsMax * 1000n);
  // A leader ahead by the whole skew must not be taken for one who skips an idle interval.
  assert(p.clockSkewMsMax < p.idleIntervalMs);
  assert(p.epochBlocks >= 8 && p.validatorsMax >= 4 && p.validatorsMax <= VALIDATORS_MAX);
  assert(p.transactionsPerBlockMax <= TRANSACTIONS_PER_BLOCK_MAX);
  assert(p.blockBytesMax <= BLOCK_BYTES_MAX);
  assert(p.transactionBytesMax <= TRANSACTION_BYTES_MAX && p.transactionBytesMax < p.blockBytesMax);
  assert(p.operationsPerTransactionMax <= OPERATIONS_PER_TRANSACTION_MAX);
  assert(p.holdSeconds < p.runwaySecondsMin);
  assert(p.shareBps <= 10_000n);
  assert(p.replicasMax <= p.placementsPerBlockMax);
  // What came is seen to be too little before it is seen to be too much.
  assert(p.scaleUpSeconds > 0n && p.scaleUpSeconds < p.scaleDownSeconds);
}

for (const name of Object.keys(PRESETS) as PresetName[]) assertParameters(PRESETS[name]);
assert(BITMAP_BYTES_MAX * 8 === VALIDATORS_MAX);
assert(BLOCK_BYTES_MAX + JUSTIFICATION_CERTIFICATES_MAX * (VALIDATORS_MAX * 64 + 128) < MESSAGE_BYTES_MAX);
assert(4 * DELTA_MS_MAX <= VIEW_GRACE_MS_MAX);
assert(VIEWS_BEHIND_KEPT < VIEWS_AHEAD_MAX);
