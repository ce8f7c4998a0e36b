/** Who gets a configuration from other machines: real stores and the real exchange, in a network in memory, on a ledger that the test writes. */
import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { publicKeyOf, sha256 } from "#chain/crypto.ts";
import type { DeploymentView, MachineView } from "#chain/ledger/view.ts";
import { MemoryNetwork } from "#chain/network/memory.ts";
import { peerId } from "#chain/network/transport.ts";
import { type Digest, type Hex, hex } from "#chain/types.ts";
import { BlobStore } from "#os/blobs.ts";
import { SETTINGS_DEFAULT, encodeConfiguration } from "#os/configuration.ts";
import { type Exchange, openExchange } from "#os/exchange.ts";
import { Naming } from "#os/supervisor/naming.ts";
import { accountOf, fakeNode, idOf, seedOf } from "./fakeNode.ts";
import { temporaryFolder } from "./stage.ts";

const [OWNER, THIEF] = [7, 8];
const [HOLDER, ALLOWED, STOLEN] = [21, 22, 23];
const secret = encodeConfiguration(accountOf(OWNER), { ...SETTINGS_DEFAULT, environment: { TOKEN: "of the owner" } })!;
const component = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1);
const [secretDigest, componentDigest] = [sha256(secret), sha256(component)];

const deployment = (n: number, owner: number, on: number, names: { component?: Digest; configuration?: Digest | null }): DeploymentView => ({
  id: idOf(n), owner: accountOf(owner), name: `d${n}`, state: "active", componentDigest: names.component ?? componentDigest, configurationDigest: names.configuration ?? null, memoryMib: 64, cpuMillis: 250,
  concurrency: 4, replicas: 1, isolation: 0, rateMax: 0n, createdHeight: 2, lastFailure: "", failedMachines: [], revision: 1, rollout: null, history: [], rolledBack: "",
  constraints: { regions: [], operators: [accountOf(on)], labels: [] },
});
const machineOf = (n: number): MachineView => ({
  id: accountOf(n), key: publicKeyOf(seedOf(n)), operator: accountOf(n), state: "up", bootId: new Uint8Array(16), memoryMib: 1000, cpuMillis: 2000, memoryMibUsed: 64, cpuMillisUsed: 250, leases: 1,
  pricePerGibSecond: 1n, pricePerCoreSecond: 2n, region: "local", bond: 5n, strikes: 0, placeableFrom: 0n, draining: false, labels: [],
});

type Seat = { readonly blobs: BlobStore; readonly exchange: Exchange };
/** Machines of three operators; the owner's deployment may run on two of them, and has a lease on each. */
async function stage(t: TestContext): Promise<{ holder: Seat; allowed: Seat; thief: Seat; add: (view: DeploymentView, machine: number) => void }> {
  const node = fakeNode(Date.now());
  const network = new MemoryNetwork();
  for (const n of [HOLDER, ALLOWED, STOLEN]) node.machineMap.set(hex(accountOf(n)), machineOf(n));
  const namings: Naming[] = [];
  const add = (view: DeploymentView, machine: number): void => {
    node.deploymentMap.set(hex(view.id), view);
    node.leases.push({ deploymentId: view.id, index: 0, state: "placed", machine: accountOf(machine), rate: 1n, standbyRate: null, placedAt: 4n, readyBy: 34n, lastEnd: "", revision: 1, unhealthyFrom: null, next: null, last: null });
    for (const naming of namings) naming.turn([{ kind: "deployed" }]);
  };
  const seat = async (n: number): Promise<Seat> => {
    const blobs = await BlobStore.open({ directory: temporaryFolder(t), named: () => new Set(), now: Date.now, onChange: () => {}, compile: async (_component, digest) => ({ digest, path: "/nowhere", cached: false }) });
    const naming = new Naming(() => node.view(), accountOf(n));
    namings.push(naming);
    const exchange = openExchange({ node, blobs, machine: accountOf(n), naming, transport: network.join(peerId(publicKeyOf(seedOf(n))), publicKeyOf(seedOf(n))) });
    t.after(() => exchange.stop());
    return { blobs, exchange };
  };
  const [holder, allowed, thief] = [await seat(HOLDER), await seat(ALLOWED), await seat(STOLEN)];
  add(deployment(1, OWNER, HOLDER, { configuration: secretDigest }), HOLDER);
  add(deployment(2, OWNER, ALLOWED, { configuration: secretDigest }), ALLOWED);
  await holder.blobs.put("configuration", hex(secretDigest), accountOf(OWNER), secret);
  await holder.blobs.put("component", hex(componentDigest), accountOf(OWNER), component);
  return { holder, allowed, thief, add };
}

test("a configuration goes to machines that run or keep its owner's deployments, and to no other: not to one that runs a deployment of a stranger who names it, as what it is or as a component", async (t) => {
  const { allowed, thief, add } = await stage(t);
  add(deployment(3, THIEF, STOLEN, { configuration: secretDigest }), STOLEN);
  add(deployment(4, THIEF, STOLEN, { component: secretDigest }), STOLEN);
  const steal = (from: Seat): Promise<void> => from.exchange.bring(hex(secretDigest));
  await assert.rejects(steal(thief), (error: unknown) => error instanceof Error && "code" in error && String(error.code).startsWith("blob_"));
  assert(!thief.blobs.has(hex(secretDigest)));
  // The stranger's word for it does not change what it is where it belongs, nor make it public there.
  await allowed.exchange.bring(hex(secretDigest));
  assert.deepEqual([allowed.blobs.kindOf(hex(secretDigest)), await allowed.blobs.read(hex(secretDigest))], ["configuration", secret]);
  await assert.rejects(steal(thief), (error: unknown) => error instanceof Error && "code" in error && String(error.code).startsWith("blob_"));
  await thief.exchange.bring(hex(componentDigest));
  assert.equal(thief.blobs.kindOf(hex(componentDigest) as Hex), "component");
});

test("who names another's component as its configuration takes nothing of it away", async (t) => {
  const { allowed, thief, add } = await stage(t);
  add(deployment(3, THIEF, STOLEN, { configuration: componentDigest }), STOLEN);
  for (const { exchange, blobs } of [allowed, thief]) {
    await exchange.bring(hex(componentDigest));
    assert.equal(blobs.kindOf(hex(componentDigest)), "component");
  }
  const { keepers } = await allowed.exchange.copiesOf(hex(secretDigest), hex(accountOf(OWNER)));
  assert.deepEqual(new Set(keepers.map(hex)), new Set([HOLDER, ALLOWED].map((n) => hex(accountOf(n)))));
});
