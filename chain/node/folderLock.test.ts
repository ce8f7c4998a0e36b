import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { lockFolder } from "./folderLock.ts";

test("a folder is held once, by any path, and is free again after release and after kill -9", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "godwit-lock-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const link = join(directory, "link");
  await symlink(directory, link);
  const lock = await lockFolder(directory);
  await assert.rejects(lockFolder(link), { code: "data_folder_in_use" });
  await lock.release();

  const child = spawn(process.execPath, ["--input-type=module", "--eval", `
    const { lockFolder } = await import(${JSON.stringify(new URL("./folderLock.ts", import.meta.url).href)});
    await lockFolder(${JSON.stringify(directory)});
    console.log("held");
    setInterval(() => undefined, 1000);
  `], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  await assert.rejects(lockFolder(directory), { code: "data_folder_in_use" });
  child.kill("SIGKILL");
  await once(child, "exit");
  await (await lockFolder(directory)).release();
});
