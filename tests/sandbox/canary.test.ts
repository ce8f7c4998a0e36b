/** Slots of the pool serve one tenant after the other: what the last one left must not be there for the next. */
import assert from "node:assert/strict";
import { join } from "node:path";
import test, { after } from "node:test";
import { compile } from "#sandbox/sandbox.ts";
import { buildComponent } from "#workloads/sdk/build.ts";
import { nativeIsThere, serving, sharedCache } from "./serving.ts";

const ROUNDS = 100;
const AT_ONCE = 4;
const cache = sharedCache();
after(cache.remove);

test("no byte of a tenant's memory is seen by the next instance in its slot", async (t) => {
  if (!(await nativeIsThere(t))) return;
  const { runner, get } = await serving(t, cache.directory);
  const { component } = await buildComponent(join(import.meta.dirname, "assembly"), "canary.ts", "service");
  const compiled = await compile(component, { cacheDirectory: cache.directory });
  for (const id of ["fills", "scans"]) await runner.load({ id, hosts: [id], compiled });
  let scanned = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    await Promise.all(
      Array.from({ length: AT_ONCE }, async (_, index) => {
        const fills = (round + index) % 2 === 0;
        const answer = await get(fills ? "/fill" : "/scan", { host: fills ? "fills" : "scans" });
        assert.equal(answer.text, fills ? "filled" : "0");
        if (!fills) scanned += 1;
      }),
    );
  }
  assert.equal(scanned, (ROUNDS * AT_ONCE) / 2);
});
