/** Operations of tasks, numbers 70 to 79: what runs to an end, and what the machine says of that end. Their fields in the order of the bytes. */
import { ADDRESS, DIGEST, DIGEST_OR_NONE, FLAG, type Layout, U32, U64, textOf } from "#chain/codec/fields.ts";
import type { Address, Digest } from "#chain/types.ts";

/** Of the program's own end; whatever else ended it has a code of its own. */
export const EXITED = "exit";
/** As a shell reports a program that was aborted: the exit code of what did not end by itself. */
export const EXIT_CODE_ABORTED = 134;
const TASK_NAME_BYTES_MAX = 63;
export const TASK_REASON_BYTES_MAX = 64;

/** A deployment of one lease that runs to its end: at least once, and again after a failure, as often as it says. */
export type RunTask = {
  readonly kind: "runTask";
  readonly name: string;
  readonly componentDigest: Digest;
  readonly configurationDigest: Digest | null;
  readonly memoryMib: number;
  readonly cpuMillis: number;
  readonly deposit: bigint;
  readonly rateMax: bigint;
  readonly isolation: 0 | 1;
  /** Money seconds that one run may take. Its machine ends it then; should that say nothing, the ledger does. */
  readonly secondsMax: number;
  /** Runs that may fail before the task has. */
  readonly attemptsMax: number;
  /** Money seconds from the first failure to the next run; twice as many after each. */
  readonly backOffSeconds: number;
};
/** Sender = machine: the run that it was `ready` for has ended. `reason` is EXITED, or what ended it. */
export type TaskEnded = { readonly kind: "taskEnded"; readonly deploymentId: Address; readonly run: number; readonly exitCode: number; readonly reason: string };
export type TaskOperation = RunTask | TaskEnded;

export const TASK_LAYOUTS: { readonly [K in TaskOperation["kind"]]: Layout<Extract<TaskOperation, { kind: K }>> } = {
  runTask: {
    number: 70,
    fields: {
      name: textOf(TASK_NAME_BYTES_MAX), componentDigest: DIGEST, configurationDigest: DIGEST_OR_NONE, memoryMib: U32, cpuMillis: U32, deposit: U64, rateMax: U64, isolation: FLAG,
      secondsMax: U32, attemptsMax: U32, backOffSeconds: U32,
    },
  },
  taskEnded: { number: 71, fields: { deploymentId: ADDRESS, run: U32, exitCode: U32, reason: textOf(TASK_REASON_BYTES_MAX) } },
};
