/** The task as a shell sees it: run in the sandbox. Run with `godwit test`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runTask } from "godwit/testing";

test("it counts words, the most frequent first", async () => {
  const { exitCode, stdout } = await runTask([], { stdin: "The cat and the dog.\nAnd THE bird's nest!\n" });
  assert.equal(exitCode, 0);
  assert.equal(stdout, "     3  the\n     2  and\n     1  bird's\n     1  cat\n     1  dog\n     1  nest\n");
});

test("it shows as many as it is asked for", async () => {
  assert.equal((await runTask(["1"], { stdin: "b a b\n" })).stdout, "     2  b\n");
});

test("it refuses arguments that it does not understand", async () => {
  const { exitCode, stderr } = await runTask(["many"]);
  assert.equal(exitCode, 1);
  assert.match(stderr, /^usage:/);
});
