import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { forgetJoined, holdsChain, takeJoined, writeJoined } from "./joinedFolder.ts";

test("what a join brought takes the place of blocks and snapshot, all or nothing, wherever it is interrupted; the vote log stays", async (t) => {
  const root = await mkdtemp(join(tmpdir(), "godwit-joined-"));
  t.after(() => rm(root, { recursive: true, force: true }));
  const folder = join(root, "folder");
  const fill = async (directory: string, text: string): Promise<void> => {
    await mkdir(join(directory, "blocks"), { recursive: true });
    await writeFile(join(directory, "blocks", text), text);
    await writeFile(join(directory, "snapshot"), text);
  };
  const shown = async (directory: string): Promise<unknown> => [
    (await readdir(directory)).toSorted(), await readdir(join(directory, "blocks")).catch(() => null), await readFile(join(directory, "snapshot"), "utf8").catch(() => null), await readFile(join(directory, "votes"), "utf8"),
  ];
  await mkdir(folder);
  await writeFile(join(folder, "votes"), "signed");
  assert.equal(await holdsChain(folder), false);
  await fill(folder, "old");
  assert.equal(await holdsChain(folder), true);
  const before = await shown(folder);
  await assert.rejects(writeJoined(folder, async (aside) => {
    await fill(aside, "half");
    throw new Error("cut off");
  }));
  assert.equal(await takeJoined(folder), false);
  assert.deepEqual(await shown(folder), before, "what did not come whole changes nothing");

  await writeJoined(folder, (aside) => fill(aside, "new"));
  const steps: ((directory: string) => Promise<void>)[] = [
    async () => undefined,
    (directory) => rm(join(directory, "blocks"), { recursive: true }),
    (directory) => rename(join(directory, "joined", "blocks"), join(directory, "blocks")),
    (directory) => rm(join(directory, "snapshot")),
    (directory) => rename(join(directory, "joined", "snapshot"), join(directory, "snapshot")),
  ];
  for (let cut = 0; cut < steps.length; cut++) {
    const copy = join(root, String(cut));
    await cp(folder, copy, { recursive: true });
    for (const step of steps.slice(0, cut + 1)) await step(copy);
    assert.equal(await holdsChain(copy), true, `cut off after ${cut}`);
    assert.equal(await takeJoined(copy), true);
    assert.equal(await takeJoined(copy), true, "until it is forgotten");
    await forgetJoined(copy);
    assert.deepEqual(await shown(copy), [["blocks", "snapshot", "votes"], ["new"], "new", "signed"], `cut off after ${cut}`);
    assert.equal(await takeJoined(copy), false);
  }
});
