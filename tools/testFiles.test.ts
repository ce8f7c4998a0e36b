import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { SECOND_RUN_FILES_MAX, type TestedFile, judge, parseReport, slowestOf } from "./testFiles.mjs";

const passed = (file: string): TestedFile => ({ file, elapsedMs: 1, failure: null });
const failed = (file: string): TestedFile => ({ file, elapsedMs: 1, failure: `${file} says why` });

/** What came of it when these end so beside each other, and those of `alone` with these codes. */
async function judged(code: number, files: readonly TestedFile[], alone: Readonly<Record<string, number>> = {}, stopsAfter = Infinity): Promise<{ code: number; ran: string[]; said: string }> {
  const ran: string[] = [];
  const said: string[] = [];
  const runAlone = async (file: string): Promise<number> => {
    ran.push(file);
    return alone[file]!;
  };
  return { code: await judge({ code, files, isStopped: () => ran.length >= stopsAfter, runAlone, say: (text) => void said.push(text) }), ran, said: said.join("\n") };
}

test("when nothing fails, nothing is run again", async () => {
  assert.deepEqual(await judged(0, [passed("a"), passed("b")]), { code: 0, ran: [], said: "" });
});

test("what failed beside others and passes alone is said loudly, with its first failure, and fails nobody", async () => {
  const { code, ran, said } = await judged(1, [passed("a"), failed("b"), failed("c")], { b: 0, c: 0 });
  assert.deepEqual([code, ran], [0, ["b", "c"]]);
  for (const part of ["b says why", "c says why", "PASSED ALONE: b", "PASSED ALONE: c"]) assert(said.includes(part), part);
});

test("what fails alone as well fails all, whatever else passed, and every one was run", async () => {
  const { code, ran, said } = await judged(1, [failed("a"), failed("b"), passed("c")], { a: 7, b: 0 });
  assert.deepEqual([code, ran], [1, ["a", "b"]]);
  assert(said.includes("FAILED TWICE, beside others and alone: a") && said.includes("PASSED ALONE: b"));
});

test("more failed files than a few are a failure at once", async () => {
  const few = Array.from({ length: SECOND_RUN_FILES_MAX }, (_, index) => failed(String(index)));
  assert.equal((await judged(1, [...few, passed("x")], { 0: 0, 1: 0, 2: 0 })).code, 0);
  const { code, ran } = await judged(1, [...few, failed("x")]);
  assert.deepEqual([code, ran], [1, []]);
});

test("a file that failed with nobody beside it, a run that broke and one that was stopped are failures at once", async () => {
  assert.deepEqual(await judged(1, [failed("a")], { a: 0 }), { code: 1, ran: [], said: "" });
  assert.deepEqual(await judged(9, [passed("a"), passed("b")]), { code: 9, ran: [], said: "" });
  assert.deepEqual(await judged(0, [passed("a"), failed("b")], { b: 1 }).then(({ code }) => code), 1, "a failure that the code does not tell");
  assert.deepEqual(await judged(1, [passed("a"), failed("b")], { b: 0 }, 0), { code: 1, ran: [], said: "" });
  assert.equal((await judged(1, [passed("a"), failed("b")], { b: 0 }, 1)).code, 1);
});

test("the reporter names each file that failed once, in a test or as a whole, with what it printed", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "godwit-files-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const contents = {
    good: 'test("fine", () => {});',
    deep: 'test("outer", async (t) => { await t.test("inner", () => { console.log("printed"); throw new Error("in the inner one"); }); });',
    whole: 'console.error("a word before"); process.exit(3);',
  };
  for (const [name, text] of Object.entries(contents)) writeFileSync(join(folder, `${name}.test.mjs`), `import test from "node:test";\n${text}`);
  const environment = { ...process.env };
  delete environment["NODE_TEST_CONTEXT"];
  // Files are named as they were asked for: whole, or from where the run began, as npm test does.
  for (const pattern of [join(folder, "*.test.mjs"), "*.test.mjs"]) {
    const report = join(folder, `report ${pattern.length}`);
    spawnSync(process.execPath, ["--test", `--test-reporter=${join(import.meta.dirname, "testFiles.mjs")}`, `--test-reporter-destination=${report}`, pattern], { env: environment, cwd: folder });
    const files = new Map(parseReport(readFileSync(report, "utf8")).map((one) => [one.file, one]));
    const failureOf = (name: keyof typeof contents): string | null => files.get(join(folder, `${name}.test.mjs`))!.failure;
    assert.equal(files.size, 3);
    assert.equal(failureOf("good"), null);
    assert.match(failureOf("deep")!, /✖ inner[^]*in the inner one[^]*printed/);
    assert.match(failureOf("whole")!, /a word before/);
    assert.equal(slowestOf([...files.values()]).length, 3);
  }
});
