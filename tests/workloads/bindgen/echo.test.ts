/** Values through bindings in V8: every kind of type, then types that nobody chose. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startEcho } from "./echo.ts";
import { TORTURE } from "./torture.ts";
import { Chance } from "./values.ts";

for (const runtime of ["incremental", "minimal"] as const) {
  test(`every type comes back from the host as it went, under the ${runtime} runtime`, async () => {
    const echo = await startEcho(TORTURE, { runtime });
    assert(echo.functions.length > 70);
    const chance = new Chance(1);
    for (let round = 0; round < 12; round++) for (const func of echo.functions) echo.call(func, chance, round);
  });
}
