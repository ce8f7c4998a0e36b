/** What `ps` makes of a real ledger's answers, and what `--verify` makes of a machine's that lies about one leaf. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Cbor, decode } from "#chain/codec/cbor.ts";
import { deploymentIdOf } from "#chain/codec/transaction.ts";
import { valueOf } from "#chain/ledger/model.ts";
import { addressText } from "#chain/codec/address.ts";
import { digest } from "#chain/types.ts";
import { deploymentJson } from "#os/api/json.ts";
import { type Deployment, readDeployment } from "#tools/cli/answers.ts";
import { psText } from "#tools/cli/commands/ps.ts";
import { goneBackText } from "#tools/cli/commands/rollback.ts";
import { differenceFrom, scalingDifference, taskDifference } from "#tools/cli/provenDeployment.ts";
import { serving } from "#tools/cli/ready.ts";
import { RATE, STANDBY, say, settle, stage, tenant } from "../ledger/scalingStage.ts";
import { World, actor } from "../ledger/world.ts";

const id = deploymentIdOf(tenant.id, 0n, 0);
function answerOf({ view }: World): Deployment {
  return readDeployment(JSON.parse(JSON.stringify(deploymentJson(view.deployment(id)!, view.leasesOfDeployment(id), view.task(id), view.scaling(id), "web.localhost", "http://web.localhost"))), "");
}
const leafOf = ({ ledger }: World): readonly Cbor[] => decode(valueOf(ledger.state.deployment(id)!)) as readonly Cbor[];
/** Cells of the row by the head of their columns. */
function row(world: World): Record<string, string> {
  const [head = "", cells = ""] = psText([answerOf(world)], false).split("\n");
  const columns = [...head.matchAll(/\S+ */g)].map(({ 0: title, index }) => [title.trim(), index] as const);
  return Object.fromEntries(columns.map(([title], i) => [title, cells.trim().split(/ {2,}/)[i] ?? ""]));
}

test("a lease that moves serves and is paid until it has moved: ps counts it and its rate", () => {
  const on = stage({ machines: 1, min: 1 });
  const before = row(on.world);
  on.world.send(tenant, [{ kind: "move", deploymentId: id, index: 0 }]);
  on.world.block();
  assert.equal(answerOf(on.world).leases[0]!.state, "moving");
  assert.deepEqual(row(on.world), before);
  assert.deepEqual([before["READY"], before["STATE"], serving(answerOf(on.world))], ["1/1", "running", 1]);
});

test("what has no replicas is stopped and not on standby; leases of a new version are none of those that serve, and their rate is in the sum", () => {
  const on = stage({ machines: 2, min: 1 });
  const { world } = on;
  world.send(tenant, [{ kind: "autoscale", deploymentId: id, min: 0, max: 0, metric: 0, target: 0, rateMax: 0n }]);
  world.send(tenant, [{ kind: "update", deploymentId: id, componentDigest: digest(new Uint8Array(32).fill(9)), configurationDigest: null, weight: 0, healthySeconds: 60, deadlineSeconds: 600, failuresMax: 1 }]);
  world.block();
  settle(on);
  const updated = row(world);
  assert.deepEqual([answerOf(world).leases.length, updated["READY"], updated["RATE/H"]], [2, "1/1", String(Number(2n * RATE * 3600n) / 1e9)]);
  world.send(tenant, [{ kind: "rollBack", deploymentId: id }, { kind: "scale", deploymentId: id, replicas: 0 }]);
  world.block();
  assert.deepEqual([row(world)["READY"], row(world)["STATE"]], ["0/0", "stopped"]);
});

test("a rollback that nobody waits for is not told as done", () => {
  const on = stage({ machines: 2, min: 1 });
  const { world } = on;
  const other = digest(new Uint8Array(32).fill(9));
  const past = answerOf(world);
  assert.equal(goneBackText(past, past), "web runs what was revision 1, as revision 1");
  world.send(tenant, [{ kind: "update", deploymentId: id, componentDigest: other, configurationDigest: null, weight: 0, healthySeconds: 60, deadlineSeconds: 600, failuresMax: 1 }]);
  world.block();
  assert.equal(goneBackText(past, answerOf(world)), "web is at revision 1; revision 2 is on its way, which is what was revision 1");
});

test("--verify finds each lie about a deployment: a lease left out or named twice, one on standby that is not, another owner, budget, configuration or version", () => {
  const on = stage({ machines: 3, min: 2 });
  const { world } = on;
  const said = answerOf(world);
  assert.equal(differenceFrom(leafOf(world), said), null);
  const [first, second] = said.leases as [Deployment["leases"][number], Deployment["leases"][number]];
  const lies: readonly Partial<Deployment>[] = [
    { leases: [] }, { leases: [first] }, { leases: [first, first] }, { leases: [first, second, second] }, { leases: [{ ...first, standbyRate: STANDBY }, second] }, { leases: [{ ...first, state: "waiting" }, second] },
    { owner: addressText(actor(2).id) }, { rateMax: 1n }, { configuration: `sha256:${"0".repeat(64)}` }, { revision: 2 }, { concurrency: 9 }, { replicas: 1, leases: [first] },
  ];
  for (const lie of lies) assert.notEqual(differenceFrom(leafOf(world), { ...said, ...lie }), null, JSON.stringify(Object.keys(lie)));
});

test("--verify holds for what is on standby, moves, is rolled out or has run dry", () => {
  const on = stage({ machines: 3, min: 0, deposit: RATE * 200n });
  const { world, machines } = on;
  const holds = (): void => assert.equal(differenceFrom(leafOf(world), answerOf(world)), null);
  world.block(2);
  say(on, world.view.leasesOfDeployment(id)[0]!.machine!, { kind: "standby", deploymentId: id, index: 0, idleSeconds: 0 });
  world.block();
  holds();
  assert.equal(row(world)["STATE"], "standby");
  world.send(tenant, [{ kind: "move", deploymentId: id, index: 0 }]);
  world.block();
  holds();
  world.ready(...machines);
  world.block();
  world.send(tenant, [{ kind: "update", deploymentId: id, componentDigest: digest(new Uint8Array(32).fill(9)), configurationDigest: null, weight: 0, healthySeconds: 60, deadlineSeconds: 600, failuresMax: 1 }]);
  world.block();
  settle(on);
  holds();
  for (let k = 0; k < 30; k++) world.block(10);
  assert.equal(world.view.deployment(id)!.state, "dry");
  holds();
});

test("--verify finds each lie in how a task ended (exit code, reason, runs) and in the rule of one that scales by itself, and whether it is one at all", () => {
  const world = new World();
  const machine = world.machine(1, actor(2));
  world.block();
  world.send(tenant, [{ kind: "runTask", name: "job", componentDigest: digest(new Uint8Array(32).fill(7)), configurationDigest: null, memoryMib: 64, cpuMillis: 100, deposit: 10n ** 9n, rateMax: 0n, isolation: 0, secondsMax: 60, attemptsMax: 1, backOffSeconds: 5 }]);
  world.block();
  const leaf = (kind: "task" | "scaling", of: World = world): readonly Cbor[] | null => {
    const held = kind === "task" ? of.ledger.state.task(id) : of.ledger.state.scaling(id);
    return held === undefined ? null : (decode(valueOf(held)) as readonly Cbor[]);
  };
  const holds = (of: World = world): void => {
    const said = answerOf(of);
    assert.deepEqual([differenceFrom(leafOf(of), said), taskDifference(leaf("task", of), said), scalingDifference(leaf("scaling", of), said)], [null, null, null]);
  };
  holds();
  world.ready(machine);
  world.block();
  holds();
  world.send(machine, [{ kind: "taskEnded", deploymentId: id, run: 1, exitCode: 1, reason: "exit" }]);
  world.block();
  const said = answerOf(world);
  assert.deepEqual([said.task?.phase, said.task?.exitCode, said.task?.reason], ["ended", 1, "exit"]);
  holds();
  const lies: readonly Partial<NonNullable<Deployment["task"]>>[] = [{ exitCode: 0 }, { exitCode: null }, { reason: "trap" }, { reason: null }, { phase: "running" }, { runs: 2 }, { failures: 0 }, { losses: 1 }, { attemptsMax: 2 }, { at: 1n }];
  for (const lie of lies) assert.notEqual(taskDifference(leaf("task"), { ...said, task: { ...said.task!, ...lie } }), null, Object.keys(lie).join());
  assert.notEqual(taskDifference(leaf("task"), { ...said, task: null }), null);
  assert.notEqual(taskDifference(null, said), null);

  const scaled = stage({ machines: 1, min: 1 }).world;
  holds(scaled);
  const { scaling } = answerOf(scaled);
  for (const lie of [{ min: 0 }, { max: 9 }, { metric: "cpu" }, { target: 1 }, { rateMax: 1n }]) assert.notEqual(scalingDifference(leaf("scaling", scaled), { name: "web", scaling: { ...scaling!, ...lie } }), null, Object.keys(lie).join());
  assert.notEqual(scalingDifference(leaf("scaling", scaled), { name: "web", scaling: null }), null);
  assert.notEqual(scalingDifference(null, { name: "web", scaling }), null);
});
