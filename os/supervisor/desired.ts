/**
 * What the ledger wants of this machine, read from final state: the input of the plan.
 */
import { addressText } from "#chain/codec/address.ts";
import { METRICS } from "#chain/codec/scalingOperations.ts";
import { WEIGHT_MAX } from "#chain/ledger/limits.ts";
import type { Version } from "#chain/ledger/model.ts";
import type { DeploymentView, LeaseView, LedgerView, ScalingView } from "#chain/ledger/view.ts";
import { type Address, type Hex, hex } from "#chain/types.ts";
import { hostOfName } from "../hosts.ts";
import type { Naming } from "./naming.ts";
import type { ScalingHere } from "./planScaling.ts";
import { type DeploymentHere, type Desired, type Lease, besideOf } from "./plan.ts";

export function readDesired(view: LedgerView, machine: Address, zone: string, { named, kept }: Pick<Naming, "named" | "kept">): Desired {
  const held = new Map<Hex, { readonly deployment: DeploymentView; readonly leases: Lease[] }>();
  for (const lease of view.leasesOfMachine(machine)) {
    const id = hex(lease.deploymentId);
    const known = held.get(id);
    const deployment = known?.deployment ?? view.deployment(lease.deploymentId);
    const here = leaseHere(lease, view.scaling(lease.deploymentId));
    if (deployment === null || here === null) continue;
    if (known === undefined) held.set(id, { deployment, leases: [here] });
    else known.leases.push(here);
  }
  const registered = view.machine(machine);
  return {
    isRegistered: registered !== null,
    bootId: registered === null || registered.state === "down" ? null : hex(registered.bootId),
    deployments: [...held.values()].flatMap(({ deployment, leases }) => {
      const task = view.task(deployment.id);
      return task === null ? revisionsHere(deployment, leases, zone, view.namesTo(deployment.id), scalingHere(view.scaling(deployment.id), deployment)) : [{ ...deploymentHere(deployment, deployment, leases, hex(deployment.id), [], null), task: { run: task.runs } }];
    }),
    named, kept,
  };
}

function leaseHere({ index, machine, state, rate, standbyRate, revision, unhealthyFrom }: LeaseView, scaling: ScalingView | null): Lease | null {
  const level = scaling?.told.find((one) => one.index === index && machine !== null && hex(one.machine) === hex(machine))?.level ?? 1;
  const lease = { index, rate, revision, isHealthy: unhealthyFrom === null, load: { level, isOnStandby: standbyRate !== null } };
  if (state === "placed") return { ...lease, stage: "placed" };
  if (state === "ready" || state === "moving") return { ...lease, stage: "ready" };
  return state === "leaving" ? { ...lease, stage: "leaving" } : null;
}

/** While a new revision is on its way nothing goes on standby. */
const scalingHere = (scaling: ScalingView | null, { rollout }: DeploymentView): ScalingHere | null =>
  scaling === null ? null : { metric: METRICS[scaling.metric] ?? "requests", target: scaling.target, mayRest: scaling.min === 0 && rollout === null };

/**
 * What runs here of one deployment: one revision, or two while a new one is rolled out. The requests of its host, and of the names that point to it, go to one of them, the one that
 * has more of the weight; each has a host of its own beside (`r2.<host>`), by which it can be looked at and is checked.
 */
function revisionsHere(deployment: DeploymentView, leases: readonly Lease[], zone: string, names: readonly string[], scaling: ScalingHere | null): DeploymentHere[] {
  const { rollout } = deployment;
  const host = `${deployment.name}.${addressText(deployment.owner)}.${zone}`;
  const ofRollout = rollout === null ? [] : leases.filter(({ revision }) => revision === rollout.revision);
  const serving = leases.filter((lease) => !ofRollout.includes(lease));
  const named = names.map((name) => hostOfName(name, zone)).filter((one) => one !== null);
  const made: DeploymentHere[] = [];
  const isShifted = rollout !== null && rollout.weightNow > 0 && (serving.length === 0 || rollout.weightNow >= WEIGHT_MAX / 2);
  const add = (version: Version, here: readonly Lease[], isMain: boolean): void => {
    if (here.length === 0) return;
    const own = rollout === null ? [] : [`r${version.revision}.${host}`];
    made.push(deploymentHere(deployment, version, here, isMain ? hex(deployment.id) : besideOf(hex(deployment.id)), isMain ? [host, ...named, ...own] : own, version === rollout ? null : scaling));
  };
  add(deployment, serving, !isShifted);
  if (rollout !== null) add(rollout, ofRollout, isShifted);
  return made;
}

const deploymentHere = (deployment: DeploymentView, version: Version, leases: readonly Lease[], id: Hex, hosts: readonly string[], scaling: ScalingHere | null): DeploymentHere => ({
  id, hosts, leases, scaling,
  owner: hex(deployment.owner),
  component: hex(version.componentDigest),
  configuration: version.configurationDigest === null ? null : hex(version.configurationDigest),
  memoryMib: deployment.memoryMib,
  cpuMillis: deployment.cpuMillis,
  concurrency: deployment.concurrency,
  isolation: deployment.isolation === 1 ? "process" : "shared",
});
