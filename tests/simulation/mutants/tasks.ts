/** Planted bugs of tasks: runs that overlap, are paid too long, or count for what they are not. */

import type { Mutant } from "../mutants.ts";

export const TASK_MUTANTS: readonly Mutant[] = [
  {
    name: "any machine says how a task ended", scenario: "tasks", seedsMax: 10,
    edits: [{ file: "ledger/tasks.ts", from: "|| !isOpen(lease) || !sameBytes(lease.machine, sender)) return", to: "|| !isOpen(lease) || (sender.length === 0 && !sameBytes(lease.machine, sender))) return" }],
  },
  {
    name: "the word about an old run ends the new one", scenario: "tasks", seedsMax: 20,
    edits: [{ file: "ledger/tasks.ts", from: "if (run !== task.runs) return", to: "if (run > task.runs) return" }],
  },
  {
    name: "a run that nobody told of is paid until somebody looks", scenario: "tasks", seedsMax: 10,
    edits: [{ file: "ledger/tasks.ts", from: "endRun(context, lease, due, EXIT_CODE_ABORTED,", to: "endRun(context, lease, second, EXIT_CODE_ABORTED," }],
  },
  {
    name: "a machine that is lost is a failure of the task", scenario: "tasks", seedsMax: 10,
    edits: [{ file: "ledger/taskRuns.ts", from: "state.put({ ...task, losses, phase", to: "state.put({ ...task, losses, failures: task.failures + losses - task.losses, phase" }],
  },
  {
    name: "every rest is as long as the first", scenario: "tasks", seedsMax: 20,
    edits: [{ file: "ledger/tasks.ts", from: "const seconds = BigInt(first) << BigInt(failures - 1);", to: "const seconds = BigInt(first) + 0n * BigInt(failures);" }],
  },
  {
    name: "what has ended keeps the rest of its deposit", scenario: "tasks", seedsMax: 5,
    edits: [{ file: "ledger/leases.ts", from: "  giveBack(context, id);\n", to: "" }],
  },
  {
    name: "a run that failed is repeated without a rest", scenario: "tasks", seedsMax: 20,
    edits: [{ file: "ledger/tasks.ts", from: 'endLease(context, lease, end, hasSucceeded ? "ended" : "failed", isLast ? "gone" : "waiting");', to: 'endLease(context, lease, end, hasSucceeded ? "ended" : "failed", isLast ? "gone" : "pending");' }],
  },
];
