/**
 * A state some blocks behind another: what everybody outside reads while later blocks are speculative. It holds only what those
 * blocks have changed; the rest, and the lists, it reads from the state ahead.
 *
 *     ahead     final ── a ── b          `passed` a block of the state ahead · `takenBack` the last of them · `reached` the first
 *     behind    ▲ holds what a and b found
 *
 * Invariant: with no block between the two, it holds nothing.
 */
import assert from "node:assert";
import { compareBytes } from "#chain/codec/envelope.ts";
import { type Entity, keyOf, listEntries, moneyOf } from "#chain/ledger/model.ts";
import { OrderedSet } from "#chain/ledger/ordered.ts";
import { type Changes, type Lists, State, type Undo } from "#chain/ledger/state.ts";
import type { Digest } from "#chain/types.ts";

/** `blocks`: how many of those between the two have changed it. */
type Held = { readonly entity: Entity | undefined; readonly blocks: number };

export class StateBehind extends State {
  readonly #ahead: State;
  readonly #held = new Map<string, Held>();
  #rootHere: Digest;
  /** Made of what is held when somebody reads lists. */
  #listsHere: { readonly added: OrderedSet; readonly removed: ReadonlySet<string> } | null = null;

  constructor(ahead: State) {
    super(ahead.rules);
    this.#ahead = ahead;
    this.#rootHere = ahead.root;
  }

  /** The state ahead has applied a block. */
  passed({ changed }: Undo): void {
    for (const { key, before } of changed) {
      const held = this.#held.get(key);
      this.#hold(key, held ? held.entity : before, (held?.blocks ?? 0) + 1);
    }
  }
  /** The state ahead has taken its last block back. */
  takenBack({ changed }: Undo): void {
    for (const { key } of changed) {
      const held = this.#held.get(key) as Held;
      this.#hold(key, held.entity, held.blocks - 1);
    }
  }
  /** This state is now where the first of the blocks between has left it. */
  reached(changes: Changes, { rootBefore, rootAfter }: Undo): void {
    assert(compareBytes(rootBefore, this.#rootHere) === 0, "blocks are reached in order");
    for (const { key, after } of changes) this.#hold(key, after, (this.#held.get(key) as Held).blocks - 1);
    this.#rootHere = rootAfter;
  }

  override get root(): Digest {
    return this.#rootHere;
  }
  override entity(key: string): Entity | undefined {
    const held = this.#held.get(key);
    return held ? held.entity : this.#ahead.entity(key);
  }
  override get lists(): Lists {
    if (this.#held.size === 0) return this.#ahead.lists;
    const { added, removed } = (this.#listsHere ??= this.#differences());
    const { lists } = this.#ahead;
    const from = (start: string, prefix: string = ""): Generator<string, void> => merged(lists.from(start, prefix), removed, added.from(start, prefix));
    return { from, first: (prefix) => from(prefix, prefix).next().value ?? undefined };
  }
  override sizeOf(list: string): number {
    let size = this.#ahead.sizeOf(list);
    for (const { entity, ahead } of this.#both()) for (const [one, by] of [[entity, 1], [ahead, -1]] as const) if (one) size += by * listEntries(one, this.rules).filter((entry) => entry.startsWith(list)).length;
    return size;
  }
  override potOf(kind: Entity["kind"]): bigint {
    let pot = this.#ahead.potOf(kind);
    for (const { entity, ahead } of this.#both()) if ((entity ?? ahead)?.kind === kind) pot += moneyOf(entity) - moneyOf(ahead);
    return pot;
  }
  override get entityCount(): number {
    let count = this.#ahead.entityCount;
    for (const { entity, ahead } of this.#both()) count += (entity === undefined ? 0 : 1) - (ahead === undefined ? 0 : 1);
    return count;
  }
  override *entities(): Generator<Entity, void> {
    for (const { entity } of this.#held.values()) if (entity) yield entity;
    for (const entity of this.#ahead.entities()) if (!this.#held.has(keyOf(entity))) yield entity;
  }
  override put(): never {
    throw new Error("A state that is behind another is only read");
  }
  override remove(): never {
    throw new Error("A state that is behind another is only read");
  }

  #hold(key: string, entity: Entity | undefined, blocks: number): void {
    this.#listsHere = null;
    if (blocks > 0) this.#held.set(key, { entity, blocks });
    else this.#held.delete(key);
  }
  *#both(): Generator<{ readonly entity: Entity | undefined; readonly ahead: Entity | undefined }, void> {
    for (const [key, { entity }] of this.#held) yield { entity, ahead: this.#ahead.entity(key) };
  }
  #differences(): { readonly added: OrderedSet; readonly removed: ReadonlySet<string> } {
    const added = new OrderedSet();
    const removed = new Set<string>();
    for (const { entity, ahead } of this.#both()) {
      const [here, there] = [entity, ahead].map((one) => (one ? listEntries(one, this.rules) : [])) as [readonly string[], readonly string[]];
      for (const entry of here) if (!there.includes(entry)) added.add(entry);
      for (const entry of there) if (!here.includes(entry)) removed.add(entry);
    }
    return { added, removed };
  }
}

/** Both in order; an entry that one entity loses another never gains, as its id is in it. */
function* merged(ahead: Generator<string, void>, removed: ReadonlySet<string>, added: Generator<string, void>): Generator<string, void> {
  let next = added.next();
  for (const entry of ahead) {
    for (; !next.done && next.value < entry; next = added.next()) yield next.value;
    if (!removed.has(entry)) yield entry;
  }
  if (!next.done) yield next.value;
  yield* added;
}
