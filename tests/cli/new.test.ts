/** `godwit new`: from an empty folder, each template is a project whose own test passes; what is refused leaves nothing behind. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { needs } from "#tests/require.ts";
import { readManifest } from "#workloads/sdk/build.ts";
import { openTerminal } from "./terminal.ts";

const root = join(import.meta.dirname, "..", "..");
const TEMPLATES = ["http", "api", "static", "task"] as const;
const TIMEOUT_MS = 60_000;

/** Runs a program to its end, as a newcomer's shell would: nothing of this test run is in its environment. */
function ran(file: string, args: readonly string[], folder: string): Promise<{ code: number; output: string }> {
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
  const env = { ...environment, NO_COLOR: "1" };
  return new Promise((resolve) => {
    execFile(file, args, { cwd: folder, env, timeout: TIMEOUT_MS, killSignal: "SIGKILL" }, (error, stdout, stderr) => resolve({ code: error === null ? 0 : 1, output: stdout + stderr }));
  });
}

test("each template, from an empty folder, is a project whose own test passes", { concurrency: 2 }, async (t) => {
  if (!needs(t, "cargo")) return;
  await Promise.all(TEMPLATES.map((template) => t.test(template, async (inner) => {
    const terminal = openTerminal(inner);
    const made = await terminal.json("new", `my-${template}`, "--template", template);
    const folder = join(terminal.home, `my-${template}`);
    assert.deepEqual([made["folder"], made["name"], made["template"]], [folder, `my-${template}`, template]);
    const { code, output } = await ran(join(root, "tools", "godwit"), ["test"], folder);
    assert.equal(code, 0, output);
    assert.match(output, /^(#|ℹ) fail 0$/m);
    assert.match(output, /^(#|ℹ) pass [1-9]/m);
  })));
});

test("an editor knows the types: it finds the mistake that is made, and none in the template", { concurrency: 2 }, async (t) => {
  await Promise.all(TEMPLATES.map((template) => t.test(template, async (inner) => {
    const terminal = openTerminal(inner);
    await terminal.run("new", "shop", "-t", template);
    const folder = join(terminal.home, "shop");
    writeFileSync(join(folder, "assembly", "wrong.ts"), 'import { variable } from "godwit/env";\nexport const wrong: i32 = variable("A");\n');
    const { output } = await ran(join(root, "node_modules", ".bin", "tsc"), ["-p", "assembly"], folder);
    assert.deepEqual(output.split("\n").filter((line) => line.includes("error TS")).map((line) => line.split(": ").slice(0, 2).join(": ")), ["assembly/wrong.ts(2,14): error TS2322"]);
  })));
});

test("new without a template is a web service; its files say its name, and it says what comes next", async (t) => {
  const terminal = openTerminal(t);
  const { code, stdout } = await terminal.run("new", "shop");
  assert.equal(code, 0);
  assert.match(stdout, /^ {2}cd shop\n {2}godwit dev\n {2}godwit test\n {2}godwit deploy\n$/m);
  const folder = join(terminal.home, "shop");
  assert.deepEqual(readdirSync(folder).toSorted(), [".gitignore", ".godwit", "README.md", "assembly", "godwit.toml", "tests"]);
  assert.equal((await readManifest(folder)).name, "shop");
  assert.match(readFileSync(join(folder, "README.md"), "utf8"), /^# shop$/m);
  for (const file of readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()))
    assert.doesNotMatch(readFileSync(join(file.parentPath, file.name), "utf8"), /\bstarter\b/, file.name);
});

test("a folder with something in it, and a name that no deployment can have, are refused and nothing is made", async (t) => {
  const terminal = openTerminal(t);
  mkdirSync(join(terminal.home, "taken"));
  writeFileSync(join(terminal.home, "taken", "notes.txt"), "mine");
  writeFileSync(join(terminal.home, "file"), "mine");
  mkdirSync(join(terminal.home, "empty"));
  for (const name of ["taken", "file"]) assert.deepEqual(await terminal.errorOf("new", name), { exit: 1, code: "folder_not_empty" });
  for (const name of ["Shop", "my_shop", "../shop", ".", "-", "a".repeat(64), "", 'a"\nkind = "task']) assert.deepEqual(await terminal.errorOf("new", name), { exit: 1, code: "name_invalid" }, name);
  for (const args of [["shop", "-t", "cobol"], ["a", "b"], []]) assert.deepEqual(await terminal.errorOf("new", ...args), { exit: 2, code: "usage" });
  assert.deepEqual(readdirSync(terminal.home).toSorted(), ["empty", "file", "taken"]);
  assert.deepEqual(readdirSync(join(terminal.home, "taken")), ["notes.txt"]);
  assert.equal((await terminal.run("new", "empty")).code, 0);
  assert(existsSync(join(terminal.home, "empty", "godwit.toml")));
});
