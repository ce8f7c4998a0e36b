/**
 * The thread of a lane: waits for a call, makes an instance, lets it run to its end, says how it ended, and waits again.
 *
 * It never goes back to an event loop: a guest that waits makes the whole thread wait (Atomics.wait), as it would a process. So
 * nothing in the call path is asynchronous, and whoever wants to stop it ends the thread.
 */
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { type Channel, Host } from "./host.ts";
import { memoryBytes, Template, wasRefused } from "./instance.ts";
import type { FromLane, GuestRequest, Program, Setting, ToLane } from "./protocol.ts";
import { Exit, failureOf } from "./trap.ts";
import { CLI } from "./wasiCli.ts";
import { HTTP, newOutparam, newRequest } from "./wasiHttp.ts";
import { IO } from "./wasiIo.ts";

const FUNCTIONS = { ...IO, ...CLI, ...HTTP };
const EXIT_TRAPPED = 134;
const EXIT_FAILED = 1;

const port = parentPort!;
/** Counts the messages that were sent to this thread. */
const sent = new Int32Array((workerData as { sent: SharedArrayBuffer }).sent);
let received = 0;

const channel: Channel = {
  post: (message: FromLane) => port.postMessage(message),
  next(untilMs) {
    for (;;) {
      const message = receiveMessageOnPort(port) as { message: ToLane } | undefined;
      if (message !== undefined) {
        received += 1;
        return message.message;
      }
      const leftMs = untilMs - performance.now();
      if (leftMs <= 0) return null;
      Atomics.wait(sent, 0, received, leftMs);
    }
  },
};

type Loaded = { readonly template: Template<Host>; readonly headerBytesMax: number; readonly anchors: Program["anchors"] };
const programs = new Map<string, Loaded>();

type Call = Extract<ToLane, { type: "serve" | "run" | "try" }>;

function call(message: Call): void {
  const { template, headerBytesMax, anchors } = programs.get(message.id)!;
  const request: GuestRequest | null = message.type === "serve" ? message.request : null;
  const setting: Setting = message.setting;
  const host = new Host(channel, setting, request, request === null ? null : request.body, headerBytesMax);
  const exports: WebAssembly.Exports[] = [];
  let exitCode = 0;
  let failure: { code: string; message: string } | null = null;
  if (message.type !== "serve") channel.post({ type: "begun" });
  try {
    const instance = template.instantiate(host, (made) => exports.push(made));
    if (message.type === "serve") {
      instance.call("wasi:http/incoming-handler#handle", instance.give(newRequest(), "wasi:http/types#incoming-request"), instance.give(newOutparam(), "wasi:http/types#response-outparam"));
    } else if (message.type === "run") {
      exitCode = instance.call("wasi:cli/run#run") === 0 ? 0 : EXIT_FAILED;
    }
  } catch (error) {
    if (error instanceof Exit && message.type === "run") exitCode = error.exitCode;
    else {
      exitCode = EXIT_TRAPPED;
      failure = failureOf(error, exports.some(wasRefused), anchors);
    }
  }
  if (failure === null) host.flush(true);
  channel.post({ type: "done", exitCode, failure, memoryBytes: exports.reduce((sum, made) => sum + memoryBytes(made), 0), trailers: host.answer?.body?.trailers ?? [] });
}

for (;;) {
  const message = channel.next(Infinity);
  if (message === null) continue;
  if (message.type === "program") {
    const { id, plan, modules, anchors, handlesMax, headerBytesMax } = message.program;
    programs.set(id, { template: new Template(plan, modules, FUNCTIONS, handlesMax), headerBytesMax, anchors });
  } else if (message.type === "forget") {
    programs.delete(message.id);
  } else if (message.type === "serve" || message.type === "run" || message.type === "try") {
    call(message);
  }
}
