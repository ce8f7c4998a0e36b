/** Scaling drawn at random: rules of owners, and what machines say of what they run, true or not. */
import { type Operation } from "#chain/codec/transaction.ts";
import type { LeaseView } from "#chain/ledger/view.ts";
import type { Address } from "#chain/types.ts";
import { type Actor, type Random, type World, actor } from "./world.ts";

const MACHINES: readonly Actor[] = [1001, 1002, 1003].map(actor);

export function scaleAtRandom(r: Random, world: World, tenants: readonly Actor[], deployments: readonly Address[]): void {
  if (deployments.length === 0) return;
  if (r.int(3) === 0) {
    const target = r.pick(deployments);
    const owner = tenants.find(({ id }) => world.view.deployment(target)?.owner.toHex() === id.toHex()) ?? r.pick(tenants);
    const min = r.int(3);
    return void world.send(owner, [{ kind: "autoscale", deploymentId: target, min, max: r.int(8) === 0 ? 0 : min + r.int(4), metric: r.int(3), target: 1 + r.int(100), rateMax: r.int(3) === 0 ? BigInt(r.int(2_000)) : 0n }]);
  }
  const held = MACHINES.filter(({ id }) => world.view.machine(id) !== null)
    .flatMap((machine) => world.view.leasesOfMachine(machine.id).filter(({ state, deploymentId }) => state === "ready" && world.view.scaling(deploymentId) !== null).map((lease) => ({ machine, lease })));
  if (held.length === 0) return;
  if (r.int(2) === 0) return tellAlike(r, world, held);
  const { machine, lease: { deploymentId, index, standbyRate } } = r.pick(held);
  const word: Operation = standbyRate !== null && r.int(2) === 0 ? { kind: "wake", deploymentId, index }
    : r.int(2) === 0 ? { kind: "load", deploymentId, index, level: r.pick([0, 2, 2, 1]) } : { kind: "standby", deploymentId, index, idleSeconds: r.int(30) };
  world.send(machine, [word]);
}

type Held = { readonly machine: Actor; readonly lease: LeaseView };
/** All leases of one deployment have as much, or as little, to do. */
function tellAlike(r: Random, world: World, held: readonly Held[]): void {
  const { lease: { deploymentId: id } } = r.pick(held);
  const level = r.pick([0, 2]);
  for (const { machine, lease: { deploymentId, index } } of held) if (deploymentId.toHex() === id.toHex()) world.send(machine, [{ kind: "load", deploymentId, index, level }]);
}

export function extremeScaling(r: Random, deploymentId: Address, { u32, u64 }: { readonly u32: () => number; readonly u64: () => bigint }): Operation {
  return r.pick<() => Operation>([
    () => ({ kind: "autoscale", deploymentId, min: u32(), max: u32(), metric: r.int(4), target: u32(), rateMax: u64() }),
    () => ({ kind: "autoscale", deploymentId, min: r.int(2), max: 1 + r.int(5), metric: r.int(3), target: 100, rateMax: r.pick([0n, u64()]) }),
    () => ({ kind: "load", deploymentId, index: u32(), level: u32() }),
    () => ({ kind: "wake", deploymentId, index: u32() }),
    () => ({ kind: "standby", deploymentId, index: u32(), idleSeconds: u32() }),
  ])();
}
