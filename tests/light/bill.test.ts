/** A bill on nobody's word: its lines against the leaf of its deployment, to the unit; and each lie in it is found. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Cbor, decode } from "#chain/codec/cbor.ts";
import { deploymentIdOf } from "#chain/codec/transaction.ts";
import { SEGMENTS_ARCHIVED_MAX } from "#chain/ledger/limits.ts";
import { valueOf } from "#chain/ledger/model.ts";
import { imageOf, ledgerFrom } from "#chain/ledger/snapshot.ts";
import { type LedgerView, viewOf } from "#chain/ledger/view.ts";
import { type ProvenBill, proveBill } from "#chain/light/bill.ts";
import type { Ledger } from "#chain/ledger/ledger.ts";
import { type Refusal, digest } from "#chain/types.ts";
import { World, actor, deployment } from "#tests/ledger/world.ts";

const id = deploymentIdOf(actor(1).id, 0n, 0);
const tenant = actor(1);

/** Two replicas on two machines, one resized again and again so that lines are paid, not paid, and running. */
function played(resizes: number): World {
  const world = new World();
  const machines = [world.machine(1, actor(2)), world.machine(2, actor(3))];
  world.block();
  world.send(tenant, [deployment("hello", { replicas: 2, deposit: 10n ** 11n })]);
  world.block();
  world.ready(...machines);
  world.block();
  for (let n = 0; n < resizes; n++) {
    world.send(tenant, [{ kind: "resize", deploymentId: id, memoryMib: 65 + (n % 2), cpuMillis: 100 }]);
    if (n % 3 === 0) world.send(actor(2), [{ kind: "claim", deploymentId: id, index: 0 }]);
    world.block(1 + (n % 3));
  }
  return world;
}
type Bill = NonNullable<ReturnType<LedgerView["bill"]>>;
type Claimed = Pick<Bill, "segments" | "earlier">;
const leafOf = (ledger: Ledger): readonly Cbor[] => decode(valueOf(ledger.state.deployment(id)!)) as readonly Cbor[];
const prove = (ledger: Ledger, at: bigint, { segments, earlier }: Claimed): { readonly ok: true; readonly bill: ProvenBill } | Refusal => proveBill(leafOf(ledger), at, { lines: segments, before: earlier.digest });

test("the lines of a bill are proven from the leaf of its deployment and add up to what the ledger paid and owes, to the unit", () => {
  for (const resizes of [0, 1, 7, SEGMENTS_ARCHIVED_MAX]) {
    const world = played(resizes);
    const bill = world.view.bill(id, world.second)!;
    const proven = prove(world.ledger, world.second, bill);
    assert(proven.ok, JSON.stringify(proven.ok ? "" : proven.message));
    const { lines, earlier, total, paid } = proven.bill;
    assert.equal(lines.reduce((sum, { amount }) => sum + amount, earlier), total);
    assert.deepEqual([total, paid, earlier], [bill.total, bill.paid, bill.earlier.amount]);
    assert.equal(earlier > 0n, resizes === SEGMENTS_ARCHIVED_MAX, "older lines are summed up only where there are more than are kept");
    assert(resizes === 0 || new Set(lines.map(({ end, isPaid }) => (end === null ? "running" : isPaid ? "paid" : "ended"))).size >= 2);
  }
});

test("each lie in a bill is found: a line that is left out, invented, longer, dearer, elsewhere, another's, out of its place, or summed up where none was", () => {
  const world = played(9);
  const bill = world.view.bill(id, world.second)!;
  const lies: [string, Claimed][] = bill.segments.flatMap((line, at): [string, Claimed][] => {
    const withLine = (changes: Partial<typeof line>): Claimed => ({ ...bill, segments: bill.segments.with(at, { ...line, ...changes }) });
    return [
      ["left out", { ...bill, segments: bill.segments.toSpliced(at, 1) }],
      ["twice", { ...bill, segments: bill.segments.toSpliced(at, 0, line) }],
      ["dearer", withLine({ rate: line.rate + 1n })],
      ["earlier", withLine({ openedAt: line.openedAt - 1n })],
      ["elsewhere", withLine({ machine: actor(77).id })],
      ["another's", withLine({ operator: actor(77).id })],
      ["of another replica", withLine({ index: line.index + 2 })],
      ...(line.end === null ? [] : [["longer", withLine({ end: line.end + 1n })] as [string, Claimed], ["of another state", withLine({ isPaid: !line.isPaid })] as [string, Claimed]]),
      ["running, or not", withLine({ end: line.end === null ? world.second : null, place: line.place === null ? 99 : null })],
    ];
  });
  lies.push(["begins elsewhere", { ...bill, earlier: { ...bill.earlier, digest: digest(new Uint8Array(32).fill(1)) } }]);
  const paid = bill.segments.filter(({ isPaid }) => isPaid);
  assert(paid.length >= 2);
  lies.push(["another order", { ...bill, segments: bill.segments.map((line) => (line === paid[0] ? { ...line, place: paid[1]!.place } : line === paid[1] ? { ...line, place: paid[0]!.place } : line)) }]);
  for (const [name, lie] of lies) assert.deepEqual([name, prove(world.ledger, world.second, lie).ok], [name, false]);
  assert.equal(prove(world.ledger, world.second, bill).ok, true);
});

test("where older lines are summed up, a paid line is not made longer at their cost: one without an end, or one said to run, is found", () => {
  const world = played(SEGMENTS_ARCHIVED_MAX);
  const bill = world.view.bill(id, world.second)!;
  const at = bill.segments.findLastIndex(({ isPaid }) => isPaid);
  const line = bill.segments[at]!;
  for (const changes of [{ end: null }, { end: null, place: null }, { place: null }]) {
    const lie = { ...bill, segments: bill.segments.with(at, { ...line, paidUntil: line.end!, ...changes }) };
    assert.deepEqual([changes, prove(world.ledger, world.second, lie).ok], [changes, false]);
  }
});

test("a machine that joined with a snapshot knows what was paid before, if not for which lines, and its bill is proven too", () => {
  const world = played(12);
  const { slots } = imageOf(world.ledger);
  const joined = ledgerFrom(world.genesis, { slots });
  const [whole, part] = [world.view.bill(id, world.second)!, viewOf(joined).bill(id, world.second)!];
  assert(part.segments.length < whole.segments.length && part.since > 0n);
  assert.deepEqual([part.total, part.paid], [whole.total, whole.paid]);
  const proven = prove(joined, world.second, part);
  assert(proven.ok && proven.bill.earlier > 0n);
});
