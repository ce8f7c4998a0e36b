/**
 * Numbers that only the ledger uses, each with its unit and its reason. What is a parameter of one chain is in
 * `chain/constants.ts`.
 */

import { STAKE_PER_WEIGHT } from "#chain/constants.ts";

/** A token is 10^9 base units. What an operator bonds for capacity; capacity beyond the bond is not placed on. */
export const BOND_PER_GIB = 1_000_000_000n;
export const BOND_PER_CORE = 1_000_000_000n;
/** Below it a machine has nothing to lose, and its operations are not free. */
export const BOND_MIN = 1_000_000_000n;
/** Free operations of one machine in one block: 32 leases start in one block and the next takes more. */
export const FREE_OPERATIONS_PER_MACHINE_MAX = 64;

/**
 * Work is counted in changes of an entity (15 µs); what a refusal takes back counts twice. Once transactions that pay have made up so
 * much, a block takes no more of them, and of free ones likewise: neither can keep the other out. With the last of each that is 41,000 and
 * half a second at most.
 */
export const WORK_PER_BLOCK_MAX = { paid: 12_288, free: 4_096 } as const;
/**
 * A transaction of more is refused, so that there is none that no block could take: 16 resizes of 256 leases are 13,500, the `up` that
 * ends 1,024 leases 4,100.
 */
export const WORK_PER_TRANSACTION_MAX = { paid: 16_384, free: 8_192 } as const;
/** Leases looked up, machines asked for a price, and unpaid segments written again, for one unit of work each. */
export const LOOKUPS_PER_WORK = 8;
export const SEGMENTS_PER_WORK = 64;
/**
 * A lease that an account makes look for a machine (deploy, scale, wake): a block's room for those is what it places, 256, so that nobody makes a
 * line of hours that others' leases wait in.
 */
export const LEASE_WORK = 48;
/** A signature that an operation checks. */
export const PROOF_WORK = 8;

/** 16 TiB and 1,048 cores: larger than a machine of today, small enough that a product is an exact number. */
export const MEMORY_MIB_MAX: number = 2 ** 24;
export const CPU_MILLIS_MAX: number = 2 ** 20;
/** Base units: a price beyond it is a mistake, and below it every rate fits a u64. */
export const PRICE_MAX: bigint = 2n ** 40n;
export const CONCURRENCY_MAX = 1024;
/** What one reboot may have to end in one operation. */
export const LEASES_PER_MACHINE_MAX = 1024;

/**
 * Base units a second that there must be money for, a lease, before it is made, however cheap machines are: a million leases, a gigabyte
 * for every validator, lock 6 tokens, and without it 0.06.
 */
export const RATE_RESERVED_MIN = 100n;

/** Money seconds after which anybody may close what nobody has paid for since, and that holds less than its leases are reckoned at: a week. */
export const ABANDONED_SECONDS = 604_800n;

/** Machines that one lease can choose from, cheapest price first, and looked at for it, as most may be full; and for the estimate at `deploy` and `scale`. */
export const MACHINES_CONSIDERED_MAX = 1024;
export const MACHINES_VISITED_MAX = 4096;
export const MACHINES_ESTIMATED_MAX = 64;
/** Looks for all leases of one block: a hash is one, as are eight rows without. 0.2 s of work where a thousand machines are equal, and all 256 leases where they are not. */
export const PLACEMENT_LOOKS_MAX = 32_768;
export const ROWS_PER_LOOK = 8;

/**
 * Of leases that a block before tried in vain: what a block may look for them, and in vain, again. They cost nobody anything, and there can be as many as somebody likes to
 * make: a block looks at some of them, those of longest ago first, for 25 ms, and at the rest in the blocks after it.
 */
export const VAIN_LOOKS_MAX = 4_096;
export const VAIN_PLACEMENTS_MAX = 32;

/** Distinct machines that must say `failed` before a deployment is placed nowhere; after as many rounds of all replicas on fewer it is placed only on others. */
export const FAILED_MACHINES_MAX = 3;
/** Money seconds after which earlier failures are forgotten. */
export const FAILURES_REMEMBERED_SECONDS = 3_600n;
/** Money seconds without placements after the n-th strike: 10 × 2^(n−1), at most 600. */
export const STRIKE_SECONDS = 10n;
export const STRIKE_SECONDS_MAX = 600n;
export const STRIKES_COUNTED_MAX = 16;

/** A standby lease costs so much of its rate, in 1/10,000: its memory stays its own, and its CPU is everybody's meanwhile. */
export const STANDBY_BPS = 500n;
/** Money seconds between two words of a machine on the load of one lease. */
export const LOAD_SECONDS_MIN = 2n;
/** What one replica may be wanted to have at most: all of its CPU, in thousandths; and a million requests a second. */
export const CPU_SHARE_PERMILLE_MAX = 1_000;
export const REQUESTS_PER_SECOND_MAX = 1_000_000;

/** Leases of one revision have indices from 0 or from here: the most replicas that a deployment can have. */
export const REVISION_SLOT = 256;
/** What served before and can be rolled out again. */
export const HISTORY_MAX = 8;
export const WEIGHT_MAX = 1_000;
/** Of a rollout: an hour of health, a day until it is given up, and failures that are borne with. */
export const HEALTHY_SECONDS_MAX = 3_600;
export const DEADLINE_SECONDS_MAX = 86_400;
export const ROLLOUT_FAILURES_MAX = 1_000;
/** Money seconds that a lease which does not answer as it should is given to come back; twice as long after each move, as it may be the component. */
export const UNHEALTHY_SECONDS = 30n;
export const UNHEALTHY_MOVES_COUNTED_MAX = 10;

/** Of a task: a day for one run, a hundred that fail, an hour between two; and machines that may go down under it, one after the other. */
export const TASK_SECONDS_MAX = 86_400;
export const TASK_ATTEMPTS_MAX = 100;
export const TASK_BACK_OFF_SECONDS_MAX = 3_600;
export const TASK_LOSSES_MAX = 16;
/** Money seconds from the most that a run may take until its machine must have said how it ended: as long as it has to be ready. */
export const TASK_REPORT_SECONDS = 30n;
/** Money seconds for which a task that has ended can be read: a day. */
export const TASK_KEPT_SECONDS = 86_400n;

/** A gap of header time that is longer than an idle interval by this is a stall of the chain. */
export const STALL_MARGIN_MS = 2_000n;
/** Money seconds after a stall in which nobody can be proven gone (design 4.2), so that `claim` waits. */
export const STALL_GRACE_SECONDS = 10n;

/** Paid segments of one deployment, and closed deployments, that stay readable for bills. Not part of the state root. */
export const SEGMENTS_ARCHIVED_MAX = 64;
export const DEPLOYMENTS_ARCHIVED_MAX = 4096;
export const PAGE_ITEMS_DEFAULT = 100;
export const PAGE_ITEMS_MAX = 1000;

/** Less has no weight. */
export const STAKE_MIN: bigint = STAKE_PER_WEIGHT;
/** Of one validator at one time; each can be slashed, and is paid out at the end of an epoch. */
export const UNBONDINGS_MAX = 8;
/** Epochs after the one in which stake is taken back: its set and the next are fixed already, and one more is for evidence. */
export const UNBONDING_EPOCHS = 3;
/** Sets of so many past epochs are kept, and evidence of no older one is taken: at 100 validators that change in each, 1.8 MB of state. */
export const EVIDENCE_EPOCHS_MAX = 256;
/** Validators whose unbonding stake is paid out at the end of one epoch; the rest at the next. */
export const RELEASES_PER_EPOCH_MAX = 256;
/** In 1/10,000: what two contradicting signatures cost of stake and unbonding stake, and who shows them gets of that. */
export const SLASH_BPS = 500n;
export const REPORT_BPS = 1_000n;
/** Who signed less than this share of an epoch's parents, and proposed none of its blocks, is down. */
export const PRESENCE_PERCENT_MIN = 50;

/** Less is not delegated: what a leaf, and its payment one day, cost others. */
export const DELEGATION_MIN = 100_000_000n;
/** Delegated tokens weigh up to so many times the operator's own stake, and no more are taken: what an operator has to lose is a tenth. */
export const DELEGATED_PER_STAKE_MAX = 10n;
/** In 1/10,000: how far a commission may rise at once; and how often within the time that leaving takes. */
export const COMMISSION_STEP_BPS_MAX = 100;
export const COMMISSION_RAISES_PER_UNBONDING = 7n;
/** Delegators whose time is over and who are paid in one block. */
export const DELEGATION_RELEASES_PER_BLOCK_MAX = 32;

export const NAME_YEAR_MS: bigint = 365n * 86_400_000n;
/** A rent is paid in advance, and for ten years at most. */
export const NAME_YEARS_MAX = 10;
/** How long only its owner may renew a name whose time is over. */
export const NAME_GRACE_MS: bigint = 30n * 86_400_000n;
/** A machine answers by each: a fourth of the hosts that one route can have. */
export const NAMES_PER_DEPLOYMENT_MAX = 16;

/** How far ahead the expiry of a lock may lie: a year, so that a slip of a digit does not lock money away for ever. */
export const LOCK_MS_MAX: bigint = 366n * 86_400_000n;

/** Slots of one chunk of a snapshot, and the bytes that it should not be much longer than: one message. A deployment of 256 replicas alone can have 170 KB. */
export const CHUNK_LEVEL_MAX = 9;
export const CHUNK_BYTES_AIM: number = 192 * 1024;

/** Keys of one account: as many as can sign one transaction. */
export const KEYS_MAX = 16;

/** Header time of which a block knows the clocks of blocks: witnesses speak of moments within it; and the fewest of them, for before a stall. */
export const CLOCKS_KEPT_MS = 40_000n;
export const CLOCKS_KEPT_MIN = 8;
/** Header time after which a `down` is forgotten: L15 counts those of an hour. */
export const DOWNS_KEPT_MS = 3_600_000n;
/** Leases that machines which go down in one block may have together; the first one has all of its own. The rest goes down in the next block. */
export const LEASES_DOWN_PER_BLOCK_MAX = 1024;
