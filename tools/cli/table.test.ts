import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import test from "node:test";
import type { Shell } from "./command.ts";
import { isColoured, jsonText, pairsText, plain, tableText, withProgress } from "./table.ts";

test("a column is as wide as its widest cell, and numbers stand right", () => {
  const text = tableText([{ name: "a", n: "5" }, { name: "longer", n: "12345" }], [
    { title: "NAME", cell: ({ name }) => name }, { title: "N", align: "right", cell: ({ n }) => n },
  ]);
  assert.equal(text, "NAME        N\na           5\nlonger  12345");
  assert.equal(pairsText([["a", "1"], ["long", "2"]]), "a     1\nlong  2");
});

test("what a stranger wrote cannot steer a terminal", () => {
  assert.equal(plain("a\u001b[2Jb\u0007\u009b1m\r\nc\td"), "a\\x1b[2Jb\\x07\\x9b1m\\x0d\\x0ac\td");
  assert.equal(plain("gpj\u202e.exe"), "gpj\\x202e.exe");
  assert.equal(tableText([{ name: "\u001b[31mred" }], [{ title: "NAME", cell: ({ name }) => name }]), "NAME\n\\x1b[31mred");
});

test("a u64 is a decimal string in JSON", () => {
  assert.equal(jsonText({ a: 18_446_744_073_709_551_615n, b: [1n], c: 1, d: null }), '{"a":"18446744073709551615","b":["1"],"c":1,"d":null}');
});

const shellWith = (environment: Record<string, string>, isTTY: boolean): { shell: Shell; written: () => string } => {
  const stderr = Object.assign(new PassThrough(), { isTTY });
  let text = "";
  stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const shell: Shell = {
    stdin: new PassThrough(), stdout: stderr, stderr, environment, homeDirectory: "/", currentDirectory: "/", signal: new AbortController().signal, nowMs: Date.now,
  };
  return { shell, written: () => text };
};

test("colour needs a terminal, and NO_COLOR forbids it", () => {
  const rows: [Record<string, string>, boolean, boolean][] = [[{}, true, true], [{}, false, false], [{ NO_COLOR: "1" }, true, false], [{ NO_COLOR: "" }, true, true], [{ TERM: "dumb" }, true, false]];
  for (const [environment, isTTY, expected] of rows) {
    const { shell } = shellWith(environment, isTTY);
    assert.equal(isColoured(shell, shell.stdout), expected);
  }
});

test("progress is silent for a second, then says what is waited for; a terminal's line is wiped", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  for (const [isTTY, expected] of [[false, ["", "\n"]], [true, ["\r\u001b[2K", "\r\u001b[2K"]]] as const) {
    const { shell, written } = shellWith({}, isTTY);
    const { promise, resolve } = Promise.withResolvers<number>();
    const waiting = withProgress(shell, "building", promise);
    t.mock.timers.tick(999);
    assert.equal(written(), "");
    t.mock.timers.tick(1);
    resolve(7);
    assert.equal(await waiting, 7);
    await new Promise((done) => setImmediate(done));
    assert.deepEqual(written().split(/building … \d+ s/), expected);
  }
});
