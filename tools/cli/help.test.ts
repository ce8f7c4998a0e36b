import assert from "node:assert/strict";
import test from "node:test";
import { nearest } from "./help.ts";

test("nearest() finds what was meant and guesses nothing else", () => {
  const words = ["deploy", "ps", "logs", "bill", "scale", "status", "serve", "transfer", "tx"];
  const rows: [string, string | undefined][] = [
    ["dploy", "deploy"], ["depoly", "deploy"], ["log", "logs"], ["bil", "bill"], ["sacle", "scale"], ["trans", "transfer"], ["sevre", "serve"],
    ["kubernetes", undefined], ["x", undefined], ["", undefined], ["qq", undefined],
  ];
  for (const [word, meant] of rows) assert.equal(nearest(word, words), meant, word);
});
