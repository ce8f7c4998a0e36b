import assert from "node:assert/strict";
import { mkdtemp, readFile, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { sha256 } from "#chain/crypto.ts";
import { height } from "#chain/types.ts";
import { BlockStore, type BlockStoreOptions, type StoredBlock } from "./blockStore.ts";

const bytes = (length: number, seed: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 7 + seed * 13 + 1) & 0xff);
const block = (at: number, length = 40): StoredBlock => ({
  height: height(at), id: sha256(bytes(8, at)), bytes: bytes(length, at), certificate: bytes(20, at + 1), results: bytes(3, at + 2),
});

async function folder(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "godwit-blocks-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}
async function fill(directory: string, count: number, options?: BlockStoreOptions): Promise<string> {
  const store = await BlockStore.open(directory, options);
  for (let at = store.height + 1; at <= count; at++) await store.append(block(at));
  await store.close();
  return join(directory, (await readdir(directory)).sort().at(-1)!);
}

test("a block is read back as it was stored, before and after it is on the disk, and after opening again", async (t) => {
  const directory = await folder(t);
  const store = await BlockStore.open(directory);
  const written = [store.append(block(1)), store.append(block(2))];
  assert.equal(store.heightDurable, 0);
  assert.deepEqual(store.read(2), block(2));
  await Promise.all(written);
  assert.equal(store.heightDurable, 2);
  assert.deepEqual(store.read(1), block(1));
  await store.close();
  const again = await BlockStore.open(directory);
  t.after(() => again.close());
  assert.equal(again.height, 2);
  assert.deepEqual(again.read(2), block(2));
  assert.equal(again.read(3), null);
  assert.throws(() => again.append(block(4)), { code: "block_store_gap" });
});

test("a tail torn at any byte of the last block is cut off, and the block can be stored again", async (t) => {
  const directory = await folder(t);
  const path = await fill(directory, 2);
  const sizeTwo = (await stat(path)).size;
  await fill(directory, 3);
  const whole = await readFile(path);
  for (let size = sizeTwo; size < whole.length; size++) {
    await writeFile(path, whole.subarray(0, size));
    const store = await BlockStore.open(directory);
    assert.equal(store.height, 2, `${size} bytes`);
    assert.equal(store.repairedBytes, size - sizeTwo);
    assert.deepEqual(store.read(2), block(2));
    await store.append(block(3));
    await store.close();
    assert.equal((await stat(path)).size, whole.length);
  }
});

test("a last block whose sectors did not all arrive is cut off", async (t) => {
  const directory = await folder(t);
  const path = await fill(directory, 1);
  const store = await BlockStore.open(directory);
  await store.append(block(2, 3000));
  await store.close();
  const whole = await readFile(path);
  const blanked = Buffer.from(whole);
  blanked.fill(0, 1024, 1536);
  await writeFile(path, blanked);
  const repaired = await BlockStore.open(directory);
  t.after(() => repaired.close());
  assert.equal(repaired.height, 1);
});

test("a flipped byte anywhere is an error and drops nothing", async (t) => {
  const directory = await folder(t);
  const path = await fill(directory, 3);
  const whole = await readFile(path);
  for (let at = 0; at < whole.length; at++) {
    const damaged = Buffer.from(whole);
    damaged[at]! ^= 0x10;
    await writeFile(path, damaged);
    await assert.rejects(BlockStore.open(directory), { code: "record_corrupt" }, `byte ${at}`);
    assert.equal((await stat(path)).size, whole.length);
  }
});

test("damage before a whole block is never taken for a torn tail, even among blank sectors", async (t) => {
  const directory = await folder(t);
  const path = await fill(directory, 1);
  const store = await BlockStore.open(directory);
  await store.append({ ...block(2), bytes: new Uint8Array(3000) });
  await store.append(block(3));
  await store.close();
  const damaged = await readFile(path);
  damaged[1000]! ^= 1;
  await writeFile(path, damaged);
  await assert.rejects(BlockStore.open(directory), { code: "record_corrupt" });
});

test("a byte that flips while the store is open is seen at reading", async (t) => {
  const directory = await folder(t);
  const path = await fill(directory, 1);
  const store = await BlockStore.open(directory);
  t.after(() => store.close());
  const damaged = await readFile(path);
  damaged[damaged.length - 20]! ^= 1;
  await writeFile(path, damaged);
  assert.throws(() => store.read(1), { code: "record_corrupt" });
});

test("many segments are one store; only the newest may be torn, and none may be missing", async (t) => {
  const directory = await folder(t);
  await fill(directory, 20, { segmentBytesMax: 700 });
  const names = (await readdir(directory)).sort();
  assert.ok(names.length >= 4);
  const store = await BlockStore.open(directory, { segmentBytesMax: 700 });
  for (let at = 1; at <= 20; at++) assert.deepEqual(store.read(at), block(at));
  await store.close();
  const second = join(directory, names[1]!);
  const whole = await readFile(second);
  await truncate(second, whole.length - 1);
  await assert.rejects(BlockStore.open(directory), { code: "record_corrupt" });
  await rm(second);
  await assert.rejects(BlockStore.open(directory), { code: "block_store_gap" });
});

test("after a failed fsync the store takes nothing more", async (t) => {
  const directory = await folder(t);
  let syncs = 0;
  const store = await BlockStore.open(directory, { sync: async () => { if (++syncs === 2) throw new Error("EIO"); } });
  t.after(() => store.close());
  await store.append(block(1));
  await assert.rejects(store.append(block(2)), { code: "store_write_failed" });
  await assert.rejects(store.append(block(3)), { code: "store_write_failed" });
  assert.equal(store.heightDurable, 1);
});
