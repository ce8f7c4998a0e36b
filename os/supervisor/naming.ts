/**
 * Which blobs deployments name, and which machines keep them: read from final state, so that all machines say the same.
 *
 * A blob that is named is kept by COPIES machines that are up and not leaving, whether they run it or not: those that come first in an
 * order that is another for each digest (rendezvous hashing), so that a machine that comes or goes moves only what it keeps. Of a
 * configuration, which is not public, only those count where its deployment may run. No machine ever drops what is named.
 *
 * A digest is public, and anybody may name it, as whatever he likes: what one account names has its keepers by that account's deployments alone,
 * and changes nothing of another's.
 */
import { obstacleOf, type Obstacle } from "#chain/ledger/offer.ts";
import type { Constraints, Version } from "#chain/ledger/model.ts";
import type { DeploymentView, LedgerView, MachineView, Page, PageRequest } from "#chain/ledger/view.ts";
import { type Address, type Hex, U64_MAX, hex } from "#chain/types.ts";
import { COPIES } from "../limits.ts";

/** As a component, by anybody; as a configuration, by the deployments of each account. */
export type Named = { readonly isComponent: boolean; readonly configurations: ReadonlyMap<Hex, readonly Constraints[]> };
/** The account that names it as a configuration; null: as a component. */
export type NamedBy = Hex | null;
type Ledger = Pick<LedgerView, "deployments" | "machines">;

/** Rows read at once. */
const PAGE_ROWS = 500;
/** Events after which other blobs are named than before, or other machines keep them. */
const TURNING: ReadonlySet<string> = new Set(["deployed", "closed", "updated", "promoted", "rolledBack", "machine", "draining", "registered", "retired", "constrained", "labelled"]);
const ELSEWHERE: ReadonlySet<Obstacle> = new Set(["not_up", "draining", "operator_other", "region_other", "label_missing"]);

/** What serves, what is rolled out, and what can be rolled back to. */
export const versionsOf = (deployment: DeploymentView): readonly Version[] => [deployment, ...(deployment.rollout === null ? [] : [deployment.rollout]), ...deployment.history];

/** What one machine knows of it, until events of a final block turn it. */
export class Naming {
  readonly #view: () => Ledger;
  readonly #machine: Address;
  #named: ReadonlyMap<Hex, Named> | null = null;
  #kept: ReadonlySet<Hex> | null = null;
  #machines: readonly MachineView[] | null = null;

  constructor(view: () => Ledger, machine: Address) {
    [this.#view, this.#machine] = [view, machine];
  }
  get named(): ReadonlyMap<Hex, Named> {
    return (this.#named ??= readNamed(this.#view()));
  }
  /** Of those that are named, what this machine keeps. */
  get kept(): ReadonlySet<Hex> {
    return (this.#kept ??= new Set([...this.named].filter(([digest, named]) => isKeeper(digest, named, this.machines, this.#machine)).map(([digest]) => digest)));
  }
  get machines(): readonly MachineView[] {
    return (this.#machines ??= allOf((page) => this.#view().machines(page)));
  }
  /** Whoever names it. */
  keepersOf(digest: Hex): readonly MachineView[] {
    return [...new Set(namersOf(this.named.get(digest)).flatMap((by) => this.keepersFor(digest, by)))];
  }
  /** Those that keep it for one account, or as a component. */
  keepersFor(digest: Hex, by: NamedBy): readonly MachineView[] {
    const named = this.named.get(digest);
    return named === undefined ? [] : keepersOf(digest, named, by, this.machines);
  }
  turn(events: readonly { readonly kind: string }[]): void {
    if (events.some(({ kind }) => TURNING.has(kind))) [this.#named, this.#kept, this.#machines] = [null, null, null];
  }
}

/** Every digest that a deployment of the grid names: those blobs are kept. */
export function readNamed(view: Pick<LedgerView, "deployments">): ReadonlyMap<Hex, Named> {
  const named = new Map<Hex, { isComponent: boolean; configurations: Map<Hex, Constraints[]> }>();
  const of = (digest: Uint8Array): { isComponent: boolean; configurations: Map<Hex, Constraints[]> } => {
    const known = named.get(hex(digest)) ?? { isComponent: false, configurations: new Map<Hex, Constraints[]>() };
    named.set(hex(digest), known);
    return known;
  };
  for (const deployment of allOf((page) => view.deployments(page))) {
    for (const { componentDigest, configurationDigest } of versionsOf(deployment)) {
      of(componentDigest).isComponent = true;
      if (configurationDigest === null) continue;
      const { configurations } = of(configurationDigest);
      const known = configurations.get(hex(deployment.owner));
      if (known === undefined) configurations.set(hex(deployment.owner), [deployment.constraints]);
      else known.push(deployment.constraints);
    }
  }
  return named;
}

const namersOf = (named: Named | undefined): NamedBy[] => (named === undefined ? [] : [...(named.isComponent ? [null] : []), ...named.configurations.keys()]);

export function keepersOf(digest: Hex, named: Named, by: NamedBy, machines: readonly MachineView[]): readonly MachineView[] {
  const words = wordsOf(digest);
  return machines.filter((machine) => mayKeep(named, by, machine)).map((machine) => ({ machine, weight: weightOf(words, machine.id) }))
    .sort((a, b) => b.weight - a.weight || (hex(a.machine.id) < hex(b.machine.id) ? -1 : 1)).slice(0, COPIES).map(({ machine }) => machine);
}

/** The same as to look for it among the keepers, but stops at the third that comes before: a machine asks it of every blob there is. */
const isKeeper = (digest: Hex, named: Named, machines: readonly MachineView[], id: Address): boolean => namersOf(named).some((by) => keepsFor(digest, named, by, machines, id));
function keepsFor(digest: Hex, named: Named, by: NamedBy, machines: readonly MachineView[], id: Address): boolean {
  const own = hex(id);
  const me = machines.find((machine) => hex(machine.id) === own);
  if (me === undefined || !mayKeep(named, by, me)) return false;
  const words = wordsOf(digest);
  const mine = weightOf(words, id);
  let before = 0;
  for (const machine of machines) {
    const weight = weightOf(words, machine.id);
    if (weight < mine || machine === me || !mayKeep(named, by, machine)) continue;
    if (weight > mine || hex(machine.id) < own) before += 1;
    if (before === COPIES) return false;
  }
  return true;
}

const mayKeep = ({ isComponent, configurations }: Named, by: NamedBy, machine: MachineView): boolean =>
  machine.state === "up" && !machine.draining && (by === null ? isComponent : (configurations.get(by) ?? []).some((one) => isWithin(one, machine)));

function isWithin({ regions, operators, labels }: Constraints, machine: MachineView): boolean {
  const need = { memoryMib: 0, cpuMillis: 0, rateMax: 0n, regions, operators: operators.map(hex), labels };
  const obstacle = obstacleOf(need, { ...machine, up: machine.state === "up" }, hex(machine.operator), U64_MAX);
  return obstacle === null || !ELSEWHERE.has(obstacle);
}

type Words = readonly [number, number];
const wordsOf = (digest: Hex): Words => [Number.parseInt(digest.slice(0, 8), 16), Number.parseInt(digest.slice(8, 16), 16)];
/** Both names are hashes already: to mix 64 bits of each is enough for an even spread. */
function weightOf([high, low]: Words, machine: Address): number {
  const at = (offset: number): number => (machine[offset]! << 24) | (machine[offset + 1]! << 16) | (machine[offset + 2]! << 8) | machine[offset + 3]!;
  return mix(mix(high ^ at(0)) ^ mix(low + at(4))) >>> 0;
}
function mix(word: number): number {
  let h = Math.imul(word ^ (word >>> 16), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return h ^ (h >>> 16);
}

function allOf<T>(read: (page: PageRequest) => Page<T>): T[] {
  const items: T[] = [];
  for (let after: Hex | null | undefined; after !== null;) {
    const page: Page<T> = read({ limit: PAGE_ROWS, ...(after === undefined ? {} : { after }) });
    items.push(...page.items);
    after = page.next;
  }
  return items;
}
