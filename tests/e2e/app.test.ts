/** An app of three workloads through the real processes: interrupted after its first wave, resumed, and taken down in reverse. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { needs } from "../require.ts";
import { cli, cliJson, http, root, startMachine, temporaryFolder } from "./stage.ts";

const APP = `[app]
name = "shop"
[shared.environment]
GREETING = "Good day"
[workloads]
store = "hello/hello.wasm"
[workloads.cart]
path = "hello/hello.wasm"
needs = ["store"]
[workloads.front]
path = "hello/hello.wasm"
needs = ["cart"]
environment = { GREETING = "Welcome" }
`;

test("an app that is killed after its first wave goes on where the ledger says it is; a second deploy does nothing; what another needs is not removed", async (t) => {
  if (!needs(t, "cargo")) return;
  const folder = temporaryFolder(t);
  const app = join(folder, "app");
  mkdirSync(join(app, "hello"), { recursive: true });
  const project = join(root, "workloads", "examples", "hello");
  copyFileSync(join(project, "godwit.toml"), join(app, "hello", "godwit.toml"));
  const built = await cli(null, ["build", project, "-o", join(app, "hello", "hello.wasm")]);
  assert.equal(built.code, 0, built.stderr);
  writeFileSync(join(app, "godwit.toml"), APP);
  const machine = await startMachine(t, join(folder, "data"), ["--no-demo", "--parameters", "minimal"]);
  const names = async (): Promise<string[]> => (await cliJson<{ name: string }[]>(machine, ["ps"])).map(({ name }) => name).toSorted();

  const child = spawn(join(root, "tools", "godwit"), ["deploy", app], { stdio: ["ignore", "ignore", "pipe"], detached: true, env: { ...process.env, NO_COLOR: "1", GODWIT_API: machine.api, GODWIT_DATA: machine.directory } });
  const kill = (): boolean => child.exitCode === null && child.signalCode === null && child.pid !== undefined && process.kill(-child.pid, "SIGKILL");
  t.after(kill);
  let printed = "";
  child.stderr.on("data", (chunk: Buffer) => {
    printed += chunk.toString();
    if (printed.includes("wave 1 of 3")) kill();
  });
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  assert.deepEqual([code, signal], [null, "SIGKILL"], printed);
  assert(!(await names()).includes("front"), "it was not interrupted");

  const resumed = await cliJson<{ members: { name: string; did: string; url: string }[] }>(machine, ["deploy", app]);
  assert.deepEqual(resumed.members.map(({ name }) => name), ["store", "cart", "front"]);
  assert.deepEqual([resumed.members[0]?.did, resumed.members[2]?.did], ["nothing", "made"]);
  assert.deepEqual(await names(), ["cart", "front", "store"]);
  const answers = await Promise.all(resumed.members.map(async ({ url }) => (await http(machine.httpPort, new URL(url).hostname)).body.split(" from")[0]));
  assert.deepEqual(answers, ["Good day", "Good day", "Welcome"]);

  const planned = await cliJson<{ members: { changes: unknown[] }[]; problems: string[] }>(machine, ["plan", app]);
  assert.deepEqual([planned.members.flatMap(({ changes }) => changes), planned.problems], [[], []]);
  const second = await cliJson<{ members: { did: string; txid: string | null }[] }>(machine, ["deploy", app]);
  assert.deepEqual(second.members.map(({ did, txid }) => [did, txid]), Array.from({ length: 3 }, () => ["nothing", null]));

  const refused = await cli(machine, ["rm", "store", "--json"], { folder: app });
  assert.deepEqual([refused.code, (JSON.parse(refused.stderr) as { error: { code: string } }).error.code], [1, "needed"]);
  const { removed } = await cliJson<{ removed: { name: string }[] }>(machine, ["rm", "--app"], { folder: app });
  assert.deepEqual(removed.map(({ name }) => name), ["front", "cart", "store"]);
  assert.equal((await machine.stop()).code, 0);
});
