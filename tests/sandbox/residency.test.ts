/** What is not asked is not mapped: deployments that are known, and those that are in memory. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test, { after } from "node:test";
import { compile } from "#sandbox/sandbox.ts";
import { guest } from "#tests/guests/build.ts";
import { needs } from "#tests/require.ts";
import { variant } from "#tools/bench/inside.ts";
import { nativeIsThere, serving, sharedCache } from "./serving.ts";

const cache = sharedCache();
after(cache.remove);

const COMPONENTS = 6;

/** Components of which code is mapped in a process that nobody but root may look into. */
const mappedCodes = (pid: number): number => new Set([...readFileSync(`/proc/${pid}/maps`, "latin1").matchAll(/ (\d+) +\/memfd:godwit-code/g)].map((match) => match[1])).size;

test("after a respawn a deployment is a name until its first request, and all are served then, however many ask at once", async (t) => {
  if (!(await nativeIsThere(t)) || !needs(t, "root")) return;
  const { runner, get } = await serving(t, cache.directory);
  const component = await guest("hello");
  for (let number = 0; number < COMPONENTS; number++) {
    const compiled = await compile(variant(component, number), { cacheDirectory: cache.directory });
    for (const id of [`a${number}`, `b${number}`]) await runner.load({ id, hosts: [`${id}.localhost`], compiled });
  }
  assert.equal(mappedCodes(runner.pid ?? 0), COMPONENTS);
  process.kill(runner.pid ?? 0, "SIGKILL");
  assert.equal((await get("/", { host: "a0.localhost" })).status, 200);
  assert.equal(mappedCodes(runner.pid ?? 0), 1);
  const hosts = Array.from({ length: COMPONENTS }, (_, number) => [`a${number}.localhost`, `b${number}.localhost`]).flat();
  const statuses = await Promise.all([...hosts, ...hosts].map(async (host) => (await get("/", { host })).status));
  assert.deepEqual([...new Set(statuses)], [200]);
  assert.equal(mappedCodes(runner.pid ?? 0), COMPONENTS);
});
