import assert from "node:assert/strict";
import test from "node:test";
import { type Operation, deploymentIdOf } from "#chain/codec/transaction.ts";
import type { LeaseView } from "#chain/ledger/view.ts";
import { hex } from "#chain/types.ts";
import { actor } from "#tests/ledger/world.ts";
import { LEAVING_QUIET_MS, RETRY_MS_MAX } from "./limits.ts";
import { QuietLeases } from "./quiet.ts";
import { besideOf } from "./supervisor/plan.ts";

const deploymentId = deploymentIdOf(actor(1).id, 0n, 0);
const id = hex(deploymentId);
const other = deploymentIdOf(actor(1).id, 1n, 0);
type State = LeaseView["state"];

function stage(t: test.TestContext): { leases: [number, State, typeof deploymentId?][]; usage: Record<string, { requests: number; running: number; waiting: number }>; sent: Operation[]; look: (elapsedMs: number) => Promise<void> } {
  const it = { leases: [[0, "leaving"]] as [number, State, typeof deploymentId?][], usage: { [id]: { requests: 5, running: 0, waiting: 0 } } as Record<string, { requests: number; running: number; waiting: number }>, sent: [] as Operation[] };
  let nowMs = 0;
  const quiet = new QuietLeases({
    view: () => ({ leasesOfMachine: () => it.leases.map(([index, state, of = deploymentId]) => ({ deploymentId: of, index, state }) as LeaseView) }),
    machine: actor(2).id, usage: async () => it.usage, submit: async (operation) => void it.sent.push(operation), nowMs: () => nowMs,
  });
  t.after(() => quiet.stop());
  return { ...it, get leases() { return it.leases; }, set leases(leases) { it.leases = leases; }, look: async (elapsedMs) => {
    nowMs += elapsedMs;
    await quiet.look();
  } };
}

test("what moved away is given up when nobody asked for it for two seconds, and said once", async (t) => {
  const it = stage(t);
  await it.look(0);
  await it.look(LEAVING_QUIET_MS - 1);
  assert.deepEqual(it.sent, []);
  await it.look(1);
  await it.look(1);
  assert.deepEqual(it.sent, [{ kind: "left", deploymentId, index: 0 }]);
  await it.look(RETRY_MS_MAX);
  assert.equal(it.sent.length, 2, "one that was lost is said again");
});

test("a request, or one that still runs or waits, begins the two seconds anew; a revision beside counts as well", async (t) => {
  const it = stage(t);
  await it.look(0);
  it.usage[id] = { requests: 6, running: 0, waiting: 0 };
  await it.look(LEAVING_QUIET_MS);
  it.usage[id] = { requests: 6, running: 1, waiting: 0 };
  await it.look(LEAVING_QUIET_MS);
  it.usage[id] = { requests: 6, running: 0, waiting: 1 };
  await it.look(LEAVING_QUIET_MS);
  it.usage[id] = { requests: 6, running: 0, waiting: 0 };
  it.usage[besideOf(id)] = { requests: 1, running: 0, waiting: 0 };
  await it.look(LEAVING_QUIET_MS);
  assert.deepEqual(it.sent, []);
  await it.look(LEAVING_QUIET_MS);
  assert.equal(it.sent.length, 1);
});

test("where another replica of the deployment stays, the one that moved away waits for nobody", async (t) => {
  const it = stage(t);
  it.leases = [[0, "leaving"], [1, "ready"]];
  await it.look(0);
  assert.deepEqual(it.sent, [{ kind: "left", deploymentId, index: 0 }]);
});

test("a lease that comes again and goes again is as quiet as it is then, whatever else is going all the while", async (t) => {
  const it = stage(t);
  const busy: [number, State, typeof deploymentId] = [0, "leaving", other];
  it.usage[hex(other)] = { requests: 0, running: 1, waiting: 0 };
  it.leases = [[0, "leaving"], busy];
  await it.look(0);
  await it.look(LEAVING_QUIET_MS);
  it.leases = [busy];
  await it.look(1_000);
  it.leases = [[0, "leaving"], busy];
  await it.look(1_000);
  assert.equal(it.sent.length, 1, "not before it was quiet again");
  await it.look(LEAVING_QUIET_MS);
  assert.equal(it.sent.length, 2);
});
