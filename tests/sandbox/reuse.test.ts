/** `reuse`: one instance for many requests of a deployment that asks for it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import test, { after, type TestContext } from "node:test";
import { compile } from "#sandbox/sandbox.ts";
import type { Deployment } from "#sandbox/load.ts";
import { buildComponent } from "#workloads/sdk/build.ts";
import { nativeIsThere, type Serving, serving, sharedCache, until } from "./serving.ts";

const cache = sharedCache();
after(cache.remove);

async function counting(t: TestContext, options: Partial<Deployment>): Promise<Serving> {
  const stage = await serving(t, cache.directory);
  const { component } = await buildComponent(join(import.meta.dirname, "assembly"), "counting.ts", "service");
  await stage.runner.load({ id: "a", hosts: ["a.localhost"], compiled: await compile(component, { cacheDirectory: cache.directory }), ...options });
  return stage;
}
const texts = async ({ get }: Serving, paths: readonly string[]): Promise<string[]> => {
  const answers: string[] = [];
  for (const path of paths) answers.push((await get(path)).text);
  return answers;
};

test("with reuse an instance serves one request after the other and keeps its memory; without, each has one of its own", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const stage = await counting(t, { reuse: true });
  assert.deepEqual(await texts(stage, ["/", "/", "/"]), ["1", "2", "3"]);
  const { running, memoryBytes, requests } = (await stage.runner.usage())["a"]!;
  assert.deepEqual({ running, requests, isMemoryKept: memoryBytes > 0 }, { running: 0, requests: 3, isMemoryKept: true });
  const fresh = await counting(t, {});
  assert.deepEqual(await texts(fresh, ["/", "/", "/"]), ["1", "1", "1"]);
  assert.equal((await fresh.runner.usage())["a"]?.memoryBytes, 0);
});

test("an instance that trapped serves no other request", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const stage = await counting(t, { reuse: true });
  assert.deepEqual(await texts(stage, ["/", "/"]), ["1", "2"]);
  assert.equal((await stage.get("/trap")).code, "trap");
  assert.deepEqual(await texts(stage, ["/", "/"]), ["1", "2"]);
});

test("what a reused instance prints has the id of the request that it serves then", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const stage = await counting(t, { reuse: true });
  const ids: unknown[] = [];
  for (let i = 0; i < 3; i++) ids.push((await stage.get("/")).headers["x-request-id"]);
  await until(() => stage.logs.length >= 3, "three lines");
  assert.deepEqual(stage.logs.map(({ requestId, line }) => [requestId, line]), ids.map((id, i) => [id, `served ${i + 1}`]));
});

test("each request of a reused instance has the whole of its fuel, and all of it is counted", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const stage = await counting(t, { reuse: true, limits: { fuelPerCallMax: 300_000 } });
  const statuses = new Set<number>();
  let fuel = 0;
  for (let i = 0; i < 40; i++) {
    statuses.add((await stage.get("/")).status);
    const now = (await stage.runner.usage())["a"]!.fuel;
    assert.ok(now > fuel);
    fuel = now;
  }
  assert.deepEqual([...statuses], [200]);
  assert.ok(fuel > 300_000, `${fuel} units of fuel`);
});

test("a reused instance runs into the memory limit once, and the next request has a fresh one", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const stage = await counting(t, { reuse: true, concurrency: 2, limits: { memoryBytesMax: 32 * 1024 * 1024 } });
  const statuses = (await Promise.all([[], []].map(async () => {
    const seen: number[] = [];
    for (let i = 0; i < 12; i++) seen.push((await stage.get("/grow")).status);
    return seen;
  }))).flat();
  assert.ok(statuses.includes(200) && statuses.some((status) => status >= 500), statuses.join(" "));
  assert.equal((await stage.get("/")).status, 200);
});

test("when a deployment goes, so do its resting instances", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const stage = await counting(t, { reuse: true });
  assert.deepEqual(await texts(stage, ["/", "/"]), ["1", "2"]);
  await stage.runner.unload("a");
  const { component } = await buildComponent(join(import.meta.dirname, "assembly"), "counting.ts", "service");
  await stage.runner.load({ id: "a", hosts: ["a.localhost"], compiled: await compile(component, { cacheDirectory: cache.directory }), reuse: true });
  assert.deepEqual(await texts(stage, ["/"]), ["1"]);
});
