import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import type { TestContext } from "node:test";
import type { Hex } from "#chain/types.ts";
import { LOG_FILE_BYTES_MAX, LOG_FLUSH_MS, LOG_LINES_MAX, LOG_LINE_BYTES_MAX, LOG_MEMORY_BYTES_MAX } from "./limits.ts";
import { type LogLine, LogStore } from "./logs.ts";

const id = "0a".repeat(20) as Hex;
const entry = (line: string): Omit<LogLine, "sequence"> => ({ timeMs: 1, stream: "stdout", requestId: null, line });

function folder(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "godwit-logs-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test("the ring holds the newest lines, bounded by count, by bytes and by the length of a line", async (t) => {
  const store = await LogStore.open(folder(t));
  t.after(() => store.close());
  for (let n = 1; n <= LOG_LINES_MAX + 50; n += 1) store.append(id, entry(`${n}`));
  assert.deepEqual([store.tail(id, 5000).length, store.tail(id, 5000)[0]?.sequence, store.tail(id, 1)[0]?.line], [LOG_LINES_MAX, 51, `${LOG_LINES_MAX + 50}`]);
  for (let n = 0; n < 200; n += 1) store.append(id, entry("x".repeat(LOG_LINE_BYTES_MAX + 100)));
  const held = store.tail(id, 5000);
  assert(held.reduce((sum, { line }) => sum + line.length * 2, 0) <= LOG_MEMORY_BYTES_MAX);
  assert(held.every(({ line }) => line.length <= LOG_LINE_BYTES_MAX + 1));
  assert.deepEqual(store.after(id, held.at(-3)!.sequence, 1).map(({ sequence }) => sequence), [held.at(-2)!.sequence]);
});

test("after a restart the newest lines are there and the sequence goes on, whatever a crash left at the end of the file", async (t) => {
  const directory = folder(t);
  const first = await LogStore.open(directory);
  for (let n = 1; n <= 10; n += 1) first.append(id, entry(`${n}`));
  await first.close();
  appendFileSync(join(directory, `${id}.log`), '{"sequence":11,"timeMs":1,"str');
  const second = await LogStore.open(directory);
  assert.deepEqual(second.tail(id, 2).map(({ line }) => line), ["9", "10"]);
  second.append(id, entry("after"));
  assert.equal(second.tail(id, 1)[0]?.sequence, 11);
  await second.close();
  const third = await LogStore.open(directory);
  t.after(() => third.close());
  assert.deepEqual(third.tail(id, 2).map(({ sequence, line }) => [sequence, line]), [[10, "10"], [11, "after"]]);
});

test("a file is turned over at its cap", async (t) => {
  const directory = folder(t);
  let bytes = 0;
  for (let round = 0; round < 3; round += 1) {
    const store = await LogStore.open(directory);
    for (let n = 0; n < 100; n += 1) store.append(id, entry("y".repeat(8000)));
    await store.close();
    bytes += 100 * 8000;
  }
  assert(bytes > 2 * LOG_FILE_BYTES_MAX);
  assert(statSync(join(directory, `${id}.log`)).size <= LOG_FILE_BYTES_MAX + 900_000);
  assert(statSync(join(directory, `${id}.log.1`)).size > LOG_FILE_BYTES_MAX);
});

test("a follower gets each line that comes, once, until it leaves", async (t) => {
  const store = await LogStore.open(folder(t));
  t.after(() => store.close());
  const got: string[] = [];
  store.append(id, entry("before"));
  const leave = store.follow(id, ({ line }) => void got.push(line));
  store.append(id, entry("a"));
  store.append(id, entry("b"));
  leave();
  store.append(id, entry("c"));
  assert.deepEqual(got, ["a", "b"]);
});

test("a disk that fails is told once, costs its lines only on disk, and is written to again when it works", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const directory = folder(t);
  const faults: unknown[] = [];
  const store = await LogStore.open(directory, (error) => void faults.push(error));
  const write = (count: number): void => {
    for (let n = 0; n < count; n += 1) store.append(id, entry("z".repeat(8000)));
    t.mock.timers.tick(LOG_FLUSH_MS);
  };
  const until = async (look: () => boolean): Promise<void> => {
    for (const deadline = performance.now() + 10_000; !look();) {
      assert(performance.now() < deadline);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const size = (): number => statSync(join(directory, `${id}.log`), { throwIfNoEntry: false })?.size ?? 0;
  // Over its cap: the next write turns it over, and finds nothing to turn.
  write(200);
  await until(() => size() > LOG_FILE_BYTES_MAX);
  rmSync(directory, { recursive: true });
  write(1);
  await until(() => faults.length > 0);
  write(1);
  mkdirSync(directory);
  write(1);
  await store.close();
  assert.equal(faults.length, 1);
  assert.match(readFileSync(join(directory, `${id}.log`), "utf8"), /"sequence":203/);
});

test("of all logs together only so much is in memory, the newest; the rest is read back when it is asked for", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const directory = folder(t);
  const ids = [1, 2, 3].map((n) => n.toString(16).padStart(40, "0") as Hex);
  const store = await LogStore.open(directory, () => {}, 40_000);
  for (const log of ids) {
    store.append(log, entry("first"));
    store.append(log, entry("x".repeat(8000)));
  }
  await store.close();
  assert.deepEqual(ids.map((log) => store.tail(log, 2)[0]?.line), ["first", "first", "first"]);
  store.append(ids[0]!, entry("goes on"));
  assert.equal(store.tail(ids[0]!, 1)[0]?.sequence, 3);
  await store.close();
  rmSync(directory, { recursive: true });
  assert.deepEqual(ids.map((log) => store.tail(log, 2).length), [2, 0, 2], "the one written to longest ago was on disk only");
});
