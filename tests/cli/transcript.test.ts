/**
 * What a person sees, word for word: transcript.txt has commands after `$ godwit`, what they print (stderr after `! `) and `[code]`
 * when it is not 0. Addresses, ids, the home folder, the
 * machine's port, the time and what steps took are written as <address>, <id>, <key>, ~, <api> and <time>.
 * A change of words is made in that file by hand.
 */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { startFakeMachine } from "./fakeMachine.ts";
import { openTerminal } from "./terminal.ts";

test("the transcript holds, word for word", async (t) => {
  const machine = await startFakeMachine(t);
  const terminal = openTerminal(t, { GODWIT_API: machine.url });
  writeFileSync(join(terminal.home, "greeter.wasm"), Uint8Array.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]));
  writeFileSync(join(terminal.home, "godwit.toml"), 'name = "greeter"\nkind = "service"\n\n[budget]\ndeposit = "2.5"\n');
  mkdirSync(join(terminal.home, "bazaar", "parts"), { recursive: true });
  writeFileSync(join(terminal.home, "bazaar", "godwit.toml"), '[app]\nname = "bazaar"\n[workloads]\nstore = "parts/one.wasm"\n[workloads.front]\npath = "parts/one.wasm"\nneeds = ["store"]\nreplicas = 2\n[env.staging]\nreplicas = 1\n');
  writeFileSync(join(terminal.home, "bazaar", "parts", "godwit.toml"), 'name = "one"\nkind = "service"\n');
  writeFileSync(join(terminal.home, "bazaar", "parts", "one.wasm"), Uint8Array.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]));
  writeFileSync(join(terminal.home, "wrong.toml"), 'name = "Greeter"\nkind = "service"\n\n[budget]\ndeposit = 2.5\n');
  writeFileSync(join(terminal.home, "consensus"), `${"5".repeat(64)}\n`);
  machine.stateKept = { weight: 1, weightKnown: 4, weightMin: 2, weightAll: 4 };
  machine.logLines = [{ stream: "system", line: "Loaded: 64 MiB, 16 requests at once" }, { stream: "stdout", line: "GET / 200" }];

  const expected = readFileSync(join(import.meta.dirname, "transcript.txt"), "utf8");
  const played: string[] = [];
  for (const command of expected.matchAll(/^\$ godwit ?(.*)$/gm)) {
    const words = (command[1] ?? "").split(" ").filter((word) => word !== "");
    const { code, stdout, stderr } = await terminal.run(...words);
    if (words[0] === "account" && words[1] === "new") machine.balances.set(/gw1\w+/.exec(stdout)?.[0] ?? assert.fail(), 100_000_000_000n);
    const errors = stderr.split("\n").slice(0, -1).map((line) => `! ${line}\n`).join("");
    played.push(`$ godwit${words.length === 0 ? "" : ` ${words.join(" ")}`}\n${stdout}${errors}${code === 0 ? "" : `[${code}]\n`}`);
  }
  const actual = played.join("\n").replaceAll(machine.url, "<api>").replaceAll(terminal.home, "~").replace(/^(block time +)\S+$/m, "$1<time>").replace(/gw1[02-9ac-hj-np-z]{38}/g, "<address>").replace(/\b[0-9a-f]{40}\b/g, "<id>").replace(/\b[0-9a-f]{12}\b/g, "<id>").replace(/^[0-9a-f]{64}(?=  )/gm, "<key>").replace(/^! +\d+ ms  /gm, "! <time>  ");
  assert.equal(actual, expected);
});
