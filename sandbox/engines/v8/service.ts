/**
 * A runner on V8: node:http in front, and behind it lanes, each with one request at a time in an instance of its own.
 *
 * It answers as the native runner does (codes, headers, limits, log lines), for one's own components on one's own computer. A
 * guest that must end ends with its lane, and only its own request with it. What it cannot do, README.md has in a table.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { LogLine, LogStream, Usage } from "../../control.ts";
import { SandboxError } from "../../errors.ts";
import { refuseWhereForbidden } from "../../guestsHere.ts";
import { completeLimits, CONCURRENCY_DEFAULT, CONCURRENCY_MAX, LIMITS_MAX, type Limits, TRIAL_WALL_TIME_MS_MAX } from "../../limits.ts";
import type { Deployment } from "../../load.ts";
import type { Runner, RunnerOptions } from "../../runner.ts";
import { Exchange } from "./exchange.ts";
import { Lane } from "./lane.ts";
import { mockSetting } from "./mock.ts";
import { Dialler } from "./outgoing.ts";
import type { Lanes, Loaded } from "./loaded.ts";
import { type ParsedProgram, preparedOf } from "./compiled.ts";
import type { FromLane, Program, Setting } from "./protocol.ts";

/** Threads at once, whatever the concurrency of the deployments: each is some 10 MB. */
export const LANES_MAX = 64;
const ANY_HOST = "*";

/** A listening socket of ours: `fd` is of no use to it, the server is. */
export class V8Listener {
  readonly fd = -1;
  readonly address: string;
  readonly port: number;
  readonly server: Server;
  constructor(server: Server, address: string, port: number) {
    this.server = server;
    this.address = address;
    this.port = port;
  }
  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}

export async function listen(address: string, port: number): Promise<V8Listener> {
  // Headers are judged by the deployment's limit; node only has to let them through.
  const server = createServer({ maxHeaderSize: 2 * LIMITS_MAX.headerBytesMax, requestTimeout: 0, keepAliveTimeout: 60_000, insecureHTTPParser: false });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const code = error.code === "EADDRINUSE" ? "port_in_use" : error.code === "EADDRNOTAVAIL" ? "address_unavailable" : "listen_failed";
      reject(new SandboxError(code, `Cannot listen on ${address} port ${port}: ${error.message}`, { cause: error }));
    });
    server.listen(port, address, resolve);
  });
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new SandboxError("listen_failed", `Cannot listen on ${address} port ${port}: it has no address`);
  return new V8Listener(server, bound.address, bound.port);
}

export async function startRunner(options: RunnerOptions): Promise<Runner> {
  refuseWhereForbidden();
  if (!(options.listener instanceof V8Listener)) throw new SandboxError("runner_failed", "The v8 engine serves on a listener of its own");
  return new V8Runner(options, options.listener.server);
}

class V8Runner implements Runner, Lanes {
  readonly pid: number = process.pid;
  readonly dialler: Dialler;
  readonly #options: RunnerOptions;
  readonly #server: Server;
  readonly #deployments = new Map<string, Loaded>();
  readonly #hosts = new Map<string, Loaded>();
  readonly #idle: Lane[] = [];
  readonly #lanes = new Set<Lane>();
  #programNumber = 0;
  #stopped = false;
  #held: boolean;
  readonly #early: (() => void)[] = [];

  constructor(options: RunnerOptions, server: Server) {
    this.#options = options;
    this.#server = server;
    this.dialler = new Dialler(options.outgoing);
    this.#held = options.hold ?? false;
    const take = (request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void => {
      const answer = (): void => void new Exchange(this, request, response, expectsContinue).run();
      if (this.#held) this.#early.push(answer);
      else answer();
    };
    server.on("request", (request, response) => take(request, response, false));
    server.on("checkContinue", (request, response) => take(request, response, true));
  }

  async pidOf(id: string): Promise<number | null> {
    return this.#deployments.has(id) ? this.pid : null;
  }

  async open(): Promise<void> {
    if (this.#stopped) throw stoppedError();
    this.#held = false;
    for (const answer of this.#early.splice(0)) answer();
  }

  async load(deployment: Deployment): Promise<void> {
    if (this.#stopped) throw stoppedError();
    const { id, concurrency = CONCURRENCY_DEFAULT } = deployment;
    const limits = limitsOf(deployment);
    if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > CONCURRENCY_MAX) throw new SandboxError("limit_invalid", `Cannot load ${id}: concurrency ${concurrency} is not from 1 to ${CONCURRENCY_MAX}`);
    const hosts = deployment.hosts.map((host) => host.toLowerCase());
    const compiled: ParsedProgram = preparedOf(deployment.compiled.digest);
    this.#programNumber += 1;
    const program = await compiled.prepare(`${deployment.compiled.digest}-${this.#programNumber}`, limits);
    const setting: Setting = { arguments: [], environment: Object.entries(deployment.environment ?? {}), ...mockSetting(deployment.mock) };
    await this.#try(id, program, setting);
    for (const host of hosts) {
      const other = this.#hosts.get(host);
      if (other !== undefined && other.id !== id) throw new SandboxError("host_in_use", `Host ${host} belongs to another deployment`);
    }
    const before = this.#deployments.get(id);
    for (const host of before?.hosts ?? []) this.#hosts.delete(host);
    const usage = before?.usage ?? { requests: 0, errors: 0, fuel: 0, cpuNs: 0, memoryBytes: 0, memoryBytesPeak: 0, running: 0, waiting: 0, logLinesDropped: 0 };
    const loaded: Loaded = { id, hosts, program, setting, limits, concurrency, outgoing: deployment.outgoing ?? [], mock: deployment.mock, usage, queue: before?.queue ?? [] };
    this.#deployments.set(id, loaded);
    for (const host of hosts) this.#hosts.set(host, loaded);
    if (before !== undefined) for (const lane of this.#idle) lane.forget(before.program.id);
  }

  async unload(id: string): Promise<void> {
    const loaded = this.#deployments.get(id);
    if (loaded === undefined) return;
    this.#deployments.delete(id);
    for (const host of loaded.hosts) this.#hosts.delete(host);
    for (const lane of this.#idle) lane.forget(loaded.program.id);
  }

  async usage(): Promise<Record<string, Usage>> {
    if (this.#stopped) throw stoppedError();
    return Object.fromEntries([...this.#deployments].map(([id, { usage, queue }]) => [id, { ...usage, waiting: queue.length }]));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#server.removeAllListeners("request").removeAllListeners("checkContinue");
    this.#server.closeAllConnections();
    await Promise.all([...this.#lanes].map((lane) => lane.end()));
    this.#lanes.clear();
  }

  route(host: string): Loaded | undefined {
    return this.#hosts.get(host) ?? this.#hosts.get(ANY_HOST);
  }

  /** A lane with the program in it; null when there are as many as there may be. */
  lane(program: Program): Lane | null {
    let lane = this.#idle.pop();
    while (lane?.isEnded === true) lane = this.#idle.pop();
    if (lane === undefined) {
      if (this.#lanes.size >= LANES_MAX || this.#stopped) return null;
      lane = new Lane();
      this.#lanes.add(lane);
    }
    lane.load(program);
    return lane;
  }

  /** Back, for the next request; or away, when the guest in it has not ended. */
  release(lane: Lane, isFree: boolean): void {
    lane.free();
    if (isFree && !this.#stopped) return void this.#idle.push(lane);
    this.#lanes.delete(lane);
    void lane.end();
  }

  log(id: string, requestId: string, stream: LogStream, line: string): void {
    const entry: LogLine = { id, requestId, stream, timeMs: Date.now(), line };
    this.#options.onLog?.(entry);
  }

  /** One instance, of which nothing is asked: what cannot even begin is refused once. */
  async #try(id: string, program: Program, setting: Setting): Promise<void> {
    const lane = this.lane(program);
    if (lane === null) throw new SandboxError("runner_busy", "Every instance that the runner can have is in use");
    const { promise, resolve } = Promise.withResolvers<{ isFree: boolean; reason: string | null }>();
    let timer: NodeJS.Timeout | undefined;
    lane.take((message: FromLane) => {
      if (message.type === "begun") timer = setTimeout(() => resolve({ isFree: false, reason: `wall_time_limit: still running after ${TRIAL_WALL_TIME_MS_MAX} ms` }), TRIAL_WALL_TIME_MS_MAX);
      else if (message.type === "write") {
        lane.post({ type: "taken", bytes: message.bytes.length });
        this.log(id, "", message.stream === 1 ? "stdout" : "stderr", new TextDecoder().decode(message.bytes).replace(/\n$/, ""));
      } else if (message.type === "done") resolve({ isFree: true, reason: message.failure === null ? null : `${message.failure.code}: ${message.failure.message.trim().split("\n").at(-1)?.trim()}` });
    }, (reason) => resolve({ isFree: false, reason: `trap: the guest's thread ended: ${reason}` }));
    lane.post({ type: "try", id: program.id, setting });
    const { isFree, reason } = await promise;
    clearTimeout(timer);
    this.release(lane, isFree);
    if (reason !== null) throw new SandboxError("load_failed", `The component cannot be instantiated: ${reason}`);
  }
}

function limitsOf(deployment: Deployment): Limits {
  try {
    return completeLimits(deployment.limits);
  } catch (cause) {
    throw new SandboxError("limit_invalid", `Cannot load ${deployment.id}: ${(cause as Error).message}`, { cause });
  }
}

const stoppedError = (): SandboxError => new SandboxError("runner_stopped", "The runner was stopped");
