/**
 * `npm run bench:hop [-- --rounds N] [--seconds S] [--short] [--save]`: what a hop adds. Two runners on loopback that know each other, the
 * same component in one of them; the same client asks now that one, now the other, which passes its requests on. Prints JSON: for each
 * count of connections the medians, each round, and the difference of the medians of p50, as the goal has it (at most 150 µs, one connection).
 *
 * CPU time of both runners for each request is beside it: on a computer that does other things it says more than time does.
 */
import { parseArgs } from "node:util";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { publicKeyOf } from "#chain/crypto.ts";
import { compile, listen, startRunner } from "#sandbox/sandbox.ts";
import { buildComponent } from "#workloads/sdk/build.ts";
import { computer, cpuUs, median, report, rounded } from "./report.ts";
import { type Figures, generator, load } from "./wrk.ts";

const HOST = "bench.localhost";
const GOAL_US = 150;
const CONNECTIONS = [1, 16];
const CONCURRENCY = 128;

const { values } = parseArgs({ options: { rounds: { type: "string" }, seconds: { type: "string" }, short: { type: "boolean", default: false }, save: { type: "boolean", default: false } } });
const rounds = Number(values.rounds ?? (values.short ? 3 : 7));
const seconds = Number(values.seconds ?? (values.short ? 1 : 2));
const where = await computer();
const cacheDirectory = mkdtempSync(join(tmpdir(), "godwit-hop-"));
const id = (n: number): string => String(n).padStart(40, "0");
const seed = (n: number): Uint8Array => new Uint8Array(32).fill(n);

const listeners = await Promise.all([listen("127.0.0.1", 0), listen("127.0.0.1", 0)]);
const reach = (peer: string): { address: string; port: number }[] => [{ address: "127.0.0.1", port: listeners[Number(peer)]!.port }];
const runners = await Promise.all(listeners.map((listener) => startRunner({ listener, cacheDirectory, reach })));
try {
  const { component } = await buildComponent(import.meta.dirname, "assembly/plain.ts", "service");
  await runners[1]!.load({ id: "plain", hosts: [HOST], compiled: await compile(component, { cacheDirectory }), concurrency: CONCURRENCY });
  for (const [n, runner] of runners.entries()) {
    await runner.elsewhere!.identify(seed(n + 1));
    await runner.elsewhere!.peers([{ id: id(1 - n), key: publicKeyOf(seed(2 - n)).toHex() }], []);
    await runner.elsewhere!.places([{ hosts: [HOST], diverts: false, parts: [{ weight: 1000, to: null, here: n === 1, peers: n === 1 ? [] : [id(1)] }] }], []);
  }
  const by = generator();
  type Way = "local" | "hop";
  const ports: Record<Way, number> = { hop: listeners[0]!.port, local: listeners[1]!.port };
  type Measured = Figures & { readonly cpuUsPerRequest: number };
  const one = async (way: Way, connections: number, time: number): Promise<Measured> => {
    const cpu = (): number => runners.reduce((sum, { pid }) => sum + cpuUs(pid!), 0);
    const before = cpu();
    const figures = await load(by, ports[way], HOST, connections, time);
    return { ...figures, cpuUsPerRequest: rounded((cpu() - before) / figures.requests) };
  };
  const results = [];
  for (const connections of CONNECTIONS) {
    const measured: Record<Way, Measured[]> = { local: [], hop: [] };
    for (const way of ["local", "hop"] as const) await one(way, connections, 1);
    for (let round = 0; round < rounds; round++) {
      // Who is first changes, so that what wears off is neither's.
      for (const way of round % 2 === 0 ? (["local", "hop"] as const) : (["hop", "local"] as const)) measured[way].push(await one(way, connections, seconds));
    }
    const p50 = (way: Way): number => median(measured[way].map(({ p50Us }) => p50Us));
    const cpu = (way: Way): number => median(measured[way].map(({ cpuUsPerRequest }) => cpuUsPerRequest));
    results.push({
      connections, addedP50Us: rounded(p50("hop") - p50("local")), localP50Us: p50("local"), hopP50Us: p50("hop"), addedCpuUsPerRequest: rounded(cpu("hop") - cpu("local")),
      requestsPerSecond: { local: median(measured.local.map((figures) => figures.requestsPerSecond)), hop: median(measured.hop.map((figures) => figures.requestsPerSecond)) }, rounds: measured,
    });
  }
  const [first] = results;
  report("hop", { ...where, generator: by, seconds, goalAddedP50Us: GOAL_US, isMet: first!.addedP50Us <= GOAL_US, results }, values.save);
} finally {
  await Promise.all(runners.map((runner) => runner.stop()));
  for (const listener of listeners) listener.close();
  rmSync(cacheDirectory, { recursive: true, force: true });
}
