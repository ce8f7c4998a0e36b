import assert from "node:assert/strict";
import test from "node:test";
import type { Deployment, LogLine, Status } from "./answers.ts";
import { ApiError, type LogOptions } from "./client.ts";
import { type LogReader, type PlacedLine, LOG_MACHINES_MAX, followedLines, newestLines } from "./logLines.ts";

const [HERE, THERE, GONE] = ["gw1here", "gw1there", "gw1gone"] as const;
const line = (sequence: number, timeMs: number, text = `line ${timeMs}`): LogLine => ({ sequence, timeMs: BigInt(timeMs), stream: "stdout", requestId: null, line: text });

/** A grid of machines with lines, one of which runs it now; a stream gives its machine's lines and ends as `ends` says. */
class Grid implements Pick<LogReader, "deployment" | "client"> {
  readonly lines = new Map<string, LogLine[]>();
  readonly said: string[] = [];
  readonly calls: { machine: string; follow: boolean; after: number | undefined }[] = [];
  runsOn: string[] = [HERE];
  others: string[] = [];
  silent: string[] = [];
  /** What becomes of the streams of a machine, one after the other; the last one for ever. */
  readonly ends = new Map<string, ("end" | "cut" | "unreachable" | "open")[]>();
  get deployment(): LogReader["deployment"] {
    return { id: "ab".repeat(20), leases: this.runsOn.map((machine, index) => ({ index, machine }) as unknown as Deployment["leases"][number]) };
  }
  readonly client: LogReader["client"] = {
    status: async () => ({ machine: HERE }) as Status,
    deployment: async () => this.deployment as Deployment,
    logMachines: async () => ({ machines: this.others, silent: this.silent }),
    logs: (_id, options) => this.#logs(options),
  };
  readonly missing = (text: string): void => void this.said.push(text);
  async *#logs({ follow = false, after, tail = 100, machine = HERE, onEnd, signal }: LogOptions = {}): AsyncGenerator<LogLine, void, undefined> {
    this.calls.push({ machine, follow, after });
    const ends = this.ends.get(machine) ?? ["end"];
    const end = ends.length > 1 ? ends.shift() : ends[0];
    if (end === "unreachable") throw new ApiError("machine_unreachable", "as the test says", 503);
    const all = this.lines.get(machine) ?? [];
    yield* after === undefined ? all.slice(-tail) : all.filter(({ sequence }) => sequence > after);
    if (!follow || end === "cut") return;
    if (end === "open") await new Promise<void>((resolve) => signal!.addEventListener("abort", () => resolve(), { once: true }));
    else onEnd?.();
  }
}
const shown = (lines: readonly PlacedLine[]): string[] => lines.map(({ machine, timeMs }) => `${machine} ${timeMs}`);
const never = new AbortController().signal;
async function followed(grid: Grid, signal: AbortSignal = never): Promise<{ lines: string[]; hasEnded: boolean }> {
  let hasEnded = false;
  const lines = await Array.fromAsync(followedLines(grid, { tail: 10, signal, onEnd: () => (hasEnded = true) }));
  return { lines: shown(lines).toSorted(), hasEnded };
}

test("the newest lines of all machines come in the order of their times, of those it has left as well", async () => {
  const grid = new Grid();
  [grid.runsOn, grid.others] = [[THERE], [HERE, GONE]];
  grid.lines.set(HERE, [line(1, 10), line(2, 40)]).set(THERE, [line(1, 30)]).set(GONE, [line(7, 20)]);
  assert.deepEqual(shown(await newestLines(grid, 10, never)), [`${HERE} 10`, `${GONE} 20`, `${THERE} 30`, `${HERE} 40`]);
  assert.deepEqual(shown(await newestLines(grid, 2, never)), [`${THERE} 30`, `${HERE} 40`]);
  assert.deepEqual(await newestLines(grid, 0, never), []);
  assert.deepEqual(grid.said, []);
});

test("a machine that cannot be reached is said, and costs nobody else's lines; more than a few are said too", async () => {
  const grid = new Grid();
  grid.others = [GONE];
  grid.ends.set(GONE, ["unreachable"]);
  grid.lines.set(HERE, [line(1, 10)]);
  assert.deepEqual(shown(await newestLines(grid, 10, never)), [`${HERE} 10`]);
  assert.equal(grid.said.length, 1);
  assert(grid.said[0]!.includes(GONE));
  [grid.others, grid.silent] = [[], [GONE]];
  await newestLines(grid, 10, never);
  assert.equal(grid.said.length, 2);
  assert(grid.said[1]!.includes(GONE));
  grid.silent = [];
  grid.others = Array.from({ length: LOG_MACHINES_MAX }, (_, n) => `gw1other${n}`);
  await newestLines(grid, 10, never);
  assert.equal(new Set(grid.calls.map(({ machine }) => machine)).size, LOG_MACHINES_MAX + 1, "this time so many, and the one of before");
  grid.ends.set(HERE, ["unreachable"]);
  await assert.rejects(newestLines(grid, 10, never), { code: "machine_unreachable" }, "the one that is asked has to answer");
});

test("who follows gets the lines of all, and the end once", async () => {
  const grid = new Grid();
  [grid.runsOn, grid.others] = [[THERE], [GONE]];
  grid.lines.set(HERE, [line(1, 10)]).set(THERE, [line(1, 30)]).set(GONE, [line(7, 20)]);
  assert.deepEqual(await followed(grid), { lines: [`${GONE} 20`, `${HERE} 10`, `${THERE} 30`].toSorted(), hasEnded: true });
});

test("a stream that ends without a word is opened again where it was, and a machine that it moves to is followed", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const grid = new Grid();
  [grid.runsOn, grid.others] = [[THERE], []];
  grid.ends.set(HERE, ["open"]).set(THERE, ["cut", "open"]);
  grid.lines.set(THERE, [line(1, 30), line(2, 31)]);
  const stop = new AbortController();
  const seen: string[] = [];
  const whole = (async (): Promise<void> => { for await (const one of followedLines(grid, { signal: stop.signal })) seen.push(...shown([one])); })();
  const until = async (holds: () => boolean): Promise<void> => {
    for (let n = 0; n < 1_000 && !holds(); n++) {
      t.mock.timers.tick(100);
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    assert(holds());
  };
  await until(() => grid.calls.some(({ machine, after }) => machine === THERE && after === 2));
  grid.runsOn = [GONE];
  grid.ends.set(GONE, ["open"]);
  grid.lines.set(GONE, [line(1, 50)]);
  await until(() => seen.includes(`${GONE} 50`));
  stop.abort();
  await whole;
  assert.deepEqual(seen, [`${THERE} 30`, `${THERE} 31`, `${GONE} 50`], "each once");
});

test("when the machine that is asked stops, the others' streams by way of it are over as well", async () => {
  const grid = new Grid();
  grid.others = [THERE];
  grid.ends.set(HERE, ["cut"]).set(THERE, ["open"]);
  grid.lines.set(HERE, [line(1, 10)]);
  assert.equal((await followed(grid)).hasEnded, false);
});
