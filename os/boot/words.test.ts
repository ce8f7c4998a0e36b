import assert from "node:assert/strict";
import { test } from "node:test";
import { completedLine } from "./words.ts";

test("words of the network complete the command line, and change nothing that it says", () => {
  assert.equal(completedLine("console=ttyS0 quiet", "godwit.hostname=kitchen godwit.peer=a:1 godwit.peer=b:2"), "console=ttyS0 quiet godwit.hostname=kitchen godwit.peer=a:1 godwit.peer=b:2");
  assert.equal(completedLine("godwit.genesis=sha256:aa godwit.peer=me:1\n", "godwit.genesis=sha256:bb godwit.peer=them:1 godwit.zone=x"), "godwit.genesis=sha256:aa godwit.peer=me:1 godwit.zone=x");
  assert.equal(completedLine("quiet", "init=/bin/sh console=tty9 panic=0 godwit.region=oslo"), "quiet godwit.region=oslo");
  assert.equal(completedLine("", ""), "");
});
