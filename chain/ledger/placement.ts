/**
 * Step 5 of a block: leases that look for a machine get one.
 *
 * Every machine of the grid computes the same answer from the state alone. A lease takes, of the machines that qualify (up, with
 * room that its bond covers, not resting after a strike, not above the deployment's maximum rate), the one that comes first by
 *   where it failed last · leases of the same deployment there · and of its operator's · rate · free memory · sha256(previous id ‖ lease ‖ machine)
 * (`offer.ts`, where the same rule is said in bigints for who asks about one machine). A lease that moves never goes where it is, nor back where it
 * is ending what it had begun, nor, of a paused deployment, where it failed. Machines are looked at as rows of numbers (`market.ts`); hashes are made of those alone that are equal in all else.
 * Leases that nobody looked at yet come first, then those that were tried longest ago. At most 256 leases and 32,768 looks a block (eight rows are
 * one, and a hash is one), and of those tried before 32 and 4,096 in vain; the rest follows in the next blocks.
 */
import type { BlockContext } from "#chain/ledger/block.ts";
import { rateLeft, reportersOf } from "#chain/ledger/ceiling.ts";
import { type MoneyRules, freeOf, streamOf, touch } from "#chain/ledger/escrow.ts";
import { barredFrom, place, placeSuccessor, rulesFor } from "#chain/ledger/leases.ts";
import { LOOKUPS_PER_WORK, MACHINES_CONSIDERED_MAX, MACHINES_ESTIMATED_MAX, MACHINES_VISITED_MAX, PLACEMENT_LOOKS_MAX, RATE_RESERVED_MIN, ROWS_PER_LOOK, VAIN_PLACEMENTS_MAX, VAIN_LOOKS_MAX } from "#chain/ledger/limits.ts";
import { type Deployment, type Lease, type Machine, hex8, leaseKey } from "#chain/ledger/model.ts";
import { type Row, bondNumber, rateNumber } from "#chain/ledger/market.ts";
import { hasRoom, rateOf } from "#chain/ledger/offer.ts";
import { type State, parseId, parseLease } from "#chain/ledger/state.ts";
import { DOMAINS, sha256Hex } from "#chain/crypto.ts";
import { type Hex, hex } from "#chain/types.ts";

/** The height at which a lease was tried that nobody looked at yet. */
const UNTRIED = hex8(0);
export type Choice = { readonly machine: Machine; readonly rate: bigint };
/** A machine that qualifies, as one lease sees it: `Rank` of offer.ts in numbers. */
type Ranked = { readonly row: Row; readonly rate: number; readonly isAvoided: boolean; readonly shared: number; readonly sharedOperator: number };
/** Leases of one deployment on each machine, and on those of each operator. */
export type Spread = { readonly machines: Map<Hex, number>; readonly operators: Map<Hex, number> };

export function placePending(context: BlockContext): void {
  const { state, rules } = context;
  const spreads = new Map<Hex, Spread>();
  // Both before anything is placed: what is tried in vain now is tried again in a later block.
  const untried = state.listed(`p${UNTRIED}`, rules.placementsPerBlockMax);
  const tried = listedFrom(state, `p${hex8(1)}`, Math.max(rules.placementsPerBlockMax - untried.length, VAIN_PLACEMENTS_MAX));
  let looks = 0;
  for (const rest of untried) {
    if (looks >= PLACEMENT_LOOKS_MAX) break;
    looks += placeOne(context, spreads, rest).looks;
  }
  // Whatever comes new, a block has room for some that wait.
  const looksMax = Math.max(PLACEMENT_LOOKS_MAX, looks + VAIN_LOOKS_MAX);
  let [vain, vainLooks] = [0, 0];
  for (const rest of tried) {
    if (looks >= looksMax || vain >= VAIN_PLACEMENTS_MAX || vainLooks >= VAIN_LOOKS_MAX) return;
    const one = placeOne(context, spreads, rest);
    looks += one.looks;
    if (!one.isPlaced) [vain, vainLooks] = [vain + 1, vainLooks + one.looks];
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

function placeOne(context: BlockContext, spreads: Map<Hex, Spread>, rest: string): { readonly looks: number; readonly isPlaced: boolean } {
  const { state } = context;
  const lease = state.lease(...parseLease(rest)) as Lease;
  const deployment = state.deployment(lease.deploymentId) as Deployment;
  const spread = spreadOf(spreads, state, deployment);
  const { best, looks } = choose(context, deployment, lease, spread);
  const isMove = lease.state === "moving";
  // What costs no more than is paid now raises nothing; what moves while it is on standby wakes where it comes to.
  const paid = isMove ? (streamOf(deployment.escrow, lease.index)?.rate ?? 0n) : 0n;
  const more = best !== null && best.rate > paid ? best.rate - paid : 0n;
  if (best === null || (isMove && more > 0n && !isAffordable(context, deployment, more))) {
    state.put({ ...lease, triedHeight: context.height });
    return { looks, isPlaced: false };
  }
  if (!isMove && !isAffordable(context, deployment, best.rate, rulesFor(lease, best.rate, context.rules))) {
    state.put({ ...lease, state: "waiting", lastEnd: "unfunded" });
    return { looks, isPlaced: false };
  }
  if (isMove) placeSuccessor(context, lease, best.machine, best.rate);
  else place(context, lease, best.machine, best.rate);
  count(spread, best.machine);
  return { looks, isPlaced: true };
}

/** The rule of raising, checked at placement with what other placed leases will take. */
function isAffordable({ second, rules }: BlockContext, deployment: Deployment, rate: bigint, { runwaySecondsMin }: MoneyRules = rules): boolean {
  const escrow = touch(deployment.escrow, second);
  return escrow.dry === null && freeOf(escrow) >= (escrow.rate + deployment.reservedRate + rate) * runwaySecondsMin;
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

export function spreadOf(spreads: Map<Hex, Spread>, state: State, { id }: Deployment): Spread {
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

/** What a lease would take, and what it cost to look: rows of the market, and hashes. Changes nothing. */
export function choose(context: BlockContext, deployment: Deployment, lease: Lease, spread: Spread): { readonly best: Choice | null; readonly looks: number } {
  const { state, second } = context;
  const { memoryMib, cpuMillis, constraints: { regions, labels, operators } } = deployment;
  const ceiling = rateLeft(state, deployment.id, lease);
  if (ceiling !== null && ceiling <= 0n) return { best: null, looks: 1 };
  const rateMax = ceiling === null || (deployment.rateMax > 0n && deployment.rateMax < ceiling) ? deployment.rateMax : ceiling;
  const allowed = operators.length === 0 ? null : new Set(operators.map(hex));
  const isChosen = regions.length > 0 || labels.length > 0;
  const here = lease.state === "moving" && lease.machine !== null ? hex(lease.machine) : null;
  const leftBehind = lease.last === null ? null : hex(lease.last.machine);
  const reporters = new Set(reportersOf(state, deployment, lease).map(hex));
  const avoided = new Set([...(lease.avoid === null ? [] : [lease.avoid]), ...deployment.failedMachines].map(hex));
  const barred = new Set(barredFrom(deployment, lease.index).map(hex));
  const mayShare = spread.machines.size > 0;

  let first: Ranked | null = null;
  let ties: Ranked[] = [];
  let [visits, considered] = [0, 0];
  for (const row of state.market.rows) {
    if (++visits > MACHINES_VISITED_MAX || considered >= MACHINES_CONSIDERED_MAX) break;
    const { id, operator, machine } = row;
    if (row.memoryMibFree < memoryMib || row.cpuMillisFree < cpuMillis || row.isFull || machine.placeableFrom > second) continue;
    if (id === here || id === leftBehind || barred.has(id) || (allowed !== null && !allowed.has(operator))) continue;
    if (bondNumber(row.memoryMibUsed + memoryMib, row.cpuMillisUsed + cpuMillis) > row.bond) continue;
    if (isChosen && !((regions.length === 0 || regions.includes(machine.region)) && labels.every((one) => machine.labels.includes(one)))) continue;
    const rate = rateNumber(row, memoryMib, cpuMillis);
    if (rateMax > 0n && (rate === Number.POSITIVE_INFINITY ? rateOf(machine, memoryMib, cpuMillis) : BigInt(rate)) > rateMax) continue;
    considered++;
    const one: Ranked = {
      row, rate, isAvoided: avoided.has(id) || reporters.has(operator), shared: mayShare ? (spread.machines.get(id) ?? 0) : 0, sharedOperator: mayShare ? (spread.operators.get(operator) ?? 0) : 0,
    };
    const order = first === null ? -1 : compareRanked(one, first, memoryMib, cpuMillis);
    if (order < 0) [first, ties] = [one, [one]];
    else if (order === 0) ties.push(one);
  }
  const looks = Math.ceil(visits / ROWS_PER_LOOK) + (ties.length > 1 ? ties.length : 0);
  if (first === null) return { best: null, looks };
  const { machine } = (ties.length === 1 ? first : lowestOf(context, lease, ties)).row;
  return { best: { machine, rate: rateOf(machine, memoryMib, cpuMillis) }, looks };
}

/** `compareRanks` of offer.ts, in numbers. */
function compareRanked(a: Ranked, b: Ranked, memoryMib: number, cpuMillis: number): number {
  if (a.isAvoided !== b.isAvoided) return a.isAvoided ? 1 : -1;
  if (a.shared !== b.shared) return a.shared - b.shared;
  if (a.sharedOperator !== b.sharedOperator) return a.sharedOperator - b.sharedOperator;
  if (a.rate !== b.rate) return a.rate < b.rate ? -1 : 1;
  if (a.rate === Number.POSITIVE_INFINITY) {
    const [rateA, rateB] = [rateOf(a.row.machine, memoryMib, cpuMillis), rateOf(b.row.machine, memoryMib, cpuMillis)];
    if (rateA !== rateB) return rateA < rateB ? -1 : 1;
  }
  return b.row.memoryMibFree - a.row.memoryMibFree;
}

function lowestOf(context: BlockContext, lease: Lease, ties: readonly Ranked[]): Ranked {
  const tieOf = tiesOf(context, lease);
  let lowest = ties[0] as Ranked;
  let lowestTie = tieOf(lowest.row.machine);
  for (const one of ties.slice(1)) {
    const tie = tieOf(one.row.machine);
    if (tie < lowestTie) [lowest, lowestTie] = [one, tie];
  }
  return lowest;
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
