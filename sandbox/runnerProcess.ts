/**
 * One runner process, from its start to its end, with the three sockets that it inherits beside the listener.
 *
 * It is gone for its keeper as soon as its control socket has ended, whatever is left of it: then it is killed, and `exited` says
 * when the kernel has done so. Nothing that it says is believed but as `parseFromRunner` lets it, and for deployments that this very
 * process was `told` of.
 */
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Duplex } from "node:stream";
import { encodeMessage, MessageReader, parseFromRunner, type FromRunner, type ToRunner } from "./control.ts";
import { spawnFirstToGo } from "./firstToGo.ts";
import { CONTROL_MESSAGE_BYTES_MAX } from "./limits.ts";
import { nativePaths } from "./native.ts";
import type { RunnerExit, Sockets } from "./runner.ts";
import { Told } from "./told.ts";

const REASON_CHARACTERS_MAX = 4_096;
/** What was killed is gone within this, or never. */
const REAP_TIMEOUT_MS = 500;

export type RunnerProcessOptions = {
  readonly listenerFd: number;
  /** Of a control group, for it to join. */
  readonly groupFiles: readonly string[];
  /** Where it gets code from: inherited, and closed here. */
  readonly codeFd: number;
  readonly sockets: Pick<Sockets, "socketPair" | "sendDescriptor" | "closeDescriptor">;
  /** May throw, at what nobody honest says: that ends it. */
  readonly onMessage: (process: RunnerProcess, message: FromRunner) => void;
  /** Once. */
  readonly onGone: (process: RunnerProcess) => void;
};

export class RunnerProcess {
  readonly told: Told = new Told();
  readonly exited: Promise<RunnerExit>;
  readonly #options: RunnerProcessOptions;
  readonly #child: ChildProcess;
  readonly #control: Duplex;
  readonly #connected: number;
  #pid: number | undefined;
  #reason = "";
  #isGone = false;

  constructor(options: RunnerProcessOptions) {
    this.#options = options;
    const { listenerFd, groupFiles, codeFd, sockets } = options;
    const inherited = [codeFd];
    try {
      const [connected = -1, theirs = -1] = sockets.socketPair();
      this.#connected = connected;
      inherited.push(theirs);
      this.#child = spawnFirstToGo(nativePaths().runner, [String(process.pid), ...groupFiles.map((file) => `--cgroup=${file}`)], {
        stdio: ["ignore", "ignore", "pipe", "pipe", listenerFd, codeFd, theirs],
        env: {},
        cwd: "/",
      });
    } finally {
      // Whoever has no descriptors left must not lose one at each try.
      for (const descriptor of inherited) sockets.closeDescriptor(descriptor);
    }
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#reason = (this.#reason + text).slice(-REASON_CHARACTERS_MAX);
    });
    const { promise, resolve } = Promise.withResolvers<RunnerExit>();
    this.exited = promise;
    const ended = (code: number | null, signal: string | null): void => {
      this.#gone();
      resolve({ pid: this.#pid ?? 0, code, signal });
    };
    // Not "exit": with processes of its own the runner is a child of the one that was started, and its descriptors close last.
    this.#child.on("close", ended);
    this.#child.on("error", (error) => {
      this.#reason = error.message;
      ended(null, "spawn error");
    });
    this.#control = this.#child.stdio[3] as Duplex;
    this.#listen();
  }

  /** Of the process that serves; as long as it is starting, of that which was started. */
  get pid(): number {
    return this.#pid ?? childOf(this.#child.pid ?? 0) ?? this.#child.pid ?? 0;
  }
  /** What it wrote to stderr, at the end. */
  get reason(): string {
    return this.#reason.trim();
  }

  /** It is up, so its processes are all there. */
  settle(): void {
    this.#pid = this.pid;
  }

  /** Several at once go in as few system calls as they fit into. */
  write(...messages: readonly ToRunner[]): void {
    if (this.#isGone) return;
    this.#control.cork();
    for (const message of messages) {
      if (message.type === "load" || message.type === "task") this.told.begin(message.load.id, message.load.outgoing);
      this.#control.write(encodeMessage(message));
    }
    this.#control.uncork();
  }

  /** A connected socket, as the answer to a dial. Closes `fd` here. */
  pass(fd: number, call: number): void {
    if (this.#isGone) this.#options.sockets.closeDescriptor(fd);
    else if (!this.#options.sockets.sendDescriptor(this.#connected, fd, call)) this.kill();
  }

  /** Ends the process that serves; the one that we started reaps it, and ends as it did. Only where that does not happen is it killed, too. */
  kill(): void {
    const serving = childOf(this.#child.pid ?? 0);
    if (serving === null) return void this.#child.kill("SIGKILL");
    try {
      process.kill(serving, "SIGKILL");
    } catch {
      // It has ended just now.
    }
    setTimeout(() => this.#child.kill("SIGKILL"), REAP_TIMEOUT_MS).unref();
  }

  #listen(): void {
    const reader = new MessageReader(CONTROL_MESSAGE_BYTES_MAX);
    this.#control.on("error", () => {});
    this.#control.on("data", (chunk: Uint8Array) => {
      try {
        for (const message of reader.push(chunk)) this.#options.onMessage(this, parseFromRunner(message));
      } catch {
        // A runner that does not speak the protocol may be a tenant: away with it.
        this.kill();
      }
    });
    for (const event of ["end", "close"]) this.#control.on(event, () => this.#gone());
  }

  #gone(): void {
    if (this.#isGone) return;
    this.settle();
    this.#isGone = true;
    this.kill();
    this.#options.sockets.closeDescriptor(this.#connected);
    this.#options.onGone(this);
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
