import assert from "node:assert/strict";
import test from "node:test";
import type { Operation } from "#chain/codec/transaction.ts";
import type { LeaseView, MachineView } from "#chain/ledger/view.ts";
import { hex } from "#chain/types.ts";
import { type FakeNode, accountOf, fakeNode } from "#tests/os/fakeNode.ts";
import { codeOf } from "./error.ts";
import { handLeasesOver } from "./leaving.ts";

const SELF = accountOf(3);
const leaseHere = (state: string): LeaseView => ({ machine: SELF, state }) as LeaseView;

function stage(machines: readonly number[], leases: readonly LeaseView[]): { node: FakeNode; sent: Operation[]; submit: (operation: Operation) => Promise<void> } {
  const node = fakeNode(1_000_000);
  for (const n of machines) node.machineMap.set(hex(accountOf(n)), { id: accountOf(n), state: "up", draining: false } as MachineView);
  node.leases.push(...leases);
  const sent: Operation[] = [];
  return { node, sent, submit: async (operation) => void sent.push(operation) };
}

test("a machine that goes says so on the chain, and waits until other machines have its leases", async () => {
  const { node, sent, submit } = stage([3, 4], [leaseHere("ready"), leaseHere("leaving"), leaseHere("ready")]);
  let isDone = false;
  const handed = handLeasesOver({ node, machine: SELF, submit }).finally(() => (isDone = true));
  await new Promise(setImmediate);
  assert.deepEqual(sent, [{ kind: "drain", machine: SELF, draining: 1 }]);
  node.leases[0] = leaseHere("leaving");
  for (const listener of node.finalListeners) listener();
  await new Promise(setImmediate);
  assert.equal(isDone, false, "one is still here");
  node.leases[2] = leaseHere("leaving");
  for (const listener of node.finalListeners) listener();
  assert.deepEqual(await handed, { before: 2, left: 0 });
  assert.equal(node.finalListeners.size, 0);
});

test("it does not wait where there is nothing to hand over or nobody to take it, and not for ever", async () => {
  const nothing = stage([3, 4], [leaseHere("leaving")]);
  assert.deepEqual(await handLeasesOver({ ...nothing, machine: SELF }), { before: 0, left: 0 });
  const alone = stage([3], [leaseHere("ready")]);
  assert.deepEqual(await handLeasesOver({ ...alone, machine: SELF }), { before: 1, left: 1 });
  assert.deepEqual([...nothing.sent, ...alone.sent], []);
  const stuck = stage([3, 4], [leaseHere("ready")]);
  assert.deepEqual(await handLeasesOver({ ...stuck, machine: SELF, timeoutMs: 20 }), { before: 1, left: 1 });
  await assert.rejects(handLeasesOver({ ...stuck, machine: SELF, submit: async () => { throw Object.assign(new Error("no"), { code: "machine_unknown" }); } }), (error) => codeOf(error) === "machine_unknown");
});
