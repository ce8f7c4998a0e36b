/**
 * `npm run bench:density`: what deployments cost that nobody asks, and instances that wait.
 *
 * A real runner knows 10,000 deployments (2,000 different components); after a restart, when nothing is mapped, its memory is
 * taken; then 2,000 of them have a request in flight each, so that 2,000 instances of 2,000 components are there at once.
 *
 *   npm run bench:density [-- --short] [--save]
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { Agent, get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LIMITS_DEFAULT } from "#sandbox/limits.ts";
import { compile, type Compiled, listen, type Runner, startRunner } from "#sandbox/sandbox.ts";
import { buildComponent } from "#workloads/sdk/build.ts";
import { buildInside, compileTo, inside, variant } from "./inside.ts";
import { computer, report, rounded, statusKib } from "./report.ts";

const WAIT_MS = 50;
const WAIT_MS_MAX = 60_000;
const COMPILES_AT_ONCE = 2;
const BEGINNING = 50; // Requests that are on their way at once.

type Footprint = { readonly residentMib: number; readonly maps: number; readonly descriptors: number };

function footprint(pid: number): Footprint {
  const maps = readFileSync(`/proc/${pid}/maps`, "latin1").split("\n").length - 1;
  return { residentMib: rounded(statusKib(pid, "VmRSS") / 1024, 4), maps, descriptors: readdirSync(`/proc/${pid}/fd`).length };
}

async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + WAIT_MS_MAX;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${WAIT_MS_MAX} ms`);
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
  }
}

/** `work` for each number, so many at a time. */
async function each(count: number, atOnce: number, work: (number: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (next < count) await work(next++);
  }));
}

async function restart(runner: Runner): Promise<number> {
  const { pid } = runner;
  process.kill(pid ?? 0, "SIGKILL");
  await until(async () => runner.pid !== pid && runner.pid !== null, "the next runner");
  await runner.usage(); // Answered when it has been told of everything.
  return runner.pid ?? 0;
}

const { values } = parseArgs({ options: { short: { type: "boolean", default: false }, save: { type: "boolean", default: false } } });
const known = values.short ? 1_000 : 10_000;
const resident = values.short ? 200 : 2_000;
const on = await computer();
const program = buildInside();
const folder = mkdtempSync(join(tmpdir(), "godwit-bench-"));
const listener = await listen("127.0.0.1", 0);
const runner = await startRunner({ listener, cacheDirectory: folder, onLog: () => {} });
const agent = new Agent({ keepAlive: false, maxSockets: Infinity });
try {
  const { component } = await buildComponent(import.meta.dirname, "assembly/resting.ts", "service");
  const live = await inside<object>(program, ["live", await compileTo(join(folder, "resting"), component, true), String(resident), JSON.stringify(LIMITS_DEFAULT)]);
  const empty = footprint(runner.pid ?? 0);
  const codes: Compiled[] = [];
  await each(resident, COMPILES_AT_ONCE, async (number) => {
    codes[number] = await compile(variant(component, number), { cacheDirectory: folder });
  });
  process.stderr.write(`compiled ${resident} components\n`);
  await each(known, COMPILES_AT_ONCE, (number) => runner.load({ id: `d${number}`, hosts: [`d${number}.localhost`], compiled: codes[number % resident]! }));
  process.stderr.write(`loaded ${known} deployments\n`);
  const loaded = footprint(runner.pid ?? 0);
  const pid = await restart(runner);
  const idle = footprint(pid);

  await each(resident, BEGINNING, async (number) => {
    const sent = get({ host: "127.0.0.1", port: listener.port, path: "/rest", headers: { host: `d${number}.localhost` }, agent }, (response) => response.resume());
    sent.on("error", () => {});
    const runs = async (): Promise<boolean> => (await runner.usage())[`d${number}`]?.running === 1;
    if (number % BEGINNING === 0) await until(runs, `the instance of d${number}`);
  });
  const running = async (): Promise<number> => Object.values(await runner.usage()).reduce((sum, usage) => sum + usage.running, 0);
  await until(async () => (await running()) >= resident, `${resident} instances`);
  if (runner.pid !== pid) throw new Error("The runner ended meanwhile");
  const full = footprint(pid);
  const mapsMax = Number(readFileSync("/proc/sys/vm/max_map_count", "utf8"));
  report("density", {
    ...on, knownDeployments: known, residentInstances: resident, distinctComponents: resident, live, empty, afterLoads: loaded, knownOnly: idle, withInstances: full, mapsMax,
    kibPerInstanceAndItsComponent: rounded(((full.residentMib - idle.residentMib) * 1024) / resident), kibPerKnown: rounded(((idle.residentMib - empty.residentMib) * 1024) / known),
  }, values.save);
} finally {
  agent.destroy();
  await runner.stop();
  listener.close();
  rmSync(folder, { recursive: true, force: true });
}
