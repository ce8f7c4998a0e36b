/**
 * Step 5 of a block: leases that look for a machine get one.
 *
 * Every machine of the grid computes the same answer from the state alone. A lease takes, of the machines that qualify (up, with
 * room that its bond covers, not resting after a strike, not above the deployment's maximum rate), the one that comes first by
 *   where it failed last · leases of the same deployment there · and of its operator's · rate · free memory · sha256(previous id ‖ lease ‖ machine)
 * (`offer.ts`). A lease that moves never goes where it is, nor back where it is ending what it had begun.
 * Leases that nobody looked at yet come first, then those that were tried longest ago. At most 256 leases and 32,768 looks a block, and of those tried before 32
 * and 4,096 in vain; the rest follows in the next blocks.
 */
import type { BlockContext } from "#chain/ledger/block.ts";
import { rateLeft, reportersOf } from "#chain/ledger/ceiling.ts";
import { freeOf, touch } from "#chain/ledger/escrow.ts";
import { place, placeSuccessor } from "#chain/ledger/leases.ts";
import { LOOKUPS_PER_WORK, MACHINES_CONSIDERED_MAX, MACHINES_ESTIMATED_MAX, MACHINES_VISITED_MAX, PLACEMENT_VISITS_MAX, RATE_RESERVED_MIN, VAIN_PLACEMENTS_MAX, VAIN_VISITS_MAX } from "#chain/ledger/limits.ts";
import { type Deployment, type Lease, type Machine, hex8, leaseKey } from "#chain/ledger/model.ts";
import { type Need, type Rank, compareRanks, hasRoom, obstacleOf, rateOf } from "#chain/ledger/offer.ts";
import { type State, parseId, parseLease } from "#chain/ledger/state.ts";
import { DOMAINS, sha256Hex } from "#chain/crypto.ts";
import { type Hex, hex } from "#chain/types.ts";

/** The height at which a lease was tried that nobody looked at yet. */
const UNTRIED = hex8(0);
type Candidate = Rank & { readonly machine: Machine; readonly id: Hex; tie: Hex | null };
/** Leases of one deployment on each machine, and on those of each operator. */
type Spread = { readonly machines: Map<Hex, number>; readonly operators: Map<Hex, number> };

export function placePending(context: BlockContext): void {
  const { state, rules } = context;
  const spreads = new Map<Hex, Spread>();
  // Both before anything is placed: what is tried in vain now is tried again in a later block.
  const untried = state.listed(`p${UNTRIED}`, rules.placementsPerBlockMax);
  const tried = listedFrom(state, `p${hex8(1)}`, Math.max(rules.placementsPerBlockMax - untried.length, VAIN_PLACEMENTS_MAX));
  let visits = 0;
  for (const rest of untried) {
    if (visits >= PLACEMENT_VISITS_MAX) break;
    visits += placeOne(context, spreads, rest).visits;
  }
  // Whatever comes new, a block has room for some that wait.
  const visitsMax = Math.max(PLACEMENT_VISITS_MAX, visits + VAIN_VISITS_MAX);
  let [vain, vainVisits] = [0, 0];
  for (const rest of tried) {
    if (visits >= visitsMax || vain >= VAIN_PLACEMENTS_MAX || vainVisits >= VAIN_VISITS_MAX) return;
    const one = placeOne(context, spreads, rest);
    visits += one.visits;
    if (!one.isPlaced) [vain, vainVisits] = [vain + 1, vainVisits + one.visits];
  }
}

/** Leases in line from an entry on, without the height at which they were tried. */
function listedFrom({ lists }: State, start: string, countMax: number): string[] {
  const found: string[] = [];
  for (const entry of lists.from(start, "p")) {
    if (found.length >= countMax) break;
    found.push(entry.slice(9));
  }
  return found;
}

function placeOne(context: BlockContext, spreads: Map<Hex, Spread>, rest: string): { readonly visits: number; readonly isPlaced: boolean } {
  const { state } = context;
  const lease = state.lease(...parseLease(rest)) as Lease;
  const deployment = state.deployment(lease.deploymentId) as Deployment;
  const spread = spreadOf(spreads, state, deployment);
  const { candidates, visits } = candidatesFor(context, deployment, lease, spread);
  const tieOf = tiesOf(context, lease);
  const best = candidates.length === 0 ? undefined : candidates.reduce((a, b) => (compare(tieOf, a, b) <= 0 ? a : b));
  const isMove = lease.state === "moving";
  if (best === undefined || (isMove && !isAffordable(context, deployment, best.rate > lease.rate ? best.rate - lease.rate : 0n))) {
    state.put({ ...lease, triedHeight: context.height });
    return { visits, isPlaced: false };
  }
  if (!isMove && !isAffordable(context, deployment, best.rate)) {
    state.put({ ...lease, state: "waiting", lastEnd: "unfunded" });
    return { visits, isPlaced: false };
  }
  if (isMove) placeSuccessor(context, lease, best.machine, best.rate);
  else place(context, lease, best.machine, best.rate);
  count(spread, best.machine);
  return { visits, isPlaced: true };
}

/** The rule of raising, checked at placement with what other placed leases will take. */
function isAffordable({ second, rules }: BlockContext, deployment: Deployment, rate: bigint): boolean {
  const escrow = touch(deployment.escrow, second);
  return escrow.dry === null && freeOf(escrow) >= (escrow.rate + deployment.reservedRate + rate) * rules.runwaySecondsMin;
}

/** The least rate that one replica can have at present, or the least there is to be money for: what `deploy` and `scale` must be able to pay. */
export function cheapestRate(state: State, memoryMib: number, cpuMillis: number): bigint {
  let least: bigint | null = null;
  const entries = state.listed("c", MACHINES_ESTIMATED_MAX);
  state.spend(entries.length / LOOKUPS_PER_WORK);
  for (const entry of entries) {
    const machine = state.machine(parseId(entry.slice(20))) as Machine;
    const rate = rateOf(machine, memoryMib, cpuMillis);
    if (hasRoom(machine, memoryMib, cpuMillis) && (least === null || rate < least)) least = rate;
  }
  return least === null || least < RATE_RESERVED_MIN ? RATE_RESERVED_MIN : least;
}

function spreadOf(spreads: Map<Hex, Spread>, state: State, { id }: Deployment): Spread {
  const known = spreads.get(hex(id));
  if (known) return known;
  const spread: Spread = { machines: new Map(), operators: new Map() };
  for (const { machine, next } of state.leasesOf(id)) {
    for (const held of [machine, next?.machine ?? null]) if (held !== null) count(spread, state.machine(held) as Machine);
  }
  spreads.set(hex(id), spread);
  return spread;
}
function count({ machines, operators }: Spread, { id, operator }: Machine): void {
  machines.set(hex(id), (machines.get(hex(id)) ?? 0) + 1);
  operators.set(hex(operator), (operators.get(hex(operator)) ?? 0) + 1);
}

function candidatesFor(context: BlockContext, deployment: Deployment, lease: Lease, spread: Spread): { candidates: Candidate[]; visits: number } {
  const { state, second } = context;
  const { memoryMib, cpuMillis, constraints } = deployment;
  const left = rateLeft(state, deployment.id, lease);
  if (left !== null && left <= 0n) return { candidates: [], visits: 1 };
  const rateMax = left === null || (deployment.rateMax > 0n && deployment.rateMax < left) ? deployment.rateMax : left;
  const need: Need = { memoryMib, cpuMillis, rateMax, regions: constraints.regions, operators: constraints.operators.map(hex), labels: constraints.labels };
  const here = lease.state === "moving" && lease.machine !== null ? hex(lease.machine) : null;
  const leftBehind = lease.last === null ? null : hex(lease.last.machine);
  const reporters = new Set(reportersOf(state, deployment, lease).map(hex));
  const looksAtOperators = constraints.operators.length > 0 || spread.operators.size > 0 || reporters.size > 0;
  const avoided = new Set([...(lease.avoid === null ? [] : [lease.avoid]), ...deployment.failedMachines].map(hex));
  const candidates: Candidate[] = [];
  let visits = 0;
  for (const entry of state.lists.from("c", "c")) {
    if (++visits > MACHINES_VISITED_MAX || candidates.length >= MACHINES_CONSIDERED_MAX) break;
    const id = entry.slice(21) as Hex;
    const machine = state.machineNamed(id) as Machine;
    const operator = looksAtOperators ? hex(machine.operator) : "";
    if (id === here || id === leftBehind || obstacleOf(need, machine, operator, second) !== null) continue;
    candidates.push({
      machine, id, rate: rateOf(machine, memoryMib, cpuMillis), isAvoided: avoided.has(id) || reporters.has(operator as Hex), shared: spread.machines.get(id) ?? 0,
      sharedOperator: looksAtOperators ? (spread.operators.get(operator as Hex) ?? 0) : 0, freeMib: machine.memoryMib - machine.memoryMibUsed, tie: null,
    });
  }
  return { candidates, visits };
}

function compare(tieOf: (machine: Machine) => Hex, a: Candidate, b: Candidate): number {
  const ranked = compareRanks(a, b);
  if (ranked !== 0) return ranked;
  // Kept, as the best so far is compared with a thousand others.
  a.tie ??= tieOf(a.machine);
  b.tie ??= tieOf(b.machine);
  return a.tie < b.tie ? -1 : 1;
}

/** The hash that decides between equals, of one lease: only the machine changes, a thousand times. */
function tiesOf({ previousId }: BlockContext, lease: Lease): (machine: Machine) => Hex {
  const parts = [DOMAINS.placement, previousId, Uint8Array.fromHex(leaseKey(lease.deploymentId, lease.index))];
  const idAt = parts.reduce((sum, part) => sum + part.length, 0);
  const preimage = new Uint8Array(idAt + 20);
  parts.reduce((at, part) => (preimage.set(part, at), at + part.length), 0);
  return (machine) => {
    preimage.set(machine.id, idAt);
    return sha256Hex(preimage);
  };
}
