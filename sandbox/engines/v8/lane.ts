/** The main thread's end of one guest's thread. It has one call at a time, and whoever wants to end a call ends the lane. */
import { Worker } from "node:worker_threads";
import type { FromLane, Program, ToLane } from "./protocol.ts";

/** What the host's own objects of one guest may take of the heap, and how deep a guest may recurse. */
const HEAP_MIB_MAX = 512;
const STACK_MIB = 4;

export class Lane {
  readonly #worker: Worker;
  readonly #sent = new Int32Array(new SharedArrayBuffer(4));
  readonly #programs = new Set<string>();
  #onMessage: (message: FromLane) => void = () => {};
  #onEnd: (reason: string) => void = () => {};
  #ended = false;

  constructor() {
    this.#worker = new Worker(new URL("./laneWorker.ts", import.meta.url), {
      workerData: { sent: this.#sent.buffer }, env: {}, stdout: true, stderr: true, resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX, stackSizeMb: STACK_MIB },
    });
    let reason = "";
    this.#worker.on("message", (message: FromLane) => this.#onMessage(message));
    this.#worker.on("error", (error) => (reason = (error as Error).message));
    this.#worker.on("exit", () => {
      this.#ended = true;
      this.#onEnd(reason);
    });
    this.#worker.unref();
  }

  get isEnded(): boolean {
    return this.#ended;
  }

  /** Until `free`: who hears what the guest says; `onEnd` is called when the thread ends by itself. */
  take(onMessage: (message: FromLane) => void, onEnd: (reason: string) => void): void {
    this.#onMessage = onMessage;
    this.#onEnd = onEnd;
    this.#worker.ref();
  }

  free(): void {
    this.#onMessage = () => {};
    this.#onEnd = () => {};
    this.#worker.unref();
  }

  post(message: ToLane): void {
    this.#worker.postMessage(message);
    Atomics.add(this.#sent, 0, 1);
    Atomics.notify(this.#sent, 0);
  }

  /** Once for each program. */
  load(program: Program): void {
    if (this.#programs.has(program.id)) return;
    this.#programs.add(program.id);
    this.post({ type: "program", program });
  }

  forget(id: string): void {
    if (this.#programs.delete(id)) this.post({ type: "forget", id });
  }

  async end(): Promise<void> {
    this.free();
    this.#ended = true;
    await this.#worker.terminate();
  }
}
