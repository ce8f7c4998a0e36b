/** Planted bugs of scaling: more than a tenant allows or pays for, and steps that follow on one machine's word. */

import type { Mutant } from "../mutants.ts";

export const SCALING_MUTANTS: readonly Mutant[] = [
  {
    name: "placement does not look at the ceiling", scenario: "scaling", seedsMax: 20,
    edits: [{ file: "ledger/placement.ts", from: "const ceiling = rateLeft(state, deployment.id, lease);", to: "const ceiling = null as bigint | null;" }],
  },
  {
    name: "a resize does not look at the ceiling", scenario: "scaling", seedsMax: 60,
    edits: [{ file: "ledger/operations.ts", from: "const over = ceilingRefusal(context, deploymentId);", to: "const over = null;" }],
  },
  {
    name: "the verdict is that of the busiest lease", scenario: "scaling", seedsMax: 20,
    edits: [{ file: "ledger/scalingRule.ts", from: "return low === high ? low : 1;", to: "return sorted.at(-1) as Level;" }],
  },
  {
    name: "seconds without a request are paid in full", scenario: "scaling", seedsMax: 20,
    edits: [{ file: "ledger/scaling.ts", from: "const end = second - BigInt(idleSeconds) > stream.openedAt ? second - BigInt(idleSeconds) : stream.openedAt + 1n;", to: "const end = second;" }],
  },
  {
    name: "a step is taken while a new revision is on its way", scenario: "scaling", seedsMax: 60,
    edits: [{ file: "ledger/scaling.ts", from: "!isSame || deployment.rollout !== null ?", to: "!isSame ?" }],
  },
  {
    name: "what moves while it is on standby wakes without money", scenario: "scaling", seedsMax: 120,
    edits: [
      { file: "ledger/placement.ts", from: "const paid = isMove ? (streamOf(deployment.escrow, lease.index)?.rate ?? 0n) : 0n;", to: "const paid = isMove ? lease.rate : 0n;" },
      { file: "ledger/moves.ts", from: "const paid = streamOf(touch(escrow, second), index)?.rate ?? 0n;", to: "const paid = rate;" },
    ],
  },
  {
    name: "a step does not wait for the one before", scenario: "scaling", seedsMax: 60,
    edits: [{ file: "ledger/scaling.ts", from: "if (held.verdict === 2 && running.length < leases.length) return deployment.replicas;", to: "" }],
  },
];
