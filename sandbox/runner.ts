/**
 * Keeps one runner process alive over one listening socket.
 *
 * The socket outlives every process: while there is none, clients wait in its backlog. A process that ends is replaced at once
 * and given everything that was loaded before it accepts its first connection; only one that dies again and again as it starts
 * is held back. `#loads` is what should be loaded; a call that a dead process has not answered, the next one answers. Call from
 * the main thread: the kernel ends a runner with the thread that started it.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import type { Duplex } from "node:stream";
import type { CodeVault } from "./addon.ts";
import { codeDirectory, removeEntry } from "./cache.ts";
import { type Group, makeGroup } from "./cgroup.ts";
import { encodeMessage, MessageReader, parseFromRunner, type FromRunner, type Load, type LogLine, type ToRunner, type Usage } from "./control.ts";
import { createDial, type Connect, type Dial, type Dialled, type OutgoingOptions } from "./dial.ts";
import { SandboxError, type SandboxErrorCode } from "./errors.ts";
import { CONTROL_MESSAGE_BYTES_MAX, INGRESS_DEFAULT, type IngressLimits } from "./limits.ts";
import { type Deployment, loadOf } from "./load.ts";
import { defaultCacheDirectory, engineId, missing, nativePaths } from "./native.ts";
import type { OutgoingPlace } from "./outgoing.ts";

export type RunnerExit = { readonly pid: number; readonly code: number | null; readonly signal: string | null };
export type RunnerOptions = {
  /** Its descriptor is inherited; the caller keeps it open for as long as the runner is wanted, and closes it. */
  readonly listener: { readonly fd: number };
  readonly cacheDirectory?: string;
  readonly onLog?: (line: LogLine) => void;
  /** A runner process ended by itself; the next one is on its way. */
  readonly onExit?: (exit: RunnerExit) => void;
  /** After a respawn: a deployment that could not be loaded again (its cache entry is gone or corrupt). */
  readonly onLost?: (id: string, code: string, message: string) => void;
  /** How often the process is asked whether it lives; one that twice does not answer is ended, and so replaced. */
  readonly askEveryMs?: number;
  /** Of the whole process, where there are control groups (cgroup.ts); default: most of the computer's. */
  readonly memoryBytesMax?: number;
  /** Takes no request before `open()`: clients wait in the backlog until what they want is loaded. */
  readonly hold?: boolean;
  /** What is left out is INGRESS_DEFAULT. */
  readonly ingress?: Partial<IngressLimits>;
  /** How requests of guests are dialled, where their deployment's list allows them. */
  readonly outgoing?: OutgoingOptions;
};
/** The socket jobs that only the addon can do. */
export type Sockets = {
  CodeVault: new (directory: string) => CodeVault;
  readonly dial: Connect;
  /** Two ends of a socket of packets. */
  readonly socketPair: () => number[];
  /** Closes `fd` here in any case; false when the other side does not take it. */
  readonly sendDescriptor: (socket: number, fd: number, call: number) => boolean;
  readonly closeDescriptor: (fd: number) => void;
};
/** A deployment that has a runner of its own behind this one, which listens on `port` of loopback. */
export type Hop = { readonly id: string; readonly hosts: readonly string[]; readonly requestsMax: number; readonly port: number };
/** A runner that can have others behind it. */
export type Front = Runner & {
  /** Idempotent, and a change of the port or the hosts loses no request. Takes the place of what was loaded under the id; `unload` ends it. Throws host_in_use. */
  hop(hop: Hop): Promise<void>;
};
export type Runner = {
  /** Of the process that serves a deployment: another than `pid` where it has a runner of its own. */
  pidOf(id: string): Promise<number | null>;
  /** Of the present process, or null while there is none. */
  readonly pid: number | null;
  /** Takes requests from now on. Idempotent; only for one that was started with `hold`. */
  open(): Promise<void>;
  /**
   * Idempotent; an id that is loaded already is replaced without losing a request. Resolves when requests are served by it.
   * One instance is made first, within all limits: what cannot begin is refused here and not at every request.
   * Throws load_failed (with what the instance trapped with), artefact_corrupt (compile it again), host_in_use, limit_invalid,
   * runner_busy (no instance is free for the trial: try again), runner_stopped.
   */
  load(deployment: Deployment): Promise<void>;
  /** Idempotent. Requests that run are finished. */
  unload(id: string): Promise<void>;
  usage(): Promise<Record<string, Usage>>;
  /** Ends the process and waits until it is gone. */
  stop(): Promise<void>;
};

const LOOPBACK = "127.0.0.1";
/** A process that lived for so long had started well. */
const STARTED_WELL_MS = 2_000;
const RESPAWN_DELAY_MS = 50;
const RESPAWN_DELAY_MS_MAX = 5_000;
const START_TIMEOUT_MS = 10_000;
const ASK_EVERY_MS = 5_000;
const UNANSWERED_MAX = 2;
const REASON_CHARACTERS_MAX = 4_096;
/** Processes that may end while they load the same: it may be what ends them, and all others with them. */
const LOAD_DEATHS_MAX = 3;

/** Throws runner_failed when the first process does not come up, native_missing when there is none to start. */
export async function startRunner(options: RunnerOptions, sockets: Sockets): Promise<Front> {
  const cacheDirectory = options.cacheDirectory ?? defaultCacheDirectory();
  if (!existsSync(nativePaths().runner)) throw missing(nativePaths().runner);
  await mkdir(codeDirectory(cacheDirectory), { recursive: true, mode: 0o700 });
  const runner = new RunnerKeeper(options, cacheDirectory, sockets);
  await runner.start();
  return runner;
}

/** `isRepeat`: of what was loaded already, for a new process. */
type Call = { message: ToRunner; deaths?: number; isRepeat?: true; resolve: (usage: Record<string, Usage>) => void; reject: (error: SandboxError) => void };

class RunnerKeeper implements Front {
  readonly #options: RunnerOptions;
  readonly #cacheDirectory: string;
  readonly #sockets: Sockets;
  readonly #dial: Dial;
  readonly #vault: CodeVault;
  readonly #group: Group | null;
  readonly #loads = new Map<string, Load>();
  readonly #hops = new Map<string, Hop>();
  readonly #calls = new Map<number, Call>();
  /** What processes that are gone had counted, as far as it was asked for. */
  readonly #counted = new Map<string, Usage>();
  readonly #latest = new Map<string, Usage>();
  #callNumber = 0;
  #process: { child: ChildProcess; pid: number; control: Duplex; exited: Promise<void>; told: Map<string, readonly OutgoingPlace[]> } | null = null;
  #started = false;
  #earlyDeaths = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #asking: NodeJS.Timeout;
  #unanswered = 0;
  #stopped = false;
  #held: boolean;
  readonly #opened = Promise.withResolvers<void>();
  /** Loads and unloads of one id one after the other: the last one called is the one that holds. A slow trial holds up its own id only. */
  readonly #tails = new Map<string, Promise<unknown>>();

  constructor(options: RunnerOptions, cacheDirectory: string, sockets: Sockets) {
    this.#options = options;
    this.#sockets = sockets;
    this.#dial = createDial(sockets.dial, options.outgoing);
    this.#cacheDirectory = cacheDirectory;
    this.#vault = new sockets.CodeVault(codeDirectory(cacheDirectory));
    this.#group = makeGroup(options.memoryBytesMax);
    this.#held = options.hold ?? false;
    this.#opened.promise.catch(() => {});
    this.#asking = setInterval(() => this.#ask(), options.askEveryMs ?? ASK_EVERY_MS).unref();
  }

  get pid(): number | null {
    if (this.#process === null) return null;
    const { pid } = this.#process;
    return this.#started ? pid : (childOf(pid) ?? pid);
  }

  async pidOf(id: string): Promise<number | null> {
    return this.#loads.has(id) ? this.pid : null;
  }

  async start(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new SandboxError("runner_failed", `The runner did not start within ${START_TIMEOUT_MS} ms`)), START_TIMEOUT_MS);
    });
    const first = new Promise<void>((resolve, reject) => this.#spawn(resolve, reject));
    try {
      await Promise.race([first, late]);
    } catch (error) {
      await this.stop();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  open(): Promise<void> {
    if (this.#stopped) return Promise.reject(stoppedError());
    if (this.#held) {
      this.#held = false;
      this.#send({ message: this.#start(), resolve: () => this.#opened.resolve(), reject: () => {} });
    }
    return this.#opened.promise;
  }

  #start(): ToRunner {
    return { type: "start", call: 0, ingress: { ...INGRESS_DEFAULT, ...this.#options.ingress } };
  }

  load(deployment: Deployment): Promise<void> {
    return this.#inTurn(deployment.id, async () => {
      const { load, codeSha256 } = await loadOf(deployment, this.#cacheDirectory);
      this.#vault.allow(load.code, codeSha256);
      // The next process has it without a trial; until then, what was loaded before.
      try {
        await this.#call({ type: "load", call: 0, load }, () => {
          this.#loads.set(load.id, { ...load, trialMs: 0 });
          this.#hops.delete(load.id);
        });
      } catch (error) {
        // The next compile makes it anew.
        if ((error as SandboxError).code === "artefact_corrupt") await removeEntry(this.#cacheDirectory, deployment.compiled.digest, engineId());
        throw error;
      }
    });
  }

  hop(hop: Hop): Promise<void> {
    return this.#inTurn(hop.id, async () => {
      const before = this.#hops.get(hop.id);
      this.#hops.set(hop.id, hop);
      try {
        await this.#call(hopMessage(hop), () => this.#loads.delete(hop.id));
      } catch (error) {
        if (before === undefined) this.#hops.delete(hop.id);
        else this.#hops.set(hop.id, before);
        throw error;
      }
    });
  }

  unload(id: string): Promise<void> {
    return this.#inTurn(id, async () => {
      const wasHop = this.#hops.delete(id);
      if (!this.#loads.delete(id) && !wasHop) return;
      await this.#call({ type: "unload", call: 0, id });
      this.#process?.told.set(id, []);
      this.#counted.delete(id);
      this.#latest.delete(id);
    });
  }

  async usage(): Promise<Record<string, Usage>> {
    const latest = await this.#call({ type: "usage", call: 0 });
    const usage: Record<string, Usage> = {};
    for (const id of this.#loads.keys()) {
      const now = latest[id];
      if (now === undefined) continue;
      this.#latest.set(id, now);
      usage[id] = addUsage(this.#counted.get(id), now);
    }
    return usage;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearInterval(this.#asking);
    const process = this.#process;
    if (process !== null) {
      process.child.kill("SIGKILL");
      await process.exited;
    }
    await this.#group?.remove();
    for (const call of this.#calls.values()) call.reject(stoppedError());
    this.#calls.clear();
    this.#opened.reject(stoppedError());
  }

  /** Also keeps what is counted from being lost with a process. */
  #ask(): void {
    if (this.#process === null || !this.#started) return;
    if (this.#unanswered >= UNANSWERED_MAX) {
      this.#process.child.kill("SIGKILL");
      return;
    }
    this.#unanswered += 1;
    this.usage().then(() => (this.#unanswered = 0)).catch(() => {});
  }

  #inTurn<T>(id: string, work: () => Promise<T>): Promise<T> {
    const result = (this.#tails.get(id) ?? Promise.resolve()).then(work);
    const tail = result.catch(() => {}).then(() => {
      if (this.#tails.get(id) === tail) this.#tails.delete(id);
    });
    this.#tails.set(id, tail);
    return result;
  }

  /** `onAnswer` is called before the process can end that answered. */
  #call(message: ToRunner, onAnswer: () => void = () => {}): Promise<Record<string, Usage>> {
    if (this.#stopped) return Promise.reject(stoppedError());
    return new Promise((resolve, reject) => {
      const answered = (usage: Record<string, Usage>): void => {
        onAnswer();
        resolve(usage);
      };
      this.#send({ message, resolve: answered, reject });
    });
  }

  /** Without a process the call waits for the next one. */
  #send(call: Call): void {
    this.#callNumber += 1;
    const message = { ...call.message, call: this.#callNumber };
    this.#calls.set(this.#callNumber, { ...call, message });
    if (message.type === "load") this.#process?.told.set(message.load.id, message.load.outgoing);
    this.#process?.control.write(encodeMessage(message));
  }

  #spawn(onStarted: () => void, onFailed: (error: Error) => void): void {
    const code = this.#vault.open();
    const [connected = -1, theirs = -1] = this.#sockets.socketPair();
    const child = spawn(nativePaths().runner, [String(process.pid), ...(this.#group?.files ?? []).map((file) => `--cgroup=${file}`)], {
      stdio: ["ignore", "ignore", "pipe", "pipe", this.#options.listener.fd, code, theirs],
      env: {},
      cwd: "/",
    });
    for (const inherited of [code, theirs]) this.#sockets.closeDescriptor(inherited);
    const spawnedMs = performance.now();
    const control = child.stdio[3] as Duplex;
    let reason = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      reason = (reason + text).slice(-REASON_CHARACTERS_MAX);
    });
    const exited = new Promise<void>((resolve) => {
      const ended = (code: number | null, signal: string | null): void => {
        if (this.#process?.child !== child) return;
        const { pid } = this.#process;
        resolve();
        this.#process = null;
        this.#sockets.closeDescriptor(connected);
        const early = !this.#started || performance.now() - spawnedMs < STARTED_WELL_MS;
        if (!this.#started) onFailed(new SandboxError("runner_failed", `The runner ended by ${signal ?? `code ${code}`} as it started: ${reason.trim()}`));
        this.#ended({ pid, code, signal }, early);
      };
      // Not "exit": with processes of its own the runner is a child of the one that was started, and its descriptors close last.
      child.on("close", ended);
      child.on("error", (error) => {
        reason = error.message;
        ended(null, "spawn error");
      });
    });
    const told = new Map<string, readonly OutgoingPlace[]>();
    this.#process = { child, pid: child.pid ?? 0, control, exited, told };
    this.#started = false;
    this.#unanswered = 0;
    const reader = new MessageReader(CONTROL_MESSAGE_BYTES_MAX);
    control.on("error", () => {});
    control.on("data", (chunk: Uint8Array) => {
      try {
        for (const message of reader.push(chunk)) this.#take(child, told, connected, parseFromRunner(message));
      } catch {
        // A runner that does not speak the protocol may be a tenant: away with it.
        child.kill("SIGKILL");
      }
    });
    this.#tellEverything(onStarted);
  }

  /** To a new process: everything that should be loaded, then start unless it is held, then what its predecessor did not answer. */
  #tellEverything(onStarted: () => void): void {
    const unanswered = [...this.#calls.values()];
    this.#calls.clear();
    const roots = (this.#options.outgoing?.test?.roots ?? []).map((root) => Buffer.from(root).toString("hex"));
    if (roots.length > 0) this.#send({ message: { type: "trust", call: 0, roots }, resolve: () => {}, reject: () => {} });
    for (const load of this.#loads.values()) {
      const lost = ({ code, message }: SandboxError): void => {
        if (this.#stopped || this.#loads.get(load.id) !== load) return;
        this.#loads.delete(load.id);
        this.#options.onLost?.(load.id, code, message);
      };
      this.#send({ message: { type: "load", call: 0, load }, resolve: () => {}, reject: lost, isRepeat: true });
    }
    for (const hop of this.#hops.values()) this.#send({ message: hopMessage(hop), resolve: () => {}, reject: () => {}, isRepeat: true });
    for (const call of unanswered) {
      if (call.message.type === "hop") call.resolve({});
      if (call.message.type !== "load" || call.isRepeat) continue;
      const deaths = (call.deaths ?? 0) + 1;
      if (deaths < LOAD_DEATHS_MAX) this.#send({ ...call, deaths });
      else call.reject(new SandboxError("load_failed", `Cannot load ${call.message.load.id}: the runner ended ${deaths} times meanwhile`));
    }
    const held = this.#held;
    const resolve = (): void => {
      this.#started = true;
      if (this.#process !== null) this.#process.pid = childOf(this.#process.pid) ?? this.#process.pid;
      onStarted();
      if (!held) this.#opened.resolve();
    };
    // One that is held answers too, so that it is known to be up.
    this.#send({ message: held ? { type: "usage", call: 0 } : this.#start(), resolve, reject: () => {} });
    for (const call of unanswered) {
      if (call.message.type === "usage") this.#send(call);
      else if (call.message.type === "unload") call.resolve({});
    }
  }

  #ended(exit: RunnerExit, early: boolean): void {
    this.#process = null;
    this.#started = false;
    for (const [id, usage] of this.#latest) this.#counted.set(id, { ...addUsage(this.#counted.get(id), usage), memoryBytes: 0, running: 0, waiting: 0 });
    this.#latest.clear();
    if (this.#stopped) return;
    this.#earlyDeaths = early ? this.#earlyDeaths + 1 : 0;
    const delayMs = this.#earlyDeaths < 2 ? 0 : Math.min(RESPAWN_DELAY_MS * 2 ** (this.#earlyDeaths - 2), RESPAWN_DELAY_MS_MAX);
    const respawn = (): void => this.#spawn(() => {}, () => {});
    if (delayMs === 0) respawn();
    else this.#timer = setTimeout(respawn, delayMs);
    this.#options.onExit?.(exit);
  }

  async #dialHop(id: string, timeoutMs: number): Promise<Dialled> {
    const hop = this.#hops.get(id);
    const { fd, code } = hop === undefined ? { fd: -1, code: "denied" } : await this.#sockets.dial(LOOPBACK, hop.port, timeoutMs);
    return fd >= 0 ? { fd, code: "" } : { fd: -1, code: code === "denied" ? "denied" : "connection_refused" };
  }

  #take(child: ChildProcess, told: ReadonlyMap<string, readonly OutgoingPlace[]>, connected: number, message: FromRunner): void {
    if (message.type === "dial") {
      const { call, id } = message;
      const dialled = message.scheme === "hop" ? this.#dialHop(id, message.timeoutMs) : this.#dial(id, told.get(id) ?? [], message);
      void dialled.then(({ fd, code }) => {
        const isThere = this.#process?.child === child;
        if (code !== "") {
          if (isThere) this.#process?.control.write(encodeMessage({ type: "refused", call, code }));
        } else if (!isThere) this.#sockets.closeDescriptor(fd);
        else if (!this.#sockets.sendDescriptor(connected, fd, call)) child.kill("SIGKILL");
      });
      return;
    }
    if (message.type === "lost") {
      if (!told.has(message.id)) throw new RangeError("A loss of a deployment that this runner does not have");
      // One that is just being loaded anew is not lost.
      if (this.#process?.child === child && !this.#tails.has(message.id) && this.#loads.delete(message.id)) this.#options.onLost?.(message.id, message.code, message.message);
      return;
    }
    if (message.type === "logs") {
      if (!message.lines.every(({ id }) => told.has(id))) throw new RangeError("A line of a deployment that this runner does not have");
      for (const line of message.lines) this.#options.onLog?.(line);
      return;
    }
    const call = this.#process?.child === child ? this.#calls.get(message.call) : undefined;
    if (call === undefined) return;
    this.#calls.delete(message.call);
    if (message.type === "failed") call.reject(new SandboxError(message.code as SandboxErrorCode, message.message));
    else call.resolve(message.type === "usage" ? message.usage : {});
  }
}

/** A runner with processes of its own is the last child of the process that we started, which waits for it (native/core/src/spaces.rs). */
function childOf(pid: number): number | null {
  try {
    const child = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").trim().split(" ").at(-1);
    return child === undefined || child === "" ? null : Number(child);
  } catch {
    return null;
  }
}

const hopMessage = ({ id, hosts, requestsMax }: Hop): ToRunner => ({ type: "hop", call: 0, id, hosts, requestsMax });

function addUsage(before: Usage | undefined, now: Usage): Usage {
  if (before === undefined) return now;
  return {
    ...now,
    requests: before.requests + now.requests,
    errors: before.errors + now.errors,
    fuel: before.fuel + now.fuel,
    cpuNs: before.cpuNs + now.cpuNs,
    memoryBytesPeak: Math.max(before.memoryBytesPeak, now.memoryBytesPeak),
    logLinesDropped: before.logLinesDropped + now.logLinesDropped,
  };
}

const stoppedError = (): SandboxError => new SandboxError("runner_stopped", "The runner was stopped");
