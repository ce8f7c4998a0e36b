import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { chainIdOf, encodeGenesis } from "#chain/codec/genesis.ts";
import { World } from "#tests/ledger/world.ts";
import { FOLDER_VERSION, openDataFolder } from "./dataFolder.ts";

const genesis = encodeGenesis(new World().genesis);
const open = (directory: string): ReturnType<typeof openDataFolder> => openDataFolder(directory, genesis, chainIdOf(genesis), null);

test("a folder says which version it is of; one of another version, older or newer, is refused by its code and left as it is", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "godwit-folder-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  await (await open(directory)).close();
  await (await open(directory)).close();
  const version = join(directory, "version");
  assert.equal(readFileSync(version, "utf8"), `${FOLDER_VERSION}\n`);
  const names = readdirSync(directory).toSorted();
  for (const other of ["1\n", "999\n", "", "2 and more", "\u0000".repeat(1000)]) {
    writeFileSync(version, other);
    await assert.rejects(open(directory), { code: "data_folder_version" });
    assert.deepEqual([readFileSync(version, "utf8"), readdirSync(directory).toSorted()], [other, names]);
  }
  rmSync(version);
  await assert.rejects(open(directory), { code: "data_folder_version" }, "folders had no such file once");
  writeFileSync(version, `${FOLDER_VERSION}\n`);
  await (await open(directory)).close();
});

test("a version that cannot be read is no version", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "godwit-folder-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  mkdirSync(join(directory, "version"));
  await assert.rejects(open(directory), { code: "data_folder_unusable" });
});
