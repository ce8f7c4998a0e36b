/**
 * Histories of scaling by seed, for tests and planted bugs: one deployment on machines that say of its load what they like. Judged by the rule's
 * bounds after each block, by the ledger's own sums, and at the end by the audit, which reads the rules a second time (tools/auditScaling.ts).
 */
import { committedRate } from "#chain/ledger/ceiling.ts";
import { freeOf } from "#chain/ledger/escrow.ts";
import type { Operation } from "#chain/codec/transaction.ts";
import { apiOf, blocksOf } from "#tests/ledger/fakeApi.ts";
import { RATE, type Stage, count, leases, say, stage, tell, tenant } from "#tests/ledger/scalingStage.ts";
import { type Random, type WorldCode, random } from "#tests/ledger/world.ts";
import { audit } from "#tools/audit.ts";

const BLOCKS = 40;

export async function playScaling(seed: number, code?: WorldCode, onEvent: (kind: string) => void = () => undefined): Promise<readonly string[]> {
  const r = random(seed);
  try {
    const rateMax = r.int(2) === 0 ? 0n : RATE * BigInt(2 + r.int(4)) + 7n;
    const min = r.pick([0, 0, 1, 2]);
    const options = { thorough: seed % 4 === 0, parameters: seed % 3 === 0 ? "default" : "minimal", ...(code === undefined ? {} : { code }) } as const;
    const on = stage({ machines: 2 + r.int(4), min, max: Math.max(1, min) + r.int(5), rateMax, deposit: RATE * BigInt(min * 60 + r.pick([70, 130, 2_000, 4_000])), options });
    const { world, id } = on;
    for (let k = 0; k < BLOCKS; k++) {
      act(r, on, rateMax);
      if (r.int(4) > 0) world.ready(...on.machines);
      const { state, rules } = world.ledger;
      const [before, isBack] = [state.deployment(id)!.escrow.rate, state.leasesOf(id).some(({ rateLost }) => rateLost > 0n)];
      world.block(r.pick([0, 1, 1, 2, 5, 10, 10]));
      const { escrow } = state.deployment(id)!;
      if (escrow.rate > before && escrow.at === world.second && freeOf(escrow) < escrow.rate * (isBack ? 1n : rules.runwaySecondsMin)) return [`it costs ${escrow.rate} where it was ${before}, and has ${freeOf(escrow)}`];
      const held = world.view.scaling(id)!;
      if (count(on) < Math.max(1, held.min) || count(on) > held.max) return [`${count(on)} replicas are not within ${held.min}..${held.max}`];
      if (held.rateMax > 0n && committedRate(world.ledger.state, id) > held.rateMax) return [`its leases cost ${committedRate(world.ledger.state, id)} and its ceiling is ${held.rateMax}`];
    }
    for (const { applied } of world.history) for (const { kind } of applied.events) onEvent(kind);
    return (await audit(apiOf(world, blocksOf(world)))).findings;
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}

function act(r: Random, on: Stage, rateMax: bigint): void {
  const { world, id } = on;
  const mood = r.int(9);
  if (mood < 3) tell(on, r.pick([0, 2, 2]));
  for (const { index, machine, standbyRate } of leases(on)) {
    if (machine === null || (mood > 5 && r.int(3) > 0)) continue;
    if (mood === 4) say(on, machine, { kind: "standby", deploymentId: id, index, idleSeconds: r.int(20) });
    if (mood === 5 && standbyRate !== null && index % 2 === 0 && r.int(2) === 0) world.send(tenant, [{ kind: "move", deploymentId: id, index }]);
    else if (mood === 5 && standbyRate !== null) say(on, machine, { kind: "wake", deploymentId: id, index });
    if (mood === 6) say(on, machine, { kind: "load", deploymentId: id, index, level: r.int(3) });
    if (mood === 7 && r.int(6) === 0) say(on, machine, { kind: "failed", deploymentId: id, index, cause: "trap" });
  }
  if (mood === 8) world.send(tenant, [byOwner(r, on, rateMax)]);
}

function byOwner(r: Random, { id: deploymentId }: Stage, rateMax: bigint): Operation {
  const update: Operation = { kind: "update", deploymentId, componentDigest: new Uint8Array(32).fill(r.int(9)) as never, configurationDigest: null, weight: r.pick([100, 1000]), healthySeconds: r.int(4), deadlineSeconds: 5 + r.int(30), failuresMax: 1 };
  return r.pick<Operation>([
    { kind: "topUp", deploymentId, amount: RATE * BigInt(r.int(200) + 1) }, { kind: "scale", deploymentId, replicas: 1 + r.int(5) }, { kind: "resize", deploymentId, memoryMib: 32 + r.int(160), cpuMillis: 100 },
    update, update, { kind: "autoscale", deploymentId, min: r.int(2), max: 2 + r.int(3), metric: 0, target: 100, rateMax }, { kind: "move", deploymentId, index: r.int(3) },
  ]);
}
