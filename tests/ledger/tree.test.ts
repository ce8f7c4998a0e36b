/** The state tree and the ordered set under it, against models of a few lines. */
import assert from "node:assert";
import { test } from "node:test";
import { hashWithDomain, sha256 } from "#chain/crypto.ts";
import { OrderedSet } from "#chain/ledger/ordered.ts";
import { KEY_BYTES } from "#chain/codec/proof.ts";
import { type LeafChange, StateTree } from "#chain/ledger/tree.ts";
import { type Hex, hex } from "#chain/types.ts";
import { random } from "./world.ts";

const key = (n: number): string => (n + 1).toString(16).padStart(KEY_BYTES * 2, "0");
const value = (n: number): Hex => hex(sha256(new TextEncoder().encode(`value ${n}`)));

/** The root by the definition, from slots as a list of [key, valueHash] or null. */
function rootByDefinition(slots: readonly (readonly [string, Hex] | null)[]): string {
  const head = "00".repeat(KEY_BYTES);
  const keys = slots.filter((slot) => slot !== null).map(([each]) => each).sort();
  const leafOf = (each: string, hash: string): Uint8Array => {
    const next = each === head ? keys[0] : keys[keys.indexOf(each) + 1];
    return hashWithDomain("leaf", Uint8Array.fromHex(each + (next ?? head) + hash));
  };
  let level: Uint8Array[] = [leafOf(head, "00".repeat(32)), ...slots.map((slot) => (slot === null ? new Uint8Array(32) : leafOf(...slot)))];
  let depth = 0;
  for (; 1 << depth < level.length; depth++);
  while (level.length < 1 << depth) level.push(new Uint8Array(32));
  while (level.length > 1) level = Array.from({ length: level.length / 2 }, (_, i) => hashWithDomain("node", Uint8Array.fromHex(level[2 * i]!.toHex() + level[2 * i + 1]!.toHex())));
  return hashWithDomain("state", Uint8Array.of(depth, ...level[0]!)).toHex();
}

test("the root is what the definition says, through insertion, change, removal and slots that are taken again, the lowest first", () => {
  const tree = new StateTree();
  const slots: ([string, Hex] | null)[] = [];
  const r = random(5);
  for (let k = 0; k < 60; k++) {
    const n = r.int(20);
    const at = slots.findIndex((slot) => slot?.[0] === key(n));
    if (at >= 0 && r.int(2) === 0) {
      tree.apply([{ key: key(n), valueHash: null }]);
      slots[at] = null;
    } else {
      tree.apply([{ key: key(n), valueHash: value(k) }]);
      slots[at >= 0 ? at : slots.includes(null) ? slots.indexOf(null) : slots.length] = [key(n), value(k)];
    }
    assert.strictEqual(tree.root().toHex(), rootByDefinition(slots), `step ${k}`);
  }
});

test("undo(apply(tree)) is the tree: 60 histories of batches, taken back one after the other, across growth", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const r = random(seed);
    const tree = new StateTree();
    const held = new Map<string, Hex>();
    const batches: { undo: ReturnType<StateTree["apply"]>; before: LeafChange[]; root: string }[] = [];
    for (let k = 0; k < 8; k++) {
      const keys = [...new Set(Array.from({ length: r.int(60) }, () => key(r.int(300))))].sort();
      const changes = keys.map((each): LeafChange => ({ key: each, valueHash: r.int(3) === 0 ? null : value(r.int(1e6)) }));
      const before = keys.map((each): LeafChange => ({ key: each, valueHash: held.get(each) ?? null }));
      const root = tree.root().toHex();
      batches.push({ undo: tree.apply(changes), before, root });
      for (const { key: each, valueHash } of changes) if (valueHash) held.set(each, valueHash); else held.delete(each);
      tree.root();
      assert.strictEqual(tree.size, held.size);
    }
    for (const { undo, before, root } of batches.toReversed()) {
      tree.undo(undo, before);
      assert.strictEqual(tree.root().toHex(), root, `seed ${seed}`);
    }
    assert.strictEqual(tree.root().toHex(), new StateTree().root().toHex());
  }
});

test("the set is in order whatever the order of work, and finds what is before, from and under a prefix", () => {
  const r = random(9);
  const set = new OrderedSet();
  const model = new Set<string>();
  for (let k = 0; k < 6000; k++) {
    const item = r.int(3000).toString(16).padStart(4, "0");
    if (model.has(item)) { set.delete(item); model.delete(item); }
    else { set.add(item); model.add(item); }
  }
  const sorted = [...model].sort();
  assert.deepStrictEqual([...set.from("")], sorted);
  assert.strictEqual(set.size, sorted.length);
  for (let k = 0; k < 500; k++) {
    const probe = r.int(3000).toString(16).padStart(4, "0");
    assert.strictEqual(set.has(probe), model.has(probe));
    assert.strictEqual(set.before(probe), sorted.findLast((item) => item < probe));
    assert.deepStrictEqual([...set.from(probe, probe.slice(0, 2))], sorted.filter((item) => item >= probe && item.startsWith(probe.slice(0, 2))));
  }
  assert.strictEqual(set.first("ffff"), undefined);
  assert.throws(() => set.add(sorted[0]!));
  assert.throws(() => set.delete("zzzz"));
});
