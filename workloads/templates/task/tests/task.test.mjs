/** The task as a shell sees it: built (without optimisation, which is faster), run in the sandbox. Run with `node --test`; GODWIT names the command where it is not on the PATH. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const project = join(fileURLToPath(import.meta.url), "..", "..");
const folder = mkdtempSync(join(tmpdir(), "words-"));
const component = join(folder, "task.wasm");

function godwit(args, input = "") {
  const { status, stdout, stderr, error } = spawnSync(process.env.GODWIT ?? "godwit", args, { cwd: project, input, encoding: "utf8" });
  if (error) throw error;
  return { code: status, stdout, stderr };
}

before(() => {
  const { code, stderr } = godwit(["build", "--debug", "-o", component]);
  assert.equal(code, 0, stderr);
});
after(() => rmSync(folder, { recursive: true }));

test("it counts words, the most frequent first", () => {
  const { code, stdout } = godwit(["run", component], "The cat and the dog.\nAnd THE bird's nest!\n");
  assert.equal(code, 0);
  assert.equal(stdout, "     3  the\n     2  and\n     1  bird's\n     1  cat\n     1  dog\n     1  nest\n");
});

test("it shows as many as it is asked for", () => {
  assert.equal(godwit(["run", component, "1"], "b a b\n").stdout, "     2  b\n");
});

test("it refuses arguments that it does not understand", () => {
  const { code, stderr } = godwit(["run", component, "many"]);
  assert.equal(code, 1);
  assert.match(stderr, /^usage:/);
});
