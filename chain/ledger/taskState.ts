/**
 * What the state knows of a task beside its deployment and its lease: the rule by which it runs again, how often it did, and how it ended.
 *
 *   placing ──ready──► running ──its machine says how it ended──► ended
 *      ▲                 │  └─ it failed and may again ─► resting ─┐
 *      └─ machine gone ──┘◄───────────── its second has come ──────┘
 */
import type { Cbor } from "#chain/codec/cbor.ts";
import { stateKey } from "#chain/codec/proof.ts";
import { id20, text, tuple, u32, u64 } from "#chain/codec/schema.ts";
import { TASK_REASON_BYTES_MAX } from "#chain/codec/taskOperations.ts";
import { TASK_KEPT_SECONDS, TASK_REPORT_SECONDS } from "#chain/ledger/limits.ts";
import type { Address } from "#chain/types.ts";

export type TaskPhase = "placing" | "running" | "resting" | "ended";
export type TaskHeld = {
  readonly kind: "task";
  /** The deployment's. */
  readonly id: Address;
  readonly secondsMax: number;
  readonly attemptsMax: number;
  readonly backOffSeconds: number;
  readonly phase: TaskPhase;
  /** Money second since which it runs, until which it rests, or in which it ended; 0 while it is placed. */
  readonly at: bigint;
  /** Runs that began. */
  readonly runs: number;
  /** Runs that failed by themselves, and that ended because their machine did. */
  readonly failures: number;
  readonly losses: number;
  /** Of the last run that its machine, or the ledger, told the end of; the reason is empty until there is one. */
  readonly exitCode: number;
  readonly reason: string;
};

const PHASES: readonly TaskPhase[] = ["placing", "running", "resting", "ended"];
export const taskKey = (id: Address): string => stateKey("task", id);

/** The second in which something happens to it by itself; null: nothing does. */
export function taskDue({ phase, at, secondsMax }: TaskHeld): bigint | null {
  switch (phase) {
    case "placing": return null;
    case "running": return at + BigInt(secondsMax) + TASK_REPORT_SECONDS;
    case "resting": return at;
    case "ended": return at + TASK_KEPT_SECONDS;
  }
}

/** Its row in the table of `holdings.ts`. */
export const TASK_ROW = {
  key: ({ id }: TaskHeld): string => taskKey(id),
  leaf: (task: TaskHeld): Cbor => [
    task.id, task.secondsMax, task.attemptsMax, task.backOffSeconds, PHASES.indexOf(task.phase), task.at, task.runs, task.failures, task.losses, task.exitCode, task.reason,
  ],
  from: (leaf: Cbor | undefined): TaskHeld => {
    const [id, secondsMax, attemptsMax, backOff, phase, at, runs, failures, losses, exitCode, reason] = tuple(leaf as Cbor, 11);
    return {
      kind: "task", id: id20(id), secondsMax: u32(secondsMax), attemptsMax: u32(attemptsMax), backOffSeconds: u32(backOff), phase: PHASES[u32(phase)] ?? "ended", at: u64(at),
      runs: u32(runs), failures: u32(failures), losses: u32(losses), exitCode: u32(exitCode), reason: text(reason, TASK_REASON_BYTES_MAX),
    };
  },
  lists: (task: TaskHeld): readonly string[] => {
    const due = taskDue(task);
    return due === null ? [] : [`t${due.toString(16).padStart(20, "0")}7${task.id.toHex()}`];
  },
  money: (): bigint => 0n,
};
