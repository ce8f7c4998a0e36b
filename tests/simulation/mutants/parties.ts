/** Planted bugs of what entities say of each other: capacity, reservations and leaves that nobody gives back. */

import type { Mutant } from "../mutants.ts";

export const PARTIES_MUTANTS: readonly Mutant[] = [
  {
    name: "what a lease has left is held for ever", scenario: "parties", seedsMax: 10,
    edits: [{ file: "ledger/leases.ts", from: "  if (last !== null) useCapacity(context, last.machine, mustGet(context.state.deployment(deploymentId)), -1);\n", to: "" }],
  },
  {
    name: "a move that is taken back keeps what it reserved", scenario: "parties", seedsMax: 20,
    edits: [{ file: "ledger/leases.ts", from: "  state.put({ ...deployment, reservedRate: deployment.reservedRate - extraOf(lease, next) });\n", to: "" }],
  },
  {
    name: "the rule of scaling outlives its deployment", scenario: "parties", seedsMax: 5,
    edits: [{ file: "ledger/operations.ts", from: "    forgetScaling(context, deploymentId);\n", to: "" }],
  },
  {
    name: "a task's leaf outlives its deployment", scenario: "parties", seedsMax: 5,
    edits: [{ file: "ledger/leases.ts", from: "  if (task) state.remove(task);\n", to: "" }],
  },
  {
    name: "a machine that is gone holds what moves to it", scenario: "parties", seedsMax: 20,
    edits: [{ file: "ledger/liveness.ts", from: "  forgetBeside(context, id);\n", to: "" }],
  },
  {
    name: "a dearer replacement comes without a minute's money", scenario: "parties", seedsMax: 20,
    edits: [{ file: "ledger/leases.ts", from: "(rate <= rateLost ? { ...rules", to: "(rateLost >= 0n ? { ...rules" }],
  },
];
