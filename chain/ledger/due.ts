/**
 * Step 2 of a block: what happens by itself because its second has come (design 4, order inside a block).
 *
 * In (second, kind, id) order; escrows before leases, leases before rollouts, tasks last. A block takes events until they made up 256 leases or segments, the
 * first one whole whatever its size; the rest is due still, and comes first in the next block, which follows at once.
 */
import { type BlockContext } from "#chain/ledger/block.ts";
import { dueSecond, open, touch } from "#chain/ledger/escrow.ts";
import { cancelSuccessor, closeDry, endLease, finishClosing, paySegments, rulesFor, stateAfterLoss } from "#chain/ledger/leases.ts";
import { STRIKES_COUNTED_MAX, STRIKE_SECONDS, STRIKE_SECONDS_MAX } from "#chain/ledger/limits.ts";
import type { Lease, Machine } from "#chain/ledger/model.ts";
import { openAnew, predecessorIsDue, unhealthyIsDue } from "#chain/ledger/moves.ts";
import { rolloutIsDue } from "#chain/ledger/rollout.ts";
import { scalingIsDue } from "#chain/ledger/scaling.ts";
import { parseId, parseLease } from "#chain/ledger/state.ts";
import { taskIsDue } from "#chain/ledger/tasks.ts";
import type { Address } from "#chain/types.ts";

export function runDueEvents(context: BlockContext): void {
  const { state, rules } = context;
  // An event makes no other that is due in the same block: what it ends is paid later, what it places has time.
  const due = state.listed("t", rules.dueEventsPerBlockMax).filter((entry) => secondOf(entry) <= context.second);
  let work = 0;
  for (const entry of due) {
    if (work >= rules.dueEventsPerBlockMax) return;
    const rest = entry.slice(21);
    if (entry[20] === "0") work += escrowDue(context, parseId(rest));
    else if (entry[20] === "2") work += rolloutIsDue(context, parseId(rest));
    else if (entry[20] === "3") work += unhealthyIsDue(context, state.lease(...parseLease(rest)));
    else if (entry[20] === "7") work += taskIsDue(context, parseId(rest));
    else if (entry[20] === "4") work += predecessorIsDue(context, state.lease(...parseLease(rest)));
    else if (entry[20] === "8") work += scalingIsDue(context, parseId(rest));
    else work += notReady(context, state.lease(...parseLease(rest)) as Lease);
  }
}

/** The next second in which something is due; null when nothing is. A lease nobody looked at yet is due at once. */
export function nextDue(state: BlockContext["state"]): bigint | null {
  if (state.lists.first("p00000000") !== undefined) return state.totals.moneySecond;
  const entry = state.lists.first("t");
  return entry === undefined ? null : secondOf(entry.slice(1));
}
const secondOf = (entry: string): bigint => BigInt(`0x${entry.slice(0, 20)}`);

function escrowDue(context: BlockContext, id: Address): number {
  const { state, second, rules } = context;
  const before = state.deployment(id);
  if (!before || (dueSecond(before.escrow, rules) ?? second + 1n) > second) return 1;
  const escrow = touch(before.escrow, second);
  state.put({ ...before, escrow });
  let work = paySegments(context, id);
  if (escrow.dry !== null) {
    closeDry(context, id);
    work += before.replicas;
  }
  finishClosing(context, id);
  return work < 1 ? 1 : work;
}

/** No `ready` in time: a strike, unless the escrow would have refused it, which is not the machine's fault. */
function notReady(context: BlockContext, lease: Lease): number {
  const { state, second, rules } = context;
  if (lease?.state === "moving") return successorNotReady(context, lease);
  if (lease?.state !== "placed") return 1;
  const deployment = state.deployment(lease.deploymentId);
  const machine = state.machine(lease.machine as Address);
  if (!deployment || !machine) return 1;
  const { index, rate } = lease;
  if (!open(deployment.escrow, second, [{ index, machine: machine.id, operator: machine.operator, rate }], rulesFor(lease, rate, rules)).ok) {
    endLease(context, lease, second, "unfunded", "waiting");
    return 1;
  }
  strike(context, machine);
  endLease(context, lease, second, "not_ready", stateAfterLoss(deployment, lease));
  return 1;
}

/** The machine that a lease moves to was not ready in time: it looks for another one, and serves where it is. A strike as with `notReady`. */
function successorNotReady(context: BlockContext, lease: Lease): number {
  const { state, second, rules } = context;
  const { next, deploymentId } = lease;
  if (next === null || next.placedAt + rules.readySecondsMax > second) return 1;
  const alone = cancelSuccessor(context, lease);
  const [machine, deployment] = [state.machine(next.machine), state.deployment(deploymentId)];
  if (machine && deployment && openAnew(context, deployment, alone, machine, next.rate).ok) strike(context, machine);
  state.put({ ...alone, avoid: next.machine });
  return 1;
}

function strike({ state, second, events }: BlockContext, machine: Machine): void {
  const strikes = Math.min(machine.strikes + 1, STRIKES_COUNTED_MAX);
  state.put({ ...machine, strikes, placeableFrom: second + strikeSeconds(strikes) });
  events.push({ kind: "strike", machine: machine.id, strikes });
}

function strikeSeconds(strikes: number): bigint {
  const seconds = STRIKE_SECONDS << BigInt(strikes - 1);
  return seconds < STRIKE_SECONDS_MAX ? seconds : STRIKE_SECONDS_MAX;
}
