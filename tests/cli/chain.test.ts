/** `godwit chain`: keys and a genesis of several validators, made on the command line. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { chainIdOf, decodeGenesis } from "#chain/codec/genesis.ts";
import { hex } from "#chain/types.ts";
import { openTerminal } from "./terminal.ts";

test("keys of four machines and a genesis that names them: a chain of four validators", async (t) => {
  const terminal = openTerminal(t);
  const json = terminal.json;
  const keys = await Promise.all([0, 1, 2, 3].map((n) => json("chain", "keys", `machine-${n}`)));
  assert.equal(new Set(keys.map(({ consensusKey }) => consensusKey)).size, 4);
  assert.deepEqual(await json("chain", "keys", "machine-2"), keys[2], "keys that are there stay");
  const validators = keys.flatMap(({ consensusKey }, n) => ["--validator", n === 0 ? `${consensusKey}=5` : consensusKey]);
  const made = await json("chain", "genesis", "genesis", "--name", "four", "--account", `${keys[0]!["machine"]}=2.5`, "--delta-ms", "100", ...validators);
  const bytes = new Uint8Array(await readFile(made["file"]));
  const genesis = decodeGenesis(bytes);
  assert.equal(made["chainId"], hex(chainIdOf(bytes)));
  assert.deepEqual([genesis.name, genesis.deltaMs, genesis.accounts.map(({ balance }) => balance)], ["four", 100, [2_500_000_000n]]);
  assert.deepEqual(genesis.validators.map(({ publicKey, weight }) => [hex(publicKey), weight]), keys.map(({ consensusKey }, n) => [consensusKey, n === 0 ? 5 : 1]));
});

test("a genesis that cannot be is refused", async (t) => {
  const terminal = openTerminal(t);
  const key = "ab".repeat(32);
  const rows: [string[], number, RegExp][] = [
    [["genesis", "g"], 2, /needs a --validator/], [["genesis", "g", "--validator", "ab"], 2, /64 hex digits/], [["genesis", "g", "--validator", `${key}=0`], 2, /weight/],
    [["genesis", "g", "--validator", key, "--validator", key], 1, /genesis_invalid/], [["genesis", "g", "--validator", key, "--account", "x=1"], 2, /ADDRESS=TOKENS/],
    [["genesis", "g", "--validator", key, "--parameters", "fast"], 2, /--parameters/], [["validator", "d", "--genesis", "nowhere"], 1, /genesis_missing/],
  ];
  for (const [args, expected, message] of rows) {
    const { code, stderr } = await terminal.run("chain", ...args);
    assert.equal(code, expected, args.join(" "));
    assert.match(stderr, message);
  }
  assert.equal(existsSync(join(terminal.home, "g")), false, "nothing was written");
});
