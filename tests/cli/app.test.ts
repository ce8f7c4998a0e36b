/** Apps on the command line: what is planned, in which order it is signed, what is not done twice, and what is not removed. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { type FakeMachine, TASK, startFakeMachine } from "./fakeMachine.ts";
import { type Terminal, openTerminal } from "./terminal.ts";

const APP = `[app]
name = "shop"
[shared.environment]
REGION = "north"
[workloads]
store = "parts/one.wasm"
[workloads.cart]
path = "parts/one.wasm"
needs = ["store"]
replicas = 2
[workloads.front]
path = "parts/one.wasm"
needs = ["cart", "search"]
[workloads.search]
path = "parts/one.wasm"
needs = ["store"]
[env.staging]
replicas = 1
deposit = "0.5"
`;

async function stage(t: TestContext, tokens = 100n): Promise<{ machine: FakeMachine; terminal: Terminal; folder: string; names: () => string[] }> {
  const machine = await startFakeMachine(t);
  const terminal = openTerminal(t, { GODWIT_API: machine.url });
  const { address } = await terminal.json("account", "new", "alice");
  machine.balances.set(address, tokens * 1_000_000_000n);
  const folder = join(terminal.home, "shop");
  mkdirSync(folder);
  mkdirSync(join(folder, "parts"));
  writeFileSync(join(folder, "parts", "godwit.toml"), 'name = "one"\nkind = "service"\n');
  writeFileSync(join(folder, "parts", "one.wasm"), Uint8Array.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]));
  writeFileSync(join(folder, "godwit.toml"), APP);
  const names = (): string[] => machine.operations.map((op) => (op.kind === "deploy" ? op.name : op.kind === "close" ? `close ${machine.deployments.get(Buffer.from(op.deploymentId).toString("hex"))?.name}` : op.kind));
  return { machine, terminal, folder, names };
}
const wavesOf = (names: readonly string[]): unknown[] => [names[0], names.slice(1, 3).toSorted(), names[3]];

test("plan shows what is against what is wanted of every workload, adds deposits and rates up, and sends nothing", async (t) => {
  const { machine, terminal, folder } = await stage(t, 3n);
  const { code, stdout } = await terminal.run("plan", folder, "--json");
  const planned = JSON.parse(stdout) as { members: { wave: number; name: string; changes: { what: string }[] }[]; deposit: string; ratePerSecond: string; problems: string[] };
  assert.deepEqual(planned.members.map(({ wave, name, changes }) => [wave, name, changes.map(({ what }) => what)]), [[1, "store", ["deployment"]], [2, "cart", ["deployment"]], [2, "search", ["deployment"]], [3, "front", ["deployment"]]]);
  assert.deepEqual([code, planned.deposit, planned.ratePerSecond, planned.problems.length], [1, "4000000000", String(5n * 1_234n), 1], "the account pays each, but not all");
  assert.deepEqual(machine.requests.filter(({ method }) => method !== "GET"), []);
});

test("deploy signs in the order of needs, does nothing the second time, and then only what has changed", async (t) => {
  const { machine, terminal, folder, names } = await stage(t);
  const first = await terminal.json("deploy", folder);
  assert.deepEqual(wavesOf(names()), ["store", ["cart", "search"], "front"]);
  assert.deepEqual((first["members"] as { did: string }[]).map(({ did }) => did), ["made", "made", "made", "made"]);
  assert.deepEqual([...machine.configurations.values()].map(({ environment }) => environment), [{ REGION: "north" }]);

  assert.deepEqual((await terminal.json("deploy", folder) as { members: { did: string }[] }).members.map(({ did }) => did), ["nothing", "nothing", "nothing", "nothing"]);
  assert.equal(names().length, 4);
  assert((await terminal.json("plan", folder) as { members: { changes: unknown[] }[] }).members.every(({ changes }) => changes.length === 0));

  writeFileSync(join(folder, "godwit.toml"), APP.replace("replicas = 2", 'replicas = 3\nenvironment = { LEVEL = "debug" }'));
  const changed = await terminal.json("plan", folder) as { members: { name: string; changes: { what: string }[] }[] };
  assert.deepEqual(changed.members.flatMap(({ name, changes }) => changes.map(({ what }) => [name, what])), [["cart", "settings"], ["cart", "replicas"]]);
  await terminal.json("deploy", folder);
  assert.deepEqual(names().slice(4), ["scale", "update"]);
});

test("an app that was interrupted goes on where the ledger says it is", async (t) => {
  const { machine, terminal, folder, names } = await stage(t);
  // The first wave is final, then its replicas do not come: no second wave begins.
  machine.replicas = "failed";
  assert.deepEqual(await terminal.errorOf("deploy", folder), { exit: 1, code: "replica_failed" });
  assert.deepEqual(names(), ["store"]);
  machine.replicas = "ready";
  const again = await terminal.json("deploy", folder) as { members: { name: string; did: string }[] };
  assert.deepEqual(again.members.filter(({ did }) => did === "nothing").map(({ name }) => name), ["store"]);
  assert.deepEqual(wavesOf(names()), ["store", ["cart", "search"], "front"]);
});

test("what needs nobody of its wave comes up with it: one that is slow does not hold back the other, and the next wave does not begin", async (t) => {
  const { machine, terminal, folder, names } = await stage(t);
  writeFileSync(join(folder, "godwit.toml"), '[app]\nname = "pair"\n[workloads]\nleft = "parts/one.wasm"\nright = "parts/one.wasm"\n[workloads.top]\npath = "parts/one.wasm"\nneeds = ["left", "right"]\n');
  machine.replicas = "slow";
  assert.deepEqual(await terminal.errorOf("deploy", folder, "--wait", "1"), { exit: 1, code: "not_ready" });
  assert.deepEqual(names().toSorted(), ["left", "right"]);
});

test("an environment stands beside the others, with names, replicas and deposits of its own", async (t) => {
  const { machine, terminal, folder } = await stage(t);
  await terminal.json("deploy", folder);
  const staging = await terminal.json("deploy", folder, "--env", "staging");
  assert.deepEqual((staging["members"] as { name: string }[]).map(({ name }) => name), ["store-staging", "cart-staging", "search-staging", "front-staging"]);
  assert.deepEqual([...machine.deployments.values()].filter(({ name }) => name.startsWith("cart")).map(({ name, replicas, deposit }) => [name, replicas, deposit]), [["cart", 2, 1_000_000_000n], ["cart-staging", 1, 500_000_000n]]);
  assert.deepEqual(await terminal.errorOf("deploy", folder, "--env", "production"), { exit: 1, code: "environment_unknown" });
  assert.deepEqual(await terminal.errorOf("deploy", folder, "--replicas", "3"), { exit: 2, code: "usage" });
  assert.deepEqual(await terminal.errorOf("deploy", join(folder, "parts"), "--env", "staging"), { exit: 2, code: "usage" });
});

test("removing something that another needs is refused with its name; an app is removed in reverse order", async (t) => {
  const { terminal, folder, names } = await stage(t);
  await terminal.json("deploy", folder);
  const { code, stderr } = await terminal.runWith({ folder }, "rm", "store", "--json");
  const { error } = JSON.parse(stderr) as { error: { code: string; neededBy: string[] } };
  assert.deepEqual([code, error.code, error.neededBy], [1, "needed", ["cart", "search"]]);
  assert.equal(names().length, 4, "nothing was signed");
  assert.equal((await terminal.runWith({ folder }, "rm", "front")).code, 0);
  await terminal.json("rm", "--app", folder);
  assert.deepEqual(names().slice(4), ["close front", "close cart", "close search", "close store"]);
  assert.deepEqual((await terminal.json("rm", "--app", folder))["removed"], []);
  assert.deepEqual(await terminal.errorOf("rm", "--app", join(folder, "parts")), { exit: 1, code: "app_missing" });
  assert.deepEqual(await terminal.errorOf("rm"), { exit: 2, code: "usage" });
});

test("a mistake in an app is told with its place, and nothing is sent", async (t) => {
  const { machine, terminal, folder } = await stage(t);
  writeFileSync(join(folder, "godwit.toml"), '[app]\nname = "shop"\n[workloads.cart]\nneeds = ["stor"]\n');
  const { code, stderr } = await terminal.run("deploy", folder);
  assert.equal(code, 1);
  assert(stderr.includes(`${join(folder, "godwit.toml")}:4:9: `), stderr);
  assert.equal(machine.requests.length, 0);
});

test("a task of an app runs to its end before what needs it begins: not again while the ledger knows that it ended well, again when it has changed, and no further when it failed", async (t) => {
  const { machine, terminal, folder } = await stage(t);
  mkdirSync(join(folder, "migrate"));
  writeFileSync(join(folder, "migrate", "godwit.toml"), 'name = "migrate"\nkind = "task"\n[task]\narguments = ["up"]\n');
  writeFileSync(join(folder, "migrate", "migrate.wasm"), Uint8Array.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0, TASK]));
  const app = (level: string): void => writeFileSync(join(folder, "godwit.toml"), `[app]\nname = "shop"\n[workloads]\nstore = "parts/one.wasm"\n[workloads.migrate]\npath = "migrate/migrate.wasm"\nneeds = ["store"]\nenvironment = { LEVEL = "${level}" }\n[workloads.front]\npath = "parts/one.wasm"\nneeds = ["migrate"]\n`);
  app("one");
  const kinds = (): string[] => machine.operations.map((op) => ("name" in op ? `${op.kind} ${String(op.name)}` : op.kind));
  type Members = { members: { name: string; did: string; changes: { what: string }[] }[] };
  const did = async (): Promise<string[]> => ((await terminal.json("deploy", folder)) as Members).members.map(({ name, did: what }) => `${name} ${what}`);

  machine.taskEnd = { exitCode: 1, reason: "exit" };
  assert.deepEqual(await terminal.errorOf("deploy", folder), { exit: 1, code: "task_failed" });
  assert.deepEqual(kinds(), ["deploy store", "runTask migrate"], "what needs it has not begun");
  machine.taskEnd = { exitCode: 0, reason: "exit" };
  assert.deepEqual((await terminal.json("plan", folder) as Members).members.map(({ name, changes }) => [name, ...changes.map(({ what }) => what)]), [["store"], ["migrate", "task"], ["front", "deployment"]]);
  assert.deepEqual(await did(), ["store nothing", "migrate ran", "front made"]);
  assert.deepEqual(kinds().slice(2), ["runTask migrate", "deploy front"]);

  assert.deepEqual(await did(), ["store nothing", "migrate nothing", "front nothing"]);
  assert((await terminal.json("plan", folder) as Members).members.every(({ changes }) => changes.length === 0));
  app("two");
  assert.deepEqual(await did(), ["store nothing", "migrate ran", "front nothing"]);
  assert.deepEqual(kinds().slice(4), ["runTask migrate"]);
  assert.match((await terminal.run("deploy", folder)).stdout, /migrate +nothing +exit code 0/);
});
