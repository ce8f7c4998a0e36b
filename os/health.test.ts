import assert from "node:assert/strict";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import test, { type TestContext } from "node:test";
import type { Hex } from "#chain/types.ts";
import { HealthChecks } from "./health.ts";
import { HEALTH_MISSES, HEALTH_RESTART_MS_FIRST } from "./limits.ts";

const ID = "ab".repeat(20) as Hex;
const HOST = "shop.localhost";

/** `script`: what it answers first, one after the other. */
type Stage = { status: number; readonly script: number[]; nowMs: number; readonly told: (string | null)[]; readonly restarts: number[]; readonly asked: string[]; readonly checks: HealthChecks; more: (count: number) => Promise<void> };
/** A replica that answers as the test says, and a clock that the test turns. */
async function stage(t: TestContext): Promise<Stage> {
  const server = createServer((request, response) => {
    on.asked.push(`${request.headers.host} ${request.url} ${String(request.headers["godwit-here"])}`);
    const status = on.script.shift() ?? on.status;
    if (status === 0) request.socket.destroy();
    else response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  let heard = (): void => {};
  const on: Stage = {
    status: 200, script: [], nowMs: 1_000_000, told: [], restarts: [], asked: [],
    checks: new HealthChecks({
      address: "127.0.0.1", httpPort: (server.address() as AddressInfo).port, intervalMs: 1, nowMs: () => on.nowMs,
      checked: () => {
        heard();
        return [{ id: ID, host: HOST, path: "/healthz" }];
      },
      onResult: (_id, cause) => void on.told.push(cause), restart: () => void on.restarts.push(on.nowMs),
    }),
    // A check is over when the next one was asked for.
    more: async (count) => {
      const end = on.asked.length + count + 1;
      while (on.asked.length < end) await new Promise<void>((resolve) => (heard = resolve));
    },
  };
  t.after(() => on.checks.stop());
  return on;
}

test("what misses its health three times in a row is told of and started anew, at once and then with a wait that doubles; one that is well again begins with the first", async (t) => {
  const on = await stage(t);
  await on.more(2);
  assert.deepEqual([...new Set(on.told)], [null]);
  assert.equal(on.asked[0], `${HOST} /healthz 1`);
  assert.equal(on.checks.asked(ID) >= on.asked.length, true);
  const begunMs = on.nowMs;
  const restartsAfter = async (ms: number): Promise<number> => {
    on.nowMs = begunMs + ms;
    await on.more(3 * HEALTH_MISSES);
    return on.restarts.length;
  };
  on.told.length = 0;
  on.status = 500;
  assert.equal(await restartsAfter(0), 1, "at once, and not again while the wait lasts");
  assert(on.told.includes("status 500"));
  assert.equal(await restartsAfter(HEALTH_RESTART_MS_FIRST - 1), 1);
  assert.equal(await restartsAfter(HEALTH_RESTART_MS_FIRST), 2);
  assert.equal(await restartsAfter(3 * HEALTH_RESTART_MS_FIRST - 1), 2);
  assert.equal(await restartsAfter(3 * HEALTH_RESTART_MS_FIRST), 3);
  on.status = 302;
  await on.more(2);
  assert.equal(on.told.at(-1), null, "a redirect is an answer");
  on.status = 0;
  assert.equal(await restartsAfter(7 * HEALTH_RESTART_MS_FIRST), 4, "no answer is not well either");
  assert.equal(await restartsAfter(8 * HEALTH_RESTART_MS_FIRST), 5, "and after it was well the wait is the first one again");
});

test("one or two misses are nobody's business", async (t) => {
  const on = await stage(t);
  on.script.push(...Array.from({ length: 5 }, () => [...Array.from({ length: HEALTH_MISSES - 1 }, () => 503), 200]).flat());
  await on.more(on.script.length);
  assert.deepEqual([on.script.length, on.restarts.length], [0, 0]);
  assert.deepEqual([...new Set(on.told)], [null]);
});

test("one who answers with another protocol is not well, and is asked again", async (t) => {
  const server = createTcpServer((socket) => void socket.on("error", () => {}).once("data", () => socket.end("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n")));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const { promise, resolve } = Promise.withResolvers<string | null>();
  const checks = new HealthChecks({
    address: "127.0.0.1", httpPort: (server.address() as AddressInfo).port, intervalMs: 1, restart: () => {}, checked: () => [{ id: ID, host: HOST, path: "/" }], onResult: (_id, cause) => resolve(cause),
  });
  t.after(() => checks.stop());
  assert.notEqual(await Promise.race([promise, new Promise<null>((give) => setTimeout(() => give(null), 30_000).unref())]), null);
});
