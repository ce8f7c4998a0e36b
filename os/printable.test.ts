import assert from "node:assert/strict";
import test from "node:test";
import { printable } from "./printable.ts";

test("printable() leaves a stranger's text no way to draw on a terminal or to begin a line", () => {
  assert.equal(printable("ação 100 % – 日本"), "ação 100 % – 日本");
  assert.equal(printable("a\u001b[2J\u009b1m\r\t\u0007"), "a\\x1b[2J\\x9b1m\\x0d\\x09\\x07");
  assert.equal(printable("x\nstopped   all is well"), "x\n    stopped   all is well");
  assert.equal(printable("a\u202eb"), "a\\x202eb");
});
