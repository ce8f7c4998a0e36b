/**
 * `npm run bench:engines`: hello on both engines, and our canonical ABI on V8 beside the one that jco generates.
 *
 * Two measurements. *http*: requests a second through the whole of each engine, alternated within a round under the same load, with
 * `jco serve` where `npm run bench:peers` has installed it. *glue*: CPU time of one call of the guest's handler in this process,
 * without HTTP, on an instance of its own: ours, and jco's output with the least host that it can have.
 *
 *   npm run bench:engines [-- --short] [--rounds N --seconds S --connections N] [--save]
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { transpileBytes } from "@bytecodealliance/jco-transpile";
import { Host, type Channel } from "#sandbox/engines/v8/host.ts";
import { Template } from "#sandbox/engines/v8/instance.ts";
import { parse, prepare } from "#sandbox/engines/v8/program.ts";
import { CLI } from "#sandbox/engines/v8/wasiCli.ts";
import { HTTP, newOutparam, newRequest } from "#sandbox/engines/v8/wasiHttp.ts";
import { IO } from "#sandbox/engines/v8/wasiIo.ts";
import { completeLimits } from "#sandbox/limits.ts";
import { jcoImports, newJcoCall } from "./jcoHost.ts";
import { peerVersion } from "./peers.ts";
import { computer, cpuUs, median, report, rounded } from "./report.ts";
import { HOST, makeStage, type Server, SERVERS, type Stage } from "./servers.ts";
import { generator, load } from "./wrk.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const CALLS = 2_000;
const WARM_UP_SECONDS = 1;

type HttpRound = { readonly server: string; readonly round: number; readonly requestsPerSecond: number; readonly cpuUsPerRequest: number };
type GlueRound = { readonly round: number; readonly ours: Glue; readonly jco: Glue };
/** CPU µs: of an instance with one call in it, and of one more call in an instance that has had many. */
type Glue = { readonly freshUs: number; readonly callUs: number };

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { short: { type: "boolean", default: false }, save: { type: "boolean", default: false }, rounds: { type: "string" }, seconds: { type: "string", default: "2" }, connections: { type: "string", default: "16" } },
  });
  const rounds = Number(values.rounds ?? (values.short ? 3 : 5));
  const on = await computer();
  const stage = await makeStage();
  try {
    const glue = await glueRounds(stage, rounds);
    const http = await httpRounds(stage, rounds, Number(values.seconds), Number(values.connections));
    const glueSummary = {
      oursFreshUs: median(glue.map(({ ours }) => ours.freshUs)), jcoFreshUs: median(glue.map(({ jco }) => jco.freshUs)), freshRatio: rounded(median(glue.map(({ ours, jco }) => jco.freshUs / ours.freshUs))),
      oursCallUs: median(glue.map(({ ours }) => ours.callUs)), jcoCallUs: median(glue.map(({ jco }) => jco.callUs)), callRatio: rounded(median(glue.map(({ ours, jco }) => jco.callUs / ours.callUs))),
    };
    const names = [...new Set(http.map(({ server }) => server))];
    const httpSummary = Object.fromEntries(names.map((name) => {
      const own = http.filter(({ server }) => server === name);
      return [name, { requestsPerSecond: median(own.map((row) => row.requestsPerSecond)), cpuUsPerRequest: median(own.map((row) => row.cpuUsPerRequest)) }];
    }));
    report("engines", { ...on, rounds, seconds: Number(values.seconds), connections: Number(values.connections), versions: { node: process.version, jco: peerVersion("jco") }, glue: glueSummary, http: httpSummary, raw: { glue, http } }, values.save);
  } finally {
    stage.remove();
  }
}

async function glueRounds(stage: Stage, rounds: number): Promise<GlueRound[]> {
  const component = new Uint8Array(readFileSync(stage.componentFile));
  const ours = await ownGlue(component);
  const jco = await jcoGlue(component);
  measured(ours);
  measured(jco);
  return Array.from({ length: rounds }, (_, round) => ({ round, ours: measured(ours), jco: measured(jco) }));
}

/** Makes an instance, and gives what one call of it is. Throws where the answer is not hello. */
type Maker = () => () => void;

function measured(make: Maker): Glue {
  const freshUs = cpuOf(() => make()());
  const call = make();
  return { freshUs, callUs: cpuOf(call) };
}

function cpuOf(work: () => void): number {
  const before = process.cpuUsage();
  for (let i = 0; i < CALLS; i++) work();
  const { user, system } = process.cpuUsage(before);
  return rounded((user + system) / CALLS);
}

async function ownGlue(component: Uint8Array): Promise<Maker> {
  const program = await prepare("bench", parse(component), completeLimits(undefined));
  const template = new Template(program.plan, program.modules, { ...IO, ...CLI, ...HTTP }, program.handlesMax);
  const request = { method: "GET", target: "/", authority: HOST, headers: [["accept", new TextEncoder().encode("*/*")] as const], body: new Uint8Array() };
  const idle: Channel = { post: () => {}, next: () => null };
  return () => {
    const host = new Host(idle, { arguments: [], environment: [] }, request, request.body, program.headerBytesMax);
    const instance = template.instantiate(host);
    return () => {
      host.answer = null;
      instance.call("wasi:http/incoming-handler#handle", instance.give(newRequest(), "wasi:http/types#incoming-request"), instance.give(newOutparam(), "wasi:http/types#response-outparam"));
      if ((host.answer as Host["answer"])?.status !== 200) throw new Error("The guest did not answer");
    };
  };
}

type JcoModule = { instantiate(core: (name: string) => WebAssembly.Module, imports: object): { readonly incomingHandler: { handle(request: object, out: object): void } } };

async function jcoGlue(component: Uint8Array): Promise<Maker> {
  const { files } = (await transpileBytes(component, { name: "hello", instantiation: "sync", noTypescript: true, noNodejsCompat: true } as never)) as { files: Record<string, Uint8Array> };
  const modules = new Map(Object.entries(files).filter(([name]) => name.endsWith(".wasm")).map(([name, bytes]) => [name, new WebAssembly.Module(bytes.slice())]));
  const source = new TextDecoder().decode(files["hello.js"]);
  const { instantiate } = (await import(`data:text/javascript;base64,${Buffer.from(source).toString("base64")}`)) as JcoModule;
  return () => {
    const { incomingHandler } = instantiate((name) => modules.get(name)!, jcoImports);
    return () => {
      const call = newJcoCall("/", [["accept", new TextEncoder().encode("*/*")]]);
      incomingHandler.handle(call.request, call.out);
      if (call.status() !== 200) throw new Error("The guest did not answer");
    };
  };
}

async function httpRounds(stage: Stage, rounds: number, seconds: number, connections: number): Promise<HttpRound[]> {
  const by = generator();
  const servers = new Map<string, Server>();
  const rows: HttpRound[] = [];
  try {
    servers.set("wasmtime", (await SERVERS.godwit(stage))!);
    servers.set("v8", await v8Server(stage));
    const jco = await SERVERS["jco serve"](stage);
    if (jco !== null) servers.set("jco serve", jco);
    for (const server of servers.values()) await load(by, server.port, HOST, connections, WARM_UP_SECONDS);
    for (let round = 0; round < rounds; round++) {
      for (const [name, server] of servers) {
        const before = cpuUs(server.pid);
        const { requests } = await load(by, server.port, HOST, connections, seconds);
        rows.push({ server: name, round, requestsPerSecond: Math.round(requests / seconds), cpuUsPerRequest: rounded((cpuUs(server.pid) - before) / requests) });
      }
    }
    return rows;
  } finally {
    for (const server of servers.values()) await server.stop();
  }
}

/** The command line's own server, as an author has it. */
async function v8Server(stage: Stage): Promise<Server> {
  const child = spawn(process.execPath, [join(ROOT, "tools/cli/main.ts"), "serve", "--engine", "v8", "--port", "0", "--json", "--memory", "64", stage.componentFile], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) {
    const { port } = JSON.parse(line) as { port: number };
    child.stdout.resume();
    return { port, pid: child.pid ?? 0, stop: async () => void child.kill("SIGKILL") };
  }
  throw new Error("godwit serve --engine v8 ended");
}

await main();
process.exit(0); // jco's compiler keeps a handle open.
