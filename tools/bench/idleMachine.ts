/**
 * What a machine costs that does nothing: `npm run bench:idle-machine [-- --short]`. CPU time of the agent and of everything that it started (runner, compiler), as a share
 * of one core, and their memory: of a machine that validates, and of one that follows the chain, as a machine that was netbooted does. Both are joined, up, and without a
 * lease; their chain has the default parameters, so a block comes every five seconds and a beat every half.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makeSite, startSiteMachine } from "#tools/chain/machines.ts";
import { ApiClient } from "#tools/cli/client.ts";
import { computer, cpuUs, family, median, report, rounded, statusKib } from "./report.ts";

const IS_SHORT = process.argv.includes("--short");
/** What a start leaves to do (optimised code, collections) is over by then. */
const SETTLE_MS = IS_SHORT ? 10_000 : 30_000;
const WINDOW_MS = IS_SHORT ? 10_000 : 30_000;
const WINDOWS = IS_SHORT ? 2 : 5;
const UP_MS_MAX = 60_000;
const PERCENT_MAX = 4;

/** Of all that are there; a process that came meanwhile counts from zero. */
const cpuOf = (pid: number): ReadonlyMap<number, number> => new Map(family(pid).map((one) => [one, cpuUs(one)]));
const spent = (before: ReadonlyMap<number, number>, after: ReadonlyMap<number, number>): number => [...after].reduce((sum, [pid, us]) => sum + (Number.isNaN(us) ? 0 : us - (before.get(pid) ?? 0)), 0);

const on = await computer();
const directory = mkdtempSync(join(tmpdir(), "godwit-idle-"));
const site = await makeSite(directory, 2, { validators: 1, parameters: "default" });
await using machines = new AsyncDisposableStack();
machines.defer(() => rmSync(directory, { recursive: true, force: true }));
const started = [];
for (const index of [0, 1]) {
  const machine = await startSiteMachine(site, index);
  machines.defer(() => machine.stop());
  started.push({ name: index === 0 ? "validates" : "follows", api: machine.api, pid: machine.process.pid ?? 0, percents: [] as number[] });
}
await using client = new ApiClient({ url: started[0]!.api });
for (const deadline = performance.now() + UP_MS_MAX; (await client.allMachines()).filter(({ state }) => state === "up").length < 2; await sleep(500)) {
  if (performance.now() > deadline) throw new Error(`The two machines are not up within ${UP_MS_MAX} ms`);
}
await sleep(SETTLE_MS);
for (let window = 0; window < WINDOWS; window++) {
  const before = started.map(({ pid }) => cpuOf(pid));
  const begunMs = performance.now();
  await sleep(WINDOW_MS);
  const tookUs = (performance.now() - begunMs) * 1000;
  for (const [at, { pid, percents }] of started.entries()) percents.push((spent(before[at]!, cpuOf(pid)) / tookUs) * 100);
}
const result = Object.fromEntries(started.map(({ name, pid, percents }) => [name, {
  corePercent: rounded(median(percents)), windows: percents.map((percent) => rounded(percent)), residentMib: Object.fromEntries(family(pid).map((one) => [readFileSync(`/proc/${one}/comm`, "utf8").trim(), rounded(statusKib(one, "VmRSS") / 1024)])),
}]));
report("idle-machine", { computer: on, windowSeconds: WINDOW_MS / 1000, ...result }, false);
if (Object.values(result).some(({ corePercent }) => corePercent > PERCENT_MAX)) process.exitCode = 1;
