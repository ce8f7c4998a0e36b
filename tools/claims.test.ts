import assert from "node:assert/strict";
import test from "node:test";
import { claimsOf, pick, worseBy } from "./claims.ts";

test("a claim is read from its comment with its place", () => {
  const text = 'a\n| 5 <!-- claim {"run":"bench:x","path":"a.0.b","value":5,"better":"higher"} --> |';
  assert.deepEqual(claimsOf("README.md", text), [{ file: "README.md", line: 2, run: "bench:x", arguments: [], path: "a.0.b", value: 5, better: "higher" }]);
  assert.throws(() => claimsOf("README.md", '<!-- claim {"run":"bench:x"} -->'), /README.md:1/);
});

test("a figure is found by its path, and missing is not zero", () => {
  assert.equal(pick({ a: [{ b: 7 }] }, "a.0.b"), 7);
  assert.equal(pick({ a: [] }, "a.0.b"), null);
  assert.equal(pick(null, "a"), null);
});

test("worse is counted in the direction that the claim names", () => {
  assert.equal(worseBy({ value: 10, better: "higher" }, 6), 0.4);
  assert.equal(worseBy({ value: 10, better: "lower" }, 6), -0.4);
});
