/**
 * The state: entities by key, the lists they are found by, the tree over them, and a journal that takes any of it back.
 *
 * Every change goes through `put`, which notes the value of before. So a refused transaction is undone to a `savepoint`, a
 * block by `revert`, and the change of money in a block is summed from the journal alone. Entities are values: what was read
 * stays as it was.
 */
import assert from "node:assert";
import { compareBytes } from "#chain/codec/envelope.ts";
import type { Proof } from "#chain/codec/proof.ts";
import type { Parameters } from "#chain/constants.ts";
import { sha256 } from "#chain/crypto.ts";
import {
  type Account, type Archive, CLOCKS_KEY, type Clocks, type Deployment, type Entity, type Lease, type Machine, PRESENCE_KEY, type Presence, SETS_KEY, type Sets, type Span, TOTALS_KEY, type Totals, type Validator,
  accountKey, archiveKey, deploymentKey, hex8, isHashed, keyOf, leaseKey, listEntries, machineKey, machineKeyOf, moneyOf, spanKey, validatorKey, valueOf,
} from "#chain/ledger/model.ts";
import { LOOKUPS_PER_WORK, REVISION_SLOT, SEGMENTS_PER_WORK } from "#chain/ledger/limits.ts";
import { OrderedSet } from "#chain/ledger/ordered.ts";
import type { Image } from "#chain/ledger/snapshot.ts";
import { type LeafChange, StateTree, type TreeUndo } from "#chain/ledger/tree.ts";
import { type Address, type Digest, type Hex, address } from "#chain/types.ts";

type JournalEntry = { readonly key: string; readonly before: Entity | undefined };
/** Takes one block back. Good once, and only while its block is the last one applied. */
export type Undo = { readonly journal: readonly JournalEntry[]; readonly tree: TreeUndo; readonly rootBefore: Digest; readonly rootAfter: Digest };

/** Entities after a block, by key; undefined: gone. */
export type Changes = readonly (readonly [string, Entity | undefined])[];
const UNSETTLED = new Uint8Array(32);

export class State {
  readonly rules: Parameters;
  readonly lists: OrderedSet = new OrderedSet();
  readonly #entities = new Map<string, Entity>();
  readonly #listSizes = new Map<string, number>();
  readonly #pots: Record<Entity["kind"], bigint> = { account: 0n, deployment: 0n, lease: 0n, machine: 0n, totals: 0n, validator: 0n, sets: 0n, presence: 0n, span: 0n, clocks: 0n, archive: 0n };
  readonly #tree = new StateTree();
  #journal: JournalEntry[] = [];
  #work = 0;
  #root: Digest;
  /** Keys whose leaf in the tree is of before. */
  readonly #unsettled = new Set<string>();

  constructor(rules: Parameters) {
    this.rules = rules;
    this.#root = this.#tree.root();
  }

  get root(): Digest {
    return this.#root;
  }

  account(id: Address): Account | undefined {
    return this.#entities.get(accountKey(id)) as Account | undefined;
  }
  deployment(id: Address): Deployment | undefined {
    return this.#entities.get(deploymentKey(id)) as Deployment | undefined;
  }
  lease(deploymentId: Address, index: number): Lease | undefined {
    return this.#entities.get(leaseKey(deploymentId, index)) as Lease | undefined;
  }
  machine(id: Address): Machine | undefined {
    return this.#entities.get(machineKey(id)) as Machine | undefined;
  }
  machineNamed(id: Hex): Machine | undefined {
    return this.#entities.get(machineKeyOf(id)) as Machine | undefined;
  }
  archive(deploymentId: Address): Archive | undefined {
    return this.#entities.get(archiveKey(deploymentId)) as Archive | undefined;
  }
  get totals(): Totals {
    return this.#entities.get(TOTALS_KEY) as Totals;
  }
  validator(id: Address): Validator | undefined {
    return this.#entities.get(validatorKey(id)) as Validator | undefined;
  }
  get sets(): Sets {
    return this.#entities.get(SETS_KEY) as Sets;
  }
  get presence(): Presence {
    return this.#entities.get(PRESENCE_KEY) as Presence;
  }
  get clocks(): Clocks {
    return this.#entities.get(CLOCKS_KEY) as Clocks;
  }
  /** The set of an epoch that is over; undefined when it is forgotten, or is not over. */
  spanOf(epoch: number): Span | undefined {
    const entry = this.lists.from(`e${hex8(epoch)}`, "e").next().value;
    const span = entry ? (this.#entities.get(spanKey(Number.parseInt(entry.slice(9), 16))) as Span) : undefined;
    return span && span.first <= epoch ? span : undefined;
  }
  /** All entities, in no order that means anything: for sums and copies only. */
  entities(): Iterable<Entity> {
    return this.#entities.values();
  }

  get entityCount(): number {
    return this.#entities.size;
  }

  /** Leases of a deployment, of the revision that serves and then of the one beside it. */
  leasesOf(deploymentId: Address): Lease[] {
    const deployment = this.deployment(deploymentId);
    if (!deployment) return [];
    const { slot, replicas, rollout } = deployment;
    return [...this.leasesIn(deploymentId, slot, replicas), ...(rollout === null ? [] : this.leasesIn(deploymentId, 1 - slot, rollout.replicas))];
  }
  /** Those of one revision, by index. */
  leasesIn(deploymentId: Address, slot: number, replicas: number): Lease[] {
    this.spend(replicas / LOOKUPS_PER_WORK);
    const leases: Lease[] = [];
    for (let index = slot * REVISION_SLOT; index < slot * REVISION_SLOT + replicas; index++) {
      const lease = this.lease(deploymentId, index);
      if (lease) leases.push(lease);
    }
    return leases;
  }
  /** Leases that a machine holds, by deployment and index. */
  leasesOn(machine: Address): Lease[] {
    return this.listed(`m${machine.toHex()}`).map((rest) => this.lease(...parseLease(rest)) as Lease);
  }
  /** What follows `prefix` in the entries that begin with it, as a copy that changes cannot disturb. */
  listed(prefix: string, countMax: number = Number.MAX_SAFE_INTEGER): string[] {
    const found: string[] = [];
    for (const entry of this.lists.from(prefix, prefix)) {
      if (found.length >= countMax) break;
      found.push(entry.slice(prefix.length));
    }
    return found;
  }

  /** Entries of the list that a letter names. */
  sizeOf(list: string): number {
    return this.#listSizes.get(list) ?? 0;
  }

  /** All the money in entities of one kind. */
  potOf(kind: Entity["kind"]): bigint {
    return this.#pots[kind];
  }

  put(entity: Entity): void {
    this.#change(keyOf(entity), entity);
  }
  remove(entity: Entity): void {
    this.#change(keyOf(entity), undefined);
  }

  /** Work done since the block began; what is rolled back was work, and so is rolling back. */
  get work(): number {
    return this.#work;
  }
  spend(work: number): void {
    this.#work += Math.floor(work);
  }

  savepoint(): number {
    return this.#journal.length;
  }
  rollback(savepoint: number): void {
    while (this.#journal.length > savepoint) {
      const { key, before } = this.#journal.pop() as JournalEntry;
      if (isHashed(key)) this.#work++;
      this.#replace(key, before);
    }
  }

  /** That a key has its value, or that it is not there; of the state between two blocks. */
  prove(key: string): Proof {
    this.settle();
    const entity = this.#entities.get(key) as Exclude<Entity, Archive> | undefined;
    return { ...this.#tree.prove(key), value: entity === undefined ? null : valueOf(entity) };
  }

  /** Ends the making of the first state: it can be money out of nothing, and nothing takes it back. */
  begin(): void {
    this.#tree.apply(this.#leafChanges([...new Set(this.#journal.map(({ key }) => key))]));
    this.#journal = [];
    this.#root = this.#tree.root();
  }

  /** All of it between two blocks, to be written down while others follow (snapshot.ts). */
  image(): Image {
    assert(this.#journal.length === 0, "no block is being applied");
    const archives: Archive[] = [];
    for (const entity of this.#entities.values()) if (entity.kind === "archive") archives.push(entity);
    const { keys, nexts } = this.#tree.layout();
    return { slots: keys.slice(1).map((key) => (key === "" ? null : (this.#entities.get(key) as Exclude<Entity, Archive>))), nexts, archives };
  }

  /** Fills a new state as `image` told it. */
  restore({ slots, archives }: Pick<Image, "slots" | "archives">): void {
    assert(this.#entities.size === 0, "only a new state is restored");
    for (const entity of [...slots, ...archives]) if (entity !== null) this.#replace(keyOf(entity), entity);
    this.#tree.restore(slots.map((entity) => (entity === null ? "" : keyOf(entity))), (key) => this.#valueHashOf(key) as Uint8Array);
    this.#root = this.#tree.root();
  }

  /** Ends a block: brings the tree up to date. Money must not have come or gone. */
  commit(): Undo {
    this.settle();
    const first = new Map<string, Entity | undefined>();
    for (const { key, before } of this.#journal) if (!first.has(key)) first.set(key, before);
    let gained = 0n;
    for (const [key, before] of first) gained += moneyOf(this.#entities.get(key)) - moneyOf(before);
    assert(gained === 0n, `a block moves money and makes none, but here ${gained} came up`);
    const tree = this.#tree.apply(this.#leafChanges([...first.keys()]));
    const undo = { journal: this.#journal, tree, rootBefore: this.#root, rootAfter: this.#tree.root() };
    this.#journal = [];
    this.#work = 0;
    this.#root = undo.rootAfter;
    return undo;
  }

  revert(undo: Undo): void {
    assert(this.#journal.length === 0, "no block is being applied");
    assert(compareBytes(undo.rootAfter, this.#root) === 0, "blocks are taken back last first");
    for (const { key, before } of undo.journal.toReversed()) this.#replace(key, before);
    this.#tree.undo(undo.tree, this.#leafChanges([...new Set(undo.journal.map(({ key }) => key))]));
    this.#root = this.#tree.root();
    assert(compareBytes(undo.rootBefore, this.#root) === 0, "a block that is taken back leaves nothing");
  }

  /** What the block just committed made of the entities it touched: a second state takes it over with `adopt`. */
  changesOf({ journal }: Undo): Changes {
    return [...new Set(journal.map(({ key }) => key))].map((key) => [key, this.#entities.get(key)]);
  }
  /**
   * Takes over what a block made of another state that was equal to this one, instead of working it out again. The tree's hashes are
   * left for `settle`: who only reads entities and the root, which the block names, needs none of them.
   */
  adopt(changes: Changes, rootBefore: Digest, rootAfter: Digest): void {
    assert(this.#journal.length === 0, "no block is being applied");
    assert(compareBytes(rootBefore, this.#root) === 0, "what is taken over was made of this state");
    for (const [key, after] of changes) this.#replace(key, after);
    const hashed = changes.filter(([key]) => isHashed(key)).toSorted(([a], [b]) => (a < b ? -1 : 1));
    this.#tree.apply(hashed.map(([key, after]) => ({ key, valueHash: after === undefined ? null : UNSETTLED })));
    for (const [key, after] of hashed) {
      if (after === undefined) this.#unsettled.delete(key);
      else this.#unsettled.add(key);
    }
    this.#root = rootAfter;
  }
  /** Brings the tree's hashes up to date after `adopt`: before anything is read from the tree but its layout. */
  settle(): void {
    if (this.#unsettled.size === 0) return;
    this.#tree.apply([...this.#unsettled].map((key) => ({ key, valueHash: this.#valueHashOf(key) })));
    this.#unsettled.clear();
    assert(compareBytes(this.#tree.root(), this.#root) === 0, "blocks that were taken over give the roots that they name");
  }

  /** In the order of the keys, so that slots do not depend on the order of work. */
  #leafChanges(keys: string[]): LeafChange[] {
    return keys.filter(isHashed).sort().map((key) => ({ key, valueHash: this.#valueHashOf(key) }));
  }
  #valueHashOf(key: string): Uint8Array | null {
    const entity = this.#entities.get(key) as Exclude<Entity, Archive> | undefined;
    return entity === undefined ? null : sha256(valueOf(entity));
  }

  #change(key: string, after: Entity | undefined): void {
    const before = this.#entities.get(key);
    this.#journal.push({ key, before });
    // Archives are no part of what is agreed: what they cost must not be either.
    if (isHashed(key)) this.#work += 1 + workOfSegments(before, after);
    this.#replace(key, after);
  }

  #replace(key: string, after: Entity | undefined): void {
    const before = this.#entities.get(key);
    const old = before ? listEntries(before, this.rules) : [];
    const now = after ? listEntries(after, this.rules) : [];
    for (const entry of old) if (!now.includes(entry)) this.#resize(entry, -1);
    for (const entry of now) if (!old.includes(entry)) this.#resize(entry, 1);
    const kind = (after ?? before)?.kind;
    if (kind !== undefined) this.#pots[kind] += moneyOf(after) - moneyOf(before);
    if (after) this.#entities.set(key, after);
    else this.#entities.delete(key);
  }

  #resize(entry: string, by: 1 | -1): void {
    if (by === 1) this.lists.add(entry);
    else this.lists.delete(entry);
    const list = entry.slice(0, 1);
    this.#listSizes.set(list, this.sizeOf(list) + by);
  }
}

/** The lists of a deployment follow from its unpaid segments, 2,048 at most: what is as it was costs nothing again. */
function workOfSegments(before: Entity | undefined, after: Entity | undefined): number {
  if (after?.kind !== "deployment" || (before?.kind === "deployment" && before.escrow.ended === after.escrow.ended)) return 0;
  return Math.floor(after.escrow.ended.length / SEGMENTS_PER_WORK);
}

/** The id and index at the end of a list entry. */
export const parseLease = (rest: string): [Address, number] => [parseId(rest), Number.parseInt(rest.slice(40, 48), 16)];
export const parseId = (rest: string): Address => address(Uint8Array.fromHex(rest.slice(0, 40)));
