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
import { type Parameters, withValues } from "#chain/constants.ts";
import {
  type Account, type Archive, CLOCKS_KEY, type Clocks, type Deployment, type Entity, type Lease, type Machine, PRESENCE_KEY, type Presence, SETS_KEY, type Sets, type Span, TOTALS_KEY, type Totals, type Validator,
  IN_NO_LIST, accountKey, archiveKey, deploymentKey, hex8, isHashed, keyOf, leaseKey, listEntries, machineKey, machineKeyOf, moneyOf, spanKey, validatorKey, valueHashOf, valueOf,
} from "#chain/ledger/model.ts";
import { type DelegationHeld, type LockHeld, type NameHeld, type ProposalHeld, SETTINGS_KEY, type SettingsHeld, delegationKey, lockKey, nameKey, proposalKey } from "#chain/ledger/holdings.ts";
import { type ScalingHeld, scalingKey } from "#chain/ledger/scalingHeld.ts";
import { LOOKUPS_PER_WORK, REVISION_SLOT, SEGMENTS_PER_WORK } from "#chain/ledger/limits.ts";
import { Market } from "#chain/ledger/market.ts";
import { OrderedSet } from "#chain/ledger/ordered.ts";
import { Image } from "#chain/ledger/image.ts";
import { Recent } from "#chain/recent.ts";
import { type Hashed, Rows } from "#chain/ledger/rows.ts";
import { type TaskHeld, taskKey } from "#chain/ledger/taskState.ts";
import { type LeafChange, StateTree, type TreeUndo } from "#chain/ledger/tree.ts";
import { type Address, type Digest, type Hex, address } from "#chain/types.ts";

type JournalEntry = { readonly key: string; readonly before: Entity | undefined };
/** What a block made of one entity; undefined: it was not there, or is gone. */
export type Changed = JournalEntry & { readonly after: Entity | undefined };
/** Takes one block back. Good once, and only while its block is the last one applied. */
export type Undo = { readonly journal: readonly JournalEntry[]; /** Each key once. */ readonly changed: readonly Changed[]; readonly tree: TreeUndo; readonly rootBefore: Digest; readonly rootAfter: Digest };

/** Entities after a block; undefined: gone. */
export type Changes = readonly Pick<Changed, "key" | "after">[];
/** What entities are found by, in order (`listEntries`). */
export type Lists = Pick<OrderedSet, "from" | "first">;

export class State {
  readonly #preset: Parameters;
  #rules: Parameters;
  #settings: SettingsHeld | undefined = undefined;
  readonly #lists = new OrderedSet();
  /** Machines that take leases, in the order of their list, for placement. */
  readonly market: Market = new Market();
  /** Entities as the block that is being applied has left them so far, by key; null: gone. Else they are in their rows. */
  readonly #fresh = new Map<string, Entity | null>();
  readonly #rows = new Rows();
  /** Entities as they lie in the rows, of those looked at lately: finding one takes twenty comparisons, and most are asked for ten times a block. */
  readonly #recent = new Recent<Entity>(ENTITIES_RECENT_MAX);
  readonly #archives = new Map<string, Archive>();
  readonly #listSizes = new Map<string, number>();
  readonly #pots: Record<Entity["kind"], bigint> = { account: 0n, deployment: 0n, lease: 0n, machine: 0n, totals: 0n, validator: 0n, sets: 0n, presence: 0n, span: 0n, clocks: 0n, lock: 0n, delegation: 0n, name: 0n, settings: 0n, proposal: 0n, task: 0n, scaling: 0n, archive: 0n };
  readonly #tree = new StateTree();
  #journal: JournalEntry[] = [];
  #work = 0;
  #root: Digest;

  constructor(rules: Parameters) {
    [this.#preset, this.#rules] = [rules, rules];
    this.#root = this.#tree.root();
  }

  get root(): Digest {
    return this.#root;
  }
  get lists(): Lists {
    return this.#lists;
  }
  entity(key: string): Entity | undefined {
    const fresh = this.#fresh.get(key);
    if (fresh !== undefined) return fresh ?? undefined;
    if (!isHashed(key)) return this.#archives.get(key);
    const recent = this.#recent.get(key);
    if (recent !== undefined) return recent;
    const slot = this.#tree.slotOf(key);
    if (slot < 0) return undefined;
    const entity = this.#rows.get(slot, key);
    if (entity !== undefined) this.#recent.set(key, entity);
    return entity;
  }

  account(id: Address): Account | undefined {
    return this.entity(accountKey(id)) as Account | undefined;
  }
  deployment(id: Address): Deployment | undefined {
    return this.entity(deploymentKey(id)) as Deployment | undefined;
  }
  lease(deploymentId: Address, index: number): Lease | undefined {
    return this.entity(leaseKey(deploymentId, index)) as Lease | undefined;
  }
  machine(id: Address): Machine | undefined {
    return this.entity(machineKey(id)) as Machine | undefined;
  }
  machineNamed(id: Hex): Machine | undefined {
    return this.entity(machineKeyOf(id)) as Machine | undefined;
  }
  archive(deploymentId: Address): Archive | undefined {
    return this.entity(archiveKey(deploymentId)) as Archive | undefined;
  }
  get totals(): Totals {
    return this.entity(TOTALS_KEY) as Totals;
  }
  validator(id: Address): Validator | undefined {
    return this.entity(validatorKey(id)) as Validator | undefined;
  }
  get sets(): Sets {
    return this.entity(SETS_KEY) as Sets;
  }
  get presence(): Presence {
    return this.entity(PRESENCE_KEY) as Presence;
  }
  get clocks(): Clocks {
    return this.entity(CLOCKS_KEY) as Clocks;
  }
  lock(id: Address): LockHeld | undefined {
    return this.entity(lockKey(id)) as LockHeld | undefined;
  }
  proposal(id: Address): ProposalHeld | undefined {
    return this.entity(proposalKey(id)) as ProposalHeld | undefined;
  }
  get settings(): SettingsHeld | undefined {
    return this.entity(SETTINGS_KEY) as SettingsHeld | undefined;
  }
  /** The chain's parameters as they are now: those of its preset, and what votes have changed. */
  get rules(): Parameters {
    const { settings } = this;
    if (settings !== this.#settings) [this.#settings, this.#rules] = [settings, withValues(this.#preset, settings?.values ?? [])];
    return this.#rules;
  }
  named(id: Address): NameHeld | undefined {
    return this.entity(nameKey(id)) as NameHeld | undefined;
  }
  task(deploymentId: Address): TaskHeld | undefined {
    return this.entity(taskKey(deploymentId)) as TaskHeld | undefined;
  }
  scaling(deploymentId: Address): ScalingHeld | undefined {
    return this.entity(scalingKey(deploymentId)) as ScalingHeld | undefined;
  }
  delegation(id: Address): DelegationHeld | undefined {
    return this.entity(delegationKey(id)) as DelegationHeld | undefined;
  }
  /** The set of an epoch that is over; undefined when it is forgotten, or is not over. */
  spanOf(epoch: number): Span | undefined {
    const entry = this.lists.from(`e${hex8(epoch)}`, "e").next().value;
    const span = entry ? (this.entity(spanKey(Number.parseInt(entry.slice(9), 16))) as Span) : undefined;
    return span && span.first <= epoch ? span : undefined;
  }
  /** All entities between two blocks, in no order that means anything: for sums and copies only. */
  *entities(): Generator<Entity, void> {
    const { slots, archives } = this.image();
    for (const entity of slots) if (entity !== null) yield entity;
    yield* archives;
  }

  get entityCount(): number {
    return this.#tree.size + this.#archives.size;
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
  /** Leases that move to a machine, or left it just now, and that it holds beside. */
  leasesBeside(machine: Address): Lease[] {
    return this.listed(`h${machine.toHex()}`).map((rest) => this.lease(...parseLease(rest)) as Lease);
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
      this.#replace(key, this.entity(key), before);
    }
  }

  /** That a key has its value, or that it is not there; of the state between two blocks. */
  prove(key: string): Proof {
    const entity = this.entity(key) as Exclude<Entity, Archive> | undefined;
    return { ...this.#tree.prove(key), value: entity === undefined ? null : valueOf(entity) };
  }

  /** Ends the making of the first state: it can be money out of nothing, and nothing takes it back. */
  begin(): void {
    this.#take([...new Set(this.#journal.map(({ key }) => key))], (leaves, took) => this.#tree.apply(leaves, took));
    this.#journal = [];
    this.#root = this.#tree.root();
  }

  /** All of it between two blocks, to be written down while others follow (snapshot.ts). */
  image(): Image {
    assert(this.#journal.length === 0, "no block is being applied");
    return new Image(this.#tree.layout(), this.#rows.copy(), [...this.#archives.values()]);
  }

  /** Fills a new state: what is in each slot from 1, null where it is free. */
  restore(slots: Iterable<Hashed | null>, archives: Iterable<Archive>): void {
    assert(this.#tree.size === 0, "only a new state is restored");
    const { rows, list } = { rows: this.#rows, list: (entity: Entity) => this.#list(undefined, entity) };
    let slot = 0;
    this.#tree.restore((function* leaves(): Generator<LeafChange | null> {
      for (const entity of slots) {
        slot++;
        if (entity !== null) {
          rows.set(slot, entity);
          list(entity);
        }
        yield entity === null ? null : { key: keyOf(entity), valueHash: valueHashOf(entity) };
      }
    })());
    this.#root = this.#tree.root();
    this.restoreArchives(archives);
  }
  /** Those are no part of the root. */
  restoreArchives(archives: Iterable<Archive>): void {
    for (const archive of archives) {
      this.#list(undefined, archive);
      this.#archives.set(keyOf(archive), archive);
    }
  }

  /** Ends a block: brings the tree up to date. Money must not have come or gone. */
  commit(): Undo {
    const first = new Map<string, Entity | undefined>();
    for (const { key, before } of this.#journal) if (!first.has(key)) first.set(key, before);
    let gained = 0n;
    const changed: Changed[] = [];
    for (const [key, before] of first) {
      const after = this.entity(key);
      changed.push({ key, before, after });
      if (after !== before) gained += moneyOf(after) - moneyOf(before);
    }
    assert(gained === 0n, `a block moves money and makes none, but here ${gained} came up`);
    // What is again the very entity that it was has its leaf already.
    const tree = this.#take(changed.filter(({ before, after }) => before !== after).map(({ key }) => key), (leaves, took) => this.#tree.apply(leaves, took));
    const undo = { journal: this.#journal, changed, tree, rootBefore: this.#root, rootAfter: this.#tree.root() };
    this.#journal = [];
    this.#work = 0;
    this.#root = undo.rootAfter;
    return undo;
  }

  revert(undo: Undo): void {
    assert(this.#journal.length === 0, "no block is being applied");
    assert(compareBytes(undo.rootAfter, this.#root) === 0, "blocks are taken back last first");
    for (const { key, before } of undo.journal.toReversed()) this.#replace(key, this.entity(key), before);
    this.#take(undo.changed.map(({ key }) => key), (leaves, took) => this.#tree.undo(undo.tree, leaves, took));
    this.#root = this.#tree.root();
    assert(compareBytes(undo.rootBefore, this.#root) === 0, "a block that is taken back leaves nothing");
  }
  /** A block that was taken back once more, without working it out again; its `undo` stays good. */
  redo(undo: Undo, changes: Changes): void {
    assert(this.#journal.length === 0, "no block is being applied");
    assert(compareBytes(undo.rootBefore, this.#root) === 0, "a block comes again on the state that it was applied to");
    for (const { key, after } of changes) this.#replace(key, this.entity(key), after);
    this.#take(changes.map(({ key }) => key), (leaves, took) => this.#tree.apply(leaves, took));
    this.#root = this.#tree.root();
    assert(compareBytes(undo.rootAfter, this.#root) === 0, "and gives the same root");
  }

  /** What the block just committed made of the entities it touched. */
  changesOf({ changed }: Undo): Changes {
    return changed;
  }

  /** Brings tree and rows to what is fresh. */
  #take<T>(keys: string[], change: (leaves: LeafChange[], took: (key: string, slot: number) => void) => T): T {
    // Before the tree gives the slot to another.
    for (const [key, entity] of this.#fresh) {
      const slot = entity === null && isHashed(key) ? this.#tree.slotOf(key) : -1;
      if (slot >= 0) this.#rows.clear(slot);
    }
    const result = change(this.#leafChanges(keys), (key, slot) => this.#rows.set(slot, this.#fresh.get(key) as Hashed));
    for (const [key, entity] of this.#fresh) {
      if (entity === null) {
        this.#archives.delete(key);
        this.#recent.delete(key);
      } else if (entity.kind === "archive") this.#archives.set(key, entity);
      else this.#recent.set(key, entity);
    }
    this.#fresh.clear();
    return result;
  }

  /** In the order of the keys, so that slots do not depend on the order of work. */
  #leafChanges(keys: string[]): LeafChange[] {
    return keys.filter(isHashed).sort().map((key): LeafChange => ({ key, valueHash: this.#valueHashOf(key) }));
  }
  #valueHashOf(key: string): Hex | null {
    const entity = this.entity(key) as Exclude<Entity, Archive> | undefined;
    return entity === undefined ? null : valueHashOf(entity);
  }

  #change(key: string, after: Entity | undefined): void {
    const before = this.entity(key);
    this.#journal.push({ key, before });
    // Archives are no part of what is agreed: what they cost must not be either.
    if (isHashed(key)) this.#work += 1 + workOfSegments(before, after);
    this.#replace(key, before, after);
  }

  #replace(key: string, before: Entity | undefined, after: Entity | undefined): void {
    this.#list(before, after);
    this.#fresh.set(key, after ?? null);
  }

  #list(before: Entity | undefined, after: Entity | undefined): void {
    const kind = (after ?? before)?.kind;
    if (kind === undefined) return;
    if (kind === "machine") this.market.note(before as Machine | undefined, after as Machine | undefined);
    if (!IN_NO_LIST.has(kind)) {
      const old = before ? listEntries(before, this.#preset) : [];
      const now = after ? listEntries(after, this.#preset) : [];
      for (const entry of old) if (!now.includes(entry)) this.#resize(entry, -1);
      for (const entry of now) if (!old.includes(entry)) this.#resize(entry, 1);
    }
    const [held, holds] = [moneyOf(before), moneyOf(after)];
    if (held !== holds) this.#pots[kind] += holds - held;
  }

  #resize(entry: string, by: 1 | -1): void {
    if (by === 1) this.#lists.add(entry);
    else this.#lists.delete(entry);
    const list = entry.slice(0, 1);
    this.#listSizes.set(list, this.sizeOf(list) + by);
  }
}

/** Twice as many as a block of transfers touches; 400 bytes each. */
const ENTITIES_RECENT_MAX = 4_096;

/** The lists of a deployment follow from its unpaid segments, 2,048 at most: what is as it was costs nothing again. */
function workOfSegments(before: Entity | undefined, after: Entity | undefined): number {
  if (after?.kind !== "deployment" || (before?.kind === "deployment" && before.escrow.ended === after.escrow.ended)) return 0;
  return Math.floor(after.escrow.ended.length / SEGMENTS_PER_WORK);
}

/** The id and index at the end of a list entry. */
export const parseLease = (rest: string): [Address, number] => [parseId(rest), Number.parseInt(rest.slice(40, 48), 16)];
export const parseId = (rest: string): Address => address(Uint8Array.fromHex(rest.slice(0, 40)));
