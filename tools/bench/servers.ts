/**
 * The servers that `bench:http` puts side by side: ours, in the ways it can serve, and the pinned peers. All answer `GET /` with
 * `Hello, world!`; where a server runs components it is the same component. Each is a process of its own that stays for the
 * whole benchmark; nothing but one of them has load at a time.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compile, type Compiled, type Deployment, listen, startRunner } from "#sandbox/sandbox.ts";
import { freePort } from "#tools/chain/machines.ts";
import { buildComponent } from "#workloads/sdk/build.ts";
import { type PeerName, peerProgram } from "./peers.ts";
import { family } from "./report.ts";

export type Server = {
  readonly port: number;
  /** Of the process that serves. */
  readonly pid: number;
  readonly stop: () => Promise<void>;
};
export type ServerName = "godwit" | "godwit reuse" | "godwit logging" | "godwit beside endless" | "wasmtime serve" | "wasmtime serve tuned" | "wasmtime serve reuse" | "jco serve" | "workerd" | "node:http" | "hyper";

export const HOST = "bench.localhost";
const ROOT = join(import.meta.dirname, "..", "..");
const ENDLESS_NEIGHBOURS = 4;
const CONCURRENCY = 128; // More than the connections, so that the queue is not what is measured.
const MEMORY_BYTES_MAX = 512 * 1024 * 1024;
const START_TIMEOUT_MS = 30_000;
const RETRY_MS = 20;
const STOP_TIMEOUT_MS = 2_000;

/** What `wasmtime serve` has to be told to keep its pool as we keep ours (core/src/engine.rs). */
const TUNED = "pooling-allocator=y,memory-init-cow=y,pooling-decommit-batch-size=16,pooling-memory-keep-resident=262144,pooling-table-keep-resident=32768,pooling-async-stack-keep-resident=32768";

const workerScript = `export default { fetch() { return new Response("Hello, world!\\n", { headers: { "content-type": "text/plain; charset=utf-8" } }); } };\n`;
const workerConfig = (port: number): string => `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (services = [(name = "main", worker = .w)], sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")]);
const w :Workerd.Worker = (modules = [(name = "worker", esModule = embed "worker.js")], compatibilityDate = "2026-01-01");
`;
const nodeScript = `import { createServer } from "node:http";
createServer((_request, response) => {
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.end("Hello, world!\\n");
}).listen(Number(process.argv[2]), "127.0.0.1");
`;

/** What the servers need, made once: the component, its file, its code. */
export type Stage = { readonly folder: string; readonly componentFile: string; readonly plain: Compiled; readonly logging: Compiled; readonly endless: Compiled; readonly remove: () => void };

export async function makeStage(): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), "godwit-bench-"));
  const assembly = async (entry: string): Promise<Uint8Array> => (await buildComponent(import.meta.dirname, `assembly/${entry}.ts`, "service")).component;
  const component = await assembly("plain");
  const componentFile = join(folder, "plain.wasm");
  writeFileSync(componentFile, component);
  writeFileSync(join(folder, "worker.js"), workerScript);
  writeFileSync(join(folder, "server.mjs"), nodeScript);
  const code = (bytes: Uint8Array): Promise<Compiled> => compile(bytes, { cacheDirectory: folder });
  const example = (await buildComponent(join(ROOT, "workloads", "examples", "hello"), "assembly/index.ts", "service")).component;
  return { folder, componentFile, plain: await code(component), logging: await code(example), endless: await code(await assembly("endless")), remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** null: a peer that is not installed. */
export const SERVERS: Readonly<Record<ServerName, (stage: Stage) => Promise<Server | null>>> = {
  /** A fresh instance for each request, in the jail, with every limit. */
  godwit: (stage) => runner(stage, { compiled: stage.plain }),
  /** One instance for many requests, as a deployment can ask for. */
  "godwit reuse": (stage) => runner(stage, { compiled: stage.plain, reuse: true }),
  /** The SDK's example, which writes a line of log for each request; what is over the default rate is dropped. */
  "godwit logging": (stage) => runner(stage, { compiled: stage.logging }),
  "godwit beside endless": (stage) => runner(stage, { compiled: stage.plain }, ENDLESS_NEIGHBOURS),
  "wasmtime serve": (stage) => wasmtime(stage, []),
  "wasmtime serve tuned": (stage) => wasmtime(stage, ["-O", TUNED]),
  "wasmtime serve reuse": (stage) => wasmtime(stage, ["--max-instance-reuse-count", "1000000"]),
  "jco serve": (stage) => peer("jco", async (program, port) => beside(process.execPath, [program, "serve", stage.componentFile, "--port", String(port)])),
  workerd: (stage) =>
    peer("workerd", async (program, port) => {
      const file = join(stage.folder, "worker.capnp");
      writeFileSync(file, workerConfig(port));
      return beside(program, ["serve", file]);
    }),
  "node:http": async (stage) => started(await freePort(), (port) => beside(process.execPath, [join(stage.folder, "server.mjs"), String(port)])),
  hyper: () => peer("hyper", async (program, port) => beside(program, [String(port)])),
};

export const serverNames = Object.keys(SERVERS) as ServerName[];

/**
 * What our runner takes for itself (NICE of runner/src/main.rs). The load comes from the same cores, and gets as much of them beside each:
 * so all are of this session too, as the kernel may share the cores among sessions first (autogroup).
 */
const NICE = 5;
const beside = (program: string, args: readonly string[]): ChildProcess => spawn("nice", ["-n", String(NICE), program, ...args], { stdio: "ignore", env: bare() });

/** Without what would slow a peer down: wasmtime makes a backtrace for each request where RUST_BACKTRACE is set. */
const bare = (): NodeJS.ProcessEnv => ({ PATH: process.env["PATH"], HOME: process.env["HOME"] });

const wasmtime = (stage: Stage, options: readonly string[]): Promise<Server | null> =>
  peer("wasmtime", async (program, port) => beside(program, ["serve", ...options, "-S", "cli", "--addr", `127.0.0.1:${port}`, stage.componentFile]));

async function peer(name: PeerName, start: (program: string, port: number) => Promise<ChildProcess>): Promise<Server | null> {
  const program = peerProgram(name);
  if (program === null) return null;
  const port = await freePort();
  const child = await start(program, port);
  return started(port, () => child);
}

async function runner(stage: Stage, deployment: Pick<Deployment, "compiled" | "reuse">, endless = 0): Promise<Server> {
  const listener = await listen("127.0.0.1", 0);
  const runner = await startRunner({ listener, cacheDirectory: stage.folder, onLog: () => {} });
  await runner.load({ id: "bench", hosts: [HOST], concurrency: CONCURRENCY, limits: { memoryBytesMax: MEMORY_BYTES_MAX }, ...deployment });
  const neighbours = new AbortController();
  if (endless > 0) {
    await runner.load({ id: "endless", hosts: ["endless.localhost"], compiled: stage.endless, concurrency: endless, limits: { fuelPerCallMax: 1e15, wallTimeMsMax: 600_000 } });
    for (let i = 0; i < endless; i++) request({ host: "127.0.0.1", port: listener.port, headers: { host: "endless.localhost" }, signal: neighbours.signal, agent: false }).on("error", () => {}).end();
  }
  return {
    port: listener.port,
    pid: runner.pid ?? 0,
    stop: async () => {
      neighbours.abort();
      await runner.stop();
      listener.close();
    },
  };
}

async function started(port: number, start: (port: number) => ChildProcess): Promise<Server> {
  const child = start(port);
  const exited = once(child, "exit");
  const stop = async (): Promise<void> => {
    const all = child.pid === undefined ? [] : family(child.pid); // jco serves from a child of its own.
    const end = (signal: NodeJS.Signals): void => all.forEach((pid) => kill(pid, signal));
    const timer = setTimeout(() => end("SIGKILL"), STOP_TIMEOUT_MS);
    end("SIGTERM");
    if (child.exitCode === null && child.signalCode === null) await exited;
    clearTimeout(timer);
    end("SIGKILL");
  };
  try {
    await answers(port, child);
  } catch (error) {
    await stop();
    throw error;
  }
  return { port, pid: child.pid ?? 0, stop };
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

/** Waits until the server answers, and with what it should. */
async function answers(port: number, child: ChildProcess): Promise<void> {
  const endMs = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    const text = await ask(port).catch(() => null);
    if (text === "Hello, world!\n") return;
    if (text !== null || child.exitCode !== null || performance.now() > endMs) throw new Error(`${child.spawnargs.join(" ")} does not serve: ${text ?? `no answer, exit code ${child.exitCode}`}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

const ask = (port: number): Promise<string> =>
  new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, headers: { host: HOST }, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk)).on("end", () => resolve(text));
    });
    sent.on("error", reject).end();
  });

/** Of the one process, without its children. */
export const residentMib = (pid: number): number => Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? Number.NaN) / 1024);
