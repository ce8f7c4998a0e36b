/** Planted bugs of the ledger: money that is made, lost or spent twice, and states that differ. */

import type { Mutant } from "../mutants.ts";

export const LEDGER_MUTANTS: readonly Mutant[] = [
  {
    name: "fees vanish", scenario: "ledger", seedsMax: 5,
    edits: [{ file: "ledger/ledger.ts", from: "feePool: state.totals.feePool + body.fee", to: "feePool: state.totals.feePool" }],
  },
  {
    name: "a nonce can be spent twice", scenario: "ledger", seedsMax: 10,
    edits: [{ file: "ledger/ledger.ts", from: "nonce: account.nonce + 1n,", to: "nonce: account.nonce," }],
  },
  {
    name: "money that is not there can be spent", scenario: "ledger", seedsMax: 20,
    edits: [{ file: "ledger/block.ts", from: "if (account.balance < amount) return false;", to: "" }],
  },
  {
    name: "a refused transaction has half happened", scenario: "ledger", seedsMax: 20,
    edits: [{ file: "ledger/ledger.ts", from: "    state.rollback(savepoint);\n    context.events", to: "    context.events" }],
  },
  {
    name: "what has expired is executed", scenario: "ledger", seedsMax: 20,
    edits: [{ file: "ledger/ledger.ts", from: "if (body.validUntilMs < timeMs) return", to: "if (body.validUntilMs < 0n) return" }],
  },
  {
    name: "a block is taken back first change first", scenario: "ledger, a liar and restarts", seedsMax: 20,
    edits: [{ file: "ledger/state.ts", from: "of undo.journal.toReversed()) this", to: "of undo.journal) this" }],
  },
  {
    name: "leases stay on a machine that is down", scenario: "downs", seedsMax: 5,
    edits: [{ file: "ledger/liveness.ts", from: '  endRun(context, machine, endSecond, "down");\n', to: "" }],
  },
  {
    name: "a machine that is down is paid until the block that takes it down", scenario: "downs", seedsMax: 5,
    edits: [{ file: "ledger/liveness.ts", from: "goDown(context, machine, verdict.endSecond)", to: "goDown(context, machine, context.second)" }],
  },
  {
    name: "what another boot left is paid on", scenario: "downs", seedsMax: 5,
    edits: [{ file: "ledger/liveness.ts", from: "if (machine.up) endRun(", to: "if (false) endRun(" }],
  },
  {
    name: "suspicions need no signature", scenario: "downs", seedsMax: 20,
    edits: [{ file: "ledger/liveness.ts", from: "suspicionHolds(opened, key) && beatIsGood", to: "beatIsGood" }],
  },
  {
    name: "a machine comes up by the word of one witness", scenario: "downs", seedsMax: 20,
    edits: [{ file: "ledger/liveness.ts", from: "if (end === null) return refuse", to: "if (end === null && op.acknowledgements.length === 0) return refuse" }, { file: "ledger/liveness.ts", from: "if (machine.up) endRun(context, machine, end, ", to: "if (machine.up) endRun(context, machine, end ?? parentSecond, " }],
  },
  {
    name: "a lock is claimed after its time", scenario: "holders", seedsMax: 5,
    edits: [{ file: "ledger/locks.ts", from: "if (timeMs >= held.expiryMs) return refuse", to: "if (false) return refuse" }],
  },
  {
    name: "any secret opens a lock", scenario: "holders", seedsMax: 5,
    edits: [{ file: "ledger/locks.ts", from: "if (!sameBytes(sha256(preimage), held.hash)) return", to: "if (false) return" }],
  },
  {
    name: "a refund of a lock is its receiver's", scenario: "holders", seedsMax: 5,
    edits: [{ file: "ledger/locks.ts", from: "credit(state, held.sender,", to: "credit(state, held.recipient," }],
  },
  {
    name: "a third of the stake changes a parameter", scenario: "holders", seedsMax: 20,
    edits: [{ file: "ledger/votes.ts", from: "inFavour * 3 > total * 2", to: "inFavour * 3 > total" }],
  },
  {
    name: "a parameter changes without a delay", scenario: "holders", seedsMax: 20,
    edits: [{ file: "ledger/votes.ts", from: "epoch: epoch + 1 + rules.delayEpochs }", to: "epoch: epoch + 1 }" }],
  },
  {
    name: "a name is whoever's that asks last", scenario: "holders", seedsMax: 5,
    edits: [{ file: "ledger/names.ts", from: "if (known && !isFree(known, timeMs)) return refuse", to: "if (known && false) return refuse" }],
  },
  {
    name: "anybody gives a name on", scenario: "holders", seedsMax: 5,
    edits: [{ file: "ledger/names.ts", from: "return sameBytes(held.owner, sender) ? { ok: true, held } :", to: "return sender ? { ok: true, held } :" }],
  },
  {
    name: "shares are bought at the first rate for ever", scenario: "holders", seedsMax: 10,
    edits: [{ file: "ledger/pools.ts", from: "pool.shares === 0n ? units : (units * pool.shares) / pool.units", to: "units" }],
  },
  {
    name: "who is leaving is not slashed", scenario: "holders", seedsMax: 20,
    edits: [{ file: "ledger/delegation.ts", from: "leaving: { ...leaving, units: leaving.units - cut(leaving.units) },\n  amount: cut(delegated.units) + cut(leaving.units),", to: "leaving,\n  amount: cut(delegated.units)," }],
  },
  {
    name: "delegators are paid without the commission", scenario: "holders", seedsMax: 10,
    edits: [{ file: "ledger/delegation.ts", from: "return (part * BigInt(10_000 - commissionBps)) / 10_000n;", to: "return part + 0n * BigInt(commissionBps);" }],
  },
];
