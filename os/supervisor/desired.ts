/**
 * What the ledger wants of this machine, read from final state: the input of the plan.
 */
import { addressText } from "#chain/codec/address.ts";
import type { DeploymentView, LeaseView, LedgerView } from "#chain/ledger/view.ts";
import { type Address, type Hex, hex } from "#chain/types.ts";
import type { DeploymentHere, Desired, Lease } from "./plan.ts";

/** Deployments read at once when the digests in use are collected. */
const PAGE_ROWS = 500;

export function readDesired(view: LedgerView, machine: Address, zone: string, named: ReadonlySet<Hex>): Desired {
  const leases = new Map<Hex, { readonly deployment: DeploymentView; readonly leases: Lease[] }>();
  for (const lease of view.leasesOfMachine(machine)) {
    const id = hex(lease.deploymentId);
    const known = leases.get(id);
    const deployment = known?.deployment ?? view.deployment(lease.deploymentId);
    const here = leaseHere(lease);
    if (deployment === null || here === null) continue;
    if (known === undefined) leases.set(id, { deployment, leases: [here] });
    else known.leases.push(here);
  }
  const registered = view.machine(machine);
  return {
    isRegistered: registered !== null,
    bootId: registered === null || registered.state === "down" ? null : hex(registered.bootId),
    deployments: [...leases.values()].map(({ deployment, leases: here }) => deploymentHere(deployment, here, zone)),
    named,
  };
}

function leaseHere({ index, state, rate }: LeaseView): Lease | null {
  return state === "placed" || state === "ready" ? { index, stage: state, rate } : null;
}

const deploymentHere = (deployment: DeploymentView, leases: readonly Lease[], zone: string): DeploymentHere => ({
  id: hex(deployment.id),
  owner: hex(deployment.owner),
  hosts: [`${deployment.name}.${addressText(deployment.owner)}.${zone}`],
  component: hex(deployment.componentDigest),
  configuration: deployment.configurationDigest === null ? null : hex(deployment.configurationDigest),
  memoryMib: deployment.memoryMib,
  cpuMillis: deployment.cpuMillis,
  concurrency: deployment.concurrency,
  isolation: deployment.isolation === 1 ? "process" : "shared",
  leases,
});

/** Every digest that a deployment of the grid names: those blobs are kept. */
export function readNamed(view: LedgerView): ReadonlySet<Hex> {
  const named = new Set<Hex>();
  let after: Hex | null = null;
  do {
    const page: { readonly items: readonly DeploymentView[]; readonly next: Hex | null } = view.deployments({ limit: PAGE_ROWS, ...(after === null ? {} : { after }) });
    for (const { componentDigest, configurationDigest } of page.items) {
      named.add(hex(componentDigest));
      if (configurationDigest !== null) named.add(hex(configurationDigest));
    }
    after = page.next;
  } while (after !== null);
  return named;
}
