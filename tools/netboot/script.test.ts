import assert from "node:assert/strict";
import { test } from "node:test";
import { kernelLine } from "./script.ts";

test("an image's own words are not changed by the network's, of which it takes what it does not have", () => {
  assert.equal(kernelLine("console=ttyS0 godwit.region=oslo  panic=10", ["godwit.region=rome godwit.zone=a.example", "console=tty0 godwit.join=t"]), "console=ttyS0 godwit.region=oslo panic=10 godwit.zone=a.example console=tty0 godwit.join=t");
  assert.equal(kernelLine("", ["", "godwit.boot=http://10.0.0.1"]), "godwit.boot=http://10.0.0.1");
});
