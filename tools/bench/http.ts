/**
 * `npm run bench:http`: the hello example through the whole ingress (runner, fresh instance per request, jail, limits, log line)
 * beside `node:http` with the same answer, in the same run and with the same load generator. Rounds alternate; medians and
 * ratios are printed as JSON together with every round's figures.
 *
 *   npm run bench:http [-- --rounds N --seconds S --connections 1,16,64]
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { compile, listen, startRunner } from "#sandbox/sandbox.ts";
import { sha256 } from "#chain/crypto.ts";
import { hex } from "#chain/types.ts";
import { buildProject } from "#workloads/sdk/build.ts";

type Figures = { requestsPerSecond: number; p50Us: number; p99Us: number; errors: number };
type Round = Figures & { server: "godwit" | "node:http"; connections: number };

const ROOT = join(import.meta.dirname, "..", "..");
const HOST = "bench.localhost";
const NODE_SERVER_FLAG = "--node-http-server";

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** The peer runs in a process of its own, as the runner does. */
function serveNodeHttp(): void {
  const server = createServer((_request, response) => {
    response.setHeader("content-type", "text/plain; charset=utf-8");
    response.end("Hello, world!\n");
  });
  server.listen(0, "127.0.0.1", () => process.send?.(server.address()));
  process.on("disconnect", () => process.exit(0));
}

async function startNodeHttp(): Promise<{ port: number; child: ChildProcess }> {
  const child = spawn(process.execPath, [import.meta.filename, NODE_SERVER_FLAG], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const [address] = (await once(child, "message")) as [{ port: number }];
  return { port: address.port, child };
}

async function load(port: number, connections: number, seconds: number): Promise<Figures> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "load.ts"), String(port), HOST, String(connections), String(seconds)], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  await once(child, "close");
  return JSON.parse(output) as Figures;
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { rounds: { type: "string", default: "3" }, seconds: { type: "string", default: "2" }, connections: { type: "string", default: "1,16,64" } } });
  const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
  const connectionCounts = values.connections.split(",").map(Number);
  const cacheDirectory = mkdtempSync(join(tmpdir(), "godwit-bench-"));
  const { component } = await buildProject(join(ROOT, "workloads", "examples", "hello"));
  const compiled = await compile(component, { digest: hex(sha256(component)), cacheDirectory });
  const listener = await listen("127.0.0.1", 0);
  let logLines = 0;
  const runner = await startRunner({ listener, cacheDirectory, onLog: () => logLines++ });
  const peer = await startNodeHttp();
  const raw: Round[] = [];
  try {
    await runner.load({ id: "bench", hosts: [HOST], compiled, concurrency: 128, limits: { memoryBytesMax: 512 * 1024 * 1024, logBytesPerSecondMax: 4 * 1024 * 1024 } });
    for (let round = 0; round < rounds; round++)
      for (const connections of connectionCounts)
        for (const [server, port] of [["godwit", listener.port], ["node:http", peer.port]] as const) {
          process.stderr.write(`round ${round + 1}/${rounds}: ${server}, ${connections} connections\n`);
          raw.push({ server, connections, ...(await load(port, connections, seconds)) });
        }
  } finally {
    await runner.stop();
    listener.close();
    peer.child.kill();
    rmSync(cacheDirectory, { recursive: true, force: true });
  }
  const summary = connectionCounts.map((connections) => {
    const of = (server: Round["server"]): Figures => {
      const rows = raw.filter((row) => row.server === server && row.connections === connections);
      return { requestsPerSecond: median(rows.map((row) => row.requestsPerSecond)), p50Us: median(rows.map((row) => row.p50Us)), p99Us: median(rows.map((row) => row.p99Us)), errors: rows.reduce((sum, row) => sum + row.errors, 0) };
    };
    const [godwit, nodeHttp] = [of("godwit"), of("node:http")];
    return { connections, godwit, "node:http": nodeHttp, ratio: Math.round((godwit.requestsPerSecond / nodeHttp.requestsPerSecond) * 1000) / 1000 };
  });
  console.log(JSON.stringify({ bench: "http", cores: cpus().length, node: process.version, rounds, seconds, logLines, summary, raw }, null, 2));
}

if (process.argv.includes(NODE_SERVER_FLAG)) serveNodeHttp();
else await main();
