import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { spawnFirstToGo } from "./firstToGo.ts";

const scoreOf = (pid: number | "self"): number => Number(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8"));

test("out of memory the kernel ends what was started so, and not who started it", { skip: process.platform !== "linux" }, async () => {
  const own = scoreOf("self");
  const child = spawnFirstToGo("sleep", ["60"], { stdio: "ignore" });
  try {
    assert.equal(scoreOf(child.pid!), Math.max(own, 500));
    assert.equal(scoreOf("self"), own);
  } finally {
    child.kill("SIGKILL");
  }
  const missing = spawnFirstToGo("/nowhere/at/all", [], { stdio: "ignore" });
  await new Promise((resolve) => missing.once("error", resolve));
  assert.equal(scoreOf("self"), own);
});
