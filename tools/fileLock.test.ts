import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { startOf, withFileLock } from "./fileLock.mjs";

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "godwit-lock-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const linux = { skip: process.platform !== "linux" && "process ids are told apart on Linux only" };

test("one at a time, over processes and within one", linux, async (t) => {
  const directory = folder(t);
  const [path, log] = [join(directory, "lock"), join(directory, "log")];
  const program = `
    import { appendFileSync } from "node:fs";
    import { withFileLock } from ${JSON.stringify(join(import.meta.dirname, "fileLock.mjs"))};
    const work = async () => { appendFileSync(${JSON.stringify(log)}, "in "); await new Promise((done) => setTimeout(done, 20)); appendFileSync(${JSON.stringify(log)}, "out "); };
    await Promise.all([withFileLock(${JSON.stringify(path)}, work), withFileLock(${JSON.stringify(path)}, work)]);`;
  const children = Array.from({ length: 3 }, () => spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: "inherit" }));
  assert.deepEqual(await Promise.all(children.map(async (child) => (await once(child, "exit"))[0] as number)), [0, 0, 0]);
  assert.equal(readFileSync(log, "utf8"), "in out ".repeat(6));
  assert.deepEqual(readdirSync(directory), ["log"]);
});

test("a lock whose holder is gone is taken over, also when another process has its id by now", linux, async (t) => {
  const path = join(folder(t), "lock");
  const gone = spawn(process.execPath, ["-e", ""]);
  await once(gone, "exit");
  for (const holder of [`${gone.pid} 1`, `${process.ppid} 1`, "nonsense"]) {
    writeFileSync(path, holder);
    assert.equal(await withFileLock(path, () => "done", { waiting: () => assert.fail("nobody holds it") }), "done");
    assert.equal(existsSync(path), false);
  }
});

test("who waits is told for whom, and work that fails lets go", linux, async (t) => {
  const path = join(folder(t), "lock");
  await assert.rejects(withFileLock(path, () => Promise.reject(new Error("no"))), /no/);
  const waits: number[] = [];
  writeFileSync(path, `${process.ppid} ${startOf(process.ppid)}`);
  const waiting = withFileLock(path, () => "done", { waiting: (pid) => {
    waits.push(pid);
    rmSync(path);
  } });
  assert.equal(await waiting, "done");
  assert.deepEqual(waits, [process.ppid]);
});
