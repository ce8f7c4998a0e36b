/**
 * Keeps one runner process alive over one listening socket.
 *
 * The socket outlives every process: while there is none, clients wait in its backlog. A process that ends is replaced at once,
 * by a spare that is up and jailed and knows nothing yet, and given everything that was loaded before it accepts its first
 * connection; only one that dies again and again as it starts is held back. `#loads` is what should be loaded; a call that a dead process has not answered, the next one answers. Call from
 * the main thread: the kernel ends a runner with the thread that started it.
 */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import type { CodeVault } from "./addon.ts";
import { codeDirectory, removeEntry } from "./cache.ts";
import { type Group, makeGroup } from "./cgroup.ts";
import type { FromRunner, HopCounts, Load, LogLine, TaskEnd, ToRunner, Usage } from "./control.ts";
import { createDial, type Connect, type Dial, type Dialled, type OutgoingOptions } from "./dial.ts";
import { type Elsewhere, ElsewhereKept, type Reach, createPeerDial } from "./elsewhere.ts";
import { SandboxError, type SandboxErrorCode } from "./errors.ts";
import { INGRESS_DEFAULT, type IngressLimits } from "./limits.ts";
import { type Deployment, type Task, deploymentOfTask, loadOf } from "./load.ts";
import { defaultCacheDirectory, engineId, missing, nativePaths } from "./native.ts";
import { RunnerProcess } from "./runnerProcess.ts";

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
  /** Where other machines listen, for hops to them. */
  readonly reach?: Reach;
  /** False: no second process waits for the first to end, and a new one takes as long as it takes to start. */
  readonly spare?: boolean;
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
export type Front = Runner & TaskRunner & {
  readonly elsewhere: Elsewhere;
  /** Idempotent, and a change of the port or the hosts loses no request. Takes the place of what was loaded under the id; `unload` ends it. Throws host_in_use. */
  hop(hop: Hop): Promise<void>;
};
export type Runner = {
  /** Of the process that serves a deployment: another than `pid` where it has a runner of its own. */
  pidOf(id: string): Promise<number | null>;
  /** Of the present process, or null while there is none. */
  readonly pid: number | null;
  /** Other machines; left out by an engine that passes nothing on. */
  readonly elsewhere?: Elsewhere;
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

/** What runs to an end, in the same process and behind the same walls. */
export type TaskRunner = {
  /**
   * Runs a tenant's task, once; one of the same id is stopped first. A process that ends under it says `runner_gone`.
   * Throws load_failed, artefact_corrupt, limit_invalid, isolation_full, runner_busy, runner_stopped.
   */
  task(task: Task): Promise<TaskEnd>;
  /** Idempotent: its `task` resolves with `stopped`. */
  stopTask(id: string): Promise<void>;
  /** Until when tasks may run, in ms of the computer's monotonic clock: it holds even while this process is stopped. */
  fence(untilMs: number): void;
};

const LOOPBACK = "127.0.0.1";
/** As a shell reports a process that was aborted. */
const EXIT_CODE_ABORTED = 134;
/** A process that lived for so long had started well. */
const STARTED_WELL_MS = 2_000;
const RESPAWN_DELAY_MS = 50;
const RESPAWN_DELAY_MS_MAX = 5_000;
const START_TIMEOUT_MS = 60_000;
const ASK_EVERY_MS = 5_000;
const UNANSWERED_MAX = 2;
/** A computer that starts has other things to do first, and a runner that dies at once needs no other that does. */
const SPARE_DELAY_MS = 1_000;
const SPARE_DELAY_MS_MAX = 60_000;
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
type Call = {
  message: ToRunner; ended?: (end: TaskEnd) => void; deaths?: number; isRepeat?: true; resolve: (usage: Record<string, Usage>, hops?: HopCounts) => void;
  reject: (error: SandboxError) => void;
};

class RunnerKeeper implements Front {
  readonly #options: RunnerOptions;
  readonly #cacheDirectory: string;
  readonly #sockets: Sockets;
  readonly #dial: Dial;
  readonly #dialPeer: ReturnType<typeof createPeerDial>;
  readonly #kept = new ElsewhereKept();
  readonly elsewhere: Elsewhere = {
    identify: (seed) => this.#tell([this.#kept.identify(seed)]),
    peers: (set, remove) => this.#tell([this.#kept.peers(set, remove)]),
    places: (set, remove) => this.#tell(this.#kept.places(set, remove)),
    counts: () => new Promise((resolve, reject) => {
      if (this.#stopped) reject(stoppedError());
      else this.#send({ message: { type: "hops", call: 0 }, resolve: (_, hops) => resolve(hops!), reject });
    }),
  };
  readonly #vault: CodeVault;
  readonly #group: Group | null;
  readonly #loads = new Map<string, Load>();
  readonly #hops = new Map<string, Hop>();
  /** Those that are wanted, each call by a mark of its own: one that is stopped before it was sent is not sent. */
  readonly #tasks = new Map<string, symbol>();
  #fenceUntilMs: number | null = null;
  readonly #calls = new Map<number, Call>();
  /** What processes that are gone had counted, as far as it was asked for. */
  readonly #counted = new Map<string, Usage>();
  readonly #latest = new Map<string, Usage>();
  #callNumber = 0;
  #process: RunnerProcess | null = null;
  #processSinceMs = 0;
  #started = false;
  #spare: RunnerProcess | null = null;
  #spareTimer: NodeJS.Timeout | undefined;
  #spareDelayMs = SPARE_DELAY_MS;
  /** All that the kernel has not ended yet. */
  readonly #processes = new Set<RunnerProcess>();
  /** Of the first process, until it is up. */
  #onFailed: ((error: SandboxError) => void) | null = null;
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
    this.#dialPeer = createPeerDial(sockets, options.reach);
    this.#cacheDirectory = cacheDirectory;
    this.#vault = new sockets.CodeVault(codeDirectory(cacheDirectory));
    this.#group = makeGroup(options.memoryBytesMax);
    this.#held = options.hold ?? false;
    this.#opened.promise.catch(() => {});
    this.#asking = setInterval(() => this.#ask(), options.askEveryMs ?? ASK_EVERY_MS).unref();
  }

  get pid(): number | null {
    return this.#process?.pid ?? null;
  }

  async pidOf(id: string): Promise<number | null> {
    return this.#loads.has(id) || this.#tasks.has(id) ? this.pid : null;
  }

  async start(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new SandboxError("runner_failed", `The runner did not start within ${START_TIMEOUT_MS} ms`)), START_TIMEOUT_MS);
    });
    const first = new Promise<void>((resolve, reject) => {
      this.#onFailed = reject;
      this.#replace(resolve);
    });
    try {
      await Promise.race([first, late]);
    } catch (error) {
      await this.stop();
      throw error;
    } finally {
      this.#onFailed = null;
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
      this.#process?.told.end(id);
      this.#counted.delete(id);
      this.#latest.delete(id);
    });
  }

  async task(task: Task): Promise<TaskEnd> {
    const { id, arguments: given, stdin } = task;
    const mark = Symbol(id);
    this.#tasks.set(id, mark);
    try {
      const { load, codeSha256 } = await loadOf(deploymentOfTask(task), this.#cacheDirectory);
      if (this.#stopped) throw stoppedError();
      if (this.#tasks.get(id) !== mark) return endedBy("stopped", "it was stopped before it began");
      this.#vault.allow(load.code, codeSha256);
      const { promise, resolve, reject } = Promise.withResolvers<TaskEnd>();
      this.#send({ message: { type: "task", call: 0, load, arguments: given, stdin: stdin.toHex() }, ended: resolve, resolve: () => {}, reject });
      return await promise;
    } catch (error) {
      if ((error as SandboxError).code === "artefact_corrupt") await removeEntry(this.#cacheDirectory, task.compiled.digest, engineId());
      throw error;
    } finally {
      if (this.#tasks.get(id) === mark) {
        this.#process?.told.end(id);
        for (const held of [this.#tasks, this.#counted, this.#latest]) held.delete(id);
      }
    }
  }

  async stopTask(id: string): Promise<void> {
    if (this.#tasks.delete(id)) await this.#call({ type: "stop", call: 0, id });
  }

  fence(untilMs: number): void {
    this.#fenceUntilMs = untilMs;
    this.#process?.write({ type: "fence", untilMs });
  }

  async usage(): Promise<Record<string, Usage>> {
    const latest = await this.#call({ type: "usage", call: 0 });
    const usage: Record<string, Usage> = {};
    for (const id of [...this.#loads.keys(), ...this.#tasks.keys()]) {
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
    clearTimeout(this.#spareTimer);
    clearInterval(this.#asking);
    for (const process of this.#processes) process.kill();
    await Promise.all([...this.#processes].map(({ exited }) => exited));
    await this.#group?.remove();
    for (const call of this.#calls.values()) call.reject(stoppedError());
    this.#calls.clear();
    this.#opened.reject(stoppedError());
  }

  /** Also keeps what is counted from being lost with a process. */
  #ask(): void {
    if (this.#process === null) return;
    if (!this.#started) {
      if (performance.now() - this.#processSinceMs >= START_TIMEOUT_MS) this.#process.kill();
      return;
    }
    if (this.#unanswered >= UNANSWERED_MAX) {
      this.#process.kill();
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

  /** What a process that ended did not answer, the next one is told anyway. */
  async #tell(messages: readonly ToRunner[]): Promise<void> {
    await Promise.all(messages.map((message) => this.#call(message)));
  }

  /** Without a process the call waits for the next one. */
  #send(call: Call): void {
    const message = this.#numbered(call);
    this.#process?.write(message);
  }

  #numbered(call: Call): ToRunner {
    this.#callNumber += 1;
    const message = { ...call.message, call: this.#callNumber };
    this.#calls.set(this.#callNumber, { ...call, message });
    return message;
  }

  #spawn(): RunnerProcess {
    const process = new RunnerProcess({
      listenerFd: this.#options.listener.fd,
      groupFiles: this.#group?.files ?? [],
      codeFd: this.#vault.open(),
      sockets: this.#sockets,
      onMessage: (from, message) => this.#take(from, message),
      onGone: (gone) => this.#gone(gone),
    });
    this.#processes.add(process);
    void process.exited.then(() => this.#processes.delete(process));
    return process;
  }

  #replace(onStarted: () => void): void {
    this.#process = this.#spare ?? this.#spawn();
    this.#spare = null;
    this.#processSinceMs = performance.now();
    this.#started = false;
    this.#unanswered = 0;
    this.#tellEverything(() => {
      onStarted();
      this.#spareLater();
    });
  }

  #spareLater(): void {
    if (this.#stopped || this.#options.spare === false) return;
    clearTimeout(this.#spareTimer);
    this.#spareTimer = setTimeout(() => {
      try {
        if (this.#started) this.#spare ??= this.#spawn();
      } catch {
        // No descriptors are left here: it goes on without.
        this.#delaySpare();
      }
    }, this.#spareDelayMs).unref();
  }

  #delaySpare(): void {
    this.#spareDelayMs = Math.min(this.#spareDelayMs * 2, SPARE_DELAY_MS_MAX);
    this.#spareLater();
  }

  /** To a new process: everything that should be loaded, then start unless it is held, then what its predecessor did not answer. */
  #tellEverything(onStarted: () => void): void {
    const unanswered = [...this.#calls.values()];
    this.#calls.clear();
    const messages: ToRunner[] = [];
    const tell = (call: Call): void => void messages.push(this.#numbered(call));
    const roots = (this.#options.outgoing?.test?.roots ?? []).map((root) => Buffer.from(root).toString("hex"));
    if (roots.length > 0) tell({ message: { type: "trust", call: 0, roots }, resolve: () => {}, reject: () => {} });
    if (this.#fenceUntilMs !== null) messages.push({ type: "fence", untilMs: this.#fenceUntilMs });
    for (const load of this.#loads.values()) {
      const lost = ({ code, message }: SandboxError): void => {
        if (this.#stopped || this.#loads.get(load.id) !== load) return;
        this.#loads.delete(load.id);
        this.#options.onLost?.(load.id, code, message);
      };
      tell({ message: { type: "load", call: 0, load }, resolve: () => {}, reject: lost, isRepeat: true });
    }
    for (const message of this.#kept.all()) tell({ message, resolve: () => {}, reject: () => {} });
    for (const hop of this.#hops.values()) tell({ message: hopMessage(hop), resolve: () => {}, reject: () => {}, isRepeat: true });
    for (const call of unanswered) {
      if (KEPT.has(call.message.type)) call.resolve({});
      if (call.message.type !== "load" || call.isRepeat) continue;
      const deaths = (call.deaths ?? 0) + 1;
      if (deaths < LOAD_DEATHS_MAX) tell({ ...call, deaths });
      else call.reject(new SandboxError("load_failed", `Cannot load ${call.message.load.id}: the runner ended ${deaths} times meanwhile`));
    }
    const held = this.#held;
    const resolve = (): void => {
      this.#started = true;
      this.#process?.settle();
      onStarted();
      if (!held) this.#opened.resolve();
    };
    // One that is held answers too, so that it is known to be up.
    tell({ message: held ? { type: "usage", call: 0 } : this.#start(), resolve, reject: () => {} });
    for (const call of unanswered) {
      if (call.message.type === "usage" || call.message.type === "hops" || call.message.type === "task") tell(call);
      else if (call.message.type === "unload" || call.message.type === "stop") call.resolve({});
    }
    this.#process?.write(...messages);
  }

  #gone(process: RunnerProcess): void {
    if (this.#spare === process) {
      this.#spare = null;
      // It was told nothing, so this is the computer's fault.
      this.#delaySpare();
    }
    if (this.#process !== process) return;
    this.#process = null;
    for (const [id, usage] of this.#latest) this.#counted.set(id, { ...addUsage(this.#counted.get(id), usage), memoryBytes: 0, running: 0, waiting: 0 });
    this.#latest.clear();
    // Those that were asked for while there was no process begin in the next.
    for (const [number, call] of this.#calls) {
      if (call.message.type !== "task") continue;
      this.#calls.delete(number);
      call.ended?.(endedBy("runner_gone", "the runner ended"));
    }
    const early = !this.#started || performance.now() - this.#processSinceMs < STARTED_WELL_MS;
    const failed = this.#started ? null : this.#onFailed;
    this.#started = false;
    if (!this.#stopped && failed === null) this.#respawn(early);
    void process.exited.then((exit) => {
      failed?.(new SandboxError("runner_failed", `The runner ended by ${exit.signal ?? `code ${exit.code}`} as it started: ${process.reason}`));
      if (!this.#stopped) this.#options.onExit?.(exit);
    });
  }

  #respawn(early: boolean): void {
    this.#earlyDeaths = early ? this.#earlyDeaths + 1 : 0;
    const delayMs = this.#earlyDeaths < 2 ? 0 : Math.min(RESPAWN_DELAY_MS * 2 ** (this.#earlyDeaths - 2), RESPAWN_DELAY_MS_MAX);
    const respawn = (): void => {
      try {
        this.#replace(() => {});
      } catch {
        // No descriptors are left here: perhaps later.
        this.#respawn(true);
      }
    };
    if (delayMs === 0) respawn();
    else this.#timer = setTimeout(respawn, delayMs);
  }

  async #dialHop(id: string, timeoutMs: number): Promise<Dialled> {
    const hop = this.#hops.get(id);
    const { fd, code } = hop === undefined ? { fd: -1, code: "denied" } : await this.#sockets.dial(LOOPBACK, hop.port, timeoutMs);
    return fd >= 0 ? { fd, code: "" } : { fd: -1, code: code === "denied" ? "denied" : "connection_refused" };
  }

  #take(process: RunnerProcess, message: FromRunner): void {
    const { told } = process;
    if (message.type === "dial") {
      const { call, id } = message;
      const dialled = message.scheme === "hop" ? this.#dialHop(id, message.timeoutMs)
        : message.scheme === "peer" ? this.#dialPeer(message.host, message.timeoutMs)
        : this.#dial(id, told.placesOf(id), message);
      void dialled.then(({ fd, code }) => {
        if (code === "") process.pass(fd, call);
        else process.write({ type: "refused", call, code });
      }).catch(() => process.write({ type: "refused", call, code: "unreachable" }));
      return;
    }
    if (message.type === "lost") {
      if (!told.has(message.id)) throw new RangeError("A loss of a deployment that this runner does not have");
      // One that is just being loaded anew is not lost.
      if (this.#process !== process || this.#tails.has(message.id) || !this.#loads.delete(message.id)) return;
      told.end(message.id);
      this.#options.onLost?.(message.id, message.code, message.message);
      return;
    }
    if (message.type === "logs") {
      if (!message.lines.every(({ id }) => told.has(id))) throw new RangeError("A line of a deployment that this runner does not have");
      for (const line of message.lines) this.#options.onLog?.(line);
      return;
    }
    const call = this.#process === process ? this.#calls.get(message.call) : undefined;
    if (call === undefined) return;
    this.#calls.delete(message.call);
    if (message.type === "ended") call.ended?.(taskEndOf(message));
    else if (message.type === "failed") call.reject(new SandboxError(message.code as SandboxErrorCode, message.message));
    else if (message.type === "hops") call.resolve({}, message.counts);
    else call.resolve(message.type === "usage" ? message.usage : {});
  }
}

/** A new process is told all of what these tell. */
const KEPT: ReadonlySet<ToRunner["type"]> = new Set(["hop", "identity", "peers", "elsewhere"] as const);
const endedBy = (code: string, message: string): TaskEnd => ({ exitCode: EXIT_CODE_ABORTED, code, message, fuel: 0, cpuNs: 0, wallMs: 0 });
const taskEndOf = ({ type: _type, call: _call, ...end }: Extract<FromRunner, { type: "ended" }>): TaskEnd => end;
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
