/**
 * Four machines as real processes on loopback, and a task that ticks: its machine's agent is stopped, then its machine is killed, and each time it
 * starts again elsewhere, never before it has stopped where it was (liveness L13). One stage for all of it, in order. One machine validates and
 * witnesses and takes no task: how many agree on who is gone is shown elsewhere (heal.test.ts), and costs waiting.
 */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { addressText } from "#chain/codec/address.ts";
import { openKey } from "#os/keys.ts";
import { audit } from "#tools/audit.ts";
import { allUp } from "#tools/bench/heal.ts";
import { type MachineProcess, makeSite, startSiteMachine } from "#tools/chain/machines.ts";
import { guest } from "../guests/build.ts";
import { needs } from "../require.ts";
import { type Machine, cli, cliJson, eventually, temporaryFolder } from "./stage.ts";

const MACHINES = 4;
/** The first is asked, and stays; it is the only one that the others are told of. */
const HOSTS = [1, 2, 3] as const;
const WAIT_MS = 90_000;
type Seen = { readonly task: { readonly phase: string; readonly runs: number; readonly losses: number; readonly failures: number }; readonly leases: readonly { readonly machine: string | null; readonly state: string }[] };
type Line = { readonly timeMs: number; readonly machine: string; readonly line: string };

test("a task whose machine is gone starts again elsewhere, and never before it has stopped where it was", { timeout: 400_000 }, async (t) => {
  if (!needs(t, "cargo")) return;
  const folder = temporaryFolder(t);
  const site = await makeSite(join(folder, "site"), MACHINES, { validators: 1 });
  const machines = await Promise.all(site.ports.map((_, index) => startSiteMachine(site, index, { knows: index === 0 ? [] : [0] })));
  t.after(() => Promise.all(machines.map((one) => one.stop("SIGKILL"))));
  const [component] = await Promise.all([guest("rogueTask"), allUp(machines, MACHINES)]);
  const operators = await Promise.all(HOSTS.map(async (index) => addressText((await openKey(join(site.directory, String(index), "keys", "operator"))).address)));
  const project = join(folder, "ticker");
  mkdirSync(project);
  writeFileSync(join(project, "task.wasm"), component);
  writeFileSync(join(project, "godwit.toml"), 'name = "ticker"\nkind = "task"\ncomponent = "task.wasm"\n[task]\narguments = ["tick"]\n[limits]\nwall_time_ms = 600_000\n[placement]\noperators = ' + JSON.stringify(operators) + "\n");
  /** As the account that has money, at one of the machines. */
  const at = (index: number): Machine => ({ api: machines[index]!.api, directory: join(site.directory, "0") }) as Machine;
  await t.test("run --remote prints what a task writes on a machine that was not asked", async () => {
    const { code, stdout, stderr } = await cli(at(0), ["run", "--remote", project, "upper"], { input: "one\ntwo\n" });
    assert.deepEqual([code, stdout], [0, "ONE\nTWO\n"], stderr);
  });

  const { id, copies } = await cliJson<{ id: string; copies: number }>(at(1), ["deploy", project]);
  assert.equal(copies, 3, "machines that know one other alone find those that keep the component");
  const seen = async (): Promise<Seen> => (await (await fetch(`${machines[0]!.api}/v1/deployments/${id}`, { signal: AbortSignal.timeout(5_000) })).json()) as Seen;
  const runsOn = (run: number): Promise<number> => eventually(`run ${run} goes on`, async () => {
    const { task, leases: [lease] } = await seen();
    return task.phase === "running" && task.runs === run && lease?.state === "ready" && site.machines.findIndex((one) => addressText(one) === lease.machine);
  }, WAIT_MS);
  /** As the first machine passes them on. */
  const ticksOf = async (index: number): Promise<Line[]> => (await cli(at(0), ["logs", id, "--tail", "1000", "--json"])).stdout.trim().split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as Line).filter(({ line, machine }) => line === "tick" && machine === addressText(site.machines[index]!));
  const ticking = async (index: number): Promise<Line[]> => eventually(`it ticks on ${index}`, async () => { const lines = await ticksOf(index); return lines.length > 0 ? lines : null; }, WAIT_MS);

  const first = await runsOn(1);
  await ticking(first);
  let second = -1;

  await t.test("its agent is stopped: the runner ends it by itself, before another machine begins", async () => {
    const stopped = machines[first] as MachineProcess;
    stopped.process.kill("SIGSTOP");
    second = await runsOn(2);
    assert.notEqual(second, first);
    const begun = (await ticking(second))[0]!;
    stopped.process.kill("SIGCONT");
    // What its runner wrote meanwhile is read now.
    const last = await eventually("it has read all", async () => {
      const before = (await ticksOf(first)).at(-1);
      await sleep(1_000);
      const now = (await ticksOf(first)).at(-1);
      return before !== undefined && now !== undefined && before.timeMs === now.timeMs ? now : null;
    }, WAIT_MS);
    assert(Number(last.timeMs) < Number(begun.timeMs), `it ticked there until ${last.timeMs}, and here from ${begun.timeMs}`);
    const { task } = await seen();
    assert.deepEqual([task.losses, task.failures], [1, 0]);
  });

  await t.test("its machine is killed: it starts again elsewhere, and that is no failed attempt", async () => {
    await machines[second]!.stop("SIGKILL");
    const third = await runsOn(3);
    assert.notEqual(third, second);
    await ticking(third);
    const { task } = await seen();
    assert.deepEqual([task.losses, task.failures], [2, 0]);
    assert.equal((await cli(at(0), ["rm", "ticker"])).code, 0);
    const report = await audit(async (path) => (await fetch(machines[0]!.api + path, { signal: AbortSignal.timeout(30_000) })).json());
    assert.deepEqual(report.findings, []);
  });
});
