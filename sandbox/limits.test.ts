import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { completeLimits, CONCURRENCY_MAX, LIMITS_DEFAULT, LIMITS_MAX, LIMITS_TASK_DEFAULT, type Limits } from "./limits.ts";

const names = Object.keys(LIMITS_MAX) as (keyof Limits)[];

test("every default is within its maximum", () => {
  for (const name of names) {
    assert.ok(LIMITS_DEFAULT[name] <= LIMITS_MAX[name], name);
    assert.ok(LIMITS_TASK_DEFAULT[name] <= LIMITS_MAX[name], name);
  }
});

test("completeLimits() fills in defaults and refuses what is over the maximum or no number", () => {
  assert.deepEqual(completeLimits(undefined), LIMITS_DEFAULT);
  assert.equal(completeLimits({ memoryBytesMax: 1 }).memoryBytesMax, 1);
  for (const name of names) {
    assert.equal(completeLimits({ [name]: LIMITS_MAX[name] })[name], LIMITS_MAX[name]);
    for (const bad of [LIMITS_MAX[name] + 1, -1, 0.5, NaN, Infinity]) assert.throws(() => completeLimits({ [name]: bad }), RangeError, `${name} ${bad}`);
  }
});

test("the pool of the runner is made for these maxima", () => {
  const engine = readFileSync(join(import.meta.dirname, "native/core/src/engine.rs"), "utf8");
  const constant = (name: string): string | undefined => new RegExp(`const ${name}: \\w+ = ([^;]+);`).exec(engine)?.[1];
  assert.ok(Number(constant("SLOTS")?.replace("_", "")) > CONCURRENCY_MAX);
  assert.equal(constant("MEMORY_BYTES_MAX"), "1 << 30");
  assert.equal(LIMITS_MAX.memoryBytesMax, 2 ** 30);
  assert.equal(constant("TABLE_ELEMENTS_MAX")?.replace("_", ""), String(LIMITS_MAX.tableElementsMax));
});
