/** The tests that are in Rust: hops and own runners over broken connections, handshakes, the gate, plain requests, wiped memory. */
import assert from "node:assert/strict";
import test from "node:test";
import { needs } from "#tests/require.ts";
import { testNative } from "#tools/native.mjs";

/** What it needs is built first where nobody has. */
const BUILD_MS_MAX = 1_200_000;

test("the tests of the native core pass", { timeout: BUILD_MS_MAX }, async (t) => {
  if (!needs(t, "cargo")) return;
  const { code, text } = await testNative({ log: (line) => t.diagnostic(line) });
  assert.equal(code, 0, text.slice(-8_000));
  const passed = Number(/test result: ok\. (\d+) passed; 0 failed; 0 ignored/.exec(text)?.[1]);
  assert.ok(passed >= 30, text.slice(-8_000));
  t.diagnostic(`${passed} passed`);
});
