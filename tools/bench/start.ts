/**
 * `npm run bench:start`: how long it takes until something runs: an instance, the first request of a deployment that is not in
 * memory, a compile, a runner that replaces a dead one; and how large the programs are.
 *
 *   npm run bench:start [-- --short] [--save]
 */
import { copyFileSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { request } from "node:http";
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LIMITS_DEFAULT } from "#sandbox/limits.ts";
import { nativePaths } from "#sandbox/native.ts";
import { compile, type Compiled, listen, type Runner, startRunner } from "#sandbox/sandbox.ts";
import { buildComponent } from "#workloads/sdk/build.ts";
import { buildInside, compileTo, inside, variant } from "./inside.ts";
import { computer, median, quantile, report, rounded } from "./report.ts";

const RETRY_MS = 0;
/** A process counts as well started, and a spare waits beside it. */
const CALM_MS = 2_500;
const hostOf = (number: number): string => `d${number}.localhost`;

/** One request on a connection of its own; resolves to the time until its answer was there. */
function ask(port: number, host: string): Promise<number> {
  const begunMs = performance.now();
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, headers: { host }, agent: false }, (response) => {
      response.resume().on("end", () => (response.statusCode === 200 ? resolve(performance.now() - begunMs) : reject(new Error(`${host} answers ${response.statusCode}`))));
    });
    sent.on("error", reject).end();
  });
}

/** A connection that meets the dying runner breaks, as its request was in flight: the client asks again, and the clock goes on. */
async function askUntilAnswered(port: number, host: string): Promise<number> {
  const begunMs = performance.now();
  for (;;) {
    try {
      await ask(port, host);
      return performance.now() - begunMs;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

async function kill(runner: Runner): Promise<void> {
  const { pid } = runner;
  process.kill(pid ?? 0, "SIGKILL");
  while (runner.pid === pid || runner.pid === null) await new Promise((resolve) => setTimeout(resolve, 1));
}

const spread = (values: readonly number[]): object => ({ p50: rounded(median(values)), p99: rounded(quantile(values, 0.99)), max: rounded(Math.max(...values)), count: values.length });

const { values } = parseArgs({ options: { short: { type: "boolean", default: false }, save: { type: "boolean", default: false } } });
const rounds = values.short ? 3 : 7;
const distinct = values.short ? 50 : 200;
const deploymentCounts = values.short ? [100] : [100, 1_000];
const on = await computer();
const program = buildInside();
const folder = mkdtempSync(join(tmpdir(), "godwit-bench-"));
const listener = await listen("127.0.0.1", 0);
const runner = await startRunner({ listener, cacheDirectory: folder, onLog: () => {} });
try {
  const { component } = await buildComponent(import.meta.dirname, "assembly/plain.ts", "service");

  const code = await compileTo(join(folder, "plain"), component, true);
  type Instantiated = { readonly bothUs: { readonly p50: number; readonly p99: number } };
  const instantiated: Instantiated[] = [];
  for (let round = 0; round < rounds; round++) instantiated.push(await inside<Instantiated>(program, ["instantiate", code, "10000", JSON.stringify(LIMITS_DEFAULT)]));
  const instantiateUs = { p50: rounded(median(instantiated.map(({ bothUs }) => bothUs.p50))), p99: rounded(median(instantiated.map(({ bothUs }) => bothUs.p99))) };

  const compileMs: number[] = [];
  const codes: Compiled[] = [];
  for (let number = 0; number < distinct; number++) {
    const bytes = variant(component, number);
    const begunMs = performance.now();
    codes.push(await compile(bytes, { cacheDirectory: folder }));
    compileMs.push(performance.now() - begunMs);
  }

  const firstRequestMs: number[] = [];
  const respawn: object[] = [];
  let loaded = 0;
  for (const count of deploymentCounts) {
    process.stderr.write(`loading ${count} deployments\n`);
    for (; loaded < count; loaded++) await runner.load({ id: `d${loaded}`, hosts: [hostOf(loaded)], compiled: codes[loaded % distinct]! });
    const answeredMs: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await ask(listener.port, hostOf(0));
      await new Promise((resolve) => setTimeout(resolve, CALM_MS));
      const { pid } = runner;
      process.kill(pid ?? 0, "SIGKILL");
      answeredMs.push(await askUntilAnswered(listener.port, hostOf(0)));
    }
    respawn.push({ deployments: count, answeredMs: spread(answeredMs), raw: answeredMs.map((ms) => rounded(ms)) });
  }
  // A new runner has mapped nothing: the first request of each deployment finds it as a file.
  for (let round = 0; round < (values.short ? 1 : 3); round++) {
    await kill(runner);
    await askUntilAnswered(listener.port, hostOf(0));
    for (let number = 1; number < Math.min(distinct, loaded); number++) firstRequestMs.push(await ask(listener.port, hostOf(number)));
  }
  const warmRequestMs: number[] = [];
  for (let number = 1; number < Math.min(distinct, loaded); number++) warmRequestMs.push(await ask(listener.port, hostOf(number)));

  const sizesMb = Object.fromEntries(Object.entries(nativePaths()).map(([name, path]) => {
    const stripped = join(folder, name);
    copyFileSync(path, stripped);
    spawnSync("strip", [stripped]);
    return [name, rounded(statSync(stripped).size / 1e6)];
  }));
  report("start", { ...on, rounds, instantiateAndDropUs: instantiateUs, compileMs: spread(compileMs), firstRequestMs: spread(firstRequestMs), warmRequestMs: spread(warmRequestMs), respawn, sizesMb, raw: { instantiated, compileMs: compileMs.map((ms) => rounded(ms)), firstRequestMs: firstRequestMs.map((ms) => rounded(ms)) } }, values.save);
} finally {
  await runner.stop();
  listener.close();
  rmSync(folder, { recursive: true, force: true });
}
