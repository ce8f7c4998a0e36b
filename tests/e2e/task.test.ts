/** Tasks on the grid by the real command line: run --remote with arguments, environment and stdin; exit codes; retries; cancel; the bill. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { audit } from "#tools/audit.ts";
import { guest } from "../guests/build.ts";
import { needs } from "../require.ts";
import { cli, cliJson, eventually, startMachine, temporaryFolder } from "./stage.ts";

async function project(folder: string, name: string, more = ""): Promise<string> {
  const path = join(folder, name);
  mkdirSync(path);
  writeFileSync(join(path, "task.wasm"), await guest("rogueTask"));
  writeFileSync(join(path, "godwit.toml"), `name = "${name}"\nkind = "task"\ncomponent = "task.wasm"\n${more}`);
  return path;
}

test("a task on the grid: arguments, environment and stdin in, output and exit code out, retries, cancel, and a bill to the second", async (t) => {
  if (!needs(t, "cargo")) return;
  const folder = temporaryFolder(t);
  const machine = await startMachine(t, join(folder, "data"), ["--no-demo", "--parameters", "minimal"]);
  const job = await project(folder, "job", '[task]\narguments = ["environment"]\n[environment]\nCOLOUR = "blue"\n');

  await t.test("run --remote prints what the task writes and ends with its exit code", async () => {
    const upper = await cli(machine, ["run", "--remote", job, "upper"], { input: "one\ntwo\n" });
    assert.deepEqual([upper.code, upper.stdout], [0, "ONE\nTWO\n"], upper.stderr);
    assert.match(upper.stderr, /ended with exit code 0/);
    const environment = await cli(machine, ["run", "--remote", "--env", "SIZE=7", job]);
    assert.deepEqual([environment.code, environment.stdout], [0, "COLOUR=blue\nSIZE=7\n"], environment.stderr);
    const failed = await cli(machine, ["run", "--remote", job, "fail"]);
    assert.deepEqual([failed.code, failed.stdout], [1, ""], failed.stderr);
    const trapped = await cli(machine, ["run", "--remote", job, "trap"]);
    assert.equal(trapped.code, 1);
    assert.match(trapped.stderr, /error trap: /);
    const late = await cli(machine, ["run", "--remote", "--timeout", "1", job, "loop"]);
    assert.deepEqual([late.code, /error wall_time_limit: /.test(late.stderr)], [1, true], late.stderr);
  });

  await t.test("a failed run is repeated as often as the manifest says, and ps, --why and events tell it", async () => {
    const flaky = await project(folder, "flaky", "[task]\narguments = [\"fail\"]\nattempts = 2\nback_off_seconds = 1\n");
    const answer = await cliJson(machine, ["deploy", flaky]);
    const done = await eventually("both runs have failed", async () => (await cliJson(machine, ["ps"])).find(({ id, task }: { id: string; task: { phase: string } }) => id === answer.id && task.phase === "ended"), 60_000);
    assert.deepEqual([done.state, done.task.runs, done.task.failures, done.task.exitCode, done.task.reason], ["ended", 2, 2, 1, "exit"]);
    assert.match((await cli(machine, ["ps"])).stdout, /^flaky +\w+ +run 2 +exit code 1 /m);
    assert.match((await cli(machine, ["ps", "--why", "flaky"])).stdout, /ended in second \d+ after 2 runs: exit code 1, 2 of 2 attempts failed/);
    const events = (await cli(machine, ["events", "flaky", "--json"])).stdout.trim().split("\n").map((line) => JSON.parse(line) as { kind: string; cause: string | null });
    assert.deepEqual(events.filter(({ kind }) => kind === "taskEnded").map(({ cause }) => cause), ["exit code 1", "exit code 1"]);
    const log = await cli(machine, ["logs", "flaky"]);
    assert.match(log.stdout, /Run 1 ended with exit code 1[^]*Run 2 ended with exit code 1/);
  });

  await t.test("a task is cancelled by removing it: it stops, and the rest comes back", async () => {
    const endless = await project(folder, "endless", "[task]\narguments = [\"loop\"]\n");
    const { id } = await cliJson(machine, ["deploy", endless]);
    await eventually("it runs", async () => (await cliJson(machine, ["ps"])).some((one: { id: string; task: { phase: string } }) => one.id === id && one.task.phase === "running"), 60_000);
    assert.equal((await cli(machine, ["rm", "endless"])).code, 0);
    await eventually("it is gone", async () => !(await cliJson(machine, ["ps"])).some((one: { id: string }) => one.id === id), 60_000);
  });

  await t.test("its bill is rate × seconds to the unit, and the audit agrees", async () => {
    const [first] = (await cliJson<{ id: string; name: string; createdHeight: number }[]>(machine, ["ps"])).filter(({ name }) => name === "job").toSorted((a, b) => a.createdHeight - b.createdHeight);
    const bill = await cliJson(machine, ["bill", first!.id]);
    assert.equal(bill.ratePerSecond, "0");
    assert.equal(BigInt(bill.total), (bill.segments as { rate: string; seconds: string }[]).reduce((sum, { rate, seconds }) => sum + BigInt(rate) * BigInt(seconds), 0n));
    const report = await audit(async (path) => (await fetch(new URL(path, machine.api))).json());
    assert.deepEqual(report.findings, []);
  });
});
