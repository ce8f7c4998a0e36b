import assert from "node:assert/strict";
import { test } from "node:test";
import { ENDED_KEPT_MS, Told } from "./told.ts";

test("what a runner was told of is known while it runs and for a while after its end, and then forgotten: a year of tenants does not add up", () => {
  let nowMs = 0;
  const told = new Told(() => nowMs);
  const place = { scheme: "https", host: "example.com", port: 443 } as const;
  told.begin("stays", [place]);
  for (let n = 0; n < 100_000; n += 1) {
    told.begin(`d${n}`, [place]);
    told.end(`d${n}`);
    assert(told.has(`d${n}`));
    assert.deepEqual(told.placesOf(`d${n}`), []);
    nowMs += ENDED_KEPT_MS / 100;
  }
  assert(told.count <= 102, String(told.count));
  assert(!told.has("d0") && told.has("d99999") && told.has("stays"));
  assert.deepEqual(told.placesOf("stays"), [place]);
  told.begin("d99999", [place]);
  nowMs += 2 * ENDED_KEPT_MS;
  told.end("stays");
  assert(told.has("d99999"), "told again, it runs");
});
