/** The watch over a project's sources: every way in which editors and checkouts save a file is one change; the rest is none. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { type SourceWatch, watchSources } from "./watch.ts";

function project(t: TestContext): { folder: string; file(name: string): string; open(component?: string): SourceWatch } {
  const folder = mkdtempSync(join(tmpdir(), "godwit-watch-"));
  mkdirSync(join(folder, "assembly"));
  writeFileSync(join(folder, "assembly", "index.ts"), "1");
  writeFileSync(join(folder, "godwit.toml"), "");
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const open = (component?: string): SourceWatch => {
    const watch = watchSources(folder, component === undefined ? {} : { component });
    t.after(() => watch.close());
    return watch;
  };
  return { folder, file: (name) => join(folder, name), open };
}

const never = new AbortController().signal;

test("a file that is written, replaced by another, or removed is a change, again and again", async (t) => {
  const { file, open } = project(t);
  const watch = open();
  const index = file("assembly/index.ts");
  for (let i = 0; i < 3; i++) {
    writeFileSync(index, String(i));
    assert.deepEqual((await watch.next(never))?.files, ["assembly/index.ts"]);
    writeFileSync(file("assembly/.index.ts.new"), String(i));
    renameSync(file("assembly/.index.ts.new"), index);
    assert.deepEqual((await watch.next(never))?.files, ["assembly/index.ts"]);
  }
  rmSync(index);
  assert.deepEqual((await watch.next(never))?.files, ["assembly/index.ts"]);
  writeFileSync(file("godwit.toml"), "x");
  assert.deepEqual((await watch.next(never))?.files, ["godwit.toml"]);
});

test("saves that come together are one change, and those that nobody waited for are kept", async (t) => {
  const { file, open } = project(t);
  const watch = open();
  for (const name of ["b", "a"]) writeFileSync(file(`assembly/${name}.ts`), "");
  writeFileSync(file("assembly/a.ts"), "more");
  const change = await watch.next(never);
  assert.deepEqual(change?.files, ["assembly/a.ts", "assembly/b.ts"]);
  assert(change.savedMs <= performance.now());
});

test("folders that appear, are replaced by others, or come back are watched with what is in them", async (t) => {
  const { file, open } = project(t);
  const watch = open();
  mkdirSync(file("staged/deep"), { recursive: true });
  writeFileSync(file("staged/deep/one.ts"), "");
  await watch.next(never);
  rmSync(file("assembly"), { recursive: true });
  renameSync(file("staged"), file("assembly"));
  assert((await watch.next(never))?.files.includes("assembly/deep/one.ts"));
  writeFileSync(file("assembly/deep/one.ts"), "new");
  assert.deepEqual((await watch.next(never))?.files, ["assembly/deep/one.ts"]);
});

test("what is no source is no change", async (t) => {
  const { file, open } = project(t);
  for (const folder of ["node_modules", ".git"]) mkdirSync(file(folder));
  const watch = open();
  for (const name of ["node_modules/lib.ts", ".git/x.ts", "shop.wasm", "assembly/.index.ts.swp", "assembly/index.ts~", "assembly/.hidden.ts", "README.md"]) writeFileSync(file(name), "");
  writeFileSync(file("assembly/index.ts"), "last");
  assert.deepEqual((await watch.next(never))?.files, ["assembly/index.ts"]);
});

test("of a program of another language every file is a source, except what its build writes and what is as it was", async (t) => {
  const { file, open } = project(t);
  mkdirSync(file("src/bin"), { recursive: true });
  writeFileSync(file("src/app.py"), "1");
  const watch = open("made/app");
  mkdirSync(file("made"));
  for (const folder of ["target", "__pycache__", ".venv", "dist"]) mkdirSync(file(folder));
  for (const name of ["target/x.rs", "__pycache__/app.pyc", ".venv/lib.py", "dist/app.js", "app.wasm", "made/app", "src/.app.py.swp", "src/app.py~"]) writeFileSync(file(name), "x");
  writeFileSync(file("4913"), "");
  rmSync(file("4913"));
  writeFileSync(file("src/app.py"), "2");
  assert.deepEqual((await watch.next(never))?.files, ["src/app.py"]);
  writeFileSync(file("src/app.py"), "2");
  writeFileSync(file("Cargo.lock"), "made by the build");
  assert.deepEqual((await watch.next(never))?.files, ["Cargo.lock"]);
  writeFileSync(file("Cargo.lock"), "made by the build");
  writeFileSync(file("src/bin/tool.rs"), "");
  assert.deepEqual((await watch.next(never))?.files, ["src/bin/tool.rs"]);
  rmSync(file("src/app.py"));
  assert.deepEqual((await watch.next(never))?.files, ["src/app.py"]);
});

test("a signal ends the wait, and a folder that is not there cannot be watched", async (t) => {
  const { open } = project(t);
  const stop = new AbortController();
  const waiting = open().next(stop.signal);
  stop.abort();
  assert.equal(await waiting, null);
  assert.throws(() => watchSources(join(tmpdir(), "godwit-not-there")), { code: "watch_failed" });
});
