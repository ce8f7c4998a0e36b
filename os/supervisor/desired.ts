/**
 * What the ledger wants of this machine, read from final state: the input of the plan.
 */
import { addressText } from "#chain/codec/address.ts";
import { WEIGHT_MAX } from "#chain/ledger/limits.ts";
import type { Version } from "#chain/ledger/model.ts";
import type { DeploymentView, LeaseView, LedgerView } from "#chain/ledger/view.ts";
import { type Address, type Hex, hex } from "#chain/types.ts";
import { hostOfName } from "../hosts.ts";
import { type DeploymentHere, type Desired, type Lease, besideOf } from "./plan.ts";

/** Deployments read at once when the digests in use are collected. */
const PAGE_ROWS = 500;

export function readDesired(view: LedgerView, machine: Address, zone: string, named: ReadonlySet<Hex>): Desired {
  const held = new Map<Hex, { readonly deployment: DeploymentView; readonly leases: Lease[] }>();
  for (const lease of view.leasesOfMachine(machine)) {
    const id = hex(lease.deploymentId);
    const known = held.get(id);
    const deployment = known?.deployment ?? view.deployment(lease.deploymentId);
    const here = leaseHere(lease);
    if (deployment === null || here === null) continue;
    if (known === undefined) held.set(id, { deployment, leases: [here] });
    else known.leases.push(here);
  }
  const registered = view.machine(machine);
  return {
    isRegistered: registered !== null,
    bootId: registered === null || registered.state === "down" ? null : hex(registered.bootId),
    deployments: [...held.values()].flatMap(({ deployment, leases }) => revisionsHere(deployment, leases, zone, view.namesTo(deployment.id))),
    named,
  };
}

function leaseHere({ index, state, rate, revision, unhealthyFrom }: LeaseView): Lease | null {
  const lease = { index, rate, revision, isHealthy: unhealthyFrom === null };
  if (state === "placed") return { ...lease, stage: "placed" };
  if (state === "ready" || state === "moving") return { ...lease, stage: "ready" };
  return state === "leaving" ? { ...lease, stage: "leaving" } : null;
}

/**
 * What runs here of one deployment: one revision, or two while a new one is rolled out. The requests of its host, and of the names that point to it, go to one of them, the one that
 * has more of the weight; each has a host of its own beside (`r2.<host>`), by which it can be looked at and is checked.
 */
function revisionsHere(deployment: DeploymentView, leases: readonly Lease[], zone: string, names: readonly string[]): DeploymentHere[] {
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
    made.push(deploymentHere(deployment, version, here, isMain ? hex(deployment.id) : besideOf(hex(deployment.id)), isMain ? [host, ...named, ...own] : own));
  };
  add(deployment, serving, !isShifted);
  if (rollout !== null) add(rollout, ofRollout, isShifted);
  return made;
}

const deploymentHere = (deployment: DeploymentView, version: Version, leases: readonly Lease[], id: Hex, hosts: readonly string[]): DeploymentHere => ({
  id, hosts, leases,
  owner: hex(deployment.owner),
  component: hex(version.componentDigest),
  configuration: version.configurationDigest === null ? null : hex(version.configurationDigest),
  memoryMib: deployment.memoryMib,
  cpuMillis: deployment.cpuMillis,
  concurrency: deployment.concurrency,
  isolation: deployment.isolation === 1 ? "process" : "shared",
});

/** What serves, what is rolled out, and what can be rolled back to. */
export const versionsOf = (deployment: DeploymentView): readonly Version[] => [deployment, ...(deployment.rollout === null ? [] : [deployment.rollout]), ...deployment.history];

/** Every digest that a deployment of the grid names: those blobs are kept. */
export function readNamed(view: LedgerView): ReadonlySet<Hex> {
  const named = new Set<Hex>();
  let after: Hex | null = null;
  do {
    const page: { readonly items: readonly DeploymentView[]; readonly next: Hex | null } = view.deployments({ limit: PAGE_ROWS, ...(after === null ? {} : { after }) });
    for (const deployment of page.items) {
      for (const { componentDigest, configurationDigest } of versionsOf(deployment)) {
        named.add(hex(componentDigest));
        if (configurationDigest !== null) named.add(hex(configurationDigest));
      }
    }
    after = page.next;
  } while (after !== null);
  return named;
}
