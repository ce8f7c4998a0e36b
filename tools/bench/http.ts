/**
 * `npm run bench:http`: hello through the whole ingress (runner, fresh instance per request, jail, every limit) beside its peers,
 * in the same run and under the same load. Servers alternate within a round; medians, the medians of the rounds' ratios, and
 * every round's figures are printed as JSON. Peers that `npm run bench:peers` has not installed are left out and named.
 *
 *   npm run bench:http [-- --short] [--rounds N --seconds S --connections 1,16,64 --servers a,b] [--save]
 */
import { parseArgs } from "node:util";
import { peerVersion } from "./peers.ts";
import { computer, cpuUs, median, report, rounded } from "./report.ts";
import { HOST, makeStage, residentMib, type Server, type ServerName, serverNames, SERVERS } from "./servers.ts";
import { type Figures, generator, load } from "./wrk.ts";

type Round = Figures & { readonly server: ServerName; readonly round: number; readonly connections: number; readonly cpuUsPerRequest: number };

const SHORT: readonly ServerName[] = ["godwit", "node:http"];
const WARM_UP_CONNECTIONS = 16;
const WARM_UP_SECONDS = 1;

/** What issue 4 wants: our rate over another's, at the same number of connections in the same round. */
const RATIOS: Readonly<Record<string, readonly [ServerName, ServerName]>> = {
  freshToServe: ["godwit", "wasmtime serve"],
  freshToServeTuned: ["godwit", "wasmtime serve tuned"],
  freshToNode: ["godwit", "node:http"],
  freshToHyper: ["godwit", "hyper"],
  freshToJco: ["godwit", "jco serve"],
  reuseToServeReuse: ["godwit reuse", "wasmtime serve reuse"],
  reuseToWorkerd: ["godwit reuse", "workerd"],
  reuseToNode: ["godwit reuse", "node:http"],
  besideEndlessToAlone: ["godwit beside endless", "godwit"],
};

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      short: { type: "boolean", default: false }, save: { type: "boolean", default: false }, servers: { type: "string" },
      rounds: { type: "string" }, seconds: { type: "string", default: "2" }, connections: { type: "string", default: "1,16,64" },
    },
  });
  const rounds = Number(values.rounds ?? (values.short ? 3 : 5));
  const seconds = Number(values.seconds);
  const connectionCounts = values.connections.split(",").map(Number);
  const names = values.servers === undefined ? (values.short ? SHORT : serverNames) : serverNames.filter((name) => values.servers!.split(",").includes(name));
  const on = await computer();
  const by = generator();
  const stage = await makeStage();
  const servers = new Map<ServerName, Server>();
  const missing: ServerName[] = [];
  const raw: Round[] = [];
  const residentMibOf: Record<string, number> = {};
  try {
    for (const name of names) {
      if (name === "godwit beside endless") continue;
      const server = await SERVERS[name](stage);
      if (server === null) missing.push(name);
      else servers.set(name, server);
    }
    for (const [name, server] of servers) {
      process.stderr.write(`warming up ${name}\n`);
      await load(by, server.port, HOST, WARM_UP_CONNECTIONS, WARM_UP_SECONDS);
    }
    for (let round = 0; round < rounds; round++)
      for (const connections of connectionCounts)
        for (const name of names) {
          if (missing.includes(name)) continue;
          process.stderr.write(`round ${round + 1}/${rounds}: ${name}, ${connections} connections\n`);
          // Its neighbours would slow everybody down, so it lives for its own turns only.
          const server = servers.get(name) ?? (await SERVERS[name](stage))!;
          if (!servers.has(name)) await load(by, server.port, HOST, WARM_UP_CONNECTIONS, WARM_UP_SECONDS);
          const before = cpuUs(server.pid);
          const figures = await load(by, server.port, HOST, connections, seconds);
          raw.push({ server: name, round, connections, ...figures, cpuUsPerRequest: rounded((cpuUs(server.pid) - before) / figures.requests) });
          residentMibOf[name] = residentMib(server.pid);
          if (!servers.has(name)) await server.stop();
        }
  } finally {
    for (const server of servers.values()) await server.stop();
    stage.remove();
  }
  const measured = names.filter((name) => !missing.includes(name));
  const summary = connectionCounts.map((connections) => summaryOf(raw.filter((row) => row.connections === connections), connections, measured, rounds));
  const versions = { wasmtime: peerVersion("wasmtime"), jco: peerVersion("jco"), workerd: peerVersion("workerd"), hyper: peerVersion("hyper") };
  report("http", { ...on, loadGenerator: by, rounds, seconds, versions, missing, residentMib: residentMibOf, summary, raw }, values.save);
}

function summaryOf(rows: readonly Round[], connections: number, names: readonly ServerName[], rounds: number): object {
  const of = (name: ServerName, figure: Exclude<keyof Round, "server">): number[] => rows.filter((row) => row.server === name).map((row) => row[figure]);
  const servers = Object.fromEntries(names.map((name) => [name, {
    requestsPerSecond: median(of(name, "requestsPerSecond")), p50Us: median(of(name, "p50Us")), p99Us: median(of(name, "p99Us")),
    cpuUsPerRequest: median(of(name, "cpuUsPerRequest")), errors: of(name, "errors").reduce((sum, errors) => sum + errors, 0),
  }]));
  const ratioOf = ([ours, theirs]: readonly [ServerName, ServerName], figure: "requestsPerSecond" | "p99Us"): number => {
    const [a, b] = [of(ours, figure), of(theirs, figure)];
    return rounded(median(Array.from({ length: rounds }, (_, round) => a[round]! / b[round]!)));
  };
  const known = Object.entries(RATIOS).filter(([, pair]) => pair.every((name) => names.includes(name)));
  const ratios = Object.fromEntries(known.map(([name, pair]) => [name, ratioOf(pair, "requestsPerSecond")]));
  const p99Ratios = Object.fromEntries(known.map(([name, pair]) => [name, ratioOf(pair, "p99Us")]));
  return { connections, ...(ratios["freshToNode"] !== undefined && { ratio: ratios["freshToNode"] }), ratios, p99Ratios, servers };
}

await main();
