import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { Hex } from "#chain/types.ts";
import { ClosedLogs } from "./closedLogs.ts";
import { LogStore } from "./logs.ts";

const QUIET_MS = 20;
const [closed, open] = ["0a".repeat(20), "0b".repeat(20)] as [Hex, Hex];
const entry = { timeMs: 1, stream: "stdout", requestId: null, line: "a line" } as const;

async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; round < 500 && !condition(); round += 1) await setTimeout(10);
  assert.ok(condition());
}

async function stage(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), "godwit-logs-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const before = await LogStore.open(directory);
  for (const id of [closed, open]) before.append(id, entry);
  await before.close();
  const logs = await LogStore.open(directory);
  const routes = new Set<Hex>();
  const closedLogs = new ClosedLogs({ logs, isOpen: (id) => id === open, isRouted: (id) => routes.has(id), quietMs: QUIET_MS });
  t.after(async () => {
    closedLogs.stop();
    await logs.close();
  });
  return { logs, routes, closedLogs, file: (id: Hex) => existsSync(join(directory, `${id}.log`)) };
}

test("logs of deployments that closed while the machine was away are removed, from memory and disk; others stay", async (t) => {
  const { logs, closedLogs, file } = await stage(t);
  closedLogs.look();
  await until(() => !file(closed));
  assert.deepEqual([logs.tail(closed, 1).length, logs.tail(open, 1).length, file(open)], [0, 1, true]);
});

test("a log stays while its deployment runs or a client follows, and goes after; a line that comes later goes too", async (t) => {
  const { logs, routes, closedLogs, file } = await stage(t);
  routes.add(closed);
  closedLogs.closed(closed);
  await setTimeout(QUIET_MS * 5);
  assert.equal(logs.tail(closed, 1).length, 1);
  const lines: string[] = [];
  const unfollow = logs.follow(closed, ({ line }) => lines.push(line));
  routes.delete(closed);
  logs.append(closed, { ...entry, line: "the last" });
  await setTimeout(QUIET_MS * 5);
  assert.deepEqual([lines, logs.tail(closed, 2).length], [["the last"], 2]);
  unfollow();
  await until(() => !file(closed) && logs.tail(closed, 1).length === 0);
  logs.append(closed, entry);
  closedLogs.wrote(closed);
  await until(() => logs.tail(closed, 1).length === 0);
});
