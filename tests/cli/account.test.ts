/** Account files: who can read them, what is refused, and which account signs. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { parseAddress } from "#chain/codec/address.ts";
import { writeAccountFile } from "#tools/cli/keys.ts";
import { startFakeMachine } from "./fakeMachine.ts";
import { openTerminal } from "./terminal.ts";

const NOWHERE = { GODWIT_API: "http://127.0.0.1:9" };

test("account new makes a key file that only its owner can read, whatever the umask is", async (t) => {
  for (const umask of [0o022, 0o000, 0o777]) {
    const before = process.umask(umask);
    t.after(() => process.umask(before));
    const terminal = openTerminal(t, { ...NOWHERE });
    mkdirSync(join(terminal.home, ".godwit"), { mode: 0o700, recursive: true });
    chmodSync(join(terminal.home, ".godwit"), 0o700);
    if (umask === 0o777) {
      mkdirSync(join(terminal.home, ".godwit", "accounts"));
      chmodSync(join(terminal.home, ".godwit", "accounts"), 0o700);
    }
    const made = await terminal.json("account", "new", "alice");
    process.umask(before);
    assert.equal(made["file"], join(terminal.home, ".godwit", "accounts", "alice.json"));
    assert.equal(statSync(made["file"]).mode & 0o777, 0o600);
    assert.equal(statSync(join(terminal.home, ".godwit", "accounts")).mode & 0o777, 0o700);
    assert.notEqual(parseAddress(made["address"]), null);
    assert.deepEqual(readdirSync(join(terminal.home, ".godwit", "accounts")), ["alice.json"]);
    assert.equal((await terminal.json("account", "show", "alice"))["address"], made["address"]);
  }
});

test("accounts live under $XDG_CONFIG_HOME when it is set", async (t) => {
  const terminal = openTerminal(t, { ...NOWHERE });
  terminal.environment["XDG_CONFIG_HOME"] = join(terminal.home, "configuration");
  assert.equal((await terminal.json("account", "new", "a"))["file"], join(terminal.home, "configuration", "godwit", "accounts", "a.json"));
});

test("a key is never overwritten, and two calls at once make one account", async (t) => {
  const terminal = openTerminal(t, { ...NOWHERE });
  const results = await Promise.all(Array.from({ length: 8 }, () => terminal.run("account", "new", "alice", "--json")));
  assert.deepEqual(results.map(({ code }) => code).toSorted((a, b) => a - b), [0, 1, 1, 1, 1, 1, 1, 1]);
  assert(results.filter(({ code }) => code === 1).every(({ stderr }) => stderr.includes('"account_exists"')));
  const file = join(terminal.home, ".godwit", "accounts", "alice.json");
  const before = readFileSync(file, "utf8");
  assert.deepEqual(await terminal.errorOf("account", "new", "alice"), { exit: 1, code: "account_exists" });
  assert.equal(readFileSync(file, "utf8"), before);
});

test("names that would leave the folder or be mistaken are refused", async (t) => {
  const terminal = openTerminal(t, { ...NOWHERE });
  for (const name of ["../x", "a/b", "A", "dev", "", "-a", "a-", "a".repeat(33), "in-use.json", "ä"])
    assert.equal((await terminal.errorOf("account", "new", "--", name)).exit, 2, name);
});

test("a file that others can read, that is broken or whose address is another's is refused", async (t) => {
  const terminal = openTerminal(t, { ...NOWHERE });
  const { file } = await terminal.json("account", "new", "alice");
  const good = readFileSync(file, "utf8");
  const rows: [string, number, string][] = [
    [good, 0o640, "account_exposed"], [good, 0o604, "account_exposed"], ["{", 0o600, "account_malformed"], ["[]", 0o600, "account_malformed"],
    [good.replace(/"seed":"../, '"seed":"zz'), 0o600, "account_malformed"],
    [good.replace(/gw1./, (text) => (text === "gw1q" ? "gw1p" : "gw1q")), 0o600, "account_malformed"], ["x".repeat(5000), 0o600, "account_malformed"],
  ];
  for (const [text, mode, code] of rows) {
    writeFileSync(file, text);
    chmodSync(file, mode);
    assert.deepEqual(await terminal.errorOf("account", "show", "alice"), { exit: 1, code });
    assert.deepEqual(await terminal.errorOf("account", "show", file), { exit: 1, code });
  }
});

test("which account signs: --account, $GODWIT_ACCOUNT, the one in use, the development account, the only one", async (t) => {
  const terminal = openTerminal(t, { ...NOWHERE });
  const shown = async (...args: string[]): Promise<string> => (await terminal.json("account", "show", ...args))["name"] as string;
  assert.deepEqual(await terminal.errorOf("account", "show"), { exit: 1, code: "account_missing" });
  await terminal.run("account", "new", "alice");
  assert.equal(await shown(), "alice");
  const bob = await terminal.json("account", "new", "bob");
  assert.deepEqual(await terminal.errorOf("account", "show"), { exit: 1, code: "account_ambiguous" });
  mkdirSync(join(terminal.home, ".godwit", "dev", "keys"), { recursive: true });
  writeFileSync(join(terminal.home, ".godwit", "dev", "keys", "development"), `${"05".repeat(32)}\n`, { mode: 0o600 });
  assert.equal(await shown(), "dev");
  assert.equal((await terminal.run("account", "use", "alice")).code, 0);
  assert.equal(await shown(), "alice");
  terminal.environment["GODWIT_ACCOUNT"] = bob["file"] as string;
  assert.equal(await shown(), "bob");
  assert.equal(await shown("--account", "dev"), "dev");
  assert.deepEqual(await terminal.errorOf("account", "show", "--account", "carol"), { exit: 1, code: "account_unknown" });
});

test("a bare seed in a file is an account as well", async (t) => {
  const terminal = openTerminal(t, { ...NOWHERE });
  const file = join(terminal.home, "operator.key");
  writeFileSync(file, `${"05".repeat(32)}\n`, { mode: 0o600 });
  const made = await writeAccountFile(join(terminal.home, "same.json"), "same", new Uint8Array(32).fill(5));
  assert.equal((await terminal.json("account", "show", file))["address"], made.addressText);
});

test("account list shows balances where a machine answers, and works without one", async (t) => {
  const machine = await startFakeMachine(t);
  const terminal = openTerminal(t, { ...NOWHERE });
  const { address } = await terminal.json("account", "new", "alice");
  machine.balances.set(address, 2_500_000_000n);
  assert.equal((await terminal.json("account", "list"))[0].balance, null);
  terminal.environment["GODWIT_API"] = machine.url;
  assert.deepEqual((await terminal.json("account", "list"))[0], { name: "alice", address, file: join(terminal.home, ".godwit", "accounts", "alice.json"), inUse: true, balance: "2500000000" });
  assert.match((await terminal.run("account", "list")).stdout, /^ {3}NAME +ADDRESS +BALANCE\n\* {2}alice +gw1\w+ +2\.5\n$/);
});
