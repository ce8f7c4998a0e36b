/** A new author's first hour, from an empty folder, with the real command line: new, dev, edit, test, plan, deploy, logs, a trap with its line. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test, { type TestContext } from "node:test";
import { needs } from "../require.ts";
import { cli, cliJson, eventually, http, root, startMachine, temporaryFolder } from "./stage.ts";

/** `godwit dev` in the project, without a chain: its events. */
async function startDev(t: TestContext, folder: string): Promise<{ port: number; next(event: string): Promise<void>; stop(): Promise<void> }> {
  const child = spawn(join(root, "tools", "godwit"), ["dev", "--port", "0", "--json"], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const events: { event: string; port?: number }[] = [];
  createInterface(child.stdout).on("line", (line) => events.push(JSON.parse(line)));
  const next = (wanted: string): Promise<{ port?: number }> => eventually(`godwit dev says ${wanted}`, async () => {
    const at = events.findIndex(({ event }) => event === wanted);
    return at < 0 ? null : events.splice(0, at + 1)[at];
  }, 60_000);
  return {
    port: (await next("serving")).port ?? assert.fail(),
    next: async (event) => void (await next(event)),
    async stop() {
      child.kill("SIGINT");
      assert.deepEqual(await once(child, "exit"), [0, null]);
    },
  };
}

test("new, dev, edit, test, plan, deploy, request, logs, and a trap with the line of the source", async (t) => {
  if (!needs(t, "cargo")) return;
  const folder = temporaryFolder(t);
  const machine = await startMachine(t, join(folder, "data"));
  await cliJson(null, ["new", "shop"], { folder });
  const project = join(folder, "shop");
  const entry = join(project, "assembly", "index.ts");
  const inProject = { folder: project };

  const dev = await startDev(t, project);
  assert.equal((await http(dev.port, "localhost")).body, "Hello, world!\n");
  const source = readFileSync(entry, "utf8");
  writeFileSync(entry, source.replace("  if (request.path ==", '  if (request.path == "/broken") throw new Error("not yet");\n  if (request.path =='));
  await dev.next("served");
  const page = await http(dev.port, "localhost", { path: "/broken", headers: { accept: "text/html" } });
  assert.equal(page.status, 500);
  assert.match(page.body, /<h1>not yet<\/h1>\n<p class="place">assembly\/index\.ts:\d+:\d+<\/p>/);
  await dev.stop();

  assert.equal((await cli(null, ["test"], inProject)).code, 0);
  const planned = await cliJson(machine, ["plan"], inProject);
  assert.deepEqual([planned.exists, planned.problems, planned.forecast.placed.length], [false, [], 1]);

  const { stderr } = await cli(machine, ["deploy"], inProject);
  assert.match(stderr, /^ +\d+ ms {2}planned.*\n +\d+ ms {2}uploaded.*\n +\d+ ms {2}final.*\n(?: +\d+ ms {2}placed.*\n)? +\d+ ms {2}ready/m);
  const [deployed] = await cliJson(machine, ["ps"]);
  assert.equal(BigInt(deployed.leases[0].rate), BigInt(planned.ratePerSecond));
  const host = new URL(deployed.url).hostname;
  assert.equal((await http(machine.httpPort, host, { path: "/?name=Ada" })).body, "Hello, Ada!\n");
  assert.equal((await http(machine.httpPort, host, { path: "/broken" })).status, 500);

  const thrownAt = readFileSync(entry, "utf8").split("\n").findIndex((line) => line.includes("not yet")) + 1;
  const logs = await eventually("the trap in the log", async () => {
    const { stdout } = await cli(machine, ["logs", "shop"]);
    return /at \w+ \(assembly\/index/.test(stdout) && stdout;
  });
  assert.match(logs, /stdout .*GET \/ 200/);
  assert.match(logs, new RegExp(`stderr .*abort: not yet at assembly/index\\.ts:${thrownAt}:`));
  assert.match(logs, new RegExp(`at \\w+ \\(assembly/index\\.ts:${thrownAt}:\\d+\\)`));
});
