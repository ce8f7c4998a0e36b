/**
 * Where the hosts of the grid are served, as this machine's ingress is to know it: read from final state, deployment by deployment, as
 * blocks change them.
 *
 * Among the replicas of a revision the healthy ones count, all where none is. A lease that moves is served where it is until the machine
 * that it moves to is ready; from then on there, and what is left of it here is for those that do not know yet. A deployment that has
 * no replica now and will have one is listed without: its requests wait. One that will have none is not listed: its hosts are unknown.
 *
 * A machine's own replica comes first, but where the deployment scales by itself: there each machine keeps of what comes in its share of the
 * replicas. Else one machine that all clients ask would be busy alone, and the others would say that there is too little to do.
 */
import { addressText } from "#chain/codec/address.ts";
import { WEIGHT_MAX } from "#chain/ledger/limits.ts";
import type { DeploymentView, LeaseView, LedgerEvent, LedgerView } from "#chain/ledger/view.ts";
import { type Address, type Hex, address as addressIn, fromHex, hex } from "#chain/types.ts";
import type { Elsewhere, Part, Places } from "#sandbox/sandbox.ts";
import { hostOfName } from "./hosts.ts";

/** Deployments read at once at the start. */
const PAGE_ROWS = 500;

/** The hosts of one deployment; none when it serves nobody. */
export function placesOf(view: Pick<LedgerView, "leasesOfDeployment" | "namesTo" | "task" | "scaling">, deployment: DeploymentView, machine: Address, zone: string): readonly Places[] {
  const { id, rollout } = deployment;
  const leases = view.leasesOfDeployment(id);
  if (deployment.state === "closing" || view.task(id) !== null || leases.every(({ state }) => state === "waiting")) return [];
  const host = `${deployment.name}.${addressText(deployment.owner)}.${zone}`;
  const hosts = [host, ...view.namesTo(id).map((name) => hostOfName(name, zone)).filter((one) => one !== null)];
  const isShared = view.scaling(id) !== null;
  const partsOf = (some: readonly LeaseView[], weight: number, to: string | null): readonly Part[] => (isShared ? sharesOf(some, machine, weight, to) : [partOf(some, machine, weight, to)]);
  if (rollout === null) return [placed(hosts, partsOf(leases, WEIGHT_MAX, null), leases, machine)];
  const ofRollout = leases.filter(({ revision }) => revision === rollout.revision);
  const serving = leases.filter((lease) => !ofRollout.includes(lease));
  const weight = rollout.weightNow;
  const [now, next] = [`r${deployment.revision}.${host}`, `r${rollout.revision}.${host}`];
  const both = [...partsOf(serving, WEIGHT_MAX - weight, now), ...partsOf(ofRollout, weight, next)].filter((part) => part.weight > 0);
  return [
    placed(hosts, both, leases, machine),
    placed([now], partsOf(serving, WEIGHT_MAX, now), serving, machine),
    placed([next], partsOf(ofRollout, WEIGHT_MAX, next), ofRollout, machine),
  ];
}

/** Its machines by the leases that take requests. */
function takersOf(leases: readonly LeaseView[]): readonly Hex[] {
  const ready = leases.filter(({ state }) => state === "ready" || state === "moving");
  const healthy = ready.filter(({ unhealthyFrom }) => unhealthyFrom === null);
  return (healthy.length > 0 ? healthy : ready).flatMap((lease) => (lease.machine === null ? [] : [hex(lease.machine)]));
}

function partOf(leases: readonly LeaseView[], machine: Address, weight: number, to: string | null): Part {
  const machines = new Set(takersOf(leases));
  const here = machines.delete(hex(machine));
  return { weight, to, here, peers: [...machines].sort() };
}

/** What this machine's replicas keep, and what goes to others; whole where there are none of one or the other. */
function sharesOf(leases: readonly LeaseView[], machine: Address, weight: number, to: string | null): readonly Part[] {
  const all = takersOf(leases);
  const own = all.filter((one) => one === hex(machine)).length;
  const part = partOf(leases, machine, weight, to);
  const kept = Math.round((weight * own) / all.length);
  return own === 0 || own === all.length || kept === 0 || kept === weight ? [part] : [{ ...part, weight: kept }, { ...part, weight: weight - kept, here: false }];
}

function placed(hosts: readonly string[], parts: readonly Part[], leases: readonly LeaseView[], machine: Address): Places {
  const own = hex(machine);
  const isLoaded = leases.some((lease) => [lease.machine, lease.last?.machine, lease.next?.machine].some((one) => one !== null && one !== undefined && hex(one) === own));
  return { hosts, parts, diverts: parts.length > 1 || (isLoaded && !parts.every(({ here }) => here)) };
}

export type PlacesTableOptions = { readonly view: () => LedgerView; readonly machine: Address; readonly zone: string; readonly elsewhere: Pick<Elsewhere, "places">; readonly onError: (error: unknown) => void };

/** Keeps the runner's table as the ledger says. */
export class PlacesTable {
  readonly #options: PlacesTableOptions;
  /** What was told of each deployment, and whose a host is. */
  readonly #told = new Map<Hex, { readonly text: string; readonly hosts: readonly string[] }>();
  readonly #owners = new Map<string, Hex>();

  constructor(options: PlacesTableOptions) {
    this.#options = options;
    const ids: Hex[] = [];
    let after: Hex | null = null;
    do {
      const page: { readonly items: readonly DeploymentView[]; readonly next: Hex | null } = options.view().deployments({ limit: PAGE_ROWS, ...(after === null ? {} : { after }) });
      ids.push(...page.items.map(({ id }) => hex(id)));
      after = page.next;
    } while (after !== null);
    this.#tell(ids);
  }

  onFinal(events: readonly LedgerEvent[]): void {
    const changed = new Set<Hex>();
    for (const event of events) {
      if ("deploymentId" in event) changed.add(hex(event.deploymentId));
      if ("deployment" in event && event.deployment !== null) changed.add(hex(event.deployment));
      if (!("name" in event)) continue;
      const before = this.#owners.get(hostOfName(event.name, this.#options.zone) ?? "");
      if (before !== undefined) changed.add(before);
    }
    if (changed.size > 0) this.#tell([...changed]);
  }

  #tell(ids: readonly Hex[]): void {
    const { view, machine, zone, elsewhere, onError } = this.#options;
    const set: Places[] = [];
    const gone = new Set<string>();
    for (const id of ids) {
      const deployment = view().deployment(addressIn(fromHex(id)));
      const places = deployment === null ? [] : placesOf(view(), deployment, machine, zone);
      const text = JSON.stringify(places);
      const before = this.#told.get(id);
      if (before?.text === text) continue;
      const hosts = places.flatMap((one) => one.hosts);
      for (const host of before?.hosts ?? []) {
        if (this.#owners.get(host) !== id) continue;
        this.#owners.delete(host);
        gone.add(host);
      }
      for (const host of hosts) this.#owners.set(host, id);
      if (places.length === 0) this.#told.delete(id);
      else this.#told.set(id, { text, hosts });
      set.push(...places);
    }
    const remove = [...gone].filter((host) => !this.#owners.has(host));
    if (set.length + remove.length > 0) elsewhere.places(set, remove).catch(onError);
  }
}
