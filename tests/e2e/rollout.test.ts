/** New versions through the real processes: promoted when they are well, rolled back by the ledger when they are not, and no request fails meanwhile. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { audit } from "#tools/audit.ts";
import { needs } from "../require.ts";
import { cli, cliJson, eventually, http, startMachine, temporaryFolder } from "./stage.ts";

const RULE = { healthy: 2, deadline: 60, failures: 0, weight: 1000 };

/** A project whose answer and health can be told. */
function writeVersion(folder: string, answer: string, health: number, rule: Partial<typeof RULE> = {}): void {
  const { healthy, deadline, failures, weight } = { ...RULE, ...rule };
  mkdirSync(join(folder, "assembly"), { recursive: true });
  writeFileSync(join(folder, "godwit.toml"), `name = "versions"\nkind = "service"\n[health]\npath = "/healthz"\n[rollout]\nweight = ${weight}\nhealthy_seconds = ${healthy}\ndeadline_seconds = ${deadline}\nfailures = ${failures}\n`);
  writeFileSync(join(folder, "assembly", "index.ts"), `import { Request, Response } from "godwit/http";
export function handle(request: Request): Response {
  if (request.path == "/healthz") return Response.text("health", ${health});
  return Response.text("${answer}");
}
`);
}

test("deploy again rolls a new version out beside the old; a bad one is rolled back by the ledger itself; rollback goes back; no request fails", async (t) => {
  if (!needs(t, "cargo")) return;
  const folder = temporaryFolder(t);
  const project = join(folder, "project");
  const machine = await startMachine(t, join(folder, "data"), ["--no-demo", "--parameters", "minimal"]);
  writeVersion(project, "one", 200);
  const first = await cliJson(machine, ["deploy", project]);
  assert.deepEqual([first.did, first.revision], ["made", 1]);
  const host = new URL(first.url).hostname;
  assert.equal((await http(machine.httpPort, host)).body, "one");
  assert.equal((await cliJson(machine, ["deploy", project])).did, "nothing");

  const answers = new Map<string, number>();
  let isOver = false;
  t.after(() => (isOver = true));
  const load = (async () => {
    for (let n = 0; n < 20_000 && !isOver; n++) {
      const { status, body } = await http(machine.httpPort, host).catch((error: unknown) => ({ status: 0, body: String(error) }));
      const seen = `${status} ${body}`;
      answers.set(seen, (answers.get(seen) ?? 0) + 1);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  writeVersion(project, "two", 200);
  const second = await cliJson(machine, ["deploy", project]);
  assert.deepEqual([second.did, second.revision], ["updated", 2]);
  await eventually("the machine has swapped its routes", async () => (await http(machine.httpPort, host)).body === "two");

  // One that is not well: the command is gone before it is found out.
  writeVersion(project, "three", 500, { weight: 0, healthy: 30 });
  const sent = await cliJson(machine, ["deploy", project, "--wait", "0"]);
  assert.equal(sent.revision, 2);
  const back = await eventually("it is rolled back", async () => {
    const [row] = await cliJson(machine, ["ps"]);
    return row.rollout === null && row.rolledBack !== null && row;
  });
  assert.deepEqual([back.revision, back.rolledBack], [2, "unhealthy: status 500"]);
  assert.equal((await http(machine.httpPort, host)).body, "two");

  const rolled = await cliJson(machine, ["rollback", "versions"]);
  assert.equal(rolled.revision, 4);
  await eventually("the machine has swapped its routes", async () => (await http(machine.httpPort, host)).body === "one");
  isOver = true;
  await load;
  assert.deepEqual([...answers.keys()].sort(), ["200 one", "200 two"], JSON.stringify([...answers]));
  assert.equal((await cli(machine, ["rollback", "versions", "--to", "99"])).code, 1);
  const report = await audit(async (path) => (await fetch(`${machine.api}${path}`)).json());
  assert.deepEqual(report.findings, []);
  await machine.stop();
});
