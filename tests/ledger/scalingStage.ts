/** A world with one deployment that scales by itself, for stories and histories of scaling. A lease costs RATE a second, and STANDBY on standby. */
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import type { LeaseView } from "#chain/ledger/view.ts";
import type { Address } from "#chain/types.ts";
import { type Actor, TOKEN, World, type WorldOptions, actor, deployment } from "./world.ts";

export const tenant: Actor = actor(1);
export const RATE : bigint = 164n;
export const STANDBY : bigint = 9n;

export type Stage = { readonly world: World; readonly id: Address; readonly machines: readonly Actor[] };
/** Machines of operators of their own, and one deployment that is ready on the first. */
export function stage({ machines = 4, min = 1, max = 4, rateMax = 0n, deposit = TOKEN, options = {} }: { machines?: number; min?: number; max?: number; rateMax?: bigint; deposit?: bigint; options?: WorldOptions } = {}): Stage {
  const world = new World({ accounts: 12, signed: true, ...options });
  const made = Array.from({ length: machines }, (_, n) => world.machine(n, actor(2 + n)));
  world.block();
  const id = deploymentIdOf(tenant.id, 0n, 0);
  world.send(tenant, [deployment("web", { replicas: Math.max(1, min), deposit }), { kind: "autoscale", deploymentId: id, min, max, metric: 2, target: 100, rateMax }]);
  world.block();
  settle({ world, id, machines: made });
  return { world, id, machines: made };
}
export const leases = ({ world, id }: Stage): readonly LeaseView[] => world.view.leasesOfDeployment(id);
export const count = ({ world, id }: Stage): number => world.view.deployment(id)!.replicas;
/** Everything that is placed is ready. */
export function settle({ world, machines }: Pick<Stage, "world" | "machines"> & { id: Address }): void {
  world.ready(...machines);
  world.block(0);
}
export function tell(on: Stage, level: number): void {
  for (const { index, machine, standbyRate } of leases(on)) {
    const known = on.world.view.scaling(on.id)!.told.find((one) => one.index === index && one.machine.toHex() === machine?.toHex())?.level ?? 1;
    if (machine !== null && known !== level && standbyRate === null) say(on, machine, { kind: "load", deploymentId: on.id, index, level });
  }
}
export const say = ({ world, machines }: Stage, machine: Address, op: Operation): void => void world.send(machines.find(({ id }) => id.toHex() === machine.toHex())!, [op]);
