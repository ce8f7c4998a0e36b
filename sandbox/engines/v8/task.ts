/** A task on V8: `wasi:cli/run` in a thread of its own, which ends with it. Fuel is not counted: it is reported as 0. */
import { SandboxError } from "../../errors.ts";
import { refuseWhereForbidden } from "../../guestsHere.ts";
import { completeLimits, LIMITS_TASK_DEFAULT } from "../../limits.ts";
import type { TaskOptions, TaskResult, TrapCode } from "../../sandbox.ts";
import { Dialler, GuestRequests } from "./outgoing.ts";
import { Lane } from "./lane.ts";
import { mockSetting } from "./mock.ts";
import { digestOf, inspectParsed, parse, prepare } from "./program.ts";
import type { FromLane } from "./protocol.ts";

const EXIT_TRAPPED = 134;

export async function runTask(component: Uint8Array, options: TaskOptions = {}): Promise<TaskResult> {
  refuseWhereForbidden();
  const limits = completeLimits(options.limits, LIMITS_TASK_DEFAULT);
  const parsed = parse(component);
  if (inspectParsed(parsed).kind !== "task") throw new SandboxError("world_unknown", "The component is a service: serve it, it has no wasi:cli/run to run");
  const program = await prepare(digestOf(component), parsed, limits);
  const lane = new Lane();
  let begunMs = performance.now();
  const ended = Promise.withResolvers<Pick<TaskResult, "exitCode" | "trap" | "memoryBytes">>();
  const fail = (code: TrapCode, message: string): void => ended.resolve({ exitCode: EXIT_TRAPPED, trap: { code, message }, memoryBytes: 0 });
  let timer: NodeJS.Timeout | undefined;
  const abort = (): void => fail("aborted", "aborted by the caller");
  options.signal?.addEventListener("abort", abort);
  const requests = new GuestRequests(new Dialler(options.dialling), "task", options.outgoing ?? [], limits, (message) => lane.post(message), options.mock);
  const chunks = inputOf(options.stdin)[Symbol.asyncIterator]();
  let output: Promise<void> = Promise.resolve();
  const pull = async (): Promise<void> => {
    for (;;) {
      const next = await chunks.next().catch(() => ({ done: true as const, value: undefined }));
      if (!next.done && next.value.length === 0) continue;
      return lane.post({ type: "chunk", bytes: next.done ? null : next.value });
    }
  };
  const write = (message: Extract<FromLane, { type: "write" }>): void => {
    output = output.then(() => (message.stream === 1 ? options.stdout : options.stderr)?.(message.bytes));
    output.then(() => lane.post({ type: "taken", bytes: message.bytes.length }), ended.reject);
  };
  try {
    if (options.signal?.aborted === true) abort();
    lane.take((message) => {
      if (message.type === "begun") {
        begunMs = performance.now();
        timer = setTimeout(() => fail("wall_time_limit", `still running after ${limits.wallTimeMsMax} ms`), limits.wallTimeMsMax);
      } else if (message.type === "send") requests.send(message);
      else if (message.type === "wantPart") requests.want(message.call);
      else if (message.type === "want") void pull();
      else if (message.type === "write") write(message);
      else if (message.type === "done") {
        const { exitCode, failure, memoryBytes } = message;
        ended.resolve({ exitCode, memoryBytes, ...(failure !== null && { trap: { code: failure.code as TrapCode, message: failure.message } }) });
      }
    }, (reason) => fail("trap", `the guest's thread ended: ${reason}`));
    lane.load(program);
    lane.post({ type: "run", id: program.id, setting: { arguments: [options.name ?? "task", ...(options.arguments ?? [])], environment: Object.entries(options.environment ?? {}), ...mockSetting(options.mock) } });
    const result = await ended.promise;
    await lane.end();
    await output;
    return { ...result, fuel: 0, wallMs: performance.now() - begunMs };
  } finally {
    clearTimeout(timer);
    requests.end();
    options.signal?.removeEventListener("abort", abort);
    void chunks.return?.()?.catch(() => {});
    await lane.end();
  }
}

function inputOf(source: Uint8Array | AsyncIterable<Uint8Array> | undefined): AsyncIterable<Uint8Array> {
  if (source !== undefined && !(source instanceof Uint8Array)) return source;
  return (async function* () {
    if (source !== undefined) yield source;
  })();
}
