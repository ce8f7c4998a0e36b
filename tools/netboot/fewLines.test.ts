import assert from "node:assert/strict";
import test from "node:test";
import { fewLines } from "./fewLines.ts";

test("who sends a packet a microsecond makes a few lines a second, and is told of by their number", () => {
  const lines: string[] = [];
  let nowMs = 0;
  const say = fewLines((line) => void lines.push(line), () => nowMs, 2);
  for (const line of ["a", "b", "c", "d"]) say(line);
  assert.deepEqual(lines, ["a", "b"]);
  nowMs = 1_000;
  say("e");
  assert.deepEqual(lines.slice(2), ["2 lines left out: more than 2 in a second", "e"]);
  nowMs = 0;
  for (const line of ["f", "g", "h"]) say(line);
  assert.deepEqual(lines.slice(4), ["f", "g"]);
});
