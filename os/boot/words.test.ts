import assert from "node:assert/strict";
import { test } from "node:test";
import type { Lease } from "./dhcp.ts";
import { completedLine, wordsFrom } from "./words.ts";

test("a machine without a token asks the boot server that it was told, else the one of its lease, for words", () => {
  const [plain, leased] = [{ name: "eth0", lease: null }, { name: "eth1", lease: { bootServer: "http://10.0.0.1" } as unknown as Lease }];
  const none = { bootServer: null, joinToken: null };
  assert.equal(wordsFrom(none, [plain]), null);
  assert.deepEqual(wordsFrom(none, [plain, leased]), { bootServer: "http://10.0.0.1", name: "eth1" });
  assert.deepEqual(wordsFrom({ bootServer: "http://10.0.0.9", joinToken: null }, [plain]), { bootServer: "http://10.0.0.9", name: "eth0" }, "after an upgrade");
  assert.deepEqual(wordsFrom({ bootServer: "http://10.0.0.9", joinToken: null }, [plain, leased]), { bootServer: "http://10.0.0.9", name: "eth1" });
  assert.equal(wordsFrom({ bootServer: "http://10.0.0.9", joinToken: "t" }, [plain, leased]), null, "its loader gave it all");
});

test("words of the network complete the command line, and change nothing that it says", () => {
  assert.equal(completedLine("console=ttyS0 quiet", "godwit.hostname=kitchen godwit.peer=a:1 godwit.peer=b:2"), "console=ttyS0 quiet godwit.hostname=kitchen godwit.peer=a:1 godwit.peer=b:2");
  assert.equal(completedLine("godwit.genesis=sha256:aa godwit.peer=me:1\n", "godwit.genesis=sha256:bb godwit.peer=them:1 godwit.zone=x"), "godwit.genesis=sha256:aa godwit.peer=me:1 godwit.zone=x");
  assert.equal(completedLine("quiet", "init=/bin/sh console=tty9 panic=0 godwit.region=oslo"), "quiet godwit.region=oslo");
  assert.equal(completedLine("", ""), "");
});
