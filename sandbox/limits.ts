/**
 * Every limit that an instance has: its default, and the most a tenant may ask for.
 *
 * A leaf: imports nothing, so that the manifest can check against it. A limit that a caller leaves out is the default; one
 * above the maximum is an error of the caller, not silently lowered. For each of them a hostile guest in tests/sandbox runs
 * into it.
 */

export type Limits = {
  /** Linear memory of all concurrent instances of a deployment together (of the one instance of a task). */
  readonly memoryBytesMax: number;
  /** Deterministic instruction budget of one call; a tight loop burns 1 to 5 × 10^9 a second. */
  readonly fuelPerCallMax: number;
  /** CPU time of one call, of the host's work for it too; looked at after every slice of a millisecond. */
  readonly cpuTimeMsMax: number;
  /** From the request's head to the last byte of its answer, also while the guest only waits; for a task its whole run. */
  readonly wallTimeMsMax: number;
  /** In each table; SpiderMonkey guests need 7,688. */
  readonly tableElementsMax: number;
  /** Core instances inside one component instance; a composed component has a few. */
  readonly instancesMax: number;
  /** Live handles (streams, requests, headers, pollables) of one instance. */
  readonly resourceHandlesMax: number;
  readonly requestBodyBytesMax: number;
  readonly responseBodyBytesMax: number;
  /** Headers of a request or an answer. */
  readonly headerCountMax: number;
  /** Names and values of a request's or an answer's headers together with the request target. */
  readonly headerBytesMax: number;
  /** stdout and stderr of a deployment; what is over is dropped and counted in a system line. */
  readonly logBytesPerSecondMax: number;
  readonly componentBytesMax: number;
  /** Requests that wait for a free instance; one more is answered 503. */
  readonly queueLengthMax: number;
  readonly queueWaitMsMax: number;
  /** Connections that a deployment's own requests have open at once; one more fails in the guest. */
  readonly outgoingConnectionsMax: number;
  /** The body of one request that a guest sends, and of the answer to it. */
  readonly outgoingRequestBytesMax: number;
  readonly outgoingResponseBytesMax: number;
  /** From the guest's call to the last byte of the answer. */
  readonly outgoingTimeMsMax: number;
};

const KIB = 1024;
const MIB = 1024 * KIB;

export const LIMITS_DEFAULT: Limits = {
  memoryBytesMax: 64 * MIB,
  fuelPerCallMax: 10_000_000_000,
  cpuTimeMsMax: 10_000,
  wallTimeMsMax: 30_000,
  tableElementsMax: 20_000,
  instancesMax: 16,
  resourceHandlesMax: 256, // What the host keeps for one may be FIELD_BYTES_FACTOR × headerBytesMax.
  requestBodyBytesMax: 1 * MIB,
  responseBodyBytesMax: 8 * MIB,
  headerCountMax: 100,
  headerBytesMax: 16 * KIB,
  logBytesPerSecondMax: 64 * KIB,
  componentBytesMax: 16 * MIB,
  queueLengthMax: 128,
  queueWaitMsMax: 5_000,
  outgoingConnectionsMax: 16,
  outgoingRequestBytesMax: 1 * MIB,
  outgoingResponseBytesMax: 8 * MIB,
  outgoingTimeMsMax: 30_000,
};

export const LIMITS_MAX: Limits = {
  memoryBytesMax: 1024 * MIB, // The pool reserves this much address space for every slot.
  fuelPerCallMax: 1_000_000_000_000_000,
  cpuTimeMsMax: 600_000,
  wallTimeMsMax: 600_000,
  tableElementsMax: 20_000, // The pool's slots have this size.
  instancesMax: 16,
  resourceHandlesMax: 4_096,
  requestBodyBytesMax: 64 * MIB,
  responseBodyBytesMax: 256 * MIB,
  headerCountMax: 256, // What the ingress reads of one head.
  headerBytesMax: 64 * KIB,
  logBytesPerSecondMax: 4 * MIB,
  componentBytesMax: 64 * MIB,
  queueLengthMax: 1_024,
  queueWaitMsMax: 30_000,
  outgoingConnectionsMax: 256,
  outgoingRequestBytesMax: 64 * MIB,
  outgoingResponseBytesMax: 256 * MIB,
  outgoingTimeMsMax: 600_000,
};

/** What a configuration may set: not what the ledger says (memory), nor what is known before there is one (the component). */
export type SettableLimit = Exclude<keyof Limits, "memoryBytesMax" | "componentBytesMax">;
export const LIMITS_SETTABLE: readonly SettableLimit[] = [
  "cpuTimeMsMax", "fuelPerCallMax", "headerBytesMax", "headerCountMax", "instancesMax", "logBytesPerSecondMax", "outgoingConnectionsMax", "outgoingRequestBytesMax", "outgoingResponseBytesMax",
  "outgoingTimeMsMax", "queueLengthMax", "queueWaitMsMax", "requestBodyBytesMax",
  "resourceHandlesMax", "responseBodyBytesMax", "tableElementsMax", "wallTimeMsMax",
];

/** A task has no client waiting; it may use more than a request. */
export const LIMITS_TASK_DEFAULT: Limits = {
  ...LIMITS_DEFAULT,
  memoryBytesMax: 256 * MIB,
  fuelPerCallMax: LIMITS_MAX.fuelPerCallMax,
  cpuTimeMsMax: LIMITS_MAX.cpuTimeMsMax,
  wallTimeMsMax: LIMITS_MAX.wallTimeMsMax,
};

/** Concurrent instances of one deployment in one runner; the pool has INSTANCES_MAX slots for all of them. */
export const CONCURRENCY_DEFAULT = 16;
export const CONCURRENCY_MAX = 1_000;

/** Thousandths of a core that a deployment pays for, over its replicas on one machine: its share when others want the CPU too. */
export const CPU_WEIGHT_DEFAULT = 100;
export const CPU_WEIGHT_MAX: number = 256 * 64_000;

/** Deployments with a runner of their own on one computer: each is a process with an engine and threads. */
export const ISOLATED_MAX = 16;

/** The one instance that a load tries. Well under the five seconds that the protocol gives a machine to be ready. */
export const TRIAL_WALL_TIME_MS_MAX = 3_000;

/** One component's compile: it is a stranger's input to a big program. */
export const COMPILE_MEMORY_BYTES_MAX: number = 2048 * MIB;
export const COMPILE_CPU_SECONDS_MAX = 60;
export const COMPILE_WALL_TIME_MS_MAX = 120_000;
export const COMPILED_BYTES_MAX: number = 256 * MIB;
/** Compiles at once; each may use COMPILE_MEMORY_BYTES_MAX. */
export const COMPILES_MAX = 2;

/** One control message between agent and runner. */
export const CONTROL_MESSAGE_BYTES_MAX: number = 8 * MIB;
/** Of one runner's ingress. */
export type IngressLimits = {
  readonly connectionsMax: number;
  /** Of one client: an IPv4 address, or 64 bits of IPv6. So nobody takes all places, but with many addresses. */
  readonly clientConnectionsMax: number;
  /** From the first byte of a request's head to its last; a connection without a request is closed after it, too. */
  readonly headMsMax: number;
  /** All that a guest waits for one request's body, beyond a second for so many bytes of it. */
  readonly bodyWaitMsMax: number;
  readonly bodyBytesPerSecondMin: number;
  /** Whoever connects is another ingress, which has said who the client is. */
  readonly isBehind: boolean;
};
export const INGRESS_DEFAULT: IngressLimits = { connectionsMax: 16_000, clientConnectionsMax: 2_000, headMsMax: 30_000, bodyWaitMsMax: 30_000, bodyBytesPerSecondMin: 256, isBehind: false };

/** Places that one deployment may send requests to. */
export const OUTGOING_MAX = 32;
/** What one dial takes at most: name and connection together, and of that the name. */
export const OUTGOING_CONNECT_MS_MAX = 10_000;
export const OUTGOING_NAME_MS_MAX = 5_000;
/** Of a name's addresses. */
export const OUTGOING_ADDRESSES_TRIED_MAX = 3;
/** Dials under way at once: of one deployment, and of all. A runner that a tenant has taken over asks for no more than that. */
export const OUTGOING_DIALS_MAX = 64;
export const OUTGOING_DIALS_ALL_MAX = 512;
/** Dials of other machines under way at once, how long one takes at most, and addresses of a machine that are tried. */
export const HOP_DIALS_MAX = 256;
/** One machine that does not answer leaves the rest to the others. */
export const HOP_DIALS_PER_PEER_MAX = 64;
export const HOP_CONNECT_MS_MAX = 3_000;
export const HOP_ADDRESSES_TRIED_MAX = 4;
/** What other machines run, in one message to a runner: under CONTROL_MESSAGE_BYTES_MAX with 256 replicas each. */
export const PLACES_PER_MESSAGE_MAX = 256;
/** Hosts of one deployment, and bytes of its environment. */
export const HOSTS_MAX = 64;
export const ENVIRONMENT_BYTES_MAX: number = 64 * KIB;

const LIMIT_NAMES = Object.keys(LIMITS_DEFAULT) as (keyof Limits)[];

/** Fills in defaults; throws a RangeError that names the limit when one is not a positive integer within LIMITS_MAX. */
export function completeLimits(given: Partial<Limits> | undefined, defaults: Limits = LIMITS_DEFAULT): Limits {
  const limits = { ...defaults, ...given };
  for (const name of LIMIT_NAMES) {
    const value = limits[name];
    if (!Number.isSafeInteger(value) || value < 0 || value > LIMITS_MAX[name]) {
      throw new RangeError(`Limit ${name} must be an integer from 0 to ${LIMITS_MAX[name]}, not ${value}`);
    }
  }
  return limits;
}

/** Of the computer's memory, what a runner may have: beyond it the kernel ends the runner and not the agent. */
export const RUNNER_MEMORY_PERCENT = 80;
/** tokio's threads for blocking calls (512), and those for I/O and batches. */
export const RUNNER_THREADS_MAX = 1_024;
