/**
 * What must hold between entities after every block, worked out from the entities alone: what machines hold, what is reserved, who has a stream,
 * and that nothing stays of what is gone. `faultOfLedger` adds the money up; this finds the rest. Names what is wrong, or null.
 */
import { addressOf } from "#chain/codec/address.ts";
import { dryAt } from "#chain/ledger/escrow.ts";
import type { Ledger } from "#chain/ledger/ledger.ts";
import type { Deployment, Entity, Lease, Machine, Validator } from "#chain/ledger/model.ts";
import { standbyRate } from "#chain/ledger/scalingRule.ts";
import { hex } from "#chain/types.ts";

type Of<K extends Entity["kind"]> = Extract<Entity, { kind: K }>;
type Used = { memoryMib: number; cpuMillis: number; leases: number };

export function faultBetween({ state, rules }: Ledger): string | null {
  const all = [...state.entities()];
  const of = <K extends Entity["kind"]>(kind: K): Of<K>[] => all.filter((one): one is Of<K> => one.kind === kind);
  const deployments = new Map(of("deployment").map((one) => [hex(one.id), one]));
  const leases = of("lease");
  const second = state.totals.moneySecond;
  for (const lease of leases) {
    const fault = faultOfLease(lease, deployments.get(hex(lease.deploymentId)), second);
    if (fault !== null) return `lease ${lease.index} of ${hex(lease.deploymentId)}: ${fault}`;
  }
  for (const deployment of deployments.values()) {
    const fault = faultOfDeployment(deployment, leases.filter(({ deploymentId }) => hex(deploymentId) === hex(deployment.id)), state.scaling(deployment.id), rules.unpaidSegmentsMax);
    if (fault !== null) return `deployment ${hex(deployment.id)}: ${fault}`;
  }
  for (const { id, min, max, rateMax, told, due } of of("scaling")) {
    const deployment = deployments.get(hex(id));
    if (!deployment || deployment.state === "closing") return `a rule of scaling is there without ${hex(id)}`;
    if (deployment.replicas < Math.max(1, min) || deployment.replicas > max) return `${deployment.replicas} replicas are not within ${min}..${max}`;
    const cost = leases.filter(({ deploymentId }) => hex(deploymentId) === hex(id)).reduce((sum, { machine, rate, next }) => sum + (machine === null ? 0n : next !== null && next.rate > rate ? next.rate : rate), 0n);
    if (rateMax > 0n && cost > rateMax) return `leases of ${hex(id)} cost ${cost} where ${rateMax} is the ceiling`;
    if (new Set(told.map(({ index }) => index)).size !== told.length) return `a lease of ${hex(id)} is told of twice`;
    if (due !== null && due <= second - 60n) return `a step of ${hex(id)} is due since second ${due}`;
  }
  for (const task of of("task")) {
    const deployment = deployments.get(hex(task.id));
    const lease = leases.find(({ deploymentId }) => hex(deploymentId) === hex(task.id));
    if (!deployment) return `a task is there without ${hex(task.id)}`;
    if (deployment.state !== "closing" && (task.phase === "ended") !== (deployment.state === "ended")) return `task ${hex(task.id)} is ${task.phase} and its deployment ${deployment.state}`;
    if (task.phase === "ended" && lease) return `task ${hex(task.id)} has ended and has a lease`;
    if (task.phase === "running" && lease?.state !== "ready") return `task ${hex(task.id)} runs and its lease is ${lease?.state}`;
    if (task.phase === "placing" && lease?.state === "ready") return `task ${hex(task.id)} is placed and its lease is ready`;
    if (task.failures > task.attemptsMax || task.runs < task.losses) return `task ${hex(task.id)} failed ${task.failures} times and was lost ${task.losses} times in ${task.runs} runs`;
  }
  return faultOfMachines(of("machine"), leases, deployments) ?? faultOfPools(of("validator"), of("delegation"));
}

function faultOfLease(lease: Lease, deployment: Deployment | undefined, second: bigint): string | null {
  const { state, machine, next, last, index } = lease;
  if (!deployment || deployment.state === "closing" || deployment.state === "ended") return `is there, and its deployment is ${deployment?.state ?? "gone"}`;
  const [slot, place] = [Math.floor(index / 256), index % 256];
  const isServing = slot === deployment.slot && place < deployment.replicas;
  if (!isServing && !(deployment.rollout !== null && slot !== deployment.slot && place < deployment.rollout.replicas)) return "is of no revision";
  if (lease.revision !== (isServing ? deployment.revision : deployment.rollout!.revision)) return `is of revision ${lease.revision}`;
  const holds = state === "placed" || state === "ready" || state === "moving";
  if (state === "dry") return "is dry between two blocks";
  if (holds !== (machine !== null) || (!holds && (lease.rate !== 0n || next !== null || last !== null))) return `is ${state} and holds ${machine === null ? "nothing" : "a machine"}`;
  if (next !== null && state !== "moving") return `is ${state} and moves`;
  const stream = deployment.escrow.streams.find((one) => one.index === index);
  const isOpen = state === "ready" || state === "moving";
  if (!isOpen) return stream === undefined ? null : `is ${state} and has a stream`;
  // One that ran dry and had no room among the block's due events has none any more.
  const ranDry = deployment.escrow.dry ?? dryAt(deployment.escrow);
  if (stream === undefined) return ranDry !== null && ranDry <= second ? null : `is ${state} and has no stream`;
  if (hex(stream.machine) !== hex(machine!)) return "is paid to a machine that it is not on";
  return stream.rate === lease.rate || stream.rate === standbyRate(lease.rate) ? null : `pays ${stream.rate} and has a rate of ${lease.rate}`;
}

function faultOfDeployment(deployment: Deployment, leases: readonly Lease[], rule: Of<"scaling"> | undefined, unpaidMax: number): string | null {
  const { escrow, reservedRate, replicas, rollout, state } = deployment;
  const reserved = leases.reduce((sum, { state: one, rate, next }) => sum + (one === "placed" ? rate : 0n) + (next !== null && next.rate > rate ? next.rate - rate : 0n), 0n);
  if (reserved !== reservedRate) return `has reserved ${reservedRate}, and its leases ${reserved}`;
  if (state === "closing" ? escrow.ended.length === 0 : leases.length !== replicas + (rollout?.replicas ?? 0)) return `is ${state} with ${leases.length} leases and ${escrow.ended.length} unpaid segments`;
  for (const { index } of escrow.streams) if (!leases.some((lease) => lease.index === index)) return `pays a stream ${index} without a lease`;
  for (const { index, rate } of escrow.streams) {
    const lease = leases.find((one) => one.index === index) as Lease;
    if (rate < lease.rate && (rule === undefined || rule.min > 0)) return `has lease ${index} on standby without a rule that lets it`;
  }
  const counts = new Map<number, number>();
  for (const { index } of escrow.ended) counts.set(index, (counts.get(index) ?? 0) + 1);
  // One more where a stream that runs has ended since.
  if ([...counts.values()].some((count) => count > unpaidMax + 1)) return "has more unpaid segments of a lease than there may be";
  return null;
}

function faultOfMachines(machines: readonly Machine[], leases: readonly Lease[], deployments: ReadonlyMap<string, Deployment>): string | null {
  const used = new Map<string, Used>();
  for (const { machine, next, last, deploymentId } of leases) {
    const { memoryMib, cpuMillis } = deployments.get(hex(deploymentId)) as Deployment;
    for (const held of [machine, next?.machine ?? null, last?.machine ?? null]) {
      if (held === null) continue;
      const before = used.get(hex(held)) ?? { memoryMib: 0, cpuMillis: 0, leases: 0 };
      used.set(hex(held), { memoryMib: before.memoryMib + memoryMib, cpuMillis: before.cpuMillis + cpuMillis, leases: before.leases + 1 });
    }
  }
  for (const { id, up, memoryMibUsed, cpuMillisUsed, leases: count } of machines) {
    const own = used.get(hex(id)) ?? { memoryMib: 0, cpuMillis: 0, leases: 0 };
    used.delete(hex(id));
    if (own.memoryMib !== memoryMibUsed || own.cpuMillis !== cpuMillisUsed || own.leases !== count) return `machine ${hex(id)} says ${memoryMibUsed} MiB, ${cpuMillisUsed} m, ${count} leases, and they are ${own.memoryMib}, ${own.cpuMillis}, ${own.leases}`;
    if (!up && count > 0) return `machine ${hex(id)} is down and holds ${count} leases`;
  }
  return used.size === 0 ? null : `${[...used.keys()].join()} hold leases and are no machines`;
}

function faultOfPools(validators: readonly Validator[], delegations: readonly Of<"delegation">[]): string | null {
  for (const { key, delegated, leaving, stake, unbonding, state } of validators) {
    const own = delegations.filter(({ validator }) => hex(validator) === hex(addressOf(key)));
    if (own.reduce((sum, { shares }) => sum + shares, 0n) !== delegated.shares) return `shares of ${hex(addressOf(key))} are not its delegators'`;
    if (own.reduce((sum, one) => one.leaving.reduce((of, { shares }) => of + shares, sum), 0n) !== leaving.shares) return `what leaves ${hex(addressOf(key))} is not its delegators'`;
    if ((delegated.units > 0n) !== (delegated.shares > 0n) || (leaving.units > 0n) !== (leaving.shares > 0n)) return `a pool of ${hex(addressOf(key))} has shares without money, or money without shares`;
    if (stake === 0n && unbonding.length === 0 && delegated.shares === 0n && leaving.shares === 0n && state !== "tombstoned") return `validator ${hex(addressOf(key))} is empty, and there`;
  }
  return delegations.some(({ shares, leaving }) => shares === 0n && leaving.length === 0) ? "an empty delegation is there" : null;
}
